//! What became of everything that was read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stakeout_telemetry::Corpus;

use crate::dataset::Swept;

/// What became of the episodes, rows and windows of a store: nothing is dropped in silence.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// Episodes by verdict.
    pub episodes: BTreeMap<String, u64>,
    /// Episodes whose windows were used for nothing because of their verdict.
    pub episodes_left_out: u64,
    /// Episodes that could not be cut, with the reason.
    pub episodes_refused: Vec<String>,
    /// Telemetry rows read.
    pub rows_read: u64,
    /// Rows that reached a trace.
    pub rows_used: u64,
    /// Rows that did not, by reason.
    pub rows_dropped: BTreeMap<String, u64>,
    /// Windows cut.
    pub windows_cut: u64,
    /// Windows without a single observed value, among those cut.
    pub windows_empty: u64,
    /// Cumulative counters that fell: the rate across is missing.
    pub counter_resets: u64,
    /// Windows that carry a label and belong to no calibration stretch.
    pub windows_labelled: u64,
    /// Windows of calibration stretches: in no side, under any scaler.
    pub windows_calibration: u64,
    /// Windows that were not used, by reason.
    pub windows_dropped: BTreeMap<String, u64>,
    /// Whether labels were checked against the events that must justify them.
    pub labels: String,
}

impl Account {
    pub(crate) fn of(corpus: &Corpus) -> Self {
        let labels = if corpus.label_rules.is_empty() { "unjustified" } else { "checked against events" };
        Self { labels: labels.into(), ..Self::default() }
    }

    /// Counts an episode: its verdict, its rows, and the windows that its cut left out.
    pub(crate) fn add(&mut self, swept: &Swept) {
        let Swept { examined, cut, refused } = swept;
        *self.episodes.entry(examined.verdict.name().to_owned()).or_default() += 1;
        self.rows_read += examined.rows.read;
        for (reason, n) in &examined.rows.dropped {
            self.drop_rows(reason.name(), *n);
        }
        let Some((_, cut, _)) = cut else {
            self.episodes_left_out += 1;
            self.drop_rows("episode left out", examined.rows.used);
            if let Some(error) = refused {
                self.episodes_refused.push(error.to_string());
            }
            return;
        };
        let outside = cut.counts.rows_outside_span + cut.counts.rows_outside_windows;
        // Rows of labels and events are used too, and rows of channels that the view hides reach no trace.
        self.rows_used += examined.rows.used - outside;
        self.drop_rows("outside the observed span", cut.counts.rows_outside_span);
        self.drop_rows("in no window", cut.counts.rows_outside_windows);
        self.windows_cut += cut.t0_ns.len() as u64;
        self.windows_empty += cut.counts.windows_empty;
        self.counter_resets += cut.counts.counter_resets;
        self.drop_windows("partial last window", cut.counts.partial_dropped);
        self.drop_windows("beyond max_per_episode", cut.counts.windows_over_maximum);
    }

    fn drop_rows(&mut self, reason: &str, n: u64) {
        if n > 0 {
            *self.rows_dropped.entry(reason.to_owned()).or_default() += n;
        }
    }

    pub(crate) fn drop_windows(&mut self, reason: &str, n: u64) {
        if n > 0 {
            *self.windows_dropped.entry(reason.to_owned()).or_default() += n;
        }
    }
}
