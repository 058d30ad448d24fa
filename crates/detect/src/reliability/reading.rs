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
    /// Whether the journal, where there is one, adds up to the store.
    pub agrees: bool,
    /// Remarks for a person.
    pub notes: Vec<String>,
}

/// The store as it is, without waiting for anybody and without writing. Every file is checked; a journal that is damaged or
/// says something else is a remark, since the counters can be read.
///
/// # Errors
/// What [`try_load`](super::try_load) returns but for an absent file; where there is no store, what is wrong with its journal.
pub fn read(paths: &Paths) -> Result<Current, DetectError> {
    Ok(consistent(paths)?.0)
}

/// The store and its evidence, faded by a half-life at a time: what is one half-life old counts half. The counters of the
/// store stay whole.
///
/// # Errors
/// As [`read`]; [`DetectError::Invalid`] for a half-life that is not above 0; [`DetectError::Data`] for a store that no journal
/// explains, of which nobody knows how old it is.
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
            let why = format!("{store} has no journal of its own: how old its counters are is not known");
            return Err(DetectError::Data(why));
        }
    };
    Ok((current, evidence))
}

/// Every record of the journal that the store rests on, in their order.
///
/// # Errors
/// As [`read`], and what is wrong with the journal.
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

/// A store and the part of its journal that adds up to it, read without a lock: the file is replaced whole and the journal
/// only grows behind the record that the file names.
type Consistent = (Current, Option<(Past, Option<u64>)>);

fn consistent(paths: &Paths) -> Result<Consistent, DetectError> {
    let (store, position) = match file::read(&paths.store) {
        Ok((store, position)) => (Some(store), position),
        Err(error) if file::is_absent(&error) => (None, None),
        Err(error) => return Err(with_remedy(error)),
    };
    let alone = |store: Option<ReliabilityStore>, notes: Vec<String>| {
        let agrees = notes.is_empty();
        (Current { store: store.unwrap_or_default(), agrees, notes }, None)
    };
    let size = length(&paths.journal)?.unwrap_or(0);
    if size == 0 {
        let lost = position.map(|_| format!("{} is gone", paths.journal.display()));
        return Ok(alone(store, lost.into_iter().collect()));
    }
    let until = position.map(|position| position.end);
    let journaled = fold::past(&paths.journal, until).and_then(|(past, end)| {
        let until = Some(end.at);
        Ok((fold::replay(&paths.journal, &past, until)?, past, until))
    });
    match (store, journaled) {
        (None, Err(error)) => Err(error),
        (Some(store), Err(error)) => Ok(alone(Some(store), vec![error.to_string()])),
        (None, Ok((store, past, until))) => {
            let notes = vec![format!("there is no store; counted again from {}", paths.journal.display())];
            Ok((Current { store, agrees: true, notes }, Some((past, until))))
        }
        (Some(store), Ok((same, past, until))) if same == store => {
            Ok((Current { store, agrees: true, notes: Vec::new() }, Some((past, until))))
        }
        (store, Ok(_)) => {
            let note = format!("{} and {} do not say the same", paths.store.display(), paths.journal.display());
            Ok(alone(store, vec![note]))
        }
    }
}
