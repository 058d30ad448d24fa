//! Plain text tables: first column to the left, numbers to the right, two spaces between.

use std::fmt::Write;

use crate::Estimate;

/// Columns of a report.
pub(super) const WIDTH: usize = 100;

pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(ToString::to_string).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes an empty line and the table.
    pub(super) fn write(&self, out: &mut String) {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        out.push('\n');
        for row in &self.rows {
            let mut line = format!("{:<width$}", row[0], width = widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                let _ = write!(line, "  {cell:>width$}"); // a String cannot refuse
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

/// Three decimals, or `-` where the number is not defined.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

/// `point [lo, hi]`.
pub(super) fn estimate(estimate: &Estimate) -> String {
    match (estimate.lo, estimate.hi) {
        (Some(lo), Some(hi)) => format!("{} [{lo:.3}, {hi:.3}]", number(estimate.point)),
        _ => format!("{} [no interval]", number(estimate.point)),
    }
}

/// `18 episodes`.
pub(super) fn units(estimate: &Estimate) -> String {
    let s = if estimate.n_units == 1 { "" } else { "s" };
    format!("{} {}{s}", count(estimate.n_units), estimate.unit)
}

/// Thousands apart: `12,345`.
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Text and spaces up to a width.
pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}

pub(super) fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

/// Writes `label` and the text after it, broken at spaces; lines after the first are indented by the label's width.
pub(super) fn wrap(out: &mut String, label: &str, text: &str) {
    let indent = label.chars().count();
    out.push_str(label);
    let mut column = indent;
    for (i, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        // A word longer than a line is cut at the edge.
        for c in word.chars() {
            if column == WIDTH {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                column = indent;
            }
            out.push(c);
            column += 1;
        }
    }
    out.push('\n');
}
