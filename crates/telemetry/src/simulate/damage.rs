//! Damage: how each fault is put into a finished store.
//!
//! A validator that only compares hashes must not look good here. So the index keeps the hash of the healthy bytes
//! only where the fault *is* one of transport or storage; for every other fault it is given the hash of the damaged
//! bytes, as if the recorder had written them so.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use stakeout_core::files::{write_atomic, write_atomic_with};
use stakeout_core::{CoreError, Source};

use super::draw::Draw;
use super::hosts::SOURCES;
use super::script::{INFECTING, Plan};
use super::{FAULTS_FILE, Fault, FaultRecord, SimConfig, episode_id, script_of};
use crate::reader::Limits;
use crate::store::{EPISODES_FOLDER, INDEX_FILE, META_FILE, episode_folder};
use crate::{EpisodeMeta, FileRecord, IndexRecord, Stream, TelemetryError, write};

/// Damages `share` of the episodes, every fault as often as every other, and writes [`FAULTS_FILE`].
pub(super) fn damage(
    store: &Path,
    config: &SimConfig,
    plans: &[Plan],
    share: f64,
) -> Result<Vec<FaultRecord>, TelemetryError> {
    let dealt = deal(config, plans, share);
    let path = store.join(INDEX_FILE);
    let failed = |error| TelemetryError::io("reading", &path, error);
    let index = || fs::File::open(&path).map(|file| BufReader::new(file).lines().enumerate());
    let mut truth = Vec::with_capacity(dealt.len());
    let mut changed = Vec::with_capacity(dealt.len());
    let mut next = dealt.iter().peekable();
    for (number, line) in index().map_err(failed)? {
        let line = line.map_err(failed)?;
        let Some(&(_, fault)) = next.next_if(|(dealt, _)| *dealt == number) else { continue };
        let mut record: IndexRecord = serde_json::from_str(&line)
            .map_err(|error| TelemetryError::malformed(&path, number as u64 + 1, error.to_string()))?;
        let id = episode_id(config, &plans[number]);
        let mut draw = Draw::new(config.seed, "damage", number as u64);
        let mut damaged = Damaged { folder: &episode_folder(store, &id), record: &mut record, draw: &mut draw };
        let (file, line, offset) = damaged.inflict(fault, number)?;
        changed.push((number, serde_json::to_string(&record).expect("an index record is JSON")));
        truth.push(FaultRecord { episode_id: id, fault, file, line, offset });
    }
    let mut next = changed.iter().peekable();
    write_atomic_with(&path, |file| {
        for (number, line) in index()? {
            let line = line?;
            let line = next.next_if(|(changed, _)| *changed == number).map_or(&line, |(_, changed)| changed);
            writeln!(file, "{line}")?;
        }
        Ok(())
    })?;
    write_atomic_with(&store.join(FAULTS_FILE), |file| {
        for record in &truth {
            serde_json::to_writer(&mut *file, record)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })?;
    Ok(truth)
}

/// Which episode gets which fault, in store order.
fn deal(config: &SimConfig, plans: &[Plan], share: f64) -> Vec<(usize, Fault)> {
    let wanted = (share * plans.len() as f64).round() as usize;
    let mut left: Vec<usize> = (0..plans.len()).collect();
    Draw::new(config.seed, "faults", 0).shuffle(&mut left);
    let infected = |number: usize| script_of(config, &plans[number]).labels.iter().any(|label| label.what == INFECTING);
    let mut dealt = Vec::with_capacity(wanted);
    let mut misses = 0;
    for fault in Fault::ALL.into_iter().cycle() {
        if dealt.len() == wanted || misses == Fault::ALL.len() {
            break;
        }
        match left.iter().rposition(|number| !fault.needs_infection() || infected(*number)) {
            Some(at) => {
                dealt.push((left.remove(at), fault));
                misses = 0;
            }
            None => misses += 1,
        }
    }
    dealt.sort_unstable();
    dealt
}

/// What was damaged: file, line, offset.
type Place = (String, Option<u64>, Option<u64>);

struct Damaged<'a> {
    folder: &'a Path,
    record: &'a mut IndexRecord,
    draw: &'a mut Draw,
}

