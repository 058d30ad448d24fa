//! Importing public tables: any columnar table (parquet, CSV; list columns included) becomes a store.
//!
//! A [`Mapping`] says what the columns mean; [`import_table`] does the rest: episodes by key, a clock (made up where
//! the corpus has none), labels where they change, rows as they are or folded into buckets. A second clock, where the
//! mapping names one, is compared with the first, because a corpus that is off by an hour looks like any other.
//!
//! Invariants:
//! * rows read = rows used + rows dropped, by reason; an infinite value is written as missing and counted;
//! * the same tables and mapping give the same bytes, for any number of threads;
//! * the store appears whole or not at all;
//! * no label takes part in anything but the labels.
//!
//! Modules in reading order: [`mapping`] and [`choice`] (the file), `check` (its rules), [`clock`] (times and dates),
//! `table` (polars), `plan` (mapping meets table), `content` and `place` (who and when), `fold` (buckets), `write`,
//! `audit` (two clocks), [`report`].

mod audit;
mod check;
pub mod choice;
pub mod clock;
mod content;
mod fold;
pub mod mapping;
mod place;
mod plan;
pub mod report;
mod survey;
mod table;
mod write;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use stakeout_core::text::printable;

pub use mapping::Mapping;
pub use report::{Dropped, Finding, ImportReport};

use crate::{Compression, StoreWriter, TelemetryError};
use write::{Episode, Written};

/// How an import is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportOptions {
    /// A table that is larger, packed or unpacked, is refused.
    pub max_table_bytes: u64,
    /// How row files are stored.
    pub compression: Compression,
}

