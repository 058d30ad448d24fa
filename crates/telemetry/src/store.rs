//! The layout of a store, and its index.
//!
//! ```text
//! <store>/corpus.toml  index.jsonl  episodes/<ULID>/{meta.json, labels.jsonl, events.jsonl, telemetry-*.jsonl, netflow.jsonl}
//! ```
//! The index says what was received: it detects damage, not an attacker.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stakeout_core::Source;

/// The receiver index of a store.
pub const INDEX_FILE: &str = "index.jsonl";
/// The folder of a store that holds one folder an episode.
pub const EPISODES_FOLDER: &str = "episodes";
/// The description of an episode.
pub const META_FILE: &str = "meta.json";
/// What the name of an episode folder starts with while it is being written.
pub(crate) const PARTIAL_PREFIX: &str = ".partial-";

/// What one JSON Lines file of an episode holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// The phase of the episode, row by row where it changes.
    Labels,
    /// What happened, by name.
    Events,
    /// The rows of a source.
    Rows(Source),
}

impl Stream {
    /// All streams, in the order in which reports name them.
    pub const ALL: [Self; 7] = [
        Self::Labels,
        Self::Events,
        Self::Rows(Source::Proc),
        Self::Rows(Source::Qmp),
        Self::Rows(Source::Guest),
        Self::Rows(Source::Netflow),
        Self::Rows(Source::Perf),
    ];

    /// The name used in reports and row counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Events => "events",
            Self::Rows(source) => source.name(),
        }
    }

    /// The plain file of an episode; the compressed one has `.zst` appended.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Labels => "labels.jsonl",
            Self::Events => "events.jsonl",
            Self::Rows(source) => source.file_name(),
        }
    }

    /// The stream that a file holds, and whether it is compressed.
    pub fn of_file(name: &str) -> Option<(Self, bool)> {
        let (plain, compressed) = name.strip_suffix(".zst").map_or((name, false), |plain| (plain, true));
        Self::ALL.into_iter().find(|stream| stream.file_name() == plain).map(|stream| (stream, compressed))
    }
}

/// One line of the index: an episode as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexRecord {
    /// The episode's ULID.
    pub episode_id: String,
    /// When it was received, Unix nanoseconds.
    pub received_at: i64,
    /// Its files, in name order.
    pub files: Vec<FileRecord>,
}

/// One file of an episode as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Name inside the episode folder.
    pub name: String,
    /// sha256 of the bytes, lower-case hex.
    pub sha256: String,
    /// Number of bytes.
    pub size: u64,
}

/// The folder of an episode. The id must have passed [`crate::meta::check_id`].
pub fn episode_folder(store: &Path, id: &str) -> PathBuf {
    store.join(EPISODES_FOLDER).join(id)
}
