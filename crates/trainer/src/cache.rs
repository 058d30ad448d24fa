//! Windows that are kept on disk: a second run over the same data does not cut it again, and a corpus need not fit in
//! memory.
//!
//! One folder an entry, `<folder>/<key>/`, named by everything that decides what it holds: the schema's hash (channels,
//! window, statistics, view, version of the extractor), the digest of the store, which inputs, whether degraded
//! episodes are read, the program's version. When one of them changes the entry is simply not found. An entry is
//! written beside its place and moved there whole; one whose bytes have changed is made again, and that is said.

mod entry;
mod keys;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use stakeout_core::{Batch, CoreError, Schema, WindowTable, Windows, files};
use stakeout_features::{Inputs, StoredWindows};

use crate::{Progress, TrainError, rundir};

pub(crate) use entry::{Contents, Staged, read};

/// Which windows are kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Those that take more than [`LARGE`] bytes; fewer stay in memory and are cut anew by each run.
    #[default]
    Large,
    /// All.
    Always,
    /// None: windows stay in memory, whatever they take.
    Never,
}

/// Bytes of windows from which on they are kept on disk.
pub const LARGE: u64 = 1 << 30;

/// Where windows are kept, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowCache {
    /// The folder of all entries; made when it is needed. Without one nothing is kept.
    pub folder: Option<PathBuf>,
    /// Which windows are kept there.
    pub keep: Keep,
}

impl WindowCache {
    /// Keeps nothing.
    pub const NONE: Self = Self { folder: None, keep: Keep::Never };

    /// The bytes of windows that may stay in memory, and the folder for more; `None` where everything stays in memory.
    pub(crate) fn beyond(&self) -> Option<(u64, &Path)> {
        let folder = self.folder.as_deref()?;
        match self.keep {
            Keep::Never => None,
            Keep::Always => Some((0, folder)),
            Keep::Large => Some((LARGE, folder)),
        }
    }
}

/// The name of an entry.
pub(crate) fn key(schema: &Schema, store_digest: &str, inputs: Inputs, degraded: bool) -> String {
    let text = format!(
        "windows 1, program {}, schema {}, store {store_digest}, summary {}, tensor {}, degraded {degraded}",
        env!("CARGO_PKG_VERSION"),
        schema.hash(),
        inputs.summary,
        inputs.tensor,
    );
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

/// The folder of all entries while this process alone may write there.
pub(crate) struct Locked {
    folder: PathBuf,
    _lock: File,
}

impl Locked {
    /// Waits for another process that writes, and removes what killed ones have left.
    pub(crate) fn wait(folder: &Path, progress: &dyn Progress) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(|e| TrainError::io("making", folder, e))?;
        let path = folder.join(".lock");
        let io = |source| TrainError::io("locking", &path, source);
        let lock = files::open_lock(&path).map_err(io)?;
        if lock.try_lock().is_err() {
            progress.say(&format!("waiting for another process that keeps windows in {}", folder.display()));
            lock.lock().map_err(io)?;
        }
        for left in rundir::folders(folder, files::TEMPORARY_PREFIX)? {
            fs::remove_dir_all(&left).map_err(|e| TrainError::io("removing", &left, e))?;
        }
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }
}

/// Windows in memory or on disk.
#[derive(Debug)]
pub enum HeldWindows {
    /// In memory.
    Memory(WindowTable),
    /// On disk, read by position.
    Disk(StoredWindows),
}

impl HeldWindows {
    /// Some windows alone, in the given order: nothing of the others is left, wherever they are held.
    ///
    /// # Errors
    /// [`CoreError::Shape`] when a row is out of range, [`CoreError::Io`] on disk.
    pub fn select(&self, rows: &[usize]) -> Result<Self, CoreError> {
        Ok(match self {
            Self::Memory(table) => Self::Memory(table.select(rows)?),
            Self::Disk(stored) => Self::Disk(stored.select(rows)?),
        })
    }

    fn held(&self) -> &dyn Windows {
        match self {
            Self::Memory(table) => table,
            Self::Disk(stored) => stored,
        }
    }
}

impl From<WindowTable> for HeldWindows {
    fn from(table: WindowTable) -> Self {
        Self::Memory(table)
    }
}

impl Windows for HeldWindows {
    fn len(&self) -> usize {
        self.held().len()
    }

    fn schema(&self) -> &Schema {
        self.held().schema()
    }

    fn gather(&self, rows: &[usize], into: &mut Batch) -> Result<(), CoreError> {
        self.held().gather(rows, into)
    }
}
