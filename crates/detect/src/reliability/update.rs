//! Changing a store that several processes share: lock, look, write down, carry out.
//!
//! The journal is the truth and the JSON file what it adds up to. A change is first appended to the journal and synced,
//! then the file is replaced; only then does [`update`] return. A process that is killed in between leaves a journal that is
//! ahead: the next change finishes it. One that fails in between takes its record back.

use stakeout_core::files;

use super::file;
use super::fold::{self, Past};
use super::ground::{Ground, Paths, appended, ground, is_empty};
use super::journal::{self, From, Position, Record, What};
use super::store::{ReliabilityStore, check_name, is_blank};
use crate::DetectError;

/// The longest reason, in bytes.
pub const LONGEST_REASON: usize = 4096;

/// Who changes a store, why and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// A name.
    pub who: String,
    /// A reason, if one is given.
    pub why: Option<String>,
    /// Unix nanoseconds.
    pub t_wall_ns: u64,
}

/// What to do to a store.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Count confirmed hits and false alarms; a detector that is named twice counts twice.
    Feedback {
        /// The detector of each hit.
        hits: Vec<String>,
        /// The detector of each false alarm.
        false_alarms: Vec<String>,
        /// The host that they were on.
        host: Option<String>,
    },
    /// Add the evidence of another store; its prior is left.
    Import {
        /// Its name, for the journal.
        from: String,
        /// A digest of its bytes.
        digest: String,
        /// What it holds.
        store: ReliabilityStore,
    },
    /// Fit the prior anew.
    RefitPrior,
    /// Take back the last change that was not taken back.
    Undo,
}

/// What becomes of a file that is damaged or says something else than the other, and of an import that was done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDoubt {
    /// It is left alone, and nothing is changed.
    Refuse,
    /// A damaged file is renamed, what can be read of both is kept, and the import is counted again.
    Force,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq)]
pub struct Updated {
    /// The store after it.
    pub store: ReliabilityStore,
    /// Its record in the journal.
    pub record: Record,
    /// What was taken back, if that was the change.
    pub undone: Option<Record>,
    /// Remarks for a person.
    pub notes: Vec<String>,
}

/// Changes a store under its lock. When it returns, the change is on the disk.
///
/// # Errors
/// [`DetectError::Invalid`] for a bad name or nothing to do; what [`file::try_load`] and the journal's reader return where a
/// file is damaged; [`DetectError::TooLarge`] where the store would outgrow what is read; [`DetectError::Io`]. Nothing has
/// changed then.
pub fn update(paths: &Paths, change: Change, by: &By, on_doubt: OnDoubt) -> Result<Updated, DetectError> {
    check(&change, by)?;
    for folder in [&paths.store, &paths.journal].into_iter().filter_map(|path| path.parent()) {
        std::fs::create_dir_all(folder).map_err(|source| DetectError::io("making", folder, source))?;
    }
    let lock_path = appended(&paths.journal, ".lock");
    let locking = |source| DetectError::io("locking", &lock_path, source);
    let lock = files::open_lock(&lock_path).map_err(locking)?;
    lock.lock().map_err(locking)?;

    let Ground { mut store, end, mut next, adopt, mut notes } = ground(paths, on_doubt)?;
    let mut lines = if end == 0 { journal::header() } else { String::new() };
    let mut write = |lines: &mut String, what: What| {
        let By { who, why, t_wall_ns } = by.clone();
        let record = Record { seq: next, t_wall_ns, who, why, what };
        next = next.saturating_add(1);
        let start = end + lines.len() as u64;
        lines.push_str(&journal::line(&record, &paths.journal)?);
        Ok((Position { record: record.seq, start, end: end + lines.len() as u64 }, record))
    };
    if adopt {
        let (detectors, prior) = (store.detectors.clone(), store.prior.clone());
        write(&mut lines, What::Adopt { detectors, prior })?;
    }
    let until = Some(end);
    let past = || if end == 0 { Ok(Past::default()) } else { fold::past(&paths.journal, until).map(|(past, _)| past) };
    let mut undone = None;
    let what = match change {
        Change::Feedback { hits, false_alarms, host } => What::Feedback { tp: hits, fp: false_alarms, host },
        Change::Import { from, digest, store } => {
            if let Some(seq) = past()?.imported(&digest).filter(|_| on_doubt == OnDoubt::Refuse) {
                let why =
                    format!("{from} was imported before (record {seq} of the journal); `--force` counts it again");
                return Err(DetectError::Invalid { what: "import", why });
            }
            What::Import { from, digest, detectors: store.detectors }
        }
        Change::RefitPrior => {
            let revision = past()?.revision.max(store.prior().revision).saturating_add(1);
            let mut fitted = store.clone();
            fitted.refit_prior(revision);
            What::RefitPrior { prior: fitted.prior() }
        }
        Change::Undo => {
            let (before, without) = take_back(paths, &store, until, adopt, past()?)?;
            let seq = before.seq;
            undone = Some(before);
            store = without;
            What::Undo { seq }
        }
    };
    fold::apply(&mut store, &what);
    let (position, record) = write(&mut lines, what)?;
    let bytes = file::to_bytes(&store, Some(position), &paths.store)?;
    journal::append(&paths.journal, end, lines.as_bytes())?;
    if let Err(error) = file::write(&paths.store, &bytes) {
        if let Err(cut) = journal::cut(&paths.journal, end) {
            notes.push(format!("the change stays in the journal: {cut}"));
        }
        return Err(error);
    }
    Ok(Updated { store, record, undone, notes })
}

