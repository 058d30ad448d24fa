//! What MiniRocket promises beyond the contract.

use serde_json::{Value, json};
use stakeout_core::{
    BaseModel, Batch, Device, EpochRecord, FitContext, FitObserver, InputKind, Labelled, ModelError, Scratch, Windows,
};
use stakeout_models::builtin;
use stakeout_testkit::data::{SmallWindows, small_windows};

#[derive(Default)]
struct Watch {
    notes: Vec<String>,
    last: (u64, u64),
    stop_at: Option<u64>,
}

impl FitObserver for Watch {
    fn progress(&mut self, done: u64, total: u64) {
        self.last = (done, total);
    }

    fn epoch(&mut self, _record: &EpochRecord) -> Result<(), ModelError> {
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }

    fn cancelled(&self) -> bool {
        self.stop_at.is_some_and(|at| self.last.0 >= at)
    }

    fn save_state(&mut self, _state: &[u8]) -> Result<(), ModelError> {
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(None)
    }
}

fn fit(config: &Value, train: &SmallWindows, watch: &mut Watch) -> Result<Box<dyn BaseModel>, ModelError> {
    let SmallWindows { windows, labels } = train;
    let weights = vec![1.0; labels.len()];
    let mut cx = FitContext { validation: None, seed: 5, device: Device::default(), observer: watch };
    let estimator = (builtin().get("minirocket").unwrap().configure)(config)?;
    estimator.fit(Labelled { windows, labels, weights: &weights }, &mut cx)
}

fn hits(model: &dyn BaseModel, data: &SmallWindows) -> usize {
    let scores = model.predict(&data.windows).unwrap();
    let rows = scores.rows().into_iter().zip(&data.labels);
    rows.filter(|(row, label)| stakeout_core::confusion::argmax(&row.to_vec()) == **label).count()
}

#[test]
fn scores_do_not_depend_on_the_batch_bit_for_bit() {
    let train = small_windows(1, 60, 3, 4, 20);
    let model = fit(&json!({ "features": 336 }), &train, &mut Watch::default()).unwrap();
    let whole = model.predict(&train.windows).unwrap();
    let mut batch = Batch::new(InputKind::Tensor, model.geometry());
    for rows in [vec![7], vec![59, 7, 7, 0], (0..60).rev().collect()] {
        train.windows.gather(&rows, &mut batch).unwrap();
        let mut out = vec![f32::NAN; rows.len() * 3];
        model.predict_into(&batch, &mut Scratch::default(), &mut out).unwrap();
        for (row, out) in rows.iter().zip(out.chunks(3)) {
            assert_eq!(out, whole.row(*row).as_slice().unwrap());
        }
    }
}

#[test]
fn series_shorter_than_a_kernel_and_of_one_channel_are_learnt() {
    for (channels, steps) in [(4, 1), (4, 5), (4, 8), (3, 9)] {
        let (train, test) = (small_windows(1, 150, 3, channels, steps), small_windows(2, 90, 3, channels, steps));
        let model = fit(&json!({ "features": 1000 }), &train, &mut Watch::default()).unwrap();
        let hits = hits(&*model, &test);
        assert!(hits > 60, "{hits} of 90 with {channels} channels of {steps} steps");
    }
    // one channel: two classes differ by sign
    let (train, test) = (small_windows(1, 150, 2, 1, 20), small_windows(2, 90, 2, 1, 20));
    let model = fit(&json!({ "features": 1000 }), &train, &mut Watch::default()).unwrap();
    assert!(hits(&*model, &test) > 80, "{}", hits(&*model, &test));
}

#[test]
fn with_many_windows_features_are_cut_and_accuracy_stays() {
    let (train, test) = (small_windows(1, 600, 3, 4, 20), small_windows(2, 300, 3, 4, 20));
    let mut watch = Watch::default();
    let whole = fit(&json!({ "features": 1000 }), &train, &mut watch).unwrap();
    assert!(watch.notes[0].starts_with("928 features"), "{:?}", watch.notes);
    let mut watch = Watch::default();
    let cut = fit(&json!({ "features": 1000, "largest_side": 300 }), &train, &mut watch).unwrap();
    assert!(watch.notes[0].starts_with("256 features"), "{:?}", watch.notes);
    let (whole, cut) = (hits(&*whole, &test), hits(&*cut, &test));
    assert!(whole.abs_diff(cut) < 15 && whole > 240, "{whole} and {cut} of 300");
}

