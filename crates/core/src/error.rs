use thiserror::Error;

/// What can be wrong with a word, a schema or a checkpoint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CoreError {
    /// A value does not belong to its closed vocabulary or breaks a rule that it must keep.
    #[error("{what} `{value}` is not valid: {why}")]
    Invalid {
        /// What kind of value it is.
        what: &'static str,
        /// The value as it was given.
        value: String,
        /// The rule and, where there is one, the way forward.
        why: String,
    },
    /// Two things that must have the same shape do not.
    #[error("{what} has {got} but {expected} is needed")]
    Shape {
        /// What was measured.
        what: &'static str,
        /// The size found.
        got: String,
        /// The size needed.
        expected: String,
    },
    /// A window source was asked for an input that it does not hold.
    #[error("this window source holds no {0} input: build it with that input")]
    NotHeld(crate::InputKind),
    /// Data or a checkpoint was made with another schema.
    #[error("the schemas differ:\n  {}", .0.join("\n  "))]
    SchemaMismatch(Vec<String>),
    /// A checkpoint cannot be used.
    #[error("checkpoint {path}: {why}")]
    Checkpoint {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The file system said no.
    #[error("{action} {path}")]
    Io {
        /// What was being done, as a gerund: `reading`, `writing`.
        action: &'static str,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl CoreError {
    /// An I/O error with the action (a gerund) and the path that it happened to.
    pub fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.display().to_string(), source }
    }

    /// An invalid value with the rule that it breaks.
    pub fn invalid(what: &'static str, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what, value: value.into(), why: why.into() }
    }
}
