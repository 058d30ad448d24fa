//! Window sources and the batches gathered from them.

use std::fmt;

use ndarray::{Array2, Array3, Axis};
use serde::{Deserialize, Serialize};

use crate::{CoreError, Geometry, Schema};

/// What a model is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// Statistics per channel: one row of `features` numbers, statistic-major (`statistic * channels + channel`).
    Summary,
    /// Means per channel and time step: `channels × steps`, channel-major.
    Tensor,
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Summary => "summary",
            Self::Tensor => "tensor",
        })
    }
}

/// Some windows, gathered for a model. NaN means "not observed", in both kinds of input; a model decides what to put
/// in its place (see [`Batch::forward_fill`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    kind: InputKind,
    geometry: Geometry,
    /// Row-major values: rows × `row_len`.
    pub values: Vec<f32>,
    /// Per row, how many leading steps belong to the window; the rest is padding (a partial window, a short series).
    pub lengths: Vec<u32>,
}

impl Batch {
    /// An empty batch for one kind of input.
    pub fn new(kind: InputKind, geometry: Geometry) -> Self {
        Self { kind, geometry, values: Vec::new(), lengths: Vec::new() }
    }

    /// The kind of input.
    pub fn kind(&self) -> InputKind {
        self.kind
    }

    /// The shape that its rows follow.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Number of windows.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Values per window.
    pub fn row_len(&self) -> usize {
        self.geometry.row_len(self.kind)
    }

    /// The values of one window.
    ///
    /// # Panics
    /// When `row` is out of range.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.row_len()..(row + 1) * self.row_len()]
    }

    /// Empties the batch and makes room for `rows` windows of NaN.
    pub fn reset(&mut self, rows: usize) {
        self.values.clear();
        self.values.resize(rows * self.row_len(), f32::NAN);
        self.lengths.clear();
        self.lengths.resize(rows, self.geometry.steps as u32);
    }

    /// Fills the gaps of a tensor batch in place: each missing step takes the previous step of its channel, leading
    /// gaps take the first observed step, a channel without any takes 0. Steps past a row's length are set to 0.
    /// `share` receives rows × channels: the share of the row's own steps that were missing.
    ///
    /// # Panics
    /// When the batch is not a tensor batch.
    pub fn forward_fill(&mut self, share: &mut Vec<f32>) {
        assert_eq!(self.kind, InputKind::Tensor, "only a tensor has time steps to fill");
        let (channels, steps) = (self.geometry.channels, self.geometry.steps);
        share.clear();
        share.reserve(self.rows() * channels);
        for (row, length) in self.values.chunks_exact_mut(channels * steps).zip(&self.lengths) {
            for series in row.chunks_exact_mut(steps) {
                let (own, padding) = series.split_at_mut(*length as usize);
                padding.fill(0.0);
                let first = own.iter().copied().find(|v| !v.is_nan());
                let mut previous = first.unwrap_or(0.0);
                let mut missing = 0u32;
                for value in own.iter_mut() {
                    if value.is_nan() {
                        missing += 1;
                        *value = previous;
                    } else {
                        previous = *value;
                    }
                }
                share.push(if own.is_empty() { 1.0 } else { missing as f32 / own.len() as f32 });
            }
        }
    }
}

/// A source of windows: in memory, or cached on disk.
pub trait Windows: Send + Sync {
    /// Number of windows.
    fn len(&self) -> usize;

    /// Whether there is no window.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the windows hold.
    fn schema(&self) -> &Schema;

    /// Replaces the content of `into` by the given windows, in the given order, as the batch's kind of input.
    ///
    /// # Errors
    /// [`CoreError::NotHeld`] when the source holds no such input, [`CoreError::Shape`] when a row is out of range or
    /// the batch has another geometry; an I/O error from a source on disk.
    fn gather(&self, rows: &[usize], into: &mut Batch) -> Result<(), CoreError>;
}

/// Windows in memory.
#[derive(Debug, Clone)]
pub struct WindowTable {
    schema: Schema,
    len: usize,
    summary: Option<Array2<f32>>,
    tensor: Option<Array3<f32>>,
    lengths: Vec<u32>,
}

