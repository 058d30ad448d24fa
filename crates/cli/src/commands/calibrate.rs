//! `stakeout calibrate`: what an analyst says of alerts, counted.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use stakeout_core::files;
use stakeout_detect::DetectError;
use stakeout_detect::reliability::{
    By, Change, Current, Evidence, LARGEST_FILE, OnDoubt, Paths, Record, Reliability, ReliabilityStore, Standing,
    Updated, Weighting, What, faded, from_bytes, history, read, update,
};
use stakeout_splits::instant;

use crate::args::{Calibrate, WeightingChoice};
use crate::{Context, Exit, folders, output};

/// Changes that `--show --verbose` lists.
const LISTED: usize = 20;

pub(crate) fn run(args: &Calibrate, context: &Context) -> anyhow::Result<Exit> {
    let paths = paths(args.store.as_deref())?;
    let change = if args.show {
        return show(args, &paths, context);
    } else if args.undo {
        Change::Undo
    } else if args.refit_prior {
        Change::RefitPrior
    } else if let Some(file) = &args.import {
        import(file, &paths)?
    } else {
        Change::Feedback { hits: args.tp.clone(), false_alarms: args.fp.clone(), host: args.host.clone() }
    };
    let who = args.who.clone().unwrap_or_else(user);
    let by = By { who, why: args.why.clone(), t_wall_ns: now_ns() };
    let on_doubt = if args.force { OnDoubt::Force } else { OnDoubt::Refuse };
    let updated = update(&paths, change, &by, on_doubt).map_err(with_remedy)?;
    updated.notes.iter().for_each(|note| remark(note));
    let known = weighed(args, Evidence::undecayed(&updated.store), &updated.store)?;
    let touched = touched(&updated);
    if context.json {
        let detectors = touched.iter().map(|id| (id.clone(), detector(&known, &updated.store, id)));
        output::json(&json!({
            "record": updated.record, "undone": updated.undone, "store": paths.store.display().to_string(),
            "journal": paths.journal.display().to_string(), "prior": updated.store.prior(),
            "detectors": detectors.collect::<serde_json::Map<_, _>>(), "notes": updated.notes,
        }))?;
        return Ok(Exit::Ok);
    }
    let Record { seq, who, .. } = &updated.record;
    let undone = updated.undone.as_ref().map(|record| format!(": record {} taken back, {}", record.seq, told(record)));
    let said = undone.unwrap_or_else(|| format!(": {}", told(&updated.record)));
    output::line(&format!("record {seq}, by {}{}", output::clean(who), output::clean(&said)))?;
    if !touched.is_empty() {
        let host = match &about(&updated).what {
            What::Feedback { host, .. } => host.as_deref(),
            _ => None,
        };
        output::line(&format!("\n{}", table(&known, touched.iter().map(|id| (id.as_str(), host)))))?;
    }
    Ok(Exit::Ok)
}

/// What was said, or what was taken back.
fn about(updated: &Updated) -> &Record {
    updated.undone.as_ref().unwrap_or(&updated.record)
}

/// The detectors that a change is about.
fn touched(updated: &Updated) -> BTreeSet<String> {
    match &about(updated).what {
        What::Feedback { tp, fp, .. } => tp.iter().chain(fp).cloned().collect(),
        What::Import { detectors, .. } | What::Adopt { detectors, .. } => detectors.keys().cloned().collect(),
        What::RefitPrior { .. } | What::Undo { .. } => BTreeSet::new(),
    }
}

