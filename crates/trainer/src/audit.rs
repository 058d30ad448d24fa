//! A stored run made again from its own store: what its files must say if they are true.
//!
//! Nothing in the run's own result is believed here. The store is read and cut again, the recipe holds its rows out
//! again, the scaler and the calibration map are fitted again on the sides that may fit them, the checkpoint scores
//! every window again; where it is asked for, the model itself is fitted again. Judging what differs is the caller's.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stakeout_core::{
    Calibration, Checkpoint, EpochRecord, Estimator, FitObserver, InputKind, ModelError, ModelRegistry, SampleIndex,
    Scaler, Side, Subset,
};
use stakeout_eval::calibrate::{self, Sample};
use stakeout_eval::{Predictions, TrainSide};
use stakeout_features::Scaled;
use stakeout_splits::{Duplicates, Fold, Ledger, MinCell, RecipeRegistry, Separates};

use crate::fit::{Cell, fit_scaler, hosts, probabilities, score, train_side};
use crate::run::TrainedOn;
use crate::score::{StoredRun, table};
use crate::{Account, Dataset, Progress, Reading, TrainError, WindowCache};

/// A stored run with the data and the fold that it was made from.
pub struct Audit<'a> {
    run: &'a StoredRun,
    /// Its store, read again.
    pub dataset: Dataset,
    /// Its fold, drawn again.
    pub fold: Fold,
    estimator: Box<dyn Estimator>,
    min_cell: MinCell,
}

/// What the files of a run must say, up to the fit.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeAgain {
    /// The training side.
    pub train: TrainSide,
    /// Hosts and samples of the training side.
    pub trained_on: TrainedOn,
    /// The coverage table.
    pub ledger: Ledger,
    /// What became of episodes, rows and windows.
    pub rows: Account,
    /// The scaler, fitted on the rows that may fit it.
    pub scaler: Scaler,
    /// The calibration map, fitted on the validation rows as the stored model scores them.
    pub calibration: Option<Calibration>,
    /// Every validation and test window, scored by the checkpoint through its own map.
    pub predictions: Predictions,
    /// What stands on two sides although the recipe promises to hold it apart, or content that does, as sentences.
    pub shared: Vec<String>,
}

/// How long one window takes from raw values to probabilities, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median, in milliseconds.
    pub median_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// Windows timed.
    pub windows: usize,
}

impl StoredRun {
    /// Reads the run's own store again and draws its fold again. Windows that another process kept are not to be
    /// believed here: `cache` is a folder of the caller's own, or none.
    ///
    /// # Errors
    /// [`TrainError::Data`] for another store, or one that changed; when it cannot be read or held out.
    pub fn audit(
        &self,
        store: &Path,
        models: &ModelRegistry,
        recipes: &RecipeRegistry,
        cache: &WindowCache,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<Audit<'_>, TrainError> {
        let dataset = Dataset::open(store, &Reading::of(&self.experiment, self.inputs(), cache), progress, cancel)?;
        if dataset.digest != self.result.origin.data_digest {
            return Err(TrainError::Data(format!(
                "{} is not the store that the run names (digest {}, the run says {}): give the run's own store, unchanged",
                store.display(),
                short(&dataset.digest),
                short(&self.result.origin.data_digest)
            )));
        }
        self.header.schema.check_same(&dataset.schema)?;
        let recipe =
            recipes.configure(&self.experiment.recipe, &serde_json::Value::Object(self.experiment.split.clone()))?;
        let folds = recipe.folds(&dataset.index, self.experiment.split_seed())?;
        let min_cell = recipe.min_cell();
        let fold = folds.into_iter().find(|fold| fold.name() == self.result.fold).ok_or_else(|| {
            TrainError::Data(format!("the recipe {} makes no fold {}", self.experiment.recipe, self.result.fold))
        })?;
        let entry = models.get(self.header.kind.as_str())?;
        let estimator = (entry.configure)(&self.experiment.model_config(entry)?)?;
        Ok(Audit { run: self, dataset, fold, estimator, min_cell })
    }

