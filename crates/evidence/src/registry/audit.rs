//! The log of a registry: one JSON line an action, each with its own digest and that of the line before, so that a line
//! that was edited, removed or put in shows. Who can write the whole file can write another history; the last digest,
//! kept elsewhere, is what tells.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::files;

use super::{AUDIT, Registry};
use crate::EvidenceError;
use crate::bundle::Verdict;

const MAX_BYTES: u64 = 256 << 20;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A run was judged, and not filed.
    Judged,
    /// A run was filed among the candidates.
    Filed,
    /// A model was deployed.
    Promoted,
    /// An earlier model was deployed again.
    RolledBack,
}

impl Action {
    /// The name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Filed => "filed",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Counts from 1.
    pub n: u64,
    /// Unix seconds.
    pub at: i64,
    /// The user.
    pub who: String,
    /// What they did.
    pub action: Action,
    /// The model.
    pub id: String,
    /// Revision of the pointer afterwards.
    pub revision: u64,
    /// The verdict, where one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Digest of the judgement.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bundle: String,
    /// Where the run lay.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// In their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Written by a later process: the one that acted was killed before it could.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// Digest of the record before; empty in the first.
    pub previous: String,
    /// BLAKE3 over all of the above.
    pub digest: String,
}

impl Record {
    fn own_digest(&self) -> String {
        let open = Self { digest: String::new(), ..self.clone() };
        blake3::hash(serde_json::to_string(&open).unwrap_or_default().as_bytes()).to_hex().to_string()
    }
}

/// The lines of a log, and its unfinished last line, which a killed writer leaves.
struct Lines {
    bytes: Vec<u8>,
    /// Length of the finished lines.
    finished: usize,
}

impl Lines {
    fn read(path: &Path) -> Result<Self, EvidenceError> {
        let bytes = match files::read_regular(path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(EvidenceError::io("reading", path, error)),
        };
        let finished = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Ok(Self { bytes, finished })
    }

    fn each(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let whole = &self.bytes[..self.finished.saturating_sub(1)];
        whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

/// All records of a registry, once its chain holds.
///
/// # Errors
/// [`EvidenceError::Registry`] naming the first line that is no record, is not numbered on or does not hold the digest
/// of the line before.
pub fn read_log(registry: &Registry) -> Result<Vec<Record>, EvidenceError> {
    read(&registry.path().join(AUDIT))
}

fn read(path: &Path) -> Result<Vec<Record>, EvidenceError> {
    let lines = Lines::read(path)?;
    let (mut records, mut previous) = (Vec::<Record>::new(), String::new());
    for (i, line) in lines.each().enumerate() {
        let broken = |why: String| EvidenceError::registry(path, format!("line {}: {why}", i + 1));
        let record: Record = serde_json::from_slice(line).map_err(|error| broken(format!("{error}: it is damaged")))?;
        if record.n != i as u64 + 1 || record.previous != previous || record.digest != record.own_digest() {
            return Err(broken("it does not follow the line before: a line was edited, removed or put in".into()));
        }
        previous.clone_from(&record.digest);
        records.push(record);
    }
    Ok(records)
}

/// The highest revision that the log knows; lines that are no records know none.
pub(super) fn last_revision(path: &Path) -> Result<u64, EvidenceError> {
    let lines = Lines::read(path)?;
    let known = |line: &[u8]| serde_json::from_slice::<Record>(line).ok().map(|record| record.revision);
    Ok(lines.each().rev().find_map(known).unwrap_or(0))
}

/// Adds a record after the last one: its number, its place in the chain and its digest are set here. An unfinished last
/// line goes: what it would have said was never acknowledged. A write that fails leaves the log as it was.
pub(super) fn append(path: &Path, record: Record) -> Result<(), EvidenceError> {
    let lines = Lines::read(path)?;
    let (n, last) = lines.each().fold((1, None), |(n, _), line| (n + 1, Some(line)));
    // After a line that is no record the chain is broken, and stays so for `read_log` to say; the log goes on.
    let previous = last.and_then(|line| serde_json::from_slice::<Record>(line).ok()).map(|record| record.digest);
    let mut record = Record { n, previous: previous.unwrap_or_default(), ..record };
    record.digest = record.own_digest();
    let mut line = serde_json::to_vec(&record).map_err(|e| EvidenceError::registry(path, e.to_string()))?;
    line.push(b'\n');
    if lines.finished as u64 + line.len() as u64 > MAX_BYTES {
        let why = format!("it is full: {MAX_BYTES} bytes are read; move it elsewhere, and a new one begins");
        return Err(EvidenceError::registry(path, why));
    }
    let io = |source| EvidenceError::io("writing", path, source);
    let mut file = files::open_lock(path).map_err(io)?;
    let end = lines.finished as u64;
    let written = write(&mut file, end, &line);
    if let Err(error) = written {
        let _ = file.set_len(end);
        return Err(io(error));
    }
    Ok(())
}

fn write(file: &mut File, end: u64, line: &[u8]) -> std::io::Result<()> {
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(line)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(path: &Path, revision: u64) {
        let record = Record {
            n: 0,
            at: 5,
            who: "a\nb".into(),
            action: Action::Promoted,
            id: "x".into(),
            revision,
            verdict: None,
            bundle: String::new(),
            run: String::new(),
            why: "\u{202e}why".into(),
            recovered: false,
            previous: String::new(),
            digest: String::new(),
        };
        append(path, record).unwrap();
    }

    #[test]
    fn a_line_that_is_edited_removed_or_put_in_breaks_the_chain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for revision in 1..=4 {
            add(&path, revision);
        }
        assert_eq!(read(&path).unwrap().len(), 4);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let edited = text.replacen("\"at\":5", "\"at\":6", 1);
        let removed = [lines[0], lines[2], lines[3]].join("\n") + "\n";
        let twice = [lines[0], lines[1], lines[1], lines[2], lines[3]].join("\n") + "\n";
        let last = text.replace("\"revision\":4", "\"revision\":5");
        for (bad, at) in [(edited, "line 1"), (removed, "line 2"), (twice, "line 3"), (last, "line 4")] {
            std::fs::write(&path, bad).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(at), "{error}");
        }
    }

    #[test]
    fn a_line_that_a_killed_writer_left_half_is_cut_off_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for revision in 1..=2 {
            add(&path, revision);
        }
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!((read(&path).unwrap().len(), last_revision(&path).unwrap()), (1, 1));
            add(&path, 3);
            let records = read(&path).unwrap();
            assert_eq!(records.iter().map(|record| record.revision).collect::<Vec<_>>(), [1, 3]);
        }
    }
}
