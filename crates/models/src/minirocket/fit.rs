//! A fit: windows to features, features to a ridge regression, its held-out decisions to a link.

use std::ops::Range;

use rayon::prelude::*;
use stakeout_core::{Batch, FitContext, InputKind, Labelled, ModelError, Windows};
use stakeout_kernels::rocket::Convolver;

use super::classifier::Classifier;
use super::link::Link;
use super::series::Series;
use super::transform::{Gap, Transform};
use super::{MiniRocketConfig, plan};
use crate::draw::{below, stream};
use crate::ridge::{self, Design, Problem};
use crate::weighted::Weighted;

/// Windows that are gathered at once, and that one thread transforms.
const CHUNK: usize = 1024;
const PIECE: usize = 16;
/// Units of progress.
const UNITS: u64 = 1000;
/// Units behind which the transform stands ready.
const READY: f64 = 100.0;

/// Fits a classifier to the windows with a positive weight: a window of weight 0 is as good as absent.
pub(super) fn fit(
    config: &MiniRocketConfig,
    train: Labelled<'_>,
    cx: &mut FitContext<'_>,
) -> Result<Classifier, ModelError> {
    train.check()?;
    let Weighted { rows, labels, weights } = Weighted::of(&train)?;
    let classes = train.windows.schema().geometry().classes;
    let mean = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>() / rows.len() as f64;
    let weights: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) / mean).collect();
    let source = Source { windows: train.windows, rows: &rows };

    let transform = prepare(config, &source, cx)?;
    let mut features = Features { source, transform: &transform };
    let targets: Vec<f64> = labels
        .iter()
        .flat_map(|label| (0..classes).map(|class| if class == usize::from(*label) { 1.0 } else { -1.0 }))
        .collect();
    let problem = Problem { targets: &targets, weights: &weights, alphas: &config.alphas };
    let ridge = ridge::fit(&mut features, &problem, &mut |done| {
        cx.observer.progress((READY + done * (UNITS as f64 - READY)) as u64, UNITS);
        if cx.observer.cancelled() { Err(ModelError::Cancelled) } else { Ok(()) }
    })?;
    let link = Link::fit(&ridge.held_out, &labels, &weights, classes);
    cx.observer.note(&format!(
        "{} features; alpha {} of the ridge regression by leaving out each of {} windows; scale of its decisions {:.3}",
        transform.width(),
        ridge.alpha,
        rows.len(),
        link.scale
    ));
    Ok(Classifier {
        transform,
        coefficients: ridge.coefficients,
        intercepts: ridge.intercepts,
        average: ridge.means,
        link,
    })
}

/// Chooses dilations and channels, and takes biases from windows of the training side.
fn prepare(config: &MiniRocketConfig, source: &Source<'_>, cx: &mut FitContext<'_>) -> Result<Transform, ModelError> {
    let geometry = source.windows.schema().geometry();
    let n = source.rows.len();
    let mut lengths = Vec::with_capacity(n);
    let mut range: Vec<Option<(f32, f32)>> = vec![None; geometry.channels];
    for from in (0..n).step_by(CHUNK) {
        let series = source.series(from..n.min(from + CHUNK))?;
        for window in 0..series.len() {
            lengths.push(series.length(window));
            for (range, share) in range.iter_mut().zip(series.shares(window)) {
                let (low, high) = range.unwrap_or((*share, *share));
                *range = Some((low.min(*share), high.max(*share)));
            }
        }
        cx.observer.progress((READY / 2.0 * (from + series.len()) as f64 / n as f64) as u64, UNITS);
        if cx.observer.cancelled() {
            return Err(ModelError::Cancelled);
        }
    }
    let gaps = range.iter().zip(0..).filter_map(|(range, channel)| {
        let (low, high) = (*range)?;
        (low < high).then_some(Gap { channel, most: high })
    });
    let gaps = gaps.collect();
    let features = plan::affordable(config.features, n, config.largest_side);
    let dilations = plan::dilations(&lengths, features, config.max_dilations);
    let mut rng = stream(cx.seed, []);
    let mut transform = Transform::draw(dilations, geometry.channels, gaps, &mut rng);
    transform.take_biases(|| {
        let row = below(&mut rng, n);
        source.series(row..row + 1)
    })?;
    Ok(transform)
}

/// The windows that are fitted, renumbered from 0.
struct Source<'a> {
    windows: &'a dyn Windows,
    rows: &'a [usize],
}

impl Source<'_> {
    fn series(&self, rows: Range<usize>) -> Result<Series, ModelError> {
        let mut batch = Batch::new(InputKind::Tensor, self.windows.schema().geometry());
        self.windows.gather(&self.rows[rows], &mut batch)?;
        Series::new(batch)
    }
}

/// Features of the windows that are fitted, computed whenever they are read.
struct Features<'a> {
    source: Source<'a>,
    transform: &'a Transform,
}

impl Design for Features<'_> {
    fn rows(&self) -> usize {
        self.source.rows.len()
    }

    fn width(&self) -> usize {
        self.transform.width()
    }

    fn read(&mut self, rows: Range<usize>, into: &mut [f32]) -> Result<(), ModelError> {
        let series = self.source.series(rows)?;
        into.par_chunks_mut(PIECE * self.width()).enumerate().for_each(|(piece, out)| {
            let mut convolver = Convolver::default();
            for (i, out) in out.chunks_exact_mut(self.width()).enumerate() {
                self.transform.apply(&series, piece * PIECE + i, &mut convolver, out);
            }
        });
        Ok(())
    }
}
