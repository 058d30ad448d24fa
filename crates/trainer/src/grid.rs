//! The grid: models × views × scalers on one store with one recipe, a run directory a cell.
//!
//! ```text
//! DIR/grid.toml                            everything needed to repeat it: a configuration with a [grid] section
//! DIR/<model>-<view>-<scaler>/             the run that the cell would be alone, byte for byte
//! DIR/grid.json                            the result, written last
//! ```
//!
//! A store is read once a view. A cell that fails is recorded with its reason and the others go on; a continued grid
//! keeps finished cells, goes on with the interrupted one from its state, and tries failed ones again.

mod dir;
mod pace;
mod result;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stakeout_core::{ModelEntry, ModelError, View, files};
use stakeout_features::Inputs;
use stakeout_splits::{Fold, Split};
use stakeout_telemetry::Store;

pub use dir::{GridDir, is_grid, read_settings};
pub use result::{CellScores, GridCellResult, GridResult, Headline};

use crate::config::{GridKeys, GridRecord, ScalerChoice};
use crate::rundir::{self, EXPERIMENT, GRID, GRID_RESULT};
use crate::{Account, Dataset, Existing, Experiment, Progress, Reading, Request, RunDir, TrainError, WindowCache};
use pace::{Numbered, Pace};

/// What is trained crosswise.
pub struct Grid<'a> {
    /// All settings; each cell lays its view and scaler over them.
    pub experiment: &'a Experiment,
    /// The models: rows.
    pub models: Vec<&'a ModelEntry>,
    /// The views: columns.
    pub views: Vec<View>,
    /// The scalers: columns of each view.
    pub scalers: Vec<ScalerChoice>,
    /// The recipe.
    pub recipe: &'a dyn Split,
    /// The store as it was named; `None` for the embedded default.
    pub named: Option<&'a Path>,
    /// Where the store is.
    pub store: &'a Path,
    /// Where windows are kept.
    pub cache: &'a WindowCache,
}

/// What `train` leaves behind for a grid.
#[derive(Debug)]
pub struct GridOutcome {
    /// What `grid.json` says.
    pub result: GridResult,
    /// Wall-clock seconds of each cell of the result, and whether an earlier process spent more on it.
    pub seconds: Vec<Option<(f64, bool)>>,
    /// What became of the rows of the store, view by view.
    pub accounts: Vec<(View, Account)>,
    /// Why cells failed, each reason once.
    pub failures: Vec<TrainError>,
}

#[derive(Clone, Copy)]
struct Cell<'a> {
    model: &'a ModelEntry,
    view: View,
    scaler: ScalerChoice,
}

impl Cell<'_> {
    fn name(&self) -> String {
        format!("{}-{}-{}", self.model.kind.as_str().replace('/', "_"), self.view, self.scaler.name())
    }
}

impl<'a> Grid<'a> {
    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.models.len() * self.views.len() * self.scalers.len()
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every setting with the complete configuration of every model, as `grid.toml` holds it but for its record.
    fn settings(&self) -> Result<Experiment, TrainError> {
        let mut settings = self.experiment.clone();
        (settings.run, settings.tune, settings.train) = (None, None, serde_json::Map::new());
        settings.model = serde_json::Map::new();
        for entry in &self.models {
            let config = (entry.configure)(&self.experiment.model_config(entry)?)?.config();
            settings.model.insert(entry.kind.to_string(), config);
        }
        // Stand for nothing where views and scalers are listed: the first, so that they decide nothing.
        settings.view = self.views.first().copied().unwrap_or_default();
        settings.scaler = self.scalers.first().copied().unwrap_or_default();
        settings.grid = Some(GridKeys {
            models: self.models.iter().map(|entry| entry.kind.to_string()).collect(),
            views: self.views.clone(),
            scalers: self.scalers.clone(),
            record: None,
        });
        Ok(settings)
    }

    fn record(&self) -> Result<GridRecord, TrainError> {
        let text = serde_json::to_string(&self.settings()?).unwrap_or_default();
        Ok(GridRecord {
            store: self.named.map(Path::to_owned),
            data_digest: Store::open(self.store)?.digest()?,
            code_version: env!("CARGO_PKG_VERSION").into(),
            settings: blake3::hash(text.as_bytes()).to_hex().to_string(),
        })
    }

    /// The default name of the grid's directory: `grid-<recipe>-<hash8>`; the hash is over everything that decides it.
    ///
    /// # Errors
    /// When a model's settings are mistaken, or the store cannot be opened.
    pub fn default_name(&self) -> Result<String, TrainError> {
        let GridRecord { settings, data_digest, .. } = self.record()?;
        let hash = blake3::hash((settings + &data_digest).as_bytes()).to_hex();
        Ok(format!("grid-{}-{}", self.experiment.recipe.replace('/', "_"), &hash[..8]))
    }

