//! Terminal reports: the constant predictor first, every number with its recipe and its independent units, nothing
//! wider than 100 columns. Names come from outside and are made printable.

mod grid;
mod probabilities;
mod table;

use serde::{Deserialize, Serialize};
use stakeout_core::text::printable;

use crate::evaluation::{ClassScores, ConfusionTable, Evaluation, Group};
use crate::{Estimate, Metrics, Plan, Sides, Summary, UnitScores};
use table::{Table, WIDTH, count, estimate, list, number, units, wrap};

pub use grid::{GridEntry, GridReport, GridRow, grid};
pub use probabilities::probabilities;

/// The heading of every output on simulated data.
pub const SIMULATED: &str = "SIMULATED DATA: says nothing about real malware";
/// Longest name in a table.
const NAME: usize = 24;
/// Longest name in the table of classes, which has most columns.
const CLASS: usize = 18;

/// Where numbers come from: what every report names beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Kind of model.
    pub model: String,
    /// The recipe that held data out.
    pub recipe: String,
    /// The view.
    pub view: String,
    /// The scaler.
    pub scaler: String,
    /// The seed of the run; the first one where a summary covers several.
    pub seed: u64,
    /// Hash of the schema.
    pub schema_hash: String,
    /// The groups of the test side, by name.
    pub held_out: Vec<String>,
    /// The corpus and the digest of what was read of it.
    pub data: String,
    /// How the reported epoch or round was chosen.
    pub selection: String,
    /// Whether the data was simulated.
    pub simulated: bool,
}

/// The report of one run. `ledger` is the caller's account of untested cells, printed line by line.
pub fn report(metrics: &Metrics, provenance: &Provenance, ledger: &str) -> String {
    let mut out = header(provenance, &[provenance.seed]);
    let sides = |sides: &Sides| {
        let Sides { train, validation, test } = *sides;
        format!("train {}, validation {}, test {}", count(train), count(validation), count(test))
    };
    field(&mut out, "windows", &sides(&metrics.n_windows));
    field(&mut out, "episodes", &sides(&metrics.n_episodes));
    field(&mut out, "hosts", &sides(&metrics.n_hosts));
    field(&mut out, "intervals", &plan_text(&metrics.bootstrap));
    let evaluation = Evaluation {
        constant: metrics.constant.clone(),
        test: metrics.test.clone(),
        by_profile: metrics.by_profile.clone(),
        by_host: metrics.by_host.clone(),
        confusion: metrics.confusion.clone(),
    };
    scores(&mut out, "test side", &provenance.model, &evaluation);
    notes(&mut out, metrics.notes.iter().map(String::as_str));
    details(&mut out, &evaluation, ledger);
    out
}

/// The report of many folds. `ledger` as in [`report`].
pub fn summary(summary: &Summary, provenance: &Provenance, ledger: &str) -> String {
    let mut out = header(provenance, &summary.seeds);
    field(&mut out, "intervals", &plan_text(&summary.bootstrap));
    let unit = summary.unit.name();
    let primary = &summary.primary;
    let mut table = Table::new(&[&format!("primary: mean over {unit}s"), "macro F1", "accuracy", "independent units"]);
    let model = printable(&provenance.model, NAME);
    let mut add = |name: String, macro_f1: &Estimate, accuracy: String| {
        table.row([name, estimate(macro_f1), accuracy, units(macro_f1)]);
    };
    add("constant".into(), &primary.constant, estimate(&primary.constant_accuracy));
    add(model, &primary.macro_f1, estimate(&primary.accuracy));
    add("above constant".into(), &primary.over_constant, String::new());
    table.write(&mut out);
    let all_notes = std::iter::once(summary.caveat.as_str()).chain(summary.notes.iter().map(String::as_str));
    notes(&mut out, all_notes);

    let mut table =
        Table::new(&[&format!("held-out {unit}"), "constant", "macro F1", "accuracy", "windows", "episodes"]);
    for fold in &summary.folds {
        table.row([
            printable(&fold.held_out, NAME),
            number(fold.constant),
            number(fold.macro_f1),
            number(fold.accuracy),
            count(fold.n_windows),
            count(fold.n_episodes),
        ]);
    }
    table.write(&mut out);
    scores(&mut out, "secondary: pooled", &provenance.model, &summary.pooled);
    details(&mut out, &summary.pooled, ledger);
    out
}

fn header(provenance: &Provenance, seeds: &[u64]) -> String {
    let mut out = String::new();
    if provenance.simulated {
        out.push_str(SIMULATED);
        out.push_str("\n\n");
    }
    let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
    for (name, text) in [
        ("model", &provenance.model),
        ("recipe", &provenance.recipe),
        ("view", &provenance.view),
        ("scaler", &provenance.scaler),
    ] {
        field(&mut out, name, &printable(text, 80));
    }
    field(&mut out, if seeds.len() == 1 { "seed" } else { "seeds" }, &seeds.join(", "));
    field(&mut out, "data", &printable(&provenance.data, 200));
    field(&mut out, "schema", &printable(&provenance.schema_hash, 80));
    field(&mut out, "held out", &list(provenance.held_out.iter().map(|name| printable(name, NAME))));
    field(&mut out, "selection", &printable(&provenance.selection, 400));
    out
}

