//! The validation side: cut from what the test side left, by the recipe's own rule where the data allows it.

use stakeout_core::SampleIndex;

use crate::Separates;
use crate::choose::{choose, held_count};
use crate::draw::generator;
use crate::groups::{Groups, Unit, strata};

/// Fewest hosts that may be left to train on before validation falls back to samples: with two, a net that learns
/// "which host" already looks good.
const LEAST_HOSTS: usize = 3;

pub(crate) struct Cut {
    pub(crate) train: Vec<usize>,
    pub(crate) validation: Vec<usize>,
    pub(crate) by: Separates,
    pub(crate) notes: Vec<String>,
}

/// Cuts a validation side of `share` of the groups from `rows`, by `unit`; by a smaller unit, with a note, where there
/// are too few groups. `purpose` keeps the draw apart from others of the same seed.
pub(crate) fn cut(index: &SampleIndex, rows: Vec<usize>, unit: Unit, share: f64, seed: u64, purpose: &[&str]) -> Cut {
    if share == 0.0 {
        let notes = vec!["validation: none, because split.validation_share is 0".into()];
        return Cut { train: rows, validation: Vec::new(), by: Separates::Unstated, notes };
    }
    let ladder: &[Unit] = match unit {
        Unit::Host => &[Unit::Host, Unit::Sample, Unit::Episode],
        Unit::Sample => &[Unit::Sample, Unit::Episode],
        Unit::Episode => &[Unit::Episode],
    };
    let mut notes = Vec::new();
    for &unit in ladder {
        let groups = Groups::of(index, unit);
        let candidates = strata(index, &groups, &rows);
        let k = held_count(candidates.len(), share);
        let (left, least) = (candidates.len() - k, if unit == Unit::Host { LEAST_HOSTS } else { 1 });
        if k == 0 || left < least {
            notes.push(match unit {
                Unit::Host => {
                    format!(
                        "validation: held-out samples, because fewer than {LEAST_HOSTS} training hosts would be left"
                    )
                }
                Unit::Sample => "validation: held-out episodes, because the training side has only one sample".into(),
                Unit::Episode => "validation: none, because the training side has only one episode".into(),
            });
            continue;
        }
        let purpose: Vec<&str> = purpose.iter().copied().chain(["validation", unit.name()]).collect();
        let chosen = choose(&candidates, k, index.classes.len(), &mut generator(seed, &purpose));
        let (validation, train) =
            rows.iter().partition(|&&row| chosen.binary_search(&groups.of_row(index, row)).is_ok());
        return Cut { train, validation, by: unit.separates(), notes: last(notes) };
    }
    Cut { train: rows, validation: Vec::new(), by: Separates::Unstated, notes: last(notes) }
}

/// Only the last rung of the ladder is worth telling.
fn last(mut notes: Vec<String>) -> Vec<String> {
    notes.split_off(notes.len().saturating_sub(1))
}
