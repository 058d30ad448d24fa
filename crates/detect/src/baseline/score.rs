//! What is said of one vector.

use std::fmt;

use serde::{Serialize, Serializer};

use super::MIN_BASELINE_SAMPLES;

/// Why a vector has no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// There is no vector.
    Missing,
    /// The vector has another length than the baseline's.
    Dimensions {
        /// Numbers of the vector.
        got: usize,
        /// Numbers of the baseline.
        expected: usize,
    },
    /// The baseline has seen too few vectors.
    TooFew {
        /// Vectors seen.
        seen: u64,
    },
    /// The baseline forgets so fast that too few vectors count.
    Forgotten,
    /// A value is infinite.
    Infinite,
    /// Fewer than half of the dimensions were observed.
    Unobserved {
        /// Dimensions observed.
        seen: usize,
        /// Dimensions looked at.
        of: usize,
    },
    /// There is no baseline of this host.
    UnknownHost,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no vector"),
            Self::Dimensions { got, expected } => write!(f, "the vector has {got} numbers, the baseline {expected}"),
            Self::TooFew { seen } => {
                write!(f, "the baseline has seen {seen} vectors, {MIN_BASELINE_SAMPLES} are needed")
            }
            Self::Forgotten => {
                write!(f, "the baseline forgets so fast that fewer than {MIN_BASELINE_SAMPLES} vectors count")
            }
            Self::Infinite => f.write_str("a value is infinite"),
            Self::Unobserved { seen, of } => write!(f, "{seen} of {of} dimensions were observed, half are needed"),
            Self::UnknownHost => f.write_str("there is no baseline of this host"),
        }
    }
}

impl Serialize for Skipped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is said of one vector. Where `skipped` gives a reason, nothing is: `z` is 0 and it is no outlier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Root of the mean squared z over the observed dimensions (for a full covariance: of the squared Mahalanobis
    /// distance over their number). Near 1 for a normal vector.
    pub z: f64,
    /// Above this z a vector is an outlier.
    pub threshold: f64,
    /// Whether it is one.
    pub is_outlier: bool,
    /// Dimensions whose own squared z is at least 9.
    pub dims_flagged: usize,
    /// Dimensions that were observed and are looked at.
    pub dims_seen: usize,
    /// Vectors that centre and spread were learnt from.
    pub baseline_n: u64,
    /// Why there is no score.
    pub skipped: Option<Skipped>,
}

impl Score {
    /// No score, for a reason.
    pub(super) fn none(reason: Skipped, threshold: f64, baseline_n: u64) -> Self {
        Self { z: 0.0, threshold, is_outlier: false, dims_flagged: 0, dims_seen: 0, baseline_n, skipped: Some(reason) }
    }
}