fn field(out: &mut String, name: &str, text: &str) {
    wrap(out, &format!("{name:<11}"), text);
}

fn plan_text(plan: &Plan) -> String {
    format!("{} %, {} resamples, seed {}", (1e4 * plan.level).round() / 100.0, count(plan.resamples), plan.seed)
}

fn notes<'a>(out: &mut String, notes: impl Iterator<Item = &'a str>) {
    out.push('\n');
    for note in notes {
        wrap(out, "note: ", &printable(note, 1000));
    }
}

fn scores(out: &mut String, title: &str, model: &str, evaluation: &Evaluation) {
    let mut table = Table::new(&[title, "macro F1", "accuracy", "independent units"]);
    let (constant, own) = (&evaluation.constant, &evaluation.test);
    let constant_name = match constant.class.as_str() {
        "" => "constant".to_owned(),
        class => format!("constant ({})", printable(class, NAME - 11)),
    };
    let headline = own.macro_f1.unit;
    let mut add = |name: String, macro_f1: &Estimate, accuracy: &Estimate| {
        table.row([name, estimate(macro_f1), estimate(accuracy), units(macro_f1)]);
    };
    let model = printable(model, NAME);
    add(constant_name.clone(), &constant.macro_f1, &constant.accuracy);
    add(model.clone(), &own.macro_f1, &own.accuracy);
    let other = |scores: &&UnitScores| scores.macro_f1.unit != headline;
    for (base, own) in constant.by_unit.iter().filter(other).zip(own.by_unit.iter().filter(other)) {
        add(constant_name.clone(), &base.macro_f1, &base.accuracy);
        add(model.clone(), &own.macro_f1, &own.accuracy);
    }
    table.write(out);
    probabilities::block(out, &model, evaluation);
}

fn details(out: &mut String, evaluation: &Evaluation, ledger: &str) {
    classes(out, &evaluation.test.per_class);
    groups(out, "profile", &evaluation.by_profile);
    groups(out, "host", &evaluation.by_host);
    confusion(out, &evaluation.confusion);
    if ledger.trim().is_empty() {
        return;
    }
    out.push_str("\nuntested cells and coverage\n");
    for line in ledger.lines().filter(|line| !line.trim().is_empty()) {
        out.push_str("  ");
        out.push_str(&printable(line.trim_end(), WIDTH - 2));
        out.push('\n');
    }
}

fn classes(out: &mut String, classes: &[ClassScores]) {
    let mut table =
        Table::new(&["class", "constant", "F1", "precision", "recall", "windows", "called so", "left out", ""]);
    for class in classes {
        table.row([
            printable(&class.class, CLASS),
            number(class.constant),
            number(class.f1),
            number(class.precision),
            number(class.recall),
            count(class.support as usize),
            count(class.predicted as usize),
            class.left_out.map_or_else(|| "-".into(), |share| format!("{:.1} %", 100.0 * share)),
            if class.trained { String::new() } else { "untrained".into() },
        ]);
    }
    table.write(out);
}

fn groups(out: &mut String, title: &str, groups: &[Group]) {
    let mut table = Table::new(&[title, "constant", "macro F1", "accuracy", "windows", "independent units"]);
    for group in groups {
        table.row([
            printable(&group.name, NAME),
            number(group.constant),
            estimate(&group.macro_f1),
            number(group.accuracy.point),
            count(group.n_windows),
            units(&group.macro_f1),
        ]);
    }
    table.write(out);
}

/// Columns are numbered, so that any number of long names fits; a wide matrix is printed in blocks of columns.
fn confusion(out: &mut String, confusion: &ConfusionTable) {
    let cell = |n: &u64| count(*n as usize);
    let number_width = format!("({})", confusion.labels.len()).len();
    let widest = confusion.counts.iter().flatten().map(|n| cell(n).len()).max().unwrap_or(0).max(number_width);
    let columns = ((WIDTH - NAME - number_width - 1) / (widest + 2)).max(1);
    let all: Vec<usize> = (0..confusion.labels.len()).collect();
    for block in all.chunks(columns) {
        let heads: Vec<String> = block.iter().map(|column| format!("({})", column + 1)).collect();
        let mut titles = vec!["truth \\ called"];
        titles.extend(heads.iter().map(String::as_str));
        let mut table = Table::new(&titles);
        for (truth, (label, counts)) in confusion.labels.iter().zip(&confusion.counts).enumerate() {
            let mut row = vec![format!("({}) {}", truth + 1, printable(label, NAME))];
            row.extend(block.iter().map(|&column| cell(&counts[column])));
            table.row(row);
        }
        table.write(out);
    }
}
