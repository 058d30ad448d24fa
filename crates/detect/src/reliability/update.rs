//! Changing a store that several processes share: lock, look, write down, carry out.
//!
//! The journal is the truth and the JSON file what it adds up to. A change is first appended to the journal and synced,
//! then the file is replaced; only then does [`update`] return. A process that is killed in between leaves a journal that is
//! ahead: the next change finishes it. One that fails in between takes its record back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use stakeout_core::files;

use super::file;
use super::journal::{self, From, Past, Position, Record, What};
use super::posterior::Evidence;
use super::store::{Entry, ReliabilityStore, check_name, is_blank};
use crate::DetectError;

/// The longest reason, in bytes.
pub const LONGEST_REASON: usize = 4096;

/// Where a store and its journal are. The lock lies beside the journal, with `.lock` appended to its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The JSON file.
    pub store: PathBuf,
    /// The journal.
    pub journal: PathBuf,
}

impl Paths {
    /// The journal beside the store, with `.journal.jsonl` appended to its name.
    pub fn beside(store: &Path) -> Self {
        Self { store: store.to_owned(), journal: appended(store, ".journal.jsonl") }
    }
}

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

/// A store as it is, and what was noticed on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// The store.
    pub store: ReliabilityStore,
    /// Remarks for a person.
    pub notes: Vec<String>,
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
pub fn update(paths: &Paths, change: Change, by: By, on_doubt: OnDoubt) -> Result<Updated, DetectError> {
    check(&change, &by)?;
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
        next += 1;
        let start = end + lines.len() as u64;
        let text = serde_json::to_string(&record);
        lines.push_str(&text.map_err(|error| DetectError::io("writing", &paths.journal, error.into()))?);
        lines.push('\n');
        Ok((Position { record: record.seq, start, end: end + lines.len() as u64 }, record))
    };
    if adopt {
        let (detectors, prior) = (store.detectors.clone(), store.prior.clone());
        write(&mut lines, What::Adopt { detectors, prior })?;
    }
    let until = Some(end);
    let past = || if end == 0 { Ok(Past::default()) } else { journal::past(&paths.journal, until).map(|(past, _)| past) };
    let mut undone = None;
    let what = match change {
        Change::Feedback { hits, false_alarms, host } => What::Feedback { tp: hits, fp: false_alarms, host },
        Change::Import { from, digest, store } => {
            if let Some(seq) = past()?.imported(&digest).filter(|_| on_doubt == OnDoubt::Refuse) {
                let why = format!("{from} was imported before (record {seq} of the journal); `--force` counts it again");
                return Err(DetectError::Invalid { what: "import", why });
            }
            What::Import { from, digest, detectors: store.detectors }
        }
        Change::RefitPrior => {
            let revision = past()?.revision.max(store.prior().revision) + 1;
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
    journal::apply(&mut store, &what);
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

/// The store as it is, without waiting for anybody and without writing. Every file is checked.
///
/// # Errors
/// As [`update`], but for what is written.
pub fn read(paths: &Paths) -> Result<Current, DetectError> {
    let (current, past) = consistent(paths)?;
    let mut notes = current.notes;
    if let Some((past, until)) = &past
        && journal::replay(&paths.journal, past, *until)? != current.store
    {
        notes.push(format!("{} and {} do not say the same", paths.store.display(), paths.journal.display()));
    }
    Ok(Current { store: current.store, notes })
}

/// The store and its evidence, faded by a half-life at a time: what is one half-life old counts half. The counters of the
/// store stay whole.
///
/// # Errors
/// As [`read`]; [`DetectError::Invalid`] for a half-life that is not above 0; [`DetectError::Data`] for a store without a
/// journal, of which nobody knows how old it is.
pub fn faded(paths: &Paths, half_life_days: f64, now_ns: u64) -> Result<(Current, Evidence), DetectError> {
    const DAY_NS: f64 = 86_400e9;
    if !(half_life_days > 0.0 && half_life_days.is_finite()) {
        let why = format!("{half_life_days} days is not above 0");
        return Err(DetectError::Invalid { what: "half-life", why });
    }
    let (current, past) = consistent(paths)?;
    let evidence = match past {
        Some((past, until)) => journal::faded(&paths.journal, &past, until, half_life_days * DAY_NS, now_ns)?,
        None if current.store.detectors.is_empty() => Evidence::default(),
        None => {
            let store = paths.store.display();
            return Err(DetectError::Data(format!("{store} has no journal: how old its counters are is not known")));
        }
    };
    Ok((current, evidence))
}

/// Every record of the journal that the store rests on, in their order.
///
/// # Errors
/// As [`read`].
pub fn history(paths: &Paths) -> Result<Vec<Record>, DetectError> {
    let until = match file::read(&paths.store) {
        Ok((_, position)) => position.map(|position| position.end),
        Err(error) if file::is_absent(&error) => None,
        Err(error) => return Err(error),
    };
    let mut records = Vec::new();
    if length(&paths.journal)?.is_some() {
        journal::scan(&paths.journal, From::Start, until, &mut |record, _| {
            records.push(record);
            Ok(())
        })?;
    }
    Ok(records)
}

/// What a change starts from.
struct Ground {
    store: ReliabilityStore,
    /// Where the journal's next record goes.
    end: u64,
    /// Its number.
    next: u64,
    /// Whether the journal has first to be told what the store holds.
    adopt: bool,
    notes: Vec<String>,
}

/// Store and journal brought together, whatever a killed process, a cleaner of caches or another program left.
fn ground(paths: &Paths, on_doubt: OnDoubt) -> Result<Ground, DetectError> {
    let mut notes = Vec::new();
    let stored = match file::read(&paths.store) {
        Ok(stored) => Some(stored),
        Err(error) if file::is_absent(&error) => None,
        Err(error) if is_damage(&error) && on_doubt == OnDoubt::Force => {
            notes.push(set_aside(&paths.store, &error)?);
            None
        }
        Err(error) => return Err(with_remedy(error)),
    };
    let journaled = match length(&paths.journal)? {
        None | Some(0) => None,
        Some(_) => match journaled(paths, stored.as_ref()) {
            Ok(journaled) => Some(journaled),
            Err(error) if is_damage(&error) && on_doubt == OnDoubt::Force => {
                let (salvaged, lost) = journal::salvage(&paths.journal)?;
                notes.push(set_aside(&paths.journal, &error)?);
                if stored.is_none() {
                    notes.push(format!("counted again from the records that can be read; {lost} lines cannot"));
                }
                let store = stored.map_or(salvaged, |(store, _)| store);
                return Ok(Ground { adopt: !is_empty(&store), store, end: 0, next: 1, notes });
            }
            Err(error) => return Err(error),
        },
    };
    let Some(Journaled { kept, end, next, ahead }) = journaled else {
        let (store, position) = stored.unwrap_or_default();
        if position.is_some() {
            notes.push(format!("{} is gone: a new journal starts from the store", paths.journal.display()));
        }
        return Ok(Ground { adopt: !is_empty(&store), store, end: 0, next: 1, notes });
    };
    match (stored, kept) {
        (None, Kept::Whole(store)) => {
            if next > 1 {
                let (at, n) = (paths.journal.display(), next - 1);
                notes.push(format!("there was no store; counted again from {n} records of {at}"));
            }
            Ok(Ground { store, end, next, adopt: false, notes })
        }
        (Some((store, _)), Kept::AsStored) => Ok(Ground { store, end, next, adopt: false, notes }),
        (Some(_), Kept::Whole(store)) if ahead > 0 => {
            notes.push(format!("{ahead} changes of a process that was stopped were carried out"));
            Ok(Ground { store, end, next, adopt: false, notes })
        }
        (Some((store, _)), Kept::Whole(same)) if same == store => {
            Ok(Ground { store, end, next, adopt: false, notes })
        }
        (Some((store, _)), Kept::Whole(_)) if on_doubt == OnDoubt::Force => {
            notes.push("the store was changed by another program; its counters were taken over".into());
            Ok(Ground { store, end, next, adopt: true, notes })
        }
        (stored, _) => {
            let why = format!(
                "says something else than {}: another program wrote one of them; `--force` takes the counters of the \
                 store over, removing it counts again from the journal",
                paths.journal.display()
            );
            debug_assert!(stored.is_some(), "an absent store is counted again whole");
            Err(DetectError::Parse { path: paths.store.display().to_string(), line: None, why })
        }
    }
}

/// What the journal says beside a store.
struct Journaled {
    kept: Kept,
    end: u64,
    next: u64,
    /// Records behind the one that the store names.
    ahead: u64,
}

enum Kept {
    /// The store is where it says that it is in the journal, and nothing came after.
    AsStored,
    /// What the whole journal adds up to.
    Whole(ReliabilityStore),
}

fn journaled(paths: &Paths, stored: Option<&(ReliabilityStore, Option<Position>)>) -> Result<Journaled, DetectError> {
    let mut ahead = 0;
    if let Some((_, Some(position))) = stored
        && length(&paths.journal)?.is_some_and(|size| size >= position.end)
    {
        let mut found = false;
        let tail = journal::scan(&paths.journal, From::Record(*position), None, &mut |_, at| {
            if at == *position {
                found = true;
            } else {
                ahead += 1;
            }
            Ok(())
        });
        match tail {
            Ok(end) if found && ahead == 0 => {
                return Ok(Journaled { kept: Kept::AsStored, end: end.at, next: position.record + 1, ahead });
            }
            // Another journal than the one that the store knows has no record there.
            Ok(_) | Err(DetectError::Parse { .. }) if !found => ahead = 0,
            tail => drop(tail?),
        }
    }
    let (past, end) = journal::past(&paths.journal, None)?;
    let kept = Kept::Whole(journal::replay(&paths.journal, &past, None)?);
    Ok(Journaled { kept, end: end.at, next: end.last.map_or(1, |last| last.record + 1), ahead })
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
    if journal::replay(&paths.journal, &past, until)? != *store {
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
    let without = journal::replay(&paths.journal, &past, until)?;
    Ok((before, without))
}

/// A store and the part of its journal that it rests on, read without a lock: the file is replaced whole and the journal only
/// grows behind the record that the file names.
type Consistent = (Current, Option<(Past, Option<u64>)>);

fn consistent(paths: &Paths) -> Result<Consistent, DetectError> {
    let mut notes = Vec::new();
    let stored = match file::read(&paths.store) {
        Ok(stored) => Some(stored),
        Err(error) if file::is_absent(&error) => None,
        Err(error) => return Err(with_remedy(error)),
    };
    let size = length(&paths.journal)?.unwrap_or(0);
    match stored {
        None if size == 0 => Ok((Current { store: ReliabilityStore::default(), notes }, None)),
        None => {
            let (past, end) = journal::past(&paths.journal, None)?;
            let until = Some(end.at);
            let store = journal::replay(&paths.journal, &past, until)?;
            if end.last.is_some() {
                notes.push(format!("there is no store; counted again from {}", paths.journal.display()));
            }
            Ok((Current { store, notes }, Some((past, until))))
        }
        Some((store, Some(position))) if size >= position.end => {
            let until = Some(position.end);
            let (past, _) = journal::past(&paths.journal, until)?;
            Ok((Current { store, notes }, Some((past, until))))
        }
        Some((store, position)) => {
            if position.is_some() || size > 0 {
                notes.push(format!("{} is not the journal of this store", paths.journal.display()));
            }
            Ok((Current { store, notes }, None))
        }
    }
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

/// Whether a file, and not the file system, is at fault.
fn is_damage(error: &DetectError) -> bool {
    !matches!(error, DetectError::Io { .. } | DetectError::Invalid { .. } | DetectError::Data(_))
}

fn with_remedy(error: DetectError) -> DetectError {
    match error {
        DetectError::Parse { path, line, why } => {
            let why = format!("{why}; `--force` sets it aside and counts again from the journal");
            DetectError::Parse { path, line, why }
        }
        other => other,
    }
}

/// Renames a damaged file; nothing is lost.
fn set_aside(path: &Path, why: &DetectError) -> Result<String, DetectError> {
    let free = (1u64..).map(|n| appended(path, &format!(".damaged-{n}"))).find(|aside| !aside.exists());
    let aside = free.unwrap_or_else(|| appended(path, ".damaged"));
    std::fs::rename(path, &aside).map_err(|source| DetectError::io("renaming", path, source))?;
    Ok(format!("set aside as {}: {why}", aside.display()))
}

/// Bytes of a regular file; `None` where there is none.
fn length(path: &Path) -> Result<Option<u64>, DetectError> {
    match files::open_regular(path).and_then(|file| file.metadata()) {
        Ok(about) => Ok(Some(about.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DetectError::io("reading", path, error)),
    }
}

fn is_empty(store: &ReliabilityStore) -> bool {
    let nothing: BTreeMap<String, Entry> = BTreeMap::new();
    store.detectors == nothing && store.prior.is_none()
}

fn appended(path: &Path, end: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
