//! `stakeout import xgboost`.

use anyhow::{Context as _, bail};
use stakeout_core::{ChannelSpec, Checkpoint, Schema, View, WindowSpec, channels, class, files};
use stakeout_models::gbt::xgboost::XgbModel;

use super::export;
use crate::args::ImportXgboost;
use crate::{Context, Exit, output};

/// The largest model that is read.
const CAP: u64 = 1 << 30;

pub(crate) fn run(args: &ImportXgboost, context: &Context) -> anyhow::Result<Exit> {
    export::check_target(&args.out, args.force)?;
    let reading = || format!("reading {}", args.model.display());
    let json = files::read_regular(&args.model, CAP).with_context(reading)?;
    let model = XgbModel::read(&json).with_context(reading)?;
    drop(json);
    let (rounds, best, named) = (model.rounds(), model.best_iteration(), model.is_named());
    if model.is_simulated() {
        context.progress.say(stakeout_eval::render::SIMULATED);
    }
    let schema = schema(args, &model)?;
    let checkpoint = model
        .into_checkpoint(&schema)
        .with_context(|| format!("the features of {} are not those of {}", args.model.display(), origin(args)))?;
    checkpoint.write(&args.out)?;
    if !named {
        output::say("warning: the model names no features; they were taken in the order of the schema");
    }
    if let Some(best) = best.filter(|best| best + 1 < rounds) {
        output::say(&format!(
            "warning: all {rounds} rounds were taken, as Booster.predict does; for the best alone, which early stopping \
             found, export booster[:{}]",
            best + 1
        ));
    }
    let header = &checkpoint.header;
    if context.json {
        output::json(&serde_json::json!({
            "file": args.out, "model": header.kind, "rounds": rounds, "classes": header.schema.classes,
            "features": header.schema.geometry().features, "schema_hash": header.schema_hash, "tested": false,
        }))?;
    } else {
        output::line(&format!(
            "{}: gbt of {rounds} rounds, {} features, classes {}; untested",
            output::clean(&args.out.display().to_string()),
            header.schema.geometry().features,
            output::clean(&header.schema.classes.names().join(", "))
        ))?;
    }
    Ok(Exit::Ok)
}

fn origin(args: &ImportXgboost) -> String {
    match &args.schema {
        Some(path) => path.display().to_string(),
        None => "the built-in channels; --schema RUN|CHECKPOINT names others".into(),
    }
}

/// The schema that is asked for, else the one in the file, else the built-in one that has the model's features.
fn schema(args: &ImportXgboost, model: &XgbModel) -> anyhow::Result<Schema> {
    let own = model.schema()?;
    if let Some(path) = &args.schema {
        let given = Checkpoint::read(&export::checkpoint(path)?)?.header.schema;
        if let Some(own) = own {
            own.check_same(&given)
                .with_context(|| format!("the file was made for another schema than {}", path.display()))?;
        }
        return Ok(given);
    }
    if let Some(own) = own {
        return Ok(own);
    }
    if !model.is_named() {
        bail!("{} names no features: say with --schema RUN|CHECKPOINT what they are", args.model.display());
    }
    let built_in = |view| {
        let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
        stakeout_features::schema(all, view, WindowSpec::default(), class::built_in())
    };
    let (realistic, oracle) = (built_in(View::Realistic)?, built_in(View::Oracle)?);
    Ok(if model.fits(&realistic) || !model.fits(&oracle) { realistic } else { oracle })
}