impl Default for ImportOptions {
    /// Tables of up to 4 GiB, plain files.
    fn default() -> Self {
        Self { max_table_bytes: 4 << 30, compression: Compression::Plain }
    }
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportProgress {
    /// The table that is being imported, from 1.
    pub table: usize,
    /// Of how many.
    pub tables: usize,
    /// Source rows of this table that are done.
    pub rows_done: u64,
    /// Of how many.
    pub rows: u64,
}

/// Imports tables into a new store. `sources` are tables and, where the mapping names one, the event log; a log that is
/// not among them is looked for beside the first table. `progress` is called from several threads.
///
/// # Errors
/// When a source cannot be read, does not have what the mapping names, or holds nothing that can be used; when the
/// store is not an absent or empty folder; I/O errors. No store is left behind then.
pub fn import_table(
    mapping: &Mapping,
    sources: &[PathBuf],
    store: &Path,
    options: ImportOptions,
    progress: &(dyn Fn(ImportProgress) + Sync),
) -> Result<ImportReport, TelemetryError> {
    let mut notes = Vec::new();
    let (tables, log) = sort_sources(mapping, sources, &mut notes)?;
    check_target(store)?;
    let survey = survey::survey(mapping, &tables, options.max_table_bytes)?;
    let corpus = &survey.corpus;
    let mut report = ImportReport {
        corpus: corpus.name.clone(),
        tables: tables.len(),
        episodes: 0,
        rows_read: 0,
        rows_used: 0,
        dropped: Vec::new(),
        rows_written: 0,
        labels: Vec::new(),
        values_missing: 0,
        values_infinite: 0,
        rows_reordered: 0,
        synthetic_start: mapping.is_synthetic(),
        findings: Vec::new(),
        notes,
    };
    let events = match (&log, mapping.audit.as_ref().and_then(|audit| audit.events.as_ref())) {
        (Some(path), Some(form)) => {
            let text = survey::read_text(path)?;
            audit::read_event_log(path, &text, &form.line)?
        }
        _ => Vec::new(),
    };

    let staging = Staging::beside(store)?;
    let writer = StoreWriter::create(&staging.path, corpus)?;
    let mut importer = write::Importer::new(mapping, &survey, &events, options.compression);
    let mut labelled = vec![0; corpus.classes.len() + 1];
    let mut clocks = audit::Clocks::new(mapping, &events);
    for (number, path) in (1..).zip(&tables) {
        let (content, episodes) = importer.prepare(path, options.max_table_bytes, &mut report, &mut clocks)?;
        let rows = episodes.iter().map(|episode| episode.placed.rows.len() as u64).sum();
        let done = std::sync::atomic::AtomicU64::new(0);
        let first = report.episodes;
        let written: Vec<Result<Written, TelemetryError>> = episodes
            .par_iter()
            .enumerate()
            .map(|(i, episode): (usize, &Episode)| {
                let written = importer.write(&writer, first + i as u64, episode, &content)?;
                let mine = episode.placed.rows.len() as u64;
                let rows_done = done.fetch_add(mine, std::sync::atomic::Ordering::Relaxed) + mine;
                progress(ImportProgress { table: number, tables: tables.len(), rows_done, rows });
                Ok(written)
            })
            .collect();
        for written in written {
            let written = written?;
            report.episodes += 1;
            report.rows_written += written.rows;
            for (sum, rows) in labelled.iter_mut().zip(written.labelled) {
                *sum += rows;
                report.rows_used += rows;
            }
        }
        report.rows_read += rows;
    }
    if writer.finish()? == 0 {
        return Err(nothing_left(&report, &tables));
    }
    let names = corpus.classes.names().iter().map(String::as_str).chain([stakeout_core::class::UNLABELLED]);
    report.labels = names.map(str::to_owned).zip(labelled).collect();
    report.findings = clocks.findings();
    if importer.untold() > 0 {
        let untold = importer.untold();
        report.notes.push(format!("{untold} of {} events of the log lie outside every episode", events.len()));
    }
    staging.publish(store)?;
    Ok(report)
}

/// Tells tables and event log apart.
fn sort_sources(
    mapping: &Mapping,
    sources: &[PathBuf],
    notes: &mut Vec<String>,
) -> Result<(Vec<PathBuf>, Option<PathBuf>), TelemetryError> {
    let log_name = mapping.audit.as_ref().and_then(|audit| audit.events.as_ref()).map(|log| log.file.as_str());
    let is_log = |path: &&PathBuf| log_name.is_some() && path.file_name() == log_name.map(OsStr::new);
    let (logs, tables): (Vec<&PathBuf>, Vec<&PathBuf>) = sources.iter().partition(is_log);
    let Some(first) = tables.first() else {
        return Err(TelemetryError::invalid("source", "", "name at least one table to import"));
    };
    let log = match (logs.as_slice(), log_name) {
        (_, None) => None,
        ([log], _) => Some((*log).clone()),
        ([], Some(name)) => {
            let beside = first.with_file_name(name);
            if beside.is_file() {
                Some(beside)
            } else {
                notes.push(format!("{name} is neither a source nor beside the table: the clocks were not compared"));
                None
            }
        }
        (logs, Some(name)) => {
            let why = format!("{} sources have this name: give one event log", logs.len());
            return Err(TelemetryError::invalid("source", name, why));
        }
    };
    Ok((tables.into_iter().cloned().collect(), log))
}

fn nothing_left(report: &ImportReport, tables: &[PathBuf]) -> TelemetryError {
    let path = tables.first().map_or(Path::new(""), PathBuf::as_path);
    let why = if report.dropped.is_empty() {
        "it has no rows".to_owned()
    } else {
        let reasons: Vec<String> =
            report.dropped.iter().map(|dropped| format!("{} rows: {}", dropped.rows, dropped.reason)).collect();
        format!("none of its rows can be used ({})", reasons.join("; "))
    };
    table::fault(path, None, None, why)
}

fn check_target(store: &Path) -> Result<(), TelemetryError> {
    match fs::read_dir(store) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(TelemetryError::store(store, "the folder is not empty: name a new one, or remove it first")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(TelemetryError::io("reading", store, error)),
    }
}

/// A folder beside the store in which it is made; removed unless it becomes the store.
struct Staging {
    path: PathBuf,
    folder: tempfile::TempDir,
}

impl Staging {
    fn beside(store: &Path) -> Result<Self, TelemetryError> {
        let parent = match store.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(|error| TelemetryError::io("creating", parent, error))?;
        let folder = tempfile::Builder::new().prefix(".import-").tempdir_in(parent);
        let folder = folder.map_err(|error| TelemetryError::io("creating", parent, error))?;
        Ok(Self { path: folder.path().join("store"), folder })
    }

    fn publish(self, store: &Path) -> Result<(), TelemetryError> {
        let failed = |error| TelemetryError::io("writing", store, error);
        if store.exists() {
            fs::remove_dir(store).map_err(failed)?;
        }
        fs::rename(&self.path, store).map_err(failed)?;
        self.folder.close().map_err(failed)
    }
}

/// Keys of all episodes so far and the table that each came from.
#[derive(Default)]
struct Seen(BTreeMap<String, PathBuf>);

impl Seen {
    fn add(&mut self, key: &str, table: &table::Table) -> Result<(), TelemetryError> {
        match self.0.insert(key.to_owned(), table.path.clone()) {
            None => Ok(()),
            Some(before) => {
                let why = format!(
                    "episode `{}` is in {} already: join the tables, or add a column to episode.key",
                    printable(key, 64),
                    printable(&before.display().to_string(), 200)
                );
                Err(table::fault(&table.path, None, None, why))
            }
        }
    }
}
