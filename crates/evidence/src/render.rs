//! A judgement as text for people.

use std::fmt::Write as _;

use stakeout_core::text::printable;
use stakeout_eval::render::SIMULATED;

use crate::bundle::{Bundle, Verdict};
use crate::check::Outcome;
use crate::criteria::Criterion;

/// The whole judgement: checks, each criterion with value, bound and verdict, what limits it, what follows.
pub fn render(bundle: &Bundle) -> String {
    let mut out = String::new();
    let lineage = &bundle.lineage;
    if lineage.simulated {
        let _ = writeln!(out, "{SIMULATED}");
    }
    let clean = |text: &str| printable(text, 300);
    let _ = writeln!(
        out,
        "model {}: {}, recipe {}, fold {}, view {}, seed {}, corpus {}, schema {}, code {}",
        &bundle.id[..12.min(bundle.id.len())],
        clean(&lineage.model),
        clean(&lineage.recipe),
        clean(&lineage.fold),
        clean(&lineage.view),
        lineage.seed,
        clean(&lineage.corpus),
        printable(&lineage.schema_hash, 13),
        clean(&lineage.code_version)
    );
    let _ = writeln!(out, "{}", clean(&lineage.selection));
    let _ = writeln!(
        out,
        "test side: {} windows, {} episodes, {} hosts; intervals {} %, {} resamples\n",
        bundle.n_windows.test,
        bundle.n_test.0,
        bundle.n_test.1,
        100.0 * bundle.policy.intervals.level,
        bundle.policy.intervals.resamples
    );
    for check in &bundle.checks {
        let _ = writeln!(out, "  {:8} {}: {}", mark(check.outcome), check.name, clean(&check.found));
    }
    if bundle.criteria.is_empty() {
        let _ = writeln!(out, "\nno figure was computed: the files do not fit together");
    } else {
        let rows: Vec<[String; 4]> = bundle.criteria.iter().map(row).collect();
        let header = ["criterion", "value", "bound", "verdict"].map(str::to_owned);
        let width = |i: usize| rows.iter().chain([&header]).map(|row| row[i].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        let _ = writeln!(out);
        for cells in [&header].into_iter().chain(&rows) {
            let line: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let _ = writeln!(out, "{}", line.join("  ").trim_end());
        }
    }
    verdict(bundle, &mut out);
    out
}

fn verdict(bundle: &Bundle, out: &mut String) {
    let _ = writeln!(out, "\nverdict: {}", bundle.verdict.name());
    let clean = |text: &str| printable(text, 300);
    let mut say = |name: &str, found: &str, remedy: &str| {
        let found = if found.is_empty() { String::new() } else { format!(": {}", clean(found)) };
        let _ = writeln!(out, "  {}{found}", clean(name));
        if !remedy.is_empty() {
            let _ = writeln!(out, "    -> {}", clean(remedy));
        }
    };
    for check in bundle.checks.iter().filter(|check| check.outcome == Outcome::Refused) {
        say(&check.name, &check.found, &check.remedy);
    }
    for criterion in bundle.criteria.iter().filter(|criterion| criterion.outcome == Outcome::Refused) {
        say(&criterion.name, &criterion.found, &criterion.remedy);
    }
    for limit in bundle.limits.iter().filter(|limit| limit.at_most < Verdict::Deployable) {
        say(&limit.why, "", &limit.remedy);
    }
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Met => "ok",
        Outcome::Refused => "REFUSED",
        Outcome::NotJudged => "-",
    }
}

fn row(criterion: &Criterion) -> [String; 4] {
    let number = |value: f64| format!("{value:.3}");
    let value = match (criterion.value, criterion.lo.zip(criterion.hi)) {
        (None, _) => "undefined".to_owned(),
        (Some(value), None) => number(value),
        (Some(value), Some((lo, hi))) => {
            let unit = criterion.unit.map_or_else(String::new, |unit| format!(", {} {unit}s", criterion.n_units));
            format!("{} [{}, {}{unit}]", number(value), number(lo), number(hi))
        }
    };
    [printable(&criterion.name, 60), value, criterion.bound.clone(), mark(criterion.outcome).to_owned()]
}
