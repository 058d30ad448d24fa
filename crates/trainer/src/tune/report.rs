//! What a search leaves for people and tools: its history as a table, its best settings as an experiment.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use stakeout_eval::Estimate;
use stakeout_eval::columns::{Values, write_columns};

use super::journal::Evaluation;
use super::score::score;
use super::{Found, Search};
use crate::{Experiment, TrainError};

/// Writes the history as parquet, one row a fit: trial, rung, resource, inner fold, seed, windows, macro F1, log loss,
/// why it failed, and a column for each setting that was searched.
pub(super) fn write_history(path: &Path, history: &[Evaluation]) -> Result<(), TrainError> {
    let whole = |of: &dyn Fn(&Evaluation) -> u64| Values::Whole(history.iter().map(of).collect());
    let real = |of: &dyn Fn(&Evaluation) -> Option<f64>| Values::Real(history.iter().map(of).collect());
    let text = |of: &dyn Fn(&Evaluation) -> String| Values::Text(history.iter().map(of).collect());
    let scores = |made: &Evaluation| made.scored.as_ref().map(|scored| score(&[made], scored.train.windows.len()));
    let windows = |made: &Evaluation| {
        made.scored.as_ref().map_or(0, |scored| scored.cells.iter().map(|cell| u64::from(cell.3)).sum())
    };
    let mut columns = vec![
        ("trial".to_owned(), whole(&|made| made.trial as u64)),
        ("rung".to_owned(), whole(&|made| made.rung as u64)),
        ("resource".to_owned(), whole(&|made| made.resource)),
        ("inner_fold".to_owned(), text(&|made| made.fold.clone())),
        ("seed".to_owned(), whole(&|made| made.seed)),
        ("windows".to_owned(), whole(&windows)),
        ("macro_f1".to_owned(), real(&|made| scores(made).and_then(|score| score.macro_f1))),
        ("log_loss".to_owned(), real(&|made| scores(made).map(|score| score.log_loss))),
        ("failed".to_owned(), text(&|made| made.failed.clone().unwrap_or_default())),
    ];
    let keys: Vec<&String> = history.first().map(|made| made.settings.keys().collect()).unwrap_or_default();
    for key in keys {
        let numbers = history.iter().all(|made| made.settings.get(key).is_some_and(Value::is_number));
        let values = if numbers {
            real(&|made| made.settings.get(key).and_then(Value::as_f64))
        } else {
            text(&|made| made.settings.get(key).map(plain).unwrap_or_default())
        };
        columns.push((key.clone(), values));
    }
    Ok(write_columns(path, &columns)?)
}

/// A value as it is shown: text without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The best settings as an experiment that `train --config` takes, headed by how they were chosen. Where the recipe has
/// many folds and can be told to make one alone, it makes the outer fold alone: the others have hosts on their test
/// sides that took part in the choice.
///
/// # Errors
/// [`TrainError::Config`] for a value that TOML cannot hold.
pub fn best_toml(search: &Search<'_>, found: &Found, mut best: Experiment) -> Result<String, TrainError> {
    let mut text = String::new();
    let Some(first) = found.ranking.first() else { return Err(TrainError::Data("no trial was made".into())) };
    let configured = found.ranking.iter().find(|ranked| ranked.trial == 0);
    let configured = configured.map_or("failed".to_owned(), |ranked| shown(&ranked.score.macro_f1));
    let lines = [
        format!(
            "Settings of `{}`, the best of {} tried by `stakeout tune`, trial {}.",
            found.origin.model, found.trials, first.trial
        ),
        format!(
            "Chosen by {} of fold {} of recipe {}.",
            found.origin.selection, found.fold, found.origin.recipe
        ),
        format!(
            "Macro F1 there: constant {}, as configured {configured}, these {} over {} {}s.",
            shown(&found.constant.macro_f1),
            shown(&first.score.macro_f1),
            first.score.macro_f1.n_units,
            first.score.macro_f1.unit
        ),
        "The best of many is flattered by the windows that chose it. The test side chose nothing; it has not been asked.".into(),
    ];
    for line in lines {
        let _ = writeln!(text, "# {}", stakeout_core::text::printable(&line, 400)); // a String cannot refuse
    }
    match alone(search) {
        Alone::Only => {}
        Alone::Told(split) => {
            text.push_str("# split.only keeps to that fold: test sides of the others took part in the choice.\n");
            best.split = split;
        }
        Alone::Cannot(folds) => {
            let _ = writeln!(
                text,
                "# Of the {folds} folds of the recipe, only the test side of {} took no part in the choice.",
                found.fold
            );
        }
    }
    best.chosen = format!(
        "`stakeout tune`, the best of {} by {} of fold {} of recipe {}",
        found.trials, found.origin.selection, found.fold, found.origin.recipe
    );
    text.push('\n');
    text.push_str(&best.to_toml()?);
    Ok(text)
}

/// How a recipe can be held to the outer fold.
enum Alone {
    /// It has no other.
    Only,
    /// With these settings.
    Told(serde_json::Map<String, Value>),
    /// It cannot, and has so many.
    Cannot(usize),
}

fn alone(search: &Search<'_>) -> Alone {
    let request = search.request;
    let folds = |split: &serde_json::Map<String, Value>| {
        let recipe = search.recipes.configure(&request.experiment.recipe, &Value::Object(split.clone())).ok()?;
        recipe.folds(&request.dataset.index, request.experiment.split_seed()).ok()
    };
    let count = request.folds().map_or(0, |folds| folds.len());
    if count == 1 {
        return Alone::Only;
    }
    let mut split = request.experiment.split.clone();
    split.insert("only".into(), Value::from(search.outer.held_out().iter().take(1).cloned().collect::<Vec<_>>()));
    match folds(&split).as_deref() {
        Some([fold]) if fold == search.outer => Alone::Told(split),
        _ => Alone::Cannot(count),
    }
}

fn shown(estimate: &Estimate) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    match (estimate.lo, estimate.hi) {
        (Some(lo), Some(hi)) => format!("{} [{lo:.3}, {hi:.3}]", number(estimate.point)),
        _ => number(estimate.point),
    }
}