fn show(args: &Calibrate, paths: &Paths, context: &Context) -> anyhow::Result<Exit> {
    let (Current { store, agrees, notes }, evidence) = match args.half_life {
        Some(days) => faded(paths, days, now_ns()).map_err(with_remedy)?,
        None => {
            let current = read(paths).map_err(with_remedy)?;
            let evidence = Evidence::undecayed(&current.store);
            (current, evidence)
        }
    };
    let known = weighed(args, evidence, &store)?;
    notes.iter().for_each(|note| remark(note));
    let history = if context.verbose { history(paths).map_err(with_remedy)? } else { Vec::new() };
    let exit = if agrees { Exit::Ok } else { Exit::Finding };
    let prior = store.prior();
    if context.json {
        let detectors = store.detectors().keys().map(|id| (id.clone(), detector(&known, &store, id)));
        output::json(&json!({
            "store": paths.store.display().to_string(), "journal": paths.journal.display().to_string(),
            "weighting": named(args), "half_life_days": args.half_life, "prior": prior,
            "detectors": detectors.collect::<serde_json::Map<_, _>>(), "notes": notes, "history": history,
        }))?;
        return Ok(exit);
    }
    let fleet = prior.fleet;
    let fitted = if prior.revision == 0 { "never fitted".to_owned() } else { format!("revision {}", prior.revision) };
    for (name, text) in [
        ("store", paths.store.display().to_string()),
        ("journal", paths.journal.display().to_string()),
        ("prior", format!("Beta({:.3}, {:.3}), mean {:.3}, {fitted}", fleet.alpha, fleet.beta, fleet.mean())),
        ("weighting", named(args)),
        ("half-life", args.half_life.map_or("none".to_owned(), |days| format!("{days} days"))),
    ] {
        output::line(&format!("{name:<10} {}", output::clean(&text)))?;
    }
    let mut rows: Vec<(&str, Option<&str>)> = Vec::new();
    for (id, entry) in store.detectors() {
        match &args.host {
            Some(host) => rows.push((id, Some(host))),
            None => {
                rows.push((id, None));
                rows.extend(entry.hosts().keys().map(|host| (id.as_str(), Some(host.as_str()))));
            }
        }
    }
    if rows.is_empty() {
        output::line("\nno feedback yet: every alert keeps its score")?;
    } else {
        output::line(&format!("\n{}", table(&known, rows.into_iter())))?;
    }
    if let Some(first) = history.len().checked_sub(1) {
        let from = (first + 1).saturating_sub(LISTED);
        let rows: Vec<Vec<String>> = history[from..].iter().map(row).collect();
        output::line(&format!("\n{}", output::table(&["#", "when", "who", "what", "why"], &rows)))?;
    }
    Ok(exit)
}

/// One row a detector, in all or on a host.
fn table<'a>(known: &Reliability, of: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let amount = |n: f64| if n.fract() == 0.0 { format!("{n:.0}") } else { format!("{n:.2}") };
    let rows: Vec<Vec<String>> = of
        .map(|(id, host)| {
            let Standing { tally, posterior, expected, lo, hi, shift } = known.standing(id, host);
            vec![
                id.to_owned(),
                host.unwrap_or("(all)").to_owned(),
                amount(tally.hits),
                amount(tally.false_alarms),
                format!("{:.3} [{lo:.3}, {hi:.3}]", posterior.mean()),
                format!("{expected:.3}"),
                format!("{shift:+.3}"),
                format!("{:.3}", known.adjust(0.5, id, host).unwrap_or(0.5)),
            ]
        })
        .collect();
    let header =
        ["detector", "host", "hits", "false alarms", "precision [90 %]", "without history", "shift", "0.5 becomes"];
    output::table(&header, &rows)
}

/// Everything of one detector as JSON: the whole counters of the store, and how they are weighed.
fn detector(known: &Reliability, store: &ReliabilityStore, id: &str) -> Value {
    let standing = |host| {
        let Standing { tally, posterior, expected, lo, hi, shift } = known.standing(id, host);
        json!({
            "hits": tally.hits, "false_alarms": tally.false_alarms, "posterior": posterior, "mean": posterior.mean(),
            "lo": lo, "hi": hi, "without_history": expected, "shift": shift,
        })
    };
    let entry = store.detectors().get(id).cloned().unwrap_or_default();
    let hosts = entry.hosts().iter().map(|(host, counters)| {
        (host.clone(), json!({ "alpha": counters.alpha(), "beta": counters.beta(), "weighed": standing(Some(host)) }))
    });
    json!({
        "alpha": entry.total().alpha(), "beta": entry.total().beta(), "weighed": standing(None),
        "hosts": hosts.collect::<serde_json::Map<_, _>>(),
    })
}

fn weighed(args: &Calibrate, evidence: Evidence, store: &ReliabilityStore) -> anyhow::Result<Reliability> {
    let weighting = match args.weighting {
        WeightingChoice::LogOdds => Weighting::LogOdds,
        WeightingChoice::LowerBound => Weighting::LowerBound { level: args.level },
        WeightingChoice::PosteriorMean => Weighting::PosteriorMean,
    };
    Ok(Reliability::new(evidence, store.prior(), weighting)?)
}