/// Probabilities come from held-out decisions: on new windows they are right as often as they say.
#[test]
fn probabilities_are_neither_too_sure_nor_too_shy() {
    let (train, test) = (small_windows(1, 150, 3, 4, 4), small_windows(2, 1500, 3, 4, 4));
    let model = fit(&json!({ "features": 840 }), &train, &mut Watch::default()).unwrap();
    let on = |data: &SmallWindows| {
        let scores = model.predict(&data.windows).unwrap();
        let sure: f32 = scores.rows().into_iter().map(|row| row.iter().copied().fold(0.0, f32::max)).sum();
        (f64::from(sure) / data.labels.len() as f64, hits(&*model, data) as f64 / data.labels.len() as f64)
    };
    let (sure, right) = on(&test);
    assert!((sure - right).abs() < 0.06, "sure {sure:.3}, right {right:.3}");
}

#[test]
fn a_window_in_which_nothing_was_observed_gets_the_class_frequencies() {
    let SmallWindows { windows, labels } = small_windows(1, 600, 3, 4, 10);
    // class 0 three times as often as the others
    let rows: Vec<usize> = (0..600).filter(|row| labels[*row] == 0 || row % 9 < 3).collect();
    let labels: Vec<u16> = rows.iter().map(|row| labels[*row]).collect();
    let (weights, mut watch) = (vec![1.0; rows.len()], Watch::default());
    let mut cx = FitContext { validation: None, seed: 5, device: Device::default(), observer: &mut watch };
    let estimator = (builtin().get("minirocket").unwrap().configure)(&json!({ "features": 336 })).unwrap();
    let subset = stakeout_core::Subset::new(&windows, &rows);
    let model = estimator.fit(Labelled { windows: &subset, labels: &labels, weights: &weights }, &mut cx).unwrap();
    let mut batch = Batch::new(InputKind::Tensor, model.geometry());
    batch.reset(2);
    batch.lengths[1] = 0;
    let mut out = vec![0.0; 6];
    model.predict_into(&batch, &mut Scratch::default(), &mut out).unwrap();
    assert_eq!(out[..3], out[3..]);
    assert!(out[0] > 1.5 * out[1] && out[0] > 1.5 * out[2] && out[1] > 0.05 && out[2] > 0.05, "{out:?}");
}

#[test]
fn a_fit_can_be_stopped_and_progress_ends_at_its_total() {
    let train = small_windows(1, 60, 3, 4, 10);
    let mut watch = Watch::default();
    fit(&json!({ "features": 84 }), &train, &mut watch).unwrap();
    assert_eq!(watch.last.0, watch.last.1);
    for stop_at in [1, 200, 800] {
        let mut watch = Watch { stop_at: Some(stop_at), ..Watch::default() };
        let stopped = fit(&json!({ "features": 84 }), &train, &mut watch);
        assert!(matches!(stopped.err(), Some(ModelError::Cancelled)), "at {stop_at} of {}", watch.last.1);
    }
}

#[test]
fn features_are_the_embedding() {
    let train = small_windows(1, 60, 3, 4, 10);
    let model = fit(&json!({ "features": 168 }), &train, &mut Watch::default()).unwrap();
    let mut batch = Batch::new(InputKind::Tensor, model.geometry());
    train.windows.gather(&[3, 4], &mut batch).unwrap();
    let features = model.embed(&batch).unwrap().unwrap();
    // 168 shares of outputs, one share missing a channel
    assert_eq!(features.shape(), [2, 172]);
    assert!(features.iter().all(|share| (0.0..=1.0).contains(share)));
}

#[test]
fn settings_out_of_range_are_told() {
    let message = |config: Value| {
        (builtin().get("minirocket").unwrap().configure)(&config).err().expect("out of range").to_string()
    };
    assert_eq!(
        message(json!({ "features": 83 })),
        "[model.minirocket] features: 83 is out of range: use 84 to 1000000"
    );
    assert!(message(json!({ "alphas": [] })).contains("a list of 1 to 100 penalties"));
    assert!(message(json!({ "alphas": [1.0, 0.5] })).contains("ascending"));
    assert!(message(json!({ "alphas": [0.0] })).contains("0 is out of range"));
}
