//! Scoring a stored model again: on its own test side, on another store, or window by window.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ndarray::{Array2, Array3};
use serde::Serialize;
use stakeout_core::{
    BaseModel, Checkpoint, CheckpointHeader, Device, InputKind, ModelRegistry, Scaler, Side, WindowTable,
};
use stakeout_eval::bootstrap::Plan;
use stakeout_eval::{Metrics, Predictions, TrainSide};
use stakeout_features::{Inputs, Scaled};
use stakeout_splits::{Fold, RecipeRegistry};
use stakeout_telemetry::Store;

use crate::dataset::{calibration_windows, sweep};
use crate::fit::{host_clean, hosts, probabilities, score};
use crate::rundir::{self, METRICS};
use crate::{Account, CellResult, Dataset, Experiment, Progress, Reading, TrainError, WindowCache};

/// A stored run: one cell with its model.
pub struct StoredRun {
    /// Its settings.
    pub experiment: Experiment,
    /// Its result.
    pub result: CellResult,
    /// What its model was made from and may be fed.
    pub header: CheckpointHeader,
    /// Its model.
    pub model: Box<dyn BaseModel>,
}

impl StoredRun {
    /// Opens the directory of one cell.
    ///
    /// # Errors
    /// [`TrainError::Run`] for a directory that is none or holds many cells; errors of the checkpoint.
    pub fn open(path: &Path, registry: &ModelRegistry, device: Device) -> Result<Self, TrainError> {
        let experiment = rundir::read_experiment(path)?;
        let checkpoint = rundir::checkpoint(path)?;
        let (header, model) = Checkpoint::load(&checkpoint, registry, device)?;
        if !path.join(METRICS).exists() {
            return Err(TrainError::run(
                path,
                format!("there is no {METRICS}: it was not finished, continue it with `stakeout train --resume`"),
            ));
        }
        Ok(Self { experiment, result: rundir::read_json(&path.join(METRICS))?, header, model })
    }

    pub(crate) fn inputs(&self) -> Inputs {
        Inputs::of(self.model.input())
    }

    /// The fold that the run held out, made again from its own store.
    ///
    /// # Errors
    /// [`TrainError::Data`] when the store is not what it was.
    fn fold(&self, dataset: &Dataset, recipes: &RecipeRegistry) -> Result<Fold, TrainError> {
        if dataset.digest != self.result.origin.data_digest {
            return Err(TrainError::Data(
                "the store changed since the run: give it as a second argument to score all of it as another store"
                    .into(),
            ));
        }
        let recipe =
            recipes.configure(&self.experiment.recipe, &serde_json::Value::Object(self.experiment.split.clone()))?;
        let folds = recipe.folds(&dataset.index, self.experiment.split_seed())?;
        folds.into_iter().find(|fold| fold.name() == self.result.fold).ok_or_else(|| {
            TrainError::Data(format!(
                "the recipe no longer makes the fold {}: was the recipe changed?",
                self.result.fold
            ))
        })
    }

