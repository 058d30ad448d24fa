//! Duplicates: the same program or the same content on two sides.

use std::collections::BTreeMap;

use stakeout_core::{SampleIndex, Side};

use crate::groups::check_index;
use crate::{Fold, Separates, SharedSample, SplitError, Twin};

/// How many duplicates an error names.
const NAMED: usize = 5;

/// What may stand twice in an index. Found once, checked against many folds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicates {
    /// Rows with identical content (digest ≠ 0), at least two an entry, by episode id and time within.
    contents: Vec<Vec<usize>>,
    /// Episodes of each sample hash, by id within.
    programs: Vec<(String, Vec<usize>)>,
}

impl Duplicates {
    /// Finds windows with the same digest and episodes with the same sample hash.
    ///
    /// # Errors
    /// [`SplitError::Index`] when the index contradicts itself.
    pub fn of(index: &SampleIndex) -> Result<Self, SplitError> {
        check_index(index)?;
        let mut rows: Vec<usize> = (0..index.len()).filter(|&row| index.windows[row].digest != 0).collect();
        rows.sort_unstable_by_key(|&row| index.windows[row].digest);
        let mut contents: Vec<Vec<usize>> = rows
            .chunk_by(|&a, &b| index.windows[a].digest == index.windows[b].digest)
            .filter(|same| same.len() > 1)
            .map(<[usize]>::to_vec)
            .collect();
        let key = |row: usize| (&index.episode_of(row).id, index.windows[row].t0_ns, row);
        for same in &mut contents {
            same.sort_unstable_by(|&a, &b| key(a).cmp(&key(b)));
        }
        contents.sort_by(|a, b| key(a[0]).cmp(&key(b[0])));
        let mut programs: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, episode) in index.episodes.iter().enumerate() {
            if let Some(hash) = &episode.sample_sha256 {
                programs.entry(hash).or_default().push(i);
            }
        }
        let programs = programs.into_iter().map(|(hash, mut episodes)| {
            episodes.sort_by_key(|&episode| &index.episodes[episode].id);
            (hash.to_owned(), episodes)
        });
        Ok(Self { contents, programs: programs.collect() })
    }

    /// Refuses identical contents on two sides of a fold, and the same sample hash on two sides that the fold promises
    /// to hold apart ([`Separates::refuses_shared_samples`]).
    ///
    /// # Errors
    /// [`SplitError::DuplicateWindows`] or [`SplitError::SharedSamples`] with the first few pairs;
    /// [`SplitError::Index`] when the fold belongs to another index.
    pub fn check(&self, index: &SampleIndex, fold: &Fold) -> Result<(), SplitError> {
        if fold.rows() != index.len() {
            return Err(SplitError::Index(format!(
                "fold `{}` is of {} windows, not {}",
                fold.name(),
                fold.rows(),
                index.len()
            )));
        }
        let sides = fold.sides();
        let shared = self.shared_samples(index, &sides, |a, b| {
            let by = if a == Side::Test || b == Side::Test { fold.test_by() } else { fold.validation_by() };
            by.refuses_shared_samples()
        });
        if !shared.is_empty() {
            let remedy = if fold.test_by() == Separates::Given {
                ", or set split.shared_samples = \"note\" where the corpus means to separate something else"
            } else {
                ""
            };
            let (fold, count) = (fold.name().to_owned(), shared.len());
            return Err(SplitError::SharedSamples {
                fold,
                count,
                first: shared.into_iter().take(NAMED).collect(),
                remedy,
            });
        }
        let twin = |row: usize, side: Side| Twin {
            episode: index.episode_of(row).id.clone(),
            t0_ns: index.windows[row].t0_ns,
            side,
        };
        let mut first = Vec::new();
        let mut count = 0;
        for same in &self.contents {
            let mut placed = same.iter().filter_map(|&row| sides[row].map(|side| (row, side)));
            let Some((row, side)) = placed.next() else { continue };
            if let Some((other, another)) = placed.find(|(_, other)| *other != side) {
                count += 1;
                if first.len() < NAMED {
                    first.push((twin(row, side), twin(other, another)));
                }
            }
        }
        if count > 0 {
            return Err(SplitError::DuplicateWindows { fold: fold.name().to_owned(), count, first });
        }
        Ok(())
    }

    /// Sample hashes on two sides, the earlier named first, for which `counts` holds; in the order of hashes.
    pub(crate) fn shared_samples(
        &self,
        index: &SampleIndex,
        sides: &[Option<Side>],
        counts: impl Fn(Side, Side) -> bool,
    ) -> Vec<SharedSample> {
        const PAIRS: [(Side, Side); 3] =
            [(Side::Train, Side::Test), (Side::Validation, Side::Test), (Side::Train, Side::Validation)];
        let mut stands = vec![[false; 3]; index.episodes.len()];
        for (window, side) in index.windows.iter().zip(sides) {
            if let Some(side) = side {
                stands[window.episode as usize][*side as usize] = true;
            }
        }
        let mut shared = Vec::new();
        for (hash, episodes) in &self.programs {
            let on = |side: Side| episodes.iter().copied().find(|&episode| stands[episode][side as usize]);
            let pair =
                PAIRS.into_iter().filter(|(a, b)| counts(*a, *b)).find_map(|(a, b)| Some((on(a)?, a, on(b)?, b)));
            if let Some((one, a, other, b)) = pair {
                let id = |episode: usize| index.episodes[episode].id.clone();
                shared.push(SharedSample { sha256: hash.clone(), one: (id(one), a), other: (id(other), b) });
            }
        }
        shared
    }

    /// Rows of the training and validation side whose content also stands on a later side (train before validation
    /// before test).
    pub(crate) fn twins_of_later_sides(&self, sides: &[Option<Side>]) -> Vec<usize> {
        let mut twins = Vec::new();
        for same in &self.contents {
            let Some(latest) = same.iter().filter_map(|&row| sides[row]).max() else { continue };
            twins.extend(same.iter().filter(|&&row| sides[row].is_some_and(|side| side < latest)));
        }
        twins.sort_unstable();
        twins
    }
}

/// Refuses duplicates on two sides of a fold: see [`Duplicates::check`].
///
/// # Errors
/// As [`Duplicates::of`] and [`Duplicates::check`].
pub fn check_duplicates(index: &SampleIndex, fold: &Fold) -> Result<(), SplitError> {
    Duplicates::of(index)?.check(index, fold)
}
