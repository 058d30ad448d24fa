//! What the booster promises beyond the contract.

use serde_json::{Value, json};
use stakeout_core::{
    BaseModel, Batch, Device, EpochRecord, Estimator, FitContext, FitObserver, InputKind, Labelled, ModelError,
    Scratch, Subset, Windows,
};
use stakeout_models::builtin;
use stakeout_testkit::data::{SmallWindows, small_windows};

#[derive(Default)]
struct History {
    records: Vec<EpochRecord>,
    stop_after: Option<usize>,
    state: Option<Vec<u8>>,
}

impl FitObserver for History {
    fn progress(&mut self, _done: u64, _total: u64) {}

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), ModelError> {
        self.records.push(record.clone());
        Ok(())
    }

    fn cancelled(&self) -> bool {
        self.stop_after == Some(self.records.len())
    }

    fn save_state(&mut self, state: &[u8]) -> Result<(), ModelError> {
        self.state = Some(state.to_vec());
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(self.state.clone())
    }
}

fn estimator(config: &Value) -> Box<dyn Estimator> {
    (builtin().get("gbt").unwrap().configure)(config).unwrap()
}

fn fit(config: &Value, train: &SmallWindows, validation: Option<&SmallWindows>) -> (Box<dyn BaseModel>, History) {
    let mut history = History::default();
    let model = fit_watched(config, (train, &vec![1.0; train.labels.len()]), validation, &mut history);
    (model.unwrap(), history)
}

fn fit_watched(
    config: &Value,
    (train, weights): (&SmallWindows, &[f32]),
    validation: Option<&SmallWindows>,
    history: &mut History,
) -> Result<Box<dyn BaseModel>, ModelError> {
    let ones = vec![1.0; validation.map_or(0, |side| side.labels.len())];
    let validation = validation.map(|side| Labelled { windows: &side.windows, labels: &side.labels, weights: &ones });
    let mut cx = FitContext { validation, seed: 11, device: Device::default(), observer: history };
    estimator(config).fit(Labelled { windows: &train.windows, labels: &train.labels, weights }, &mut cx)
}

fn log_loss(model: &dyn BaseModel, data: &SmallWindows) -> f64 {
    let scores = model.predict(&data.windows).unwrap();
    let rows = scores.rows().into_iter().zip(&data.labels);
    -rows.map(|(row, label)| f64::from(row[usize::from(*label)]).ln()).sum::<f64>() / data.labels.len() as f64
}

fn hits(model: &dyn BaseModel, data: &SmallWindows) -> usize {
    let scores = model.predict(&data.windows).unwrap();
    let rows = scores.rows().into_iter().zip(&data.labels);
    rows.filter(|(row, label)| stakeout_core::confusion::argmax(&row.to_vec()) == **label).count()
}

#[test]
fn the_round_with_the_least_validation_loss_is_kept() {
    // noisy: channels of one step, so that there is a best round before the last
    let (train, validation) = (small_windows(1, 120, 3, 3, 1), small_windows(2, 60, 3, 3, 1));
    let (model, history) = fit(&json!({ "rounds": 300, "early_stopping_rounds": 15 }), &train, Some(&validation));
    let losses: Vec<f64> = history.records.iter().map(|record| record.validation_loss.unwrap()).collect();
    let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap();
    assert_eq!(losses.len(), best + 1 + 15, "15 rounds follow the best one");
    assert!(best + 16 < 300);
    assert!((log_loss(&*model, &validation) - losses[best]).abs() < 1e-6);
}

#[test]
fn a_resumed_fit_remembers_the_best_round() {
    let (train, validation) = (small_windows(1, 120, 3, 3, 1), small_windows(2, 60, 3, 3, 1));
    let config = json!({ "rounds": 300, "early_stopping_rounds": 15 });
    let (whole, history) = fit(&config, &train, Some(&validation));
    let best = history.records.len() - 15;
    let weights = vec![1.0; 120];
    let mut interrupted = History { stop_after: Some(best + 10), ..History::default() };
    let stopped = fit_watched(&config, (&train, &weights), Some(&validation), &mut interrupted);
    assert!(matches!(stopped.err(), Some(ModelError::Cancelled)));
    let mut resumed = History { state: interrupted.state, ..History::default() };
    let model = fit_watched(&config, (&train, &weights), Some(&validation), &mut resumed).unwrap();
    assert_eq!(resumed.records, history.records[best + 10..]);
    assert_eq!(model.weights().unwrap(), whole.weights().unwrap());
}

#[test]
fn a_weight_of_two_is_a_window_twice() {
    let train = small_windows(1, 80, 3, 4, 5);
    let twice: Vec<usize> = (0..80).chain((0..80).filter(|row| row % 3 == 0)).collect();
    let subset = Subset::new(&train.windows, &twice);
    let labels: Vec<u16> = twice.iter().map(|row| train.labels[*row]).collect();
    let config = json!({ "rounds": 15, "subsample": 1.0, "colsample": 1.0 });
    let weights: Vec<f32> = (0..80).map(|row| if row % 3 == 0 { 2.0 } else { 1.0 }).collect();
    let weighted = fit_watched(&config, (&train, &weights), None, &mut History::default()).unwrap();
    let mut history = History::default();
    let mut cx = FitContext { validation: None, seed: 11, device: Device::default(), observer: &mut history };
    let repeated = Labelled { windows: &subset, labels: &labels, weights: &vec![1.0; labels.len()] };
    let repeated = estimator(&config).fit(repeated, &mut cx).unwrap();
    let apart = weighted.predict(&train.windows).unwrap() - repeated.predict(&train.windows).unwrap();
    let furthest = apart.iter().map(|d| d.abs()).fold(0.0, f32::max);
    assert!(furthest < 1e-4, "{furthest}");
}

