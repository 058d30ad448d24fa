//! Forged runs: what is edited alone shows without a store, what is edited alike shows with one.

use std::sync::atomic::AtomicBool;

use serde_json::Value;
use stakeout_core::confusion::argmax;
use stakeout_core::{Calibration, Checkpoint, Device, Scaler, Side};
use stakeout_eval::calibrate::{self, Method, Sample};
use stakeout_eval::{Prediction, Predictions};
use stakeout_splits::RecipeRegistry;
use stakeout_trainer::{CellResult, Quiet, WindowCache};

use super::{Bench, bench, train};
use crate::harness::{QUICK_GBT, store};

/// The files of a run, parsed, to be written back.
struct Forgery<'a> {
    bench: &'a Bench,
    result: CellResult,
    predictions: Predictions,
    checkpoint: Checkpoint,
}

impl<'a> Forgery<'a> {
    fn of(bench: &'a Bench) -> Self {
        let run = &bench.run;
        Self {
            bench,
            result: serde_json::from_slice(&std::fs::read(run.join("metrics.json")).unwrap()).unwrap(),
            predictions: Predictions::read_parquet(&run.join("predictions.parquet")).unwrap(),
            checkpoint: Checkpoint::read(&run.join("checkpoint.stk")).unwrap(),
        }
    }

    /// Changes the rows of a side: (label, probabilities).
    fn rows(&mut self, change: impl Fn(usize, &mut u16, &mut [f32])) {
        let mut others = Predictions::new(self.predictions.classes().clone());
        for i in 0..self.predictions.len() {
            let row = self.predictions.row(i);
            let (mut label, mut probabilities) = (row.label, row.probabilities.to_vec());
            change(i, &mut label, &mut probabilities);
            others.push(&Prediction { label, probabilities: &probabilities, ..row }).unwrap();
        }
        self.predictions = others;
    }

    /// Figures that fit the predictions.
    fn figures(&mut self) {
        let plan = self.result.metrics.as_ref().unwrap().bootstrap;
        self.result.metrics = Some(stakeout_eval::metrics(&self.predictions, &self.result.train, &plan).unwrap());
    }

    fn write(&self) {
        let run = &self.bench.run;
        std::fs::write(run.join("metrics.json"), serde_json::to_vec_pretty(&self.result).unwrap()).unwrap();
        self.predictions.write_parquet(&run.join("predictions.parquet")).unwrap();
        self.checkpoint.write(&run.join("checkpoint.stk")).unwrap();
    }
}

/// A change to a stored result.
type Edit = fn(&mut CellResult);

fn assert_verdict(bench: &Bench, more: &[&str], verdict: &str, refused: &[&str]) {
    let found = bench.verdict(more);
    assert_eq!((found.0.as_str(), found.1.iter().map(String::as_str).collect::<Vec<_>>()), (verdict, refused.to_vec()));
}

fn assert_verdict_has(bench: &Bench, check: &str, what: &str) {
    let (verdict, refused) = bench.verdict(&[]);
    assert!(verdict == "refused" && refused.iter().any(|name| name == check), "{what}: {verdict} {refused:?}");
}

const STORE: [&str; 2] = ["--store", "own"];

#[test]
fn an_honest_run_passes_every_check() {
    let bench = bench();
    assert_verdict(&bench, &[], "candidate", &[]);
    assert_verdict(&bench, &STORE, "deployable", &[]);
    assert_verdict(&bench, &[&STORE[..], &["--fit-again"]].concat(), "deployable", &[]);
    let (forgery, file) = (Forgery::of(&bench), bench.run.join("metrics.json"));
    let before: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    forgery.write();
    assert_eq!(before, serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap());
    assert_verdict(&bench, &STORE, "deployable", &[]);
}

