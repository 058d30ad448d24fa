//! `leave-one-host-out` and `leave-one-sample-out`: every group is held out once, one fold each.

use serde::Deserialize;
use serde_json::Value;
use stakeout_core::SampleIndex;

use crate::checks::{Checks, Twins, check_share, finish, parse};
use crate::groups::{Groups, Unit, check_index, strata};
use crate::recipe::RecipeEntry;
use crate::{Duplicates, Fold, FoldParts, MinCell, Separates, Split, SplitError, file_name, validation};

pub(crate) const HOST: RecipeEntry = RecipeEntry {
    name: "leave-one-host-out",
    about: "one fold a host: every host is the unseen machine once",
    defaults: DEFAULTS,
    configure: |body| configure("leave-one-host-out", Unit::Host, body),
};

pub(crate) const SAMPLE: RecipeEntry = RecipeEntry {
    name: "leave-one-sample-out",
    about: "one fold a program, under all its names: every program is the unseen one once",
    defaults: DEFAULTS,
    configure: |body| configure("leave-one-sample-out", Unit::Sample, body),
};

const DEFAULTS: &str = "\
# Only these groups are held out, by name, one fold each; empty = all.
only = []
# Share of the other groups that validate: at least 1 group, at least 2 of 5 or more; 0 = no validation side.
validation_share = 0.2
# Refuse a fold whose test side has a profile that its training side lacks.
require_profiles = false
# Windows of identical content on two sides: \"error\", or \"drop\" the ones on the earlier side.
duplicates = \"error\"
# From how many test windows and episodes on a cell of the ledger counts as tested.
min_cell = { windows = 20, episodes = 3 }
";

/// Folds are held in memory, a position a row and fold: this many positions take 8 GiB.
const MOST_POSITIONS: usize = 1 << 30;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    only: Vec<String>,
    validation_share: f64,
    require_profiles: bool,
    duplicates: Twins,
    min_cell: MinCell,
}

impl Default for Config {
    fn default() -> Self {
        let Checks { require_profiles, duplicates, min_cell } = Checks::default();
        Self { only: Vec::new(), validation_share: 0.2, require_profiles, duplicates, min_cell }
    }
}

struct LeaveOneOut {
    name: &'static str,
    unit: Unit,
    config: Config,
}

fn configure(name: &'static str, unit: Unit, body: &Value) -> Result<Box<dyn Split>, SplitError> {
    let config: Config = parse(name, body)?;
    check_share(name, "validation_share", config.validation_share, true)?;
    Ok(Box::new(LeaveOneOut { name, unit, config }))
}

impl Split for LeaveOneOut {
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
        let refuse = |why: String| Err(SplitError::Unsplittable { recipe: self.name.into(), why });
        let Config { require_profiles, duplicates, min_cell, validation_share, ref only } = self.config;
        let checks = Checks { require_profiles, duplicates, min_cell };
        let groups = Groups::of(index, self.unit);
        let rows: Vec<usize> = (0..index.len()).collect();
        let present: Vec<usize> = strata(index, &groups, &rows).into_iter().map(|(group, _)| group).collect();
        if present.len() < 2 {
            return refuse(format!(
                "it has labelled windows of only one {0}; at least two {0}s are needed",
                self.unit.name()
            ));
        }
        let mut held = Vec::new();
        for name in only {
            match present.iter().find(|&&group| groups.names[group].contains(name)) {
                Some(&group) => held.push(group),
                None => return refuse(format!("split.only names `{name}`, which has no labelled window")),
            }
        }
        held.sort_unstable();
        held.dedup();
        if held.is_empty() {
            held = present;
        }
        if held.len().saturating_mul(index.len()) > MOST_POSITIONS {
            let why = format!(
                "{} folds of {} windows do not fit in memory: name some groups in split.only, or hold out a share of them with recipe `{}`",
                held.len(),
                index.len(),
                self.unit.name()
            );
            return refuse(why);
        }
        let twins = Duplicates::of(index)?;
        let fold = |&group: &usize| {
            let (test, rest) = rows.iter().partition(|&&row| groups.of_row(index, row) == group);
            let held_out = groups.names[group].clone();
            let name = file_name(&held_out);
            let cut = validation::cut(index, rest, self.unit, validation_share, seed, &[self.name, &name]);
            let parts = FoldParts {
                name,
                held_out,
                train: cut.train,
                validation: cut.validation,
                test,
                dropped: Vec::new(),
                notes: cut.notes,
                test_by: self.separates(),
                validation_by: cut.by,
            };
            finish(index, &twins, checks, parts)
        };
        held.iter().map(fold).collect()
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
