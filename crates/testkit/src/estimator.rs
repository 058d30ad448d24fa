//! The contract of an estimator and its model, as one suite. Call it from a test of the crate that registers the model:
//!
//! ```no_run
//! # let registry = stakeout_core::ModelRegistry::default();
//! stakeout_testkit::estimator::check_estimator(registry.get("my-model").unwrap(), &serde_json::json!({ "rounds": 30 }));
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use stakeout_core::confusion::argmax;
use stakeout_core::{
    BaseModel, Batch, CoreError, Device, EpochRecord, Estimator, FitContext, FitObserver, InputKind, Labelled,
    LoadContext, ModelEntry, ModelError, Schema, Scores, Scratch, Subset, Windows,
};

use crate::data::{SmallWindows, small_windows};

const SEED: u64 = 7;
const CLASSES: usize = 3;
const CHANNELS: usize = 4;
const STEPS: usize = 10;

/// Checks everything that the other crates rely on. `config` is the content of `[model.<kind>]` that the model is
/// checked with: small enough for a dozen fits on 150 windows, large enough to learn three well separated classes.
///
/// What a caller must still check where the model promises it: [`check_zero_weight_is_absence`], and scores that are
/// equal bit for bit in any batch (here: to 1e-6).
///
/// # Panics
/// With what was broken, at the first breach.
pub fn check_estimator(entry: &ModelEntry, config: &Value) {
    let suite = Suite::new(entry, config);
    suite.configuration();
    let (model, watch) = suite.fit_whole();
    suite.reports(&watch);
    suite.probabilities(&*model);
    suite.learns(&*model);
    suite.repeats(&*model);
    suite.ignores_the_batch(&*model);
    suite.refuses_other_input(&*model);
    suite.round_trips(&*model);
    suite.survives_damaged_weights(&*model);
    suite.resumes(&*model, &watch);
    suite.weighs_rows(&*model);
    suite.refuses_impossible_data();
    suite.keeps_absent_classes();
    suite.does_without_validation();
}

/// Checks that a window of weight 0 changes nothing: a fit with such windows equals the fit without them, bit for bit.
///
/// # Panics
/// When it does not.
pub fn check_zero_weight_is_absence(entry: &ModelEntry, config: &Value) {
    let suite = Suite::new(entry, config);
    let SmallWindows { windows, labels } = &suite.train;
    let silenced: Vec<f32> = (0..labels.len()).map(|row| if row % 5 == 0 { 0.0 } else { 1.0 }).collect();
    let with = Labelled { windows, labels, weights: &silenced };
    let kept: Vec<usize> = (0..labels.len()).filter(|row| row % 5 != 0).collect();
    let (subset, labels, weights) = suite.train_rows(&kept);
    let without = Labelled { windows: &subset, labels: &labels, weights: &weights };
    let [with, without] = [with, without].map(|train| {
        let (model, _) = suite.fit(train, Watch::default());
        suite.ok("a fit with windows of weight 0", model.and_then(|model| model.weights()))
    });
    assert!(with == without, "{}: windows of weight 0 changed the fit", suite.kind());
}

struct Suite<'a> {
    entry: &'a ModelEntry,
    config: &'a Value,
    estimator: Box<dyn Estimator>,
    train: SmallWindows,
    validation: SmallWindows,
    test: SmallWindows,
}

impl<'a> Suite<'a> {
    fn new(entry: &'a ModelEntry, config: &'a Value) -> Self {
        let estimator = (entry.configure)(config)
            .unwrap_or_else(|e| panic!("{}: the configuration to check with is refused: {e}", entry.kind));
        let [train, validation, test] =
            [(1, 150), (2, 45), (3, 90)].map(|(seed, rows)| small_windows(seed, rows, CLASSES, CHANNELS, STEPS));
        Self { entry, config, estimator, train, validation, test }
    }

    fn kind(&self) -> &str {
        self.entry.kind.as_str()
    }

