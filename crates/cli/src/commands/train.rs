//! `stakeout train`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use stakeout_core::{ModelEntry, View};
use stakeout_features::Inputs;
use stakeout_trainer::{Dataset, Existing, Experiment, Outcome, Reading, Request, RunDir, rundir};

use super::{report, what};
use crate::args::{Train, ViewChoice};
use crate::{Context, Exit, interrupt, output};

pub(crate) fn run(args: &Train, context: &Context) -> anyhow::Result<Exit> {
    match &args.resume {
        Some(dir) => resume(dir, context),
        None => start(args, context),
    }
}

fn start(args: &Train, context: &Context) -> anyhow::Result<Exit> {
    let mut experiment = what::experiment(&args.what)?;
    if let Some(recipe) = &args.recipe {
        experiment.recipe.clone_from(recipe);
    }
    if let Some(device) = &args.device {
        experiment.device = device.parse()?;
    }
    experiment.refit_all |= args.refit_all;
    let views = match args.view {
        None => vec![experiment.view],
        Some(ViewChoice::Realistic) => vec![View::Realistic],
        Some(ViewChoice::Oracle) => vec![View::Oracle],
        Some(ViewChoice::Both) => vec![View::Realistic, View::Oracle],
    };
    let models = models(args.model.as_deref().unwrap_or("all"), context)?;
    check_sections(&experiment, context)?;
    let many = models.len() * views.len() > 1;
    if many && args.out.is_some() {
        bail!("--out names one directory, but {} runs are asked for: leave it out", models.len() * views.len());
    }
    let inputs = inputs(&models, &experiment)?;
    let (named, store) = what::store(args.what.store.as_deref(), context)?;
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    for view in views {
        experiment.view = view;
        let dataset = Dataset::open(&store, &Reading::of(&experiment, inputs), &*context.progress, interrupt::flag())?;
        for model in &models {
            train(model, &experiment, &dataset, named.as_deref(), args.out.as_deref(), existing, context)?;
        }
    }
    Ok(Exit::Ok)
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
    let (named, store) = what::store(info.store.as_deref(), context)?;
    let inputs = inputs(&[model], &experiment)?;
    let dataset = Dataset::open(&store, &Reading::of(&experiment, inputs), &*context.progress, interrupt::flag())?;
    if dataset.digest != info.data_digest || dataset.schema.hash().as_str() != info.schema_hash {
        bail!("run {}: the store or the code that cuts it changed since; start again without --resume", dir.display());
    }
    experiment.run = Some(info);
    train(model, &experiment, &dataset, named.as_deref(), Some(dir), Existing::Continue, context)?;
    Ok(Exit::Ok)
}

fn train(
    model: &ModelEntry,
    experiment: &Experiment,
    dataset: &Dataset,
    store: Option<&Path>,
    out: Option<&Path>,
    existing: Existing,
    context: &Context,
) -> anyhow::Result<()> {
    let recipe = context.recipes.configure(&experiment.recipe, &experiment.split.clone().into())?;
    let request = Request { dataset, store, experiment, model, recipe: &*recipe };
    let config = request.model_config()?;
    let path = out.map_or_else(
        || {
            let name = rundir::default_name(model.kind.as_str(), experiment, &config, &dataset.digest);
            PathBuf::from("runs").join(name)
        },
        Path::to_owned,
    );
    let dir = RunDir::open(&path, existing)?;
    let outcome: Outcome = request.train(&dir, &*context.progress, interrupt::flag())?;
    if context.json {
        match &outcome.summary {
            Some(summary) => output::json(&serde_json::json!({ "run": path, "summary": summary }))?,
            None => output::json(&serde_json::json!({ "run": path, "metrics": outcome.cells.first() }))?,
        }
    } else {
        report::outcome(&outcome)?;
        super::account::print(&dataset.account)?;
        output::line(&format!("\nrun: {}", path.display()))?;
    }
    Ok(())
}

/// One model, or every registered one.
fn models<'a>(name: &str, context: &'a Context) -> anyhow::Result<Vec<&'a ModelEntry>> {
    if name == "all" { Ok(context.models.entries().iter().collect()) } else { Ok(vec![context.models.get(name)?]) }
}

/// Every `[model.<kind>]` section names a kind that this program knows.
fn check_sections(experiment: &Experiment, context: &Context) -> anyhow::Result<()> {
    for kind in experiment.model.keys() {
        context.models.get(kind)?;
    }
    Ok(())
}

/// The inputs that the models take, so that no other is computed or kept.
fn inputs(models: &[&ModelEntry], experiment: &Experiment) -> anyhow::Result<Inputs> {
    let mut inputs = Inputs { summary: false, tensor: false };
    for model in models {
        let estimator = (model.configure)(&experiment.model_config(model)?)?;
        let own = Inputs::of(estimator.input());
        inputs.summary |= own.summary;
        inputs.tensor |= own.tensor;
    }
    Ok(inputs)
}