    /// Checks that a grid that is to be continued is this one, on this data, with this code.
    ///
    /// # Errors
    /// [`TrainError::Run`].
    pub fn check_continues(&self, path: &Path, record: &GridRecord) -> Result<(), TrainError> {
        let now = self.record()?;
        if (&now.settings, &now.code_version) != (&record.settings, &record.code_version) {
            return Err(TrainError::run(
                path,
                format!("its {GRID} or the code changed since; start again without --resume"),
            ));
        }
        if now.data_digest != record.data_digest {
            return Err(TrainError::run(path, "the store changed since; start again without --resume"));
        }
        Ok(())
    }

    /// Reads the data of the first view and holds some of it out, so that what can be refused is refused before a
    /// directory is made or replaced. Give the data to [`Grid::train`].
    ///
    /// # Errors
    /// As [`Dataset::open`], and when the recipe cannot hold this data out.
    pub fn first_view(&self, progress: &dyn Progress, cancel: &AtomicBool) -> Result<Dataset, TrainError> {
        let view = self.views.first().copied().unwrap_or_default();
        let dataset = self.read(view, progress, cancel)?;
        self.folds(&dataset)?;
        Ok(dataset)
    }

    /// Trains every cell that is not finished in `dir`. `first` is what [`Grid::first_view`] read, where it was called.
    ///
    /// # Errors
    /// [`ModelError::Cancelled`] (inside [`TrainError::Model`]) when `cancel` was raised: the state is saved. Errors of
    /// the grid's own files. What goes wrong in a cell is part of the outcome.
    pub fn train(
        &self,
        dir: &GridDir,
        mut first: Option<Dataset>,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<GridOutcome, TrainError> {
        let (mut settings, record) = (self.settings()?, self.record()?);
        if let Some(keys) = &mut settings.grid {
            keys.record = Some(record.clone());
        }
        files::write_atomic(&dir.path().join(GRID), settings.to_toml()?.as_bytes())?;
        let mut session = Session { dir, progress, cancel, pace: Pace::new(self.len()), failures: Vec::new() };
        let (mut cells, mut accounts) = (Vec::new(), Vec::new());
        for &view in &self.views {
            let mut account = None;
            for (cell, failed) in self.train_view(view, first.take(), &mut session)? {
                let run = session.path(&cell);
                // a result that cannot be read is a failure of its cell, and says which file to remove
                let (failed, result) = match failed {
                    Some(failed) => (Some(failed), None),
                    None => match result::read_scores(&run) {
                        Ok(result) => (None, Some(result)),
                        Err(error) => (Some(session.fail(&cell.name(), error)?), None),
                    },
                };
                if result.is_some() && account.is_none() {
                    account = result::read_account(&run)?;
                }
                let (model, name) = (cell.model.kind.to_string(), cell.name());
                cells.push(GridCellResult { run: name, model, view, scaler: cell.scaler, failed, result });
            }
            accounts.extend(account.map(|account| (view, account)));
        }
        let result = GridResult {
            recipe: self.experiment.recipe.clone(),
            seeds: self.experiment.seed.list(),
            models: self.models.iter().map(|entry| entry.kind.to_string()).collect(),
            views: self.views.clone(),
            scalers: self.scalers.clone(),
            data_digest: record.data_digest,
            code_version: record.code_version,
            cells,
        };
        rundir::write_json(&dir.path().join(GRID_RESULT), &result)?;
        let measured = |cell: &GridCellResult| match cell.failed {
            None => result::read_seconds(&dir.path().join(&cell.run)),
            Some(_) => None,
        };
        let seconds = result.cells.iter().map(measured).collect();
        Ok(GridOutcome { result, seconds, accounts, failures: session.failures })
    }

    /// Trains the cells of a view that are not finished; says of each why it failed, where it did.
    fn train_view(
        &self,
        view: View,
        first: Option<Dataset>,
        session: &mut Session<'_>,
    ) -> Result<Vec<(Cell<'a>, Option<String>)>, TrainError> {
        let cells = self.cells_of(view);
        if cells.iter().all(|cell| session.is_finished(cell)) {
            cells.iter().for_each(|cell| session.keep(cell));
            return Ok(cells.into_iter().map(|cell| (cell, None)).collect());
        }
        let data = first.map_or_else(|| self.read(view, session.progress, session.cancel), Ok);
        let data = data.and_then(|dataset| Ok((self.folds(&dataset)?, dataset)));
        let (folds, dataset) = match data {
            Ok(data) => data,
            Err(error) => {
                let reason = session.fail(&format!("view {view}"), error)?;
                let failed = |cell: Cell<'a>| {
                    session.pace.keep();
                    let reason = (!session.is_finished(&cell)).then(|| reason.clone());
                    (cell, reason)
                };
                return Ok(cells.into_iter().map(failed).collect());
            }
        };
        let mut trained = Vec::new();
        for cell in cells {
            if session.cancel.load(Ordering::Relaxed) {
                return Err(ModelError::Cancelled.into());
            }
            let failed = match self.train_cell(cell, &dataset, &folds, session) {
                Ok(()) => None,
                Err(error) => Some(session.fail(&cell.name(), error)?),
            };
            trained.push((cell, failed));
        }
        Ok(trained)
    }

