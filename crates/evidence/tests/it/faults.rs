//! Known faults of other gates, reproduced beside what this one says of the same predictions.

use crate::world::{Window, judge, met, named, predictions, regular};
use stakeout_evidence::Outcome;

/// (confidence, right) of every window.
fn calls(windows: &[Window]) -> Vec<(f64, bool)> {
    windows
        .iter()
        .map(|window| {
            let called = u16::from(window.p > 0.5);
            (f64::from(window.p.max(1.0 - window.p)), called == window.label)
        })
        .collect()
}

/// Calibration error over 15 bins of equal width, right where `inside` says which windows a bin holds.
fn ece(windows: &[Window], inside: impl Fn(f64, f64, f64) -> bool) -> f64 {
    let calls = calls(windows);
    let mut error = 0.0;
    for bin in 0..15 {
        let (from, to) = (f64::from(bin) / 15.0, f64::from(bin + 1) / 15.0);
        let of: Vec<&(f64, bool)> = calls.iter().filter(|(p, _)| inside(*p, from, to)).collect();
        if !of.is_empty() {
            let n = of.len() as f64;
            let confidence = of.iter().map(|(p, _)| p).sum::<f64>() / n;
            let right = of.iter().filter(|(_, right)| *right).count() as f64 / n;
            error += n / calls.len() as f64 * (confidence - right).abs();
        }
    }
    error
}

#[test]
fn p_equal_to_one_is_not_dropped() {
    // Certain of everything, and wrong in 3 of 10.
    let windows = regular(12, 5, |_, label, i| if i % 4 == 1 { 1.0 - f32::from(label) } else { f32::from(label) });
    let faulty = ece(&windows, |p, from, to| p >= from && p < to); // the last bin is open: p = 1 is in none
    assert!(faulty < 1e-9, "{faulty}");
    let right = ece(&windows, |p, from, to| p >= from && (p < to || to > 0.99));
    let criteria = judge(&predictions(&windows), "");
    let found = named(&criteria, "calibration error");
    assert_eq!(found.outcome, Outcome::Refused);
    assert!((found.value.unwrap() - right).abs() < 1e-9, "{found:?} against {right}");
}

#[test]
fn confidence_used_as_probability_is_refused() {
    // The detector is right in 9 of 10 windows, and writes its confidence in whatever it called as the probability of
    // an attack: a clean window called clean with 0.95 stands as an attack with 0.95.
    let right = |label: u16, i: usize| if i == 9 { 1 - label } else { label };
    let windows = regular(12, 3, |_, label, i| if right(label, i) == 1 { 0.9 } else { 0.95 });
    let criteria = judge(&predictions(&windows), "");
    for name in ["calibration error", "accuracy", "gain over constant", "recall"] {
        assert_eq!(named(&criteria, name).outcome, Outcome::Refused, "{name}");
    }
    let honest = regular(12, 3, |_, label, i| if right(label, i) == 1 { 0.9 } else { 0.1 });
    assert!(met(&judge(&predictions(&honest), "")), "{:#?}", judge(&predictions(&honest), ""));
}

#[test]
fn the_gap_of_accuracy_and_precision_is_no_calibration_error() {
    // 0.99 sure of everything and right in 8 of 10, with as many false alarms as misses.
    let windows =
        regular(
            12,
            5,
            |_, label, i| {
                if i == 0 || i == 9 { 0.99 - 0.98 * f32::from(label) } else { 0.01 + 0.98 * f32::from(label) }
            },
        );
    let calls = calls(&windows);
    let accuracy = calls.iter().filter(|call| call.1).count() as f64 / calls.len() as f64;
    let called: Vec<&Window> = windows.iter().filter(|window| window.p > 0.5).collect();
    let precision = called.iter().filter(|window| window.label == 1).count() as f64 / called.len() as f64;
    assert!((accuracy - precision).abs() < 1e-9, "the faulty figure is 0");
    let criteria = judge(&predictions(&windows), "");
    let found = named(&criteria, "calibration error");
    assert_eq!(found.outcome, Outcome::Refused);
    assert!((found.value.unwrap() - 0.19).abs() < 1e-6, "{found:?}");
}

#[test]
fn the_constant_predictor_on_a_corpus_that_is_96_percent_clean_is_refused() {
    let windows: Vec<Window> = (0..500)
        .map(|i| Window { episode: i / 10, host: i / 10 % 6, profile: 0, label: u16::from(i % 25 == 0), p: 0.04 })
        .collect();
    let criteria = judge(&predictions(&windows), "");
    // It looks good by the two figures that are asked most often ...
    assert_eq!(named(&criteria, "accuracy").outcome, Outcome::Met);
    assert_eq!(named(&criteria, "calibration error").outcome, Outcome::Met);
    assert!((named(&criteria, "accuracy").value.unwrap() - 0.96).abs() < 1e-9);
    // ... and detects nothing.
    let gain = named(&criteria, "gain over constant");
    assert_eq!((gain.outcome, gain.value, gain.lo), (Outcome::Refused, Some(0.0), Some(0.0)));
    let recall = named(&criteria, "recall");
    assert_eq!(recall.outcome, Outcome::Refused);
    assert!(recall.found.contains("of 20 windows of attack it found 0.0 %"), "{recall:?}");
    assert!(recall.remedy.contains("train on more"));
}

#[test]
fn a_training_side_that_lies_about_its_majority_makes_the_constant_no_easier() {
    // Everything is called clean; the forged training side says that attacks were the majority.
    let windows = regular(12, 3, |_, _, _| 0.1);
    let forged = stakeout_eval::TrainSide { windows: vec![100, 900], episodes: 30, hosts: 6 };
    let criteria = stakeout_evidence::criteria::criteria(
        &predictions(&windows),
        &forged,
        &stakeout_evidence::Policy::default(),
        &stakeout_evidence::Beside::default(),
    )
    .unwrap();
    let gain = named(&criteria, "gain over constant");
    assert_eq!(gain.outcome, Outcome::Refused);
    assert!(gain.found.contains("always clean"), "{gain:?}");
}
