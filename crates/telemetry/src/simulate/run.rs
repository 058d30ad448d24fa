//! One run: the script played on the machine, step by step.

use super::SimConfig;
use super::demand::{ASKS, Ask, Demand, Rhythm, demand};
use super::draw::Draw;
use super::hosts::{Host, variation};
use super::machine::{Machine, STEPS_PER_SECOND, Step};
use super::profiles::{Act, BENIGN, MALICIOUS};
use super::script::{ARMED, CLEAN, Plan, Program, SAMPLES, Script};

/// An act on a host, from one second of an episode to another.
struct Running {
    asks: Demand,
    rhythm: Rhythm,
    pace: f64,
    from_s: f64,
    until_s: f64,
}

impl Running {
    fn new(host: &Host, act: &Act, temper: &Temper, (from_s, until_s): (f64, f64)) -> Self {
        let mut asks = host.scale(demand(act.asks));
        for (amount, factor) in asks.iter_mut().zip(&temper.factors) {
            *amount *= factor;
        }
        Self { asks, rhythm: act.rhythm, pace: temper.pace, from_s, until_s }
    }

    fn add_to(&self, asked: &mut Demand, t_s: f64) {
        if (self.from_s..self.until_s).contains(&t_s) {
            let level = self.rhythm.level(t_s - self.from_s, self.pace);
            for (asked, amount) in asked.iter_mut().zip(&self.asks) {
                *asked += level * amount;
            }
        }
    }
}

/// Plays a script on a host: one [`Step`] for every tenth of a second.
pub(super) fn play(config: &SimConfig, host: &Host, plan: &Plan, script: &Script, draw: &mut Draw) -> Vec<Step> {
    let tide = host.tide((plan.start_ns - config.start_ns) as f64 * 1e-9);
    let acts = acts(config, host, plan, script, draw);
    let mut machine = Machine::new(host, draw);
    let chore_began_s = draw.between(0.0, host.chore.every_s);
    (0..config.episode_seconds as usize * STEPS_PER_SECOND)
        .map(|step| {
            let t_s = step as f64 / STEPS_PER_SECOND as f64;
            let mut asked = *machine.noise(draw);
            let at_chore = (t_s + chore_began_s).rem_euclid(host.chore.every_s) < host.chore.length_s;
            let chore = if at_chore { 1.0 + host.chore.strength } else { 1.0 };
            for (ask, (asked, base)) in asked.iter_mut().zip(&host.base).enumerate() {
                // A chore is work; it takes no memory and opens no connections worth the name.
                let stays = ask == Ask::Memory as usize || ask == Ask::Sessions as usize;
                *asked *= base * tide * if stays { 1.0 } else { chore };
            }
            for act in &acts {
                act.add_to(&mut asked, t_s);
            }
            machine.step(&asked, draw)
        })
        .collect()
}

/// What runs when: the program's own acts, phase by phase, and in one episode of three some benign work that has
/// nothing to do with it, so that a busy machine is not by itself a sign of anything.
fn acts(config: &SimConfig, host: &Host, plan: &Plan, script: &Script, draw: &mut Draw) -> Vec<Running> {
    let total_s = f64::from(config.episode_seconds);
    let temper = Temper::of_run(config, plan.program, draw);
    let mut acts = Vec::new();
    match plan.program {
        Program::Benign(profile, _) => {
            let span = (total_s * draw.between(0.05, 0.3), total_s * draw.between(0.6, 1.0));
            acts.push(Running::new(host, &BENIGN[profile].act, &temper, span));
        }
        Program::Malicious(profile, _) => {
            for (i, label) in script.labels.iter().enumerate() {
                if label.what != CLEAN {
                    // What is seen follows the event within half a second.
                    let lag_s = draw.between(0.0, 0.5);
                    let until_s = script.labels.get(i + 1).map_or(total_s, |next| next.at_ns as f64 * 1e-9 + lag_s);
                    let act = &MALICIOUS[profile].acts[label.what - ARMED];
                    acts.push(Running::new(host, act, &temper, (label.at_ns as f64 * 1e-9 + lag_s, until_s)));
                }
            }
        }
    }
    if !plan.calibration && draw.chance(0.35) {
        let act = &BENIGN[1 + draw.below(BENIGN.len() - 1)].act;
        let from_s = total_s * draw.between(0.0, 0.8);
        let span = (from_s, from_s + total_s * draw.between(0.08, 0.3));
        let temper = Temper { factors: variation(draw, 0.4, 0.2).map(|factor| 0.5 * factor), pace: 1.0 };
        acts.push(Running::new(host, act, &temper, span));
    }
    acts
}

/// How strongly and how fast a run does what its profile says.
struct Temper {
    factors: Demand,
    pace: f64,
}

impl Temper {
    /// The sample's own temper, the same on every host, and a little of the run's own.
    fn of_run(config: &SimConfig, program: Program, draw: &mut Draw) -> Self {
        let (kind, profile, sample) = match program {
            Program::Malicious(profile, sample) => ("malicious sample", profile, sample),
            Program::Benign(profile, sample) => ("benign sample", profile, sample),
        };
        let mut own = Draw::new(config.seed, kind, (profile * SAMPLES + sample) as u64);
        let (sample, pace) = (variation(&mut own, 0.4, 0.3), own.factor(0.3));
        let run = variation(draw, 0.15, 0.1);
        Self { factors: std::array::from_fn::<f64, ASKS, _>(|ask| sample[ask] * run[ask]), pace }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;

    /// The mean of a demand-driven channel of a run, in one phase of its script.
    fn mean_in_phase(profile: usize, phase: usize, name: &str) -> f64 {
        let config = SimConfig::default();
        let channel = stakeout_core::channels::BUILT_IN.iter().position(|c| c.name == name).unwrap();
        let (mut sum, mut count) = (0.0, 0);
        for plan in
            script::plan(&config).iter().filter(|p| matches!(p.program, Program::Malicious(of, _) if of == profile))
        {
            let host = Host::new(config.seed, plan.host, config.start_ns);
            let script = super::super::script_of(&config, plan);
            let steps = play(&config, &host, plan, &script, &mut Draw::new(1, "test", plan.number as u64));
            let bounds = script.labels.iter().map(|label| label.at_ns).chain([120_000_000_000]);
            for (label, next) in script.labels.iter().zip(bounds.skip(1)) {
                if label.what == phase {
                    let rows = label.at_ns as usize / 100_000_000..next as usize / 100_000_000;
                    count += rows.len();
                    sum += steps[rows].iter().map(|step| step[channel]).sum::<f64>();
                }
            }
        }
        sum / f64::from(u32::try_from(count).unwrap())
    }

    #[test]
    fn each_profile_shows_where_its_row_of_the_table_says() {
        for (name, channel) in [
            ("scan-and-dial", "netflow.destination_addresses"),
            ("cryptominer", "guest.cpu_user"),
            ("ransomware", "guest.disk_written_sectors"),
            ("exfiltration", "netflow.octets_out"),
            ("ddos-bot", "netflow.tcp_syn"),
            ("dropper-shell", "guest.forks"),
        ] {
            let profile = MALICIOUS.iter().position(|p| p.name == name).unwrap();
            let (running, clean) =
                (mean_in_phase(profile, script::RUNNING, channel), mean_in_phase(profile, CLEAN, channel));
            assert!(running > 2.0 * clean, "{name}: {channel} is {running} running and {clean} clean");
        }
    }
}
