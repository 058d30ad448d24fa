//! From the columns of a table to the files of its episodes.

use std::ops::Range;

use stakeout_core::class;

use super::audit::{Clocks, LoggedEvent};
use super::content::{self, Identity, UNLABELLED};
use super::fold::{Values, majority};
use super::mapping::Mapping;
use super::place::{Placed, Timelines, instants, place};
use super::report::ImportReport;
use super::survey::Survey;
use super::table::{Codes, Table};
use super::{Seen, plan};
use crate::examine::CLOCK_TOLERANCE_NS;
use crate::{Compression, EpisodeMeta, EpisodeWriter, StoreWriter, Stream, TelemetryError, meta};

/// One episode, placed in time, ready to be written.
pub(super) struct Episode {
    pub key: String,
    pub identity: Identity,
    pub placed: Placed,
    /// Its part of the event log.
    log: Range<usize>,
}

/// The columns that episodes take their rows from.
pub(super) struct Content {
    labels: Vec<u16>,
    rows: Rows,
    events: Option<Codes>,
}

enum Rows {
    /// One value a row and channel.
    Values(Vec<Values>),
    /// One series a row and channel.
    Series(Vec<Vec<Vec<f64>>>),
}

/// What became of one episode.
pub(super) struct Written {
    /// Telemetry rows.
    pub rows: u64,
    /// Source rows by class, unlabelled last.
    pub labelled: Vec<u64>,
}

/// What stays the same from table to table, and what must be remembered between them.
pub(super) struct Importer<'a> {
    mapping: &'a Mapping,
    survey: &'a Survey,
    log: &'a [LoggedEvent],
    /// Which events of the log belong to some episode.
    told: Vec<bool>,
    compression: Compression,
    timelines: Timelines,
    seen: Seen,
}

impl<'a> Importer<'a> {
    pub(super) fn new(
        mapping: &'a Mapping,
        survey: &'a Survey,
        log: &'a [LoggedEvent],
        compression: Compression,
    ) -> Self {
        let timelines = Timelines::new(mapping.time.timeline, survey.corpus.window.stride_ns);
        Self { mapping, survey, log, told: vec![false; log.len()], compression, timelines, seen: Seen::default() }
    }

    /// Reads a table and places its episodes in time.
    pub(super) fn prepare(
        &mut self,
        path: &std::path::Path,
        cap: u64,
        report: &mut ImportReport,
        clocks: &mut Clocks<'_>,
    ) -> Result<(Content, Vec<Episode>), TelemetryError> {
        let Self { mapping, survey, .. } = *self;
        let table = Table::read(path, cap, |names| plan::columns(mapping, &survey.channels, path, names))?;
        if table.rows() >= u32::MAX as usize {
            return Err(super::table::fault(path, None, None, "it has more than four billion rows: split it".into()));
        }
        let groups = content::groups(mapping, &table, report)?;
        let identities = content::identities(mapping, &table, &groups)?;
        let labels = content::labels(mapping, &table, survey.corpus.classes.names())?;
        let events = mapping.event.as_ref().map(|event| table.codes(&event.column)).transpose()?;
        let rows = if mapping.episode.each_row {
            Rows::Series(series(survey, &table, report)?)
        } else {
            Rows::Values(content::values(&survey.channels, &table, report)?)
        };
        let instants = instants(mapping, &table)?;
        clocks.compare_rows(&table, instants.as_deref(), &groups, &identities)?;
        let mut episodes = Vec::with_capacity(groups.len());
        for (group, identity) in groups.into_iter().zip(identities) {
            self.seen.add(&group.key, &table)?;
            let mut placed = match &rows {
                Rows::Values(_) => place(mapping, &table, &group, instants.as_ref(), report),
                Rows::Series(series) => self.place_series(&table, group.rows[0], series, report)?,
            };
            if placed.rows.is_empty() {
                continue;
            }
            if mapping.is_synthetic() && self.timelines.settle(&mut placed, &identity.host).is_none() {
                let why = "the made-up clock is full before all episodes have their place: is the time unit right?";
                return Err(super::table::fault(path, None, None, why.into()));
            }
            clocks.note_labels(&identity.host, &placed, &labels, survey.corpus.classes.names());
            episodes.push(Episode { key: group.key, identity, placed, log: 0..0 });
        }
        for episode in &mut episodes {
            let offset = clocks.offset_ns(&episode.identity.host);
            episode.log = self.part_of_log(episode.placed.span, offset);
            self.told[episode.log.clone()].fill(true);
        }
        Ok((Content { labels, rows, events }, episodes))
    }

