//! The files of a run, copied once: what is judged, what is digested and what is filed are the same bytes, whatever
//! happens to the run's folder meanwhile.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stakeout_core::files;
use stakeout_trainer::TrainError;
use stakeout_trainer::rundir::{self, CHECKPOINT, EXPERIMENT, METRICS, PREDICTIONS};

use crate::EvidenceError;

/// The files that a run is judged by and a registry keeps.
pub const FILES: [&str; 4] = [CHECKPOINT, EXPERIMENT, METRICS, PREDICTIONS];

/// Largest file that is taken: what its reader accepts.
fn cap(name: &str) -> u64 {
    match name {
        EXPERIMENT => 1 << 20,
        METRICS => 256 << 20,
        PREDICTIONS => 4 << 30,
        _ => 8 << 30,
    }
}

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
    run: PathBuf,
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
        Ok(Self { run: run.to_owned(), path: into.to_owned(), files })
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
                let why =
                    format!("there is no {name}: the run was not finished, continue it with `stakeout train --resume`");
                return Err(TrainError::Run { path: run.display().to_string(), why }.into());
            }
        }
        Ok(())
    }

    /// Where the copy lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error of the copy of `name` (empty: of any file), as one of the run that it was taken from: the copy is gone when
    /// somebody reads the message. What the file system did to the copy stays what it is.
    pub(crate) fn blame(&self, name: &str, error: EvidenceError) -> EvidenceError {
        let (mut said, mut failed) = (Vec::<String>::new(), false);
        let mut next: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            next = cause.source();
            failed |= cause.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error().is_some());
            let text = cause.to_string();
            if said.last() != Some(&text) {
                said.push(text); // a transparent error repeats its source
            }
        }
        if failed {
            return error;
        }
        let (copy, run) = (self.path.display().to_string(), self.run.display().to_string());
        let why = said.join(": ").replace(&copy, &run);
        let place = if name.is_empty() { run.clone() } else { self.run.join(name).display().to_string() };
        let place = if why.contains(&run) { String::new() } else { place + ": " };
        EvidenceError::Unreadable { why: place + &why }
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
    FILES.iter().map(|name| pass(&folder.join(name), name, &mut io::sink())).collect()
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<FileRead, EvidenceError> {
    let io = |source| EvidenceError::io("writing", to, source);
    let mut file = File::create(to).map_err(io)?;
    let read = pass(from, name, &mut file)?;
    file.sync_all().map_err(io)?;
    Ok(read)
}

/// Reads a file once, into a digest and wherever else it goes. Its length is looked at before anything is written.
fn pass(from: &Path, name: &str, into: &mut dyn Write) -> Result<FileRead, EvidenceError> {
    let failed = |source| EvidenceError::io("reading", from, source);
    let mut file = files::open_regular(from).map_err(failed)?;
    let cap = cap(name);
    let within = |bytes: u64| {
        if bytes <= cap {
            return Ok(());
        }
        let why = format!("it is larger than the {cap} bytes that are read of one");
        Err(failed(io::Error::new(io::ErrorKind::InvalidInput, why)))
    };
    within(file.metadata().map_err(failed)?.len())?;
    let (mut hasher, mut bytes, mut buffer) = (blake3::Hasher::new(), 0u64, vec![0; 1 << 18]);
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        bytes += n as u64;
        within(bytes)?;
        hasher.update(&buffer[..n]);
        into.write_all(&buffer[..n]).map_err(|e| EvidenceError::io("copying", from, e))?;
    }
    Ok(FileRead { name: name.to_owned(), bytes, blake3: hasher.finalize().to_hex().to_string() })
}
