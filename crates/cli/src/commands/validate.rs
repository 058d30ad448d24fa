//! `stakeout validate`.

use anyhow::Context as _;
use stakeout_telemetry::validate::VerdictTable;
use stakeout_telemetry::{Store, Summary, TelemetryError, ValidateOptions, Verdict, validate};

use super::truth::Truth;
use crate::args::Validate;
use crate::{Context, Exit, output};

/// Episodes with a reason that are listed on screen; the table holds all.
const LISTED: usize = 20;

pub(crate) fn run(args: &Validate, context: &Context) -> anyhow::Result<Exit> {
    let store = Store::open(&args.store)?;
    let progress = &*context.progress;
    progress.stage("validating", "episodes", store.entries().len() as u64);
    let mut truth = Truth::of(&args.store)?;
    let mut table = VerdictTable::new();
    let mut listed: Vec<Vec<String>> = Vec::new();
    let mut unlisted = 0usize;
    let report =
        |done: u64, bytes: u64, total: u64| progress.advance(done, total, &format!("{} MB", bytes / 1_000_000));
    let summary =
        validate(&store, &ValidateOptions::default(), &report, &mut |examined| -> Result<(), TelemetryError> {
            table.push(&examined);
            if let Some(truth) = &mut truth {
                truth.add(&examined);
            }
            let refused = examined.verdict > Verdict::Accepted;
            if let Some(reason) = examined.reasons.first().filter(|_| refused) {
                if listed.len() < LISTED {
                    listed.push(vec![examined.id, examined.verdict.name().to_owned(), reason.to_string()]);
                } else {
                    unlisted += 1;
                }
            }
            Ok(())
        })?;
    if context.json {
        let mut value = json(&summary);
        if let Some(truth) = &truth {
            value["ground_truth"] = truth.json();
        }
        output::json(&value)?;
    } else {
        print(&summary, &listed, unlisted)?;
        if let Some(truth) = &truth {
            truth.print()?;
        }
        if store.corpus().label_rules.is_empty() {
            output::line("labels: unjustified (the corpus names no event that must justify a class)")?;
        }
    }
    if store.leftovers() > 0 {
        progress.say(&format!("note: {} half-written episode folders of a killed writer", store.leftovers()));
    }
    // Last: a store that cannot be written to still gets its report.
    if !args.no_table {
        let path = args.out.clone().unwrap_or_else(|| args.store.join("validation.parquet"));
        table.write(&path).context("the table could not be written: use --out FILE or --no-table")?;
        progress.say(&format!("wrote {}", path.display()));
    }
    if store.entries().is_empty() {
        progress.say("finding: the store has no episode");
        return Ok(Exit::Finding);
    }
    let bad = summary.of(Verdict::Rejected) + summary.of(Verdict::Errored);
    Ok(if bad > 0 { Exit::Finding } else { Exit::Ok })
}

fn json(summary: &Summary) -> serde_json::Value {
    let verdicts: serde_json::Map<_, _> =
        Verdict::ALL.iter().map(|v| (v.name().to_owned(), summary.of(*v).into())).collect();
    let reasons: serde_json::Map<_, _> =
        summary.reasons.iter().map(|(code, n)| (code.name().to_owned(), (*n).into())).collect();
    serde_json::json!({
        "verdicts": verdicts, "episodes_by_reason": reasons, "bytes": summary.bytes,
        "rows": { "read": summary.rows.read, "used": summary.rows.used, "dropped": summary.rows.dropped.iter()
            .map(|(code, n)| (code.name().to_owned(), *n)).collect::<std::collections::BTreeMap<_, _>>() },
    })
}

fn print(summary: &Summary, listed: &[Vec<String>], unlisted: usize) -> anyhow::Result<()> {
    if !listed.is_empty() {
        output::line(&output::table(&["episode", "verdict", "first reason"], listed))?;
        if unlisted > 0 {
            output::line(&format!("... and {unlisted} more episodes with a reason; the table has all"))?;
        }
        output::line("")?;
    }
    let rows: Vec<Vec<String>> =
        Verdict::ALL.iter().map(|v| vec![v.name().to_owned(), summary.of(*v).to_string()]).collect();
    output::line(&output::table(&["verdict", "episodes"], &rows))?;
    if !summary.reasons.is_empty() {
        let rows: Vec<Vec<String>> = summary
            .reasons
            .iter()
            .map(|(code, n)| vec![code.name().to_owned(), code.verdict().name().to_owned(), n.to_string()])
            .collect();
        output::line("")?;
        output::line(&output::table(&["reason", "verdict", "episodes"], &rows))?;
    }
    let dropped: u64 = summary.rows.dropped.values().sum();
    output::line(&format!("rows: {} read, {} used, {dropped} dropped", summary.rows.read, summary.rows.used))?;
    Ok(())
}
