//! Labels and the events that must justify them.

use stakeout_core::{LabelPoint, class};

use super::{Examination, Seen};
use crate::rows::{Row, RowParser};
use crate::{FileRecord, LabelOrder, ReasonCode, Stream};

/// A label needs its event at most this long before it …
pub const EVENT_BEFORE_NS: i64 = 5_000_000_000;
/// … or this long after it: event and label are stamped by different processes.
pub const EVENT_AFTER_NS: i64 = 1_000_000_000;

/// What labels and events tell about an episode.
#[derive(Debug, Default)]
pub(super) struct Story {
    labels: Vec<(LabelPoint, u64)>,
    /// Events that a rule names: time and name.
    events: Vec<(i64, String)>,
}

impl Story {
    pub(super) fn points(self) -> Vec<LabelPoint> {
        self.labels.into_iter().map(|(point, _)| point).collect()
    }
}

impl Examination<'_> {
    pub(super) fn labels(&mut self, file: &str, expected: Option<&FileRecord>, story: &mut Story) -> Seen {
        let corpus = self.corpus;
        let forward = corpus.label_order == LabelOrder::Forward;
        let (mut time, mut phase) = (0, None);
        self.named(Stream::Labels, file, expected, |own, row, number| {
            let class = corpus.classes.id(&row.name);
            if class.is_none() && row.name != class::UNLABELLED {
                let text = || format!("`{}` is no class of this corpus", row.name);
                own.reject(ReasonCode::LabelUnknownClass, file, number, text);
            } else if row.t_wall_ns < time {
                let text = || format!("t_wall_ns goes back from {time} to {}", row.t_wall_ns);
                own.reject(ReasonCode::LabelTimeRegress, file, number, text);
            } else if forward && class.is_some() && class < phase {
                let text = || format!("`{}` comes after a later phase", row.name);
                own.reject(ReasonCode::LabelPhaseRegress, file, number, text);
            } else {
                time = row.t_wall_ns;
                phase = class.or(phase);
                story.labels.push((LabelPoint { t_wall_ns: time, class }, number));
                return true;
            }
            false
        })
    }

    pub(super) fn events(&mut self, file: &str, expected: Option<&FileRecord>, story: &mut Story) -> Seen {
        let corpus = self.corpus;
        self.named(Stream::Events, file, expected, |_, row, _| {
            if corpus.label_rules.values().any(|event| *event == row.name) {
                story.events.push((row.t_wall_ns, row.name.clone()));
            }
            true
        })
    }

    /// The rows of labels or events; `take` says whether a row is of use, and accounts for it where it is not.
    fn named(
        &mut self,
        stream: Stream,
        file: &str,
        expected: Option<&FileRecord>,
        mut take: impl FnMut(&mut Self, &Row, u64) -> bool,
    ) -> Seen {
        let (mut seen, mut row, mut parser) = (Seen::default(), Row::default(), RowParser::new(stream, []));
        let whole = self.scan(file, expected, |own, line| {
            let number = line.number;
            seen.lines += 1;
            if !own.parse(&mut parser, file, line, &mut row) {
                return;
            }
            seen.at(row.t_wall_ns);
            if !row.unknown.is_empty() {
                let text = || format!("keys of no meaning here: {}", row.unknown.join(", "));
                own.findings.add(ReasonCode::UnknownField, Some(file), Some(number), text);
            }
            if !own.in_span(row.t_wall_ns, 0) {
                seen.outside += 1;
                own.rows.drop_row(ReasonCode::OutsideSpan);
            } else if take(own, &row, number) {
                seen.used += 1;
                own.rows.used += 1;
            }
        });
        seen.broken = !whole;
        seen
    }

    /// Labels against events.
    pub(super) fn judge_labels(&mut self, story: &Story, seen: &[Option<Seen>; 7]) {
        let file = Stream::Labels.file_name();
        let at = Stream::ALL.iter().position(|stream| *stream == Stream::Labels).expect("labels are a stream");
        if seen[at].is_none_or(|seen| seen.lines == 0 && !seen.broken) {
            let text = || "without labels nothing of it can be trained on or scored".into();
            self.findings.add(ReasonCode::LabelsMissing, Some(file), None, text);
            return;
        }
        let corpus = self.corpus;
        if corpus.label_rules.is_empty() {
            let text = || "labels: unjustified (the corpus has no label rules)".into();
            self.findings.add(ReasonCode::LabelsUnchecked, Some(file), None, text);
            return;
        }
        let mut before = None;
        for (label, line) in &story.labels {
            let entered = label.class.filter(|_| label.class != before);
            before = label.class;
            let Some(class) = entered.map(|class| &corpus.classes.names()[usize::from(class)]) else { continue };
            let Some(event) = corpus.label_rules.get(class) else { continue };
            let near =
                |t: i64| t >= label.t_wall_ns - EVENT_BEFORE_NS && t <= label.t_wall_ns.saturating_add(EVENT_AFTER_NS);
            if !story.events.iter().any(|(t, name)| name == event && near(*t)) {
                let text = || format!("`{class}` needs the event `{event}` at its start, and there is none");
                self.findings.add(ReasonCode::LabelUnjustified, Some(file), Some(*line), text);
            }
        }
    }
}
