//! A simulated lab: hosts that run malicious and benign programs and are watched by four sources.
//!
//! It exists so that every command has something to work on and so that honest evaluation can be tried out: hosts
//! differ in size, load, units and clocks, samples differ within their profile, rows get lost. The profiles are
//! invented (see `profiles.rs`). **A score on this data says nothing about real malware.**
//!
//! From the top: [`SimConfig`] → a plan of episodes (`script`) on hosts (`hosts`); each episode is a script of phases
//! and events played on a machine (`run`, `machine`) by asking for things (`demand`, `profiles`); the sources report
//! rows of it (`rows`). `damage` gives a share of the finished store known `faults` and says which.
//!
//! Invariant: one generator for each (seed, episode), so that the bytes depend on the configuration and never on the
//! number of threads.
//!
//! ```
//! use stakeout_telemetry::simulate::{SimConfig, simulate};
//! # let folder = tempfile::tempdir().unwrap();
//! # let store = folder.path().join("store");
//! let config = SimConfig { episodes: 3, hosts: 1, episode_seconds: 20, ..SimConfig::default() };
//! let report = simulate(&store, &config, &|_done, _total| {})?;
//! assert_eq!(report.episodes, 3);
//! # Ok::<(), stakeout_telemetry::TelemetryError>(())
//! ```

mod damage;
mod demand;
mod draw;
mod faults;
mod hosts;
mod machine;
mod profiles;
mod rows;
mod run;
mod script;

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stakeout_core::Source;
use stakeout_core::window::SECOND_NS;

use crate::{Calibration, Compression, Corpus, EpisodeMeta, StoreWriter, TelemetryError, meta, write};
use draw::Draw;
use hosts::{Host, SOURCES};
use machine::{CHANNELS, Machine, STEPS_PER_SECOND, Step};
use rows::Timeline;
use script::{Plan, Script};

pub use faults::{FAULTS_FILE, Fault, FaultRecord};

/// The name in the `corpus.toml` of a simulated store.
pub const CORPUS_NAME: &str = "simulated";

/// What to simulate. The same configuration gives the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// Number of episodes, spread evenly over the hosts.
    pub episodes: usize,
    /// Number of hosts.
    pub hosts: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Share of episodes to damage, in `[0, 1]`; none where absent.
    pub faults: Option<f64>,
    /// Length of an episode.
    pub episode_seconds: u32,
    /// Length of the clean stretch that each host begins with, at most a quarter of its episodes.
    pub calibration_minutes: u32,
    /// When the first episode starts, Unix nanoseconds, a whole number of milliseconds.
    pub start_ns: i64,
}

impl Default for SimConfig {
    /// The embedded default.
    fn default() -> Self {
        Self::embedded_default()
    }
}

impl SimConfig {
    /// What commands work on when they are given no store: 6 hosts, on each of which each of 6 samples of each of 6
    /// malicious profiles runs once, with 4 benign runs and a calibration stretch of 4 minutes; 252 episodes, seed 1.
    pub fn embedded_default() -> Self {
        Self {
            episodes: 252,
            hosts: 6,
            seed: 1,
            faults: None,
            episode_seconds: 120,
            calibration_minutes: 4,
            start_ns: 1_767_225_600 * SECOND_NS, // 2026-01-01 00:00 UTC
        }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`TelemetryError::Invalid`] naming the setting and its range.
    pub fn check(&self) -> Result<(), TelemetryError> {
        let within = |what, value: &dyn ToString, holds: bool, why: &str| {
            if holds { Ok(()) } else { Err(TelemetryError::invalid(what, &value.to_string(), why)) }
        };
        within("episodes", &self.episodes, (1..=10_000_000).contains(&self.episodes), "use 1 to 10,000,000")?;
        within("hosts", &self.hosts, (1..=1000).contains(&self.hosts), "use 1 to 1,000")?;
        let seconds = self.episode_seconds;
        within("episode_seconds", &seconds, (20..=86_400).contains(&seconds), "use 20 to 86,400")?;
        let minutes = self.calibration_minutes;
        within("calibration_minutes", &minutes, minutes <= 1_000_000, "use at most 1,000,000")?;
        let share = self.faults.unwrap_or(0.0);
        within("faults", &share, (0.0..=1.0).contains(&share), "it is a share of the episodes, from 0 to 1")?;
        let (first, last) = (1_000_000_000 * SECOND_NS, 4_000_000_000 * SECOND_NS);
        let whole = self.start_ns % 1_000_000 == 0 && (first..last).contains(&self.start_ns);
        within("start_ns", &self.start_ns, whole, "use whole milliseconds between the years 2001 and 2096")
    }
}

/// What was simulated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SimReport {
    /// Episodes written.
    pub episodes: usize,
    /// Names of the hosts.
    pub hosts: Vec<String>,
    /// The damage, in store order; also in [`FAULTS_FILE`].
    pub faults: Vec<FaultRecord>,
}