    /// Scores the run's own test side again.
    ///
    /// # Errors
    /// When the store changed, or cannot be read.
    pub fn score_again(
        &self,
        store: &Path,
        recipes: &RecipeRegistry,
        cache: &WindowCache,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<(Metrics, Dataset), TrainError> {
        if !self.header.tested {
            return Err(TrainError::Data(
                "this model was fitted on all rows and has no test side: give another store as a second argument"
                    .into(),
            ));
        }
        let dataset = Dataset::open(store, &Reading::of(&self.experiment, self.inputs(), cache), progress, cancel)?;
        self.header.schema.check_same(&dataset.schema)?;
        let fold = self.fold(&dataset, recipes)?;
        // Where validation rows were trained on, the run has no predictions of them.
        let held_back = self.result.metrics.as_ref().is_some_and(|metrics| metrics.n_windows.validation > 0);
        let validation = if held_back { fold.validation() } else { &[] };
        let sides = [(Side::Validation, validation), (Side::Test, fold.test())];
        let metrics = self.metrics(&dataset, &self.header.scaler, fold.name(), &sides)?;
        Ok((metrics, dataset))
    }

    /// Scores all labelled windows of another store. A host-clean scaler reads that store's own calibration stretches.
    /// Hosts and samples that the run was trained on too are named in the notes. `None` where it is the store that the run was
    /// trained on, wherever that lies by now: [`Self::score_again`] is for that.
    ///
    /// # Errors
    /// When the store's channels, classes or windows are not the model's.
    pub fn score_store(
        &self,
        store: &Path,
        cache: &WindowCache,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<Option<(Metrics, Dataset)>, TrainError> {
        let dataset = Dataset::open_as(
            store,
            &self.header.schema,
            self.inputs(),
            self.experiment.degraded,
            cache,
            progress,
            cancel,
        )?;
        let own;
        let scaler = match &self.header.scaler {
            Scaler::HostClean(_) => {
                own = host_clean(&dataset.calibration, &dataset.index.hosts, self.model.input())?;
                &own
            }
            fitted => fitted,
        };
        if dataset.digest == self.result.origin.data_digest {
            return Ok(None);
        }
        let rows: Vec<usize> = (0..dataset.index.len()).collect();
        let mut metrics = self.metrics(&dataset, scaler, "all", &[(Side::Test, &rows)])?;
        metrics.notes.extend(self.result.trained_on.shared_with(&dataset.index));
        Ok(Some((metrics, dataset)))
    }

    fn metrics(
        &self,
        dataset: &Dataset,
        scaler: &Scaler,
        fold: &str,
        sides: &[(Side, &[usize])],
    ) -> Result<Metrics, TrainError> {
        let index = &dataset.index;
        let host_of_row = hosts(index);
        let scaled = Scaled::new(&dataset.windows, scaler, &index.hosts, &host_of_row)?;
        let mut predictions = Predictions::new(dataset.schema.classes.clone());
        let seed = self.result.seed;
        for &(side, rows) in sides {
            let map = self.header.calibration.as_ref();
            score(&*self.model, map, &scaled, index, fold, seed, &mut predictions, side, rows)?;
        }
        let intervals = &self.experiment.intervals;
        let plan = Plan { resamples: intervals.resamples, level: intervals.level, seed };
        let train: &TrainSide = &self.result.train;
        Ok(stakeout_eval::metrics(&predictions, train, &plan)?)
    }
}

/// A fitted model with what it may be fed: of a run, or a checkpoint alone.
pub struct StoredModel {
    /// What the model was made from and may be fed.
    pub header: CheckpointHeader,
    /// The model.
    pub model: Box<dyn BaseModel>,
    /// Whether degraded episodes are read too, as the run did.
    pub degraded: bool,
}

impl StoredModel {
    /// Opens the directory of one cell, or a checkpoint.
    ///
    /// # Errors
    /// As [`StoredRun::open`].
    pub fn open(path: &Path, registry: &ModelRegistry, device: Device) -> Result<Self, TrainError> {
        if path.is_dir() {
            let StoredRun { experiment, header, model, .. } = StoredRun::open(path, registry, device)?;
            return Ok(Self { header, model, degraded: experiment.degraded });
        }
        let (header, model) = Checkpoint::load(path, registry, device)?;
        Ok(Self { header, model, degraded: false })
    }

    /// Probabilities of every window of a store, labelled or not, episode by episode; what was read is accounted for.
    ///
    /// # Errors
    /// When the store's channels, classes or windows are not the model's, or `emit` fails.
    pub fn predict(
        &self,
        store: &Path,
        progress: &dyn Progress,
        cancel: &AtomicBool,
        mut emit: impl FnMut(&WindowPrediction<'_>) -> Result<(), TrainError>,
    ) -> Result<Account, TrainError> {
        let store = Store::open(store)?;
        let schema = crate::dataset::schema_as(store.corpus(), &self.header.schema)?;
        let (inputs, degraded) = (Inputs::of(self.model.input()), self.degraded);
        let own;
        let scaler = match &self.header.scaler {
            Scaler::HostClean(_) => {
                let calibration = calibration_windows(&store, &schema, inputs, degraded, progress, cancel)?;
                let hosts: BTreeSet<String> = calibration.hosts.iter().cloned().collect();
                own = host_clean(&calibration, &hosts.into_iter().collect::<Vec<_>>(), self.model.input())?;
                &own
            }
            fitted => fitted,
        };
        let classes = schema.classes.names();
        let simulated = self.header.simulated || store.corpus().simulated;
        let mut account = Account::of(store.corpus());
        sweep(&store, &schema, inputs, degraded, progress, cancel, |swept| {
            account.add(&swept);
            let Some((info, cut, _)) = swept.cut else { return Ok(()) };
            let n = cut.t0_ns.len();
            let table = table(&schema, self.model.input(), cut.summary, cut.tensor, cut.lengths)?;
            let scaled = Scaled::new(&table, scaler, std::slice::from_ref(&info.host), &vec![0; n])?;
            let scores = probabilities(&*self.model, self.header.calibration.as_ref(), &scaled)?;
            for (window, probabilities) in scores.rows().into_iter().enumerate() {
                let probabilities = probabilities.as_slice().expect("a score row is contiguous");
                emit(&WindowPrediction {
                    episode: &info.id,
                    host: &info.host,
                    sample: &info.sample,
                    t0_ns: cut.t0_ns[window],
                    label: cut.labels[window].map(|label| classes[usize::from(label)].as_str()),
                    predicted: &classes[usize::from(stakeout_core::confusion::argmax(probabilities))],
                    probabilities: ByClass { classes, probabilities },
                    simulated,
                })?;
            }
            Ok(())
        })?;
        Ok(account)
    }
}

/// Class names with their probabilities; written as one object in the order of the class list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ByClass<'a> {
    pub(crate) classes: &'a [String],
    pub(crate) probabilities: &'a [f32],
}

impl<'a> ByClass<'a> {
    /// The probabilities, in the order of the class list.
    pub fn values(&self) -> &'a [f32] {
        self.probabilities
    }
}

impl Serialize for ByClass<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.classes.iter().zip(self.probabilities))
    }
}

