//! What a journal adds up to: the store, or evidence that has faded with age.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;

use stakeout_core::files;

use super::counters::Counters;
use super::journal::{End, From, Header, LONGEST_LINE, Record, What, scan};
use super::posterior::Evidence;
use super::store::ReliabilityStore;
use crate::DetectError;

/// What can be read of a damaged journal: lines that are no records are passed over and counted.
pub(super) fn salvage(path: &Path) -> Result<(ReliabilityStore, u64), DetectError> {
    let failed = |source| DetectError::io("reading", path, source);
    let mut reader = BufReader::new(files::open_regular(path).map_err(failed)?);
    let (mut records, mut lost, mut bytes) = (Vec::<Record>::new(), 0, Vec::new());
    loop {
        bytes.clear();
        if std::io::Read::take(&mut reader, LONGEST_LINE).read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            break;
        }
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if record.check().is_ok() && records.last().is_none_or(|last| last.seq < record.seq) => {
                records.push(record);
            }
            _ if serde_json::from_slice::<Header>(&bytes).is_ok() => {}
            _ => lost += 1,
        }
    }
    let mut past = Past::default();
    records.iter().for_each(|record| past.note(record));
    let mut store = ReliabilityStore::default();
    records.iter().filter(|record| past.stands(record)).for_each(|record| apply(&mut store, &record.what));
    Ok((store, lost))
}

/// What was taken back, and what still can be.
#[derive(Debug, Default)]
pub(super) struct Past {
    undone: BTreeSet<u64>,
    undoable: Vec<u64>,
    /// The largest revision of a prior that there ever was.
    pub(super) revision: u64,
    /// Digests of imports that stand.
    imports: BTreeMap<u64, String>,
}

impl Past {
    pub(super) fn note(&mut self, record: &Record) {
        match &record.what {
            What::Undo { seq } => {
                self.undone.insert(*seq);
                self.undoable.retain(|candidate| candidate != seq);
                self.imports.remove(seq);
                return;
            }
            What::Adopt { prior, .. } => {
                self.undoable.clear();
                self.revision = self.revision.max(prior.as_ref().map_or(0, |prior| prior.revision));
                return;
            }
            What::RefitPrior { prior } => self.revision = self.revision.max(prior.revision),
            What::Import { digest, .. } => {
                self.imports.insert(record.seq, digest.clone());
            }
            What::Feedback { .. } => {}
        }
        self.undoable.push(record.seq);
    }

    /// Whether a record was not taken back.
    pub(super) fn stands(&self, record: &Record) -> bool {
        !self.undone.contains(&record.seq)
    }

    /// The last change that was not taken back.
    pub(super) fn last(&self) -> Option<u64> {
        self.undoable.last().copied()
    }

    /// The record that imported a file with this digest.
    pub(super) fn imported(&self, digest: &str) -> Option<u64> {
        self.imports.iter().find(|(_, known)| *known == digest).map(|(seq, _)| *seq)
    }
}

/// Reads what was taken back; with the end of the journal.
pub(super) fn past(path: &Path, until: Option<u64>) -> Result<(Past, End), DetectError> {
    let mut past = Past::default();
    let end = scan(path, From::Start, until, &mut |record, _| {
        past.note(&record);
        Ok(())
    })?;
    Ok((past, end))
}

/// The store that a journal makes, `past` telling what does not count.
pub(super) fn replay(path: &Path, past: &Past, until: Option<u64>) -> Result<ReliabilityStore, DetectError> {
    let mut store = ReliabilityStore::default();
    scan(path, From::Start, until, &mut |record, _| {
        if past.stands(&record) {
            apply(&mut store, &record.what);
        }
        Ok(())
    })?;
    Ok(store)
}

/// Carries a change out. An undo is carried out by replaying without what it takes back.
pub(super) fn apply(store: &mut ReliabilityStore, what: &What) {
    match what {
        What::Feedback { tp, fp, host } => {
            let (hit, miss) = (Counters::after(1, 0), Counters::after(0, 1));
            tp.iter().for_each(|id| store.add(id, host.as_deref(), hit));
            fp.iter().for_each(|id| store.add(id, host.as_deref(), miss));
        }
        What::Import { detectors, .. } => {
            store.merge(&ReliabilityStore { detectors: detectors.clone(), prior: None });
        }
        What::RefitPrior { prior } => store.prior = Some(prior.clone()),
        What::Undo { .. } => {}
        What::Adopt { detectors, prior } => {
            *store = ReliabilityStore { detectors: detectors.clone(), prior: prior.clone() };
        }
    }
}

/// Evidence faded with age: a record that is one half-life old counts half. What an import or an adoption brought is as old
/// as that; a record from the future counts in full.
pub(super) fn faded(
    path: &Path,
    past: &Past,
    until: Option<u64>,
    half_life_ns: f64,
    now_ns: u64,
) -> Result<Evidence, DetectError> {
    let mut evidence = Evidence::default();
    scan(path, From::Start, until, &mut |record, _| {
        if !past.stands(&record) {
            return Ok(());
        }
        let weight = (-(now_ns.saturating_sub(record.t_wall_ns) as f64) / half_life_ns).exp2();
        match &record.what {
            What::Feedback { tp, fp, host } => {
                let host = host.as_deref();
                tp.iter().for_each(|id| evidence.add(id, host, Counters::after(1, 0), weight));
                fp.iter().for_each(|id| evidence.add(id, host, Counters::after(0, 1), weight));
            }
            What::Import { detectors, .. } => {
                detectors.iter().for_each(|(id, entry)| evidence.add_entry(id, entry, weight));
            }
            What::Adopt { detectors, .. } => {
                evidence = Evidence::default();
                detectors.iter().for_each(|(id, entry)| evidence.add_entry(id, entry, weight));
            }
            What::RefitPrior { .. } | What::Undo { .. } => {}
        }
        Ok(())
    })?;
    Ok(evidence)
}
