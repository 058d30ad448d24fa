//! The layout of a store, and its index.
//!
//! ```text
//! <store>/corpus.toml  index.jsonl  episodes/<ULID>/{meta.json, labels.jsonl, events.jsonl, telemetry-*.jsonl, netflow.jsonl}
//! ```
//! The index says what was received: it detects damage, not an attacker.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stakeout_core::Source;
use stakeout_core::text::printable;
use ulid::Ulid;

use crate::reader::{Limits, LineEnd, Lines};
use crate::{Corpus, ReasonCode, TelemetryError};

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

/// One episode of a store, or what stands in the place of one. A few dozen bytes: the index itself stays on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry(pub(crate) Found);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A well-formed id, from the index or from a folder.
    Episode {
        id: Ulid,
        /// Its first line in the index.
        index: Option<IndexLine>,
        /// How many more lines the index has for it.
        again: u32,
        folder: bool,
    },
    /// A line of the index, or a folder, that leads to no episode.
    Refused {
        /// `index.jsonl` or `episodes`.
        file: &'static str,
        line: Option<u64>,
        /// What it calls itself, made printable.
        name: Box<str>,
        code: ReasonCode,
        text: Box<str>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexLine {
    offset: u64,
    len: u32,
    pub(crate) number: u64,
}

impl Entry {
    /// The ULID; for what is no episode, its printable name and place.
    pub fn id(&self) -> String {
        match &self.0 {
            Found::Episode { id, .. } => id.to_string(),
            Found::Refused { file, line: Some(line), name, .. } => format!("{name} ({file}:{line})"),
            Found::Refused { file, name, .. } => format!("{name} ({file})"),
        }
    }
}

/// A store that is being read.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    corpus: Corpus,
    entries: Vec<Entry>,
    leftovers: usize,
}

impl Store {
    /// Opens a store: reads `corpus.toml`, and finds the episodes of the index and of the folder. No episode is read.
    ///
    /// # Errors
    /// When the folder is no store, `corpus.toml` breaks its format, or the file system says no. A damaged index line
    /// is an [`Entry`], not an error.
    pub fn open(path: &Path) -> Result<Self, TelemetryError> {
        let episodes = path.join(EPISODES_FOLDER);
        if !episodes.is_dir() {
            let why = if path.is_dir() {
                format!("there is no folder `{EPISODES_FOLDER}` in it: this is no store")
            } else if path.exists() {
                "it is a file: this is no store, which is a folder; tables become one by `stakeout import table`"
                    .to_owned()
            } else {
                "there is no such folder".to_owned()
            };
            return Err(TelemetryError::store(path, why));
        }
        let corpus = Corpus::read(path)?;
        let mut found = BTreeMap::new();
        let mut refused = Vec::new();
        read_index(&path.join(INDEX_FILE), &mut found, &mut refused)?;
        let leftovers = read_folders(&episodes, &mut found, &mut refused)?;
        let episodes =
            found.into_iter().map(|(id, (index, again, folder))| Found::Episode { id, index, again, folder });
        let entries = episodes.chain(refused).map(Entry).collect();
        Ok(Self { path: path.to_owned(), corpus, entries, leftovers })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its episodes have in common.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// Episodes in the order of their ids, then what is none, in the order in which it was found.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many folders an interrupted writer left behind. They are no episodes and are not read.
    pub fn leftovers(&self) -> usize {
        self.leftovers
    }

    /// BLAKE3 over corpus and index, in hex: two stores with the same digest were received with the same content.
    ///
    /// # Errors
    /// I/O errors.
    pub fn digest(&self) -> Result<String, TelemetryError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.corpus.to_toml()?.as_bytes()).update(b"\0");
        let path = self.path.join(INDEX_FILE);
        match File::open(&path) {
            Ok(file) => {
                hasher.update_reader(file).map_err(|error| TelemetryError::io("reading", &path, error))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(TelemetryError::io("reading", &path, error)),
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The index line of an entry, read again.
    pub(crate) fn record(&self, line: IndexLine) -> Result<IndexRecord, TelemetryError> {
        let path = self.path.join(INDEX_FILE);
        let failed = |error| TelemetryError::io("reading", &path, error);
        let mut file = File::open(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(line.offset)).map_err(failed)?;
        let mut bytes = vec![0; line.len as usize];
        file.read_exact(&mut bytes).map_err(failed)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            TelemetryError::malformed(&path, line.number, format!("it changed while it was read: {error}"))
        })
    }
}

type Known = BTreeMap<Ulid, (Option<IndexLine>, u32, bool)>;

fn read_index(path: &Path, found: &mut Known, refused: &mut Vec<Found>) -> Result<(), TelemetryError> {
    let mut buffer = Vec::new();
    let mut lines = match Lines::open(path, false, Limits::default(), &mut buffer) {
        Ok(lines) => lines,
        Err(problem) if problem.code == ReasonCode::FileMissing => return Ok(()),
        Err(problem) => return Err(TelemetryError::store(path, problem.text)),
    };
    while let Some(line) = lines.next_line().map_err(|problem| TelemetryError::store(path, problem.text))? {
        let number = line.number;
        let mut refuse = |name: &str, code, text: String| {
            let (name, text) = (printable(name, 64).into(), text.into());
            refused.push(Found::Refused { file: INDEX_FILE, line: Some(number), name, code, text });
        };
        match line.end {
            LineEnd::Whole => {}
            LineEnd::Cut => {
                refuse("?", ReasonCode::IndexUnreadable, "the last line of the index was cut".into());
                continue;
            }
            LineEnd::TooLong => {
                refuse("?", ReasonCode::IndexUnreadable, "the line is longer than the cap".into());
                continue;
            }
        }
        let place = IndexLine { offset: line.offset, len: line.bytes.len() as u32, number };
        match serde_json::from_slice::<IndexRecord>(line.bytes) {
            Err(error) => refuse("?", ReasonCode::IndexUnreadable, error.to_string()),
            Ok(record) => match crate::meta::parse_id(&record.episode_id) {
                Err(error) => refuse(&record.episode_id, ReasonCode::UnsafeId, error.to_string()),
                Ok(id) => {
                    let (first, again, _) = found.entry(id).or_insert((None, 0, false));
                    match first {
                        None => *first = Some(place),
                        Some(_) => *again += 1,
                    }
                }
            },
        }
    }
    Ok(())
}

fn read_folders(episodes: &Path, found: &mut Known, refused: &mut Vec<Found>) -> Result<usize, TelemetryError> {
    let failed = |error| TelemetryError::io("reading", episodes, error);
    let mut leftovers = 0;
    let mut odd = Vec::new();
    for entry in fs::read_dir(episodes).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        match name.to_str() {
            Some(name) if name.starts_with(PARTIAL_PREFIX) => leftovers += 1,
            text => match text.and_then(|name| crate::meta::parse_id(name).ok()) {
                Some(id) => found.entry(id).or_insert((None, 0, false)).2 = true,
                None => odd.push(name),
            },
        }
    }
    odd.sort();
    refused.extend(odd.into_iter().map(|name| Found::Refused {
        file: EPISODES_FOLDER,
        line: None,
        name: printable(&name.to_string_lossy(), 64).into(),
        code: ReasonCode::UnsafeId,
        text: "the name of a folder of episodes is a ULID of 26 upper-case base 32 digits".into(),
    }));
    Ok(leftovers)
}
