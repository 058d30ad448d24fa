//! `validation.parquet`: one row an episode.

use std::path::Path;

use polars::prelude::*;
use stakeout_core::files;

use crate::{Examined, TelemetryError};

/// Verdicts gathered for a table: about a hundred bytes an episode, a few more for one with reasons.
///
/// Columns: `episode_id`, `verdict`, `reasons` (codes, worst first, joined by `;`), `first_reason` (file, line and
/// words of the worst), `rows_read`, `rows_used`, `rows_dropped`, `bytes`.
#[derive(Debug, Default)]
pub struct VerdictTable {
    ids: Vec<String>,
    verdicts: Vec<&'static str>,
    reasons: Vec<String>,
    first: Vec<String>,
    numbers: [Vec<u64>; 4],
}

impl VerdictTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an episode.
    pub fn push(&mut self, examined: &Examined) {
        let mut codes: Vec<&str> = examined.reasons.iter().map(|reason| reason.code.name()).collect();
        codes.dedup();
        self.ids.push(examined.id.clone());
        self.verdicts.push(examined.verdict.name());
        self.reasons.push(codes.join(";"));
        self.first.push(examined.reasons.first().map(ToString::to_string).unwrap_or_default());
        let rows = &examined.rows;
        let numbers = [rows.read, rows.used, rows.dropped.values().sum(), examined.bytes];
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column.push(number);
        }
    }

    /// Writes the table, atomically.
    ///
    /// # Errors
    /// [`TelemetryError::Table`], or an I/O error.
    pub fn write(self, path: &Path) -> Result<(), TelemetryError> {
        let failed =
            |error: PolarsError| TelemetryError::Table { path: crate::error::shown(path), source: Box::new(error) };
        let height = self.ids.len();
        let [read, used, dropped, bytes] = self.numbers;
        let columns = vec![
            Column::new("episode_id".into(), self.ids),
            Column::new("verdict".into(), self.verdicts),
            Column::new("reasons".into(), self.reasons),
            Column::new("first_reason".into(), self.first),
            Column::new("rows_read".into(), read),
            Column::new("rows_used".into(), used),
            Column::new("rows_dropped".into(), dropped),
            Column::new("bytes".into(), bytes),
        ];
        let mut frame = DataFrame::new(height, columns).map_err(failed)?;
        let mut text = Vec::new();
        ParquetWriter::new(&mut text).finish(&mut frame).map_err(failed)?;
        Ok(files::write_atomic(path, &text)?)
    }
}
