//! The table of a grid: the constant predictor first, then a row a model, and a group of columns for each kind of data
//! that it was trained on.

use std::fmt::Write;

use stakeout_core::text::printable;

use super::table::{WIDTH, count, estimate, list, pad, units};
use super::{NAME, SIMULATED, field, notes, plan_text};
use crate::{Estimate, Plan};

/// The report of many models on the same data, held out in the same way.
#[derive(Debug, Clone, PartialEq)]
pub struct GridReport {
    /// Whether the data was simulated.
    pub simulated: bool,
    /// Where the numbers come from: name and text, one line each.
    pub provenance: Vec<(String, String)>,
    /// The groups of the test sides, by name.
    pub held_out: Vec<String>,
    /// How the intervals were made; `None` where nothing was scored.
    pub bootstrap: Option<Plan>,
    /// One title a group of columns: view and scaler.
    pub groups: Vec<String>,
    /// The constant predictor, then the models.
    pub rows: Vec<GridRow>,
    /// What must be said beside the numbers.
    pub notes: Vec<String>,
}

/// One row: a name and its figures in each group of columns.
#[derive(Debug, Clone, PartialEq)]
pub struct GridRow {
    /// Kind of model.
    pub name: String,
    /// One entry a group.
    pub entries: Vec<GridEntry>,
}

/// The figures of one cell.
#[derive(Debug, Clone, PartialEq)]
pub enum GridEntry {
    /// It was fitted and tested.
    Scored {
        /// Macro F1 with its interval.
        macro_f1: Estimate,
        /// Share of windows called right, with its interval.
        accuracy: Estimate,
        /// Wall-clock seconds of fit and scores, and whether more were spent by a process that was stopped.
        seconds: Option<(f64, bool)>,
    },
    /// It was fitted on all rows and tested on none.
    Untested,
    /// There is no fit; a note says why.
    Failed,
}

/// Figures of an entry: macro F1, accuracy, seconds.
const FIGURES: [&str; 3] = ["macro F1", "accuracy", "seconds"];

/// The report of a grid, no wider than 100 columns: as many groups as fit stand side by side.
pub fn grid(report: &GridReport) -> String {
    let mut out = String::new();
    if report.simulated {
        out.push_str(SIMULATED);
        out.push_str("\n\n");
    }
    for (name, text) in &report.provenance {
        field(&mut out, &printable(name, 10), &printable(text, 600));
    }
    field(&mut out, "held out", &list(report.held_out.iter().map(|name| printable(name, NAME))));
    if let Some(plan) = &report.bootstrap {
        field(&mut out, "intervals", &plan_text(plan));
    }
    let names: Vec<String> = report.rows.iter().map(|row| printable(&row.name, NAME)).collect();
    let first = names.iter().map(|name| name.chars().count()).chain(["model".len()]).max().unwrap_or(0);
    let groups: Vec<Group> = (0..report.groups.len()).map(|i| Group::new(report, i)).collect();
    let mut left = groups.as_slice();
    while !left.is_empty() {
        let mut width = first;
        let fit = left.iter().take_while(|group| {
            width += group.width() + GAP;
            width <= WIDTH
        });
        let (block, rest) = left.split_at(fit.count().max(1));
        write_block(&mut out, &names, first, block);
        left = rest;
    }
    notes(&mut out, report.notes.iter().map(String::as_str));
    out
}

/// Columns between two groups.
const GAP: usize = 3;

/// A group of columns: its title, and its cells as text, row by row.
struct Group {
    title: String,
    cells: Vec<[String; 3]>,
    widths: [usize; 3],
}

impl Group {
    fn new(report: &GridReport, group: usize) -> Self {
        let entries: Vec<Option<&GridEntry>> = report.rows.iter().map(|row| row.entries.get(group)).collect();
        let scored = entries.iter().filter_map(|entry| match entry {
            Some(GridEntry::Scored { macro_f1, .. }) => Some(units(macro_f1)),
            _ => None,
        });
        let mut tested: Vec<String> = scored.collect();
        tested.dedup();
        let title = printable(&report.groups[group], 40);
        let title = if tested.is_empty() { title } else { format!("{title}: {}", tested.join(", ")) };
        let title = printable(&title, 60);
        let cells: Vec<[String; 3]> = entries.into_iter().map(texts).collect();
        let width = |i: usize| cells.iter().map(|cell| cell[i].chars().count()).max().unwrap_or(0);
        let widths = std::array::from_fn(|i| width(i).max(FIGURES[i].len()));
        Self { title, cells, widths }
    }

    /// Two columns between figures; a title wider than its figures makes room for itself.
    fn width(&self) -> usize {
        (self.widths.iter().sum::<usize>() + 2 * (self.widths.len() - 1)).max(self.title.chars().count())
    }

    fn line(&self, cells: [&str; 3]) -> String {
        let padded: Vec<String> =
            cells.iter().zip(self.widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        padded.join("  ")
    }
}

fn texts(entry: Option<&GridEntry>) -> [String; 3] {
    match entry {
        None => Default::default(),
        Some(GridEntry::Scored { macro_f1, accuracy, seconds }) => [
            estimate(macro_f1),
            estimate(accuracy),
            seconds.map_or_else(String::new, |(seconds, more)| {
                let more = if more { ">" } else { "" };
                if seconds < 10.0 {
                    format!("{more}{seconds:.1}")
                } else {
                    format!("{more}{}", count(seconds.round() as usize))
                }
            }),
        ],
        Some(GridEntry::Untested) => ["untested".into(), String::new(), String::new()],
        Some(GridEntry::Failed) => ["failed".into(), String::new(), String::new()],
    }
}

fn write_block(out: &mut String, names: &[String], first: usize, groups: &[Group]) {
    let mut line = |name: &str, cells: &dyn Fn(&Group) -> String| {
        let mut text = pad(name, first);
        for group in groups {
            let _ = write!(text, "{}{}", " ".repeat(GAP), pad(&cells(group), group.width())); // a String cannot refuse
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line("", &|_| String::new());
    line("", &|group| group.title.clone());
    line("model", &|group| group.line(FIGURES));
    for (row, name) in names.iter().enumerate() {
        line(name, &|group| {
            let [a, b, c] = &group.cells[row];
            group.line([a, b, c])
        });
    }
}
