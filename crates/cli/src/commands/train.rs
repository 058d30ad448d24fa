//! `stakeout train`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use stakeout_core::{ModelEntry, View};
use stakeout_features::Inputs;
use stakeout_trainer::{Dataset, Existing, Experiment, Outcome, Reading, Request, RunDir, rundir};

use super::{report, what};
use crate::args::{Train, ViewChoice};
use crate::exit::Resumable;
use crate::{Context, Exit, interrupt, output};

pub(crate) fn run(args: &Train, context: &Context) -> anyhow::Result<Exit> {
    match &args.resume {
        Some(dir) => resume(dir, context),
        None => start(args, context),
    }
}

fn start(args: &Train, context: &Context) -> anyhow::Result<Exit> {
    let (mut experiment, named) = what::experiment(&args.what)?;
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
    let runs = models.len() * views.len();
    if runs > 1 && args.out.is_some() {
        bail!("--out names one directory, but {runs} runs are asked for: leave it out");
    }
    // What can be refused is refused before the corpus is read.
    let recipe = context.recipes.configure(&experiment.recipe, &experiment.split.clone().into())?;
    let inputs = inputs(&models, &experiment)?;
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    if let (Some(out), Existing::Refuse) = (&args.out, existing) {
        RunDir::check_free(out)?;
    }
    let (named, store) = what::store(named.as_deref(), context)?;
    let mut results = Vec::new();
    for view in views {
        experiment.view = view;
        let dataset = Dataset::open(&store, &Reading::of(&experiment, inputs), &*context.progress, interrupt::flag())?;
        for model in &models {
            let request = Request {
                dataset: &dataset,
                store: named.as_deref(),
                experiment: &experiment,
                model,
                recipe: &*recipe,
            };
            results.push(train(&request, args.out.as_deref(), existing, context)?);
        }
    }
    print_json(results, context)
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
    if info.settings != rundir::settings_digest(&info.model, &experiment, &config)
        || info.code_version != env!("CARGO_PKG_VERSION")
    {
        bail!("run {}: its experiment.toml or the code changed since; start again without --resume", dir.display());
    }
    let recipe = context.recipes.configure(&experiment.recipe, &experiment.split.clone().into())?;
    let (named, store) = what::store(info.store.as_deref(), context)?;
    let inputs = inputs(&[model], &experiment)?;
    let dataset = Dataset::open(&store, &Reading::of(&experiment, inputs), &*context.progress, interrupt::flag())?;
    if dataset.digest != info.data_digest || dataset.schema.hash().as_str() != info.schema_hash {
        bail!("run {}: the store or the code that cuts it changed since; start again without --resume", dir.display());
    }
    experiment.run = Some(info);
    let request =
        Request { dataset: &dataset, store: named.as_deref(), experiment: &experiment, model, recipe: &*recipe };
    print_json(vec![train(&request, Some(dir), Existing::Continue, context)?], context)
}

/// Trains into a run directory and reports; returns what `--json` prints.
fn train(
    request: &Request<'_>,
    out: Option<&Path>,
    existing: Existing,
    context: &Context,
) -> anyhow::Result<serde_json::Value> {
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
    if !context.json {
        report::outcome(&outcome)?;
        super::account::print(&request.dataset.account)?;
        output::line(&format!("\nrun: {}", output::clean(&path.display().to_string())))?;
    }
    Ok(match outcome.summary {
        Some(summary) => serde_json::json!({ "run": path, "summary": summary }),
        None => serde_json::json!({ "run": path, "metrics": outcome.cells.first() }),
    })
}

/// One run is one object, several are an array.
fn print_json(mut results: Vec<serde_json::Value>, context: &Context) -> anyhow::Result<Exit> {
    if context.json {
        match results.len() {
            1 => output::json(&results.remove(0))?,
            _ => output::json(&results)?,
        }
    }
    Ok(Exit::Ok)
}

/// One model, or every registered one.
fn models<'a>(name: &str, context: &'a Context) -> anyhow::Result<Vec<&'a ModelEntry>> {
    if name == "all" { Ok(context.models.entries().iter().collect()) } else { Ok(vec![context.models.get(name)?]) }
}

/// Every `[model.<kind>]` section names a kind that this program knows and only settings that it has, and `[train]`
/// names settings that some model has: a typo in a section that this run does not use is still a typo.
fn check_sections(experiment: &Experiment, context: &Context) -> anyhow::Result<()> {
    for kind in experiment.model.keys() {
        let entry = context.models.get(kind)?;
        (entry.configure)(&experiment.model_config(entry)?)?;
    }
    if experiment.train.is_empty() {
        return Ok(());
    }
    let mut trained = false;
    for entry in context.models.entries() {
        let config = experiment.model_config(entry)?;
        if config.get("train").is_some() {
            (entry.configure)(&config)?;
            trained = true;
        }
    }
    if trained { Ok(()) } else { bail!("[train]: no model of this program has training settings") }
}

/// The inputs that the models take, so that no other is computed or kept.
fn inputs(models: &[&ModelEntry], experiment: &Experiment) -> anyhow::Result<Inputs> {
    let mut inputs = Inputs { summary: false, tensor: false };
    for model in models {
        let own = Inputs::of((model.configure)(&experiment.model_config(model)?)?.input());
        inputs.summary |= own.summary;
        inputs.tensor |= own.tensor;
    }
    Ok(inputs)
}
