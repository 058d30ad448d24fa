//! The index on its way to disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::sync_folder;
use crate::TelemetryError;

/// Index lines that wait for a sync together.
const INDEX_BATCH: usize = 64;

/// The append-only index, in sequence order.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    path: PathBuf,
    episodes: PathBuf,
    next: u64,
    waiting: BTreeMap<u64, Option<Vec<u8>>>,
    ready: Vec<Vec<u8>>,
    written: u64,
}

impl Index {
    pub(super) fn open(path: &Path, episodes: PathBuf) -> Result<Self, TelemetryError> {
        let failed = |error| TelemetryError::io("writing", path, error);
        cut_partial_line(path).map_err(failed)?;
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        let (waiting, ready) = (BTreeMap::new(), Vec::new());
        Ok(Self { file, path: path.to_owned(), episodes, next: 0, waiting, ready, written: 0 })
    }

    pub(super) fn submit(&mut self, sequence: u64, line: Option<Vec<u8>>) -> Result<(), TelemetryError> {
        if sequence < self.next || self.waiting.insert(sequence, line).is_some() {
            return Err(TelemetryError::invalid("sequence number", &sequence.to_string(), "it was used already"));
        }
        while let Some(line) = self.waiting.remove(&self.next) {
            self.ready.extend(line);
            self.next += 1;
        }
        if self.ready.len() >= INDEX_BATCH { self.flush() } else { Ok(()) }
    }

    /// Writes every line that waits, gaps or not, and says how many were written in all.
    pub(super) fn finish(mut self) -> Result<u64, TelemetryError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.ready.extend(waiting.into_values().flatten());
        self.flush()?;
        Ok(self.written)
    }

    /// Renames first reach the disk, then the lines that speak of them.
    fn flush(&mut self) -> Result<(), TelemetryError> {
        sync_folder(&self.episodes)?;
        let failed = |error| TelemetryError::io("writing", &self.path, error);
        self.file.write_all(&self.ready.concat()).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.written += self.ready.len() as u64;
        self.ready.clear();
        Ok(())
    }
}

/// A crash may have cut the last line of an index: it named no one, and the next line must not be glued to it.
fn cut_partial_line(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut last = [0];
    if file.seek(SeekFrom::End(-1)).is_err() {
        return Ok(()); // it is empty
    }
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    file.set_len(whole as u64)
}
