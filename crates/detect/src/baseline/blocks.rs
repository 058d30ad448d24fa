//! How far vectors depend on their neighbours, and the blocks that are cut accordingly.

/// Neighbours farther apart are not looked at.
const MAX_LAG: usize = 2000;

/// Cuts segments into blocks of about `length` values that never cross a segment: each segment into as many equal
/// parts as come nearest to that length. Returns the lengths of the blocks.
pub(super) fn cut(segments: &[usize], length: usize) -> Vec<usize> {
    let mut blocks = Vec::new();
    for &segment in segments.iter().filter(|&&segment| segment > 0) {
        let parts = ((segment + length / 2) / length.max(1)).clamp(1, segment);
        blocks.extend((0..parts).map(|part| (part + 1) * segment / parts - part * segment / parts));
    }
    blocks
}

/// The integrated autocorrelation time of a series, in steps: so many neighbours say as much as one value alone.
///
/// τ = 1 + 2 Σ ρ(k), the sum cut where a pair ρ(2m − 1) + ρ(2m) is no longer positive, Geyer's initial positive sequence
/// (1992, "Practical Markov chain Monte Carlo", section 3.3). Ranks instead of values, so that a few far scores decide
/// nothing; pairs never cross a segment. At least 1.
pub(super) fn autocorrelation_time(series: &[f64], segments: &[usize]) -> f64 {
    let ranks = centred_ranks(series);
    let variance: f64 = ranks.iter().map(|rank| rank * rank).sum::<f64>() / ranks.len().max(1) as f64;
    if variance <= 0.0 {
        return 1.0;
    }
    let longest = segments.iter().copied().max().unwrap_or(0);
    let correlation = |lag: usize| {
        let (mut sum, mut start) = (0.0, 0);
        for &length in segments {
            let part = &ranks[start..start + length];
            sum += part.iter().zip(part.iter().skip(lag)).map(|(a, b)| a * b).sum::<f64>();
            start += length;
        }
        // Divided by all values, not by the pairs, as the series' own estimate is: it damps far lags.
        sum / (ranks.len() as f64 * variance)
    };
    let mut time = 1.0;
    for lag in (1..longest.min(MAX_LAG)).step_by(2) {
        let pair = correlation(lag) + correlation(lag + 1);
        if pair <= 0.0 {
            break;
        }
        time += 2.0 * pair;
    }
    time
}

/// Ranks less their mean; ties share their mean rank.
fn centred_ranks(series: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..series.len()).collect();
    order.sort_by(|&a, &b| series[a].total_cmp(&series[b]));
    let mut ranks = vec![0.0; series.len()];
    let middle = (series.len() as f64 - 1.0) / 2.0;
    let mut start = 0;
    for run in order.chunk_by(|&a, &b| series[a] == series[b]) {
        let rank = start as f64 + (run.len() as f64 - 1.0) / 2.0;
        run.iter().for_each(|&at| ranks[at] = rank - middle);
        start += run.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    proptest! {
        #[test]
        fn blocks_cover_each_segment_and_cross_none(segments in prop::collection::vec(0usize..50, 0..8), length in 1usize..30) {
            let blocks = cut(&segments, length);
            prop_assert!(blocks.iter().all(|&block| block > 0));
            let mut rest = blocks.iter();
            for &segment in segments.iter().filter(|&&segment| segment > 0) {
                let mut covered = 0;
                while covered < segment { covered += rest.next().unwrap(); }
                prop_assert_eq!(covered, segment);
            }
            prop_assert!(rest.next().is_none());
        }
    }

    #[test]
    fn the_time_of_noise_is_one_and_of_an_autoregression_its_own() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let noise: Vec<f64> = (0..20_000).map(|_| normal()).collect();
        assert!(autocorrelation_time(&noise, &[20_000]) < 1.15);
        let mut series = vec![0.0];
        for _ in 1..40_000 {
            series.push(0.9 * series[series.len() - 1] + normal());
        }
        // (1 + 0.9) / (1 - 0.9) for the values; ranks correlate a little less.
        let time = autocorrelation_time(&series, &[40_000]);
        assert!((15.0..21.0).contains(&time), "{time}");
        assert_eq!(autocorrelation_time(&[1.0; 50], &[50]), 1.0);
        assert_eq!(autocorrelation_time(&[], &[]), 1.0);
        // In segments of one there are no neighbours.
        assert_eq!(autocorrelation_time(&series[..100], &[1; 100]), 1.0);
    }
}
