//! The reliability store.

mod bad_files;
mod faults;
mod kept;
mod processes;
mod shifts;
mod simulation;

use stakeout_detect::DetectError;
use stakeout_detect::reliability::{By, Change, OnDoubt, Paths, Updated, update};

/// A change of the `minute`th minute.
pub(crate) fn by(minute: u64) -> By {
    By { who: "ana".into(), why: None, t_wall_ns: minute * 60_000_000_000 }
}

/// Confirmed hits and false alarms on no host.
pub(crate) fn said(hits: &[&str], false_alarms: &[&str]) -> Change {
    on(None, hits, false_alarms)
}

pub(crate) fn on(host: Option<&str>, hits: &[&str], false_alarms: &[&str]) -> Change {
    let names = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    Change::Feedback { hits: names(hits), false_alarms: names(false_alarms), host: host.map(str::to_owned) }
}

pub(crate) fn tell(paths: &Paths, change: Change) -> Result<Updated, DetectError> {
    update(paths, change, &by(1), OnDoubt::Refuse)
}

pub(crate) fn force(paths: &Paths, change: Change) -> Updated {
    update(paths, change, &by(1), OnDoubt::Force).unwrap()
}

/// 1 + hits and 1 + false alarms as the file on the disk has them.
pub(crate) fn counters(paths: &Paths, id: &str) -> (u64, u64) {
    let store = stakeout_detect::reliability::try_load(&paths.store).unwrap();
    store.detectors().get(id).map_or((1, 1), |entry| (entry.total().alpha(), entry.total().beta()))
}
