use thiserror::Error;

/// Why a detector cannot be trained, asked, stored or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DetectError {
    /// A file could not be read or written.
    #[error("{action} {path}")]
    Io {
        /// What was being done, as a gerund.
        action: &'static str,
        /// The file.
        path: String,
        /// The operating system's word.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}{}: {why}", line.map_or(String::new(), |line| format!(":{line}")))]
    Parse {
        /// The file.
        path: String,
        /// The line, from 1, where one can be named.
        line: Option<u64>,
        /// What is wrong and what to do.
        why: String,
    },
    /// A file is of a version that this program does not read.
    #[error("{path}: version {found} is {}, this program reads version {known}", if found > known { "newer" } else { "older" })]
    Version {
        /// The file.
        path: String,
        /// The version that it announces.
        found: u64,
        /// The version that is read here.
        known: u64,
    },
    /// A counter that starts at 1 is 0.
    #[error("{path}: `{id}` has {counter} = 0; counters start at 1")]
    ZeroCounter {
        /// The file.
        path: String,
        /// The detector, and the host where it is a host's counter.
        id: String,
        /// `alpha` or `beta`.
        counter: &'static str,
    },
    /// A detector or a host has no name.
    #[error("{path}: a detector or host with a blank name")]
    BlankId {
        /// The file.
        path: String,
    },
    /// A file is larger than it can honestly be.
    #[error("{path}: {size} bytes, at most {cap} are read")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The largest size in bytes.
        cap: u64,
    },
    /// A setting or an argument is out of range.
    #[error("{what}: {why}")]
    Invalid {
        /// The setting.
        what: &'static str,
        /// The rule and what was given.
        why: String,
    },
    /// There is too little or the wrong kind of data to learn from.
    #[error("{0}")]
    Data(String),
}

impl DetectError {
    /// An I/O error with the action (a gerund) and the path that it happened to.
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.display().to_string(), source }
    }
}