fn named(args: &Calibrate) -> String {
    match args.weighting {
        WeightingChoice::LogOdds => "log-odds".to_owned(),
        WeightingChoice::LowerBound => format!("lower-bound at {}", args.level),
        WeightingChoice::PosteriorMean => "posterior-mean (shift = log of the multiplier)".to_owned(),
    }
}

fn row(record: &Record) -> Vec<String> {
    let when = instant(i64::try_from(record.t_wall_ns).unwrap_or(i64::MAX));
    let why = record.why.clone().unwrap_or_else(|| "-".to_owned());
    vec![record.seq.to_string(), when, record.who.clone(), told(record), why]
}

/// A change in words.
fn told(record: &Record) -> String {
    match &record.what {
        What::Feedback { tp, fp, host } => {
            let on = host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
            let list = |what: &str, ids: &[String]| {
                (!ids.is_empty()).then(|| format!("{} {what}{} of {}", ids.len(), plural(ids), ids.join(", ")))
            };
            let said: Vec<String> = [list("hit", tp), list("false alarm", fp)].into_iter().flatten().collect();
            format!("{}{on}", said.join("; "))
        }
        What::Import { from, detectors, .. } => format!("{} detectors imported from {from}", detectors.len()),
        What::RefitPrior { prior } => {
            let fleet = prior.fleet;
            format!("prior refitted, revision {}: Beta({:.3}, {:.3})", prior.revision, fleet.alpha, fleet.beta)
        }
        What::Undo { seq } => format!("record {seq} taken back"),
        What::Adopt { detectors, .. } => format!("{} detectors taken over as they were found", detectors.len()),
    }
}

fn plural(ids: &[String]) -> &'static str {
    if ids.len() == 1 { "" } else { "s" }
}

/// The way forward beside what is wrong with the store or its journal, where the error does not say it.
fn with_remedy(error: DetectError) -> anyhow::Error {
    let remedy = match &error {
        DetectError::Version { found, known, .. } if found > known => {
            "use a newer stakeout, or set it aside with `--force` and go on with what can be read"
        }
        DetectError::Version { .. } | DetectError::ZeroCounter { .. } | DetectError::BlankId { .. } => {
            "`--force` sets it aside and goes on with what can be read"
        }
        // A file that is too large, and not one that would become so.
        DetectError::TooLarge { path, cap, .. } if std::fs::metadata(path).is_ok_and(|about| about.len() > *cap) => {
            "`--force` sets it aside and goes on with what can be read"
        }
        _ => return error.into(),
    };
    anyhow!("{error}; {remedy}")
}

fn import(path: &Path, paths: &Paths) -> anyhow::Result<Change> {
    if let (Ok(file), Ok(store)) = (path.canonicalize(), paths.store.canonicalize())
        && file == store
    {
        anyhow::bail!("--import: {} is the store itself: its counters are in it already", path.display());
    }
    let bytes = files::read_regular(path, LARGEST_FILE).with_context(|| format!("reading {}", path.display()))?;
    let store = from_bytes(&bytes, path)?;
    let from = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Change::Import { from, digest: blake3::hash(&bytes).to_hex().to_string(), store })
}

/// The user's own store has its counters in the cache, where they may be cleaned away, and its journal where nothing is:
/// the counters come back from it. A store that is named has its journal beside it, so that both move and are shared
/// together.
fn paths(store: Option<&Path>) -> anyhow::Result<Paths> {
    if let Some(store) = store {
        return Ok(Paths::beside(store));
    }
    let missing = |variable: &str| anyhow!("no folder for the store: set {variable} or HOME, or give --store PATH");
    let store = folders::cache().ok_or_else(|| missing("XDG_CACHE_HOME"))?.join("calibration.json");
    let state = folders::state().ok_or_else(|| missing("XDG_STATE_HOME"))?;
    // Another cache has another journal: two stores never take each other's feedback for their own.
    let digest = blake3::hash(store.as_os_str().as_encoded_bytes()).to_hex();
    Ok(Paths { store, journal: state.join(format!("calibration-{}.jsonl", &digest[..8])) })
}

/// Who is at the keyboard, as far as the environment says.
fn user() -> String {
    let set = |name| std::env::var(name).ok().filter(|name| !name.trim().is_empty());
    ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(set).unwrap_or_else(|| "unknown".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a journal says when; nothing is computed from it but ages")]
fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn remark(note: &str) {
    output::say(&format!("note: {}", output::clean(note)));
}
