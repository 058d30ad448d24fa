//! The report of a training run.

use std::collections::BTreeSet;

use stakeout_core::text::printable;
use stakeout_eval::ModelScores;
use stakeout_eval::render::{self, Provenance};
use stakeout_splits::Summary;
use stakeout_trainer::{CellResult, Origin, Outcome};

use crate::output;

/// Columns of a report.
pub(crate) const WIDTH: usize = 98;
/// Longest name of a fold.
const NAME: usize = 48;
/// Remarks of many cells that are printed.
const REMARKS: usize = 12;

/// Prints the summary of many cells, or the report of one; with the whole account of the probabilities where `verbose`.
pub(crate) fn outcome(outcome: &Outcome, verbose: bool) -> anyhow::Result<()> {
    match &outcome.summary {
        Some(summary) => {
            let held_out: BTreeSet<String> = outcome.cells.iter().flat_map(|cell| cell.held_out.clone()).collect();
            let seed = summary.summary.seeds.first().copied().unwrap_or_default();
            let provenance = provenance(&summary.origin, seed, held_out.into_iter().collect());
            output::line(render::summary(&summary.summary, &provenance, &ledgers(&outcome.cells)).trim_end())?;
        }
        None => {
            for cell in &outcome.cells {
                one(cell)?;
            }
        }
    }
    if verbose {
        let pooled = outcome.summary.as_ref().map(|summary| &summary.summary.pooled.test);
        let own = outcome.cells.iter().filter_map(|cell| Some(&cell.metrics.as_ref()?.test));
        for scores in pooled.map_or_else(|| own.collect(), |pooled| vec![pooled]) {
            probabilities(scores)?;
        }
    }
    let remarks: BTreeSet<&String> = outcome.cells.iter().flat_map(|cell| &cell.remarks).collect();
    let named: Vec<&String> = remarks.into_iter().collect();
    for remark in named.iter().take(REMARKS) {
        output::line(&format!("remark: {}", output::clean(remark)))?;
    }
    if named.len() > REMARKS {
        output::line(&format!("... and {} more remarks; each metrics.json has its own", named.len() - REMARKS))?;
    }
    Ok(())
}

/// Prints the whole account of the probabilities of a test side.
pub(crate) fn probabilities(scores: &ModelScores) -> anyhow::Result<()> {
    if let Some(calibration) = &scores.calibration {
        output::line(render::probabilities(calibration).trim_end())?;
    }
    Ok(())
}

/// One line a fold: which share of its cells was tested. The whole tables stand in each `metrics.json`.
fn ledgers(cells: &[CellResult]) -> String {
    let mut seen = BTreeSet::new();
    let lines = cells.iter().filter(|cell| seen.insert(cell.fold.clone())).filter_map(|cell| {
        let Summary { tested, too_few, untested, .. } = cell.ledger.as_ref()?.summary();
        let fold = printable(&cell.fold, NAME);
        Some(format!("fold {fold}: {tested} cells tested, {too_few} too few windows, {untested} untested"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn one(cell: &CellResult) -> anyhow::Result<()> {
    let ledger = cell.ledger.as_ref().map(|ledger| ledger.render(WIDTH)).unwrap_or_default();
    let provenance = provenance(&cell.origin, cell.seed, cell.held_out.clone());
    match &cell.metrics {
        Some(metrics) => output::line(render::report(metrics, &provenance, &ledger).trim_end())?,
        None => {
            if cell.origin.simulated {
                output::line(render::SIMULATED)?;
            }
            output::line(&format!("{}: fitted without a test side, UNTESTED", cell.origin.model))?;
        }
    }
    for (reason, n) in &cell.windows_in_no_side {
        output::line(&output::clean(&format!("in no side: {n} windows ({reason})")))?;
    }
    Ok(())
}

pub(crate) fn provenance(origin: &Origin, seed: u64, held_out: Vec<String>) -> Provenance {
    Provenance {
        model: origin.model.clone(),
        recipe: origin.recipe.clone(),
        view: origin.view.clone(),
        scaler: origin.scaler.clone(),
        seed,
        schema_hash: origin.schema_hash.clone(),
        held_out,
        data: format!("{}, digest {}", origin.corpus, origin.data_digest),
        selection: origin.selection.clone(),
        simulated: origin.simulated,
    }
}
