//! Test vectors: raw windows of a store with the probabilities that a model gives them, for whoever runs the model in
//! another program.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use stakeout_core::{BaseModel, ExportContext, Geometry, InputKind, ModelKind, Scaler, SchemaHash};
use stakeout_features::{Inputs, Scaled};
use stakeout_telemetry::Store;

use crate::dataset::{schema_as, sweep};
use crate::fit::probabilities;
use crate::score::table;
use crate::{Progress, TrainError};

/// Version of the layout of [`Cases`].
const FORMAT: u32 = 1;
/// Of the values of a case with gaps, one in so many is taken out.
const GAP: u64 = 5;

/// Windows and what the program makes of them, as written beside an export. A value that was not observed is `null` in
/// the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cases {
    /// Version of this layout.
    pub format: u32,
    /// The kind of model.
    pub kind: ModelKind,
    /// Hash of what it is fed.
    pub schema_hash: SchemaHash,
    /// Whether the model or the windows are simulated.
    pub simulated: bool,
    /// What it is fed.
    pub input: InputKind,
    /// The classes, in the order of the probabilities.
    pub classes: Vec<String>,
    /// Shape of `values`: windows, then channels and steps, or features.
    pub shape: Vec<usize>,
    /// Raw values, row-major; NaN where nothing was observed.
    pub values: Vec<f32>,
    /// Own steps of each window; of a tensor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lengths: Vec<u32>,
    /// One list a window, one probability a class.
    pub probabilities: Vec<Vec<f32>>,
}

/// `count` windows of a store, from its beginning to its end at even distances, as raw values, with the probabilities of
/// a model (after the scaler of `cx`, through the calibration map of the checkpoint). What live telemetry has is put into every other one, the same each time: a fifth
/// of its values is taken out, then a whole channel; a tensor is also cut short.
///
/// # Errors
/// When the store's channels, classes or windows are not the model's, or it has no window.
pub fn cases(
    store: &Path,
    model: &dyn BaseModel,
    cx: &ExportContext<'_>,
    count: usize,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<Cases, TrainError> {
    let store = Store::open(store)?;
    let schema = schema_as(store.corpus(), &cx.header.schema)?;
    let (kind, geometry) = (model.input(), schema.geometry());
    let mut kept = Kept { every: 1, seen: 0, most: 2 * count.max(1), rows: Vec::new() };
    sweep(&store, &schema, Inputs::of(kind), true, progress, cancel, |swept| {
        if let Some((_, cut, _)) = swept.cut {
            let values = if kind == InputKind::Summary { &cut.summary } else { &cut.tensor };
            for (values, length) in values.chunks_exact(geometry.row_len(kind)).zip(&cut.lengths) {
                kept.offer(values, *length);
            }
        }
        Ok(())
    })?;
    let mut rows = kept.take(count);
    if rows.is_empty() {
        return Err(TrainError::Data("the store has no window to make test vectors of".into()));
    }
    for (i, row) in rows.iter_mut().enumerate() {
        for value in &mut row.values {
            if !value.is_finite() {
                *value = f32::NAN;
            }
        }
        if i % 2 == 1 {
            poke(row, i as u64, kind, geometry);
        }
    }

    let values: Vec<f32> = rows.iter().flat_map(|row| row.values.iter().copied()).collect();
    let lengths: Vec<u32> = rows.iter().map(|row| row.length).collect();
    let (summary, tensor) =
        if kind == InputKind::Summary { (values.clone(), Vec::new()) } else { (Vec::new(), values.clone()) };
    let table = table(&schema, kind, summary, tensor, lengths.clone())?;
    let scaler = cx.moments.map_or(Scaler::None, |moments| Scaler::Global(moments.clone()));
    let scaled = Scaled::new(&table, &scaler, &[], &[])?;
    let scores = probabilities(model, cx.header.calibration.as_ref(), &scaled)?;
    let shape = match kind {
        InputKind::Summary => vec![rows.len(), geometry.features],
        InputKind::Tensor => vec![rows.len(), geometry.channels, geometry.steps],
    };
    Ok(Cases {
        format: FORMAT,
        kind: model.kind(),
        schema_hash: cx.header.schema_hash.clone(),
        simulated: cx.header.simulated || store.corpus().simulated,
        input: kind,
        classes: schema.classes.names().to_vec(),
        shape,
        values,
        lengths: if kind == InputKind::Tensor { lengths } else { Vec::new() },
        probabilities: scores.rows().into_iter().map(|row| row.to_vec()).collect(),
    })
}

struct Row {
    values: Vec<f32>,
    length: u32,
}

/// Rows at even distances out of a stream of unknown length, in bounded memory: when there are too many, every other one
/// goes and from then on only every other one is looked at.
struct Kept {
    every: usize,
    seen: usize,
    most: usize,
    rows: Vec<Row>,
}

impl Kept {
    fn offer(&mut self, values: &[f32], length: u32) {
        if self.seen.is_multiple_of(self.every) {
            if self.rows.len() == self.most {
                let mut position = 0;
                self.rows.retain(|_| {
                    position += 1;
                    position % 2 == 1
                });
                self.every *= 2;
            }
            if self.seen.is_multiple_of(self.every) {
                self.rows.push(Row { values: values.to_vec(), length });
            }
        }
        self.seen += 1;
    }

    /// At most `count` of them, again at even distances.
    fn take(self, count: usize) -> Vec<Row> {
        let (held, count) = (self.rows.len(), count.min(self.rows.len()));
        let wanted = |i: usize| (0..count).any(|k| k * held / count == i);
        self.rows.into_iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, row)| row).collect()
    }
}

