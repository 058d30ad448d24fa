//! Writing a store: whole episodes or nothing.
//!
//! An episode is written into a folder beside its place, synced, and renamed; only then does the index name it. After
//! a crash there may be a leftover folder or an episode that the index does not know, never half an episode that the
//! index calls whole. Index lines stand in the order of sequence numbers that the caller chooses, whatever thread
//! finishes first, so the same input gives the same bytes.

mod episode;
mod file;
mod index;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::{EPISODES_FOLDER, INDEX_FILE, PARTIAL_PREFIX};
use crate::{Corpus, EpisodeMeta, TelemetryError};
use index::Index;

pub use episode::EpisodeWriter;
pub(crate) use file::hex;

/// The lock of a store that is being written.
const LOCK_FILE: &str = ".lock";

/// How the row files of an episode are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// JSON Lines.
    #[default]
    Plain,
    /// JSON Lines in one zstd frame, `.jsonl.zst`.
    Zstd,
}

/// A store that is being written. Shared by reference between threads; locked against other processes.
///
/// ```
/// use stakeout_telemetry::{Corpus, StoreWriter, Compression, EpisodeMeta, meta};
/// # let folder = tempfile::tempdir().unwrap();
/// let corpus = Corpus::built_in();
/// let store = StoreWriter::create(&folder.path().join("store"), &corpus)?;
/// let start = 1_700_000_000_000_000_000;
/// let id = meta::ulid_from(1_700_000_000_000, &corpus.name, "run-1");
/// let meta = EpisodeMeta::new(id, "run-1", (start, start + 60_000_000_000)).on("host-1").of("sleep", "benign");
/// let mut episode = store.episode(0, meta, Compression::Plain)?;
/// episode.label(0, start, "clean")?;
/// let channels = corpus.channels_of(stakeout_core::Source::Guest).count();
/// episode.row(stakeout_core::Source::Guest, 0, start, &vec![1.0; channels])?;
/// episode.finish(start)?;
/// assert_eq!(store.finish()?, 1);
/// # Ok::<(), stakeout_telemetry::TelemetryError>(())
/// ```
#[derive(Debug)]
pub struct StoreWriter {
    path: PathBuf,
    corpus: Corpus,
    index: Mutex<Index>,
    /// Held for its lock; the operating system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl StoreWriter {
    /// A new store in an absent or empty folder.
    ///
    /// # Errors
    /// When the folder is not empty, is locked by another writer, or cannot be written.
    pub fn create(path: &Path, corpus: &Corpus) -> Result<Self, TelemetryError> {
        fs::create_dir_all(path).map_err(|error| TelemetryError::io("creating", path, error))?;
        let mut entries = fs::read_dir(path).map_err(|error| TelemetryError::io("reading", path, error))?;
        if entries.next().is_some() {
            return Err(TelemetryError::store(path, "the folder is not empty: name a new one, or remove it first"));
        }
        let lock = lock(path)?;
        corpus.write(path)?;
        Self::open(path, corpus, lock)
    }

    /// Adds to a store that holds the same corpus. Leftovers of an interrupted writer are removed.
    ///
    /// # Errors
    /// When the folder is no store, holds another corpus, is locked by another writer, or cannot be written.
    pub fn append(path: &Path, corpus: &Corpus) -> Result<Self, TelemetryError> {
        if !path.join(INDEX_FILE).is_file() {
            return Err(TelemetryError::store(path, format!("there is no {INDEX_FILE}: this is no store")));
        }
        let lock = lock(path)?;
        if Corpus::read(path)? != *corpus {
            return Err(TelemetryError::store(path, "it holds another corpus: a store has one corpus.toml"));
        }
        let writer = Self::open(path, corpus, lock)?;
        remove_leftovers(&path.join(EPISODES_FOLDER))?;
        Ok(writer)
    }

    fn open(path: &Path, corpus: &Corpus, lock: File) -> Result<Self, TelemetryError> {
        let episodes = path.join(EPISODES_FOLDER);
        fs::create_dir_all(&episodes).map_err(|error| TelemetryError::io("creating", &episodes, error))?;
        let index = Index::open(&path.join(INDEX_FILE), episodes)?;
        Ok(Self { path: path.to_owned(), corpus: corpus.clone(), index: Mutex::new(index), _lock: lock })
    }

    /// The corpus that is being written.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// The folder of the store.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts an episode. `sequence` counts the episodes of this writer from 0 and orders the index: the lines of
    /// later numbers wait in memory for earlier ones, so hand out numbers in small consecutive blocks to threads.
    /// The row counters of `meta` are filled in by the writer.
    ///
    /// # Errors
    /// When `meta` breaks a rule, or the episode is there already.
    pub fn episode(
        &self,
        sequence: u64,
        meta: EpisodeMeta,
        compression: Compression,
    ) -> Result<EpisodeWriter<'_>, TelemetryError> {
        EpisodeWriter::start(self, sequence, meta, compression)
    }

    /// Writes what is still waiting for the index, syncs, and returns how many episodes this writer added.
    ///
    /// # Errors
    /// I/O errors.
    pub fn finish(self) -> Result<u64, TelemetryError> {
        self.index.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
    }

    fn lock_index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_leftovers(episodes: &Path) -> Result<(), TelemetryError> {
    let failed = |error| TelemetryError::io("cleaning", episodes, error);
    for entry in fs::read_dir(episodes).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn lock(store: &Path) -> Result<File, TelemetryError> {
    let path = store.join(LOCK_FILE);
    let file = stakeout_core::files::open_lock(&path).map_err(|error| TelemetryError::io("locking", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(TelemetryError::store(store, "another process is writing it: wait for it"))
        }
        Err(TryLockError::Error(error)) => Err(TelemetryError::io("locking", &path, error)),
    }
}

fn sync_folder(folder: &Path) -> Result<(), TelemetryError> {
    #[cfg(unix)]
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|error| TelemetryError::io("syncing", folder, error))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
