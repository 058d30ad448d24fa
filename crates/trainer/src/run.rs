//! From a data set, a model and a recipe to a run on disk: every fold with every seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use stakeout_core::{Calibration, Clock, EpisodeRef, Estimator, ModelEntry, ModelError, SampleIndex, Side};
use stakeout_eval::bootstrap::Plan;
use stakeout_eval::{Metrics, Predictions, Run, Summary, TrainSide, Unit};
use stakeout_splits::{Fold, Ledger, Separates, Split};

use crate::Account;
use crate::config::{CalibrationChoice, Experiment, RunInfo};
use crate::fit::{Cell, Fitted};
use crate::observe::RunObserver;
use crate::rundir::{self, CHECKPOINT, EXPERIMENT, METRICS, PREDICTIONS, RunDir, SUMMARY, TIMING};
use crate::{Dataset, Progress, TrainError};

/// Where a number comes from: stands in every `metrics.json` and `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Kind of model.
    pub model: String,
    /// The recipe that held data out.
    pub recipe: String,
    /// Which channels the model saw.
    pub view: String,
    /// How inputs were scaled, and what of a test host the scaler saw.
    pub scaler: String,
    /// How settings and epochs were chosen.
    pub selection: String,
    /// Name of the corpus.
    pub corpus: String,
    /// Whether it was simulated.
    pub simulated: bool,
    /// Digest of the store.
    pub data_digest: String,
    /// Hash of the schema.
    pub schema_hash: String,
    /// Version of the code.
    pub code_version: String,
}

/// The result of one fold with one seed: `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Where the numbers come from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The fold.
    pub fold: String,
    /// Held-out groups of the test side.
    pub held_out: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// Whether a test side was scored.
    pub tested: bool,
    /// Scores, intervals and counts; absent for a model refitted on all rows.
    #[serde(flatten)]
    pub metrics: Option<Metrics>,
    /// The training side.
    pub train: TrainSide,
    /// Hosts and sample hashes of the training side.
    pub trained_on: TrainedOn,
    /// The coverage table profile × host × phase; absent where nothing was tested.
    pub ledger: Option<Ledger>,
    /// Rows and windows read, used, and dropped with the reason.
    pub rows: Account,
    /// Windows of the index that are in no side of this fold, by reason.
    pub windows_in_no_side: BTreeMap<String, usize>,
    /// The map that probabilities went through, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What the recipe and the fit say about themselves.
    pub remarks: Vec<String>,
}

/// Who a model was trained on: what a later test must not meet again unsaid.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrainedOn {
    /// Names of hosts.
    pub hosts: BTreeSet<String>,
    /// Names of samples.
    pub samples: BTreeSet<String>,
    /// Hashes of samples, where known.
    pub sample_sha256: BTreeSet<String>,
}

impl TrainedOn {
    pub(crate) fn of(index: &SampleIndex, rows: &[usize]) -> Self {
        let mut trained_on = Self::default();
        for &row in rows {
            let episode = index.episode_of(row);
            trained_on.hosts.insert(index.hosts[episode.host as usize].clone());
            trained_on.samples.insert(index.samples[episode.sample as usize].clone());
            trained_on.sample_sha256.extend(episode.sample_sha256.clone());
        }
        trained_on
    }

    /// What another data set shares with the training side, as sentences.
    pub fn shared_with(&self, index: &SampleIndex) -> Vec<String> {
        let hosts = index.hosts.iter().filter(|host| self.hosts.contains(*host)).count();
        let known = |episode: &EpisodeRef| match &episode.sample_sha256 {
            Some(hash) => self.sample_sha256.contains(hash),
            None => self.samples.contains(&index.samples[episode.sample as usize]),
        };
        let episodes = index.episodes.iter().filter(|episode| known(episode)).count();
        let mut notes = Vec::new();
        if hosts > 0 {
            notes.push(format!("{hosts} of {} hosts have names that the model was trained on", index.hosts.len()));
        }
        if episodes > 0 {
            let all = index.episodes.len();
            notes.push(format!("{episodes} of {all} episodes run samples that the model was trained on"));
        }
        notes
    }
}

/// The result of many folds or seeds: `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Where the numbers come from.
    #[serde(flatten)]
    pub origin: Origin,
    /// Scores a held-out group, their mean, and the pooled score.
    #[serde(flatten)]
    pub summary: Summary,
}

/// Wall-clock seconds of a cell: `timing.json`, the only file where they stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// From the scaler to the last score of a test window; of a continued fit, what was left of it.
    pub fit_and_score_seconds: f64,
    /// Whether the fit went on from the state of an earlier process.
    #[serde(default)]
    pub continued: bool,
    /// Worker threads.
    pub threads: usize,
}

