//! The sample index: who each window is, without a single feature value. Splits see this and nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::CoreError;

/// A side of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Fits weights.
    Train,
    /// Chooses epochs, thresholds and temperatures.
    Validation,
    /// Chooses nothing.
    Test,
}

impl Side {
    /// The lower-case name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Side {
    type Err = CoreError;

    fn from_str(s: &str) -> Result<Self, CoreError> {
        match s {
            "train" => Ok(Self::Train),
            "validation" => Ok(Self::Validation),
            "test" => Ok(Self::Test),
            _ => Err(CoreError::invalid("side", s, "use train, validation or test")),
        }
    }
}

/// One episode, with names interned in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeRef {
    /// ULID.
    pub id: String,
    /// Position in [`SampleIndex::hosts`].
    pub host: u32,
    /// Position in [`SampleIndex::samples`].
    pub sample: u32,
    /// Position in [`SampleIndex::profiles`].
    pub profile: u32,
    /// Sample hash in lower-case hex, where known.
    pub sample_sha256: Option<String>,
    /// The side that the corpus itself assigns.
    pub given: Option<Side>,
    /// Observed span in `t_wall_ns`, half open.
    pub span: (i64, i64),
    /// Time of the first label that is not the first class of the list, where there is one.
    pub onset_ns: Option<i64>,
}

/// One labelled window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowKey {
    /// Position in [`SampleIndex::episodes`].
    pub episode: u32,
    /// Start of the window in `t_wall_ns`.
    pub t0_ns: i64,
    /// Class id.
    pub label: u16,
    /// 128-bit digest of the window's content; 0 for a window without a single observed value.
    pub digest: u128,
}

/// All labelled windows of a data set, row for row as in its [`crate::Windows`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SampleIndex {
    /// Class names in id order.
    pub classes: Vec<String>,
    /// Host names, in order of first appearance.
    pub hosts: Vec<String>,
    /// Sample names, in order of first appearance.
    pub samples: Vec<String>,
    /// Profile names, in order of first appearance.
    pub profiles: Vec<String>,
    /// Episodes, in store order.
    pub episodes: Vec<EpisodeRef>,
    /// Windows, in episode then time order.
    pub windows: Vec<WindowKey>,
    /// Length of a window in nanoseconds.
    pub window_ns: i64,
}

impl SampleIndex {
    /// Number of windows.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether there is no window.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// The episode of a window.
    pub fn episode_of(&self, row: usize) -> &EpisodeRef {
        &self.episodes[self.windows[row].episode as usize]
    }

    /// The label of every window.
    pub fn labels(&self) -> Vec<u16> {
        self.windows.iter().map(|window| window.label).collect()
    }
}
