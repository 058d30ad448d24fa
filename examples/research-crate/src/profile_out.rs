//! `acme/leave-one-profile-out`: every behaviour family is held out once: does it detect a kind of malware that it has
//! never seen?

use std::collections::BTreeSet;

use serde::Deserialize;
use stakeout_core::SampleIndex;
use stakeout_splits::{
    Fold, FoldParts, RecipeEntry, Separates, Split, SplitError, Unit, check_duplicates, check_index, file_name,
    inner_folds,
};

const NAME: &str = "acme/leave-one-profile-out";

/// The registry entry.
pub const ENTRY: RecipeEntry = RecipeEntry {
    name: NAME,
    about: "one fold a profile: every behaviour family is the unseen one once",
    defaults: "# Profiles that are never held out, as the benign one.\nkeep = []\n",
    configure: |body| {
        let config = if body.is_null() { Ok(Config::default()) } else { Config::deserialize(body) };
        let config = config.map_err(|error| SplitError::Config { recipe: NAME.into(), why: error.to_string() })?;
        Ok(Box::new(LeaveOneProfileOut { config }))
    },
};

/// The settings: what `[split]` may hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    keep: Vec<String>,
}

struct LeaveOneProfileOut {
    config: Config,
}

impl Split for LeaveOneProfileOut {
    fn name(&self) -> &str {
        NAME
    }

    /// An episode has one profile, so whole episodes are held out. Hosts are not, and neither are programs: one that
    /// shows two behaviours stands in two profiles.
    fn separates(&self) -> Separates {
        Separates::Episodes
    }

    fn folds(&self, index: &SampleIndex, seed: u64) -> Result<Vec<Fold>, SplitError> {
        check_index(index)?;
        let profile = |row: usize| index.profiles[index.episode_of(row).profile as usize].as_str();
        // In the order of their names, so that the order of rows plays no part.
        let present: BTreeSet<&str> = (0..index.len()).map(profile).collect();
        let held: Vec<&str> =
            present.iter().copied().filter(|name| !self.config.keep.iter().any(|k| k == name)).collect();
        if held.is_empty() || present.len() < 2 {
            let why = "it needs labelled windows of two profiles, one of them not in split.keep".into();
            return Err(SplitError::Unsplittable { recipe: NAME.into(), why });
        }
        held.into_iter().map(|name| fold(index, name, &|row| profile(row) == name, seed)).collect()
    }
}

/// The fold that tests one profile. A fifth of the other programs validate, where there are programs enough.
fn fold(index: &SampleIndex, name: &str, tests: &dyn Fn(usize) -> bool, seed: u64) -> Result<Fold, SplitError> {
    let (test, rest): (Vec<usize>, Vec<usize>) = (0..index.len()).partition(|&row| tests(row));
    let (train, validation, by, notes) = match inner_folds(index, &rest, Unit::Sample, 5, seed) {
        Ok(folds) => (folds[0].train().to_vec(), folds[0].test().to_vec(), Separates::Samples, Vec::new()),
        Err(SplitError::Unsplittable { .. }) => {
            let note = "validation: none, because fewer than five programs are left".to_owned();
            (rest, Vec::new(), Separates::Unstated, vec![note])
        }
        Err(error) => return Err(error),
    };
    let held_out = vec![name.to_owned()];
    let parts = FoldParts {
        name: file_name(&held_out),
        held_out,
        train,
        validation,
        test,
        dropped: Vec::new(),
        notes,
        test_by: Separates::Episodes,
        validation_by: by,
    };
    let fold = Fold::new(index.len(), parts)?;
    check_duplicates(index, &fold)?;
    Ok(fold)
}
