//! The exact bootstraps against the loops that they stand for.
//!
//! Seeds are fixed, so that every run makes the same comparisons. They are about ninety at three standard errors each:
//! with other seeds one in five such sets has a miss by chance.

use stakeout_core::Confusion;
use stakeout_eval::bootstrap::{clusters, interval, mean, paired_clusters, paired_rows, rows};
use stakeout_eval::{ClusterCounts, JointCounts, Plan};

use crate::world::{Dice, Scored, scored};

const PLAN: Plan = Plan { resamples: 10_000, level: 0.95, seed: 11 };

fn confusion(it: &Scored, chosen: &[usize], predicted: &[u16]) -> Confusion {
    let mut confusion = Confusion::new(it.classes);
    for &row in chosen {
        confusion.add(it.truth[row], predicted[row]);
    }
    confusion
}

/// The notebook loop: draws rows, or whole clusters of rows, one by one.
fn slow(it: &Scored, by_cluster: bool, score: impl Fn(&[usize]) -> f64) -> Vec<f64> {
    let mut dice = Dice::new(77);
    let members: Vec<Vec<usize>> = if by_cluster {
        let of = |cluster| (0..it.truth.len()).filter(|&row| it.cluster[row] == cluster).collect();
        (0..=*it.cluster.last().unwrap()).map(of).collect()
    } else {
        (0..it.truth.len()).map(|row| vec![row]).collect()
    };
    (0..PLAN.resamples)
        .map(|_| {
            let mut chosen = Vec::new();
            for _ in 0..members.len() {
                chosen.extend(&members[dice.below(members.len())]);
            }
            score(&chosen)
        })
        .collect()
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// Same distribution, as far as `PLAN.resamples` draws can tell: mean, deviation and both interval ends within three
/// Monte-Carlo standard errors of the difference of two such estimates.
fn assert_same(what: &str, exact: &[f64], slow: &[f64]) {
    assert_eq!(exact.len(), slow.len(), "{what}");
    let n = slow.len() as f64;
    let ((m, s), (mean, deviation)) = (moments(exact), moments(slow));
    let fourth = slow.iter().map(|v| (v - mean).powi(4)).sum::<f64>() / n;
    let error_of_mean = deviation * (2.0 / n).sqrt();
    // Delta method: var(s) = (m4 − s⁴) / (4 s² n)
    let error_of_deviation = ((fourth - deviation.powi(4)) / (4.0 * deviation.powi(2)) * 2.0 / n).sqrt();
    assert!((m - mean).abs() <= 3.0 * error_of_mean, "{what}: mean {m} against {mean}");
    assert!((s - deviation).abs() <= 3.0 * error_of_deviation, "{what}: deviation {s} against {deviation}");

    let mut sorted = slow.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ((lo, hi), (slow_lo, slow_hi)) = (interval(exact, 0.95).unwrap(), interval(slow, 0.95).unwrap());
    for (p, end, slow_end) in [(0.025, lo, slow_lo), (0.975, hi, slow_hi)] {
        // The order statistics three binomial standard errors around the quantile bound it without a density.
        let reach = 3.0 * (2.0 * p * (1.0f64 - p) * n).sqrt();
        let at = |rank: f64| sorted[rank.clamp(0.0, n - 1.0) as usize];
        let (low, high) = (at((p * n - reach).floor()), at((p * n + reach).ceil()));
        assert!((low..=high).contains(&end), "{what}: end {end} against {slow_end}, outside [{low}, {high}]");
    }
}

#[test]
fn row_bootstrap_is_that_of_the_row_loop() {
    for (seed, classes, clusters) in [(1, 2, 12), (2, 3, 30), (3, 6, 40), (4, 8, 25)] {
        let it = scored(seed, classes, clusters, 12);
        let all: Vec<usize> = (0..it.truth.len()).collect();
        let exact = rows(&confusion(&it, &all, &it.a), None, &PLAN).unwrap();
        let f1 = slow(&it, false, |chosen| confusion(&it, chosen, &it.a).macro_f1().unwrap());
        assert_same(&format!("macro F1, {classes} classes"), &exact.macro_f1, &f1);
        let accuracy = slow(&it, false, |chosen| confusion(&it, chosen, &it.a).accuracy().unwrap());
        assert_same(&format!("accuracy, {classes} classes"), &exact.accuracy, &accuracy);
    }
}

#[test]
fn cluster_bootstrap_is_that_of_the_cluster_loop() {
    for (seed, classes, clustered) in [(5, 2, 12), (6, 3, 30), (7, 6, 40), (8, 8, 25)] {
        let it = scored(seed, classes, clustered, 12);
        let counts = ClusterCounts::new(classes, None, &it.cluster, &it.truth, &it.a).unwrap();
        let exact = clusters(&counts, &PLAN).unwrap();
        let f1 = slow(&it, true, |chosen| confusion(&it, chosen, &it.a).macro_f1().unwrap());
        assert_same(&format!("macro F1, {classes} classes"), &exact.macro_f1, &f1);
        let accuracy = slow(&it, true, |chosen| confusion(&it, chosen, &it.a).accuracy().unwrap());
        assert_same(&format!("accuracy, {classes} classes"), &exact.accuracy, &accuracy);
    }
}

#[test]
fn paired_bootstraps_are_those_of_the_loops() {
    for (seed, classes, clustered) in [(9, 2, 20), (10, 4, 30), (12, 7, 40)] {
        let it = scored(seed, classes, clustered, 12);
        let difference = |chosen: &[usize]| {
            let [a, b] = [&it.a, &it.b].map(|predicted| confusion(&it, chosen, predicted).macro_f1().unwrap());
            b - a
        };
        let joint = JointCounts::new(classes, &it.truth, &it.a, &it.b).unwrap();
        let exact = paired_rows(&joint, &PLAN).unwrap();
        assert_same(&format!("rows, {classes} classes"), &exact.macro_f1, &slow(&it, false, difference));
        let counts = |of: &[u16]| ClusterCounts::new(classes, None, &it.cluster, &it.truth, of).unwrap();
        let exact = paired_clusters(&counts(&it.a), &counts(&it.b), &PLAN).unwrap();
        assert_same(&format!("clusters, {classes} classes"), &exact.macro_f1, &slow(&it, true, difference));
    }
}

#[test]
fn a_paired_difference_with_itself_is_zero() {
    let it = scored(13, 4, 30, 12);
    let joint = JointCounts::new(4, &it.truth, &it.a, &it.a).unwrap();
    assert!(paired_rows(&joint, &PLAN).unwrap().macro_f1.iter().all(|d| *d == 0.0));
}

#[test]
fn all_rows_of_a_cluster_move_together() {
    // One cluster all right, one all wrong, a hundred rows each: only whole clusters give these three values.
    let cluster: Vec<u32> = (0..200).map(|row| row / 100).collect();
    let predicted: Vec<u16> = cluster.iter().map(|c| *c as u16).collect();
    let counts = ClusterCounts::new(2, None, &cluster, &[0; 200], &predicted).unwrap();
    let mut accuracies = clusters(&counts, &PLAN).unwrap().accuracy;
    accuracies.sort_by(f64::total_cmp);
    accuracies.dedup();
    assert_eq!(accuracies, [0.0, 0.5, 1.0]);
}

#[test]
fn a_class_that_a_resample_lacks_is_left_out_and_counted() {
    // Three clusters, class 1 in one of them: (2/3)³ of the resamples lack it, and macro F1 is then that of class 0.
    let counts = ClusterCounts::new(2, None, &[0, 1, 2], &[0, 0, 1], &[0, 0, 1]).unwrap();
    let resamples = clusters(&counts, &PLAN).unwrap();
    assert!(resamples.macro_f1.iter().all(|f1| *f1 == 1.0));
    let share = resamples.left_out[1] as f64 / PLAN.resamples as f64;
    let expected = (2.0f64 / 3.0).powi(3);
    assert!((share - expected).abs() < 3.0 * (expected * (1.0 - expected) / PLAN.resamples as f64).sqrt(), "{share}");
    // Class 0 is missing when the third cluster is drawn three times; the two never go together.
    assert_eq!(resamples.any_left_out, resamples.left_out[0] + resamples.left_out[1]);
}

#[test]
fn an_untrained_class_counts_zero_in_every_resample() {
    let confusion = Confusion::from_counts(2, vec![50, 0, 0, 50]);
    let f1 = rows(&confusion, Some(&[true, false]), &PLAN).unwrap().macro_f1;
    assert!(f1.iter().all(|f1| *f1 == 0.5));
}

#[test]
fn a_mean_of_resampled_units_has_the_textbook_error() {
    let values = [0.2, 0.5, 0.55, 0.7, 0.9, 0.4];
    let (centre, spread) = moments(&values);
    let (m, s) = moments(&mean(&values, &PLAN).unwrap());
    let error = spread / (values.len() as f64).sqrt();
    assert!((m - centre).abs() < 3.0 * error / (PLAN.resamples as f64).sqrt(), "{m} against {centre}");
    assert!((s - error).abs() < 0.05 * error, "{s} against {error}");
}

#[test]
fn nothing_to_resample_gives_nothing() {
    let empty = ClusterCounts::new(3, None, &[], &[], &[]).unwrap();
    assert!(clusters(&empty, &PLAN).unwrap().macro_f1.is_empty());
    assert!(paired_clusters(&empty, &empty, &PLAN).unwrap().macro_f1.is_empty());
    assert!(rows(&Confusion::new(3), None, &PLAN).unwrap().macro_f1.is_empty());
    assert!(mean(&[], &PLAN).unwrap().is_empty());
}

#[test]
fn one_class_is_enough_to_resample() {
    let it = scored(14, 1, 5, 4);
    let counts = ClusterCounts::new(1, None, &it.cluster, &it.truth, &it.a).unwrap();
    assert!(clusters(&counts, &PLAN).unwrap().macro_f1.iter().all(|f1| *f1 == 1.0));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let it = scored(15, 5, 40, 12);
    let counts = |of: &[u16]| ClusterCounts::new(5, None, &it.cluster, &it.truth, of).unwrap();
    let joint = JointCounts::new(5, &it.truth, &it.a, &it.b).unwrap();
    let all = || {
        let (a, b) = (counts(&it.a), counts(&it.b));
        (clusters(&a, &PLAN).unwrap(), paired_clusters(&a, &b, &PLAN).unwrap(), paired_rows(&joint, &PLAN).unwrap())
    };
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
    assert_eq!(with(1), with(3));
}
