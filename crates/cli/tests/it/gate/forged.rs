//! Forged runs: what is edited alone shows without a store, what is edited alike shows with one.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use stakeout_core::{Calibration, Checkpoint, Device, SampleIndex, Scaler, Side};
use stakeout_eval::calibrate::{self, Method, Sample};
use stakeout_eval::{Prediction, Predictions};
use stakeout_evidence::{Asked, Outcome, Policy, Snapshot, Verdict, judge};
use stakeout_splits::{Fold, FoldParts, RecipeEntry, RecipeRegistry, Separates, Split, SplitError};
use stakeout_trainer::{CellResult, Dataset, Existing, Experiment, Quiet, Reading, Request, RunDir, WindowCache};

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
    forgery.rows(|_, label, p| *label = stakeout_core::confusion::argmax(p));
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

/// A recipe that promises episodes and shuffles windows.
struct Shuffled;

impl Split for Shuffled {
    fn name(&self) -> &'static str {
        "acme/shuffled"
    }

    fn separates(&self) -> Separates {
        Separates::Episodes
    }

    fn folds(&self, index: &SampleIndex, _seed: u64) -> Result<Vec<Fold>, SplitError> {
        let (test, train) = (0..index.len()).partition(|row| row % 5 == 0);
        let parts = FoldParts {
            name: "shuffled".into(),
            held_out: vec!["every fifth window".into()],
            train,
            validation: Vec::new(),
            test,
            dropped: Vec::new(),
            notes: Vec::new(),
            test_by: Separates::Episodes,
            validation_by: Separates::Episodes,
        };
        Ok(vec![Fold::new(index.len(), parts)?])
    }
}

#[test]
fn sequences_shared_by_two_sides_are_refused() {
    let (models, mut recipes) = (stakeout_models::builtin(), RecipeRegistry::builtin());
    let entry = RecipeEntry {
        name: "acme/shuffled",
        about: "every fifth window",
        defaults: "",
        configure: |_| Ok(Box::new(Shuffled)),
    };
    recipes.add(entry).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let overrides = ["model.gbt.rounds=12", "intervals.resamples=200"].map(String::from);
    let mut experiment = Experiment::read(None, &overrides).unwrap();
    experiment.recipe = "acme/shuffled".into();
    let model = models.get("gbt").unwrap();
    let stop = AtomicBool::new(false);
    let reading = Reading::of(&experiment, stakeout_features::Inputs::BOTH, &WindowCache::NONE);
    let dataset = Dataset::open(store(), &reading, &Quiet, &stop).unwrap();
    let request =
        Request { dataset: &dataset, store: Some(store()), experiment: &experiment, model, recipe: &Shuffled };
    let run = folder.path().join("run");
    let dir = RunDir::open(&run, Existing::Refuse).unwrap();
    request.train(&request.folds().unwrap(), &dir, &Quiet, &stop).unwrap();

    let files = Snapshot::take(&run, &folder.path().join("copy")).unwrap();
    let policy = Policy::parse(super::LENIENT, "x").unwrap();
    let asked = |store: Option<&'static Path>| Asked {
        policy: &policy,
        store,
        fit_again: false,
        incumbent: None,
        beside: Some(&run),
        models: &models,
        recipes: &recipes,
        device: Device::default(),
        progress: &Quiet,
        cancel: &stop,
    };
    let bundle = judge(&files, &asked(Some(store()))).unwrap();
    assert_eq!(bundle.verdict, Verdict::Refused);
    let shared = bundle.checks.iter().find(|check| check.name == "shared content").unwrap();
    assert_eq!(shared.outcome, Outcome::Refused);
    assert!(shared.found.contains("test episodes stand on the train side too"), "{shared:?}");
    assert!(judge(&files, &asked(None)).unwrap().verdict <= Verdict::Candidate);
}