    fn train_cell(
        &self,
        cell: Cell<'_>,
        dataset: &Dataset,
        folds: &[Fold],
        session: &mut Session<'_>,
    ) -> Result<(), TrainError> {
        let (path, kind) = (session.path(&cell), cell.model.kind.as_str());
        let experiment =
            Experiment { view: cell.view, scaler: cell.scaler, grid: None, run: None, ..self.experiment.clone() };
        let request =
            Request { dataset, store: self.named, experiment: &experiment, model: cell.model, recipe: self.recipe };
        if session.is_finished(&cell) {
            request.check_continues(&path)?;
            session.keep(&cell);
            return Ok(());
        }
        let start = Instant::now();
        let numbered = Numbered::new(session.progress, session.pace.label(kind));
        let trained = train_into(&path, &request, folds, &numbered, session.cancel);
        let (took, left) = (start.elapsed(), session.pace.done(kind, start.elapsed()));
        if trained.is_ok() {
            session.progress.say(&format!("{}: done in {:.1} s; {left}", cell.name(), took.as_secs_f64()));
        }
        trained
    }

    /// The cells of a view, scaler by scaler.
    fn cells_of(&self, view: View) -> Vec<Cell<'a>> {
        let row = |scaler| self.models.iter().map(move |&model| Cell { model, view, scaler });
        self.scalers.iter().flat_map(|&scaler| row(scaler)).collect()
    }

    fn read(&self, view: View, progress: &dyn Progress, cancel: &AtomicBool) -> Result<Dataset, TrainError> {
        let reading =
            Reading { view, ..Reading::of(self.experiment, inputs(&self.models, self.experiment)?, self.cache) };
        Dataset::open(self.store, &reading, progress, cancel)
    }

    fn folds(&self, dataset: &Dataset) -> Result<Vec<Fold>, TrainError> {
        crate::run::folds(self.recipe, dataset, self.experiment)
    }
}

/// Trains a new run, or goes on with one that is there and is the same.
fn train_into(
    path: &Path,
    request: &Request<'_>,
    folds: &[Fold],
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<(), TrainError> {
    let there = path.join(EXPERIMENT).exists();
    if there {
        request.check_continues(path)?;
    }
    let run = RunDir::open(path, if there { Existing::Continue } else { Existing::Refuse })?;
    request.train(folds, &run, progress, cancel)?;
    Ok(())
}

/// One process at work on a grid.
struct Session<'s> {
    dir: &'s GridDir,
    progress: &'s dyn Progress,
    cancel: &'s AtomicBool,
    pace: Pace,
    failures: Vec<TrainError>,
}

impl Session<'_> {
    fn path(&self, cell: &Cell<'_>) -> PathBuf {
        self.dir.path().join(cell.name())
    }

    fn is_finished(&self, cell: &Cell<'_>) -> bool {
        result::is_finished(&self.path(cell))
    }

    fn keep(&mut self, cell: &Cell<'_>) {
        self.pace.keep();
        self.progress.say(&format!("kept {} (finished before)", cell.name()));
    }

    /// Notes a failure and gives its reason; an interruption is none and ends the grid.
    fn fail(&mut self, what: &str, error: TrainError) -> Result<String, TrainError> {
        if matches!(error, TrainError::Model(ModelError::Cancelled)) {
            return Err(error);
        }
        let reason = told(&error);
        self.progress.say(&format!("{what} failed: {reason}"));
        self.failures.push(error);
        Ok(reason)
    }
}

/// The inputs that some models take, so that no other is computed or kept.
///
/// # Errors
/// A mistaken setting of a model.
pub fn inputs(models: &[&ModelEntry], experiment: &Experiment) -> Result<Inputs, TrainError> {
    let mut inputs = Inputs { summary: false, tensor: false };
    for model in models {
        let own = Inputs::of((model.configure)(&experiment.model_config(model)?)?.input());
        inputs.summary |= own.summary;
        inputs.tensor |= own.tensor;
    }
    Ok(inputs)
}

/// An error with its causes in one line; a transparent error repeats its source.
fn told(error: &TrainError) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        cause = error.source();
    }
    parts.join(": ")
}
