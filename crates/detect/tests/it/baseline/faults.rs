//! Each known fault of the plain design, reproduced and mended.

use stakeout_detect::baseline::{Baseline, Method, Moments, Rows, Scratch, Settings, Skipped, ThresholdFrom};

use super::{Normal, fit};

fn scores(baseline: &Baseline, values: &[f32], d: usize) -> Vec<f64> {
    let mut scratch = Scratch::default();
    values.chunks_exact(d).map(|vector| baseline.score(vector, &mut scratch).z).collect()
}

fn share_above(scores: &[f64], threshold: f64) -> f64 {
    scores.iter().filter(|z| **z > threshold).count() as f64 / scores.len() as f64
}

fn flagged(baseline: &Baseline, values: &[f32], d: usize) -> f64 {
    share_above(&scores(baseline, values, d), baseline.calibrated().unwrap().threshold)
}

/// The normalised distance concentrates at 1 with standard deviation 1/√(2d): vectors that are shifted by a whole standard
/// deviation in every one of 384 dimensions, which no human would call normal, stay far below 3.
#[test]
fn a_threshold_of_three_never_fires_in_high_dimension() {
    let d = 384;
    let mut normal = Normal::new(1);
    let baseline = fit(&normal.vectors(4400, d, 0.0), d, &Settings::default());
    let (benign, shifted) = (normal.vectors(2000, d, 0.0), normal.vectors(500, d, 1.0));
    let (benign, shifted) = (scores(&baseline, &benign, d), scores(&baseline, &shifted, d));
    let mean = benign.iter().sum::<f64>() / 2000.0;
    let deviation = (benign.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / 2000.0).sqrt();
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
    let expected = 1.0 / (2.0 * d as f64).sqrt();
    assert!((deviation / expected - 1.0).abs() < 0.1, "{deviation} and 1/√(2d) = {expected}");
    // The fault.
    assert_eq!(share_above(&shifted, 3.0), 0.0);
    // Mended: a threshold from the budget of false alarms, with a guarantee.
    let calibrated = baseline.calibrated().unwrap();
    assert_eq!((calibrated.kind, calibrated.block_length), ("conformal", Some(1)));
    assert!(calibrated.threshold > 1.05 && calibrated.threshold < 1.2, "{}", calibrated.threshold);
    assert_eq!(share_above(&shifted, calibrated.threshold), 1.0);
    assert!(share_above(&benign, calibrated.threshold) <= 0.004);
    // The fallback does too.
    let settings = Settings { threshold: ThresholdFrom::Parametric, ..Settings::default() };
    let fallback = fit(&normal.vectors(100, d, 0.0), d, &settings).calibrated().unwrap();
    assert_eq!(fallback.kind, "parametric");
    assert!(share_above(&shifted, fallback.threshold) > 0.99, "{}", fallback.threshold);
}

/// In three dimensions it fires too rarely or too often, whatever was asked for: the level depends on the dimension.
#[test]
fn a_threshold_of_three_has_another_level_in_each_dimension() {
    let level = |d: usize| {
        let mut normal = Normal::new(7);
        let settings = Settings { budget: 0.01, ..Settings::default() };
        let baseline = fit(&normal.vectors(4000, d, 0.0), d, &settings);
        let fresh = normal.vectors(20_000, d, 0.0);
        let fresh = scores(&baseline, &fresh, d);
        (share_above(&fresh, 3.0), share_above(&fresh, baseline.calibrated().unwrap().threshold))
    };
    for d in [1, 3, 12] {
        let (three, budget) = level(d);
        assert!((0.005..=0.015).contains(&budget), "{d}: {budget}");
        assert!(three < 0.004, "{d}: {three}");
    }
}