impl WindowTable {
    /// A table of `summary` (windows × features) and / or `tensor` (windows × channels × steps) with the number of
    /// own steps of each window.
    ///
    /// # Errors
    /// [`CoreError::Shape`] when a size does not follow the schema.
    pub fn new(
        schema: Schema,
        summary: Option<Array2<f32>>,
        tensor: Option<Array3<f32>>,
        lengths: Vec<u32>,
    ) -> Result<Self, CoreError> {
        let geometry = schema.geometry();
        let len = lengths.len();
        let shape = |what, got: &[usize], expected: &[usize]| {
            (got == expected).then_some(()).ok_or_else(|| CoreError::Shape {
                what,
                got: format!("{got:?}"),
                expected: format!("{expected:?}"),
            })
        };
        if let Some(summary) = &summary {
            shape("summary", summary.shape(), &[len, geometry.features])?;
        }
        if let Some(tensor) = &tensor {
            shape("tensor", tensor.shape(), &[len, geometry.channels, geometry.steps])?;
        }
        if let Some(longest) = lengths.iter().max().filter(|longest| **longest as usize > geometry.steps) {
            return Err(CoreError::Shape {
                what: "window length",
                got: format!("{longest} steps"),
                expected: format!("at most {}", geometry.steps),
            });
        }
        Ok(Self { schema, len, summary, tensor, lengths })
    }

    /// A table of some windows alone, in the given order.
    ///
    /// # Errors
    /// [`CoreError::Shape`] when a row is out of range.
    pub fn select(&self, rows: &[usize]) -> Result<Self, CoreError> {
        if let Some(row) = rows.iter().find(|row| **row >= self.len) {
            return Err(CoreError::Shape {
                what: "row",
                got: row.to_string(),
                expected: format!("less than {}", self.len),
            });
        }
        Ok(Self {
            schema: self.schema.clone(),
            len: rows.len(),
            summary: self.summary.as_ref().map(|values| values.select(Axis(0), rows)),
            tensor: self.tensor.as_ref().map(|values| values.select(Axis(0), rows)),
            lengths: rows.iter().map(|&row| self.lengths[row]).collect(),
        })
    }
}

impl Windows for WindowTable {
    fn len(&self) -> usize {
        self.len
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn gather(&self, rows: &[usize], into: &mut Batch) -> Result<(), CoreError> {
        check_gather(self.len, &self.schema, rows, into)?;
        let kind = into.kind();
        let values = match kind {
            InputKind::Summary => self.summary.as_ref().and_then(|a| a.as_slice()),
            InputKind::Tensor => self.tensor.as_ref().and_then(|a| a.as_slice()),
        }
        .ok_or(CoreError::NotHeld(kind))?;
        let width = into.row_len();
        into.values.clear();
        into.lengths.clear();
        for &row in rows {
            into.values.extend_from_slice(&values[row * width..(row + 1) * width]);
            into.lengths.push(self.lengths[row]);
        }
        Ok(())
    }
}

/// Some rows of another source, renumbered from 0.
pub struct Subset<'a> {
    source: &'a dyn Windows,
    rows: &'a [usize],
}

impl<'a> Subset<'a> {
    /// The given rows of a source.
    pub fn new(source: &'a dyn Windows, rows: &'a [usize]) -> Self {
        Self { source, rows }
    }
}

impl Windows for Subset<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn schema(&self) -> &Schema {
        self.source.schema()
    }

    fn gather(&self, rows: &[usize], into: &mut Batch) -> Result<(), CoreError> {
        check_gather(self.len(), self.schema(), rows, into)?;
        let rows: Vec<usize> = rows.iter().map(|&row| self.rows[row]).collect();
        self.source.gather(&rows, into)
    }
}

/// The checks that every [`Windows::gather`] makes first: rows in range, batch of the source's geometry.
///
/// # Errors
/// [`CoreError::Shape`].
pub fn check_gather(len: usize, schema: &Schema, rows: &[usize], into: &Batch) -> Result<(), CoreError> {
    if into.geometry() != schema.geometry() {
        return Err(CoreError::Shape {
            what: "batch",
            got: into.geometry().to_string(),
            expected: schema.geometry().to_string(),
        });
    }
    match rows.iter().find(|row| **row >= len) {
        Some(row) => Err(CoreError::Shape { what: "row", got: row.to_string(), expected: format!("less than {len}") }),
        None => Ok(()),
    }
}
