//! A run held against its own store: nothing that its files say is believed. What is edited consistently, a checkpoint
//! that was swapped, a map or a scaler that saw the test side: all come out here.

use std::collections::BTreeMap;

use stakeout_core::Checkpoint;
use stakeout_eval::{Prediction, Predictions};
use stakeout_trainer::{Audit, MadeAgain};

use crate::check::Check;
use crate::differences::compare_as_json;
use crate::integrity::{Evidence, SAME_FIGURE};

/// How far a probability may be from the one that the checkpoint gives again.
pub const SAME_PROBABILITY: f64 = 1e-5;
/// How far a fitted scaler or map may be from the one that comes out again: rounding of another processor, through a
/// minimisation.
const SAME_FIT: f64 = 1e-4;
const TRAIN_AGAIN: &str = "train the run again on this store";

/// Checks against what the run's store gives again.
pub(crate) fn checks(evidence: &Evidence, audit: &Audit<'_>, again: &MadeAgain) -> Vec<Check> {
    vec![
        windows(&evidence.predictions, &again.predictions),
        probabilities(&evidence.predictions, &again.predictions),
        training_side(evidence, audit, again),
        scaler(evidence, again),
        map(evidence, again),
        shared(again),
    ]
}

/// The windows of the fold, with their labels, are the ones that were scored.
fn windows(stored: &Predictions, again: &Predictions) -> Check {
    const NAME: &str = "fold drawn again";
    let (ours, theirs) = (by_window(again), by_window(stored));
    let missing = ours.keys().filter(|key| !theirs.contains_key(*key)).count();
    let extra = theirs.keys().filter(|key| !ours.contains_key(*key)).count();
    let changed = ours.iter().filter(|(key, row)| theirs.get(*key).is_some_and(|other| who(row) != who(other))).count();
    let mut wrong = Vec::new();
    for (n, what) in [
        (missing, "windows of the fold have no prediction"),
        (extra, "predictions are of windows that the fold does not have on these sides"),
        (changed, "windows have another side, label, host, sample, profile or time of onset"),
    ] {
        if n > 0 {
            wrong.push(format!("{n} {what}"));
        }
    }
    Check::of(NAME, &wrong, format!("{} windows are those of the recipe, labels included", ours.len()), TRAIN_AGAIN)
}

/// The checkpoint gives the stored probabilities.
fn probabilities(stored: &Predictions, again: &Predictions) -> Check {
    const NAME: &str = "scored again";
    let (ours, theirs) = (by_window(again), by_window(stored));
    let (mut off, mut compared, mut worst) = (0usize, 0usize, (0.0f64, String::new()));
    for (key, row) in &ours {
        let Some(other) = theirs.get(key) else { continue };
        let gaps = row.probabilities.iter().zip(other.probabilities).map(|(a, b)| f64::from((a - b).abs()));
        let gap = gaps.fold(0.0, f64::max);
        compared += 1;
        off += usize::from(gap > SAME_PROBABILITY);
        if gap > worst.0 {
            worst = (gap, format!("{} at {} ns", stakeout_core::text::printable(key.0, 40), key.1));
        }
    }
    if off == 0 {
        return Check::met(
            NAME,
            format!("the checkpoint gives the stored probabilities of {compared} windows to {SAME_PROBABILITY:e}"),
        );
    }
    let found = format!(
        "{off} of {compared} windows have other probabilities than the checkpoint gives (furthest: {:.2e}, {})",
        worst.0, worst.1
    );
    Check::refused(NAME, found, "predictions.parquet or checkpoint.stk is not of this run: train it again")
}

