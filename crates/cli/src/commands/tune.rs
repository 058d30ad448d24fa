//! `stakeout tune`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use stakeout_core::{ModelEntry, files};
use stakeout_eval::Estimate;
use stakeout_eval::render::SIMULATED;
use stakeout_features::Inputs;
use stakeout_splits::Fold;
use stakeout_trainer::tune::{BEST, Found, SEARCH, Search, SearchDir, TuneKeys, complete};
use stakeout_trainer::{Dataset, Existing, Experiment, Reading, Request, RunInfo, rundir};

use super::{models, what};
use crate::args::Tune;
use crate::exit::ResumableSearch;
use crate::{Context, Exit, interrupt, output};

/// Trials of the last rung that are printed.
const SHOWN: usize = 10;

/// What decides a search: kept in `search.toml`.
struct Asked {
    experiment: Experiment,
    keys: TuneKeys,
    model: ModelEntry,
    /// The store as it was named.
    store: Option<PathBuf>,
    /// The outer fold; `None` for all of them.
    fold: Option<String>,
    all_folds: bool,
    out: Option<PathBuf>,
    existing: Existing,
    /// What an interrupted search was made with.
    before: Option<RunInfo>,
}

pub(crate) fn run(args: &Tune, context: &Context) -> anyhow::Result<Exit> {
    let asked = match &args.resume {
        Some(dir) => resumed(dir, context)?,
        None => asked(args, context)?,
    };
    search(&asked, context)
}

fn asked(args: &Tune, context: &Context) -> anyhow::Result<Asked> {
    let what::Asked { mut experiment, mut places, store, .. } = what::asked(&args.what)?;
    if let Some(recipe) = &args.recipe {
        experiment.recipe.clone_from(recipe);
        places.note(["recipe"], format!("--split {recipe}"));
    }
    experiment.check_names(&context.models, &context.recipes, &places)?;
    experiment.grid = None; // one model is tuned, on one view
    let mut keys = experiment.tune.clone().unwrap_or_default();
    if let Some(trials) = args.trials {
        keys.trials = trials;
    }
    let Some(name) = &args.model else { bail!("--model names what to tune") };
    let [model] = models::named(std::slice::from_ref(name), context)?[..] else {
        bail!("--model: one model is tuned at a time");
    };
    experiment.check_used(&[model], &places)?;
    Ok(Asked {
        model: model.clone(),
        experiment,
        keys,
        store,
        fold: args.fold.clone(),
        all_folds: args.all_folds,
        out: args.out.clone(),
        existing: if args.force { Existing::Replace } else { Existing::Refuse },
        before: None,
    })
}

fn resumed(dir: &Path, context: &Context) -> anyhow::Result<Asked> {
    let file = dir.join(SEARCH);
    if !file.exists() {
        bail!("{}: there is no {SEARCH}: it is not the directory of a search", dir.display());
    }
    let mut experiment = Experiment::read(Some(&file), &[])?;
    let (Some(before), Some(keys)) = (experiment.run.take(), experiment.tune.clone()) else {
        bail!("{}: it has no [run] or [tune] section: it was not written by `tune`", file.display())
    };
    Ok(Asked {
        model: context.models.get(&before.model)?.clone(),
        keys,
        store: before.store.clone(),
        fold: before.fold.clone(),
        all_folds: before.fold.is_none(),
        out: Some(dir.to_owned()),
        existing: Existing::Continue,
        before: Some(before),
        experiment,
    })
}

fn search(asked: &Asked, context: &Context) -> anyhow::Result<Exit> {
    let Asked { experiment, keys, model, .. } = asked;
    // What can be refused is refused before the corpus is read.
    keys.check()?;
    let base = complete(experiment, model)?;
    stakeout_trainer::tune::Space::read(&keys.space, model.kind.as_str(), &base)?;
    let recipe = context.recipes.configure(&experiment.recipe, &experiment.split.clone().into())?;
    if let (Some(out), Existing::Refuse) = (&asked.out, asked.existing) {
        SearchDir::check_free(out)?;
    }
    let inputs = Inputs::of((model.configure)(&base.model[model.kind.as_str()])?.input());
    let (named, store) = what::store(asked.store.as_deref(), context)?;
    let dataset =
        Dataset::open(&store, &Reading::of(experiment, inputs, &context.cache), &*context.progress, interrupt::flag())?;
    let request = Request { dataset: &dataset, store: named.as_deref(), experiment: &base, model, recipe: &*recipe };
    let folds = request.folds()?;
    let chosen: Vec<&Fold> = match &asked.fold {
        Some(name) => {
            let Some(fold) = folds.iter().find(|fold| fold.name() == name) else {
                let names: Vec<&str> = folds.iter().map(Fold::name).collect();
                bail!("--fold {name}: the recipe makes {}", names.join(", "));
            };
            vec![fold]
        }
        None if asked.all_folds => folds.iter().collect(),
        None => folds.iter().take(1).collect(),
    };
    let settings = asked.settings(&base, &chosen)?;
    let info = asked.info(&request, &chosen, &settings);
    if let Some(before) = &asked.before
        && (before.settings != info.settings
            || before.code_version != info.code_version
            || before.data_digest != info.data_digest
            || before.schema_hash != info.schema_hash)
    {
        let dir = asked.out.as_deref().unwrap_or(Path::new("")).display();
        bail!("{dir}: its {SEARCH}, the store or the code changed since; start again without --resume");
    }
    let root = asked.out.clone().unwrap_or_else(|| {
        let kind = model.kind.as_str();
        let name = rundir::default_name(kind, &base, &base.model[kind], &(settings.clone() + &dataset.digest));
        PathBuf::from("runs").join(format!("tune-{name}"))
    });
    let search = |fold| Search { request: &request, keys, outer: fold, recipes: &context.recipes };
    // A space that cannot be searched speaks before a finished search is replaced.
    for fold in &chosen {
        search(fold).check()?;
    }
    let dir = SearchDir::open(&root, asked.existing)?;
    let file = Experiment { run: Some(info), tune: Some(keys.clone()), ..base.clone() };
    files::write_atomic(&dir.path().join(SEARCH), file.to_toml()?.as_bytes())?;
    let mut results = Vec::new();
    for fold in &chosen {
        let own;
        let place = if asked.all_folds {
            own = dir.below(fold.name())?;
            &own
        } else {
            &dir
        };
        let found = search(fold)
            .run(place, &*context.progress, interrupt::flag())
            .map_err(|error| anyhow::Error::from(error).context(ResumableSearch(root.clone())))?;
        if !context.json {
            show(&found, place.path(), model, named.as_deref())?;
        }
        results.push(serde_json::json!({ "search": place.path(), "found": found }));
    }
    if context.json {
        match (results.len(), asked.all_folds) {
            (1, false) => output::json(&results.remove(0))?,
            _ => output::json(&results)?,
        }
    }
    Ok(Exit::Ok)
}

