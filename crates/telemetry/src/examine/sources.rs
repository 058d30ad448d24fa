//! The rows of one source.

use stakeout_core::{ChannelSpec, Source, SourceRows, Trace};

use super::{Examination, Keep, Seen};
use crate::rows::{Row, RowParser};
use crate::{FileRecord, ReasonCode, Stream};

/// Which fields a file is read with, and which of them go where in a trace.
struct Fields<'a> {
    /// The corpus's fields, then those that only the caller asked for.
    names: Vec<&'a str>,
    /// How many are the corpus's.
    own: usize,
    /// For each column of the trace: position in `names`, position in the caller's channels.
    columns: Vec<(usize, usize)>,
}

fn fields<'a>(own: impl Iterator<Item = &'a ChannelSpec>, keep: Keep<'a>, source: Source) -> Fields<'a> {
    let mut names: Vec<&str> = own.map(|channel| channel.field.as_str()).collect();
    let own = names.len();
    let mut columns = Vec::new();
    if let Keep::Trace(channels) = keep {
        for (position, channel) in channels.iter().enumerate().filter(|(_, channel)| channel.source == source) {
            if crate::rows::is_reserved(&channel.field) {
                continue;
            }
            let field = names.iter().position(|name| *name == channel.field).unwrap_or_else(|| {
                names.push(&channel.field);
                names.len() - 1
            });
            columns.push((field, position));
        }
    }
    Fields { names, own, columns }
}

impl Examination<'_> {
    /// Checks the rows of a source and hands those of use to the trace.
    pub(super) fn source(
        &mut self,
        source: Source,
        file: &str,
        expected: Option<&FileRecord>,
        trace: Option<&mut Trace>,
    ) -> Seen {
        let corpus = self.corpus;
        let Fields { names, own, columns } = fields(corpus.channels_of(source), self.keep, source);
        let bucket_ns = corpus.bucket_of(source);
        let available = corpus.sources.contains_key(&source).then(|| corpus.available(source));
        let mut parser = RowParser::new(Stream::Rows(source), names.iter().copied());
        let mut kept = trace.is_some().then(|| SourceRows {
            source,
            bucket_ns,
            channels: columns.iter().map(|(_, position)| *position).collect(),
            t_wall_ns: Vec::new(),
            values: Vec::new(),
        });
        let (mut seen, mut row) = (Seen::default(), Row::default());
        let (mut wall, mut mono) = (-1, 0);
        let whole = self.scan(file, expected, |own, line| {
            let number = line.number;
            seen.lines += 1;
            if !own.parse(&mut parser, file, line, &mut row) {
                return;
            }
            seen.at(row.t_wall_ns);
            if !row.unknown.is_empty() {
                let text = || format!("no channel of this corpus: {}", row.unknown.join(", "));
                own.findings.add(ReasonCode::UnknownField, Some(file), Some(number), text);
            }
            if row.t_mono_ns < mono {
                let text = || format!("t_mono_ns goes back from {mono} to {}", row.t_mono_ns);
                own.findings.add(ReasonCode::MonoClockRegress, Some(file), Some(number), text);
            }
            mono = row.t_mono_ns;
            if let Some(other) = &row.other_source {
                own.reject(ReasonCode::WrongSource, file, number, || format!("a row of source {other}"));
            } else if available.is_some_and(|available| available != row.available) {
                let text = || format!("available_in_deployment = {}, and the corpus says otherwise", row.available);
                own.reject(ReasonCode::WrongAvailability, file, number, text);
            } else if !own.in_span(row.t_wall_ns, bucket_ns) {
                seen.outside += 1;
                own.rows.drop_row(ReasonCode::OutsideSpan);
            } else if row.t_wall_ns <= wall {
                let text = || format!("t_wall_ns goes from {wall} to {}", row.t_wall_ns);
                own.reject(ReasonCode::WallClockRegress, file, number, text);
            } else {
                wall = row.t_wall_ns;
                seen.used += 1;
                own.rows.used += 1;
                own.rows.missing_values += row.missing as u64;
                if let Some(kept) = &mut kept {
                    kept.t_wall_ns.push(row.t_wall_ns);
                    kept.values.extend(columns.iter().map(|(field, _)| row.values[*field]));
                }
            }
        });
        seen.broken = !whole;
        if let (Some(trace), Some(kept)) = (trace, kept) {
            trace.sources.push(kept);
        }
        if seen.used > 0 {
            let absent = names[..own].iter().zip(parser.carried()).filter(|(_, carried)| !**carried);
            let absent: Vec<&str> = absent.map(|(name, _)| *name).collect();
            if !absent.is_empty() {
                let text = || format!("in no row: {}", absent.join(", "));
                self.findings.add(ReasonCode::ChannelMissing, Some(file), None, text);
            }
        }
        seen
    }
}
