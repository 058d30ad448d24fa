//! From the confusion counts of a trial's inner folds to its score, with an interval and the constant predictor beside
//! it.
//!
//! The score is the macro F1 of the pooled counts of all inner test windows: with small folds the mean of per-fold F1
//! depends on which fold a rare class fell into (Forman and Scholz, SIGKDD Explorations 2010).

use serde::{Deserialize, Serialize};
use stakeout_core::{ClassList, Confusion, SampleIndex, Side};
use stakeout_eval::bootstrap::Plan;
use stakeout_eval::{Constant, Estimate, Prediction, Predictions, Run, TrainSide, Unit, summary};

use super::halving::Score;
use super::journal::{Cell, Evaluation, Scored};
use crate::TrainError;

/// No probability counts as smaller in the log loss.
const LEAST: f64 = 1e-15;

/// What an evaluation keeps of predictions: their test side.
pub(super) fn keep(predictions: &Predictions, index: &SampleIndex, rows: &[usize], train: &TrainSide) -> Scored {
    let mut counts = std::collections::BTreeMap::new();
    let mut log_loss = 0.0;
    // Predictions of a side stand in the order of its rows.
    for (&row, scored) in rows.iter().zip(predictions.rows_of(Side::Test)) {
        let (window, p) = (index.windows[row], predictions.probabilities(scored));
        log_loss -= f64::from(p[usize::from(window.label)]).max(LEAST).ln();
        *counts.entry((window.episode, window.label, predictions.predicted(scored))).or_insert(0u32) += 1;
    }
    let cells = counts.into_iter().map(|((episode, label, predicted), n)| Cell(episode, label, predicted, n));
    Scored { log_loss, train: train.clone(), cells: cells.collect() }
}

/// The score that trials are ranked by.
pub(super) fn score(evaluations: &[&Evaluation], classes: usize) -> Score {
    let mut trained = vec![false; classes];
    let mut confusion = Confusion::new(classes);
    let (mut log_loss, mut windows) = (0.0, 0u64);
    for evaluation in evaluations {
        let Some(scored) = &evaluation.scored else { return Score { macro_f1: None, log_loss: f64::NAN } };
        for (trained, n) in trained.iter_mut().zip(&scored.train.windows) {
            *trained |= *n > 0;
        }
        for &Cell(_, label, predicted, n) in &scored.cells {
            windows += u64::from(n);
            for _ in 0..n {
                confusion.add(label, predicted);
            }
        }
        log_loss += scored.log_loss;
    }
    // As in every report: a class that was never trained counts 0.
    let f1s: Vec<f64> =
        (0..classes).filter_map(|class| confusion.f1(class).map(|f1| if trained[class] { f1 } else { 0.0 })).collect();
    let macro_f1 = (!f1s.is_empty()).then(|| f1s.iter().sum::<f64>() / f1s.len() as f64);
    Score { macro_f1, log_loss: log_loss / windows.max(1) as f64 }
}

/// A score as it is reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// Macro F1 of the pooled inner test windows with its interval.
    pub macro_f1: Estimate,
    /// Accuracy.
    pub accuracy: Estimate,
    /// Mean log loss.
    pub log_loss: f64,
    /// The constant predictor on the same windows.
    pub constant: Constant,
    /// How many inner folds stand behind it.
    pub n_folds: usize,
    /// How many windows.
    pub n_windows: u64,
}

/// The score of evaluations none of which failed, with intervals as in any report.
pub(super) fn report(
    evaluations: &[&Evaluation],
    index: &SampleIndex,
    classes: &ClassList,
    unit: Unit,
    plan: &Plan,
) -> Result<Option<Reported>, TrainError> {
    let mut parts = Vec::new();
    for evaluation in evaluations {
        let Some(scored) = &evaluation.scored else { return Ok(None) };
        parts.push((evaluation, &scored.train, as_predictions(scored, evaluation, index, classes)?));
    }
    let runs: Vec<Run<'_>> = parts
        .iter()
        .map(|(evaluation, train, predictions)| Run {
            held_out: &evaluation.fold,
            seed: evaluation.seed,
            predictions,
            train,
        })
        .collect();
    let pooled = summary(&runs, unit, plan)?.pooled;
    Ok(Some(Reported {
        macro_f1: pooled.test.macro_f1,
        accuracy: pooled.test.accuracy,
        log_loss: score(evaluations, classes.len()).log_loss,
        constant: pooled.constant,
        n_folds: runs.len(),
        n_windows: parts.iter().map(|(_, _, predictions)| predictions.len() as u64).sum(),
    }))
}

/// Counts as rows of predictions that are sure of themselves: confusion and intervals look at the likeliest class alone.
fn as_predictions(
    scored: &Scored,
    evaluation: &Evaluation,
    index: &SampleIndex,
    classes: &ClassList,
) -> Result<Predictions, TrainError> {
    let mut predictions = Predictions::new(classes.clone());
    let mut probabilities = vec![0.0; classes.len()];
    for &Cell(episode, label, predicted, n) in &scored.cells {
        let unknown = || TrainError::Data("trials.jsonl speaks of an episode or a class that is not there".into());
        let at = index.episodes.get(episode as usize).ok_or_else(unknown)?;
        *probabilities.get_mut(usize::from(predicted)).ok_or_else(unknown)? = 1.0;
        for _ in 0..n {
            predictions.push(&Prediction {
                side: Side::Test,
                fold: &evaluation.fold,
                seed: evaluation.seed,
                episode: &at.id,
                host: &index.hosts[at.host as usize],
                sample: &index.samples[at.sample as usize],
                profile: &index.profiles[at.profile as usize],
                t0_ns: at.span.0,
                t_onset_ns: at.onset_ns,
                observed_seconds: 0.0,
                label,
                probabilities: &probabilities,
            })?;
        }
        probabilities[usize::from(predicted)] = 0.0;
    }
    Ok(predictions)
}
