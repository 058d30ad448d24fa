//! One pass over an episode: every byte is hashed, every line is checked, and the trace is kept if it is wanted.
//!
//! What cannot be parsed does not stop the pass: the line is dropped and counted, the rest is read, and the verdict
//! is the worst that any reason leads to.

mod clocks;
mod files;
mod findings;
mod labels;
mod sources;

use std::collections::BTreeMap;
use std::path::PathBuf;

use stakeout_core::{ChannelSpec, Trace};

use crate::reader::{Limits, Line, LineEnd};
use crate::rows::{Row, RowParser};
use crate::store::{Found, INDEX_FILE, episode_folder};
use crate::{Corpus, Entry, EpisodeMeta, ReasonCode, Store, TelemetryError, Verdict};
use findings::Findings;

pub use labels::{EVENT_AFTER_NS, EVENT_BEFORE_NS};

/// How far clocks of one episode may disagree before it is a finding: sources are synchronised over a network and
/// rows are stamped when they are written.
pub const CLOCK_TOLERANCE_NS: i64 = 5_000_000_000;

/// What to keep of the rows while they are checked.
#[derive(Debug, Clone, Copy)]
pub enum Keep<'a> {
    /// Nothing: only the verdict is wanted.
    Nothing,
    /// The values of these channels. Positions in the trace are positions in this slice.
    Trace(&'a [ChannelSpec]),
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The kind of reason.
    pub code: ReasonCode,
    /// The file, relative to the episode folder; `None` when it is about the whole episode.
    pub file: Option<String>,
    /// 1-based line of the first occurrence.
    pub line: Option<u64>,
    /// How often it occurred.
    pub count: u64,
    /// The first occurrence in words, printable.
    pub text: String,
}

impl std::fmt::Display for Reason {
    /// `labels.jsonl:7: label_unknown_class: … (3 times)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, Some(line)) => write!(f, "{INDEX_FILE}:{line}: ")?,
            (None, None) => {}
        }
        write!(f, "{}: {}", self.code, self.text)?;
        if self.count > 1 { write!(f, " ({} times)", self.count) } else { Ok(()) }
    }
}

/// What became of the rows: `read` = `used` + all of `dropped`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowCounts {
    /// Lines found in all files of rows, labels and events.
    pub read: u64,
    /// Lines that passed every check of their own.
    pub used: u64,
    /// The others, by the first check that they failed.
    pub dropped: BTreeMap<ReasonCode, u64>,
    /// Channel values that are absent or `null` in the rows used.
    pub missing_values: u64,
}

impl RowCounts {
    /// Adds the counts of another episode.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.used += other.used;
        self.missing_values += other.missing_values;
        for (code, count) in &other.dropped {
            *self.dropped.entry(*code).or_default() += count;
        }
    }

    fn drop_row(&mut self, code: ReasonCode) {
        *self.dropped.entry(code).or_default() += 1;
    }
}

/// What an examination found.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// The episode's ULID; for an entry that is no episode, its printable name and place.
    pub id: String,
    /// The worst verdict that any reason leads to.
    pub verdict: Verdict,
    /// Worst first, then by file.
    pub reasons: Vec<Reason>,
    /// What became of the rows.
    pub rows: RowCounts,
    /// Bytes read from disk.
    pub bytes: u64,
    /// `meta.json`, where it can be used.
    pub meta: Option<EpisodeMeta>,
    /// The trace, where it was asked for and the episode is not errored. Its rows are in order whatever the verdict.
    pub trace: Option<Trace>,
}

impl Examined {
    /// Whether a reason of this code was found.
    pub fn has(&self, code: ReasonCode) -> bool {
        self.reasons.iter().any(|reason| reason.code == code)
    }
}

