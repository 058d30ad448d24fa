//! `stakeout train` over more than one model, view or scaler: one directory, one table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stakeout_core::View;
use stakeout_eval::render::{self, GridEntry, GridReport, GridRow};
use stakeout_trainer::grid::{CellScores, GridCellResult, read_settings};
use stakeout_trainer::{Account, Existing, Grid, GridDir, GridOutcome, ScalerChoice};

use super::{account, what};
use crate::exit::{self, Resumable};
use crate::{Context, Exit, interrupt, output};

/// Trains a new grid.
pub(crate) fn start(
    grid: &Grid<'_>,
    out: Option<&Path>,
    existing: Existing,
    context: &Context,
) -> anyhow::Result<Exit> {
    let path = match out {
        Some(out) => out.to_owned(),
        None => PathBuf::from("runs").join(grid.default_name()?),
    };
    if existing == Existing::Refuse {
        GridDir::check_free(&path)?;
    }
    // Everything that can refuse has spoken before a finished grid is replaced.
    let first = grid.first_view(&*context.progress, interrupt::flag())?;
    let dir = GridDir::open(&path, existing)?;
    let outcome = grid.train(&dir, Some(first), &*context.progress, interrupt::flag());
    finish(outcome.map_err(|error| anyhow::Error::from(error).context(Resumable(path.clone())))?, &path, context)
}

/// Goes on with a grid that was interrupted, and tries again what failed.
pub(crate) fn resume(path: &Path, context: &Context) -> anyhow::Result<Exit> {
    let (experiment, record) = read_settings(path)?;
    let keys = experiment.grid.clone().unwrap_or_default();
    let models = keys.models.iter().map(|kind| context.models.get(kind)).collect::<Result<Vec<_>, _>>()?;
    let recipe = context.recipes.configure(&experiment.recipe, &experiment.split.clone().into())?;
    let (named, store) = what::store(record.store.as_deref(), context)?;
    let grid = Grid {
        experiment: &experiment,
        models,
        views: keys.views,
        scalers: keys.scalers,
        recipe: &*recipe,
        named: named.as_deref(),
        store: &store,
        cache: &context.cache,
    };
    grid.check_continues(path, &record)?;
    let dir = GridDir::open(path, Existing::Continue)?;
    let outcome = grid.train(&dir, None, &*context.progress, interrupt::flag());
    finish(outcome.map_err(|error| anyhow::Error::from(error).context(Resumable(path.to_owned())))?, path, context)
}

/// Prints the table; the exit code is that of the worst failure.
fn finish(outcome: GridOutcome, path: &Path, context: &Context) -> anyhow::Result<Exit> {
    if context.json {
        let seconds: Vec<_> = outcome.seconds.iter().map(|seconds| seconds.map(|(seconds, _)| seconds)).collect();
        let rows: Vec<_> =
            outcome.accounts.iter().map(|(view, rows)| serde_json::json!({ "view": view, "rows": rows })).collect();
        output::json(&serde_json::json!({
            "grid": path, "result": outcome.result, "fit_and_score_seconds": seconds, "read": rows,
        }))?;
    } else {
        output::line(render::grid(&report(&outcome)).trim_end())?;
        accounts(&outcome.accounts)?;
        let dir = output::clean(&path.display().to_string());
        output::line(&format!("\ngrid: {dir}; each run has its own report: {dir}/<model>-<view>-<scaler>"))?;
    }
    let failed = outcome.result.cells.iter().filter(|cell| cell.failed.is_some()).count();
    if failed == 0 {
        return Ok(Exit::Ok);
    }
    output::say(&format!(
        "error: {failed} of {} cells failed; `stakeout train --resume {}` tries them again",
        outcome.result.cells.len(),
        path.display()
    ));
    let codes = outcome.failures.into_iter().map(|error| exit::classify(&anyhow::Error::from(error)));
    Ok(codes.max_by_key(|exit| i32::from(*exit)).unwrap_or(Exit::Internal))
}

/// What became of the rows: once where every view read the same, else view by view.
fn accounts(accounts: &[(View, Account)]) -> std::io::Result<()> {
    match accounts.split_first() {
        None => Ok(()),
        Some(((_, first), rest)) if rest.iter().all(|(_, other)| other == first) => account::print(first),
        Some(_) => accounts.iter().try_for_each(|(view, own)| account::print_of(own, &format!(" ({view})"))),
    }
}

fn report(outcome: &GridOutcome) -> GridReport {
    let result = &outcome.result;
    let done: Vec<&CellScores> = result.cells.iter().filter_map(|cell| cell.result.as_ref()).collect();
    let held_out: BTreeSet<&String> = done.iter().flat_map(|cell| &cell.held_out).collect();
    let groups = result.views.iter().flat_map(|view| result.scalers.iter().map(move |scaler| (*view, *scaler)));
    let groups: Vec<(View, ScalerChoice)> = groups.collect();
    GridReport {
        simulated: done.iter().any(|cell| cell.origin.simulated),
        provenance: provenance(outcome, &done),
        held_out: held_out.into_iter().cloned().collect(),
        bootstrap: done.iter().find_map(|cell| cell.scores.as_ref()).map(|scores| scores.bootstrap),
        groups: groups.iter().map(|(view, scaler)| format!("{view}, {}", scaler.name())).collect(),
        rows: rows(outcome, &groups),
        notes: notes(outcome, &done),
    }
}

