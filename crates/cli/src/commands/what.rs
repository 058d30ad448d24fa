//! The settings that `split` and `train` share: store, configuration file, overrides, seeds.

use std::path::{Path, PathBuf};

use stakeout_trainer::{Experiment, Places, Seeds};

use crate::args::What;
use crate::{Context, embedded};

/// What the options ask for, before a command adds its own.
pub(crate) struct Asked {
    /// The settings.
    pub(crate) experiment: Experiment,
    /// Where each of them was written.
    pub(crate) places: Places,
    /// The store that is named.
    pub(crate) store: Option<PathBuf>,
    /// The model that a finished run's own file names.
    pub(crate) model: Option<String>,
}

/// Reads the options. The file of a finished run or grid may be given as a configuration: its store is read again
/// unless another one is named.
pub(crate) fn asked(what: &What) -> anyhow::Result<Asked> {
    let (mut experiment, mut places) = Experiment::read_placed(what.config.as_deref(), &what.set)?;
    let run = experiment.run.take();
    let record = experiment.grid.as_mut().and_then(|grid| grid.record.take());
    let (model, of_run) = run.map(|run| (run.model, run.store)).unzip();
    let store = what.store.clone().or(of_run.flatten()).or_else(|| record.and_then(|record| record.store));
    if let Some(&first) = what.seed.first() {
        experiment.seed = if what.seed.len() == 1 { Seeds::One(first) } else { Seeds::Many(what.seed.clone()) };
        let seeds: Vec<String> = what.seed.iter().map(u64::to_string).collect();
        places.note(["seed"], format!("--seed {}", seeds.join(",")));
    }
    experiment.degraded |= what.degraded;
    Ok(Asked { experiment, places, store, model })
}

/// The store that the options name, as it was named (`None` = the embedded default) and where it is.
pub(crate) fn store(given: Option<&Path>, context: &Context) -> anyhow::Result<(Option<PathBuf>, PathBuf)> {
    let path = embedded::store_or_default(given, &*context.progress)?;
    let named = given.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    Ok((named, path))
}
