//! What a change starts from: store and journal brought together, whatever was left of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use stakeout_core::files;

use super::file;
use super::fold;
use super::journal::{self, From, Position};
use super::store::ReliabilityStore;
use super::update::OnDoubt;
use crate::DetectError;

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

/// What a change starts from.
pub(super) struct Ground {
    pub(super) store: ReliabilityStore,
    /// Where the journal's next record goes.
    pub(super) end: u64,
    /// Its number.
    pub(super) next: u64,
    /// Whether the journal has first to be told what the store holds.
    pub(super) adopt: bool,
    pub(super) notes: Vec<String>,
}

/// Store and journal brought together, whatever a killed process, a cleaner of caches or another program left.
pub(super) fn ground(paths: &Paths, on_doubt: OnDoubt) -> Result<Ground, DetectError> {
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
                let (salvaged, lost) = fold::salvage(&paths.journal)?;
                if stored.is_none() {
                    // Written before the only file that tells it is renamed: whoever is stopped from here on loses nothing.
                    file::write(&paths.store, &file::to_bytes(&salvaged, None, &paths.store)?)?;
                    notes.push(format!("counted again from the records that can be read; {lost} lines cannot"));
                }
                notes.push(set_aside(&paths.journal, &error)?);
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
        (Some((store, _)), Kept::Whole(same)) if same == store => Ok(Ground { store, end, next, adopt: false, notes }),
        (Some((store, _)), Kept::Whole(_)) if on_doubt == OnDoubt::Force => {
            notes.push("the store was changed by another program; its counters were taken over".into());
            Ok(Ground { store, end, next, adopt: true, notes })
        }
        _ => {
            let why = format!(
                "says something else than {}: another program wrote one of them; `--force` takes the counters of the \
                 store over, removing it counts again from the journal",
                paths.journal.display()
            );
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
        && position.start < position.end
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
                return Ok(Journaled {
                    kept: Kept::AsStored,
                    end: end.at,
                    next: position.record.saturating_add(1),
                    ahead,
                });
            }
            // Another journal than the one that the store knows has no record there.
            Ok(_) | Err(DetectError::Parse { .. }) if !found => ahead = 0,
            tail => drop(tail?),
        }
    }
    let (past, end) = fold::past(&paths.journal, None)?;
    let kept = Kept::Whole(fold::replay(&paths.journal, &past, None)?);
    Ok(Journaled { kept, end: end.at, next: end.last.map_or(1, |last| last.record.saturating_add(1)), ahead })
}

/// Whether a file, and not the file system, is at fault.
fn is_damage(error: &DetectError) -> bool {
    !matches!(error, DetectError::Io { .. } | DetectError::Invalid { .. } | DetectError::Data(_))
}

pub(super) fn with_remedy(error: DetectError) -> DetectError {
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
    let free = (1..=u64::from(u32::MAX))
        .map(|n| appended(path, &format!(".damaged-{n}")))
        .find(|aside| aside.symlink_metadata().is_err());
    let aside = free.unwrap_or_else(|| appended(path, ".damaged"));
    std::fs::rename(path, &aside).map_err(|source| DetectError::io("renaming", path, source))?;
    Ok(format!("set aside as {}: {why}", aside.display()))
}

/// Bytes of a regular file; `None` where there is none.
pub(super) fn length(path: &Path) -> Result<Option<u64>, DetectError> {
    match files::open_regular(path).and_then(|file| file.metadata()) {
        Ok(about) => Ok(Some(about.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DetectError::io("reading", path, error)),
    }
}

pub(super) fn is_empty(store: &ReliabilityStore) -> bool {
    store.detectors.is_empty() && store.prior.is_none()
}

pub(super) fn appended(path: &Path, end: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
