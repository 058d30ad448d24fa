//! `stakeout gate`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use stakeout_evidence::registry::Signature;
use stakeout_evidence::{Asked, Bundle, Policy, Registry, Snapshot, Verdict, judge, policy, render};
use stakeout_trainer::rundir;

use super::what;
use crate::args::{Gate, Judged};
use crate::{Context, Exit, interrupt, output};

/// What became of a judged run.
pub(crate) enum Filed {
    /// Nothing: it was refused, or only judged.
    Nowhere,
    /// It lies among the candidates, or where it was.
    Kept,
    /// It is deployed.
    Promoted,
    /// It was deployed already.
    Already,
}

pub(crate) fn run(args: &Gate, context: &Context) -> anyhow::Result<Exit> {
    let Some(run) = &args.run else {
        output::line(policy::DEFAULT.trim_end())?;
        return Ok(Exit::Ok);
    };
    let policy = policy_of(&args.judged)?;
    if args.dry_run {
        let folder = tempfile::tempdir().context("making a temporary folder")?;
        let files = Snapshot::take(run, &folder.path().join("entry"))?;
        let registry = Registry::open(&args.judged.at.registry).ok();
        let bundle = judged(&files, &policy, &args.judged, registry.as_ref(), context)?;
        return report(&bundle, &Filed::Nowhere, false, &args.judged, context);
    }
    // What is wrong with the words is said before a folder is made, and before minutes of work.
    signature(&args.judged.why).check()?;
    Snapshot::look(run)?;
    let registry = Registry::create(&args.judged.at.registry)?;
    let stage = registry.stage()?;
    let seen = policy.needs_incumbent().then(|| registry.pointer()).transpose()?.map(|pointer| pointer.revision);
    let files = Snapshot::take(run, &stage.entry())?;
    let bundle = judged(&files, &policy, &args.judged, Some(&registry), context)?;
    let (by, place) = (signature(&args.judged.why), run.display().to_string());
    let filed = match (bundle.verdict, args.promote) {
        (Verdict::Refused, _) => {
            registry.note(&bundle, &place, &by)?;
            Filed::Nowhere
        }
        (Verdict::Deployable, true) if registry.promote(&stage, &bundle, seen, &place, &by)? => Filed::Promoted,
        (Verdict::Deployable, true) => Filed::Already,
        (Verdict::Candidate, _) | (Verdict::Deployable, false) => {
            registry.file(&stage, &bundle, &place, &by)?;
            Filed::Kept
        }
    };
    report(&bundle, &filed, args.promote, &args.judged, context)
}

pub(crate) fn policy_of(args: &Judged) -> anyhow::Result<Policy> {
    Ok(args.policy.as_deref().map(Policy::read).transpose()?.unwrap_or_default())
}

/// Judges a copy of a run's files.
pub(crate) fn judged(
    files: &Snapshot,
    policy: &Policy,
    args: &Judged,
    registry: Option<&Registry>,
    context: &Context,
) -> anyhow::Result<Bundle> {
    let store = match args.store.as_deref() {
        Some(store) if store == Path::new("own") => {
            let own = rundir::read_experiment(files.path())?.run.and_then(|run| run.store);
            Some(what::store(own.as_deref(), context)?.1)
        }
        other => other.map(Path::to_owned),
    };
    let incumbent = registry.map(Registry::current).transpose()?.flatten();
    Ok(judge(
        files,
        &Asked {
            policy,
            store: store.as_deref(),
            fit_again: args.fit_again,
            incumbent: incumbent.as_ref().map(|(id, path)| (id.clone(), path.as_path())),
            models: &context.models,
            recipes: &context.recipes,
            device: args.device.parse()?,
            progress: &*context.progress,
            cancel: interrupt::flag(),
        },
    )?)
}

/// Prints a judgement and what became of the run; says how the command ends.
pub(crate) fn report(
    bundle: &Bundle,
    filed: &Filed,
    promote: bool,
    args: &Judged,
    context: &Context,
) -> anyhow::Result<Exit> {
    let registry = &args.at.registry;
    let short = &bundle.id[..12];
    let outcome = match filed {
        Filed::Nowhere => None,
        Filed::Kept => Some(format!("kept as {short} in {}", registry.display())),
        Filed::Promoted => Some(format!("deployed: {short} is the current model of {}", registry.display())),
        Filed::Already => Some(format!("{short} is the current model of {} already", registry.display())),
    };
    if context.json {
        let filed = match filed {
            Filed::Nowhere => "nowhere",
            Filed::Kept => "kept",
            Filed::Promoted => "promoted",
            Filed::Already => "current-already",
        };
        output::json(&serde_json::json!({ "filed": filed, "registry": registry, "bundle": bundle }))?;
    } else {
        output::line(render(bundle).trim_end())?;
        if let Some(outcome) = outcome {
            output::line(&format!("\n{}", output::clean(&outcome)))?;
        }
        if promote && matches!(filed, Filed::Kept) {
            output::line("not deployed: the verdict does not allow it")?;
        }
        output::line(&format!("judgement: {}", bundle.digest))?;
    }
    // Last: the verdict stands whether or not its copy can be written.
    if let Some(path) = &args.bundle {
        let mut text = serde_json::to_string_pretty(bundle)?;
        text.push('\n');
        stakeout_core::files::write_atomic(path, text.as_bytes())?;
    }
    let short_of_promise = promote && !matches!(filed, Filed::Promoted | Filed::Already);
    Ok(if bundle.verdict == Verdict::Refused || short_of_promise { Exit::Finding } else { Exit::Ok })
}

/// Who changes the registry, and when.
#[expect(clippy::disallowed_methods, reason = "a registry says when; nothing is computed from it")]
pub(crate) fn signature(why: &str) -> Signature {
    let who = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    Signature { who: if who.is_empty() { "unknown".into() } else { who }, at, why: why.to_owned() }
}