/// Writes a simulated store into an absent or empty folder. `progress` receives (episodes done, episodes in all) from
/// any thread. Runs on the current rayon pool.
///
/// # Errors
/// [`TelemetryError::Invalid`] when the configuration is not valid; when the folder cannot be written.
pub fn simulate(
    store: &Path,
    config: &SimConfig,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<SimReport, TelemetryError> {
    /// Index lines wait for the episodes before them: a block bounds how many.
    const BLOCK: usize = 64;
    config.check()?;
    let corpus =
        Corpus { name: CORPUS_NAME.into(), simulated: true, calibration: Calibration::Declared, ..Corpus::built_in() };
    let lab: Vec<Bench> = (0..config.hosts).map(|number| Bench::new(config, number)).collect();
    let plans = script::plan(config);
    let done = std::sync::atomic::AtomicUsize::new(0);
    let writer = StoreWriter::create(store, &corpus)?;
    for block in plans.chunks(BLOCK) {
        block.par_iter().try_for_each(|plan| {
            write_episode(&writer, config, &lab[plan.host], plan)?;
            progress(1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed), plans.len());
            Ok::<_, TelemetryError>(())
        })?;
    }
    writer.finish()?;
    let faults = match config.faults {
        Some(share) => damage::damage(store, config, &plans, share)?,
        None => Vec::new(),
    };
    Ok(SimReport { episodes: plans.len(), hosts: lab.into_iter().map(|bench| bench.host.name).collect(), faults })
}

/// A host, and how fast its counters run when nothing is run on it.
struct Bench {
    host: Host,
    counter_rates: Step,
}

impl Bench {
    fn new(config: &SimConfig, number: usize) -> Self {
        const SECONDS: usize = 20;
        let host = Host::new(config.seed, number, config.start_ns);
        let mut draw = Draw::new(config.seed, "counters", number as u64);
        let mut machine = Machine::new(&host, &mut draw);
        let mut counter_rates = [0.0; CHANNELS];
        for _ in 0..SECONDS * STEPS_PER_SECOND {
            for (rate, value) in counter_rates.iter_mut().zip(machine.step(&host.base, &mut draw)) {
                *rate += value / SECONDS as f64;
            }
        }
        for rate in &mut counter_rates {
            *rate *= draw.factor(0.5);
        }
        Self { host, counter_rates }
    }
}

/// The id of a planned episode.
fn episode_id(config: &SimConfig, plan: &Plan) -> String {
    let start_ms = (plan.start_ns / 1_000_000) as u64;
    meta::ulid_from(start_ms, CORPUS_NAME, &format!("{}/{}", config.seed, plan.number))
}

/// The script of a planned episode. It has a generator of its own, so that it can be had without the telemetry.
fn script_of(config: &SimConfig, plan: &Plan) -> Script {
    let mut draw = Draw::new(config.seed, "script", plan.number as u64);
    Script::new(plan.program, config.episode_seconds, &mut draw)
}

fn write_episode(writer: &StoreWriter, config: &SimConfig, bench: &Bench, plan: &Plan) -> Result<(), TelemetryError> {
    let host = &bench.host;
    let script = script_of(config, plan);
    let mut draw = Draw::new(config.seed, "episode", plan.number as u64);
    let steps = run::play(config, host, plan, &script, &mut draw);
    let uptime_s = (plan.start_ns - host.boot_ns) as f64 * 1e-9;
    let timeline = Timeline::new(&rows::since_boot(&bench.counter_rates, uptime_s), steps);

    let span = (plan.start_ns, plan.start_ns + i64::from(config.episode_seconds) * SECOND_NS);
    let sample = plan.program.sample();
    let key = format!("{}/{}", host.name, plan.number / config.hosts + 1);
    let meta = EpisodeMeta {
        host_fingerprint: host.fingerprint(),
        sample_sha256: Some(write::hex(&Sha256::digest(format!("{CORPUS_NAME} {} {sample}", config.seed)))),
        calibration: plan.calibration,
        ..EpisodeMeta::new(episode_id(config, plan), key, span).on(&host.name).of(&sample, plan.program.profile())
    };
    let mut episode = writer.episode(plan.number as u64, meta, Compression::Plain)?;
    for label in &script.labels {
        episode.label(label.at_ns, plan.start_ns + label.at_ns, script::phase_name(label.what))?;
    }
    for event in &script.events {
        episode.event(event.at_ns, plan.start_ns + event.at_ns, event.what)?;
    }
    let restart = draw.chance(0.01).then(|| {
        let source = [Source::Proc, Source::Guest, Source::Qmp][draw.below(3)];
        (source, ((span.1 - span.0) as f64 * draw.between(0.1, 0.9)) as i64)
    });
    for (source, clock) in SOURCES.into_iter().zip(&host.clocks) {
        let restart_ns = restart.filter(|(of, _)| *of == source).map(|(_, at_ns)| at_ns);
        rows::report(source, clock, span, &timeline, restart_ns, &mut draw, |mono, wall, values| {
            episode.row(source, mono, wall, values)
        })?;
    }
    episode.finish(span.1 + SECOND_NS)
}
