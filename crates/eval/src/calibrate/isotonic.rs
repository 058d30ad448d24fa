//! A monotone curve a class, one against the rest: pool adjacent violators.

use stakeout_core::Calibration;
use stakeout_core::calibration::Curve;

use super::Sample;

/// Neighbouring scores that share a level.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    first: f32,
    last: f32,
    weight: f64,
    hits: f64,
}

impl Block {
    fn level(&self) -> f64 {
        self.hits / self.weight
    }
}

/// Levels are kept inside [1 / (n + 2), (n + 1) / (n + 2)] with n the total weight, the number of episodes (Laplace's
/// rule of succession): a class that some scores never met is rare there, not impossible. A class without a row keeps
/// its probability: nothing is known of it.
pub(super) fn fit(sample: &Sample) -> Calibration {
    let n = sample.total();
    let (least, most) = (1.0 / (n + 2.0), (n + 1.0) / (n + 2.0));
    let absent = sample.absent();
    let curve = |class: usize| {
        if absent.contains(&class) {
            return Curve { x: vec![0.0, 1.0], y: vec![0.0, 1.0] };
        }
        let rows = sample.rows().map(|(p, label, weight)| (p[class].min(1.0), label == class, weight));
        let mut curve = Curve { x: Vec::new(), y: Vec::new() };
        for block in pool(rows.collect()) {
            let level = block.level().clamp(least, most);
            curve.x.push(f64::from(block.first));
            curve.y.push(level);
            if block.last > block.first {
                curve.x.push(f64::from(block.last));
                curve.y.push(level);
            }
        }
        curve
    };
    Calibration::Isotonic { maps: (0..sample.classes).map(curve).collect() }
}

/// Weighted least squares of `hit` on the score under a rising level (Ayer et al. 1955; Barlow et al. 1972, section
/// 1.2): equal scores are one block from the start, and a block that is not above the one before it joins it.
fn pool(mut rows: Vec<(f32, bool, f64)>) -> Vec<Block> {
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.total_cmp(&b.2)));
    let mut blocks: Vec<Block> = Vec::new();
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let weight = tied.iter().map(|row| row.2).sum();
        let hits = tied.iter().filter(|row| row.1).map(|row| row.2).sum();
        let mut block = Block { first: tied[0].0, last: tied[0].0, weight, hits };
        while let Some(before) = blocks.last().filter(|before| before.level() >= block.level()) {
            block.first = before.first;
            block.weight += before.weight;
            block.hits += before.hits;
            blocks.pop();
        }
        blocks.push(block);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The level at each distinct score by the min-max formula: the largest over starts of the smallest over ends of
    /// the weighted mean between (Barlow et al. 1972, equation 1.9).
    fn slow_levels(rows: &[(f32, bool, f64)]) -> Vec<(f32, f64)> {
        let mut scores: Vec<f32> = rows.iter().map(|row| row.0).collect();
        scores.sort_unstable_by(f32::total_cmp);
        scores.dedup();
        let mean = |from: f32, to: f32| {
            let inside = rows.iter().filter(|row| from <= row.0 && row.0 <= to);
            let (weight, hits) =
                inside.fold((0.0, 0.0), |(w, h), row| (w + row.2, h + if row.1 { row.2 } else { 0.0 }));
            hits / weight
        };
        let level = |at: usize| {
            let over_ends = |start: usize| {
                (at..scores.len()).map(|end| mean(scores[start], scores[end])).fold(f64::INFINITY, f64::min)
            };
            (0..=at).map(over_ends).fold(f64::NEG_INFINITY, f64::max)
        };
        (0..scores.len()).map(|at| (scores[at], level(at))).collect()
    }

    proptest! {
        #[test]
        fn pooling_is_the_min_max_formula(
            rows in prop::collection::vec((0u8..20, any::<bool>(), 1u8..5), 1..40)
        ) {
            let rows: Vec<(f32, bool, f64)> =
                rows.into_iter().map(|(p, hit, w)| (f32::from(p) / 19.0, hit, 1.0 / f64::from(w))).collect();
            let blocks = pool(rows.clone());
            for (score, level) in slow_levels(&rows) {
                let block = blocks.iter().find(|block| block.first <= score && score <= block.last).unwrap();
                prop_assert!((block.level() - level).abs() < 1e-12, "{score}: {} not {level}", block.level());
            }
            prop_assert!(blocks.is_sorted_by(|a, b| a.last < b.first && a.level() < b.level()));
        }
    }

    #[test]
    fn a_class_without_a_row_keeps_its_probability_and_no_level_is_certain() {
        let probabilities = [0.7, 0.2, 0.1, 0.1, 0.8, 0.1, 0.6, 0.3, 0.1];
        let sample = Sample::new(3, &probabilities, &[0, 1, 0], &[1.0; 3]).unwrap();
        let Calibration::Isotonic { maps } = fit(&sample) else { panic!("isotonic") };
        assert_eq!(maps[2], Curve { x: vec![0.0, 1.0], y: vec![0.0, 1.0] });
        assert_eq!((maps[0].y[0], *maps[0].y.last().unwrap()), (0.2, 0.8));
        Calibration::Isotonic { maps }.check().unwrap();
    }
}