/// One line of `stakeout predict`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowPrediction<'a> {
    /// ULID.
    pub episode: &'a str,
    /// The device.
    pub host: &'a str,
    /// The program.
    pub sample: &'a str,
    /// Start of the window in `t_wall_ns`.
    pub t0_ns: i64,
    /// The label, where the store has one.
    pub label: Option<&'a str>,
    /// The most probable class.
    pub predicted: &'a str,
    /// One probability a class, by name.
    pub probabilities: ByClass<'a>,
    /// Whether the model or the store is simulated: says nothing about real malware.
    pub simulated: bool,
}

pub(crate) fn table(
    schema: &stakeout_core::Schema,
    kind: InputKind,
    summary: Vec<f32>,
    tensor: Vec<f32>,
    lengths: Vec<u32>,
) -> Result<WindowTable, TrainError> {
    let (n, geometry) = (lengths.len(), schema.geometry());
    let shape = |_| TrainError::Data("windows do not follow their schema".into());
    let (summary, tensor) = match kind {
        InputKind::Summary => (Some(Array2::from_shape_vec((n, geometry.features), summary).map_err(shape)?), None),
        InputKind::Tensor => {
            (None, Some(Array3::from_shape_vec((n, geometry.channels, geometry.steps), tensor).map_err(shape)?))
        }
    };
    Ok(WindowTable::new(schema.clone(), summary, tensor, lengths)?)
}
