//! The files of an episode against the index and `meta.json`, in the order in which they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use stakeout_core::Trace;
use stakeout_core::text::printable;

use super::{Examination, Keep, Seen};
use crate::corpus::line_of;
use crate::reader::{Digested, LineEnd, Lines, Problem};
use crate::store::META_FILE;
use crate::write::hex;
use crate::{EpisodeMeta, FileRecord, IndexRecord, ReasonCode, Stream};

/// The files that the index names, by name.
type Known<'a> = BTreeMap<&'a str, &'a FileRecord>;

impl Examination<'_> {
    /// Everything about an episode that has a folder.
    pub(super) fn run(&mut self, id: &str, record: Option<&IndexRecord>) -> (Option<EpisodeMeta>, Option<Trace>) {
        let Some(present) = self.list() else { return (None, None) };
        let known = record.map(|record| self.known(record));
        if let Some(known) = &known {
            for name in known.keys().filter(|name| !present.contains(**name)) {
                let text = || "the index names it, and it is not there".into();
                self.findings.add(ReasonCode::FileMissing, Some(name), None, text);
            }
        }
        for name in &present {
            let ours = name == META_FILE || Stream::of_file(name).is_some();
            let listed = known.as_ref().is_none_or(|known| known.contains_key(&**name));
            if !ours {
                let text = || "it is no file of an episode".into();
                self.findings.add(ReasonCode::UnexpectedFile, Some(&printable(name, 64)), None, text);
            } else if !listed {
                let text = || "the index does not name it".into();
                self.findings.add(ReasonCode::FileNotInIndex, Some(name), None, text);
            }
        }
        let meta = self.meta(id, &present, known.as_ref());
        self.span = meta.as_ref().map(|meta| (meta.started_at_wall, meta.ended_at_wall));

        let mut seen = Stream::ALL.map(|_| None);
        let mut trace = match (self.keep, &meta) {
            (Keep::Trace(_), Some(meta)) => {
                Some(Trace { episode: meta.info(), sources: Vec::new(), labels: Vec::new() })
            }
            _ => None,
        };
        let mut story = super::labels::Story::default();
        for (stream, seen) in Stream::ALL.into_iter().zip(&mut seen) {
            let packed = format!("{}.zst", stream.file_name());
            let file = match (present.contains(stream.file_name()), present.contains(&packed)) {
                (false, false) => continue,
                (true, false) => stream.file_name(),
                (false, true) => &packed,
                (true, true) => {
                    let text = || format!("{} is there too, and only one of them is read", stream.file_name());
                    self.findings.add(ReasonCode::FileTwice, Some(&packed), None, text);
                    stream.file_name()
                }
            };
            let expected = known.as_ref().and_then(|known| known.get(file).copied());
            *seen = Some(match stream {
                Stream::Rows(source) => self.source(source, file, expected, trace.as_mut()),
                Stream::Labels => self.labels(file, expected, &mut story),
                Stream::Events => self.events(file, expected, &mut story),
            });
        }
        if let Some(known) = &known {
            for (name, expected) in known {
                if *name != META_FILE && Stream::of_file(name).is_none() && present.contains(*name) {
                    self.scan(name, Some(expected), |_, _| {});
                }
            }
        }
        self.judge_rows(&seen, meta.as_ref());
        self.judge_clocks(&seen);
        self.judge_labels(&story, &seen);
        if let Some(trace) = &mut trace {
            trace.labels = story.points();
        }
        (meta, trace)
    }

    /// The names in the folder.
    fn list(&mut self) -> Option<BTreeSet<String>> {
        match fs::symlink_metadata(&self.folder) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => {
                let text = || "it is a link or a file where the folder of an episode has to be".into();
                self.findings.add(ReasonCode::NotRegularFile, None, None, text);
                return None;
            }
            Err(error) => {
                self.findings.add(ReasonCode::Unreadable, None, None, || error.to_string());
                return None;
            }
        }
        let names = fs::read_dir(&self.folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect()
        });
        names.map_err(|error| self.findings.add(ReasonCode::Unreadable, None, None, || error.to_string())).ok()
    }

    /// What the index names, without names that lead elsewhere.
    fn known<'r>(&mut self, record: &'r IndexRecord) -> Known<'r> {
        let mut known = Known::new();
        for file in &record.files {
            let name = &*file.name;
            let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if plain && !name.starts_with('.') && !known.contains_key(name) {
                known.insert(name, file);
            } else {
                let text = || format!("`{name}` in the index is not the plain name of one file");
                self.findings.add(ReasonCode::UnsafeFileName, None, None, text);
            }
        }
        known
    }

    /// Reads a file line by line, hashes it and compares it with the index. What is wrong with the file as such
    /// becomes a finding; `false` when it was not read to its end.
    pub(super) fn scan(
        &mut self,
        file: &str,
        expected: Option<&FileRecord>,
        mut each: impl FnMut(&mut Self, super::Line<'_>),
    ) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let path = self.folder.join(file);
        let compressed = file.strip_suffix(".zst").is_some();
        let mut whole = false;
        match Lines::open(&path, compressed, self.limits, &mut buffer) {
            Err(problem) => self.failed(file, problem),
            Ok(mut lines) => {
                loop {
                    match lines.next_line() {
                        Ok(Some(line)) => each(self, line),
                        Ok(None) => {
                            whole = true;
                            break;
                        }
                        Err(problem) => {
                            self.failed(file, problem);
                            break;
                        }
                    }
                }
                match lines.finish() {
                    Ok(digested) => self.compare(file, digested, expected),
                    Err(problem) => self.failed(file, problem),
                }
            }
        }
        self.buffer = buffer;
        whole
    }

    fn failed(&mut self, file: &str, problem: Problem) {
        self.findings.add(problem.code, Some(file), None, || problem.text);
    }

    fn compare(&mut self, file: &str, digested: Digested, expected: Option<&FileRecord>) {
        self.bytes += digested.size;
        let Some(expected) = expected else { return };
        if expected.size != digested.size {
            let text = || format!("{} bytes, and the index says {}", digested.size, expected.size);
            self.findings.add(ReasonCode::SizeMismatch, Some(file), None, text);
        } else if expected.sha256 != hex(&digested.sha256) {
            let text = || "its sha256 is not the one in the index: it changed after it was received".into();
            self.findings.add(ReasonCode::HashMismatch, Some(file), None, text);
        }
    }

    fn meta(&mut self, id: &str, present: &BTreeSet<String>, known: Option<&Known<'_>>) -> Option<EpisodeMeta> {
        if !present.contains(META_FILE) {
            self.findings.add(ReasonCode::MetaMissing, Some(META_FILE), None, || "there is no such file".into());
            return None;
        }
        let expected = known.and_then(|known| known.get(META_FILE).copied());
        let (mut text, mut most) = (Vec::new(), self.limits.line);
        self.scan(META_FILE, expected, |_, line| {
            most = most.saturating_sub(line.bytes.len() + 1);
            if line.end == LineEnd::TooLong || most == 0 {
                most = 0;
            } else {
                text.extend_from_slice(line.bytes);
                text.push(b'\n');
            }
        });
        if most == 0 {
            let why = || "it is longer than any description of an episode".into();
            self.findings.add(ReasonCode::FileTooLarge, Some(META_FILE), None, why);
            return None;
        }
        let meta = match serde_json::from_slice::<EpisodeMeta>(&text) {
            Ok(meta) => meta,
            Err(error) => {
                let line = (error.line() > 0).then_some(error.line() as u64);
                self.findings.add(ReasonCode::MetaInvalid, Some(META_FILE), line, || error.to_string());
                return None;
            }
        };
        if let Err(error) = meta.check() {
            let text = String::from_utf8_lossy(&text);
            let line = error_line(&text, &error.to_string());
            self.findings.add(ReasonCode::MetaInvalid, Some(META_FILE), line, || error.to_string());
            return None;
        }
        if meta.episode_id != id {
            let text = || format!("it describes episode {}", meta.episode_id);
            self.findings.add(ReasonCode::IdMismatch, Some(META_FILE), None, text);
        }
        if meta.clock != self.corpus.window.clock {
            let (own, corpus) = (meta.clock.name(), self.corpus.window.clock.name());
            let text = || format!("it has the {own} clock and the corpus the {corpus} clock");
            self.findings.add(ReasonCode::ClockMismatch, Some(META_FILE), None, text);
        }
        Some(meta)
    }

    /// Sources that must be there, gates, counters.
    fn judge_rows(&mut self, seen: &[Option<Seen>; 7], meta: Option<&EpisodeMeta>) {
        let mut counters = meta.map(|meta| meta.rows).unwrap_or_default();
        for (stream, seen) in Stream::ALL.into_iter().zip(seen) {
            let file = stream.file_name();
            if seen.is_some_and(|seen| seen.broken) {
                continue;
            }
            let told = *counters.of(stream);
            let found = seen.map_or(0, |seen| seen.lines);
            let gone = self.findings.has(ReasonCode::FileMissing, file)
                || self.findings.has(ReasonCode::FileMissing, &format!("{file}.zst"));
            if let Some(told) = told.filter(|told| *told != found && !gone) {
                let text = || format!("{found} rows, and {META_FILE} counts {told}");
                self.findings.add(ReasonCode::RowCountMismatch, Some(file), None, text);
            }
            let Stream::Rows(source) = stream else { continue };
            let rule = self.corpus.sources.get(&source).copied();
            match (seen, rule) {
                (None, Some(rule)) if rule.required && !gone => {
                    let text = || format!("source {source} is required");
                    self.findings.add(ReasonCode::SourceMissing, Some(file), None, text);
                }
                (None, Some(_)) if !gone => {
                    let text = || format!("there are no rows of source {source}");
                    self.findings.add(ReasonCode::OptionalSourceMissing, Some(file), None, text);
                }
                (Some(seen), _) if seen.lines == 0 => {
                    self.findings.add(ReasonCode::SourceEmpty, Some(file), None, || "it has no row".into());
                }
                (Some(seen), Some(rule)) if seen.used < rule.min_rows => {
                    let code = if rule.required { ReasonCode::TooFewRows } else { ReasonCode::OptionalTooFewRows };
                    let text = || format!("{} usable rows, and {} are asked for", seen.used, rule.min_rows);
                    self.findings.add(code, Some(file), None, text);
                }
                _ => {}
            }
        }
    }
}

/// The line of `meta.json` that a rule speaks of: the one with its key.
fn error_line(text: &str, error: &str) -> Option<u64> {
    let key = error.split(' ').next()?;
    let key = if error.starts_with("episode id") { "episode_id" } else { key };
    text.find(&format!("\"{key}\"")).map(|at| line_of(text, at))
}
