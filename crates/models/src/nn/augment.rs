//! Augmentation: each training batch is seen a little changed, so that a net does not learn few windows by heart
//! (Um et al. 2017; Iwana and Uchida 2021). What is drawn depends on the seed, the step and the shard alone.
//!
//! Only a window's own steps are touched, and a missing value stays missing: what a net is told about padding and gaps
//! stays true.

use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_core::{Batch, InputKind};

use super::config::TrainConfig;
use super::rng;

/// Changes a batch of scaled windows in place, as far as the settings ask for it.
pub(crate) fn augment(batch: &mut Batch, config: &TrainConfig, rng: &mut Xoshiro256PlusPlus) {
    let TrainConfig { jitter, scaling, channel_dropout, shift, .. } = *config;
    if jitter == 0.0 && scaling == 0.0 && channel_dropout == 0.0 && shift == 0.0 {
        return;
    }
    let width = batch.row_len();
    let geometry = batch.geometry();
    let lengths = batch.lengths.clone();
    let kind = batch.kind();
    for (row, length) in batch.values.chunks_exact_mut(width).zip(lengths) {
        match kind {
            InputKind::Tensor => {
                let own = length as usize;
                let by = offset(shift, own, rng);
                for series in row.chunks_exact_mut(geometry.steps) {
                    let series = &mut series[..own];
                    move_by(series, by);
                    change(series, jitter, scaling, rng);
                    if channel_dropout > 0.0 && f64::from(rng::unit(rng)) < channel_dropout {
                        series.fill(f32::NAN);
                    }
                }
            }
            InputKind::Summary => {
                let channels = geometry.channels.max(1);
                let dropped: Vec<bool> = (0..channels)
                    .map(|_| channel_dropout > 0.0 && f64::from(rng::unit(rng)) < channel_dropout)
                    .collect();
                for (at, value) in row.iter_mut().enumerate() {
                    change(std::slice::from_mut(value), jitter, scaling, rng);
                    if dropped[at % channels] {
                        *value = f32::NAN;
                    }
                }
            }
        }
    }
}

/// One factor for the series and noise of its own for each value; NaN stays NaN.
fn change(series: &mut [f32], jitter: f64, scaling: f64, rng: &mut Xoshiro256PlusPlus) {
    let (jitter, scaling) = (jitter as f32, scaling as f32);
    if scaling > 0.0 {
        let factor = scaling.mul_add(rng::normal(rng), 1.0);
        series.iter_mut().for_each(|value| *value *= factor);
    }
    if jitter > 0.0 {
        series.iter_mut().for_each(|value| *value += jitter * rng::normal(rng));
    }
}

/// How many steps a window of so many own steps moves: uniform among whole numbers within ± the share.
fn offset(share: f64, own: usize, rng: &mut Xoshiro256PlusPlus) -> i64 {
    let most = (share * own as f64) as i64;
    if most == 0 { 0 } else { ((2 * most + 1) as f32 * rng::unit(rng)) as i64 - most }
}

/// Moves a series later (or earlier, for a negative number); the steps that come free repeat the edge.
fn move_by(series: &mut [f32], by: i64) {
    let (n, by) = (series.len(), by.clamp(-(series.len() as i64), series.len() as i64));
    let steps = by.unsigned_abs() as usize;
    if steps == 0 || n == 0 {
        return;
    }
    if by > 0 {
        let edge = series[0];
        series.copy_within(..n - steps, steps);
        series[..steps].fill(edge);
    } else {
        let edge = series[n - 1];
        series.copy_within(steps.., 0);
        series[n - steps..].fill(edge);
    }
}

#[cfg(test)]
mod tests {
    use stakeout_core::Geometry;

    use super::*;
    use crate::nn::rng::{Purpose, generator};

    const GEOMETRY: Geometry = Geometry { channels: 3, steps: 8, features: 6, classes: 2 };

    fn off() -> TrainConfig {
        TrainConfig { jitter: 0.0, scaling: 0.0, channel_dropout: 0.0, shift: 0.0, ..TrainConfig::default() }
    }

    /// Rows of 0, 1, 2, ... with gaps and padding.
    fn batch(kind: InputKind, rows: usize) -> Batch {
        let mut batch = Batch::new(kind, GEOMETRY);
        batch.reset(rows);
        for (at, value) in batch.values.iter_mut().enumerate() {
            *value = if at % 11 == 3 { f32::NAN } else { at as f32 };
        }
        for (row, length) in batch.lengths.iter_mut().enumerate() {
            *length = (row % 9) as u32;
        }
        batch
    }

