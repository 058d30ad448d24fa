//! The forest in `XGBoost`'s JSON model format, both ways (Chen and Guestrin, KDD 2016; the format:
//! <https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html>).
//!
//! Two facts decide everything here. `XGBoost` sends `x < threshold` to the left in single precision, this program
//! `x <= threshold`; the next larger number turns one into the other without a change for any value. And its file has no
//! place for a scaler, so that a threshold on scaled values is written as the raw value at which a scaled one crosses it.

mod file;
mod read;
mod threshold;
mod write;

pub use read::XgbModel;

pub(super) use write::write;

use stakeout_core::{ExportFormat, ModelError};

/// A name of an attribute of the file, under which an export keeps the schema that it was made with.
const SCHEMA: &str = "stakeout.schema";

fn refused(why: impl Into<String>) -> ModelError {
    ModelError::Interchange { format: ExportFormat::XgBoost, why: why.into() }
}

/// A feature name without the three characters that `XGBoost` forbids; `%` too, so that it can be undone.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '%' => escaped.push_str("%25"),
            '<' => escaped.push_str("%3C"),
            '[' => escaped.push_str("%5B"),
            ']' => escaped.push_str("%5D"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn unescape(name: &str) -> String {
    let mut plain = name.to_owned();
    for (code, c) in [("%3C", "<"), ("%5B", "["), ("%5D", "]"), ("%25", "%")] {
        plain = plain.replace(code, c);
    }
    plain
}

#[cfg(test)]
mod tests;