/// What the folds of a recipe hold out, for the summary: programs where they say so, else hosts, unless a host stands on
/// the test side of two folds.
fn unit(index: &SampleIndex, folds: &[Fold]) -> Unit {
    if folds.first().is_some_and(|fold| fold.test_by() == Separates::Samples) {
        return Unit::Sample;
    }
    let mut tested = BTreeSet::new();
    for fold in folds {
        let hosts: BTreeSet<u32> = fold.test().iter().map(|&row| index.episode_of(row).host).collect();
        if hosts.into_iter().any(|host| !tested.insert(host)) {
            return Unit::Fold;
        }
    }
    Unit::Host
}

/// What `train` leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Every cell, fold by fold, seed by seed.
    pub cells: Vec<CellResult>,
    /// The summary, where there is more than one cell.
    pub summary: Option<RunSummary>,
}

impl RunInfo {
    /// Checks that a run was made with settings of this digest, and with this code.
    ///
    /// # Errors
    /// [`TrainError::Run`].
    pub fn check_settings(&self, path: &Path, settings: &str) -> Result<(), TrainError> {
        if self.settings == settings && self.code_version == env!("CARGO_PKG_VERSION") {
            return Ok(());
        }
        let why = format!("its {EXPERIMENT} or the code changed since; start again without --resume");
        Err(TrainError::run(path, why))
    }

    /// Checks that a run was made with this data.
    ///
    /// # Errors
    /// [`TrainError::Run`].
    pub fn check_data(&self, path: &Path, dataset: &Dataset) -> Result<(), TrainError> {
        if self.data_digest == dataset.digest && self.schema_hash == dataset.schema.hash().as_str() {
            return Ok(());
        }
        let why = "the store or the code that cuts it changed since; start again without --resume";
        Err(TrainError::run(path, why))
    }
}

/// The folds of a recipe on some data.
pub(crate) fn folds(recipe: &dyn Split, dataset: &Dataset, experiment: &Experiment) -> Result<Vec<Fold>, TrainError> {
    let mut folds = recipe.folds(&dataset.index, experiment.split_seed())?;
    if experiment.refit_all {
        // One fold is enough: nothing is held out but the validation side that chooses the epoch.
        folds.truncate(1);
    }
    Ok(folds)
}

/// What is trained.
pub struct Request<'a> {
    /// The data.
    pub dataset: &'a Dataset,
    /// The store's path; `None` for the embedded default.
    pub store: Option<&'a Path>,
    /// All settings.
    pub experiment: &'a Experiment,
    /// The model.
    pub model: &'a ModelEntry,
    /// The recipe.
    pub recipe: &'a dyn Split,
}

