//! The settings that `split` and `train` share: store, configuration file, overrides, seeds.

use std::path::{Path, PathBuf};

use stakeout_trainer::{Experiment, Seeds};

use crate::args::What;
use crate::{Context, embedded};

/// The experiment that the options describe, before a command adds its own, and the store that it names. A finished
/// run's own file may be given as a configuration: its store is read again unless another one is named.
pub(crate) fn experiment(what: &What) -> anyhow::Result<(Experiment, Option<PathBuf>)> {
    let mut experiment = Experiment::read(what.config.as_deref(), &what.set)?;
    let store = what.store.clone().or_else(|| experiment.run.take().and_then(|run| run.store));
    experiment.run = None;
    match what.seed.as_slice() {
        [] => {}
        [seed] => experiment.seed = Seeds::One(*seed),
        seeds => experiment.seed = Seeds::Many(seeds.to_vec()),
    }
    experiment.degraded |= what.degraded;
    experiment.check()?;
    Ok((experiment, store))
}

/// The store that the options name, as it was named (`None` = the embedded default) and where it is.
pub(crate) fn store(given: Option<&Path>, context: &Context) -> anyhow::Result<(Option<PathBuf>, PathBuf)> {
    let path = embedded::store_or_default(given, &*context.progress)?;
    let named = given.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    Ok((named, path))
}
