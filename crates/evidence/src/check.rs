//! What one check of a run found.

use serde::{Deserialize, Serialize};

use crate::differences::Compared;

/// How a check or a criterion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Met,
    /// It does not: the run is refused.
    Refused,
    /// It could not be looked at, or there was nothing to hold it against; the reason stands beside it.
    NotJudged,
}

/// One check of what a run's files say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// The way forward, where it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Check {
    pub(crate) fn met(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Met, found: found.into(), remedy: String::new() }
    }

    pub(crate) fn refused(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Refused, found: found.into(), remedy: remedy.into() }
    }

    pub(crate) fn not_judged(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::NotJudged, found: found.into(), remedy: String::new() }
    }

    /// Refused with the sentences, met without one.
    pub(crate) fn of(name: &str, wrong: &[String], met: impl Into<String>, remedy: &str) -> Self {
        if wrong.is_empty() { Self::met(name, met) } else { Self::refused(name, wrong.join("; "), remedy) }
    }

    pub(crate) fn of_compared(name: &str, compared: &Compared, met: impl Into<String>, remedy: &str) -> Self {
        if compared.differences.is_empty() {
            Self::met(name, met)
        } else {
            Self::refused(name, compared.sentence(), remedy)
        }
    }
}
