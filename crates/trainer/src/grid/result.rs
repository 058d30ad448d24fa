//! What a grid found: `grid.json`. Read from the runs below it, so that a grid that was continued and one that was left
//! alone say the same.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::View;
use stakeout_eval::Estimate;
use stakeout_eval::bootstrap::Plan;

use crate::run::Timing;
use crate::rundir::{self, METRICS, SUMMARY, TIMING};
use crate::{Account, CellResult, Origin, RunSummary, ScalerChoice, TrainError};

/// The result of a grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridResult {
    /// The recipe that held data out.
    pub recipe: String,
    /// Seeds of every cell.
    pub seeds: Vec<u64>,
    /// Kinds of model, in the order of the rows.
    pub models: Vec<String>,
    /// Views, in order.
    pub views: Vec<View>,
    /// Scalers, in order.
    pub scalers: Vec<ScalerChoice>,
    /// Digest of the store.
    pub data_digest: String,
    /// Version of the code.
    pub code_version: String,
    /// Every cell: view by view, scaler by scaler, model by model.
    pub cells: Vec<GridCellResult>,
}

/// One cell of a grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridCellResult {
    /// Its run directory, below the grid's.
    pub run: String,
    /// Kind of model.
    pub model: String,
    /// The view.
    pub view: View,
    /// The scaler.
    pub scaler: ScalerChoice,
    /// Why there is no result; `--resume` tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<CellScores>,
}

/// What the table says of a finished cell; the rest stands in its `metrics.json` or `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellScores {
    /// Where the numbers come from.
    #[serde(flatten)]
    pub origin: Origin,
    /// Held-out groups of the test sides.
    pub held_out: Vec<String>,
    /// Scores; absent for a model that was refitted on all rows and tested on none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<Headline>,
    /// What must be said beside the numbers.
    pub notes: Vec<String>,
}

/// The figures of a cell: of its one test side, or the primary ones of many folds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// The class that the constant predictor names.
    pub constant_class: String,
    /// Macro F1 of the constant predictor.
    pub constant: Estimate,
    /// Accuracy of the constant predictor.
    pub constant_accuracy: Estimate,
    /// Macro F1.
    pub macro_f1: Estimate,
    /// Accuracy.
    pub accuracy: Estimate,
    /// How the intervals were made.
    pub bootstrap: Plan,
}

/// Whether a run has its result: the last file that a fit writes.
pub(crate) fn is_finished(run: &Path) -> bool {
    run.join(METRICS).exists() || run.join(SUMMARY).exists()
}

/// The result of a finished run directory.
///
/// # Errors
/// [`TrainError`] when a file is missing or cannot be read.
pub(crate) fn read_scores(run: &Path) -> Result<CellScores, TrainError> {
    if run.join(SUMMARY).exists() {
        let RunSummary { origin, summary } = rundir::read_json(&run.join(SUMMARY))?;
        return Ok(CellScores {
            origin,
            held_out: summary.folds.iter().map(|fold| fold.held_out.clone()).collect(),
            scores: Some(Headline {
                constant_class: summary.pooled.constant.class,
                constant: summary.primary.constant,
                constant_accuracy: summary.primary.constant_accuracy,
                macro_f1: summary.primary.macro_f1,
                accuracy: summary.primary.accuracy,
                bootstrap: summary.bootstrap,
            }),
            notes: std::iter::once(summary.caveat).chain(summary.notes).collect(),
        });
    }
    let first = rundir::cells(run)?.into_iter().next();
    let first = first.ok_or_else(|| TrainError::run(run, "there is no result in it"))?;
    let CellResult { origin, held_out, metrics, .. } = rundir::read_json(&first.join(METRICS))?;
    let notes = metrics.as_ref().map(|metrics| metrics.notes.clone()).unwrap_or_default();
    Ok(CellScores {
        origin,
        held_out,
        scores: metrics.map(|metrics| Headline {
            constant_class: metrics.constant.class,
            constant: metrics.constant.macro_f1,
            constant_accuracy: metrics.constant.accuracy,
            macro_f1: metrics.test.macro_f1,
            accuracy: metrics.test.accuracy,
            bootstrap: metrics.bootstrap,
        }),
        notes,
    })
}

/// Wall-clock seconds of a finished run, summed over its folds and seeds, and whether a part of them was spent by
/// another process that was stopped. `None` where nothing was measured.
pub(crate) fn read_seconds(run: &Path) -> Option<(f64, bool)> {
    let timings: Result<Vec<Timing>, TrainError> =
        rundir::cells(run).and_then(|cells| cells.iter().map(|cell| rundir::read_json(&cell.join(TIMING))).collect());
    let timings = timings.ok().filter(|timings| !timings.is_empty())?;
    let seconds = timings.iter().map(|timing| timing.fit_and_score_seconds).sum();
    Some((seconds, timings.iter().any(|timing| timing.continued)))
}

/// What became of the rows that a finished run read.
pub(crate) fn read_account(run: &Path) -> Result<Option<Account>, TrainError> {
    let Some(cell) = rundir::cells(run)?.into_iter().next() else { return Ok(None) };
    Ok(Some(rundir::read_json::<CellResult>(&cell.join(METRICS))?.rows))
}