/// Takes values out of a row, as its position in the list says.
fn poke(row: &mut Row, position: u64, kind: InputKind, geometry: Geometry) {
    for (i, value) in row.values.iter_mut().enumerate() {
        if mix(position << 32 | i as u64).is_multiple_of(GAP) {
            *value = f32::NAN;
        }
    }
    let draw = mix(!position);
    let lost = draw as usize % geometry.channels;
    match kind {
        // statistic-major: a channel has one value in each statistic
        InputKind::Summary => row.values.iter_mut().skip(lost).step_by(geometry.channels).for_each(|v| *v = f32::NAN),
        InputKind::Tensor => {
            let steps = geometry.steps;
            row.values[lost * steps..(lost + 1) * steps].fill(f32::NAN);
            row.length = row.length.min(1 + (draw >> 32) as u32 % steps as u32);
            for series in row.values.chunks_exact_mut(steps) {
                series[row.length as usize..].fill(f32::NAN);
            }
        }
    }
}

/// One step of `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014): the same number for the same position, everywhere.
fn mix(position: u64) -> u64 {
    let mut z = position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(total: usize, count: usize) -> Vec<f32> {
        let mut kept = Kept { every: 1, seen: 0, most: 2 * count, rows: Vec::new() };
        for i in 0..total {
            kept.offer(&[i as f32], 1);
        }
        kept.take(count).iter().map(|row| row.values[0]).collect()
    }

    #[test]
    fn rows_lie_at_even_distances_over_the_whole_stream() {
        assert_eq!(keep(3, 5), [0.0, 1.0, 2.0]);
        assert_eq!(keep(5, 5).len(), 5);
        for (total, count) in [(100, 7), (1000, 64), (129, 64)] {
            let rows = keep(total, count);
            assert_eq!(rows.len(), count);
            let gaps: Vec<f32> = rows.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mean = total as f32 / count as f32;
            assert!(gaps.iter().all(|gap| *gap >= 1.0 && *gap < 2.5 * mean), "{gaps:?}");
            assert!(rows[count - 1] > total as f32 * 0.6, "{rows:?}");
        }
    }

    #[test]
    fn a_poked_row_has_gaps_a_lost_channel_and_is_short() {
        let geometry = Geometry { channels: 5, steps: 8, features: 15, classes: 2 };
        let mut short = false;
        for position in 0..20 {
            let mut row = Row { values: vec![1.0; 40], length: 8 };
            poke(&mut row, position, InputKind::Tensor, geometry);
            let series: Vec<&[f32]> = row.values.chunks_exact(8).collect();
            assert!(series.iter().any(|series| series.iter().all(|v| v.is_nan())));
            assert!(series.iter().all(|series| series[row.length as usize..].iter().all(|v| v.is_nan())));
            assert!((1..=8).contains(&row.length));
            short |= row.length < 8;
            let mut row = Row { values: vec![1.0; 15], length: 8 };
            poke(&mut row, position, InputKind::Summary, geometry);
            assert!((0..5).any(|c| row.values.iter().skip(c).step_by(5).all(|v| v.is_nan())));
        }
        assert!(short);
    }
}
