//! Scoring vectors, counting outliers by host, and ranking where labels are known.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::json;
use stakeout_core::files;
use stakeout_detect::baseline::{Baseline, Baselines, FLAGGED, Number, Origin, Score, Scratch, read_table};
use stakeout_detect::ranking::{auroc, average_precision, best_f1};
use stakeout_trainer::TrainError;
use stakeout_trainer::summaries::{State, Summaries};

use super::super::export::check_target;
use super::vectors::{left_out, no_table_options, spec};
use crate::args::BaselineScore;
use crate::{Context, Exit, interrupt, output};

/// Dimensions that are named in a line, the farthest first.
const NAMED: usize = 8;

/// What was said of a host's vectors.
#[derive(Default)]
struct Tally {
    vectors: u64,
    outliers: u64,
    skipped: BTreeMap<String, u64>,
    /// Scores whose label is known.
    z: Vec<f64>,
    outlier: Vec<bool>,
    normal_called: u64,
    outliers_called: u64,
}

/// The figures of a host, or of all.
#[derive(Debug, Serialize)]
struct Figures {
    vectors: u64,
    scored: u64,
    outliers: u64,
    skipped: BTreeMap<String, u64>,
    false_alarm_rate: Option<f64>,
    recall: Option<f64>,
    auroc: Option<f64>,
    average_precision: Option<f64>,
    /// Chosen on the labels that it is scored on: an upper bound.
    best_f1_on_these_labels: Option<f64>,
}

/// One line a vector.
#[derive(Serialize)]
struct Line<'a> {
    host: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(flatten)]
    score: Score,
    p_value: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flagged: Vec<(&'a str, f64)>,
    label: Option<bool>,
}

#[derive(Serialize, Clone, Copy)]
#[serde(untagged)]
enum Place<'a> {
    Window { episode: &'a str, t0_ns: i64 },
    Row { row: usize },
}

/// Everything that vectors pass through.
struct Scoring<'a> {
    baselines: &'a Baselines,
    tallies: BTreeMap<String, Tally>,
    scratch: Scratch,
    lines: Option<&'a mut dyn Write>,
}

/// Runs `baseline score`.
pub(crate) fn run(args: &BaselineScore, context: &Context) -> anyhow::Result<Exit> {
    if let Some(out) = &args.out {
        check_target(out, args.force)?;
    }
    let baselines = Baselines::load(&args.baseline)?;
    let tallies = match &args.out {
        None => score_all(args, &baselines, None, context)?,
        Some(out) => into_file(out, |file| score_all(args, &baselines, Some(file), context))?,
    };
    if matches!(baselines.origin, Origin::Store { simulated: true, .. }) {
        context.progress.say(stakeout_eval::render::SIMULATED);
    }
    report(args, &baselines, &tallies, context)?;
    if tallies.values().all(|tally| tally.scored() == 0) {
        let reasons: Vec<&str> = tallies.values().flat_map(|tally| tally.skipped.keys().map(String::as_str)).collect();
        bail!("no vector was scored: {}", reasons.first().unwrap_or(&"no window or row is left to score"));
    }
    Ok(Exit::Ok)
}

/// Runs work that writes into a file, which appears whole or not at all.
fn into_file<T>(out: &Path, work: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut result = None;
    let written = files::write_atomic_with(out, |file| match work(file) {
        Ok(value) => {
            result = Some(Ok(value));
            Ok(())
        }
        Err(error) => {
            result = Some(Err(error));
            Err(io::Error::other("the scoring failed"))
        }
    });
    match result {
        Some(Err(error)) => Err(error),
        Some(Ok(value)) => written.map(|()| value).map_err(Into::into),
        None => Err(written.err().map_or_else(|| anyhow::anyhow!("nothing was written"), Into::into)),
    }
}

