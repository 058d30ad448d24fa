use thiserror::Error;

/// Why an episode could not be cut into windows.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The trace does not follow its own description or the schema.
    #[error("episode {episode}, source {from}: {why}")]
    Trace {
        /// The episode.
        episode: String,
        /// The source whose rows are at fault.
        from: stakeout_core::Source,
        /// What is wrong and what to do.
        why: String,
    },
    /// Cutting would take more memory than any real episode needs.
    #[error("episode {episode}: {what} would be {got}, the limit is {limit}: {remedy}")]
    TooLarge {
        /// The episode.
        episode: String,
        /// What grows.
        what: &'static str,
        /// How large it would be.
        got: u128,
        /// How large it may be.
        limit: u128,
        /// The way forward.
        remedy: &'static str,
    },
}