#[test]
fn edited_metrics_are_refused_figure_by_figure() {
    let bench = bench();
    let file = bench.run.join("metrics.json");
    let honest: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let edits: [(&[&str], Value); 7] = [
        (&["test", "accuracy", "point"], 0.99.into()),
        (&["test", "macro_f1", "lo"], 0.97.into()),
        (&["test", "calibration", "ece", "equal_width", "point"], 0.0.into()),
        (&["constant", "macro_f1", "point"], 0.0.into()),
        (&["n_hosts", "test"], 6.into()),
        (&["confusion", "counts"], Value::Array(Vec::new())),
        (&["bootstrap", "resamples"], 1.into()),
    ];
    for (place, value) in edits {
        let mut edited = honest.clone();
        let mut at = &mut edited;
        for key in place {
            at = &mut at[*key];
        }
        *at = value;
        std::fs::write(&file, edited.to_string()).unwrap();
        assert_verdict(&bench, &[], "refused", &["metrics"]);
    }
    std::fs::write(&file, honest.to_string()).unwrap();
    assert_verdict(&bench, &[], "candidate", &[]);
}

/// Calibration error over 15 bins, of (confidence, right, weight); a bin holds what `inside` says.
fn ece(calls: &[(f64, bool, f64)], inside: impl Fn(f64, f64, f64) -> bool) -> f64 {
    let total: f64 = calls.iter().map(|call| call.2).sum();
    let gap = |bin: u32| {
        let (from, to) = (f64::from(bin) / 15.0, f64::from(bin + 1) / 15.0);
        let of = calls.iter().filter(|call| inside(call.0, from, to));
        of.map(|(confidence, right, weight)| weight * (f64::from(u8::from(*right)) - confidence)).sum::<f64>().abs()
    };
    (0..15).map(gap).sum::<f64>() / total
}

/// The known faults of other gates, as figures of a run: each looks better than the truth, and none comes out again.
#[test]
fn a_calibration_error_by_a_faulty_formula_is_refused() {
    let bench = bench();
    let mut forgery = Forgery::of(&bench);
    forgery.rows(|i, _, p| {
        if i % 3 == 0 {
            let called = usize::from(argmax(p));
            p.fill(0.0);
            p[called] = 1.0;
        }
    });
    forgery.figures();
    forgery.write();
    assert!(!bench.verdict(&[]).1.contains(&"metrics".to_owned()), "the honest figure comes out again");

    let predictions = &forgery.predictions;
    let test = predictions.rows_of(Side::Test);
    let mut windows = std::collections::BTreeMap::<&str, f64>::new();
    test.iter().for_each(|&row| *windows.entry(predictions.row(row).episode).or_default() += 1.0);
    let calls: Vec<(f64, bool, f64)> = test
        .iter()
        .map(|&row| {
            let (of, called) = (predictions.row(row), predictions.predicted(row));
            (f64::from(of.probabilities[usize::from(called)]), called == of.label, 1.0 / windows[of.episode])
        })
        .collect();
    let closed = |p: f64, from: f64, to: f64| p >= from && (p < to || to > 0.999);
    let own =
        forgery.result.metrics.as_ref().unwrap().test.calibration.as_ref().unwrap().ece.equal_width.point.unwrap();
    assert!((ece(&calls, closed) - own).abs() < 1e-9, "ours is the formula with every window in it");

    let dropped = ece(&calls, |p, from, to| p >= from && p < to);
    let accuracy = calls.iter().filter(|call| call.1).count() as f64 / calls.len() as f64;
    let confusion = &forgery.result.metrics.as_ref().unwrap().confusion.counts;
    let last = confusion.len() - 1;
    let called: u64 = confusion.iter().map(|row| row[last]).sum();
    let precision = confusion[last][last] as f64 / called.max(1) as f64;
    for (what, faulty) in [("p = 1 dropped", dropped), ("accuracy less precision", (accuracy - precision).abs())] {
        assert!((faulty - own).abs() > 1e-6, "{what}: {faulty} against {own}");
        let scores = forgery.result.metrics.as_mut().unwrap().test.calibration.as_mut().unwrap();
        scores.ece.equal_width.point = Some(faulty);
        forgery.write();
        assert_verdict_has(&bench, "metrics", what);
    }
}