impl Damaged<'_> {
    fn inflict(&mut self, fault: Fault, number: usize) -> Result<Place, TelemetryError> {
        let any = Stream::Rows(SOURCES[self.draw.below(SOURCES.len())]).file_name();
        match fault {
            Fault::BitFlip => {
                let mut bytes = self.read(any)?;
                let at = self.draw.below(bytes.len());
                bytes[at] ^= 1 << self.draw.below(8);
                self.write(any, &bytes)?;
                Ok((any.into(), None, Some(at as u64)))
            }
            Fault::MissingFile => {
                let file = [Source::Guest, Source::Netflow][self.draw.below(2)].file_name();
                let path = self.folder.join(file);
                fs::remove_file(&path).map_err(|error| TelemetryError::io("removing", &path, error))?;
                Ok((file.into(), None, None))
            }
            Fault::PathTraversal => {
                self.record.episode_id = format!("../{EPISODES_FOLDER}/{}", self.record.episode_id);
                Ok((INDEX_FILE.into(), Some(number as u64 + 1), None))
            }
            Fault::TruncatedLine => {
                let mut bytes = self.read(any)?;
                let lines = split(&bytes);
                let (count, last) = (lines.len(), lines.last().map_or(0, |line| line.len()));
                let keep = bytes.len() - last + 1 + self.draw.below(last - 2);
                bytes.truncate(keep);
                self.rewrite(any, &bytes)?;
                Ok((any.into(), Some(count as u64), Some(keep as u64)))
            }
            Fault::SwappedRows => {
                let bytes = self.read(any)?;
                let mut lines = split(&bytes);
                let far = 1 + self.draw.below(5.min(lines.len() - 1));
                let first = self.draw.below(lines.len() - far);
                lines.swap(first, first + far);
                self.rewrite(any, &lines.concat())?;
                Ok((any.into(), Some(first as u64 + 1), None))
            }
            Fault::LabelRegress => {
                let file = Stream::Labels.file_name();
                let bytes = self.read(file)?;
                let lines = split(&bytes);
                let (last, before) = lines.split_last().expect("an episode with an infection has labels");
                let key = b"\"phase\":";
                let at = find(last, key).expect("every label has a phase");
                let text = [&before.concat(), &last[..at], key, b"\"clean\"}\n"].concat();
                self.rewrite(file, &text)?;
                Ok((file.into(), Some(lines.len() as u64), None))
            }
            Fault::UnjustifiedLabel => {
                let file = Stream::Events.file_name();
                let bytes = self.read(file)?;
                let at = find(&bytes, b"\"exploit_fire\"").expect("an infection has its event");
                let (before, after) = (&bytes[..at], &bytes[at + b"\"exploit_fire\"".len()..]);
                self.rewrite(file, &[before, b"\"exploit_fail\"", after].concat())?;
                Ok((file.into(), Some(split(before).len() as u64), None))
            }
            Fault::BootRelativeClock => {
                let bytes = self.read(any)?;
                let uptime_ns = (self.draw.between(1.0, 700.0) * 3600e9) as i64;
                let mut text = Vec::with_capacity(bytes.len());
                let mut first = None;
                for line in split(&bytes) {
                    let key = b"\"t_wall_ns\":";
                    let at = find(line, key).expect("every row has a wall clock") + key.len();
                    let length = line[at..].iter().take_while(|b| b.is_ascii_digit()).count();
                    let wall = line[at..at + length].iter().fold(0, |n, digit| 10 * n + i64::from(digit - b'0'));
                    let boot_ns = *first.get_or_insert(wall) - uptime_ns;
                    text.extend_from_slice(&line[..at]);
                    text.extend_from_slice((wall - boot_ns).to_string().as_bytes());
                    text.extend_from_slice(&line[at + length..]);
                }
                self.rewrite(any, &text)?;
                Ok((any.into(), Some(1), None))
            }
            Fault::EmptySource => {
                let source = SOURCES[self.draw.below(SOURCES.len())];
                let bytes = self.read(META_FILE)?;
                let path = self.folder.join(META_FILE);
                let mut meta: EpisodeMeta = serde_json::from_slice(&bytes)
                    .map_err(|error| TelemetryError::malformed(&path, error.line() as u64, error.to_string()))?;
                *meta.rows.of(Stream::Rows(source)) = Some(0);
                let mut text = serde_json::to_vec_pretty(&meta).expect("a meta is JSON");
                text.push(b'\n');
                self.rewrite(META_FILE, &text)?;
                self.rewrite(source.file_name(), b"")?;
                Ok((source.file_name().into(), None, None))
            }
            Fault::OversizedLine => {
                let bytes = self.read(any)?;
                let lines = split(&bytes);
                let long = self.draw.below(lines.len());
                let row = &lines[long][..lines[long].len() - 2]; // without `}\n`
                let padding = vec![b'x'; Limits::default().line];
                let text =
                    [&lines[..long].concat(), row, b",\"padding\":\"", &padding, b"\"}\n", &lines[long + 1..].concat()]
                        .concat();
                self.rewrite(any, &text)?;
                Ok((any.into(), Some(long as u64 + 1), None))
            }
        }
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, TelemetryError> {
        let path = self.folder.join(file);
        fs::read(&path).map_err(|error| TelemetryError::io("reading", &path, error))
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), CoreError> {
        write_atomic(&self.folder.join(file), bytes)
    }

    /// Writes and gives the index the hash of what was written.
    fn rewrite(&mut self, file: &str, bytes: &[u8]) -> Result<(), CoreError> {
        self.write(file, bytes)?;
        self.record.files.retain(|record| record.name != file);
        let sha256 = write::hex(&Sha256::digest(bytes));
        self.record.files.push(FileRecord { name: file.into(), sha256, size: bytes.len() as u64 });
        self.record.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }
}

/// The lines of a text, each with its end.
fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    text.windows(words.len()).position(|window| window == words)
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;

    #[test]
    fn faults_are_dealt_evenly_and_once_an_episode() {
        let config = SimConfig { episodes: 400, ..SimConfig::default() };
        let plans = script::plan(&config);
        let dealt = deal(&config, &plans, 0.25);
        assert_eq!(dealt.len(), 100);
        assert!(dealt.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for fault in Fault::ALL {
            assert_eq!(dealt.iter().filter(|(_, other)| *other == fault).count(), 10, "{}", fault.name());
        }
        assert_eq!(deal(&config, &plans, 1.0).len(), 400);
        assert!(deal(&config, &plans, 0.0).is_empty());
    }
}
