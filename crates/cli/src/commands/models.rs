//! `stakeout models`: the kinds that can be trained, models by name, and the way to the commands of a registry.

use anyhow::bail;
use stakeout_core::ModelEntry;
use stakeout_trainer::config::unknown_model;

use super::registry;
use crate::args::{Models, ModelsCommand};
use crate::{Context, Exit, output};

/// The models of a list of names, in its order; `all` is every registered one.
pub(crate) fn named<'a>(names: &[String], context: &'a Context) -> anyhow::Result<Vec<&'a ModelEntry>> {
    if names == ["all"] {
        return Ok(context.models.entries().iter().collect());
    }
    let mut models: Vec<&ModelEntry> = Vec::new();
    for name in names {
        let known = context.models.entries().iter().find(|entry| entry.kind.as_str() == name);
        let Some(entry) = known else { bail!("--model: {}", unknown_model(name, &context.models)) };
        if models.iter().any(|model| model.kind == entry.kind) {
            bail!("--model: {name} is named twice");
        }
        models.push(entry);
    }
    Ok(models)
}

pub(crate) fn run(args: &Models, context: &Context) -> anyhow::Result<Exit> {
    match &args.command {
        None | Some(ModelsCommand::Kinds) => kinds(context),
        Some(ModelsCommand::List(at)) => registry::list(at, context),
        Some(ModelsCommand::Show(args)) => registry::show(args, context),
        Some(ModelsCommand::Promote(args)) => registry::promote(args, context),
        Some(ModelsCommand::Rollback(args)) => registry::rollback(args, context),
        Some(ModelsCommand::Log(at)) => registry::log(at, context),
    }
}

fn kinds(context: &Context) -> anyhow::Result<Exit> {
    let entries = context.models.entries();
    if context.json {
        let list: Vec<_> =
            entries.iter().map(|entry| serde_json::json!({ "kind": entry.kind, "about": entry.about })).collect();
        output::json(&list)?;
    } else {
        let rows: Vec<Vec<String>> =
            entries.iter().map(|entry| vec![entry.kind.to_string(), entry.about.to_owned()]).collect();
        output::line(&output::table(&["model", "about"], &rows))?;
    }
    Ok(Exit::Ok)
}