fn score_all<'a>(
    args: &BaselineScore,
    baselines: &'a Baselines,
    lines: Option<&'a mut dyn Write>,
    context: &Context,
) -> anyhow::Result<BTreeMap<String, Tally>> {
    let mut scoring = Scoring { baselines, tallies: BTreeMap::new(), scratch: Scratch::default(), lines };
    match (&baselines.origin, args.data.is_dir()) {
        (Origin::Store { schema, .. }, true) => {
            no_table_options(&args.table)?;
            let summaries = Summaries::open_as(&args.data, schema)?;
            let width = baselines.columns.len();
            let failed = |error: io::Error| -> TrainError {
                stakeout_core::CoreError::io("writing", args.out.as_deref().unwrap_or(Path::new("")), error).into()
            };
            let account = summaries.each(args.degraded, &*context.progress, interrupt::flag(), |windows| {
                for ((values, &t0_ns), state) in
                    windows.values.chunks_exact(width).zip(windows.t0_ns).zip(windows.states)
                {
                    let label = match state {
                        State::Unknown => None,
                        State::Calibration => Some(false),
                        State::Class(class) => Some(*class > 0),
                    };
                    let place = Place::Window { episode: &windows.episode.id, t0_ns };
                    scoring.take(&windows.episode.host, place, values, label).map_err(failed)?;
                }
                Ok(())
            })?;
            left_out(&account);
        }
        (Origin::Table { host }, false) => {
            let mut spec = spec(&args.table)?;
            spec.columns = Some(baselines.columns.clone());
            spec.host = spec.host.or_else(|| host.clone());
            for (host, vectors) in &read_table(&args.data, &spec)?.hosts {
                for at in 0..vectors.len() {
                    let place = Place::Row { row: vectors.rows[at] };
                    let out = || format!("writing {}", args.out.as_deref().unwrap_or(Path::new("")).display());
                    scoring.take(host, place, vectors.vector(at), vectors.labels[at]).with_context(out)?;
                }
            }
        }
        (Origin::Store { .. }, false) => {
            bail!("the baseline is of windows of a store, {} is no store", args.data.display())
        }
        (Origin::Table { .. }, true) => {
            bail!("the baseline is of rows of a table, {} is no table", args.data.display())
        }
    }
    Ok(scoring.tallies)
}

impl Scoring<'_> {
    fn take<T: Number>(&mut self, host: &str, place: Place<'_>, vector: &[T], label: Option<bool>) -> io::Result<()> {
        let score = self.baselines.score(host, Some(vector), &mut self.scratch);
        if !self.tallies.contains_key(host) {
            self.tallies.insert(host.to_owned(), Tally::default());
        }
        if let Some(tally) = self.tallies.get_mut(host) {
            tally.take(&score, label);
        }
        let Some(file) = &mut self.lines else { return Ok(()) };
        let baseline = self.baselines.get(host);
        let flagged = match baseline {
            Some(baseline) if score.is_outlier => flagged(baseline, &self.baselines.columns, vector),
            _ => Vec::new(),
        };
        let p_value = baseline.map_or(1.0, |baseline| baseline.p_value(&score));
        serde_json::to_writer(&mut *file, &Line { host, place, score, p_value, flagged, label })?;
        file.write_all(b"\n")
    }
}

/// The dimensions that stand out, with their squared z, the farthest first.
fn flagged<'a, T: Number>(baseline: &Baseline, columns: &'a [String], vector: &[T]) -> Vec<(&'a str, f64)> {
    let squares = baseline.squared_z(vector).into_iter();
    let known = columns.iter().zip(squares).filter_map(|(name, square)| Some((name.as_str(), square?)));
    let mut found: Vec<(&str, f64)> = known.filter(|(_, square)| *square >= FLAGGED).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(NAMED);
    found.iter_mut().for_each(|(_, square)| *square = square.min(f64::MAX));
    found
}

impl Tally {
    fn take(&mut self, score: &Score, label: Option<bool>) {
        self.vectors += 1;
        if let Some(reason) = score.skipped {
            *self.skipped.entry(reason.to_string()).or_default() += 1;
            return;
        }
        self.outliers += u64::from(score.is_outlier);
        if let Some(outlier) = label {
            self.z.push(score.z);
            self.outlier.push(outlier);
            *(if outlier { &mut self.outliers_called } else { &mut self.normal_called }) += u64::from(score.is_outlier);
        }
    }