/// Checks one entry of a store and keeps its trace if asked to.
///
/// # Errors
/// Only when the index of the store itself can no longer be read: whatever is wrong with the episode is a verdict.
pub fn examine(store: &Store, entry: &Entry, keep: Keep<'_>) -> Result<Examined, TelemetryError> {
    let mut examination = Examination {
        corpus: store.corpus(),
        keep,
        folder: PathBuf::new(),
        findings: Findings::default(),
        rows: RowCounts::default(),
        bytes: 0,
        buffer: Vec::new(),
        limits: Limits::default(),
        span: None,
    };
    let (meta, trace) = match &entry.0 {
        Found::Refused { file, line, code, text, .. } => {
            examination.findings.add(*code, Some(file), *line, || text.to_string());
            (None, None)
        }
        Found::Episode { id, index, again, folder } => {
            let id = id.to_string();
            examination.folder = episode_folder(store.path(), &id);
            let record = index.map(|line| store.record(line)).transpose()?;
            if *again > 0 {
                let text = || format!("the index names it {} times and cannot say which is right", again + 1);
                examination.findings.add(ReasonCode::DuplicateEpisode, None, index.map(|line| line.number), text);
            }
            match (&record, folder) {
                (None, _) => {
                    examination
                        .findings
                        .add(ReasonCode::NotInIndex, None, None, || "the index does not name it".into());
                }
                (Some(_), false) => {
                    let line = index.map(|line| line.number);
                    let text = || "the index names it, and there is no such folder".into();
                    examination.findings.add(ReasonCode::FolderMissing, None, line, text);
                }
                (Some(_), true) => {}
            }
            if *folder { examination.run(&id, record.as_ref()) } else { (None, None) }
        }
    };
    let Examination { findings, rows, bytes, .. } = examination;
    let reasons = findings.into_reasons();
    let verdict = reasons.iter().map(|reason| reason.code.verdict()).max().unwrap_or(Verdict::Accepted);
    let trace = trace.filter(|_| verdict < Verdict::Errored);
    Ok(Examined { id: entry.id(), verdict, reasons, rows, bytes, meta, trace })
}

/// An examination under way.
struct Examination<'a> {
    corpus: &'a Corpus,
    keep: Keep<'a>,
    folder: PathBuf,
    findings: Findings,
    rows: RowCounts,
    bytes: u64,
    /// Working memory of the reader, one file after the other.
    buffer: Vec<u8>,
    limits: Limits,
    /// The observed span, where `meta.json` tells it.
    span: Option<(i64, i64)>,
}

/// What the rows of one file say about its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    /// Lines, good or bad.
    lines: u64,
    /// Rows used.
    used: u64,
    /// Earliest and latest `t_wall_ns` of all rows that could be parsed.
    range: Option<(i64, i64)>,
    /// Rows outside the observed span.
    outside: u64,
    /// The file could not be opened, or not be read to its end: nothing follows from the number of its rows.
    broken: bool,
}

impl Seen {
    fn at(&mut self, t: i64) {
        self.range = Some(self.range.map_or((t, t), |(lo, hi)| (lo.min(t), hi.max(t))));
    }
}

impl Examination<'_> {
    /// Parses one line; `false` when it was dropped.
    fn parse(&mut self, parser: &mut RowParser, file: &str, line: Line<'_>, row: &mut Row) -> bool {
        self.rows.read += 1;
        let problem = match line.end {
            LineEnd::TooLong => {
                let text = format!("the line is longer than {} bytes", self.limits.line);
                Some((ReasonCode::LineTooLong, text))
            }
            LineEnd::Whole => parser.parse(line.bytes, row).err().map(|problem| (problem.code, problem.text)),
            LineEnd::Cut => parser.parse(line.bytes, row).err().map(|problem| {
                (ReasonCode::TruncatedLine, format!("the last line has no end and is not whole: {}", problem.text))
            }),
        };
        match problem {
            None => true,
            Some((code, text)) => {
                self.rows.drop_row(code);
                self.findings.add(code, Some(file), Some(line.number), || text);
                false
            }
        }
    }

    /// Whether a time lies in the observed span or so near that clocks may differ by it.
    fn in_span(&self, t: i64, slack: i64) -> bool {
        let slack = CLOCK_TOLERANCE_NS + slack;
        self.span.is_none_or(|(start, end)| t >= start - slack && t < end.saturating_add(slack))
    }

    /// Drops a row that breaks a rule.
    fn reject(&mut self, code: ReasonCode, file: &str, line: u64, text: impl FnOnce() -> String) {
        self.rows.drop_row(code);
        self.findings.add(code, Some(file), Some(line), text);
    }
}
