//! What has to be known before the first row is written: channels, classes, the longest series.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::choice::{Classes, WindowLength};
use super::mapping::Mapping;
use super::plan::{self, PlannedChannel};
use super::table::Table;
use crate::{Corpus, TelemetryError};

/// An event log is small; a larger file is something else.
const LARGEST_LOG: u64 = 256 << 20;

pub(super) struct Survey {
    pub corpus: Corpus,
    pub channels: Vec<PlannedChannel>,
    /// Channels of each source that has any, in registry order.
    pub by_source: Vec<(stakeout_core::Source, Vec<usize>)>,
}

/// Plans the import by the first table. Only what the mapping leaves to the data (`classes = "from-data"`,
/// `seconds = "longest"`) makes it read columns of all tables.
pub(super) fn survey(mapping: &Mapping, tables: &[PathBuf], cap: u64) -> Result<Survey, TelemetryError> {
    let first = &tables[0];
    let mut channels = Vec::new();
    Table::read(first, cap, |names| -> Result<_, TelemetryError> {
        channels = plan::channels(mapping, first, names)?;
        plan::columns(mapping, &channels, first, names)?;
        Ok(names.iter().take(1).cloned().collect())
    })?;
    let mut classes: BTreeSet<String> = BTreeSet::new();
    let mut longest = 0;
    let from_data = mapping.labels.classes == Classes::FromData;
    if from_data || mapping.window.seconds == WindowLength::Longest {
        for path in tables {
            let table = Table::read(path, cap, |names| plan::columns(mapping, &channels, path, names))?;
            for text in table.codes(&mapping.labels.column)?.texts {
                let labels = &mapping.labels;
                if !labels.unlabelled.contains(&text) {
                    classes.insert(labels.map.get(&text).cloned().unwrap_or(text));
                }
            }
            for column in channels.iter().filter(|_| mapping.episode.each_row).filter_map(|c| c.column.as_deref()) {
                longest = table.lists(column)?.iter().map(Vec::len).max().unwrap_or(0).max(longest);
            }
        }
    }
    let classes = match &mapping.labels.classes {
        Classes::Named(names) => names.clone(),
        Classes::FromData => classes.into_iter().collect(),
    };
    let stem = first.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = mapping.name.replace("{table}", &stem);
    let corpus = plan::corpus(mapping, name, classes, &channels, longest)?;
    let by_source = corpus.sources.keys().map(|source| {
        let of_source = channels.iter().enumerate().filter(|(_, channel)| channel.spec.source == *source);
        (*source, of_source.map(|(i, _)| i).collect())
    });
    let by_source = by_source.collect();
    Ok(Survey { corpus, channels, by_source })
}

/// The text of a regular file of reasonable size.
pub(super) fn read_text(path: &Path) -> Result<String, TelemetryError> {
    let failed = |error| TelemetryError::io("reading", path, error);
    let meta = fs::metadata(path).map_err(failed)?;
    if !meta.is_file() || meta.len() > LARGEST_LOG {
        return Err(TelemetryError::malformed(path, 1, "an event log is a regular file of at most 256 MiB"));
    }
    let bytes = fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&error.as_bytes()[..valid]).matches('\n').count() as u64 + 1;
        TelemetryError::malformed(path, line, "the line is not UTF-8")
    })
}
