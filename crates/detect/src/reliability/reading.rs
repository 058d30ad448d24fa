//! Reading a store that others may be changing, without waiting for them.

use super::file;
use super::fold::{self, Past};
use super::ground::{Paths, length, with_remedy};
use super::journal::{self, From, Record};
use super::posterior::Evidence;
use super::store::ReliabilityStore;
use crate::DetectError;

/// A store as it is, and what was noticed on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// The store.
    pub store: ReliabilityStore,
    /// Remarks for a person.
    pub notes: Vec<String>,
}

/// The store as it is, without waiting for anybody and without writing. Every file is checked.
///
/// # Errors
/// As [`update`], but for what is written.
pub fn read(paths: &Paths) -> Result<Current, DetectError> {
    let (current, past) = consistent(paths)?;
    let mut notes = current.notes;
    if let Some((past, until)) = &past
        && fold::replay(&paths.journal, past, *until)? != current.store
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
        Some((past, until)) => fold::faded(&paths.journal, &past, until, half_life_days * DAY_NS, now_ns)?,
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
            let (past, end) = fold::past(&paths.journal, None)?;
            let until = Some(end.at);
            let store = fold::replay(&paths.journal, &past, until)?;
            if end.last.is_some() {
                notes.push(format!("there is no store; counted again from {}", paths.journal.display()));
            }
            Ok((Current { store, notes }, Some((past, until))))
        }
        Some((store, Some(position))) if size >= position.end => {
            let until = Some(position.end);
            let (past, _) = fold::past(&paths.journal, until)?;
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
