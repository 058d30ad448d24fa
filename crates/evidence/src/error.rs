use std::path::Path;

use stakeout_core::CoreError;
use stakeout_eval::EvalError;
use stakeout_splits::SplitError;
use stakeout_trainer::TrainError;
use thiserror::Error;

/// Why a run cannot be judged or a registry not be used. That a run is refused is no error: it is a verdict.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A policy is unknown in part or out of range.
    #[error("policy {place}: {why}")]
    Policy {
        /// File and line, or the key.
        place: String,
        /// The rule and the way forward.
        why: String,
    },
    /// The registry is damaged, of another version, or has no such model.
    #[error("registry {path}: {why}")]
    Registry {
        /// The file or folder.
        path: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// A file of a run is damaged, or not what it should be.
    #[error("{why}; a file of a run is never edited: make the run again, or bring the file back from a copy")]
    Unreadable {
        /// The file, the place in it and the rule.
        why: String,
    },
    /// A word of the caller's is out of range.
    #[error("{what}: {why}")]
    Invalid {
        /// Which one.
        what: &'static str,
        /// The rule.
        why: String,
    },
    /// A model was deployed, and its line of the log could not be written.
    #[error(
        "{id} is the current model now, but the log could not say so: the next change of the registry writes it down"
    )]
    Unlogged {
        /// The beginning of its address.
        id: String,
        /// Why the log could not be written.
        #[source]
        source: Box<EvidenceError>,
    },
    /// Somebody else changed the current model while this one was judged against it.
    #[error("the current model changed while this one was judged against it: gate it again")]
    Overtaken,
    /// Reading the run, or making it again, failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Scores or predictions failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A recipe failed.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A checkpoint, a schema or a file failed.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl EvidenceError {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Core(CoreError::io(action, path, source))
    }

    pub(crate) fn registry(path: &Path, why: impl Into<String>) -> Self {
        Self::Registry { path: path.display().to_string(), why: why.into() }
    }

    pub(crate) fn policy(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Policy { place: place.into(), why: why.into() }
    }
}
