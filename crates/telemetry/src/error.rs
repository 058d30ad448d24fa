use std::error::Error as StdError;
use std::path::Path;

use stakeout_core::CoreError;
use stakeout_core::text::printable;
use thiserror::Error;

/// What can be wrong with a store, a corpus description or a row.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The file system said no.
    #[error("{action} {path}")]
    Io {
        /// What was being done, as a gerund: `reading`, `writing`.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A text file breaks its format.
    #[error("{file}:{line}: {why}")]
    Malformed {
        /// The file.
        file: String,
        /// 1-based line.
        line: u64,
        /// What is wrong and, where there is one, the remedy.
        why: String,
    },
    /// A folder is not what it has to be.
    #[error("store {path}: {why}")]
    Store {
        /// The folder.
        path: String,
        /// What is wrong and the remedy.
        why: String,
    },
    /// A value breaks a rule.
    #[error("{what} `{value}` is not valid: {why}")]
    Invalid {
        /// What kind of value it is.
        what: &'static str,
        /// The value, made printable.
        value: String,
        /// The rule.
        why: String,
    },
    /// A columnar table cannot be read or written.
    #[error("table {path}")]
    Table {
        /// The file.
        path: String,
        /// What the table library says.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A shared word is not valid.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl TelemetryError {
    /// An I/O error with the action (a gerund) and the path that it happened to.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: shown(path), source }
    }

    /// A line of a text file that breaks its format.
    pub fn malformed(file: &Path, line: u64, why: impl Into<String>) -> Self {
        Self::Malformed { file: shown(file), line, why: why.into() }
    }

    /// A folder that is not what it has to be.
    pub fn store(path: &Path, why: impl Into<String>) -> Self {
        Self::Store { path: shown(path), why: why.into() }
    }

    /// An invalid value with the rule that it breaks.
    pub fn invalid(what: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self::Invalid { what, value: printable(value, 120), why: why.into() }
    }
}

/// A path as a terminal may show it: parts of it are names that a corpus chose.
pub(crate) fn shown(path: &Path) -> String {
    printable(&path.display().to_string(), 400)
}
