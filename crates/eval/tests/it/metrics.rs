//! Metrics and paired comparison on small, known predictions.

use stakeout_core::Side;
use stakeout_eval::{EvalError, Plan, Prediction, Predictions, TrainSide, Unit, compare, metrics};

use crate::world::{CLASSES, Case, class_list, predictions, turned};

fn train() -> TrainSide {
    TrainSide { windows: vec![600, 300, 100, 0], episodes: 100, hosts: 8 }
}

/// One host, two episodes; truth and call of each window.
fn by_hand(calls: &[(&str, u16, u16)]) -> Predictions {
    let mut out = Predictions::new(class_list());
    for (i, &(episode, label, called)) in calls.iter().enumerate() {
        let mut probabilities = [0.0f32; 4];
        probabilities[usize::from(called)] = 1.0;
        out.push(&Prediction {
            side: Side::Test,
            fold: "host",
            seed: 1,
            episode,
            host: "pi-0",
            sample: "s",
            profile: "p",
            t0_ns: i as i64,
            t_onset_ns: None,
            observed_seconds: 10.0,
            label,
            probabilities: &probabilities,
        })
        .unwrap();
    }
    out
}

#[test]
fn figures_by_hand() {
    let it = by_hand(&[("A", 0, 0), ("A", 0, 0), ("A", 0, 1), ("B", 1, 1), ("B", 1, 1), ("B", 3, 3)]);
    let got = metrics(&it, &train(), &Plan::default()).unwrap();
    // clean 4/5, armed 4/5, dormant 0: it was never trained, whatever the probabilities say
    assert!((got.test.macro_f1.point.unwrap() - (0.8 + 0.8 + 0.0) / 3.0).abs() < 1e-12);
    assert_eq!(got.test.accuracy.point, Some(5.0 / 6.0));
    assert_eq!((got.test.macro_f1.unit, got.test.macro_f1.n_units), (Unit::Episode, 2));
    // the constant says clean: F1 of clean 2·3/(6+3), of armed and dormant 0
    assert_eq!(got.constant.class, "clean");
    assert!((got.constant.macro_f1.point.unwrap() - (6.0 / 9.0) / 3.0).abs() < 1e-12);
    assert_eq!(got.constant.accuracy.point, Some(0.5));
    let [clean, armed, infecting, dormant] = &got.test.per_class[..] else { panic!("four classes") };
    assert_eq!((clean.precision, clean.recall, clean.support), (Some(1.0), Some(2.0 / 3.0), 3));
    assert_eq!((armed.precision, armed.predicted), (Some(2.0 / 3.0), 3));
    assert_eq!((infecting.precision, infecting.recall, infecting.f1, infecting.left_out), (None, None, None, None));
    assert!(infecting.trained && !dormant.trained);
    assert_eq!(dormant.f1, Some(0.0));
    assert_eq!(got.confusion.labels, ["clean", "armed", "dormant"]);
    assert_eq!(got.confusion.counts, [[2, 1, 0], [0, 2, 0], [0, 0, 1]]);
    assert_eq!(got.notes[0], "one host was tested: no claim about other devices can be made");
    assert!(got.notes.iter().any(|note| note == "class dormant was never trained: it counts 0 in macro F1"));
    // one episode has clean, one has armed and dormant: half of the resamples of two lack something
    assert!(got.notes.iter().any(|note| note.starts_with("in ")), "{:?}", got.notes);
    assert_eq!((got.n_windows.train, got.n_episodes.test, got.n_hosts.test), (1000, 2, 1));
}

#[test]
fn the_headline_resamples_hosts_from_five_on() {
    for (hosts, unit) in [(1, Unit::Episode), (4, Unit::Episode), (5, Unit::Host), (9, Unit::Host)] {
        let got = metrics(&predictions(&Case { seed: 1, hosts, episodes: 80 }), &train(), &Plan::default()).unwrap();
        assert_eq!(got.test.macro_f1.unit, unit);
        assert_eq!(got.constant.macro_f1.unit, unit);
        let host = got.test.by_unit.iter().find(|scores| scores.macro_f1.unit == Unit::Host).unwrap();
        assert_eq!(host.macro_f1.lo.is_some(), hosts >= 5, "{hosts} hosts make no interval by host");
        assert_eq!(got.by_host.len(), hosts);
        let inside = |e: &stakeout_eval::Estimate| e.lo.unwrap() <= e.point.unwrap() && e.point <= e.hi;
        assert!(inside(&got.test.macro_f1) && inside(&got.test.accuracy));
    }
}

