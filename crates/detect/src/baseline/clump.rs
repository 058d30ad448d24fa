//! Held-out scores that lie apart from all others: what a poisoned or infected stretch of training leaves behind.

/// The gap above the rest, as a share of the way from the median to the rest's top (both in logarithms).
const GAP: f64 = 0.5;

/// The score above which a clump lies apart, with the number of scores in it; `None` where there is none.
///
/// Among the largest `share` of the scores, the widest gap (in the logarithm) splits off a clump when it is at least half
/// as wide as the way from the median to the score below it. A smooth tail, however heavy, has no such gap but between its
/// last few values.
pub(super) fn above(scores: &[f64], share: f64) -> Option<(f64, usize)> {
    let mut logs: Vec<f64> = scores.iter().map(|score| score.max(f64::MIN_POSITIVE).ln()).collect();
    logs.sort_by(f64::total_cmp);
    let n = logs.len();
    let most = ((n as f64 * share) as usize).min(n.saturating_sub(1) / 2);
    let median = *logs.get(n / 2)?;
    let gap = |i: usize| logs[i] - logs[i - 1];
    let at = (n - most..n).rev().max_by(|&a, &b| gap(a).total_cmp(&gap(b)))?;
    let way = logs[at - 1] - median;
    (way > 0.0 && gap(at) >= GAP * way).then(|| (f64::midpoint(logs[at - 1], logs[at]).exp(), n - at))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn a_clump_is_found_and_a_smooth_tail_is_kept() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let mut distance = |d: usize| (0..d).map(|_| normal().powi(2)).sum::<f64>().sqrt() / (d as f64).sqrt();
        for d in [1, 8, 46] {
            let mut scores: Vec<f64> = (0..1900).map(|_| distance(d)).collect();
            let dropped = above(&scores, 0.1).map_or(0, |(_, n)| n);
            assert!(dropped <= 2, "{d}: {dropped} of a clean sample");
            scores.extend((0..100).map(|_| distance(d) + 9.0));
            let (cut, n) = above(&scores, 0.1).unwrap();
            assert!((100..=102).contains(&n) && cut > 2.0, "{d}: {cut} {n}");
        }
        let heavy: Vec<f64> = (1..=5000).map(|i| 5000.0 / f64::from(i)).collect();
        assert!(above(&heavy[4..], 0.1).is_none());
    }

    #[test]
    fn nothing_and_equal_scores_have_no_clump() {
        assert_eq!(above(&[], 0.1), None);
        assert_eq!(above(&[1.0], 0.1), None);
        assert_eq!(above(&[2.0; 40], 0.1), None);
        assert_eq!(above(&[1.0, 2.0, 3.0], 0.0), None);
    }
}