    /// Times single windows on this machine, from raw values to probabilities: made-up values, since no model here is
    /// faster or slower for some. At least 50 windows, at most 1,000, about two seconds.
    ///
    /// # Errors
    /// When the model cannot score windows of its own schema.
    pub fn latency(&self) -> Result<Latency, TrainError> {
        const ROWS: usize = 64;
        let (schema, kind) = (&self.header.schema, self.model.input());
        let geometry = schema.geometry();
        let values: Vec<f32> =
            (0..ROWS * geometry.row_len(kind)).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0).collect();
        let lengths = vec![geometry.steps as u32; ROWS];
        let windows = match kind {
            InputKind::Summary => table(schema, kind, values, Vec::new(), lengths)?,
            InputKind::Tensor => table(schema, kind, Vec::new(), values, lengths)?,
        };
        let host = match &self.header.scaler {
            Scaler::HostClean(by_host) => by_host.keys().next().cloned().unwrap_or_default(),
            _ => "any".to_owned(),
        };
        let names = [host];
        let scaled = Scaled::new(&windows, &self.header.scaler, &names, &[0; ROWS])?;
        let one = |row: usize| -> Result<Duration, TrainError> {
            let start = Instant::now();
            probabilities(&*self.model, self.header.calibration.as_ref(), &Subset::new(&scaled, &[row]))?;
            Ok(start.elapsed())
        };
        for row in 0..8 {
            one(row)?; // what the first calls allocate is not the model's pace
        }
        let (mut times, start) = (Vec::new(), Instant::now());
        while times.len() < 50 || (times.len() < 1000 && start.elapsed() < Duration::from_secs(2)) {
            times.push(one(times.len() % ROWS)?.as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let n = times.len();
        Ok(Latency { median_ms: times[n / 2], p99_ms: times[(n * 99).div_ceil(100) - 1], windows: n })
    }
}

impl Audit<'_> {
    fn cell(&self) -> Cell<'_> {
        Cell {
            experiment: &self.run.experiment,
            estimator: &*self.estimator,
            fold: &self.fold,
            seed: self.run.result.seed,
        }
    }

    /// Makes everything again but the fit.
    ///
    /// # Errors
    /// When a scaler or a map cannot be fitted, or the model cannot score.
    pub fn make_again(&self) -> Result<MadeAgain, TrainError> {
        let (run, dataset, index) = (self.run, &self.dataset, &self.dataset.index);
        let cell = self.cell();
        let train_rows = cell.train_rows();
        let scaler = fit_scaler(run.experiment.scaler, dataset, &train_rows, run.model.input())?;

        // The checkpoint's own scaler and map: a wrong one shows in the comparison with those fitted here.
        let host_of_row = hosts(index);
        let scaled = Scaled::new(&dataset.windows, &run.header.scaler, &index.hosts, &host_of_row)?;
        let scored = |map: Option<&Calibration>, sides: &[(Side, &[usize])]| {
            let mut predictions = Predictions::new(dataset.schema.classes.clone());
            for &(side, rows) in sides {
                let (fold, seed) = (self.fold.name(), run.result.seed);
                score(&*run.model, map, &scaled, index, fold, seed, &mut predictions, side, rows)?;
            }
            Ok::<_, TrainError>(predictions)
        };
        let validation = (Side::Validation, cell.validation_rows());
        let calibration = match run.experiment.calibration.method().filter(|_| !validation.1.is_empty()) {
            None => None,
            Some(method) => {
                Some(calibrate::fit(method, &Sample::of(&scored(None, &[validation])?, Side::Validation)?)?)
            }
        };
        let mut shared = broken_promises(index, &self.fold);
        shared.extend(Duplicates::of(index)?.check(index, &self.fold).err().map(|error| error.to_string()));
        Ok(MadeAgain {
            train: train_side(index, &train_rows),
            trained_on: TrainedOn::of(index, &train_rows),
            ledger: Ledger::new(index, &self.fold, self.min_cell)?,
            rows: dataset.account.clone(),
            scaler,
            calibration,
            predictions: scored(run.header.calibration.as_ref(), &[validation, (Side::Test, self.fold.test())])?,
            shared,
        })
    }

    /// Fits the model again: the checkpoint that the run must hold, byte for byte, with the same program on the same
    /// kind of processor.
    ///
    /// # Errors
    /// [`ModelError::Cancelled`] (inside [`TrainError::Model`]) when `cancel` was raised.
    pub fn fit_again(&self, progress: &dyn Progress, cancel: &AtomicBool) -> Result<Checkpoint, TrainError> {
        progress.stage(&format!("fitting {} again", self.run.header.kind), "steps", 0);
        Ok(self.cell().fit(&self.dataset, &mut Watch { progress, cancel })?.checkpoint)
    }
}

/// What the test side shares with the others although the fold promises that it does not: a recipe from outside may
/// promise what it does not keep.
fn broken_promises(index: &SampleIndex, fold: &Fold) -> Vec<String> {
    if fold.test_by() == Separates::Time {
        return ends_late(index, fold);
    }
    let key = |row: usize| {
        let episode = index.episode_of(row);
        match fold.test_by() {
            Separates::Hosts => Some(("hosts", episode.host)),
            Separates::Samples => Some(("samples", episode.sample)),
            Separates::Episodes | Separates::Given => Some(("episodes", index.windows[row].episode)),
            _ => None,
        }
    };
    let of = |side: Side| fold.side(side).iter().filter_map(|&row| key(row)).collect::<BTreeSet<_>>();
    let test = of(Side::Test);
    [Side::Train, Side::Validation]
        .into_iter()
        .filter_map(|side| {
            let other = of(side);
            let (what, _) = test.intersection(&other).next()?;
            let n = test.intersection(&other).count();
            Some(format!("{n} test {what} stand on the {side} side too, which the recipe promises to hold apart"))
        })
        .collect()
}

/// Sides that do not end before the test side begins.
fn ends_late(index: &SampleIndex, fold: &Fold) -> Vec<String> {
    let Some(begins) = fold.test().iter().map(|&row| index.windows[row].t0_ns).min() else { return Vec::new() };
    let late = |row: usize| i128::from(index.windows[row].t0_ns) + i128::from(index.window_ns) > i128::from(begins);
    [Side::Train, Side::Validation]
        .into_iter()
        .filter_map(|side| {
            let n = fold.side(side).iter().filter(|&&row| late(row)).count();
            (n > 0).then(|| {
                format!("{n} windows of the {side} side end after the test side begins, in spite of the recipe")
            })
        })
        .collect()
}

/// Shows a fit's progress, and keeps nothing of it.
struct Watch<'a> {
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
}

impl FitObserver for Watch<'_> {
    fn progress(&mut self, done: u64, total: u64) {
        self.progress.advance(done, total, "");
    }

    fn epoch(&mut self, _record: &EpochRecord) -> Result<(), ModelError> {
        Ok(())
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn save_state(&mut self, _state: &[u8]) -> Result<(), ModelError> {
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(None)
    }
}

fn short(digest: &str) -> String {
    stakeout_core::text::printable(digest, 12)
}
