//! Leave-one-group-out summaries.

use stakeout_eval::{Plan, Predictions, Run, TrainSide, Unit, metrics, summary};

use crate::world::{class_list, folds};

fn train() -> TrainSide {
    TrainSide { windows: vec![600, 300, 100, 1], episodes: 100, hosts: 8 }
}

#[test]
fn the_primary_figure_is_the_mean_over_hosts_after_the_mean_over_seeds() {
    let (first, second) = (folds(1, 6), folds(2, 6));
    let train = train();
    let mut runs = Vec::new();
    for (seed, folds) in [(1, &first), (2, &second)] {
        runs.extend(folds.iter().map(|(held_out, predictions)| Run { held_out, seed, predictions, train: &train }));
    }
    let plan = Plan::default();
    let got = summary(&runs, Unit::Host, &plan).unwrap();
    let score = |predictions| metrics(predictions, &train, &plan).unwrap().test.macro_f1.point.unwrap();
    let mut expected = 0.0;
    for ((fold, (name, one)), (_, two)) in got.folds.iter().zip(&first).zip(&second) {
        let mean = f64::midpoint(score(one), score(two));
        assert_eq!(&fold.held_out, name);
        assert!((fold.macro_f1.unwrap() - mean).abs() < 1e-12);
        expected += mean / 6.0;
    }
    assert!((got.primary.macro_f1.point.unwrap() - expected).abs() < 1e-12);
    assert_eq!((got.primary.macro_f1.unit, got.primary.macro_f1.n_units), (Unit::Host, 6));
    let constants: Vec<f64> = got.folds.iter().filter_map(|fold| fold.constant_accuracy).collect();
    let mean = constants.iter().sum::<f64>() / constants.len() as f64;
    assert_eq!(constants.len(), got.folds.len());
    assert!((got.primary.constant_accuracy.point.unwrap() - mean).abs() < 1e-12);
    let over = got.primary.over_constant;
    let gap = got.primary.macro_f1.point.unwrap() - got.primary.constant.point.unwrap();
    assert!((over.point.unwrap() - gap).abs() < 1e-12);
    assert_eq!(got.seeds, [1, 2]);
    // pooled: every test row of every fold and seed in one matrix
    let windows: u64 = got.pooled.confusion.counts.iter().flatten().sum();
    assert_eq!(windows as usize, first.iter().chain(&second).map(|(_, fold)| fold.len()).sum::<usize>());
    assert!(got.caveat.contains("not of retraining"));

    // The order in which runs come in changes nothing.
    runs.reverse();
    assert_eq!(summary(&runs, Unit::Host, &plan).unwrap(), got);
    let json = serde_json::to_string(&got).unwrap();
    assert_eq!(serde_json::from_str::<stakeout_eval::Summary>(&json).unwrap(), got);
}

#[test]
fn held_out_samples_are_resampled_as_samples() {
    let folds = folds(3, 6);
    let train = train();
    let runs: Vec<Run<'_>> =
        folds.iter().map(|(held_out, predictions)| Run { held_out, seed: 1, predictions, train: &train }).collect();
    let got = summary(&runs, Unit::Sample, &Plan::default()).unwrap();
    assert_eq!(got.primary.macro_f1.unit, Unit::Sample);
    let units: Vec<Unit> = got.pooled.test.by_unit.iter().map(|scores| scores.macro_f1.unit).collect();
    assert_eq!(units, [Unit::Episode, Unit::Host, Unit::Sample]);
}

#[test]
fn a_fold_without_test_windows_is_named_and_in_no_mean() {
    let folds = folds(4, 2);
    let (train, empty) = (train(), Predictions::new(class_list()));
    let run = |held_out, predictions| Run { held_out, seed: 1, predictions, train: &train };
    let runs = [run("pi-0", &folds[0].1), run("pi-1", &folds[1].1), run("pi-9", &empty)];
    let got = summary(&runs, Unit::Host, &Plan::default()).unwrap();
    assert_eq!(got.primary.macro_f1.n_units, 2);
    assert!(got.notes.contains(&"host pi-9 has no test window and is in no mean".to_owned()), "{:?}", got.notes);
    let lone = summary(&runs[..1], Unit::Host, &Plan::default()).unwrap();
    assert_eq!(lone.primary.macro_f1.lo, None);
    assert!(lone.notes.contains(&"there is no interval over hosts: it takes 5, tested were 1".to_owned()));
}

#[test]
fn what_is_no_set_of_folds_is_refused() {
    let folds = folds(5, 2);
    let train = train();
    let run = Run { held_out: "pi-0", seed: 1, predictions: &folds[0].1, train: &train };
    let twice = summary(&[run, run], Unit::Host, &Plan::default()).unwrap_err();
    assert!(twice.to_string().contains("stands twice"), "{twice}");
    assert!(summary(&[], Unit::Host, &Plan::default()).is_err());
}