#[test]
fn an_edited_training_side_ledger_or_provenance_is_refused() {
    let bench = bench();
    let edits: [(Edit, &str); 7] = [
        (|r| r.train.windows.reverse(), "ledger"),
        (|r| r.ledger = None, "ledger"),
        (|r| r.origin.simulated = false, "one run"),
        (|r| r.origin.data_digest = "0".repeat(64), "one run"),
        (|r| r.seed = 9, "one run"),
        (|r| r.held_out.push("host-9".into()), "one run"),
        (|r| r.calibration = None, "one run"),
    ];
    let honest = Forgery::of(&bench);
    for (edit, check) in edits {
        let mut forgery = Forgery::of(&bench);
        edit(&mut forgery.result);
        forgery.write();
        let (verdict, refused) = bench.verdict(&[]);
        assert!(verdict == "refused" && refused.iter().any(|name| name == check), "{check}: {refused:?}");
        honest.write();
    }
    let mut forgery = Forgery::of(&bench);
    let test_host = forgery.predictions.row(forgery.predictions.rows_of(Side::Test)[0]).host.to_owned();
    forgery.result.trained_on.hosts.insert(test_host);
    forgery.write();
    assert_verdict(&bench, &[], "refused", &["sides apart"]);
    honest.write();
    let settings = bench.run.join("experiment.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.split("[run]").next().unwrap()).unwrap();
    assert_eq!(bench.verdict(&[]).0, "refused", "a run without provenance");
    std::fs::write(&settings, text.replace("rounds = 12", "rounds = 13")).unwrap();
    assert_verdict(&bench, &[], "refused", &["one run"]);
}

/// What a run says of its own making, edited in every file that says it: only the store tells.
#[test]
fn a_training_side_or_an_origin_that_is_edited_alike_everywhere_is_refused_by_the_store() {
    type EditAll = fn(&mut Forgery<'_>);
    let bench = bench();
    let edits: [(EditAll, &str); 5] = [
        (
            |f| {
                f.result.origin.simulated = false;
                f.checkpoint.header.simulated = false;
            },
            "simulated: false in the run, true in its store",
        ),
        (
            |f| {
                f.result.held_out = vec!["everything".into()];
                f.checkpoint.header.held_out = vec!["everything".into()];
            },
            "held out: everything in the run",
        ),
        (|f| f.result.trained_on.hosts.clear(), "hosts and samples"),
        (|f| f.result.train.hosts += 1, "windows a class"),
        (|f| f.result.rows = stakeout_trainer::Account::default(), "rows read"),
    ];
    let honest = Forgery::of(&bench);
    for (edit, found) in edits {
        let mut forgery = Forgery::of(&bench);
        edit(&mut forgery);
        forgery.figures();
        forgery.write();
        assert_verdict(&bench, &[], "candidate", &[]);
        assert_verdict(&bench, &STORE, "refused", &["training side"]);
        let text = crate::harness::stdout(&bench.gate(&["--dry-run", "--store", "own"]));
        assert!(text.contains(found), "no `{found}` in {text}");
        honest.write();
    }
}

#[test]
fn counts_that_nobody_could_count_to_are_refused() {
    let bench = bench();
    let mut forgery = Forgery::of(&bench);
    forgery.result.train.windows.fill(u64::MAX);
    forgery.write();
    let (verdict, refused) = bench.verdict(&[]);
    assert!(verdict == "refused" && refused.contains(&"metrics".to_owned()), "{refused:?}");
    let file = bench.run.join("metrics.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let names = |what: &str| (0..30_000).map(|i| format!("{what}-{i}")).collect::<Vec<_>>();
    value["ledger"]["profiles"] = names("profile").into();
    value["ledger"]["hosts"] = names("host").into();
    std::fs::write(&file, value.to_string()).unwrap();
    let refused = bench.verdict(&[]).1;
    assert!(refused.contains(&"ledger".to_owned()), "{refused:?}");
}

#[test]
fn edited_predictions_are_refused() {
    let bench = bench();
    let mut forgery = Forgery::of(&bench);
    forgery.rows(|i, label, p| {
        if i % 7 == 0 {
            p.fill(0.0);
            p[usize::from(*label)] = 1.0;
        }
    });
    forgery.write();
    assert_verdict(&bench, &[], "refused", &["metrics"]);
}

#[test]
fn predictions_and_metrics_edited_alike_are_a_candidate_at_most_and_refused_by_the_store() {
    let bench = bench();
    let mut forgery = Forgery::of(&bench);
    forgery.rows(|_, label, p| {
        p.fill(0.02 / (p.len() - 1) as f32);
        p[usize::from(*label)] = 0.98;
    });
    forgery.figures();
    forgery.write();
    let judged = bench.gate(&["--dry-run"]);
    let text = crate::harness::stdout(&judged);
    assert!(text.contains("verdict: candidate") && text.contains("predictions taken on trust"), "{text}");
    assert_verdict(&bench, &STORE, "refused", &["scored again"]);
}

#[test]
fn labels_turned_to_what_was_called_are_refused_by_the_store() {
    let bench = bench();
    let mut forgery = Forgery::of(&bench);
    forgery.rows(|_, label, p| *label = argmax(p));
    forgery.figures();
    forgery.write();
    let (verdict, refused) = bench.verdict(&STORE);
    assert_eq!(verdict, "refused");
    assert!(refused.iter().any(|name| name == "fold drawn again"), "{refused:?}");
    // The ledger alone shows it where it was not forged too.
    assert!(refused.iter().any(|name| name == "ledger"), "{refused:?}");
}

#[test]
fn hard_windows_left_out_or_easy_ones_counted_twice_are_refused() {
    let bench = bench();
    let honest = Forgery::of(&bench);
    for twice in [false, true] {
        let mut forgery = Forgery::of(&bench);
        let mut others = Predictions::new(honest.predictions.classes().clone());
        for i in 0..honest.predictions.len() {
            let row = honest.predictions.row(i);
            let right = honest.predictions.predicted(i) == row.label;
            for _ in 0..usize::from(right || twice) + usize::from(right && twice) {
                others.push(&row).unwrap();
            }
        }
        forgery.predictions = others;
        forgery.figures();
        forgery.write();
        let (verdict, refused) = bench.verdict(&STORE);
        assert_eq!(verdict, "refused");
        let expected = if twice { "windows" } else { "fold drawn again" };
        assert!(refused.iter().any(|name| name == expected), "{twice}: {refused:?}");
    }
}

#[test]
fn a_confidence_that_stands_for_a_probability_is_refused() {
    let bench = bench();
    let mut forgery = Forgery::of(&bench);
    forgery.rows(|_, _, p| {
        let confidence = p.iter().copied().fold(0.0, f32::max);
        p.fill(confidence);
    });
    forgery.figures();
    forgery.write();
    let (verdict, refused) = bench.verdict(&[]);
    assert!(verdict == "refused" && refused.contains(&"windows".to_owned()), "{refused:?}");
}

#[test]
fn a_swapped_checkpoint_is_refused() {
    let bench = bench();
    let other = bench.folder.path().join("other");
    train("gbt", &other, &[&QUICK_GBT[..], &["--set", "calibration=temperature", "--seed", "2"]].concat());
    let honest = Forgery::of(&bench);
    // As it is: its header speaks of another seed.
    std::fs::copy(other.join("checkpoint.stk"), bench.run.join("checkpoint.stk")).unwrap();
    let (verdict, refused) = bench.verdict(&[]);
    assert!(verdict == "refused" && refused.contains(&"one run".to_owned()), "{refused:?}");
    // Under the header of the run: only what it says of the windows tells.
    let mut forgery = honest;
    forgery.checkpoint.weights = Checkpoint::read(&other.join("checkpoint.stk")).unwrap().weights;
    forgery.write();
    assert_verdict(&bench, &[], "candidate", &[]);
    let (verdict, refused) = bench.verdict(&STORE);
    assert!(verdict == "refused" && refused.contains(&"scored again".to_owned()), "{refused:?}");
}

/// Scores all windows of the run with the checkpoint in the forgery, through no map.
fn raw(forgery: &Forgery<'_>) -> Predictions {
    let models = stakeout_models::builtin();
    let stored = stakeout_trainer::score::StoredRun::open(&forgery.bench.run, &models, Device::default()).unwrap();
    let recipes = RecipeRegistry::builtin();
    let audit = stored.audit(store(), &models, &recipes, &WindowCache::NONE, &Quiet, &AtomicBool::new(false)).unwrap();
    audit.make_again().unwrap().predictions
}

#[test]
fn a_threshold_chosen_on_the_test_side_is_refused() {
    // A Dirichlet map fitted on the test side moves every threshold to where the test side wants it. Checkpoint,
    // predictions, metrics and settings all agree, and the checkpoint gives the stored probabilities.
    let bench = bench();
    let mut forgery = Forgery::of(&bench);
    forgery.checkpoint.header.calibration = None;
    forgery.result.calibration = None;
    let settings = bench.run.join("experiment.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace("calibration = \"temperature\"", "calibration = \"dirichlet\"")).unwrap();
    forgery.write();
    forgery.predictions = raw(&forgery);
    let map = calibrate::fit(Method::Dirichlet, &Sample::of(&forgery.predictions, Side::Test).unwrap()).unwrap();
    forgery.predictions.calibrate(&map).unwrap();
    forgery.checkpoint.header.calibration = Some(map.clone());
    forgery.result.calibration = Some(map);
    forgery.figures();
    forgery.write();
    assert_verdict(&bench, &[], "candidate", &[]);
    assert_verdict(&bench, &STORE, "refused", &["map fitted again"]);

    // The same map, fitted where it may be.
    let mut forgery = Forgery::of(&bench);
    forgery.checkpoint.header.calibration = None;
    forgery.result.calibration = None;
    forgery.write();
    forgery.predictions = raw(&forgery);
    let map = calibrate::fit(Method::Dirichlet, &Sample::of(&forgery.predictions, Side::Validation).unwrap()).unwrap();
    assert!(matches!(map, Calibration::Dirichlet { .. }));
    forgery.predictions.calibrate(&map).unwrap();
    forgery.checkpoint.header.calibration = Some(map.clone());
    forgery.result.calibration = Some(map);
    forgery.figures();
    forgery.write();
    let refused = bench.verdict(&STORE).1;
    assert!(!refused.contains(&"map fitted again".to_owned()), "{refused:?}");
}

#[test]
fn a_scaler_that_saw_the_test_side_is_refused() {
    let bench = bench();
    let mut forgery = Forgery::of(&bench);
    let Scaler::Global(moments) = &mut forgery.checkpoint.header.scaler else { panic!("the default scaler is global") };
    moments.mean.iter_mut().for_each(|mean| *mean += 0.01 * (mean.abs() + 1.0));
    forgery.write();
    forgery.predictions = raw(&forgery);
    forgery.figures();
    forgery.write();
    let (verdict, refused) = bench.verdict(&STORE);
    assert!(verdict == "refused" && refused.contains(&"scaler fitted again".to_owned()), "{refused:?}");
    assert!(!refused.contains(&"scored again".to_owned()), "{refused:?}");
}

#[test]
fn a_model_that_was_trained_on_its_test_rows_is_refused_by_a_second_fit() {
    let bench = bench();
    let everything = bench.folder.path().join("everything");
    train("gbt", &everything, &[&QUICK_GBT[..], &["--set", "calibration=temperature", "--refit-all"]].concat());
    // The weights of a fit on all rows under the header of an honest one, with everything else made to fit.
    let mut forgery = Forgery::of(&bench);
    forgery.checkpoint.weights = Checkpoint::read(&everything.join("checkpoint.stk")).unwrap().weights;
    forgery.checkpoint.header.calibration = None;
    forgery.result.calibration = None;
    forgery.write();
    let before = raw(&forgery);
    let map = calibrate::fit(Method::Temperature, &Sample::of(&before, Side::Validation).unwrap()).unwrap();
    forgery.predictions = before;
    forgery.predictions.calibrate(&map).unwrap();
    forgery.checkpoint.header.calibration = Some(map.clone());
    forgery.result.calibration = Some(map);
    forgery.figures();
    forgery.write();
    assert_verdict(&bench, &STORE, "deployable", &[]);
    assert_verdict(&bench, &[&STORE[..], &["--fit-again"]].concat(), "refused", &["fitted again"]);
    // A policy can ask for it.
    let asks = format!("fit_again = true\n{}", super::LENIENT);
    std::fs::write(&bench.policy, asks).unwrap();
    assert_verdict(&bench, &STORE, "refused", &["fitted again"]);
    assert_verdict(&bench, &[], "candidate", &[]);
}