    fn ok<T>(&self, what: &str, result: Result<T, ModelError>) -> T {
        result.unwrap_or_else(|e| panic!("{}: {what} failed: {e}", self.kind()))
    }

    fn fit(&self, train: Labelled<'_>, mut watch: Watch) -> (Result<Box<dyn BaseModel>, ModelError>, Watch) {
        let SmallWindows { windows, labels } = &self.validation;
        let weights = vec![1.0; labels.len()];
        let validation = Labelled { windows, labels, weights: &weights };
        let validation = self.estimator.needs_validation().then_some(validation);
        let mut cx = FitContext { validation, seed: SEED, device: Device::default(), observer: &mut watch };
        let model = self.estimator.fit(train, &mut cx);
        (model, watch)
    }

    fn fit_whole(&self) -> (Box<dyn BaseModel>, Watch) {
        let (model, watch) = self.fit_all(Watch::default());
        (self.ok("a plain fit", model), watch)
    }

    /// On all training windows, equally weighted.
    fn fit_all(&self, watch: Watch) -> (Result<Box<dyn BaseModel>, ModelError>, Watch) {
        let SmallWindows { windows, labels } = &self.train;
        self.fit(Labelled { windows, labels, weights: &vec![1.0; labels.len()] }, watch)
    }

    /// Some training windows with their labels and weight 1.
    fn train_rows<'r>(&'r self, rows: &'r [usize]) -> (Subset<'r>, Vec<u16>, Vec<f32>) {
        let labels = rows.iter().map(|row| self.train.labels[*row]).collect();
        (Subset::new(&self.train.windows, rows), labels, vec![1.0; rows.len()])
    }

    fn scores(&self, model: &dyn BaseModel, windows: &dyn Windows) -> Scores {
        self.ok("a prediction", model.predict(windows))
    }

    fn batch(&self, input: InputKind, rows: &[usize]) -> Batch {
        let mut batch = Batch::new(input, self.test.windows.schema().geometry());
        self.test.windows.gather(rows, &mut batch).expect("the small windows hold both inputs");
        batch
    }

    fn load(&self, weights: &[u8], classes: usize) -> Result<Box<dyn BaseModel>, ModelError> {
        let mut geometry = self.train.windows.schema().geometry();
        geometry.classes = classes;
        let config = self.estimator.config();
        (self.entry.load)(&LoadContext { config: &config, geometry, weights, device: Device::default() })
    }

    fn configuration(&self) {
        let (kind, configure) = (self.kind(), self.entry.configure);
        assert_eq!(self.estimator.kind(), self.entry.kind, "{kind}: the estimator has another kind than its entry");
        let complete = self.estimator.config();
        let again = self.ok("its own complete configuration", configure(&complete));
        assert_eq!(again.config(), complete, "{kind}: its configuration does not round-trip");
        for (key, value) in self.config.as_object().expect("the configuration to check with is a table") {
            let kept = &complete[key];
            let same = kept == value || kept.as_f64().is_some_and(|number| Some(number) == value.as_f64());
            assert!(same, "{kind}: {key} = {value} was configured, {kept} was kept");
        }
        match configure(&json!({ "no-such-setting": 1 })).err() {
            Some(ModelError::Config { key, .. }) => {
                assert_eq!(key, "no-such-setting", "{kind}: the error about an unknown key names another");
            }
            other => panic!("{kind}: an unknown key gave {other:?} instead of a configuration error"),
        }
        for value in [json!(1), json!([])] {
            assert!(configure(&value).is_err(), "{kind}: {value} was taken for a table of settings");
        }
    }

    fn reports(&self, watch: &Watch) {
        let kind = self.kind();
        let (done, total) = *watch.progress.last().unwrap_or_else(|| panic!("{kind}: no progress was reported"));
        assert!(done <= total && total > 0, "{kind}: progress is {done} of {total}");
        assert!(watch.progress.is_sorted_by_key(|(done, _)| *done), "{kind}: progress goes back");
        let epochs: Vec<usize> = watch.records.iter().map(|record| record.epoch).collect();
        assert!(epochs.iter().copied().eq(1..=epochs.len()), "{kind}: epochs are not counted from 1: {epochs:?}");
        for record in &watch.records {
            assert!(record.train_loss.is_finite(), "{kind}: training loss {} ", record.train_loss);
        }
    }

    fn probabilities(&self, model: &dyn BaseModel) {
        let source: &dyn Windows = &self.test.windows;
        let gone = Altered {
            source,
            change: |row: usize, values: &mut [f32], _: &mut u32| {
                if !row.is_multiple_of(3) {
                    values.fill(f32::NAN);
                }
            },
        };
        let short = Altered {
            source,
            change: |row: usize, values: &mut [f32], length: &mut u32| {
                *length = (row % (STEPS + 1)) as u32;
                if values.len() == CHANNELS * STEPS {
                    for series in values.chunks_exact_mut(STEPS) {
                        series[*length as usize..].fill(f32::NAN);
                    }
                }
            },
        };
        let far = Altered {
            source,
            change: |row: usize, values: &mut [f32], _: &mut u32| {
                values.iter_mut().skip(row % 7).step_by(7).for_each(|value| *value = 1e6);
            },
        };
        let cases: [(&str, &dyn Windows); 4] =
            [("plain", source), ("missing", &gone), ("short", &short), ("far", &far)];
        for (what, windows) in cases {
            let scores = self.scores(model, windows);
            check_rows(&format!("{}: {what} windows", self.kind()), &scores, windows.len());
        }
    }

    /// A validation side of too few windows is not passed on: the fit then runs to its end and chooses nothing.
    fn does_without_validation(&self) {
        if !self.estimator.needs_validation() {
            return;
        }
        let SmallWindows { windows, labels } = &self.train;
        let train = Labelled { windows, labels, weights: &vec![1.0; labels.len()] };
        let mut watch = Watch::default();
        let mut cx = FitContext { validation: None, seed: SEED, device: Device::default(), observer: &mut watch };
        let model = self.ok("a fit without a validation side", self.estimator.fit(train, &mut cx));
        let chosen = watch
            .records
            .iter()
            .find(|record| record.validation_loss.is_some() || record.validation_macro_f1.is_some());
        assert!(chosen.is_none(), "{}: without a validation side the history has {chosen:?}", self.kind());
        check_rows(self.kind(), &self.scores(&*model, &self.test.windows), self.test.labels.len());
    }

    /// A model that gives every window the same row is a baseline and says so by its kind.
    fn learns(&self, model: &dyn BaseModel) {
        if self.is_baseline(model) {
            assert_eq!(self.kind(), "constant", "{}: every window gets the same scores", self.kind());
            return;
        }
        let scores = self.scores(model, &self.test.windows);
        let rows = scores.rows().into_iter().zip(&self.test.labels);
        let hits = rows.filter(|(row, label)| argmax(&row.to_vec()) == **label).count();
        let n = self.test.labels.len();
        let guess = n / CLASSES;
        let half_way = usize::midpoint(guess, n);
        assert!(hits > half_way, "{}: {hits} of {n} easy windows are right, a guess gets {guess}", self.kind());
    }

    fn is_baseline(&self, model: &dyn BaseModel) -> bool {
        let scores = self.scores(model, &self.test.windows);
        scores.rows().into_iter().all(|row| row == scores.row(0))
    }

    fn repeats(&self, model: &dyn BaseModel) {
        let expected = self.ok("reading the weights", model.weights());
        let mut others: Vec<(String, Vec<u8>)> = Vec::new();
        let weights = || self.ok("reading the weights", self.fit_whole().0.weights());
        thread::scope(|scope| {
            let fits = [scope.spawn(weights), scope.spawn(weights)];
            for fit in fits {
                others.push(("beside another fit".into(), fit.join().expect("a fit in a thread does not panic")));
            }
        });
        for threads in [1, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
            others.push((format!("with {threads} threads"), pool.install(weights)));
        }
        for (how, other) in others {
            assert!(other == expected, "{}: the same seed gave other weights {how}", self.kind());
        }
    }

    fn ignores_the_batch(&self, model: &dyn BaseModel) {
        let n = self.test.labels.len();
        let whole = self.scores(model, &self.test.windows);
        let mut scratch = Scratch::default();
        for step in [1, 7] {
            let order: Vec<usize> = (0..n).rev().collect();
            for rows in order.chunks(step) {
                let batch = self.batch(model.input(), rows);
                // whatever stands in the output before must not matter
                let mut out = vec![f32::NAN; rows.len() * CLASSES];
                self.ok("a prediction", model.predict_into(&batch, &mut scratch, &mut out));
                for (row, out) in rows.iter().zip(out.chunks_exact(CLASSES)) {
                    let apart = whole.row(*row).iter().zip(out).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(
                        apart <= 1e-6,
                        "{}: the scores of a window move by {apart} in a batch of {step}",
                        self.kind()
                    );
                }
            }
        }
    }

    fn refuses_other_input(&self, model: &dyn BaseModel) {
        let kind = self.kind();
        assert_eq!(model.kind(), self.entry.kind, "{kind}: the model has another kind");
        assert_eq!(model.input(), self.estimator.input(), "{kind}: the model takes another input than its estimator");
        let geometry = self.test.windows.schema().geometry();
        assert_eq!(model.geometry(), geometry, "{kind}: the model has another geometry than its data");
        let other_kind = match model.input() {
            InputKind::Summary => InputKind::Tensor,
            InputKind::Tensor => InputKind::Summary,
        };
        let mut wider = geometry;
        wider.channels += 1;
        wider.features += 5;
        let own = model.input();
        for (what, input, geometry, room) in [
            ("another kind of input", other_kind, geometry, 2 * CLASSES),
            ("another geometry", own, wider, 2 * CLASSES),
            ("too little room", own, geometry, CLASSES),
        ] {
            let mut batch = Batch::new(input, geometry);
            batch.reset(2);
            let refused = model.predict_into(&batch, &mut Scratch::default(), &mut vec![0.0; room]);
            assert!(matches!(refused, Err(ModelError::Geometry { .. })), "{kind}: {what} gave {refused:?}");
        }
    }

    fn round_trips(&self, model: &dyn BaseModel) {
        let kind = self.kind();
        let weights = self.ok("reading the weights", model.weights());
        let again = self.ok("loading its own weights", self.load(&weights, CLASSES));
        assert!(again.weights().is_ok_and(|again| again == weights), "{kind}: its weights do not round-trip");
        assert_eq!(model.config(), self.estimator.config(), "{kind}: the model forgot how it was configured");
        assert_eq!(again.config(), model.config(), "{kind}: the loaded model forgot how it was configured");
        assert_eq!(again.geometry(), model.geometry(), "{kind}: the loaded model has another geometry");
        let same = self.scores(&*again, &self.test.windows) == self.scores(model, &self.test.windows);
        assert!(same, "{kind}: the loaded model gives other scores");
    }

    fn survives_damaged_weights(&self, model: &dyn BaseModel) {
        let kind = self.kind();
        let weights = self.ok("reading the weights", model.weights());
        let batch = self.batch(model.input(), &[0, 1, 2]);
        let attempt = |what: &str, weights: &[u8], classes: usize| -> bool {
            let loaded = catch_unwind(AssertUnwindSafe(|| {
                self.load(weights, classes).map(|model| {
                    let mut out = vec![0.0; 3 * CLASSES];
                    model.predict_into(&batch, &mut Scratch::default(), &mut out).is_ok()
                })
            }));
            loaded.unwrap_or_else(|_| panic!("{kind}: {what} weights made it panic")).is_ok()
        };
        let mut draw = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let step = (weights.len() / 300).max(1);
        for length in (0..weights.len()).step_by(step).chain([weights.len() - 1]) {
            assert!(!attempt("cut", &weights[..length], CLASSES), "{kind}: weights cut at byte {length} were taken");
        }
        let mut longer = weights.clone();
        longer.push(0);
        assert!(!attempt("over-long", &longer, CLASSES), "{kind}: weights with a byte too many were taken");
        assert!(!attempt("foreign", &weights, CLASSES + 1), "{kind}: weights for other classes were taken");
        for i in 0..600 {
            // the head, where lengths stand, is hit as often as the rest
            let range = if i % 2 == 0 { weights.len() } else { weights.len().min(64) };
            let at = (draw.next_u64() % range as u64) as usize;
            let mut flipped = weights.clone();
            flipped[at] ^= 1 << (draw.next_u64() % 8);
            attempt("bit-flipped", &flipped, CLASSES);
        }
        for _ in 0..50 {
            let mut noise = vec![0; (draw.next_u64() % 300) as usize];
            draw.fill_bytes(&mut noise);
            assert!(!attempt("random", &noise, CLASSES), "{kind}: random bytes were taken for weights");
        }
    }

    fn resumes(&self, model: &dyn BaseModel, whole: &Watch) {
        let kind = self.kind();
        let expected = self.ok("reading the weights", model.weights());
        let mut states: Vec<(String, usize, Vec<u8>)> = Vec::new();
        let epochs = whole.records.len();
        let mut stops = vec![0, 1, epochs / 2];
        stops.retain(|stop| *stop < epochs);
        stops.dedup();
        for stop in stops {
            let (stopped, mut watch) = self.fit_all(Watch { stop_after: Some(stop), ..Watch::default() });
            let error = stopped.err();
            assert!(
                matches!(error, Some(ModelError::Cancelled)),
                "{kind}: cancelled after epoch {stop}, it gave {error:?}"
            );
            let (at, state) = watch.states.pop().unwrap_or_else(|| panic!("{kind}: cancelled, it saved no state"));
            assert_eq!(at, stop, "{kind}: cancelled after epoch {stop}, the state is of epoch {at}");
            states.push((format!("cancelled after epoch {stop}"), at, state));
        }
        // as after a kill: from the first and the last state that an undisturbed fit left behind
        for (at, state) in whole.states.iter().take(1).chain(whole.states.iter().skip(1).last()) {
            states.push((format!("killed after the state of epoch {at}"), *at, state.clone()));
        }
        for (how, at, state) in states {
            let (model, watch) = self.fit_all(Watch { kept: Some(state), ..Watch::default() });
            let weights = self.ok("a resumed fit", model.and_then(|model| model.weights()));
            assert!(weights == expected, "{kind}: {how} and resumed, it ended with other weights");
            assert_eq!(watch.records, whole.records[at..], "{kind}: {how} and resumed, its history differs");
        }
        if epochs > 0 {
            let state = Some(b"not a state".to_vec());
            let (resumed, _) = self.fit_all(Watch { kept: state, ..Watch::default() });
            assert!(matches!(resumed.err(), Some(ModelError::Weights(_))), "{kind}: it went on from a damaged state");
        }
    }

    fn weighs_rows(&self, model: &dyn BaseModel) {
        if self.is_baseline(model) {
            return;
        }
        // with nothing to see, the heavier class is the better guess
        let SmallWindows { windows, labels } = &self.train;
        let blind =
            Altered { source: &self.test.windows, change: |_, values: &mut [f32], _: &mut u32| values.fill(f32::NAN) };
        let guess = |heaviness: f32| {
            let raw: Vec<f32> = labels.iter().map(|label| if *label == 0 { heaviness } else { 1.0 }).collect();
            let mean = raw.iter().sum::<f32>() / raw.len() as f32;
            let weights: Vec<f32> = raw.iter().map(|weight| weight / mean).collect();
            let (model, _) = self.fit(Labelled { windows, labels, weights: &weights }, Watch::default());
            self.scores(&*self.ok("a weighted fit", model), &blind)[[0, 0]]
        };
        let (light, heavy) = (guess(0.05), guess(20.0));
        assert!(heavy > light, "{}: weights do not matter: the guess went from {light} to {heavy}", self.kind());
    }

    fn refuses_impossible_data(&self) {
        let SmallWindows { windows, labels } = &self.train;
        let weights = vec![1.0; labels.len()];
        let mut unknown = labels.clone();
        unknown[3] = CLASSES as u16;
        let mut negative = weights.clone();
        negative[3] = -1.0;
        let nothing = Subset::new(windows, &[]);
        for (what, data) in [
            ("no window", Labelled { windows: &nothing, labels: &[], weights: &[] }),
            ("a label that is no class", Labelled { windows, labels: &unknown, weights: &weights }),
            ("a negative weight", Labelled { windows, labels, weights: &negative }),
            ("too few weights", Labelled { windows, labels, weights: &weights[1..] }),
        ] {
            let error = self.fit(data, Watch::default()).0.err();
            assert!(matches!(error, Some(ModelError::Data(_))), "{}: {what} gave {error:?}", self.kind());
        }
    }

    fn keeps_absent_classes(&self) {
        for present in [2, 1] {
            let kept: Vec<usize> =
                (0..self.train.labels.len()).filter(|row| self.train.labels[*row] < present).collect();
            let (windows, labels, weights) = self.train_rows(&kept);
            let (model, _) =
                self.fit(Labelled { windows: &windows, labels: &labels, weights: &weights }, Watch::default());
            let model = self.ok("a fit without windows of a class", model);
            let scores = self.scores(&*model, &self.test.windows);
            check_rows(&format!("{}: fitted on {present} classes", self.kind()), &scores, self.test.labels.len());
            let weights = self.ok("reading the weights", model.weights());
            self.ok("loading the weights of a fit without windows of a class", self.load(&weights, CLASSES));
        }
    }
}