    /// The events that belong to a span, were the log's clock not off by `offset_ns`. They are written with the time
    /// that the log gives, so that the disagreement can be seen in the store.
    fn part_of_log(&self, (start, end): (i64, i64), offset_ns: i64) -> Range<usize> {
        let start = start.saturating_add(offset_ns).saturating_sub(CLOCK_TOLERANCE_NS);
        let end = end.saturating_add(offset_ns).saturating_add(CLOCK_TOLERANCE_NS);
        let from = self.log.partition_point(|event| event.t_ns < start);
        let to = self.log.partition_point(|event| event.t_ns < end);
        from..to.max(from)
    }

    /// How many events of the log belong to no episode.
    pub(super) fn untold(&self) -> usize {
        self.told.iter().filter(|told| !**told).count()
    }

    /// A row of list columns: its channels must be equally long, or empty.
    fn place_series(
        &self,
        table: &Table,
        row: u32,
        series: &[Vec<Vec<f64>>],
        report: &mut ImportReport,
    ) -> Result<Placed, TelemetryError> {
        let lengths = || series.iter().map(|channel| channel[row as usize].len());
        let length = lengths().max().unwrap_or(0);
        if let Some(odd) = lengths().position(|other| other != length && other != 0) {
            let column = self.survey.channels[odd].column.as_deref().unwrap_or_default();
            let why = format!("its list does not have the {length} values of the row's longest channel");
            return Err(table.fault(column, Some(row as usize), why));
        }
        if length == 0 {
            report.drop_row("all lists of the row are empty", &table.path, row as usize);
            return Ok(Placed { rows: Vec::new(), span: (0, 0) });
        }
        let step = self.mapping.time.step_seconds.map_or(1, crate::Seconds::ns);
        let span = super::clock::from_integer(length as i64, step)
            .map_err(|fault| table.fault(&self.mapping.labels.column, Some(row as usize), fault.to_string()))?;
        Ok(Placed { rows: vec![(row, 0)], span: (0, span) })
    }

    /// Writes one episode.
    pub(super) fn write(
        &self,
        store: &StoreWriter,
        sequence: u64,
        episode: &Episode,
        content: &Content,
    ) -> Result<Written, TelemetryError> {
        let Episode { key, identity, placed, .. } = episode;
        let (start, end) = placed.span;
        let corpus = &self.survey.corpus;
        let id = meta::ulid_from((start / 1_000_000) as u64, &corpus.name, key);
        let mut meta =
            EpisodeMeta::new(id, key, placed.span).on(&identity.host).of(&identity.sample, &identity.profile);
        meta.sample_sha256.clone_from(&identity.sample_sha256);
        meta.given = identity.given;
        meta.calibration = identity.calibration;
        meta.clock = corpus.window.clock;
        let mut writer = store.episode(sequence, meta, self.compression)?;

        let mut rows = 0;
        let mut labels = Changes::default();
        let bucket_ns = self.mapping.aggregate.map(|aggregate| aggregate.bucket_seconds.ns());
        let mut values = Vec::new();
        match &content.rows {
            Rows::Values(channels) => {
                let mut of_bucket: Vec<u32> = Vec::new();
                for bucket in buckets(&placed.rows, start, bucket_ns) {
                    let t = bucket_ns.map_or(bucket[0].1, |ns| start + (bucket[0].1 - start).div_euclid(ns) * ns);
                    of_bucket.clear();
                    of_bucket.extend(bucket.iter().map(|(row, _)| *row));
                    for (source, of_source) in &self.survey.by_source {
                        values.clear();
                        values.extend(of_source.iter().map(|channel| channels[*channel].of(&of_bucket)));
                        writer.row(*source, t - start, t, &values)?;
                        rows += 1;
                    }
                    labels.push(t, majority(of_bucket.iter().map(|row| content.labels[*row as usize])));
                }
            }
            Rows::Series(channels) => {
                let row = placed.rows[0].0 as usize;
                let step = self.mapping.time.step_seconds.map_or(1, crate::Seconds::ns);
                for i in 0..(end - start) / step {
                    let t = start + i * step;
                    for (source, of_source) in &self.survey.by_source {
                        values.clear();
                        let at = |channel: &usize| channels[*channel][row].get(i as usize).copied().unwrap_or(f64::NAN);
                        values.extend(of_source.iter().map(at));
                        writer.row(*source, t - start, t, &values)?;
                        rows += 1;
                    }
                }
                labels.push(start, content.labels.get(row).copied());
            }
        }
        for (t, class) in labels.points {
            let name = corpus.classes.names().get(usize::from(class)).map_or(class::UNLABELLED, String::as_str);
            writer.label(t - start, t, name)?;
        }
        self.write_events(&mut writer, episode, content)?;
        writer.finish(end)?;

        let mut labelled = vec![0; corpus.classes.len() + 1];
        for (row, _) in &placed.rows {
            let class = usize::from(content.labels[*row as usize]);
            labelled[class.min(corpus.classes.len())] += 1;
        }
        Ok(Written { rows, labelled })
    }