/// One vector in twenty of the training data is an outlier. The plain baseline takes them for normal; the robust options
/// do not, nor does a plain one that is told to expect them.
#[test]
fn a_poisoned_baseline_does_not_blind_the_robust_options() {
    for (d, shift) in [(46, 6.0), (8, 10.0), (384, 4.0)] {
        let mut normal = Normal::new(3);
        let mut values = Vec::new();
        for i in 0..4400 {
            values.extend(normal.vectors(1, d, if i % 20 == 7 { shift } else { 0.0 }));
        }
        let (outliers, benign) = (normal.vectors(400, d, shift), normal.vectors(4000, d, 0.0));
        let seen = |settings: &Settings| {
            let baseline = fit(&values, d, settings);
            let calibrated = baseline.calibrated().unwrap();
            assert_eq!(calibrated.kind, "conformal");
            (flagged(&baseline, &outliers, d), flagged(&baseline, &benign, d), calibrated.left_out)
        };
        let (found, ..) = seen(&Settings::default());
        assert!(found < 0.05, "the fault, d = {d}: {found}");
        let expects = |method| Settings { method, contamination: Some(0.1), ..Settings::default() };
        let by_default = |method| Settings { method, ..Settings::default() };
        for settings in [
            by_default(Method::Robust),
            by_default(Method::Trimmed),
            expects(Method::Diagonal),
            expects(Method::Shrunk),
        ] {
            let (found, alarms, left_out) = seen(&settings);
            assert!(found > 0.99, "{d}: {} finds {found}", settings.method);
            assert!(alarms <= 0.004, "{d}: {} raises {alarms}", settings.method);
            assert!((105..=115).contains(&left_out), "{d}: {left_out} of the 110 that were held out");
        }
        // Too few to hold out enough for the budget: the fallback is not blinded either.
        let few = &values[..300 * d];
        for method in [Method::Robust, Method::Trimmed] {
            let baseline = fit(few, d, &Settings { method, ..Settings::default() });
            assert_eq!(baseline.calibrated().unwrap().kind, "parametric");
            assert!(flagged(&baseline, &outliers, d) > 0.99);
            assert!(flagged(&baseline, &benign, d) < 0.01);
        }
        let blind = fit(few, d, &Settings::default());
        assert!(flagged(&blind, &outliers, d) < 0.5 || d == 384);
    }
}