fn provenance(outcome: &GridOutcome, done: &[&CellScores]) -> Vec<(String, String)> {
    let result = &outcome.result;
    let s = |n: usize| if n == 1 { "" } else { "s" };
    let count = |n: usize, what: &str| format!("{n} {what}{}", s(n));
    let shape =
        [count(result.models.len(), "model"), count(result.views.len(), "view"), count(result.scalers.len(), "scaler")];
    let seeds: Vec<String> = result.seeds.iter().map(u64::to_string).collect();
    let mut lines = vec![
        ("grid", shape.join(" × ")),
        ("recipe", result.recipe.clone()),
        (if seeds.len() == 1 { "seed" } else { "seeds" }, seeds.join(", ")),
    ];
    if let Some(first) = done.first() {
        lines.push(("corpus", format!("{}, data {}", first.origin.corpus, result.data_digest)));
    }
    for (_, text) in grouped(&done.iter().map(|cell| (&cell.origin.view, &cell.origin.schema_hash))) {
        lines.push(("schema", text));
    }
    for scaler in distinct(done.iter().map(|cell| &cell.origin.scaler)) {
        lines.push(("scaler", scaler.clone()));
    }
    for (_, text) in grouped(&done.iter().map(|cell| (&cell.origin.model, &cell.origin.selection))) {
        lines.push(("selection", text));
    }
    let scores = done.iter().filter_map(|cell| cell.scores.as_ref());
    let classes: Vec<&str> = distinct(scores.map(|scores| &scores.constant_class)).iter().map(|s| s.as_str()).collect();
    if !classes.is_empty() {
        lines.push((
            "constant",
            format!("{}: the majority of the training side, whatever the window", classes.join("; ")),
        ));
    }
    lines.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

/// `a, b: text` for every text, in the order of its first mention.
fn grouped<'a>(pairs: &(impl Iterator<Item = (&'a String, &'a String)> + Clone)) -> Vec<(&'a String, String)> {
    let texts = distinct(pairs.clone().map(|(_, text)| text));
    let line = |text: &'a String| {
        let names = distinct(pairs.clone().filter(|(_, own)| *own == text).map(|(name, _)| name));
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        (text, format!("{}: {text}", names.join(", ")))
    };
    texts.into_iter().map(line).collect()
}

fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut seen = BTreeSet::new();
    texts.filter(|text| seen.insert(*text)).collect()
}

/// The constant predictor first, then the models as they were named. A model that is the constant predictor itself
/// stands in its row.
fn rows(outcome: &GridOutcome, groups: &[(View, ScalerChoice)]) -> Vec<GridRow> {
    const CONSTANT: &str = "constant";
    let result = &outcome.result;
    let baseline = |group: &(View, ScalerChoice)| {
        let own = entry(outcome, CONSTANT, *group);
        if matches!(own, GridEntry::Scored { .. }) {
            return own;
        }
        // What any other model of the group was compared with.
        let mut other = result.cells.iter().filter(|cell| (cell.view, cell.scaler) == *group);
        match other.find_map(|cell| cell.result.as_ref()?.scores.as_ref()) {
            Some(scores) => {
                GridEntry::Scored { macro_f1: scores.constant, accuracy: scores.constant_accuracy, seconds: None }
            }
            None => own,
        }
    };
    let mut rows = vec![GridRow { name: CONSTANT.to_owned(), entries: groups.iter().map(baseline).collect() }];
    for model in result.models.iter().filter(|model| *model != CONSTANT) {
        let entries = groups.iter().map(|group| entry(outcome, model, *group)).collect();
        rows.push(GridRow { name: model.clone(), entries });
    }
    rows
}

fn entry(outcome: &GridOutcome, model: &str, group: (View, ScalerChoice)) -> GridEntry {
    let of = |cell: &GridCellResult| cell.model == model && (cell.view, cell.scaler) == group;
    let Some(at) = outcome.result.cells.iter().position(of) else { return GridEntry::Failed };
    match &outcome.result.cells[at].result {
        None => GridEntry::Failed,
        Some(CellScores { scores: None, .. }) => GridEntry::Untested,
        Some(CellScores { scores: Some(scores), .. }) => {
            GridEntry::Scored { macro_f1: scores.macro_f1, accuracy: scores.accuracy, seconds: outcome.seconds[at] }
        }
    }
}

/// What holds of every cell, and why cells failed; each run has its own notes besides.
fn notes(outcome: &GridOutcome, done: &[&CellScores]) -> Vec<String> {
    let mut notes: Vec<String> = match done.split_first() {
        None => Vec::new(),
        Some((first, rest)) => {
            let everywhere = |note: &&String| rest.iter().all(|cell| cell.notes.contains(note));
            first.notes.iter().filter(everywhere).cloned().collect()
        }
    };
    let measured: Vec<(f64, bool)> = outcome.seconds.iter().flatten().copied().collect();
    if !measured.is_empty() {
        let more =
            if measured.iter().any(|(_, more)| *more) { "; > without what an interrupted process spent" } else { "" };
        notes.push(format!("seconds: wall clock of fit and scores, all folds and seeds{more}"));
    }
    for cell in &outcome.result.cells {
        if let Some(reason) = &cell.failed {
            notes.push(format!("{} failed: {reason}", cell.run));
        }
    }
    notes
}