fn training_side(evidence: &Evidence, audit: &Audit<'_>, again: &MadeAgain) -> Check {
    const NAME: &str = "training side";
    let result = &evidence.run.result;
    let mut wrong = Vec::new();
    let mut differ = |what: &str, sentence: String| {
        if !sentence.is_empty() {
            wrong.push(format!("{what}: {sentence}"));
        }
    };
    differ("windows a class", compare_as_json(&again.train, &result.train, 0.0).sentence());
    differ("hosts and samples", compare_as_json(&again.trained_on, &result.trained_on, 0.0).sentence());
    differ("ledger", compare_as_json(&Some(&again.ledger), &result.ledger.as_ref(), 0.0).sentence());
    differ("rows read", compare_as_json(&again.rows, &result.rows, 0.0).sentence());
    if audit.fold.held_out() != result.held_out {
        differ(
            "held out",
            format!("{} in the run, {} by the recipe", result.held_out.join(", "), audit.fold.held_out().join(", ")),
        );
    }
    if audit.dataset.simulated != result.origin.simulated {
        differ(
            "simulated",
            format!("{} in the run, {} in its store", result.origin.simulated, audit.dataset.simulated),
        );
    }
    let windows: u64 = again.train.windows.iter().sum();
    Check::of(
        NAME,
        &wrong,
        format!("{windows} training windows, hosts, samples and ledger are those of the recipe"),
        TRAIN_AGAIN,
    )
}

fn scaler(evidence: &Evidence, again: &MadeAgain) -> Check {
    const NAME: &str = "scaler fitted again";
    let compared = compare_as_json(&again.scaler, &evidence.run.header.scaler, SAME_FIT);
    let remedy = "a scaler is fitted on the training side (or on calibration stretches) alone: train again";
    Check::of_compared(NAME, &compared, "it comes out of the rows that may fit it", remedy)
}

/// A map that was fitted on the test side moves thresholds with knowledge of it.
fn map(evidence: &Evidence, again: &MadeAgain) -> Check {
    const NAME: &str = "map fitted again";
    let stored = &evidence.run.header.calibration;
    if stored.is_none() && again.calibration.is_none() {
        return Check::met(NAME, "there is none");
    }
    let compared = compare_as_json(&again.calibration, stored, SAME_FIT);
    let remedy =
        "a calibration map, and the threshold that it moves, is fitted on the validation side alone: train again";
    Check::of_compared(NAME, &compared, "it comes out of the validation side", remedy)
}

fn shared(again: &MadeAgain) -> Check {
    let remedy = "hold data out with a recipe that keeps its promise, and copies on one side";
    Check::of(
        "shared content",
        &again.shared,
        "no window content and nothing that is held apart stands on two sides",
        remedy,
    )
}

/// The checkpoint against the one that a second fit gives.
pub(crate) fn fitted_again(stored: &Checkpoint, again: &Checkpoint) -> Check {
    const NAME: &str = "fitted again";
    let header = compare_as_json(&again.header, &stored.header, SAME_FIGURE);
    let mut wrong = Vec::new();
    if !header.differences.is_empty() {
        wrong.push(format!("its header: {}", header.sentence()));
    }
    if stored.weights != again.weights {
        let n = stored.weights.iter().zip(&again.weights).filter(|(a, b)| a != b).count();
        let n = n + stored.weights.len().abs_diff(again.weights.len());
        wrong.push(format!("{n} of {} bytes of its weights are not what training gives", stored.weights.len()));
    }
    let remedy = "a model that saw more than the training side comes out otherwise, and so does one of another program \
                  version or processor: train it again here";
    Check::of(NAME, &wrong, format!("a second fit gives the same {} bytes of weights", stored.weights.len()), remedy)
}

fn by_window(predictions: &Predictions) -> BTreeMap<(&str, i64), Prediction<'_>> {
    (0..predictions.len()).map(|row| predictions.row(row)).map(|row| ((row.episode, row.t0_ns), row)).collect()
}

/// Who a window is, without what a model says of it.
fn who<'a>(row: &Prediction<'a>) -> (stakeout_core::Side, u16, [&'a str; 3], Option<i64>, u64) {
    (row.side, row.label, [row.host, row.sample, row.profile], row.t_onset_ns, row.observed_seconds.to_bits())
}