fn check_rows(what: &str, scores: &Scores, rows: usize) {
    assert_eq!(scores.shape(), [rows, CLASSES], "{what}: not one probability row a window");
    for (i, row) in scores.rows().into_iter().enumerate() {
        assert!(row.iter().all(|p| (0.0..=1.0).contains(p)), "{what}: window {i} has probabilities {row}");
        assert!((row.sum() - 1.0).abs() < 1e-5, "{what}: the probabilities of window {i} sum to {}", row.sum());
    }
}

/// Keeps what a fit reports; may stop it, and may hand it an earlier state.
#[derive(Default)]
struct Watch {
    progress: Vec<(u64, u64)>,
    records: Vec<EpochRecord>,
    /// State and number of the last epoch before it.
    states: Vec<(usize, Vec<u8>)>,
    stop_after: Option<usize>,
    kept: Option<Vec<u8>>,
}

impl FitObserver for Watch {
    fn progress(&mut self, done: u64, total: u64) {
        self.progress.push((done, total));
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), ModelError> {
        self.records.push(record.clone());
        Ok(())
    }

    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|epochs| self.records.len() >= epochs)
    }

    fn save_state(&mut self, state: &[u8]) -> Result<(), ModelError> {
        self.states.push((self.records.last().map_or(0, |record| record.epoch), state.to_vec()));
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(self.kept.clone())
    }
}

/// Windows of another source, changed on the way out.
struct Altered<'a, F> {
    source: &'a dyn Windows,
    /// Given the row, its values and its length.
    change: F,
}

impl<F: Fn(usize, &mut [f32], &mut u32) + Send + Sync> Windows for Altered<'_, F> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn schema(&self) -> &Schema {
        self.source.schema()
    }

    fn gather(&self, rows: &[usize], into: &mut Batch) -> Result<(), CoreError> {
        self.source.gather(rows, into)?;
        let width = into.row_len();
        let cells = into.values.chunks_exact_mut(width).zip(&mut into.lengths);
        for (row, (values, length)) in rows.iter().zip(cells) {
            (self.change)(*row, values, length);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
