//! Recipes, folds and ledgers over generated indices.

mod contracts;
mod duplicates;
mod folds;
mod inner;
mod ledger;
mod nested;
mod recipes;

use stakeout_core::{EpisodeRef, SampleIndex, Side, WindowKey};
use stakeout_splits::{Fold, RecipeRegistry, SplitError};

/// One episode of a hand-made index: host, sample, profile, hash, given side, and (start, label) of its windows.
pub(crate) struct Row<'a> {
    pub(crate) host: &'a str,
    pub(crate) sample: &'a str,
    pub(crate) profile: &'a str,
    pub(crate) hash: Option<&'a str>,
    pub(crate) given: Option<Side>,
    pub(crate) windows: Vec<(i64, u16)>,
}

impl Default for Row<'_> {
    fn default() -> Self {
        Self { host: "h", sample: "s", profile: "p", hash: None, given: None, windows: vec![(0, 0)] }
    }
}

/// An index of two classes and windows of length 10, digests all different.
pub(crate) fn index_of(rows: &[Row<'_>]) -> SampleIndex {
    fn intern(names: &mut Vec<String>, name: &str) -> u32 {
        let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        });
        at as u32
    }
    let mut index =
        SampleIndex { classes: vec!["clean".into(), "infected".into()], window_ns: 10, ..SampleIndex::default() };
    for (i, row) in rows.iter().enumerate() {
        index.episodes.push(EpisodeRef {
            id: format!("E{i}"),
            host: intern(&mut index.hosts, row.host),
            sample: intern(&mut index.samples, row.sample),
            profile: intern(&mut index.profiles, row.profile),
            sample_sha256: row.hash.map(String::from),
            given: row.given,
            span: (0, 1),
            onset_ns: None,
        });
        for &(t0_ns, label) in &row.windows {
            let digest = 1 + index.windows.len() as u128;
            index.windows.push(WindowKey { episode: i as u32, t0_ns, label, digest });
        }
    }
    index
}

/// The folds of a built-in recipe.
pub(crate) fn split(
    recipe: &str,
    body: &serde_json::Value,
    index: &SampleIndex,
    seed: u64,
) -> Result<Vec<Fold>, SplitError> {
    RecipeRegistry::builtin().configure(recipe, body)?.folds(index, seed)
}
