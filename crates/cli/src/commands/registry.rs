//! `stakeout models list | show | promote | rollback | log`.

use stakeout_evidence::registry::{Entry, read_log};
use stakeout_evidence::{EvidenceError, Registry, Verdict, render};
use stakeout_splits::instant;

use super::gate::{self, Filed};
use crate::args::{ModelsPromote, ModelsRollback, ModelsShow, RegistryAt};
use crate::{Context, Exit, output};

/// Characters of an address that are shown.
const SHORT: usize = 12;

pub(crate) fn list(at: &RegistryAt, context: &Context) -> anyhow::Result<Exit> {
    let registry = Registry::open(&at.registry)?;
    let (entries, pointer) = (registry.entries()?, registry.pointer()?);
    if context.json {
        let list: Vec<_> = entries.iter().map(json).collect();
        output::json(&serde_json::json!({ "registry": at.registry, "pointer": pointer, "models": list }))?;
    } else {
        let rows: Vec<Vec<String>> = entries
            .iter()
            .map(|entry| {
                let deployed = pointer.history.iter().rev().find(|step| step.id == entry.id);
                let when = deployed.map_or_else(String::new, |step| date(step.by.at));
                let about = match &entry.bundle {
                    Ok(bundle) => [
                        bundle.lineage.model.clone(),
                        bundle.lineage.recipe.clone(),
                        figure(bundle, "accuracy"),
                        figure(bundle, "calibration error"),
                        bundle.verdict.name().to_owned(),
                        if bundle.lineage.simulated { "simulated" } else { "recorded" }.to_owned(),
                    ],
                    Err(why) => [
                        String::new(),
                        String::new(),
                        String::new(),
                        String::new(),
                        format!("damaged: {why}"),
                        String::new(),
                    ],
                };
                [vec![entry.id[..SHORT].to_owned(), entry.state.name().to_owned()], about.to_vec(), vec![when]].concat()
            })
            .collect();
        let header = ["id", "state", "model", "recipe", "accuracy", "ECE", "verdict", "data", "deployed"];
        output::line(&output::table(&header, &rows))?;
        if pointer.current().is_none() {
            output::line("nothing is deployed")?;
        }
    }
    let damaged = entries.iter().any(|entry| entry.bundle.is_err());
    Ok(if damaged { Exit::Finding } else { Exit::Ok })
}

fn figure(bundle: &stakeout_evidence::Bundle, name: &str) -> String {
    let value = bundle.criteria.iter().find(|criterion| criterion.name == name).and_then(|criterion| criterion.value);
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

fn json(entry: &Entry) -> serde_json::Value {
    serde_json::json!({
        "id": entry.id, "state": entry.state, "path": entry.path,
        "bundle": entry.bundle.as_ref().ok(), "damaged": entry.bundle.as_ref().err(),
    })
}

pub(crate) fn show(args: &ModelsShow, context: &Context) -> anyhow::Result<Exit> {
    let registry = Registry::open(&args.at.registry)?;
    let entry = if args.id == "current" {
        let Some((id, _)) = registry.current()? else {
            anyhow::bail!("nothing is deployed in {}", args.at.registry.display())
        };
        registry.find(&id)?
    } else {
        registry.find(&args.id)?
    };
    let changed = entry.verify().err();
    let steps: Vec<_> = registry.pointer()?.history.into_iter().filter(|step| step.id == entry.id).collect();
    if context.json {
        let mut value = json(&entry);
        value["steps"] = serde_json::to_value(&steps)?;
        value["changed"] = changed.as_ref().map(ToString::to_string).into();
        output::json(&value)?;
    } else {
        output::line(&format!(
            "{} ({}), {}\n",
            entry.id,
            entry.state.name(),
            output::clean(&entry.path.display().to_string())
        ))?;
        match &entry.bundle {
            Ok(bundle) => output::line(render(bundle).trim_end())?,
            Err(why) => output::line(&format!("damaged: {}", output::clean(why)))?,
        }
        for step in &steps {
            let by = &step.by;
            let why = if by.why.is_empty() { String::new() } else { format!(": {}", by.why) };
            output::line(&output::clean(&format!("{} {} by {}{why}", date(by.at), step.action.name(), by.who)))?;
        }
        output::line(&match &changed {
            None => "files: as their address says".to_owned(),
            Some(error) => format!("finding: {}", output::clean(&error.to_string())),
        })?;
    }
    Ok(if changed.is_some() || entry.bundle.is_err() { Exit::Finding } else { Exit::Ok })
}

/// Nothing is deployed on an older judgement's word: the entry's files are judged again.
pub(crate) fn promote(args: &ModelsPromote, context: &Context) -> anyhow::Result<Exit> {
    let policy = gate::policy_of(&args.judged)?;
    let registry = Registry::open(&args.judged.at.registry)?;
    gate::signature(&args.judged.why).check()?;
    let stage = registry.stage()?;
    let seen = policy.needs_incumbent().then(|| registry.pointer()).transpose()?.map(|pointer| pointer.revision);
    let (entry, files) = registry.copy(&args.id, &stage)?;
    let bundle = gate::judged(&files, &policy, &args.judged, Some(&registry), context)?;
    let (by, place) = (gate::signature(&args.judged.why), entry.path.display().to_string());
    let filed = if bundle.verdict == Verdict::Deployable {
        if registry.promote(&stage, &bundle, seen, &place, &by)? { Filed::Promoted } else { Filed::Already }
    } else {
        registry.note(&bundle, &place, &by)?;
        Filed::Nowhere
    };
    gate::report(&bundle, &filed, true, &args.judged, context)
}

pub(crate) fn rollback(args: &ModelsRollback, context: &Context) -> anyhow::Result<Exit> {
    let registry = Registry::open(&args.at.registry)?;
    let id = registry.rollback(args.id.as_deref(), &gate::signature(&args.why))?;
    if context.json {
        output::json(&serde_json::json!({ "registry": args.at.registry, "current": id }))?;
    } else {
        output::line(&format!(
            "deployed again: {} is the current model of {}",
            &id[..SHORT],
            args.at.registry.display()
        ))?;
    }
    Ok(Exit::Ok)
}

pub(crate) fn log(at: &RegistryAt, context: &Context) -> anyhow::Result<Exit> {
    let registry = Registry::open(&at.registry)?;
    let records = match read_log(&registry) {
        Ok(records) => records,
        Err(error @ EvidenceError::Registry { .. }) => {
            output::line(&format!("finding: {}", output::clean(&error.to_string())))?;
            return Ok(Exit::Finding);
        }
        Err(error) => return Err(error.into()),
    };
    if context.json {
        output::json(&records)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            vec![
                record.n.to_string(),
                date(record.at),
                record.who.clone(),
                record.action.name().to_owned(),
                record.id.chars().take(SHORT).collect(),
                record.verdict.map_or_else(String::new, |verdict| verdict.name().to_owned()),
                record.why.clone(),
            ]
        })
        .collect();
    output::line(&output::table(&["", "when", "who", "action", "model", "verdict", "why"], &rows))?;
    if let Some(last) = records.last() {
        output::line(&format!("\nlast line: {} (kept elsewhere, it tells a log that was written anew)", last.digest))?;
    }
    Ok(Exit::Ok)
}

fn date(seconds: i64) -> String {
    instant(seconds.saturating_mul(1_000_000_000))
}
