//! How well scores rank outliers above normal vectors.

/// The area under the ROC curve: the chance that an outlier scores above a normal vector, a tie counting half
/// (Mann–Whitney). `None` unless there are both, or where a score is NaN.
pub fn auroc(scores: &[f64], outlier: &[bool]) -> Option<f64> {
    let (mut below, mut wins) = (0.0, 0.0);
    let (positive, negative) = each_tie(scores, outlier, false, |hits, misses| {
        wins += hits * (below + misses / 2.0);
        below += misses;
    })?;
    Some(wins / (positive * negative))
}

/// The average precision: precision at each outlier from the top down, averaged (Buckley and Voorhees 2000); ties are
/// taken together. `None` as for [`auroc`].
pub fn average_precision(scores: &[f64], outlier: &[bool]) -> Option<f64> {
    let (mut hits, mut called, mut sum) = (0.0, 0.0, 0.0);
    let (positive, _) = each_tie(scores, outlier, true, |own, misses| {
        hits += own;
        called += own + misses;
        sum += own * hits / called;
    })?;
    Some(sum / positive)
}

/// The largest F1 of any threshold, with that threshold (scores at or above it are called). It is chosen on the labels
/// that it is scored on: an upper bound, not a result. `None` as for [`auroc`].
pub fn best_f1(scores: &[f64], outlier: &[bool]) -> Option<(f64, f64)> {
    let positive = outlier.iter().filter(|outlier| **outlier).count() as f64;
    let mut sorted: Vec<f64> = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut hits, mut called, mut best) = (0.0, 0.0, (0.0, f64::INFINITY));
    each_tie(scores, outlier, true, |own, misses| {
        hits += own;
        called += own + misses;
        let f1 = 2.0 * hits / (positive + called);
        if f1 > best.0 {
            best = (f1, sorted[called as usize - 1]);
        }
    })?;
    Some(best)
}

/// Hands each run of equal scores to `take`, as the numbers of outliers and of normal vectors in it; returns the totals.
fn each_tie(scores: &[f64], outlier: &[bool], descending: bool, mut take: impl FnMut(f64, f64)) -> Option<(f64, f64)> {
    if scores.len() != outlier.len() || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let positive = outlier.iter().filter(|outlier| **outlier).count();
    if positive == 0 || positive == outlier.len() {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    if descending {
        order.reverse();
    }
    for run in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let hits = run.iter().filter(|&&at| outlier[at]).count();
        take(hits as f64, (run.len() - hits) as f64);
    }
    Some((positive as f64, (outlier.len() - positive) as f64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_three_are_their_definitions(drawn in prop::collection::vec((0u32..12, any::<bool>()), 2..40)) {
            let scores: Vec<f64> = drawn.iter().map(|(score, _)| f64::from(*score)).collect();
            let outlier: Vec<bool> = drawn.iter().map(|(_, outlier)| *outlier).collect();
            let positive = outlier.iter().filter(|o| **o).count() as f64;
            let negative = outlier.len() as f64 - positive;
            if positive == 0.0 || negative == 0.0 {
                prop_assert_eq!(auroc(&scores, &outlier), None);
                return Ok(());
            }
            let (mut wins, mut precision, mut best): (f64, f64, f64) = (0.0, 0.0, 0.0);
            for i in 0..scores.len() {
                let called = |j: &usize| scores[*j] >= scores[i];
                let (hits, all) = (
                    (0..scores.len()).filter(called).filter(|&j| outlier[j]).count() as f64,
                    (0..scores.len()).filter(called).count() as f64,
                );
                best = best.max(2.0 * hits / (positive + all));
                if outlier[i] {
                    precision += hits / all / positive;
                    for j in (0..scores.len()).filter(|&j| !outlier[j]) {
                        wins += if scores[i] > scores[j] { 1.0 } else if scores[i] == scores[j] { 0.5 } else { 0.0 };
                    }
                }
            }
            prop_assert!((auroc(&scores, &outlier).unwrap() - wins / positive / negative).abs() < 1e-12);
            prop_assert!((average_precision(&scores, &outlier).unwrap() - precision).abs() < 1e-12);
            let (f1, threshold) = best_f1(&scores, &outlier).unwrap();
            prop_assert!((f1 - best).abs() < 1e-12);
            let called = scores.iter().zip(&outlier).filter(|(score, _)| **score >= threshold);
            let hits = called.clone().filter(|(_, outlier)| **outlier).count() as f64;
            prop_assert!((2.0 * hits / (positive + called.count() as f64) - f1).abs() < 1e-12);
        }
    }

    #[test]
    fn what_cannot_be_ranked_has_no_figure() {
        assert_eq!(auroc(&[f64::NAN, 1.0], &[true, false]), None);
        assert_eq!(average_precision(&[1.0], &[true, false]), None);
        assert_eq!(best_f1(&[], &[]), None);
    }
}