#[test]
fn neither_the_order_of_rows_nor_a_training_or_validation_row_changes_a_score() {
    let it = predictions(&Case { seed: 2, hosts: 6, episodes: 60 });
    let got = metrics(&it, &train(), &Plan::default()).unwrap();
    assert_eq!(got, metrics(&turned(&it), &train(), &Plan::default()).unwrap());
    let mut test_only = Predictions::new(class_list());
    it.rows_of(Side::Test).iter().for_each(|&row| test_only.push(&it.row(row)).unwrap());
    let alone = metrics(&test_only, &train(), &Plan::default()).unwrap();
    assert_eq!((&alone.test, &alone.by_profile, &alone.by_host), (&got.test, &got.by_profile, &got.by_host));
}

#[test]
fn groups_add_up_to_the_whole() {
    let got = metrics(&predictions(&Case { seed: 3, hosts: 6, episodes: 60 }), &train(), &Plan::default()).unwrap();
    for groups in [&got.by_host, &got.by_profile] {
        assert_eq!(groups.iter().map(|group| group.n_windows).sum::<usize>(), got.n_windows.test);
        let hits: f64 = groups.iter().map(|g| g.accuracy.point.unwrap() * g.n_windows as f64).sum();
        assert!((hits / got.n_windows.test as f64 - got.test.accuracy.point.unwrap()).abs() < 1e-12);
    }
    assert!(got.by_host.is_sorted_by_key(|group| group.name.clone()));
}

#[test]
fn an_empty_side_is_undefined_and_survives_json() {
    let empty = Predictions::new(class_list());
    let none = TrainSide { windows: vec![0; CLASSES.len()], episodes: 0, hosts: 0 };
    let got = metrics(&empty, &none, &Plan::default()).unwrap();
    assert_eq!(got.test.macro_f1.point, None);
    assert_eq!((got.constant.class.as_str(), got.constant.macro_f1.point), ("", None));
    assert_eq!(got.notes, ["the test side is empty: nothing was tested"]);
    let json = serde_json::to_string(&got).unwrap();
    assert_eq!(serde_json::from_str::<stakeout_eval::Metrics>(&json).unwrap(), got);
}

#[test]
fn json_has_the_documented_keys() {
    let it = predictions(&Case { seed: 4, hosts: 2, episodes: 30 });
    let json = serde_json::to_value(metrics(&it, &train(), &Plan::default()).unwrap()).unwrap();
    for path in [
        "/test/macro_f1",
        "/test/accuracy",
        "/constant/macro_f1",
        "/test/calibration/brier/score",
        "/test/calibration/log_loss/reliability",
        "/test/calibration/ece/debiased",
        "/test/calibration/reliability/0/accuracy",
        "/constant/calibration/ece/classwise",
    ] {
        let keys: Vec<&String> = json.pointer(path).unwrap().as_object().unwrap().keys().collect();
        assert_eq!(keys, ["hi", "lo", "n_units", "point", "unit"], "{path}");
    }
    for path in ["/test/per_class/0/recall", "/by_profile/0/name", "/by_host/0/macro_f1/lo", "/confusion/labels/0"] {
        assert!(json.pointer(path).is_some(), "{path}");
    }
    assert_eq!(json["n_windows"]["train"], 1000);
    assert_eq!(json["test"]["macro_f1"]["unit"], "episode");
}

#[test]
fn rows_outside_the_rules_are_refused() {
    let mut out = Predictions::new(class_list());
    let good = predictions(&Case { seed: 5, hosts: 1, episodes: 1 });
    let row = good.row(0);
    for bad in [
        Prediction { label: 4, ..row },
        Prediction { probabilities: &[0.5, 0.5], ..row },
        Prediction { probabilities: &[0.5, 0.5, f32::NAN, 0.0], ..row },
        Prediction { probabilities: &[1.5, -0.5, 0.0, 0.0], ..row },
        Prediction { observed_seconds: f64::INFINITY, ..row },
    ] {
        assert!(matches!(out.push(&bad), Err(EvalError::Row { row: 0, .. })));
    }
    assert!(out.is_empty());
    assert!(metrics(&good, &TrainSide { windows: vec![1], episodes: 1, hosts: 1 }, &Plan::default()).is_err());
}

