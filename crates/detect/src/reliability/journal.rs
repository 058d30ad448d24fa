//! The journal: every change of a store, with who, when and why, one JSON line each, appended and synced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::files;

use super::prior::FleetPrior;
use super::store::{Entry, check_name};
use crate::DetectError;

/// The version of the journal that is read and written.
pub const JOURNAL_VERSION: u64 = 1;

/// The longest line, in bytes: an import of the largest store fits.
pub(super) const LONGEST_LINE: u64 = 2 * super::file::LARGEST_FILE;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Counts the records, from 1.
    pub seq: u64,
    /// When, in Unix nanoseconds.
    pub t_wall_ns: u64,
    /// Who said so.
    pub who: String,
    /// Why, where a reason was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What was said.
    pub what: What,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// Alerts were confirmed or refuted.
    Feedback {
        /// The detector of each hit; one that stands twice counts twice.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tp: Vec<String>,
        /// The detector of each false alarm.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fp: Vec<String>,
        /// The host that they were on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// The evidence of another file was added.
    Import {
        /// Its name.
        from: String,
        /// A digest of its bytes: the same file is not counted twice unasked.
        digest: String,
        /// Its evidence.
        detectors: BTreeMap<String, Entry>,
    },
    /// The prior was fitted anew.
    RefitPrior {
        /// What came out.
        prior: FleetPrior,
    },
    /// An earlier change was taken back.
    Undo {
        /// Its number.
        seq: u64,
    },
    /// A store was found that the journal does not explain, and is from here on what it says.
    Adopt {
        /// Its evidence.
        detectors: BTreeMap<String, Entry>,
        /// Its prior.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prior: Option<FleetPrior>,
    },
}

impl Record {
    /// The rule that a line breaks, though it has the form of a record.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = |name: &str| check_name("name", name).map_err(|error| error.to_string());
        let entries = |detectors: &BTreeMap<String, Entry>| {
            detectors.iter().try_for_each(|(id, entry)| {
                name(id)?;
                entry.hosts().keys().try_for_each(|host| name(host))
            })
        };
        match &self.what {
            What::Feedback { tp, fp, host } => tp.iter().chain(fp).chain(host).try_for_each(|given| name(given)),
            What::Import { detectors, .. } => entries(detectors),
            What::RefitPrior { prior } => prior.check(),
            What::Adopt { detectors, prior } => {
                entries(detectors)?;
                prior.as_ref().map_or(Ok(()), FleetPrior::check)
            }
            What::Undo { .. } => Ok(()),
        }
    }
}

/// How far into its journal a store has come: number and bytes of the last record in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) record: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    version: u64,
    journal: String,
}

const TITLE: &str = "stakeout calibrate";

/// The first line of a journal.
pub(super) fn header() -> String {
    format!("{{\"version\":{JOURNAL_VERSION},\"journal\":\"{TITLE}\"}}\n")
}

/// A record as its line. Refused where it could not be read again.
pub(super) fn line(record: &Record, path: &Path) -> Result<String, DetectError> {
    let mut text = serde_json::to_string(record).map_err(|error| DetectError::io("writing", path, error.into()))?;
    text.push('\n');
    let size = text.len() as u64;
    if size > LONGEST_LINE {
        return Err(DetectError::TooLarge { path: path.display().to_string(), size, cap: LONGEST_LINE });
    }
    Ok(text)
}

/// What a pass over a journal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Where the next record goes: after the last whole line.
    pub(super) at: u64,
    /// Where the last whole record is.
    pub(super) last: Option<Position>,
}

/// Where a pass starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// At the header.
    Start,
    /// At a record that a store names.
    Record(Position),
}

/// Reads records in their order, up to the byte `until`. A last line without its end is a write that was never
/// acknowledged, and is passed over.
///
/// # Errors
/// [`DetectError::Io`], [`DetectError::Version`], [`DetectError::Parse`], and what `each` returns.
pub(super) fn scan(
    path: &Path,
    from: From,
    until: Option<u64>,
    each: &mut dyn FnMut(Record, Position) -> Result<(), DetectError>,
) -> Result<End, DetectError> {
    let failed = |source| DetectError::io("reading", path, source);
    let mut file = files::open_regular(path).map_err(failed)?;
    let (mut at, mut line, mut expected) = match from {
        From::Start => (0, Some(0), None),
        From::Record(position) => (position.start, None, Some(position.record)),
    };
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut bytes = Vec::new();
    let mut last = None;
    while until.is_none_or(|until| at < until) {
        bytes.clear();
        let read = std::io::Read::take(&mut reader, LONGEST_LINE).read_until(b'\n', &mut bytes).map_err(failed)? as u64;
        line = line.map(|line| line + 1);
        let broken = |why: String| {
            let place = if line.is_none() { format!("at byte {at}: ") } else { String::new() };
            let why = format!("{place}{why}; `--force` sets the journal aside and keeps what can be read");
            DetectError::Parse { path: path.display().to_string(), line, why }
        };
        if bytes.last() != Some(&b'\n') {
            if read == LONGEST_LINE {
                return Err(broken(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            // What a killed writer left of a header is the beginning of one; anything else is somebody's file.
            if line == Some(1) && !header().as_bytes().starts_with(&bytes) {
                return Err(broken("this is no journal of calibrate".into()));
            }
            break;
        }
        if line == Some(1) {
            let header: Header = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
            if header.version != JOURNAL_VERSION {
                let path = path.display().to_string();
                return Err(DetectError::Version { path, found: header.version, known: JOURNAL_VERSION });
            }
            if header.journal != TITLE {
                return Err(broken("this is another journal".into()));
            }
        } else {
            let record: Record = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
            record.check().map_err(&broken)?;
            if expected.is_some_and(|expected| record.seq != expected) {
                return Err(broken(format!("record {} where {} is expected", record.seq, expected.unwrap_or(0))));
            }
            expected = Some(record.seq.saturating_add(1));
            let position = Position { record: record.seq, start: at, end: at + read };
            last = Some(position);
            each(record, position)?;
        }
        at += read;
    }
    Ok(End { at, last })
}

/// Appends whole lines after the byte `at` (what lies behind it was never acknowledged) and syncs them.
///
/// # Errors
/// [`DetectError::Io`]; the journal is then cut back to `at`.
pub(super) fn append(path: &Path, at: u64, lines: &[u8]) -> Result<(), DetectError> {
    let failed = |source| DetectError::io("writing", path, source);
    let mut file = files::open_lock(path).map_err(failed)?;
    let mut write = || {
        file.set_len(at)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(lines)?;
        file.sync_all()?;
        if at == 0 { sync_folder(path) } else { Ok(()) }
    };
    let outcome = write();
    outcome.map_err(|error| {
        let _ = file.set_len(at);
        failed(error)
    })
}

/// Takes back what was appended after the byte `at`.
pub(super) fn cut(path: &Path, at: u64) -> Result<(), DetectError> {
    let failed = |source| DetectError::io("writing", path, source);
    let file = files::open_lock(path).map_err(failed)?;
    file.set_len(at).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> std::io::Result<()> {
    Ok(())
}