    fn augmented(kind: InputKind, config: &TrainConfig) -> (Batch, Batch) {
        let before = batch(kind, 27);
        let mut after = before.clone();
        augment(&mut after, config, &mut generator(1, Purpose::Augment, 0));
        (before, after)
    }

    #[test]
    fn off_means_off() {
        for kind in [InputKind::Tensor, InputKind::Summary] {
            let (before, after) = augmented(kind, &off());
            assert!(before.values.iter().zip(&after.values).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    #[test]
    fn padding_gaps_and_lengths_stay_what_they_were() {
        let config = TrainConfig { jitter: 0.3, scaling: 0.3, ..off() };
        let (before, after) = augmented(InputKind::Tensor, &config);
        assert_eq!(before.lengths, after.lengths);
        for (at, (a, b)) in before.values.iter().zip(&after.values).enumerate() {
            let own = (at % GEOMETRY.steps) < before.lengths[at / (GEOMETRY.channels * GEOMETRY.steps)] as usize;
            assert!(a.is_nan() == b.is_nan());
            assert!(if own && !a.is_nan() { a.to_bits() != b.to_bits() } else { a.to_bits() == b.to_bits() });
        }
    }

    #[test]
    fn noise_and_factors_have_the_size_that_was_asked_for() {
        let mut long = Batch::new(InputKind::Tensor, Geometry { steps: 10_000, ..GEOMETRY });
        long.reset(1);
        long.values.fill(0.0);
        augment(&mut long, &TrainConfig { jitter: 0.5, scaling: 0.2, ..off() }, &mut generator(1, Purpose::Augment, 0));
        let variance = long.values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / long.values.len() as f64;
        assert!((variance.sqrt() - 0.5).abs() < 0.02, "{variance}");

        let mut many = Batch::new(InputKind::Tensor, GEOMETRY);
        many.reset(2000);
        many.values.fill(1.0);
        augment(&mut many, &TrainConfig { scaling: 0.2, ..off() }, &mut generator(1, Purpose::Augment, 0));
        let factors: Vec<f64> = many.values.chunks_exact(8).map(|series| f64::from(series[0])).collect();
        assert!(many.values.chunks_exact(8).all(|series| series.iter().all(|v| *v == series[0])));
        let mean = factors.iter().sum::<f64>() / factors.len() as f64;
        let variance = factors.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / factors.len() as f64;
        assert!((mean - 1.0).abs() < 0.02 && (variance.sqrt() - 0.2).abs() < 0.01, "{mean} {variance}");
    }

    #[test]
    fn a_dropped_channel_is_missing_as_a_whole() {
        let config = TrainConfig { channel_dropout: 0.3, ..off() };
        let mut many = Batch::new(InputKind::Tensor, GEOMETRY);
        many.reset(1000);
        many.values.fill(1.0);
        augment(&mut many, &config, &mut generator(2, Purpose::Augment, 0));
        let dropped = many.values.chunks_exact(8).filter(|series| series.iter().all(|v| v.is_nan())).count();
        assert!(many.values.chunks_exact(8).all(|s| s.iter().all(|v| v.is_nan()) || s.iter().all(|v| *v == 1.0)));
        assert!((800..1000).contains(&dropped), "{dropped} of 3000");

        // a channel of a summary loses all of its statistics
        let mut summary = Batch::new(InputKind::Summary, GEOMETRY);
        summary.reset(1000);
        summary.values.fill(1.0);
        augment(&mut summary, &config, &mut generator(2, Purpose::Augment, 0));
        assert!(summary.values.chunks_exact(6).all(|row| (0..3).all(|c| row[c].is_nan() == row[c + 3].is_nan())));
        let dropped = summary.values.iter().filter(|v| v.is_nan()).count();
        assert!((1600..2000).contains(&dropped), "{dropped} of 6000");
    }

    #[test]
    fn a_moved_series_repeats_its_edge() {
        let moved = |by| {
            let mut series = [1.0, 2.0, 3.0, 4.0];
            move_by(&mut series, by);
            series
        };
        assert_eq!(moved(0), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(moved(1), [1.0, 1.0, 2.0, 3.0]);
        assert_eq!(moved(-2), [3.0, 4.0, 4.0, 4.0]);
        assert_eq!(moved(9), [1.0; 4]);
        move_by(&mut [], 3);
    }

    #[test]
    fn offsets_fill_their_range_and_nothing_else() {
        let mut rng = generator(3, Purpose::Augment, 0);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[usize::try_from(offset(0.25, 8, &mut rng) + 2).unwrap()] += 1;
        }
        assert!(seen.iter().all(|n| (150..250).contains(n)), "{seen:?}");
        assert_eq!(offset(0.25, 3, &mut rng), 0);
        assert_eq!(offset(0.5, 0, &mut rng), 0);
    }
}
