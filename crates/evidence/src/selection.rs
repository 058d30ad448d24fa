//! Whether the run was picked among its neighbours by what the test side says.

use stakeout_trainer::score::StoredRun;

use crate::check::Check;

const NAME: &str = "chosen before the test";

/// A run of several seeds declares them before it is made: the first one is the run, the others show its spread.
/// Promoting the one that came out best would be a choice by the test side. All of them draw their folds with the first
/// seed, and say so: it shows wherever a run was moved to.
pub(crate) fn check(stored: &StoredRun) -> Check {
    let (own, first) = (stored.result.seed, stored.experiment.split_seed());
    if own == first {
        return Check::met(NAME, format!("seed {own} is the first that the run declares"));
    }
    Check::refused(
        NAME,
        format!("seed {own} is one of several whose test scores are known; the run declares {first} first"),
        format!(
            "gate seed-{first} of that run, or train with --seed {own} alone: which seed is deployed is settled before the test"
        ),
    )
}
