use thiserror::Error;

/// Why predictions cannot be stored, read or judged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A row of predictions breaks a rule.
    #[error("prediction row {row}: {why}")]
    Row {
        /// Position of the row, from 0.
        row: usize,
        /// The rule and what was found.
        why: String,
    },
    /// A setting or an argument is out of range.
    #[error("{what}: {why}")]
    Invalid {
        /// The setting.
        what: &'static str,
        /// The rule and what was given.
        why: String,
    },
    /// Two sets of predictions do not speak of the same windows.
    #[error("the two runs cannot be paired: {0}")]
    Unpaired(String),
    /// A file of predictions cannot be used.
    #[error("predictions {path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The file system or a shared word said no.
    #[error(transparent)]
    Core(#[from] stakeout_core::CoreError),
    /// A table library failed.
    #[error("{action} predictions {path}")]
    Table {
        /// What was being done, as a gerund.
        action: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl EvalError {
    pub(crate) fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { what, why: why.into() }
    }
}
