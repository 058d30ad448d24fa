//! Settings that every recipe has, and the checks that every fold goes through before it is handed out.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stakeout_core::{SampleIndex, Side};

use crate::{Dropped, Duplicates, Fold, FoldParts, MinCell, Separates, SplitError};

/// What happens to windows with identical content on two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Twins {
    /// The fold is refused.
    #[default]
    Error,
    /// The twin on the earlier side (train before validation before test) is dropped and counted.
    Drop,
}

/// What happens when a corpus assigns one program to two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SharedSamples {
    /// The fold is refused.
    #[default]
    Error,
    /// The fold says so in its notes.
    Note,
}

/// Settings that every recipe has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checks {
    pub(crate) require_profiles: bool,
    pub(crate) duplicates: Twins,
    pub(crate) min_cell: MinCell,
}

/// The settings of a recipe; absent ones have their defaults, unknown ones are refused.
pub(crate) fn parse<T: DeserializeOwned + Default>(recipe: &str, body: &serde_json::Value) -> Result<T, SplitError> {
    if body.is_null() {
        return Ok(T::default());
    }
    T::deserialize(body).map_err(|error| SplitError::Config { recipe: recipe.into(), why: error.to_string() })
}

/// Refuses a share outside its range.
pub(crate) fn check_share(recipe: &str, key: &str, share: f64, zero: bool) -> Result<(), SplitError> {
    if (share > 0.0 || (zero && share == 0.0)) && share < 1.0 {
        return Ok(());
    }
    let range = if zero { "[0, 1)" } else { "(0, 1)" };
    Err(SplitError::Config { recipe: recipe.into(), why: format!("{key} is {share}; it must lie in {range}") })
}

/// Makes the fold: drops or refuses twins, states or refuses shared programs and untrained profiles.
pub(crate) fn finish(
    index: &SampleIndex,
    duplicates: &Duplicates,
    checks: Checks,
    mut parts: FoldParts,
) -> Result<Fold, SplitError> {
    if checks.duplicates == Twins::Drop {
        let sides = Fold::new(index.len(), parts.clone())?.sides();
        let twins = duplicates.twins_of_later_sides(&sides);
        for rows in [&mut parts.train, &mut parts.validation] {
            rows.retain(|row| twins.binary_search(row).is_err());
        }
        parts
            .dropped
            .push(Dropped { reason: "duplicate: a later side has a window of identical content".into(), rows: twins });
    }
    let mut fold = Fold::new(index.len(), parts)?;
    duplicates.check(index, &fold)?;
    let sides = fold.sides();
    let unhashed = unhashed_samples(index);
    if fold.test_by() == Separates::Samples && unhashed > 0 {
        fold.note(format!("samples without a known hash, told apart by name alone: {unhashed}"));
    }
    let tested = duplicates.shared_samples(index, &sides, |_, b| b == Side::Test).len();
    if tested > 0 {
        let subject = fold.test_by().subject();
        fold.note(format!(
            "sample hashes on the test side and on another: {tested} (the recipe holds out {subject}, not programs)"
        ));
    }
    let chosen = duplicates.shared_samples(index, &sides, |_, b| b == Side::Validation).len();
    if chosen > 0 {
        fold.note(format!("sample hashes on both the training and the validation side: {chosen}"));
    }
    if checks.require_profiles {
        let profiles = |rows: &[usize]| -> BTreeSet<&str> {
            rows.iter().map(|&row| index.profiles[index.episode_of(row).profile as usize].as_str()).collect()
        };
        let trained = profiles(fold.train());
        let untrained: Vec<String> = profiles(fold.test()).difference(&trained).map(|&name| name.to_owned()).collect();
        if !untrained.is_empty() {
            return Err(SplitError::UntrainedProfiles { fold: fold.name().to_owned(), profiles: untrained });
        }
    }
    Ok(fold)
}

/// How many samples have no episode with a hash.
fn unhashed_samples(index: &SampleIndex) -> usize {
    let (mut seen, mut hashed) = (BTreeSet::new(), BTreeSet::new());
    for episode in &index.episodes {
        seen.insert(episode.sample);
        if episode.sample_sha256.is_some() {
            hashed.insert(episode.sample);
        }
    }
    seen.difference(&hashed).count()
}
