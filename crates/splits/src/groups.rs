//! Groups: what is kept whole when data is held out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stakeout_core::SampleIndex;

use crate::{Separates, SplitError};

/// What is kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// All windows of a host.
    Host,
    /// All windows of a program, under all its names.
    Sample,
    /// All windows of an episode.
    Episode,
}

impl Unit {
    /// The word for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Sample => "sample",
            Self::Episode => "episode",
        }
    }

    pub(crate) fn separates(self) -> Separates {
        match self {
            Self::Host => Separates::Hosts,
            Self::Sample => Separates::Samples,
            Self::Episode => Separates::Episodes,
        }
    }
}

/// Checks that every position in an index points at something, that there are windows and that they have a length.
///
/// # Errors
/// [`SplitError::Index`] naming the first position that does not.
pub fn check_index(index: &SampleIndex) -> Result<(), SplitError> {
    let refuse = |why: String| Err(SplitError::Index(why));
    for episode in &index.episodes {
        let names = [
            ("host", episode.host, index.hosts.len()),
            ("sample", episode.sample, index.samples.len()),
            ("profile", episode.profile, index.profiles.len()),
        ];
        if let Some((what, at, len)) = names.into_iter().find(|(_, at, len)| *at as usize >= *len) {
            return refuse(format!("episode {} names {what} {at} of {len}", episode.id));
        }
    }
    for (row, window) in index.windows.iter().enumerate() {
        if window.episode as usize >= index.episodes.len() {
            return refuse(format!("window {row} names episode {} of {}", window.episode, index.episodes.len()));
        }
        if usize::from(window.label) >= index.classes.len() {
            return refuse(format!("window {row} names class {} of {}", window.label, index.classes.len()));
        }
    }
    if index.is_empty() {
        return refuse("there is no labelled window".into());
    }
    if index.window_ns <= 0 {
        return refuse(format!("a window of {} ns has no length", index.window_ns));
    }
    Ok(())
}

/// For every episode, the number of its program; programs are numbered by their first name. Episodes with the same
/// sample name or the same hash run the same program: one program under two names is one, and so are two builds under
/// one name, because they are too alike to stand on two sides.
///
/// # Errors
/// [`SplitError::Index`] when the index contradicts itself.
pub fn sample_groups(index: &SampleIndex) -> Result<Vec<usize>, SplitError> {
    check_index(index)?;
    Ok(Groups::of(index, Unit::Sample).of_episode)
}

/// A partition of the episodes.
pub(crate) struct Groups {
    /// Group of each episode.
    pub(crate) of_episode: Vec<usize>,
    /// The names of each group (a program may have several), sorted; groups are in the order of their first names.
    pub(crate) names: Vec<Vec<String>>,
}

impl Groups {
    /// The groups of a checked index.
    pub(crate) fn of(index: &SampleIndex, unit: Unit) -> Self {
        // Raw keys: any numbering will do, it is replaced by the order of the names.
        let raw: Vec<usize> = match unit {
            Unit::Host => index.episodes.iter().map(|episode| episode.host as usize).collect(),
            Unit::Sample => programs(index),
            Unit::Episode => (0..index.episodes.len()).collect(),
        };
        let mut names: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for (episode, &group) in index.episodes.iter().zip(&raw) {
            names.entry(group).or_default().insert(match unit {
                Unit::Host => &index.hosts[episode.host as usize],
                Unit::Sample => &index.samples[episode.sample as usize],
                Unit::Episode => &episode.id,
            });
        }
        let mut order: Vec<(BTreeSet<&str>, usize)> = names.into_iter().map(|(group, names)| (names, group)).collect();
        order.sort();
        let number: BTreeMap<usize, usize> = order.iter().enumerate().map(|(i, (_, group))| (*group, i)).collect();
        let names = order.into_iter().map(|(names, _)| names.into_iter().map(String::from).collect()).collect();
        Self { of_episode: raw.iter().map(|group| number[group]).collect(), names }
    }

    /// The group of a window.
    pub(crate) fn of_row(&self, index: &SampleIndex, row: usize) -> usize {
        self.of_episode[index.windows[row].episode as usize]
    }

    /// The names of some groups, in order.
    pub(crate) fn names_of(&self, groups: &[usize]) -> Vec<String> {
        groups.iter().flat_map(|&group| self.names[group].iter().cloned()).collect()
    }
}

/// Connected components of episodes over names and hashes.
fn programs(index: &SampleIndex) -> Vec<usize> {
    // A name is a node; each hash joins all names that it was seen under.
    let mut parent: Vec<usize> = (0..index.samples.len()).collect();
    let mut first_name: BTreeMap<&str, usize> = BTreeMap::new();
    for episode in &index.episodes {
        if let Some(hash) = episode.sample_sha256.as_deref() {
            let name = episode.sample as usize;
            let other = *first_name.entry(hash).or_insert(name);
            let (a, b) = (root(&mut parent, name), root(&mut parent, other));
            parent[a.max(b)] = a.min(b);
        }
    }
    index.episodes.iter().map(|episode| root(&mut parent, episode.sample as usize)).collect()
}

/// The representative of a node's component, halving the path to it.
fn root(parent: &mut [usize], mut node: usize) -> usize {
    while parent[node] != node {
        parent[node] = parent[parent[node]];
        node = parent[node];
    }
    node
}

/// What a group holds: classes as their ids, profiles after them, ranked by name.
pub(crate) type Strata = BTreeSet<usize>;

/// The groups that have windows among `rows`, in order, with what they hold.
pub(crate) fn strata(index: &SampleIndex, groups: &Groups, rows: &[usize]) -> Vec<(usize, Strata)> {
    let mut by_name: Vec<usize> = (0..index.profiles.len()).collect();
    by_name.sort_by(|&a, &b| index.profiles[a].cmp(&index.profiles[b]));
    let mut rank = vec![0; by_name.len()];
    for (i, &profile) in by_name.iter().enumerate() {
        rank[profile] = i;
    }
    let mut held: Vec<Strata> = vec![Strata::new(); groups.names.len()];
    for &row in rows {
        let strata = &mut held[groups.of_row(index, row)];
        strata.insert(usize::from(index.windows[row].label));
        strata.insert(index.classes.len() + rank[index.episode_of(row).profile as usize]);
    }
    held.into_iter().enumerate().filter(|(_, strata)| !strata.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use stakeout_core::EpisodeRef;

    use super::*;

    #[test]
    fn one_program_under_two_names_and_two_builds_of_one_name_are_one_group() {
        let episode = |sample: u32, hash: Option<&str>| EpisodeRef {
            id: String::new(),
            host: 0,
            sample,
            profile: 0,
            sample_sha256: hash.map(String::from),
            given: None,
            span: (0, 1),
            onset_ns: None,
        };
        let index = SampleIndex {
            samples: ["d", "c", "b", "a"].map(String::from).to_vec(),
            episodes: vec![
                episode(0, Some("11")),
                episode(1, Some("11")), // c is d under another name
                episode(1, Some("22")), // another build of c
                episode(2, Some("22")), // which is also called b
                episode(3, None),
            ],
            ..Default::default()
        };
        let groups = Groups::of(&index, Unit::Sample);
        assert_eq!(groups.of_episode, [1, 1, 1, 1, 0]);
        assert_eq!(groups.names, [vec!["a"], vec!["b", "c", "d"]]);
    }
}
