use std::path::Path;

use stakeout_core::{CoreError, ModelError};
use stakeout_eval::EvalError;
use stakeout_features::FeatureError;
use stakeout_splits::SplitError;
use stakeout_telemetry::TelemetryError;
use thiserror::Error;

/// Why a run could not be made or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is unknown or out of range.
    #[error("{place}: {why}")]
    Config {
        /// File and line, or the option, that holds it.
        place: String,
        /// The rule and the way forward.
        why: String,
    },
    /// The store holds nothing that can be trained on or scored.
    #[error("{0}")]
    Data(String),
    /// The run directory cannot be used.
    #[error("run {path}: {why}")]
    Run {
        /// The directory.
        path: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// Reading the store failed.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Cutting windows failed.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// Holding data out failed.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Fitting or scoring failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Metrics or predictions failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A schema, a checkpoint or a file failed.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl TrainError {
    pub(crate) fn run(path: &Path, why: impl Into<String>) -> Self {
        Self::Run { path: path.display().to_string(), why: why.into() }
    }

    pub(crate) fn config(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Config { place: place.into(), why: why.into() }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Core(CoreError::io(action, path, source))
    }
}
