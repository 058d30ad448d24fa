//! Who runs what, where and when; and what happens during a run. Labels follow the events, never the schedule.

use stakeout_core::class::PHASES;

use super::SimConfig;
use super::draw::Draw;
use super::profiles::{BENIGN, MALICIOUS};

/// Positions in [`PHASES`].
pub(super) const CLEAN: usize = 0;
pub(super) const ARMED: usize = 1;
pub(super) const INFECTING: usize = 2;
pub(super) const RUNNING: usize = 3;
pub(super) const DORMANT: usize = 4;

/// Of the episodes after the calibration stretch, one in this many is benign.
const BENIGN_EVERY: usize = 10;

/// How many samples each profile has.
pub(super) const SAMPLES: usize = 6;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// A position in [`MALICIOUS`] and a sample of it.
    Malicious(usize, usize),
    /// A position in [`BENIGN`] and a sample of it.
    Benign(usize, usize),
}

impl Program {
    /// The behaviour family.
    pub(super) fn profile(self) -> &'static str {
        match self {
            Self::Malicious(profile, _) => MALICIOUS[profile].name,
            Self::Benign(profile, _) => BENIGN[profile].name,
        }
    }

    /// The sample's name: the profile and a number from 1.
    pub(super) fn sample(self) -> String {
        let (Self::Malicious(_, sample) | Self::Benign(_, sample)) = self;
        format!("{}-{}", self.profile(), sample + 1)
    }
}

/// One episode before it is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Position in the store, which is also its number for the generator.
    pub(super) number: usize,
    /// Position of the host.
    pub(super) host: usize,
    /// Start, Unix nanoseconds.
    pub(super) start_ns: i64,
    /// What is run.
    pub(super) program: Program,
    /// Whether it belongs to the host's calibration stretch.
    pub(super) calibration: bool,
}

/// The plan of a store, in order of start time. The hosts run side by side. Each begins with its calibration
/// stretch; then every profile comes round in turn, each time with another sample, in an order shuffled by host.
pub(super) fn plan(config: &SimConfig) -> Vec<Plan> {
    let seconds = i64::from(config.episode_seconds);
    let by_host: Vec<Vec<(Program, bool)>> = (0..config.hosts)
        .map(|host| {
            let count = config.episodes / config.hosts + usize::from(host < config.episodes % config.hosts);
            programs(config, host, count)
        })
        .collect();
    (0..config.episodes)
        .map(|number| {
            let (host, turn) = (number % config.hosts, number / config.hosts);
            let (program, calibration) = by_host[host][turn];
            // Episodes fill two fifths of the time; the hosts start seconds apart, always in the same order.
            let start_s =
                turn as f64 * 2.5 * seconds as f64 + host as f64 * seconds as f64 / (2.0 * config.hosts as f64);
            Plan { number, host, start_ns: config.start_ns + (start_s * 1e3) as i64 * 1_000_000, program, calibration }
        })
        .collect()
}

fn programs(config: &SimConfig, host: usize, count: usize) -> Vec<(Program, bool)> {
    let wanted = (60 * config.calibration_minutes).div_ceil(config.episode_seconds) as usize;
    let calibration = wanted.min(count.div_ceil(4));
    let (mut malicious, mut benign) = (0, 0);
    let mut rest: Vec<(Program, bool)> = (calibration..count)
        .enumerate()
        .map(|(i, _)| {
            let program = if i % BENIGN_EVERY == BENIGN_EVERY - 1 {
                benign += 1;
                let busy = BENIGN.len() - 1;
                Program::Benign(1 + (benign - 1) % busy, ((benign - 1) / busy + host) % SAMPLES)
            } else {
                malicious += 1;
                let profiles = MALICIOUS.len();
                Program::Malicious((malicious - 1) % profiles, ((malicious - 1) / profiles + host) % SAMPLES)
            };
            (program, false)
        })
        .collect();
    Draw::new(config.seed, "order", host as u64).shuffle(&mut rest);
    let mut all: Vec<_> = (0..calibration).map(|i| (Program::Benign(0, (i + host) % SAMPLES), true)).collect();
    all.append(&mut rest);
    all
}

/// A change at an instant after the start of the episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change<T> {
    /// Nanoseconds after the start.
    pub(super) at_ns: i64,
    /// What holds from then on, or what happened.
    pub(super) what: T,
}

/// What happens in one episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// Phases, positions in [`PHASES`], from 0 on.
    pub(super) labels: Vec<Change<usize>>,
    /// Events by name.
    pub(super) events: Vec<Change<&'static str>>,
}