/// The record to take back, and the store without it.
fn take_back(
    paths: &Paths,
    store: &ReliabilityStore,
    until: Option<u64>,
    adopt: bool,
    mut past: Past,
) -> Result<(Record, ReliabilityStore), DetectError> {
    let nothing = || DetectError::Invalid { what: "undo", why: "there is no change to take back".into() };
    let last = past.last().filter(|_| !adopt).ok_or_else(nothing)?;
    if fold::replay(&paths.journal, &past, until)? != *store {
        let store = paths.store.display();
        return Err(DetectError::Data(format!(
            "{store} is not what its journal adds up to, so that nothing can be taken back; remove the store to count it again"
        )));
    }
    let mut before = None;
    journal::scan(&paths.journal, From::Start, until, &mut |record, _| {
        if record.seq == last {
            before = Some(record);
        }
        Ok(())
    })?;
    let before = before.ok_or_else(nothing)?;
    past.note(&Record { what: What::Undo { seq: last }, ..before.clone() });
    let without = fold::replay(&paths.journal, &past, until)?;
    Ok((before, without))
}

fn check(change: &Change, by: &By) -> Result<(), DetectError> {
    let invalid = |what, why: &str| Err(DetectError::Invalid { what, why: why.to_owned() });
    check_name("who", &by.who)?;
    if let Some(why) = &by.why {
        if is_blank(why) {
            return invalid("why", "is blank: leave it out or give a reason");
        }
        if why.len() > LONGEST_REASON {
            let why = format!("has {} bytes, at most {LONGEST_REASON} are kept", why.len());
            return Err(DetectError::Invalid { what: "why", why });
        }
    }
    match change {
        Change::Feedback { hits, false_alarms, host } => {
            if hits.is_empty() && false_alarms.is_empty() {
                return invalid("feedback", "names no detector");
            }
            hits.iter().chain(false_alarms).try_for_each(|id| check_name("detector id", id))?;
            host.as_ref().map_or(Ok(()), |host| check_name("host", host))
        }
        Change::Import { from, store, .. } => {
            if is_blank(from) || from.len() > LONGEST_REASON {
                return invalid("import", "the name of the file is blank or too long");
            }
            if is_empty(store) { invalid("import", "the file holds no detector") } else { Ok(()) }
        }
        Change::RefitPrior | Change::Undo => Ok(()),
    }
}
