//! `stakeout split`: folds and ledger without training.

use stakeout_core::Clock;
use stakeout_eval::render::SIMULATED;
use stakeout_features::Inputs;
use stakeout_splits::{Ledger, Separates};
use stakeout_trainer::{Dataset, Reading};

use super::what::{self, Asked};
use crate::args::Split;
use crate::{Context, Exit, interrupt, output};

pub(crate) fn run(args: &Split, context: &Context) -> anyhow::Result<Exit> {
    let Asked { mut experiment, mut places, store: named, .. } = what::asked(&args.what)?;
    if let Some(recipe) = &args.recipe {
        experiment.recipe.clone_from(recipe);
        places.note(["recipe"], format!("--split {recipe}"));
    }
    experiment.check_names(&context.models, &context.recipes, &places)?;
    let recipe = context.recipes.configure(&experiment.recipe, &experiment.split.clone().into())?;
    let (_, store) = what::store(args.path.as_deref().or(named.as_deref()), context)?;
    // The ledger needs labels, times and digests; no statistic of a window is kept.
    let reading = Reading::of(&experiment, Inputs { summary: false, tensor: false }, &context.cache);
    let dataset = Dataset::open(&store, &reading, &*context.progress, interrupt::flag())?;
    let folds = recipe.folds(&dataset.index, experiment.split_seed())?;
    let ledgers =
        folds.iter().map(|fold| Ledger::new(&dataset.index, fold, recipe.min_cell())).collect::<Result<Vec<_>, _>>()?;
    if context.json {
        let folds: Vec<_> = folds
            .iter()
            .zip(&ledgers)
            .map(|(fold, ledger)| {
                serde_json::json!({
                    "name": fold.name(),
                    "held_out": fold.held_out(),
                    "windows": { "train": fold.train().len(), "validation": fold.validation().len(), "test": fold.test().len() },
                    "dropped": fold.dropped().iter().map(|d| (d.reason.clone(), d.rows.len())).collect::<std::collections::BTreeMap<_, _>>(),
                    "notes": fold.notes(),
                    "ledger": ledger,
                })
            })
            .collect();
        output::json(&serde_json::json!({
            "recipe": experiment.recipe, "simulated": dataset.simulated, "rows": dataset.account, "folds": folds,
        }))?;
        return Ok(Exit::Ok);
    }
    if dataset.simulated {
        output::line(&format!("{SIMULATED}\n"))?;
    }
    let rows: Vec<Vec<String>> = folds
        .iter()
        .map(|fold| {
            vec![
                fold.name().to_owned(),
                fold.train().len().to_string(),
                fold.validation().len().to_string(),
                fold.test().len().to_string(),
                fold.dropped().iter().map(|d| format!("{} {}", d.rows.len(), d.reason)).collect::<Vec<_>>().join(", "),
            ]
        })
        .collect();
    output::line(&output::table(&["fold", "train", "validation", "test", "in no side"], &rows))?;
    if dataset.schema.window.clock == Clock::Index && recipe.separates() == Separates::Time {
        output::line(
            "\nnote: the clock of this corpus is made up: \"later\" is the order in which the importer laid the",
        )?;
        output::line("      episodes, and says nothing about a later month")?;
    }
    for (fold, ledger) in folds.iter().zip(&ledgers) {
        output::line(&format!("\nfold {}", output::clean(fold.name())))?;
        for note in fold.notes() {
            output::line(&format!("note: {}", output::clean(note)))?;
        }
        output::line(&ledger.to_string())?;
    }
    super::account::print(&dataset.account)?;
    Ok(Exit::Ok)
}