    fn write_events(
        &self,
        writer: &mut EpisodeWriter<'_>,
        episode: &Episode,
        content: &Content,
    ) -> Result<(), TelemetryError> {
        let Placed { rows, span } = &episode.placed;
        let mut events: Vec<(i64, &str)> = Vec::new();
        if let Some(codes) = &content.events {
            let named = rows.iter().filter_map(|(row, t)| codes.text(*row as usize).map(|name| (*t, name)));
            events.extend(named.filter(|(_, name)| !name.is_empty()));
        }
        events.extend(self.log[episode.log.clone()].iter().map(|event| (event.t_ns, event.tag.as_str())));
        events.sort_by_key(|(t, _)| *t);
        if !events.is_empty() || self.mapping.event.is_some() {
            writer.touch(Stream::Events)?;
        }
        for (t, name) in events {
            writer.event((t - span.0).max(0), t, name)?;
        }
        Ok(())
    }
}

fn series(survey: &Survey, table: &Table, report: &mut ImportReport) -> Result<Vec<Vec<Vec<f64>>>, TelemetryError> {
    let mut all = Vec::with_capacity(survey.channels.len());
    for channel in &survey.channels {
        let mut lists = table.lists(channel.column.as_deref().unwrap_or_default())?;
        for list in &mut lists {
            content::clean(list, report);
        }
        all.push(lists);
    }
    Ok(all)
}

/// The rows that each telemetry row stands for.
fn buckets(rows: &[(u32, i64)], start: i64, bucket_ns: Option<i64>) -> impl Iterator<Item = &[(u32, i64)]> {
    rows.chunk_by(move |a, b| bucket_ns.is_some_and(|ns| (a.1 - start).div_euclid(ns) == (b.1 - start).div_euclid(ns)))
}

/// Labels where they change.
#[derive(Default)]
struct Changes {
    points: Vec<(i64, u16)>,
}

impl Changes {
    fn push(&mut self, t: i64, class: Option<u16>) {
        let class = class.unwrap_or(UNLABELLED);
        if self.points.last().is_none_or(|(_, last)| *last != class) {
            self.points.push((t, class));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cut_on_their_grid() {
        let rows = [(0, 10), (1, 19), (2, 20), (3, 45)];
        let cut = |ns| buckets(&rows, 10, ns).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(cut(Some(10)), [2, 1, 1]);
        assert_eq!(cut(None), [1, 1, 1, 1]);
    }

    #[test]
    fn labels_are_kept_where_they_change() {
        let mut labels = Changes::default();
        for (t, class) in [(1, Some(0)), (2, Some(0)), (3, Some(1)), (4, None), (5, Some(1))] {
            labels.push(t, class);
        }
        assert_eq!(labels.points, [(1, 0), (3, 1), (4, UNLABELLED), (5, 1)]);
    }
}
