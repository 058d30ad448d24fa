//! The coverage ledger: what a score speaks of, cell by cell, and what it is silent about.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stakeout_core::SampleIndex;

use crate::groups::check_index;
use crate::{Fold, SplitError};

/// From how much on a cell counts as tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinCell {
    /// Test windows.
    pub windows: u64,
    /// Test episodes.
    pub episodes: u64,
}

impl Default for MinCell {
    /// 20 windows of 3 episodes: below that, one episode decides the cell.
    fn default() -> Self {
        Self { windows: 20, episodes: 3 }
    }
}

/// Whether a cell was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Enough test windows of enough episodes.
    Tested,
    /// Some, but not enough.
    TooFew,
    /// No test window.
    Untested,
}

/// What a side has in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Windows.
    pub windows: u64,
    /// Different episodes among them.
    pub episodes: u64,
}

/// One cell: a profile on a host in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// The host's name.
    pub host: &'a str,
    /// The class's name.
    pub phase: &'a str,
    /// On the training side.
    pub train: Count,
    /// On the validation side.
    pub validation: Count,
    /// On the test side.
    pub test: Count,
    /// What follows from the test side.
    pub status: Status,
}

/// How many cells have each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Cells with enough on the test side.
    pub tested: usize,
    /// Cells with something, but not enough.
    pub too_few: usize,
    /// Cells with nothing.
    pub untested: usize,
}

/// The coverage table profile × host × phase of one fold. Profiles and hosts are in the order of their names, phases in
/// the order of the class list.
///
/// Its serde form lists only cells in which some side has a window; the others are untested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Ledger {
    profiles: Vec<String>,
    hosts: Vec<String>,
    phases: Vec<String>,
    min_cell: MinCell,
    /// (profile, host, phase) → train, validation, test.
    counts: BTreeMap<[usize; 3], [Count; 3]>,
}

impl Ledger {
    /// Counts a fold of an index. All hosts and profiles of the index take part, with or without windows.
    ///
    /// # Errors
    /// [`SplitError::Index`] when the index contradicts itself or the fold belongs to another one.
    pub fn new(index: &SampleIndex, fold: &Fold, min_cell: MinCell) -> Result<Self, SplitError> {
        check_index(index)?;
        if fold.rows() != index.len() {
            return Err(SplitError::Index(format!(
                "fold `{}` is of {} windows, not {}",
                fold.name(),
                fold.rows(),
                index.len()
            )));
        }
        let (profiles, profile_at) = by_name(&index.profiles);
        let (hosts, host_at) = by_name(&index.hosts);
        let mut places: Vec<([usize; 3], usize, u32)> = Vec::with_capacity(index.len());
        for (row, side) in fold.sides().into_iter().enumerate() {
            let (window, episode) = (&index.windows[row], index.episode_of(row));
            if let Some(side) = side {
                let cell =
                    [profile_at[episode.profile as usize], host_at[episode.host as usize], usize::from(window.label)];
                places.push((cell, side as usize, window.episode));
            }
        }
        places.sort_unstable();
        let mut counts: BTreeMap<[usize; 3], [Count; 3]> = BTreeMap::new();
        for same in places.chunk_by(|a, b| a == b) {
            let (cell, side, _) = same[0];
            let count = &mut counts.entry(cell).or_default()[side];
            count.windows += same.len() as u64;
            count.episodes += 1;
        }
        Ok(Self { profiles, hosts, phases: index.classes.clone(), min_cell, counts })
    }

    /// Profiles, by name.
    pub fn profiles(&self) -> &[String] {
        &self.profiles
    }

    /// Hosts, by name.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Classes, in the order of the class list.
    pub fn phases(&self) -> &[String] {
        &self.phases
    }

    /// From how much on a cell counts as tested.
    pub fn min_cell(&self) -> MinCell {
        self.min_cell
    }

    /// Every cell, the untested ones included: by profile, then host, then phase.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        let hosts = move |p: usize| (0..self.hosts.len()).map(move |h| (p, h));
        let pairs = (0..self.profiles.len()).flat_map(hosts);
        pairs.flat_map(move |(p, h)| (0..self.phases.len()).map(move |c| self.cell(p, h, c)))
    }

    /// The cell at three positions.
    pub(crate) fn cell(&self, profile: usize, host: usize, phase: usize) -> Cell<'_> {
        let [train, validation, test] = self.counts.get(&[profile, host, phase]).copied().unwrap_or_default();
        let status = if test.windows == 0 {
            Status::Untested
        } else if test.windows < self.min_cell.windows || test.episodes < self.min_cell.episodes {
            Status::TooFew
        } else {
            Status::Tested
        };
        let (profile, host, phase) = (&self.profiles[profile], &self.hosts[host], &self.phases[phase]);
        Cell { profile, host, phase, train, validation, test, status }
    }

    /// How many cells have each status.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for cell in self.cells() {
            match cell.status {
                Status::Tested => summary.tested += 1,
                Status::TooFew => summary.too_few += 1,
                Status::Untested => summary.untested += 1,
            }
        }
        summary
    }
}

/// Names in order, and for each old position the new one.
fn by_name(names: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| names[a].cmp(&names[b]));
    let mut at = vec![0; names.len()];
    for (new, &old) in order.iter().enumerate() {
        at[old] = new;
    }
    (order.into_iter().map(|old| names[old].clone()).collect(), at)
}

/// A ledger in a file. A cell is: positions of profile, host and phase, then windows and episodes of train, validation
/// and test.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    profiles: Vec<String>,
    hosts: Vec<String>,
    phases: Vec<String>,
    min_cell: MinCell,
    cells: Vec<[u64; 9]>,
}

impl From<Ledger> for Stored {
    fn from(ledger: Ledger) -> Self {
        let cell = |(at, sides): (&[usize; 3], &[Count; 3])| {
            let mut numbers = [0; 9];
            for i in 0..3 {
                numbers[i] = at[i] as u64;
                numbers[3 + 2 * i] = sides[i].windows;
                numbers[4 + 2 * i] = sides[i].episodes;
            }
            numbers
        };
        let cells = ledger.counts.iter().map(cell).collect();
        let Ledger { profiles, hosts, phases, min_cell, .. } = ledger;
        Self { profiles, hosts, phases, min_cell, cells }
    }
}

impl TryFrom<Stored> for Ledger {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { profiles, hosts, phases, min_cell, cells } = stored;
        let mut counts = BTreeMap::new();
        for (i, numbers) in cells.into_iter().enumerate() {
            let at = [numbers[0] as usize, numbers[1] as usize, numbers[2] as usize];
            if at[0] >= profiles.len() || at[1] >= hosts.len() || at[2] >= phases.len() {
                return Err(format!("ledger cell {i} lies outside the table"));
            }
            let side = |s: usize| Count { windows: numbers[3 + 2 * s], episodes: numbers[4 + 2 * s] };
            if counts.insert(at, [side(0), side(1), side(2)]).is_some() {
                return Err(format!("ledger cell {i} stands twice"));
            }
        }
        let unique = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len() == names.len();
        if !unique(&profiles) || !unique(&hosts) || !unique(&phases) {
            return Err("a profile, host or phase of the ledger stands twice".into());
        }
        Ok(Self { profiles, hosts, phases, min_cell, counts })
    }
}
