//! One model in a registry.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;
use stakeout_core::files;

use super::{BUNDLE, Stage};
use crate::EvidenceError;
use crate::bundle::Bundle;
use crate::snapshot::{address, digests};

const MAX_BUNDLE: u64 = 64 << 20;

/// Where a model stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is deployed.
    Current,
    /// It was deployed.
    Earlier,
    /// It was accepted and never deployed.
    Candidate,
}

impl State {
    /// The lower-case name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Earlier => "earlier",
            Self::Candidate => "candidate",
        }
    }
}

/// A model with its last judgement.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Address of its files.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// Its folder.
    pub path: PathBuf,
    /// Its last judgement; why it cannot be read.
    pub bundle: Result<Box<Bundle>, String>,
}

impl Entry {
    pub(super) fn read(path: &Path, id: String, state: State) -> Self {
        let bundle = read_bundle(path).and_then(|bundle| {
            if bundle.id == id {
                Ok(Box::new(bundle))
            } else {
                Err(format!("{BUNDLE} is of another model: it is damaged, gate the run again"))
            }
        });
        Self { id, state, path: path.to_owned(), bundle }
    }

    /// Reads its files again: whether they still are what the address says.
    ///
    /// # Errors
    /// [`EvidenceError::Registry`] when a byte was changed; [`EvidenceError::Core`] when a file is missing.
    pub fn verify(&self) -> Result<(), EvidenceError> {
        if address(&digests(&self.path)?) == self.id {
            return Ok(());
        }
        Err(EvidenceError::registry(&self.path, "its files are not those of its address: a byte was changed"))
    }
}

fn read_bundle(folder: &Path) -> Result<Bundle, String> {
    let bytes = files::read_regular(&folder.join(BUNDLE), MAX_BUNDLE).map_err(|error| format!("{BUNDLE}: {error}"))?;
    let bundle: Bundle = serde_json::from_slice(&bytes).map_err(|error| {
        format!("{BUNDLE}, line {}: {error}: it is damaged or of another version, gate the run again", error.line())
    })?;
    if bundle.is_whole() {
        return Ok(bundle);
    }
    Err(format!("the digest of {BUNDLE} is not that of its content: it was edited, gate the run again"))
}

/// Whether a text is an address: 64 lower-case hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The addresses in a folder of entries, sorted; what else lies there is nobody's entry. A folder that is not there has
/// none: not every copy of a registry keeps empty ones.
pub(super) fn ids(folder: &Path) -> Result<Vec<String>, EvidenceError> {
    let mut ids = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ids),
        Err(error) => return Err(EvidenceError::io("reading", folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| EvidenceError::io("reading", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_id(&name) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            ids.push(name);
        }
    }
    ids.sort();
    Ok(ids)
}

/// Whether a folder holds what the address says.
pub(super) fn is_whole(folder: &Path, id: &str) -> bool {
    digests(folder).is_ok_and(|files| address(&files) == id)
}

pub(super) fn write_bundle(folder: &Path, bundle: &Bundle) -> Result<(), EvidenceError> {
    let path = folder.join(BUNDLE);
    let mut text = serde_json::to_string_pretty(bundle).map_err(|e| EvidenceError::registry(&path, e.to_string()))?;
    text.push('\n');
    Ok(files::write_atomic(&path, text.as_bytes())?)
}

/// Moves what was staged to its place, whole. What stands there under its name and is damaged makes room.
pub(super) fn put(stage: &Stage, place: &Path, bundle: &Bundle) -> Result<(), EvidenceError> {
    let entry = stage.entry();
    if place.exists() {
        if is_whole(place, &bundle.id) {
            return write_bundle(place, bundle);
        }
        let aside = stage.path().join("damaged");
        fs::rename(place, &aside).map_err(|e| EvidenceError::io("moving", place, e))?;
    }
    write_bundle(&entry, bundle)?;
    fs::rename(&entry, place).map_err(|e| EvidenceError::io("moving", place, e))?;
    // The folder that the rename changed: after a power cut it is there or not, never half.
    #[cfg(unix)]
    if let Some(parent) = place.parent() {
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(|e| EvidenceError::io("writing", parent, e))?;
    }
    Ok(())
}
