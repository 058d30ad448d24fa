//! A fitted classifier: transform, linear decisions, probabilities; and its bytes.

use rayon::prelude::*;
use stakeout_core::{Geometry, ModelError};
use stakeout_kernels::rocket::Convolver;

use super::link::Link;
use super::series::Series;
use super::transform::Transform;
use crate::bytes::Reader;

const MAGIC: [u8; 4] = *b"MRKT";
const FORMAT: u32 = 1;
/// Largest size of a stored number. Sums over any number of features stay finite in double precision.
const LIMIT: f64 = 1e30;
/// Windows that one thread scores.
const PIECE: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Classifier {
    pub(super) transform: Transform,
    /// Classes × features.
    pub(super) coefficients: Vec<f32>,
    /// One a class.
    pub(super) intercepts: Vec<f64>,
    /// Decisions on a window in which nothing was observed, one a class: those on an average window.
    pub(super) average: Vec<f64>,
    pub(super) link: Link,
}

impl Classifier {
    /// Class probabilities of windows into `out` (windows × classes). Every window is computed alone, so that the batch
    /// does not show.
    pub(super) fn predict(&self, series: &Series, out: &mut [f32]) {
        let (width, classes) = (self.transform.width(), self.intercepts.len());
        let pieces = out.par_chunks_mut(PIECE * classes).enumerate();
        pieces.for_each(|(piece, out)| {
            let (mut convolver, mut features) = (Convolver::default(), vec![0.0; width]);
            let mut decisions = vec![0.0; classes];
            for (i, out) in out.chunks_exact_mut(classes).enumerate() {
                let window = piece * PIECE + i;
                if !series.observed(window) {
                    self.link.probabilities(&self.average, out);
                    continue;
                }
                self.transform.apply(series, window, &mut convolver, &mut features);
                let rows = self.coefficients.chunks_exact(width).zip(&self.intercepts);
                for (decision, (coefficients, intercept)) in decisions.iter_mut().zip(rows) {
                    *decision = intercept + dot(coefficients, &features);
                }
                self.link.probabilities(&decisions, out);
            }
        });
    }

    /// Features of windows, windows × features.
    pub(super) fn features(&self, series: &Series) -> Vec<f32> {
        let width = self.transform.width();
        let mut out = vec![0.0; series.len() * width];
        let mut convolver = Convolver::default();
        for (window, out) in out.chunks_exact_mut(width).enumerate() {
            self.transform.apply(series, window, &mut convolver, out);
        }
        out
    }

    /// Magic `MRKT`, `u32` format, the transform, then per class one `f32` a feature, `f64`s: one intercept a class, one
    /// average decision a class, the scale of the link and one offset a class; little endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        self.transform.write(&mut bytes);
        bytes.extend(self.coefficients.iter().flat_map(|value| value.to_le_bytes()));
        let rest = self.intercepts.iter().chain(&self.average).chain([&self.link.scale]).chain(&self.link.offsets);
        bytes.extend(rest.flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// Reads what [`Classifier::to_bytes`] wrote, and believes nothing.
    pub(super) fn from_bytes(bytes: &[u8], geometry: Geometry) -> Result<Self, ModelError> {
        let mut reader = Reader::new(bytes);
        reader.expect(MAGIC, FORMAT)?;
        let transform = Transform::read(&mut reader, geometry)?;
        let classes = geometry.classes;
        let coefficients = reader.f32s(transform.width().saturating_mul(classes))?;
        let intercepts = f64s(&mut reader, classes)?;
        let average = f64s(&mut reader, classes)?;
        let scale = f64::from_bits(reader.u64()?);
        let offsets = f64s(&mut reader, classes)?;
        reader.end()?;
        let usable = |value: f64| value.abs() <= LIMIT;
        let numbers = coefficients.iter().map(|value| f64::from(*value)).chain(intercepts.iter().copied());
        if let Some(value) =
            numbers.chain([scale]).chain(average.iter().chain(&offsets).copied()).find(|value| !usable(*value))
        {
            return Err(ModelError::Weights(format!("{value} is no coefficient")));
        }
        if scale < 0.0 {
            return Err(ModelError::Weights(format!("decisions are scaled by {scale}")));
        }
        Ok(Self { transform, coefficients, intercepts, average, link: Link { scale, offsets } })
    }
}

fn f64s(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>, ModelError> {
    let bytes = reader.take(count, 8)?;
    Ok(bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect())
}

/// A product summed in double precision, in lanes of fixed order.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0f64; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 =
        a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum::<f64>() + rest
}
