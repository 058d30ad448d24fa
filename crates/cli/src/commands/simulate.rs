//! `stakeout simulate`.

use stakeout_telemetry::simulate::{SimConfig, simulate};

use super::replace;
use crate::args::Simulate;
use crate::{Context, Exit, output};

pub(crate) fn run(args: &Simulate, context: &Context) -> anyhow::Result<Exit> {
    let config = SimConfig {
        episodes: args.episodes as usize,
        hosts: args.hosts as usize,
        seed: args.seed,
        faults: args.faults,
        ..SimConfig::embedded_default()
    };
    config.check()?;
    let progress = &*context.progress;
    progress.stage("simulating", "episodes", config.episodes as u64);
    let report = replace::store(&args.store, args.force, |store| {
        Ok(simulate(store, &config, &|done, total| progress.advance(done as u64, total as u64, ""))?)
    })?;
    if context.json {
        output::json(&report)?;
    } else {
        output::line(stakeout_eval::render::SIMULATED)?;
        let faults = match report.faults.len() {
            0 => String::new(),
            n => format!(", {n} of them damaged on purpose (ground truth: faults.jsonl)"),
        };
        output::line(&format!(
            "{} episodes of {} hosts in {}{faults}",
            report.episodes,
            report.hosts.len(),
            output::clean(&args.store.display().to_string())
        ))?;
    }
    Ok(Exit::Ok)
}
