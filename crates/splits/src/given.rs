//! `given`: the corpus assigned the sides.

use serde::Deserialize;
use serde_json::Value;
use stakeout_core::{SampleIndex, Side};

use crate::checks::{Checks, SharedSamples, Twins, check_share, finish, parse};
use crate::groups::{Unit, check_index};
use crate::recipe::RecipeEntry;
use crate::{Dropped, Duplicates, Fold, FoldParts, MinCell, Separates, Split, SplitError, validation};

pub(crate) const ENTRY: RecipeEntry = RecipeEntry {
    name: "given",
    about: "the corpus's own sides, so that a score can be compared with published ones",
    defaults: DEFAULTS,
    configure,
};

const DEFAULTS: &str = "\
# Where the corpus gives no validation side: share of the training hosts (of the samples, where fewer than 3 hosts
# would be left to train on) that validate; 0 = no validation side.
validation_share = 0.2
# One program on two sides: \"error\", or \"note\" where the corpus means to separate something else, as hosts or time.
shared_samples = \"error\"
# Refuse a fold whose test side has a profile that its training side lacks.
require_profiles = false
# Windows of identical content on two sides: \"error\", or \"drop\" the ones on the earlier side.
duplicates = \"error\"
# From how many test windows and episodes on a cell of the ledger counts as tested.
min_cell = { windows = 20, episodes = 3 }
";

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    validation_share: f64,
    shared_samples: SharedSamples,
    require_profiles: bool,
    duplicates: Twins,
    min_cell: MinCell,
}

impl Default for Config {
    fn default() -> Self {
        let Checks { require_profiles, duplicates, min_cell } = Checks::default();
        let shared_samples = SharedSamples::default();
        Self { validation_share: 0.2, shared_samples, require_profiles, duplicates, min_cell }
    }
}

struct Given(Config);

fn configure(body: &Value) -> Result<Box<dyn Split>, SplitError> {
    let config: Config = parse("given", body)?;
    check_share("given", "validation_share", config.validation_share, true)?;
    Ok(Box::new(Given(config)))
}

impl Split for Given {
    fn name(&self) -> &'static str {
        "given"
    }

    fn separates(&self) -> Separates {
        match self.0.shared_samples {
            SharedSamples::Error => Separates::Given,
            SharedSamples::Note => Separates::Unstated,
        }
    }

    fn min_cell(&self) -> MinCell {
        self.0.min_cell
    }

    fn folds(&self, index: &SampleIndex, seed: u64) -> Result<Vec<Fold>, SplitError> {
        check_index(index)?;
        let Config { validation_share, require_profiles, duplicates, min_cell, .. } = self.0;
        let of = |side: Option<Side>| -> Vec<usize> {
            (0..index.len()).filter(|&row| index.episode_of(row).given == side).collect()
        };
        let (train, validation, test, none) =
            (of(Some(Side::Train)), of(Some(Side::Validation)), of(Some(Side::Test)), of(None));
        for (side, rows) in [(Side::Train, &train), (Side::Test, &test)] {
            if rows.is_empty() {
                let why = format!(
                    "no episode with a labelled window is given the {side} side: let the mapping name the column of the given side, or take another recipe"
                );
                return Err(SplitError::Unsplittable { recipe: "given".into(), why });
            }
        }
        let mut notes = Vec::new();
        let (train, validation, validation_by) = if validation.is_empty() {
            let mut cut = validation::cut(index, train, Unit::Host, validation_share, seed, &["given"]);
            if !cut.validation.is_empty() {
                notes.push("validation: cut from the training side, because the corpus gives none".into());
            }
            notes.append(&mut cut.notes);
            (cut.train, cut.validation, cut.by)
        } else {
            (train, validation, self.separates())
        };
        let parts = FoldParts {
            name: "given".into(),
            held_out: vec!["the test side of the corpus".into()],
            train,
            validation,
            test,
            dropped: vec![Dropped { reason: "the corpus gives their episode no side".into(), rows: none }],
            notes,
            test_by: self.separates(),
            validation_by,
        };
        let checks = Checks { require_profiles, duplicates, min_cell };
        Ok(vec![finish(index, &Duplicates::of(index)?, checks, parts)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        assert_eq!(toml::from_str::<Config>(DEFAULTS).unwrap(), Config::default());
    }
}