#[test]
fn comparing_a_run_with_itself_finds_nothing() {
    let it = predictions(&Case { seed: 6, hosts: 6, episodes: 60 });
    let got = compare(&it, &turned(&it), &Plan::default()).unwrap();
    assert_eq!((got.macro_f1.point, got.macro_f1.lo, got.macro_f1.hi), (Some(0.0), Some(0.0), Some(0.0)));
    assert_eq!(got.differs, Some(false));
}

#[test]
fn a_better_run_is_found_but_not_across_devices_from_one_host() {
    for hosts in [1, 6] {
        let it = predictions(&Case { seed: 7, hosts, episodes: 60 });
        let mut better = Predictions::new(class_list());
        for row in 0..it.len() {
            let mut probabilities = [0.0f32; 4];
            probabilities[usize::from(it.row(row).label)] = 1.0;
            better.push(&Prediction { probabilities: &probabilities, ..it.row(row) }).unwrap();
        }
        let got = compare(&it, &better, &Plan::default()).unwrap();
        assert!(got.macro_f1.lo.unwrap() > 0.0);
        assert_eq!(got.differs, (hosts > 1).then_some(true));
        assert!((got.b.unwrap() - got.a.unwrap() - got.macro_f1.point.unwrap()).abs() < 1e-12);
    }
}

#[test]
fn runs_over_other_windows_cannot_be_compared() {
    let it = predictions(&Case { seed: 8, hosts: 3, episodes: 20 });
    let other = predictions(&Case { seed: 9, hosts: 3, episodes: 20 });
    let shorter = predictions(&Case { seed: 8, hosts: 3, episodes: 10 });
    for other in [&other, &shorter] {
        assert!(matches!(compare(&it, other, &Plan::default()), Err(EvalError::Unpaired(_))));
    }
    let mut twice = predictions(&Case { seed: 8, hosts: 3, episodes: 20 });
    let row = it.row(0);
    twice.push(&row).unwrap();
    let error = compare(&twice, &twice, &Plan::default()).unwrap_err();
    assert!(error.to_string().contains("stands twice"), "{error}");
}

#[test]
fn probabilities_are_judged_by_episodes_beside_the_class_frequencies() {
    let it = predictions(&Case { seed: 10, hosts: 2, episodes: 30 });
    let got = metrics(&it, &train(), &Plan::default()).unwrap();
    let [own, constant] = [got.test.calibration, got.constant.calibration].map(|scores| scores.unwrap());
    // Every row says 0.7 for one class and 0.1 for the other three, whose calls are right more or less often.
    assert_eq!(own.reliability.len(), 1);
    assert!((own.reliability[0].confidence - 0.7).abs() < 1e-6);
    let by_window = got.test.accuracy.point.unwrap();
    let by_episode = own.reliability[0].accuracy.point.unwrap();
    assert!((by_window - by_episode).abs() < 1e-12, "episodes of equal length: {by_window} {by_episode}");
    // The constant says 0.6, 0.3, 0.1 and 0 of every window.
    assert!((constant.reliability[0].confidence - 0.6).abs() < 1e-6);
    let table = got.confusion.counts.iter().map(|row| row.iter().sum::<u64>());
    let support: Vec<f64> = table.map(|n| n as f64 / got.n_windows.test as f64).collect();
    let expected: f64 = -support.iter().zip([0.6f64, 0.3, 0.1]).map(|(share, p)| share * p.ln()).sum::<f64>();
    assert!((constant.log_loss.score.point.unwrap() - expected).abs() < 1e-6);
    assert_eq!((own.brier.score.unit, own.brier.score.n_units), (Unit::Episode, got.n_episodes.test));
}

#[test]
fn a_calibration_map_goes_over_every_row() {
    let mut it = predictions(&Case { seed: 11, hosts: 2, episodes: 10 });
    let before = it.clone();
    let map = stakeout_core::Calibration::Temperature { t: 2.0 };
    it.calibrate(&map).unwrap();
    for row in 0..it.len() {
        let mut expected = before.row(row).probabilities.to_vec();
        map.apply(&mut expected);
        assert_eq!(it.row(row).probabilities, expected);
        assert_eq!(it.predicted(row), before.predicted(row));
    }
    let other = stakeout_core::Calibration::Dirichlet { weights: vec![vec![1.0]], bias: vec![0.0] };
    let now = it.clone();
    assert!(it.calibrate(&other).is_err() && it == now);
}
