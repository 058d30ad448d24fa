//! The files of a run, copied once: what is judged, what is digested and what is filed are the same bytes, whatever
//! happens to the run's folder meanwhile.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stakeout_core::files;
use stakeout_trainer::TrainError;
use stakeout_trainer::rundir::{self, CHECKPOINT, EXPERIMENT, METRICS, PREDICTIONS};

use crate::EvidenceError;

/// The files that a run is judged by and a registry keeps.
pub const FILES: [&str; 4] = [CHECKPOINT, EXPERIMENT, METRICS, PREDICTIONS];

/// Largest file that is taken.
const MAX_BYTES: u64 = 8 << 30;

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRead {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its content, in lower-case hex.
    pub blake3: String,
}

/// A private copy of the files of one run.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    files: Vec<FileRead>,
}

impl Snapshot {
    /// Copies the files of the run in `run` into `into`, which is made.
    ///
    /// # Errors
    /// [`EvidenceError::Train`] for a folder that is no finished run of one cell; [`EvidenceError::Core`] when a file
    /// cannot be read or written.
    pub fn take(run: &Path, into: &Path) -> Result<Self, EvidenceError> {
        Self::look(run)?;
        fs::create_dir_all(into).map_err(|e| EvidenceError::io("making", into, e))?;
        let files = FILES.iter().map(|name| copy(&run.join(name), &into.join(name), name)).collect::<Result<_, _>>()?;
        Ok(Self { path: into.to_owned(), files })
    }

    /// Says what is wrong with a folder that is a grid, holds many folds, was not finished or is no run, before anything is
    /// made for it.
    ///
    /// # Errors
    /// [`EvidenceError::Train`].
    pub fn look(run: &Path) -> Result<(), EvidenceError> {
        rundir::read_experiment(run)?;
        rundir::checkpoint(run)?;
        for name in [METRICS, PREDICTIONS] {
            if fs::symlink_metadata(run.join(name)).is_err() {
                let why = format!("there is no {name}: the run was not finished, continue it with --resume");
                return Err(TrainError::Run { path: run.display().to_string(), why }.into());
            }
        }
        Ok(())
    }

    /// Where the copy lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was read.
    pub fn files(&self) -> &[FileRead] {
        &self.files
    }

    /// The address of this content.
    pub fn id(&self) -> String {
        address(&self.files)
    }
}

/// The address of a run's files: BLAKE3 over their names, lengths and digests.
pub fn address(files: &[FileRead]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"stakeout model 1\n");
    for file in files {
        hasher.update(format!("{} {} {}\n", file.name, file.bytes, file.blake3).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Reads the files of a folder as they are now.
///
/// # Errors
/// [`EvidenceError::Core`] when one is missing or cannot be read.
pub fn digests(folder: &Path) -> Result<Vec<FileRead>, EvidenceError> {
    FILES.iter().map(|name| pass(&folder.join(name), name, &mut std::io::sink())).collect()
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<FileRead, EvidenceError> {
    let io = |source| EvidenceError::io("writing", to, source);
    let mut file = File::create(to).map_err(io)?;
    let read = pass(from, name, &mut file)?;
    file.sync_all().map_err(io)?;
    Ok(read)
}

/// Reads a file once, into a digest and wherever else it goes.
fn pass(from: &Path, name: &str, into: &mut dyn Write) -> Result<FileRead, EvidenceError> {
    let io = |source| EvidenceError::io("reading", from, source);
    let mut file = files::open_regular(from).map_err(io)?;
    let (mut hasher, mut bytes, mut buffer) = (blake3::Hasher::new(), 0u64, vec![0; 1 << 18]);
    loop {
        let n = file.read(&mut buffer).map_err(io)?;
        if n == 0 {
            break;
        }
        bytes += n as u64;
        if bytes > MAX_BYTES {
            let why =
                std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("it is larger than {MAX_BYTES} bytes"));
            return Err(io(why));
        }
        hasher.update(&buffer[..n]);
        into.write_all(&buffer[..n]).map_err(|e| EvidenceError::io("copying", from, e))?;
    }
    Ok(FileRead { name: name.to_owned(), bytes, blake3: hasher.finalize().to_hex().to_string() })
}
