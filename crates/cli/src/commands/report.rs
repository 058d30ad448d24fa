//! The report of a training run.

use stakeout_eval::render::{self, Provenance};
use stakeout_trainer::{CellResult, Origin, Outcome};

use crate::output;

/// Columns of a report.
const WIDTH: usize = 98;

/// Prints the summary of many cells, or the report of one.
pub(crate) fn outcome(outcome: &Outcome) -> anyhow::Result<()> {
    let ledger = outcome.cells.iter().map(|cell| cell.ledger.render(WIDTH)).collect::<Vec<_>>();
    match &outcome.summary {
        Some(summary) => {
            let mut held_out: Vec<String> = outcome.cells.iter().flat_map(|cell| cell.held_out.clone()).collect();
            held_out.dedup();
            let seed = summary.summary.seeds.first().copied().unwrap_or_default();
            let provenance = provenance(&summary.origin, seed, held_out);
            output::line(render::summary(&summary.summary, &provenance, "").trim_end())?;
        }
        None => {
            for (cell, ledger) in outcome.cells.iter().zip(&ledger) {
                one(cell, ledger)?;
            }
        }
    }
    let mut remarks: Vec<&String> = outcome.cells.iter().flat_map(|cell| &cell.remarks).collect();
    remarks.sort();
    remarks.dedup();
    for remark in remarks {
        output::line(&format!("remark: {}", output::clean(remark)))?;
    }
    Ok(())
}

fn one(cell: &CellResult, ledger: &str) -> anyhow::Result<()> {
    let provenance = provenance(&cell.origin, cell.seed, cell.held_out.clone());
    match &cell.metrics {
        Some(metrics) => output::line(render::report(metrics, &provenance, ledger).trim_end())?,
        None => {
            if cell.origin.simulated {
                output::line(render::SIMULATED)?;
            }
            output::line(&format!("{}: fitted on all rows, UNTESTED", cell.origin.model))?;
        }
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
        selection: origin.selection.clone(),
        simulated: origin.simulated,
    }
}