impl Asked {
    /// Digest of everything that decides the search but the data.
    fn settings(&self, base: &Experiment, folds: &[&Fold]) -> anyhow::Result<String> {
        let kind = self.model.kind.as_str();
        let names: Vec<&str> = folds.iter().map(|fold| fold.name()).collect();
        let text = [
            rundir::settings_digest(kind, base, &base.model[kind]),
            serde_json::to_string(&self.keys)?,
            names.join(","),
        ];
        Ok(blake3::hash(text.join("\n").as_bytes()).to_hex().to_string())
    }

    fn info(&self, request: &Request<'_>, folds: &[&Fold], settings: &str) -> RunInfo {
        RunInfo {
            model: self.model.kind.to_string(),
            store: request.store.map(Path::to_owned),
            data_digest: request.dataset.digest.clone(),
            schema_hash: request.dataset.schema.hash().as_str().to_owned(),
            code_version: env!("CARGO_PKG_VERSION").into(),
            settings: settings.to_owned(),
            split_seed: request.experiment.split_seed(),
            fold: if self.all_folds { None } else { folds.first().map(|fold| fold.name().to_owned()) },
        }
    }
}

/// The table of the last rung: the constant predictor first, then the best, then the configured settings.
fn show(found: &Found, dir: &Path, model: &ModelEntry, store: Option<&Path>) -> anyhow::Result<()> {
    if found.origin.simulated {
        output::line(&format!("{SIMULATED}\n"))?;
    }
    let rungs: Vec<String> = found.rungs.iter().map(|(trials, resource)| format!("{trials} x {resource}")).collect();
    for (name, text) in [
        ("model", found.origin.model.clone()),
        ("recipe", format!("{}, inside the training side of fold {}", found.origin.recipe, found.fold)),
        ("held out", format!("{} (not looked at)", found.held_out.join(", "))),
        ("chosen by", found.origin.selection.clone()),
        ("rungs", format!("{} of {} (trials x resource), {} fits", rungs.join(", "), found.resource, found.fits)),
        ("seed", found.seed.to_string()),
        ("schema", found.origin.schema_hash.chars().take(12).collect()),
    ] {
        output::line(&format!("{name:<10} {}", output::clean(&text)))?;
    }
    let keys: Vec<&String> = found.ranking.first().map(|best| best.settings.keys().collect()).unwrap_or_default();
    let mut header = vec!["trial", "macro F1", "log loss", "units", "inner folds"];
    header.extend(keys.iter().map(|key| key.as_str()));
    let units = |estimate: &Estimate| format!("{} {}s", estimate.n_units, estimate.unit);
    let mut rows = vec![{
        let constant = &found.constant;
        let mut row = vec![
            format!("constant ({})", constant.class),
            score(&constant.macro_f1),
            "-".into(),
            units(&constant.macro_f1),
            found.inner_folds.len().to_string(),
        ];
        row.resize(header.len(), "-".into());
        row
    }];
    for (place, ranked) in found.ranking.iter().enumerate() {
        if place >= SHOWN && ranked.trial != 0 {
            continue;
        }
        let name = match ranked.trial {
            0 => "0 (as configured)".to_owned(),
            trial => trial.to_string(),
        };
        let mut row = vec![
            name,
            score(&ranked.score.macro_f1),
            format!("{:.3}", ranked.score.log_loss),
            units(&ranked.score.macro_f1),
            ranked.score.n_folds.to_string(),
        ];
        row.extend(keys.iter().map(|key| ranked.settings[*key].to_string().trim_matches('"').to_owned()));
        rows.push(row);
    }
    output::line(&format!("\n{}\n", output::table(&header, &rows)))?;
    for failed in found.failed.iter().take(3) {
        output::line(&format!("failed: trial {}: {}", failed.trial, output::clean(&failed.why)))?;
    }
    for note in &found.notes {
        output::line(&format!("remark: {}", output::clean(note)))?;
    }
    let path = dir.join(BEST).display().to_string();
    let store = store.map(|store| format!(" --store {}", store.display())).unwrap_or_default();
    let command = format!("stakeout train --model {} --config {path}{store}", model.kind);
    output::line(&format!("\nbest settings: {}", output::clean(&path)))?;
    output::line(&format!("next: {}", output::clean(&command)))?;
    Ok(())
}

fn score(estimate: &Estimate) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    match (estimate.lo, estimate.hi) {
        (Some(lo), Some(hi)) => format!("{} [{lo:.3}, {hi:.3}]", number(estimate.point)),
        _ => format!("{} [no interval]", number(estimate.point)),
    }
}