impl Request<'_> {
    /// The folds of the recipe; the first seed decides them, so that seeds of one run differ in the fit alone.
    ///
    /// # Errors
    /// When the data cannot be held out this way.
    pub fn folds(&self) -> Result<Vec<Fold>, TrainError> {
        folds(self.recipe, self.dataset, self.experiment)
    }

    /// Checks that the run in `path`, which is to be continued, was made with these settings, this data and this code.
    ///
    /// # Errors
    /// [`TrainError::Run`] when it was not, or is none.
    pub fn check_continues(&self, path: &Path) -> Result<(), TrainError> {
        let Some(info) = rundir::read_experiment(path)?.run else {
            return Err(TrainError::run(
                path,
                format!("{EXPERIMENT} has no [run] section: it was not written by `train`"),
            ));
        };
        let kind = self.model.kind.as_str();
        info.check_settings(path, &rundir::settings_digest(kind, self.experiment, &self.model_config()?))?;
        info.check_data(path, self.dataset)
    }

    /// The complete configuration of the model.
    ///
    /// # Errors
    /// An unknown or mistaken setting.
    pub fn model_config(&self) -> Result<serde_json::Value, TrainError> {
        let config = self.experiment.model_config(self.model)?;
        Ok((self.model.configure)(&config)?.config())
    }

    /// What must be said of a split over time where the corpus has no clock.
    pub fn clock_remark(&self) -> Option<String> {
        let made_up = self.dataset.schema.window.clock == Clock::Index && self.recipe.separates() == Separates::Time;
        made_up.then(|| {
            "the clock of this corpus is made up: \"later\" is the order in which the importer laid the episodes, and says \
             nothing about a later month"
                .into()
        })
    }

    pub(crate) fn origin(&self, estimator: &dyn Estimator) -> Origin {
        let experiment = self.experiment;
        let scaler = match experiment.scaler {
            crate::ScalerChoice::None => "none",
            crate::ScalerChoice::Global => "global: moments of the training side",
            crate::ScalerChoice::HostClean => {
                "host-clean: moments of each host's own calibration stretch, test hosts included; those windows are in \
                 no side"
            }
        };
        Origin {
            model: self.model.kind.to_string(),
            recipe: experiment.recipe.clone(),
            view: experiment.view.to_string(),
            scaler: scaler.into(),
            selection: selection(&experiment.chosen, estimator.needs_validation(), experiment.calibration),
            corpus: self.dataset.corpus.clone(),
            simulated: self.dataset.simulated,
            data_digest: self.dataset.digest.clone(),
            schema_hash: self.dataset.schema.hash().as_str().to_owned(),
            code_version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// Fits and scores every one of [`Request::folds`] with every seed below `dir`. Cells that are finished there are read, not made again;
    /// a cell that was interrupted continues from its state.
    ///
    /// # Errors
    /// [`ModelError::Cancelled`] (inside [`TrainError::Model`]) when `cancel` was raised: the state is saved.
    pub fn train(
        &self,
        folds: &[Fold],
        dir: &RunDir,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        let seeds = self.experiment.seed.list();
        let single = folds.len() == 1 && seeds.len() == 1;
        let config = self.model_config()?;
        self.write_experiment(dir.path(), &config, None)?;
        let (mut cells, mut scored) = (Vec::new(), Vec::new());
        for (i, fold) in folds.iter().enumerate() {
            for &seed in &seeds {
                if cancel.load(Ordering::Relaxed) {
                    return Err(ModelError::Cancelled.into());
                }
                let path = rundir::cell(dir.path(), fold.name(), seed, single);
                std::fs::create_dir_all(&path).map_err(|e| TrainError::io("making", &path, e))?;
                rundir::remove_leftovers(&path)?;
                if path.join(METRICS).exists() {
                    let result: CellResult = rundir::read_json(&path.join(METRICS))?;
                    progress.say(&format!("kept {} (finished before)", path.display()));
                    RunObserver::forget(&path)?;
                    scored.push((
                        fold.name(),
                        seed,
                        Predictions::read_parquet(&path.join(PREDICTIONS))?,
                        result.train.clone(),
                    ));
                    cells.push(result);
                    continue;
                }
                let stage = if single {
                    format!("fitting {}", self.model.kind)
                } else {
                    format!("fitting {}, fold {}/{} {}, seed {seed}", self.model.kind, i + 1, folds.len(), fold.name())
                };
                progress.stage(&stage, "steps", 0);
                if !single {
                    self.write_experiment(&path, &config, Some((fold.name(), seed)))?;
                }
                let (fitted, result) = self.train_cell(fold, seed, &config, &path, progress, cancel)?;
                scored.push((fold.name(), seed, fitted.predictions, fitted.train));
                cells.push(result);
            }
        }
        let summary = if single || self.experiment.refit_all {
            None
        } else {
            Some(self.summarise(folds, &scored, &*(self.model.configure)(&config)?)?)
        };
        if let Some(summary) = &summary {
            rundir::write_json(&dir.path().join(SUMMARY), summary)?;
        }
        Ok(Outcome { cells, summary })
    }

    fn train_cell(
        &self,
        fold: &Fold,
        seed: u64,
        config: &serde_json::Value,
        path: &Path,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<(Fitted, CellResult), TrainError> {
        let start = Instant::now();
        let estimator = (self.model.configure)(config)?;
        let cell = Cell { experiment: self.experiment, estimator: &*estimator, fold, seed };
        let mut observer = RunObserver::open(path, progress, cancel)?;
        let continued = observer.continues();
        let fitted = cell.fit(self.dataset, &mut observer)?;
        let seconds = start.elapsed().as_secs_f64();
        let tested = !self.experiment.refit_all;
        let metrics =
            tested.then(|| stakeout_eval::metrics(&fitted.predictions, &fitted.train, &self.plan(seed))).transpose()?;
        let mut remarks = fold.notes().to_vec();
        remarks.extend(fitted.remarks.iter().cloned());
        remarks.extend(observer.notes().iter().cloned());
        if self.experiment.refit_all {
            let held_back = !fitted.predictions.is_empty();
            let but = match (held_back, estimator.needs_validation()) {
                (false, _) => "",
                (true, true) => " but the validation side, which chose when to stop",
                (true, false) => " but the validation side, which fitted the calibration map",
            };
            remarks.push(format!("fitted on all rows{but}; tested on none: no score says how good it is"));
        }
        remarks.extend(self.clock_remark());
        let dropped = if tested { fold.dropped() } else { &[] };
        let result = CellResult {
            origin: self.origin(&*estimator),
            fold: fold.name().to_owned(),
            held_out: if tested { fold.held_out().to_vec() } else { Vec::new() },
            seed,
            tested,
            metrics,
            train: fitted.train.clone(),
            trained_on: TrainedOn::of(&self.dataset.index, &cell.train_rows()),
            ledger: tested.then(|| Ledger::new(&self.dataset.index, fold, self.recipe.min_cell())).transpose()?,
            rows: self.dataset.account.clone(),
            windows_in_no_side: dropped.iter().map(|d| (d.reason.clone(), d.rows.len())).collect(),
            calibration: fitted.checkpoint.header.calibration.clone(),
            remarks,
        };
        fitted.checkpoint.write(&path.join(CHECKPOINT))?;
        fitted.predictions.write_parquet(&path.join(PREDICTIONS))?;
        let timing = Timing { fit_and_score_seconds: seconds, continued, threads: rayon::current_num_threads() };
        rundir::write_json(&path.join(TIMING), &timing)?;
        observer.finish()?;
        rundir::write_json(&path.join(METRICS), &result)?;
        RunObserver::forget(path)?;
        Ok((fitted, result))
    }

    fn plan(&self, seed: u64) -> Plan {
        let intervals = &self.experiment.intervals;
        Plan { resamples: intervals.resamples, level: intervals.level, seed }
    }

    /// Brings the cells together. Where hosts (or a later time) are held out, every test host counts on its own,
    /// however many of them one fold holds; where one host is tested by many folds, every fold does.
    fn summarise(
        &self,
        folds: &[Fold],
        scored: &[(&str, u64, Predictions, TrainSide)],
        estimator: &dyn Estimator,
    ) -> Result<RunSummary, TrainError> {
        let unit = unit(&self.dataset.index, folds);
        let mut parts: Vec<(String, u64, Predictions, &TrainSide)> = Vec::new();
        for (fold, seed, predictions, train) in scored {
            let mut groups: BTreeMap<&str, Predictions> = BTreeMap::new();
            for row in predictions.rows_of(Side::Test) {
                let row = predictions.row(row);
                let group = if unit == Unit::Host { row.host } else { *fold };
                let part = groups.entry(group).or_insert_with(|| Predictions::new(predictions.classes().clone()));
                part.push(&row)?;
            }
            parts.extend(groups.into_iter().map(|(group, part)| (group.to_owned(), *seed, part, train)));
        }
        let runs: Vec<Run<'_>> = parts
            .iter()
            .map(|(held_out, seed, predictions, train)| Run { held_out, seed: *seed, predictions, train })
            .collect();
        let summary = stakeout_eval::summary(&runs, unit, &self.plan(self.experiment.split_seed()))?;
        Ok(RunSummary { origin: self.origin(estimator), summary })
    }

    fn write_experiment(
        &self,
        path: &Path,
        config: &serde_json::Value,
        cell: Option<(&str, u64)>,
    ) -> Result<(), TrainError> {
        let mut experiment = self.experiment.clone();
        if let Some((_, seed)) = cell {
            experiment.seed = crate::config::Seeds::One(seed);
        }
        experiment.grid = None;
        experiment.train.clear(); // now part of the model's own section
        experiment.tune = None;
        experiment.model = serde_json::Map::from_iter([(self.model.kind.to_string(), config.clone())]);
        experiment.run = Some(RunInfo {
            model: self.model.kind.to_string(),
            store: self.store.map(Path::to_owned),
            data_digest: self.dataset.digest.clone(),
            schema_hash: self.dataset.schema.hash().as_str().to_owned(),
            code_version: env!("CARGO_PKG_VERSION").into(),
            settings: rundir::settings_digest(self.model.kind.as_str(), self.experiment, config),
            split_seed: self.experiment.split_seed(),
            fold: cell.map(|(fold, _)| fold.to_owned()),
        });
        Ok(stakeout_core::files::write_atomic(&path.join(EXPERIMENT), experiment.to_toml()?.as_bytes())?)
    }
}

/// How settings, epochs and probabilities were chosen, as a sentence.
fn selection(chosen: &str, needs_validation: bool, calibration: CalibrationChoice) -> String {
    let mut text = match chosen {
        "" => "settings as they were given; ".to_owned(),
        how => format!("settings chosen by {how}; "),
    };
    text.push_str(match (needs_validation, calibration.method()) {
        (true, _) => "the epoch, round or setting as the remarks say, by the validation side alone",
        (false, None) => "no validation side chose anything, its rows were trained on",
        (false, Some(_)) => "no validation side chose anything",
    });
    if let Some(method) = calibration.method() {
        text.push_str("; probabilities mapped (");
        text.push_str(method.name());
        text.push_str(") as the remarks say, by the validation side alone");
    }
    text
}