    fn scored(&self) -> u64 {
        self.vectors - self.skipped.values().sum::<u64>()
    }

    fn figures(&self) -> Figures {
        let positive = self.outlier.iter().filter(|outlier| **outlier).count() as u64;
        let negative = self.outlier.len() as u64 - positive;
        let share = |called: u64, of: u64| (of > 0).then(|| called as f64 / of as f64);
        Figures {
            vectors: self.vectors,
            scored: self.scored(),
            outliers: self.outliers,
            skipped: self.skipped.clone(),
            false_alarm_rate: share(self.normal_called, negative),
            recall: share(self.outliers_called, positive),
            auroc: auroc(&self.z, &self.outlier),
            average_precision: average_precision(&self.z, &self.outlier),
            best_f1_on_these_labels: best_f1(&self.z, &self.outlier).map(|(f1, _)| f1),
        }
    }
}

fn report(
    args: &BaselineScore,
    baselines: &Baselines,
    tallies: &BTreeMap<String, Tally>,
    context: &Context,
) -> anyhow::Result<()> {
    let figures: Vec<(&String, Figures)> = tallies.iter().map(|(host, tally)| (host, tally.figures())).collect();
    let mean = |figure: fn(&Figures) -> Option<f64>| {
        let known: Vec<f64> = figures.iter().filter_map(|(_, own)| figure(own)).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    #[allow(clippy::type_complexity)] // a title, and what stands below it
    let columns: [(&str, fn(&Figures) -> Option<f64>); 5] = [
        ("false alarm rate", |own| own.false_alarm_rate),
        ("recall", |own| own.recall),
        ("AUROC", |own| own.auroc),
        ("AUPRC", |own| own.average_precision),
        ("best F1*", |own| own.best_f1_on_these_labels),
    ];
    let kind = |host: &str| baselines.get(host).and_then(Baseline::calibrated);
    if context.json {
        let hosts: Vec<_> = figures
            .iter()
            .map(|(host, own)| json!({ "host": host, "figures": own, "threshold": kind(host) }))
            .collect();
        let means: BTreeMap<&str, Option<f64>> = columns.iter().map(|(name, figure)| (*name, mean(*figure))).collect();
        return output::json(&json!({
            "baseline": args.baseline, "settings": baselines.settings, "lines": args.out,
            "mean_over_hosts": means, "hosts": hosts,
        }));
    }
    let labelled = figures.iter().any(|(_, own)| own.false_alarm_rate.is_some() || own.recall.is_some());
    let mut header = vec!["host", "vectors", "outliers", "threshold", "from"];
    if labelled {
        header.extend(columns.iter().map(|(name, _)| *name));
    }
    let cell = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    let mut rows = Vec::new();
    for (host, own) in &figures {
        let calibrated = kind(host);
        let mut row = vec![
            if host.is_empty() { "(all rows)".into() } else { (*host).clone() },
            own.vectors.to_string(),
            own.outliers.to_string(),
            cell(calibrated.as_ref().map(|calibrated| calibrated.threshold)),
            calibrated.map_or("-".into(), |calibrated| calibrated.kind.to_owned()),
        ];
        if labelled {
            row.extend(columns.iter().map(|(_, figure)| cell(figure(own))));
        }
        rows.push(row);
    }
    if labelled && figures.len() > 1 {
        let mut row = ["mean", "", "", "", ""].map(String::from).to_vec();
        row.extend(columns.iter().map(|(_, figure)| cell(mean(*figure))));
        rows.push(row);
    }
    output::line(&output::table(&header, &rows))?;
    for (host, own) in &figures {
        for (reason, n) in &own.skipped {
            let host = if host.is_empty() { "(all rows)" } else { host };
            output::line(&output::clean(&format!("{host}: {n} vectors have no score: {reason}")))?;
        }
    }
    if labelled {
        output::line(&format!(
            "budget {}; * threshold chosen on the labels that it is scored on: an upper bound",
            baselines.settings.budget
        ))?;
    }
    Ok(())
}
