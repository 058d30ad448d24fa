//! Choosing settings inside the training side: random search with successive halving.
//!
//! An outer fold's test side is removed first, rows, names and calibration stretches: what follows works on a data set
//! that never held them. Inner folds are cut from the rest by the recipe's own groups
//! ([`stakeout_splits::nested_folds`]); every trial is fitted on their training sides and judged on their test sides.
//!
//! In reading order: [`space`] (what is tried), [`halving`] (who goes on), [`journal`] (what a kill leaves), `score`,
//! `folder`, [`search`] (the loop), `report` (files for people and tools).
//!
//! Invariants:
//! * poisoned test rows change no byte of the history (`crates/cli/tests/it/tune.rs`);
//! * a search that was killed and resumed leaves the same bytes as one that was left alone;
//! * every trial is judged on the same windows.

mod folder;
pub mod halving;
pub mod journal;
mod report;
mod score;
pub mod search;
pub mod space;

pub use folder::{BEST, RESULT, SEARCH, SearchDir, TRIALS};
pub use report::best_toml;
pub use score::Reported;
pub use search::{Failed, Found, Ranked, Search};
pub use space::{Settings, Space, TuneKeys};

use stakeout_core::ModelEntry;

use crate::{Experiment, TrainError};

/// An experiment with the complete settings of one model in its own section, and of no other: what a space is laid over.
///
/// # Errors
/// An unknown or mistaken setting.
pub fn complete(experiment: &Experiment, model: &ModelEntry) -> Result<Experiment, TrainError> {
    let config = (model.configure)(&experiment.model_config(model)?)?.config();
    let mut experiment = experiment.clone();
    experiment.train.clear(); // now part of the model's own section
    experiment.model = serde_json::Map::from_iter([(model.kind.to_string(), config)]);
    experiment.run = None;
    experiment.tune = None;
    experiment.refit_all = false;
    Ok(experiment)
}