#[test]
fn history_tells_the_loss_of_the_model() {
    let train = small_windows(1, 120, 3, 3, 4);
    let (model, history) = fit(&json!({ "rounds": 30 }), &train, None);
    assert_eq!(history.records.len(), 30);
    assert!(history.records.windows(2).all(|pair| pair[1].train_loss < pair[0].train_loss));
    assert!((log_loss(&*model, &train) - history.records[29].train_loss).abs() < 1e-6);
    assert!(
        history.records.iter().all(|record| record.validation_loss.is_none() && record.validation_macro_f1.is_none())
    );
}

#[test]
fn too_small_a_validation_side_chooses_nothing() {
    let train = small_windows(1, 60, 3, 3, 1);
    let config = json!({ "rounds": 60, "early_stopping_rounds": 1 });
    for (rows, chooses) in [(19, false), (20, true)] {
        let (_, history) = fit(&config, &train, Some(&small_windows(2, rows, 3, 3, 1)));
        assert_eq!(history.records[0].validation_loss.is_some(), chooses);
        assert_eq!(history.records.len() < 60, chooses);
    }
}

#[test]
fn without_early_stopping_validation_rows_are_training_rows() {
    assert!(estimator(&json!({})).needs_validation());
    assert!(!estimator(&json!({ "early_stopping_rounds": 0 })).needs_validation());
}

#[test]
fn sixty_windows_are_enough_to_learn() {
    for classes in [2, 4] {
        let (train, test) = (small_windows(1, 60, classes, 4, 10), small_windows(2, 400, classes, 4, 10));
        let (model, _) = fit(&json!({}), &train, None);
        let hits = hits(&*model, &test);
        assert!(hits > 320, "{hits} of 400 with {classes} classes");
    }
}

#[test]
fn scores_do_not_depend_on_the_batch_by_a_single_bit() {
    for classes in [2, 3] {
        let (train, test) = (small_windows(1, 100, classes, 4, 5), small_windows(2, 70, classes, 4, 5));
        let (model, _) = fit(&json!({ "rounds": 20 }), &train, None);
        let whole = model.predict(&test.windows).unwrap();
        let mut batch = Batch::new(InputKind::Summary, test.windows.schema().geometry());
        for row in 0..70 {
            test.windows.gather(&[row], &mut batch).unwrap();
            let mut out = vec![0.0; classes];
            model.predict_into(&batch, &mut Scratch::default(), &mut out).unwrap();
            assert_eq!(whole.row(row).to_vec(), out);
        }
    }
}

#[test]
fn attribution_and_a_constant_make_the_log_odds() {
    let train = small_windows(1, 100, 3, 4, 5);
    let (model, _) = fit(&json!({ "rounds": 10 }), &train, None);
    let mut batch = Batch::new(InputKind::Summary, train.windows.schema().geometry());
    train.windows.gather(&(0..50).collect::<Vec<_>>(), &mut batch).unwrap();
    let attribution = model.explain(&batch).unwrap().unwrap().values;
    let inputs = batch.row_len();
    assert_eq!(attribution.shape(), [50, 3 * inputs]);
    let scores = model.predict(&train.windows).unwrap();
    let rest: Vec<f32> = (0..50)
        .map(|row| {
            let parts = attribution.row(row).to_vec();
            let margin = |class: usize| parts[class * inputs..(class + 1) * inputs].iter().sum::<f32>();
            (scores[[row, 1]] / scores[[row, 0]]).ln() - (margin(1) - margin(0))
        })
        .collect();
    assert!(rest.iter().all(|constant| (constant - rest[0]).abs() < 1e-4), "{rest:?}");
    // the label lifts channel 0, 1 or 2; the fourth channel is noise
    let size = |channel: usize| -> f32 {
        attribution.indexed_iter().filter(|((_, i), _)| i % inputs % 4 == channel).map(|(_, v)| v.abs()).sum()
    };
    assert!((0..3).all(|channel| size(channel) > 2.0 * size(3)), "{:?}", [0, 1, 2, 3].map(size));
}

#[test]
fn settings_out_of_range_are_named() {
    for (key, value) in [
        ("rounds", json!(0)),
        ("learning_rate", json!(0.0)),
        ("learning_rate", json!(1.5)),
        ("max_depth", json!(17)),
        ("min_child_weight", json!(-1)),
        ("lambda", json!(-0.1)),
        ("min_gain", json!(-0.1)),
        ("subsample", json!(0)),
        ("colsample", json!(1.01)),
        ("max_bins", json!(256)),
        ("max_bins", json!("many")),
    ] {
        let refused = (builtin().get("gbt").unwrap().configure)(&json!({ key: value })).err();
        match refused {
            Some(ModelError::Config { kind, key: named, .. }) => assert_eq!((kind.as_str(), &*named), ("gbt", key)),
            other => panic!("{key} = {value}: {other:?}"),
        }
    }
}

/// Large enough for every branch: several blocks of columns, siblings cut in parallel, more trees a round than are made at once.
#[test]
fn many_rows_inputs_and_classes_give_the_same_bytes_on_any_number_of_threads() {
    let train = small_windows(3, 5000, 10, 20, 4);
    for max_bins in [40, 100, 255] {
        let config = json!({ "rounds": 3, "max_bins": max_bins, "early_stopping_rounds": 0 });
        let bytes = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fit(&config, &train, None).0.weights().unwrap())
        };
        let expected = bytes(1);
        assert!(expected.len() > 10_000);
        assert!(expected == bytes(3), "{max_bins} bins");
    }
}
