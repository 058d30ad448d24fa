//! `host` and `sample`: whole groups are held out once.

use serde::Deserialize;
use serde_json::Value;
use stakeout_core::SampleIndex;

use crate::checks::{Checks, Twins, check_share, finish, parse};
use crate::choose::{choose, held_count};
use crate::draw::generator;
use crate::groups::{Groups, Unit, check_index, strata};
use crate::recipe::RecipeEntry;
use crate::{Duplicates, Fold, FoldParts, MinCell, Separates, Split, SplitError, file_name, validation};

pub(crate) const HOST: RecipeEntry = RecipeEntry {
    name: "host",
    about: "whole hosts are held out: does it work on a machine that it has never seen?",
    defaults: DEFAULTS,
    configure: |body| configure("host", Unit::Host, body),
};

pub(crate) const SAMPLE: RecipeEntry = RecipeEntry {
    name: "sample",
    about: "whole programs are held out, under all their names: does it work on malware that it has never seen?",
    defaults: DEFAULTS,
    configure: |body| configure("sample", Unit::Sample, body),
};

const DEFAULTS: &str = "\
# Share of the groups (hosts, samples) that test; at least 1 group, at least 2 of 5 or more.
test_share = 0.2
# Share of the other groups that validate, by the same rule; 0 = no validation side.
validation_share = 0.2
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
    test_share: f64,
    validation_share: f64,
    require_profiles: bool,
    duplicates: Twins,
    min_cell: MinCell,
}

impl Default for Config {
    fn default() -> Self {
        let Checks { require_profiles, duplicates, min_cell } = Checks::default();
        Self { test_share: 0.2, validation_share: 0.2, require_profiles, duplicates, min_cell }
    }
}

struct HoldOut {
    name: &'static str,
    unit: Unit,
    config: Config,
}

fn configure(name: &'static str, unit: Unit, body: &Value) -> Result<Box<dyn Split>, SplitError> {
    let config: Config = parse(name, body)?;
    check_share(name, "test_share", config.test_share, false)?;
    check_share(name, "validation_share", config.validation_share, true)?;
    Ok(Box::new(HoldOut { name, unit, config }))
}

impl Split for HoldOut {
    fn name(&self) -> &str {
        self.name
    }

    fn separates(&self) -> Separates {
        self.unit.separates()
    }

    fn min_cell(&self) -> MinCell {
        self.config.min_cell
    }

    fn folds(&self, index: &SampleIndex, seed: u64) -> Result<Vec<Fold>, SplitError> {
        check_index(index)?;
        let Config { test_share, validation_share, require_profiles, duplicates, min_cell } = self.config;
        let groups = Groups::of(index, self.unit);
        let rows: Vec<usize> = (0..index.len()).collect();
        let candidates = strata(index, &groups, &rows);
        let k = held_count(candidates.len(), test_share);
        if k == 0 {
            let why =
                format!("it has labelled windows of only one {0}; at least two {0}s are needed", self.unit.name());
            return Err(SplitError::Unsplittable { recipe: self.name.into(), why });
        }
        let chosen = choose(&candidates, k, index.classes.len(), &mut generator(seed, &[self.name, "test"]));
        let (test, rest) = rows.iter().partition(|&&row| chosen.binary_search(&groups.of_row(index, row)).is_ok());
        let cut = validation::cut(index, rest, self.unit, validation_share, seed, &[self.name]);
        let held_out = groups.names_of(&chosen);
        let parts = FoldParts {
            name: file_name(&held_out),
            held_out,
            train: cut.train,
            validation: cut.validation,
            test,
            dropped: Vec::new(),
            notes: cut.notes,
            test_by: self.separates(),
            validation_by: cut.by,
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

    #[test]
    fn shares_out_of_range_are_refused() {
        for body in [serde_json::json!({ "test_share": 0.0 }), serde_json::json!({ "validation_share": 1.0 })] {
            assert!(matches!(configure("host", Unit::Host, &body), Err(SplitError::Config { .. })));
        }
        configure("host", Unit::Host, &serde_json::json!({ "validation_share": 0.0 })).unwrap();
    }
}