/// Hosts that keep no vectors add them up, and another adds up the hosts: that is the baseline of all their vectors.
#[test]
fn moments_that_were_merged_score_like_all_vectors_at_once() {
    let d = 6;
    let mut normal = Normal::new(12);
    let values = normal.vectors(900, d, 0.0);
    for half_life in [None, Some(200.0)] {
        let mut parts = values.chunks(250 * d).map(|part| {
            let mut moments = Moments::new(d, half_life).unwrap();
            part.chunks_exact(d).for_each(|vector| moments.push(vector).unwrap());
            // As a file keeps it meanwhile.
            serde_json::from_str::<Moments>(&serde_json::to_string(&moments).unwrap()).unwrap()
        });
        let mut all = parts.next().unwrap();
        parts.for_each(|part| all.merge(&part).unwrap());
        let merged = Baseline::of_moments(&all, 0.01).unwrap();
        let settings =
            Settings { threshold: ThresholdFrom::Parametric, budget: 0.01, half_life, ..Settings::default() };
        let whole = fit(&values, d, &settings);
        assert_eq!((merged.n(), merged.width(), merged.calibrated().unwrap().kind), (900, Some(d), "parametric"));
        for vector in normal.vectors(50, d, 0.5).chunks_exact(d) {
            let [a, b] = [&merged, &whole].map(|own| own.score(vector, &mut Scratch::default()).z);
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        let fresh = normal.vectors(20_000, d, 0.0);
        let level = flagged(&merged, &fresh, d);
        assert!((0.005..0.02).contains(&level), "{half_life:?}: {level}");
        assert!(flagged(&merged, &normal.vectors(500, d, 3.0), d) > 0.99);
    }
    // Too few, and too few that count.
    let mut few = Moments::new(1, Some(3.0)).unwrap();
    (0..29).for_each(|i| few.push(&[f64::from(i % 7)]).unwrap());
    let skipped =
        |moments: &Moments| Baseline::of_moments(moments, 0.01).unwrap().score(&[1.0], &mut Scratch::default()).skipped;
    assert_eq!(skipped(&few), Some(Skipped::TooFew { seen: 29 }));
    (0..99).for_each(|i| few.push(&[f64::from(i % 7)]).unwrap());
    assert_eq!(skipped(&few), Some(Skipped::Forgotten));
    assert!(Baseline::of_moments(&few, 0.0).is_err());
}

/// Half a host's life ago it was another machine: forgetting sees the present one.
#[test]
fn forgetting_follows_a_host_that_changed() {
    let d = 10;
    let mut normal = Normal::new(9);
    let mut values = normal.vectors(2000, d, 5.0);
    values.extend(normal.vectors(1000, d, 0.0));
    let now = normal.vectors(2000, d, 0.0);
    let settings = |half_life| Settings { half_life, threshold: ThresholdFrom::Parametric, ..Settings::default() };
    let mean = |half_life| {
        let baseline = fit(&values, d, &settings(half_life));
        let z = scores(&baseline, &now, d);
        z.iter().sum::<f64>() / z.len() as f64
    };
    assert!(mean(None) > 1.2, "{}", mean(None));
    assert!((mean(Some(100.0)) - 1.0).abs() < 0.05, "{}", mean(Some(100.0)));
    for method in Method::ALL {
        let baseline = fit(&values, d, &Settings { method, ..settings(Some(100.0)) });
        let z = scores(&baseline, &now, d);
        let mean = z.iter().sum::<f64>() / 2000.0;
        assert!((mean - 1.0).abs() < 0.15, "{method}: {mean}");
    }
    // Where hardly a vector counts, nothing is said.
    let vain = fit(&values, d, &settings(Some(2.0)));
    assert_eq!(vain.score(&now[..d], &mut Scratch::default()).skipped, Some(Skipped::Forgotten));
}

#[test]
fn what_cannot_be_scored_says_why_and_is_no_outlier() {
    let mut normal = Normal::new(4);
    let values = normal.vectors(200, 4, 0.0);
    let baseline = fit(&values, 4, &Settings::default());
    let mut scratch = Scratch::default();
    let mut check = |baseline: &Baseline, vector: &[f32], reason: Skipped| {
        let score = baseline.score(vector, &mut scratch);
        assert_eq!((score.z, score.is_outlier, score.dims_flagged, score.skipped), (0.0, false, 0, Some(reason)));
        assert_eq!(baseline.p_value(&score), 1.0);
    };
    check(&baseline, &[], Skipped::Missing);
    check(&baseline, &[0.0; 5], Skipped::Dimensions { got: 5, expected: 4 });
    check(&baseline, &[0.0, f32::INFINITY, 0.0, 0.0], Skipped::Infinite);
    check(&baseline, &[f32::NEG_INFINITY; 4], Skipped::Infinite);
    check(&baseline, &[f32::NAN; 4], Skipped::Unobserved { seen: 0, of: 4 });
    check(&baseline, &[0.0, f32::NAN, f32::NAN, f32::NAN], Skipped::Unobserved { seen: 1, of: 4 });
    let few = fit(&values[..29 * 4], 4, &Settings::default());
    check(&few, &values[..4], Skipped::TooFew { seen: 29 });
    assert!(few.calibrated().is_none());
    let enough = fit(&values[..30 * 4], 4, &Settings::default());
    let score = enough.score(&values[..4], &mut Scratch::default());
    assert_eq!((score.skipped, score.baseline_n), (None, 30));
    // Nothing at all, and vectors of nothing but holes.
    let none = Baseline::fit(&Rows::<f32>::new(&[], 3, &[]).unwrap(), &Settings::default()).unwrap();
    check(&none, &[0.0; 3], Skipped::TooFew { seen: 0 });
    for method in Method::ALL {
        let holes = fit(&vec![f32::NAN; 120], 2, &Settings { method, ..Settings::default() });
        check(&holes, &[1.0, 2.0], Skipped::Unobserved { seen: 0, of: 0 });
    }
}

#[test]
fn a_score_names_what_stands_out_and_leaves_out_what_is_missing() {
    let mut normal = Normal::new(5);
    let values = normal.vectors(3000, 6, 0.0);
    for method in Method::ALL {
        let settings = Settings { method, budget: 0.01, ..Settings::default() };
        let baseline = fit(&values, 6, &settings);
        // Dimension i has mean 10 i and deviation 1 + i.
        let mut vector: Vec<f32> = (0..6).map(|i| 10.0 * i as f32).collect();
        let calm = baseline.score(&vector, &mut Scratch::default());
        assert!(calm.z < 0.2 && !calm.is_outlier && calm.dims_flagged == 0, "{method}: {calm:?}");
        vector[2] += 15.0;
        vector[4] = f32::NAN;
        let loud = baseline.score(&vector, &mut Scratch::default());
        assert!(loud.is_outlier && (loud.dims_flagged, loud.dims_seen) == (1, 5), "{method}: {loud:?}");
        assert!(baseline.p_value(&loud) <= 0.01);
        let squares = baseline.squared_z(&vector);
        assert!((squares[2].unwrap() - 25.0).abs() < 4.0 && squares[4].is_none());
        assert!(loud.baseline_n == 1500);
    }
}

/// Doubles that are finite and have no square lie as far as can be said, and raise no error.
#[test]
fn absurd_numbers_are_outliers_or_errors_and_never_nan() {
    let values: Vec<f64> = (0..400).map(|i| f64::from(i % 17)).collect();
    let rows = Rows::new(&values, 2, &[]).unwrap();
    for method in Method::ALL {
        let baseline = Baseline::fit(&rows, &Settings { method, ..Settings::default() }).unwrap();
        let score = baseline.score(&[1e200, -1e300], &mut Scratch::default());
        assert!(score.is_outlier && score.z.is_finite(), "{method}: {score:?}");
        assert!((0.0..=1.0).contains(&baseline.p_value(&score)));
    }
    let absurd: Vec<f64> = (0..100).map(|i| if i % 2 == 0 { 1e200 } else { -1e200 }).collect();
    let error = Baseline::fit(&Rows::new(&absurd, 1, &[]).unwrap(), &Settings::default()).unwrap_err();
    assert!(error.to_string().contains("too large to be squared"), "{error}");
}

/// A value so long ago that it no longer counts, and so large that its square has none: the covariance was no number, and
/// its factor was sought for ever.
#[test]
fn known_fault_a_forgotten_giant_hangs_the_covariance() {
    let mut normal = Normal::new(13);
    let mut values: Vec<f64> =
        normal.vectors(13_200, 2, 0.0).into_iter().map(|value| f64::from(value) * 0.01).collect();
    values[..2].fill(1e154);
    let settings = Settings {
        method: Method::Shrunk,
        half_life: Some(12.0),
        threshold: ThresholdFrom::Parametric,
        ..Settings::default()
    };
    let error = Baseline::fit(&Rows::new(&values, 2, &[]).unwrap(), &settings).unwrap_err().to_string();
    assert!(error.contains("too large for a covariance"), "{error}");
    values[..2].fill(1e100);
    assert!(Baseline::fit(&Rows::new(&values, 2, &[]).unwrap(), &settings).is_ok());
}

/// A block as long as numbers go: what it would need is more than there are numbers for.
#[test]
fn known_fault_an_endless_block_overflows_the_refusal() {
    let values = Normal::new(14).vectors(2500, 2, 0.0);
    let settings = Settings { block: Some(usize::MAX), threshold: ThresholdFrom::Conformal, ..Settings::default() };
    let error = Baseline::fit(&Rows::new(&values, 2, &[]).unwrap(), &settings).unwrap_err().to_string();
    assert!(error.contains("needs 999 held-out blocks") && error.contains("there are 1"), "{error}");
}

/// A column that was still, seldom observed and long ago counts next to nothing; an infinite value in it is noticed all the
/// same, and one in a column that is not looked at is not.
#[test]
fn an_infinite_value_is_noticed_where_it_is_looked_at() {
    let mut normal = Normal::new(15);
    let mut values: Vec<f64> = Vec::new();
    for i in 0..1000 {
        let still = if i < 10 { 1.0 } else { f64::NAN };
        values.extend([normal.next(), normal.next(), still, f64::NAN]);
    }
    let settings = Settings { half_life: Some(40.0), threshold: ThresholdFrom::Parametric, ..Settings::default() };
    let baseline = Baseline::fit(&Rows::new(&values, 4, &[]).unwrap(), &settings).unwrap();
    let skipped = |vector: [f64; 4]| baseline.score(&vector, &mut Scratch::default()).skipped;
    let inf = f64::INFINITY;
    assert_eq!(skipped([0.0, 0.0, inf, 0.0]), Some(Skipped::Infinite));
    assert_eq!(skipped([0.0, f64::NAN, -inf, 0.0]), Some(Skipped::Infinite));
    assert_eq!(skipped([inf, 0.0, 1.0, 0.0]), Some(Skipped::Infinite));
    // The fault: whether a vector was scored depended on what else was far.
    assert_eq!(skipped([0.0, 0.0, 1.0, inf]), None);
    assert_eq!(skipped([90.0, 0.0, 1.0, inf]), None);
}
