//! `stakeout train`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use stakeout_core::View;
use stakeout_trainer::grid::{inputs, is_grid};
use stakeout_trainer::{Dataset, Existing, Grid, GridDir, Outcome, Reading, Request, RunDir, ScalerChoice, rundir};

use super::what::{self, Asked};
use super::{grid, models, report};
use crate::args::{Scaling, Train, ViewChoice};
use crate::exit::Resumable;
use crate::{Context, Exit, interrupt, output};

pub(crate) fn run(args: &Train, context: &Context) -> anyhow::Result<Exit> {
    match &args.resume {
        Some(dir) if is_grid(dir) => grid::resume(dir, context),
        Some(dir) => resume(dir, context),
        None => start(args, context),
    }
}

fn start(args: &Train, context: &Context) -> anyhow::Result<Exit> {
    let Asked { mut experiment, mut places, store: named, model } = what::asked(&args.what)?;
    if let Some(recipe) = &args.recipe {
        experiment.recipe.clone_from(recipe);
        places.note(["recipe"], format!("--split {recipe}"));
    }
    if let Some(device) = &args.device {
        experiment.device = device.parse()?;
    }
    experiment.refit_all |= args.refit_all;
    // What can be refused is refused before the corpus is read.
    experiment.check_names(&context.models, &context.recipes, &places)?;
    let keys = experiment.grid.take().unwrap_or_default();
    let models = match (&args.model, &keys.models, model) {
        (given, _, _) if !given.is_empty() => models::named(given, context)?,
        (_, listed, _) if !listed.is_empty() => models::named(listed, context)?,
        (_, _, Some(own)) => models::named(&[own], context)?,
        _ => bail!("give --model: the configuration names no model in [grid]"),
    };
    experiment.check_used(&models, &places)?;
    let views = match args.view {
        Some(ViewChoice::Realistic) => vec![View::Realistic],
        Some(ViewChoice::Oracle) => vec![View::Oracle],
        Some(ViewChoice::Both) => vec![View::Realistic, View::Oracle],
        None if keys.views.is_empty() => vec![experiment.view],
        None => once_each("views", keys.views)?,
    };
    let scalers = match args.scaler.as_slice() {
        [] if keys.scalers.is_empty() => vec![experiment.scaler],
        [] => once_each("scalers", keys.scalers)?,
        given => once_each("--scaler", given.iter().map(|scaling| choice(*scaling)).collect())?,
    };
    let recipe = context.recipes.configure(&experiment.recipe, &experiment.split.clone().into())?;
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    let out = args.out.as_deref();
    if let ([model], &[view], &[scaler]) = (models.as_slice(), views.as_slice(), scalers.as_slice()) {
        (experiment.view, experiment.scaler) = (view, scaler);
        if let (Some(out), Existing::Refuse) = (out, existing) {
            RunDir::check_free(out)?;
        }
        let inputs = inputs(&[model], &experiment)?;
        let (named, store) = what::store(named.as_deref(), context)?;
        let dataset = Dataset::open(
            &store,
            &Reading::of(&experiment, inputs, &context.cache),
            &*context.progress,
            interrupt::flag(),
        )?;
        let (named, experiment) = (named.as_deref(), &experiment);
        return train(
            &Request { dataset: &dataset, store: named, experiment, model, recipe: &*recipe },
            out,
            existing,
            context,
        );
    }
    if let (Some(out), Existing::Refuse) = (out, existing) {
        GridDir::check_free(out)?;
    }
    let (named, store) = what::store(named.as_deref(), context)?;
    let grid = Grid {
        experiment: &experiment,
        models,
        views,
        scalers,
        recipe: &*recipe,
        named: named.as_deref(),
        store: &store,
        cache: &context.cache,
    };
    grid::start(&grid, out, existing, context)
}

fn choice(scaling: Scaling) -> ScalerChoice {
    match scaling {
        Scaling::None => ScalerChoice::None,
        Scaling::Global => ScalerChoice::Global,
        Scaling::HostClean => ScalerChoice::HostClean,
    }
}

fn once_each<T: PartialEq>(what: &str, list: Vec<T>) -> anyhow::Result<Vec<T>> {
    if (1..list.len()).any(|i| list[..i].contains(&list[i])) {
        bail!("{what}: name each once");
    }
    Ok(list)
}

fn resume(dir: &Path, context: &Context) -> anyhow::Result<Exit> {
    let mut experiment = rundir::read_experiment(dir)?;
    let Some(info) = experiment.run.clone() else {
        bail!("run {}: experiment.toml has no [run] section: it was not written by `train`", dir.display())
    };
    if info.fold.is_some() {
        bail!("run {} is one cell of a larger run: resume that one", dir.display());
    }
    let model = context.models.get(&info.model)?;
    let config = (model.configure)(&experiment.model_config(model)?)?.config();
    info.check_settings(dir, &rundir::settings_digest(&info.model, &experiment, &config))?;
    let recipe = context.recipes.configure(&experiment.recipe, &experiment.split.clone().into())?;
    let (named, store) = what::store(info.store.as_deref(), context)?;
    let inputs = inputs(&[model], &experiment)?;
    let dataset = Dataset::open(
        &store,
        &Reading::of(&experiment, inputs, &context.cache),
        &*context.progress,
        interrupt::flag(),
    )?;
    info.check_data(dir, &dataset)?;
    experiment.run = Some(info);
    let request =
        Request { dataset: &dataset, store: named.as_deref(), experiment: &experiment, model, recipe: &*recipe };
    train(&request, Some(dir), Existing::Continue, context)
}

/// Trains into a run directory and reports.
fn train(request: &Request<'_>, out: Option<&Path>, existing: Existing, context: &Context) -> anyhow::Result<Exit> {
    let config = request.model_config()?;
    let path = out.map_or_else(
        || {
            let kind = request.model.kind.as_str();
            let name = rundir::default_name(kind, request.experiment, &config, &request.dataset.digest);
            PathBuf::from("runs").join(name)
        },
        Path::to_owned,
    );
    // Everything that can refuse has spoken before a finished run is replaced.
    let folds = request.folds()?;
    let dir = RunDir::open(&path, existing)?;
    let outcome: Outcome = request
        .train(&folds, &dir, &*context.progress, interrupt::flag())
        .map_err(|error| anyhow::Error::from(error).context(Resumable(path.clone())))?;
    if context.json {
        output::json(&match outcome.summary {
            Some(summary) => serde_json::json!({ "run": path, "summary": summary }),
            None => serde_json::json!({ "run": path, "metrics": outcome.cells.first() }),
        })?;
    } else {
        report::outcome(&outcome, context.verbose)?;
        super::account::print(&request.dataset.account)?;
        output::line(&format!("\nrun: {}", output::clean(&path.display().to_string())))?;
    }
    Ok(Exit::Ok)
}
