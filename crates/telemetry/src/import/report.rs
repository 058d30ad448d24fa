//! What an import did: every row of the source is used, or dropped for a reason.

use std::fmt;

use serde::Serialize;
use stakeout_core::text::printable;

use crate::Seconds;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportReport {
    /// Name of the corpus.
    pub corpus: String,
    /// Tables read.
    pub tables: usize,
    /// Episodes written.
    pub episodes: u64,
    /// Rows of all tables: `rows_used` plus the rows of `dropped`.
    pub rows_read: u64,
    /// Rows that became telemetry. A row of list columns counts once.
    pub rows_used: u64,
    /// Rows that did not, by reason.
    pub dropped: Vec<Dropped>,
    /// Rows of telemetry written: fewer than were used where they were put into buckets, more where a row was a whole
    /// series or went to several sources.
    pub rows_written: u64,
    /// Rows used by class, in class order, `unlabelled` last.
    pub labels: Vec<(String, u64)>,
    /// Channel values that were missing.
    pub values_missing: u64,
    /// Channel values that were infinite: written as missing.
    pub values_infinite: u64,
    /// Rows that stood before an earlier one in the table: sorted.
    pub rows_reordered: u64,
    /// Whether the starts of episodes are made up.
    pub synthetic_start: bool,
    /// What should be looked at before the corpus is used.
    pub findings: Vec<Finding>,
    /// What was not checked, and why.
    pub notes: Vec<String>,
}

/// Rows that were dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The reason.
    pub reason: String,
    /// How many.
    pub rows: u64,
    /// File and row (from 1) of the first one.
    pub first: String,
}

/// What should be looked at before the corpus is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
#[non_exhaustive]
pub enum Finding {
    /// Two clocks differ by a constant.
    ClockDisagreement {
        /// The second clock minus the clock of the rows.
        seconds: Seconds,
        /// The second clock.
        against: String,
        /// Hosts on which it is seen.
        hosts: Vec<String>,
        /// How many instants the constant explains.
        explained: usize,
        /// Of how many.
        of: usize,
        /// What to do.
        remedy: String,
    },
    /// No constant brings two clocks together.
    ClocksUnrelated {
        /// The second clock.
        against: String,
        /// Hosts on which it is seen.
        hosts: Vec<String>,
        /// How many instants the best constant explains.
        explained: usize,
        /// Of how many.
        of: usize,
    },
}

impl Finding {
    /// Takes in the same finding about other hosts; `false` when the other one is not the same.
    pub(super) fn absorb(&mut self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::ClockDisagreement { seconds, against, hosts, explained, of, .. },
                Self::ClockDisagreement { seconds: s, against: a, hosts: h, explained: e, of: o, .. },
            ) if seconds == s && against == a => {
                hosts.extend_from_slice(h);
                *explained += e;
                *of += o;
                true
            }
            (
                Self::ClocksUnrelated { against, hosts, explained, of },
                Self::ClocksUnrelated { against: a, hosts: h, explained: e, of: o },
            ) if against == a => {
                hosts.extend_from_slice(h);
                *explained += e;
                *of += o;
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |hosts: &[String]| printable(&hosts.join(", "), 120);
        match self {
            Self::ClockDisagreement { seconds, against, hosts, explained, of, remedy } => {
                let (against, hosts) = (printable(against, 64), on(hosts));
                write!(
                    f,
                    "clock disagreement: {seconds} s: {against} against the rows, {explained} of {of} instants "
                )?;
                write!(f, "on host {hosts}; {remedy}")
            }
            Self::ClocksUnrelated { against, hosts, explained, of } => {
                let (against, hosts) = (printable(against, 64), on(hosts));
                write!(f, "clocks without a constant difference: {against} against the rows, the best constant ")?;
                write!(f, "explains {explained} of {of} instants on host {hosts}; compare the two clocks by hand")
            }
        }
    }
}

impl ImportReport {
    /// Rows dropped for any reason.
    pub fn rows_dropped(&self) -> u64 {
        self.dropped.iter().map(|dropped| dropped.rows).sum()
    }

    pub(super) fn drop_row(&mut self, reason: &str, table: &std::path::Path, row: usize) {
        self.rows_read += 1;
        if let Some(known) = self.dropped.iter_mut().find(|dropped| dropped.reason == reason) {
            known.rows += 1;
        } else {
            let first = format!("{}, row {}", printable(&table.display().to_string(), 200), row + 1);
            self.dropped.push(Dropped { reason: reason.to_owned(), rows: 1, first });
        }
    }
}

impl fmt::Display for ImportReport {
    /// A few lines for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { episodes, tables, rows_read, rows_used, .. } = self;
        writeln!(f, "corpus    {}", printable(&self.corpus, 64))?;
        writeln!(f, "episodes  {episodes} from {tables} table{}", if *tables == 1 { "" } else { "s" })?;
        writeln!(f, "rows      {rows_read} read = {rows_used} used + {} dropped", self.rows_dropped())?;
        for Dropped { reason, rows, first } in &self.dropped {
            writeln!(f, "          {rows} dropped: {reason} (first: {first})")?;
        }
        writeln!(f, "written   {} telemetry rows", self.rows_written)?;
        let labels: Vec<String> =
            self.labels.iter().map(|(class, rows)| format!("{} {rows}", printable(class, 64))).collect();
        writeln!(f, "labels    {}", labels.join(" · "))?;
        if self.values_missing + self.values_infinite > 0 {
            writeln!(
                f,
                "values    {} missing, {} infinite (written as missing)",
                self.values_missing, self.values_infinite
            )?;
        }
        if self.rows_reordered > 0 {
            writeln!(f, "order     {} rows stood before an earlier one and were sorted", self.rows_reordered)?;
        }
        if self.synthetic_start {
            writeln!(f, "clock     synthetic: the corpus does not say when its episodes began")?;
        }
        for note in &self.notes {
            writeln!(f, "note      {note}")?;
        }
        for finding in &self.findings {
            writeln!(f, "FINDING   {finding}")?;
        }
        Ok(())
    }
}
