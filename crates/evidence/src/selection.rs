//! Whether the run was picked among its neighbours by what the test side says.

use std::path::Path;

use stakeout_trainer::rundir::{self, METRICS};
use stakeout_trainer::score::StoredRun;

use crate::check::Check;

const NAME: &str = "chosen before the test";

/// A run of several seeds declares them before it is made: the first one is the run, the others show its spread.
/// Promoting the one that came out best would be a choice by the test side.
pub(crate) fn check(run: &Path, stored: &StoredRun) -> Check {
    let own = stored.result.seed;
    let declared = run
        .canonicalize()
        .ok()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy() == format!("seed-{own}")))
        .and_then(|path| path.parent()?.parent().map(Path::to_owned))
        .and_then(|root| rundir::read_experiment(&root).ok());
    let Some(experiment) = declared else { return Check::met(NAME, "the run stands alone") };
    let seeds = experiment.seed.list();
    let finished =
        seeds.iter().filter(|seed| run.with_file_name(format!("seed-{seed}")).join(METRICS).exists()).count();
    match seeds.first() {
        Some(first) if *first != own && finished > 1 => Check::refused(
            NAME,
            format!("seed {own} is one of {} whose test scores are known; the run declares {first} first", seeds.len()),
            format!(
                "gate {}: which seed is deployed is settled before the test",
                run.with_file_name(format!("seed-{first}")).display()
            ),
        ),
        _ => Check::met(NAME, format!("seed {own} is the first that the run declares")),
    }
}
