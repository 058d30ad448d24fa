//! Where a threshold comes from: as it is stored, and for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::parametric::Parametric;
use super::tail::Tail;

/// A budget that held-out vectors cannot vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Held-out blocks that the budget needs.
    pub needed: usize,
    /// Held-out blocks that there are.
    pub have: usize,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the budget needs {} held-out blocks, there are {}", self.needed, self.have)
    }
}

/// Where a threshold comes from, and what it can promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Calibration {
    /// Held-out vectors.
    Conformal {
        tail: Tail,
        block_length: usize,
        /// Vectors held out, and those among them that lay apart and were left out.
        vectors: usize,
        left_out: usize,
    },
    /// A distribution.
    Parametric {
        distribution: Parametric,
        refused: Option<Refusal>,
        block_length: Option<usize>,
        vectors: usize,
        left_out: usize,
    },
}

/// Where a baseline's threshold comes from, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibrated {
    /// `conformal` (a finite-sample guarantee) or `parametric` (none).
    pub kind: &'static str,
    /// Above this z a vector is an outlier.
    pub threshold: f64,
    /// The share of normal vectors above it: at most this, or by the distribution.
    pub level: f64,
    /// Vectors of a block; blocks, not vectors, are taken to be exchangeable.
    pub block_length: Option<usize>,
    /// Held-out blocks.
    pub blocks: Option<usize>,
    /// Vectors that were scored by a baseline that had not seen them.
    pub held_out: usize,
    /// Those among them that lay apart from all others and were left out. If they were normal after all, their share
    /// comes on top of `level`.
    pub left_out: usize,
    /// Why there is no guarantee, where one was wanted.
    pub refused: Option<Refusal>,
    /// The distribution, where it is one: z² follows it.
    pub distribution: Option<String>,
}