impl Script {
    /// Writes one run. The phases of a malicious one last differently every time; one exploit in eight fails, and
    /// half of the others go dormant before the end.
    pub(super) fn new(program: Program, episode_seconds: u32, draw: &mut Draw) -> Self {
        let total = f64::from(episode_seconds);
        let mut script = Self {
            labels: vec![Change { at_ns: 0, what: CLEAN }],
            events: vec![Change { at_ns: 0, what: "program_start" }],
        };
        if matches!(program, Program::Malicious(..)) {
            let mut now = total * draw.between(0.12, 0.34);
            script.step(draw, now, "arm", ARMED);
            let armed = total * draw.between(0.12, 0.3);
            if draw.chance(0.125) {
                script.event(now + armed, "exploit_fail");
                return script;
            }
            now += armed;
            script.step(draw, now, "exploit_fire", INFECTING);
            now += total * draw.between(0.08, 0.2);
            script.step(draw, now, "session_open", RUNNING);
            now += total * draw.between(0.16, 0.3);
            if draw.chance(0.5) {
                script.step(draw, now, "session_idle", DORMANT);
            }
            script.labels.retain(|change| change.at_ns < (total * 1e9) as i64);
            script.events.retain(|change| change.at_ns < (total * 1e9) as i64);
        }
        script
    }

    fn event(&mut self, at_s: f64, what: &'static str) {
        self.events.push(Change { at_ns: (at_s * 1e9) as i64, what });
    }

    /// An event, and the label that it justifies a few milliseconds later.
    fn step(&mut self, draw: &mut Draw, at_s: f64, event: &'static str, phase: usize) {
        self.event(at_s, event);
        let at_ns = (at_s * 1e9) as i64 + draw.between(2e6, 40e6) as i64;
        self.labels.push(Change { at_ns, what: phase });
    }
}

/// The name of a phase.
pub(super) fn phase_name(phase: usize) -> &'static str {
    PHASES[phase]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_but_the_first_follows_its_event() {
        let (mut failed, mut dormant) = (0, 0);
        for number in 0..400 {
            let script = Script::new(Program::Malicious(0, 0), 120, &mut Draw::new(5, "script", number));
            assert_eq!(script.labels[0], Change { at_ns: 0, what: CLEAN });
            for (i, label) in script.labels.iter().enumerate().skip(1) {
                let event = &script.events[i];
                assert_eq!(event.what, ["arm", "exploit_fire", "session_open", "session_idle"][i - 1]);
                assert!(event.at_ns < label.at_ns && label.at_ns < event.at_ns + 50_000_000);
                assert_eq!(label.what, i);
            }
            failed += u32::from(script.labels.last().unwrap().what == ARMED);
            dormant += u32::from(script.labels.last().unwrap().what == DORMANT);
        }
        assert!((25..90).contains(&failed), "{failed} of 400 failed");
        assert!((100..230).contains(&dormant), "{dormant} of 400 went dormant");
    }

    #[test]
    fn the_default_runs_every_profile_on_every_host_with_every_sample() {
        let config = SimConfig::embedded_default();
        let plans = plan(&config);
        assert!(plans.windows(2).all(|pair| pair[0].start_ns < pair[1].start_ns));
        for host in 0..config.hosts {
            for profile in 0..MALICIOUS.len() {
                for sample in 0..SAMPLES {
                    let program = Program::Malicious(profile, sample);
                    assert!(plans.iter().any(|p| p.host == host && p.program == program), "{program:?} on {host}");
                }
            }
            let first = plans.iter().find(|p| p.host == host).unwrap();
            assert!(first.calibration && first.program.profile() == "idle");
        }
        let benign = plans.iter().filter(|p| matches!(p.program, Program::Benign(..))).count();
        let share = benign as f64 / plans.len() as f64;
        assert!((0.10..=0.15).contains(&share), "{share} benign");
    }

    #[test]
    fn a_host_never_runs_two_programs_at_once() {
        let config = SimConfig { episodes: 100, hosts: 7, ..SimConfig::embedded_default() };
        let plans = plan(&config);
        for host in 0..7 {
            let starts: Vec<i64> = plans.iter().filter(|p| p.host == host).map(|p| p.start_ns).collect();
            assert!(starts.windows(2).all(|w| w[1] - w[0] >= i64::from(config.episode_seconds) * 1_000_000_000));
        }
    }
}
