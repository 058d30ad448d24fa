//! Does feedback help? Simulated fleets whose truth is known, judged by proper scores on alerts that nobody has spoken of.
//!
//! Every detector's score is calibrated for the fleet as a whole; detectors differ in how often their alerts are right. The
//! table in docs/detectors.md is what `feedback_helps` prints.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_detect::reliability::{Evidence, FleetPrior, Reliability, ReliabilityStore, Tally, Verdict, Weighting};

const FLEETS: u64 = 20;
const DETECTORS: usize = 40;
const ALERTS: usize = 200;
/// Mean precision of the fleet, on which every score is calibrated.
const BASE: f64 = 2.0 / 3.0;
/// Separation of hits and false alarms by the score, in standard deviations.
const SEPARATION: f64 = 1.0;
/// Alerts of a detector that an analyst has spoken of.
const HISTORY: [usize; 8] = [0, 1, 2, 3, 5, 10, 30, 100];

struct Dice(Xoshiro256PlusPlus);

impl Dice {
    fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Box and Muller 1958.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Beta of whole parameters, from sums of exponential draws.
    fn beta(&mut self, a: u32, b: u32) -> f64 {
        let mut sum = |n: u32| (0..n).map(|_| -self.unit().ln()).sum::<f64>();
        let (x, y) = (sum(a), sum(b));
        x / (x + y)
    }

    fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A score that says how likely a hit is if the detector were like the fleet: the log-likelihood ratio is normal.
    fn score(&mut self, hit: bool) -> f64 {
        let mean = if hit { 0.5 } else { -0.5 } * SEPARATION * SEPARATION;
        sigmoid(logit(BASE) + mean + SEPARATION * self.normal())
    }
}

fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Brier score of the two classes (0 to 2) and log loss, summed.
#[derive(Debug, Clone, Copy, Default)]
struct Scores {
    brier: f64,
    log_loss: f64,
    alerts: f64,
}

impl Scores {
    fn add(&mut self, p: f64, hit: bool) {
        let of_truth = if hit { p } else { 1.0 - p };
        self.brier += 2.0 * (1.0 - of_truth) * (1.0 - of_truth);
        self.log_loss -= of_truth.max(2f64.powi(-23)).ln();
        self.alerts += 1.0;
    }

    fn mean(self) -> (f64, f64) {
        (self.brier / self.alerts, self.log_loss / self.alerts)
    }
}

/// One row of a table: mean over fleets, and the mean and standard error of its difference to the first row.
struct Row {
    name: &'static str,
    brier: f64,
    log_loss: f64,
    gain: f64,
    error: f64,
}

fn rows(names: &[&'static str], fleets: &[Vec<Scores>]) -> Vec<Row> {
    let n = fleets.len() as f64;
    let mean = |values: &dyn Fn(&Vec<Scores>) -> f64| fleets.iter().map(values).sum::<f64>() / n;
    names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let gain = |fleet: &Vec<Scores>| fleet[0].mean().1 - fleet[i].mean().1;
            let average = mean(&gain);
            let variance = mean(&|fleet| (gain(fleet) - average).powi(2)) * n / (n - 1.0);
            let (brier, log_loss) = (mean(&|fleet| fleet[i].mean().0), mean(&|fleet| fleet[i].mean().1));
            Row { name, brier, log_loss, gain: average, error: (variance / n).sqrt() }
        })
        .collect()
}

fn print(title: &str, rows: &[Row]) {
    println!("\n{title}\n\n| | Brier | log loss | log loss gained (± s.e. over fleets) |\n|---|---|---|---|");
    for row in rows {
        println!("| {} | {:.4} | {:.4} | {:+.4} ± {:.4} |", row.name, row.brier, row.log_loss, row.gain, row.error);
    }
}

const NAMES: [&str; 6] = [
    "the score alone",
    "plain: times the posterior mean",
    "shift, prior Beta(1, 1)",
    "shift, prior refitted",
    "lower bound, prior refitted",
    "the truth",
];

/// Scores of every weighting, over detectors with `from..to` alerts of history. `draw` draws a precision.
fn compare(seed: u64, history: &dyn Fn(usize) -> bool, draw: &dyn Fn(&mut Dice) -> f64) -> Vec<Scores> {
    let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(seed));
    let mut store = ReliabilityStore::default();
    let fleet: Vec<(String, f64, usize)> =
        (0..DETECTORS).map(|d| (format!("d{d}"), draw(&mut dice), HISTORY[d % HISTORY.len()])).collect();
    for (id, precision, alerts) in &fleet {
        for _ in 0..*alerts {
            let verdict = if dice.chance(*precision) { Verdict::Hit } else { Verdict::FalseAlarm };
            store.record(id, None, verdict).unwrap();
        }
    }
    let uniform = FleetPrior::default();
    let fitted = FleetPrior::fit(&store, 1);
    let known = |prior: &FleetPrior, weighting| {
        Reliability::new(Evidence::undecayed(&store), prior.clone(), weighting).unwrap()
    };
    let ways = [
        known(&uniform, Weighting::PosteriorMean),
        known(&uniform, Weighting::LogOdds),
        known(&fitted, Weighting::LogOdds),
        known(&fitted, Weighting::LowerBound { level: 0.05 }),
    ];
    let mut scores = vec![Scores::default(); NAMES.len()];
    for (id, precision, alerts) in &fleet {
        for _ in 0..ALERTS {
            let hit = dice.chance(*precision);
            let p = dice.score(hit);
            if !history(*alerts) {
                continue;
            }
            scores[0].add(p, hit);
            for (way, scores) in ways.iter().zip(&mut scores[1..]) {
                scores.add(way.adjust(p, id, None).unwrap(), hit);
            }
            scores[5].add(sigmoid(logit(p) + logit(*precision) - logit(BASE)), hit);
        }
    }
    scores
}

#[test]
fn feedback_helps() {
    let all = |history: &dyn Fn(usize) -> bool, draw: &dyn Fn(&mut Dice) -> f64| {
        let fleets: Vec<Vec<Scores>> = (0..FLEETS).map(|seed| compare(seed, history, draw)).collect();
        rows(&NAMES, &fleets)
    };
    let differ = |dice: &mut Dice| dice.beta(4, 2);
    let whole = all(&|_| true, &differ);
    print("Detectors differ: precision from Beta(4, 2)", &whole);
    let few = all(&|n| (1..=5).contains(&n), &differ);
    print("Of these, detectors with 1 to 5 alerts of history", &few);
    let many = all(&|n| n >= 30, &differ);
    print("Of these, detectors with 30 or 100 alerts of history", &many);
    let none = all(&|n| n == 0, &differ);
    print("Of these, detectors without a history", &none);
    let same = all(&|_| true, &|_| BASE);
    print("All detectors are the same: nothing is to be learnt", &same);

    let [raw, plain, uniform, fitted, bound] = [0, 1, 2, 3, 4].map(|i| &whole[i]);
    for better in [fitted, bound] {
        assert!(better.gain > 4.0 * better.error && better.brier < raw.brier, "{} does not help", better.name);
        assert!(
            better.log_loss < plain.log_loss && better.brier < plain.brier,
            "{} is behind the plain design",
            better.name
        );
    }
    assert!(fitted.log_loss < uniform.log_loss && fitted.brier < uniform.brier, "a refit does not help");
    assert!(plain.gain < 0.0, "the plain design hurts");
    assert!(few[3].gain > 2.0 * few[3].error && few[1].gain < 0.0);
    assert!(many[3].gain > 0.8 * many[5].gain, "after thirty alerts most of what there is to gain is gained");
    assert!(none[1..5].iter().all(|row| row.gain == 0.0), "no history moves nothing");
    assert!(same[3].gain > -0.005 && same[1].gain < -0.02, "nothing to learn costs nearly nothing");
}

/// Half of the alerts are from before an update that drew every detector's precision anew.
#[test]
fn a_half_life_helps_where_detectors_change() {
    let names = ["the score alone", "shift, no half-life", "shift, half-life 30 days", "shift, half-life 3 days"];
    let fleets: Vec<Vec<Scores>> = (0..FLEETS)
        .map(|seed| {
            let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(1000 + seed));
            let half_lives = [f64::INFINITY, 30.0, 3.0];
            let mut evidence = [Evidence::default(), Evidence::default(), Evidence::default()];
            let mut whole = ReliabilityStore::default();
            let mut now = Vec::new();
            for d in 0..DETECTORS {
                let (id, before, after) = (format!("d{d}"), dice.beta(4, 2), dice.beta(4, 2));
                // One word a day for 200 days; the update came 100 days ago.
                for age in 0..200u32 {
                    let hit = dice.chance(if age < 100 { after } else { before });
                    whole.record(&id, None, if hit { Verdict::Hit } else { Verdict::FalseAlarm }).unwrap();
                    for (evidence, half_life) in evidence.iter_mut().zip(half_lives) {
                        let weight = (-f64::from(age) / half_life).exp2();
                        let total = &mut evidence.0.entry(id.clone()).or_default().total;
                        let Tally { hits, false_alarms } = total;
                        *(if hit { hits } else { false_alarms }) += weight;
                    }
                }
                now.push((id, after));
            }
            let prior = FleetPrior::fit(&whole, 1);
            let ways = evidence.map(|known| Reliability::new(known, prior.clone(), Weighting::LogOdds).unwrap());
            let mut scores = vec![Scores::default(); names.len()];
            for (id, precision) in &now {
                for _ in 0..ALERTS {
                    let hit = dice.chance(*precision);
                    let p = dice.score(hit);
                    scores[0].add(p, hit);
                    for (way, scores) in ways.iter().zip(&mut scores[1..]) {
                        scores.add(way.adjust(p, id, None).unwrap(), hit);
                    }
                }
            }
            scores
        })
        .collect();
    let rows = rows(&names, &fleets);
    print("Detectors were changed 100 days ago; one word a day for 200 days", &rows);
    assert!(rows[2].log_loss < rows[1].log_loss && rows[2].brier < rows[1].brier);
    assert!(rows[2].log_loss < rows[3].log_loss, "too short a half-life forgets what still holds");
}

/// A detector's precision differs between hosts by a standard deviation of 1 in log-odds.
#[test]
fn the_hierarchy_of_hosts_helps_where_hosts_differ() {
    const HOSTS: usize = 12;
    let names = ["the score alone", "each host alone", "detector alone", "detector x host"];
    let fleets: Vec<Vec<Scores>> = (0..FLEETS)
        .map(|seed| {
            let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(2000 + seed));
            let (mut store, mut alone) = (ReliabilityStore::default(), ReliabilityStore::default());
            let mut cells = Vec::new();
            for d in 0..DETECTORS / 2 {
                let middle = logit(dice.beta(4, 2));
                for h in 0..HOSTS {
                    let (id, host, precision) = (format!("d{d}"), format!("h{h}"), sigmoid(middle + dice.normal()));
                    for _ in 0..HISTORY[(d + h) % HISTORY.len()].min(30) {
                        let verdict = if dice.chance(precision) { Verdict::Hit } else { Verdict::FalseAlarm };
                        store.record(&id, Some(&host), verdict).unwrap();
                        alone.record(&format!("{id} on {host}"), None, verdict).unwrap();
                    }
                    cells.push((id, host, precision));
                }
            }
            let known = |store: &ReliabilityStore| {
                let prior = FleetPrior::fit(store, 1);
                Reliability::new(Evidence::undecayed(store), prior, Weighting::LogOdds).unwrap()
            };
            let (known, alone) = (known(&store), known(&alone));
            let mut scores = vec![Scores::default(); names.len()];
            for (id, host, precision) in &cells {
                for _ in 0..ALERTS / 4 {
                    let hit = dice.chance(*precision);
                    let p = dice.score(hit);
                    scores[0].add(p, hit);
                    scores[1].add(alone.adjust(p, &format!("{id} on {host}"), None).unwrap(), hit);
                    scores[2].add(known.adjust(p, id, None).unwrap(), hit);
                    scores[3].add(known.adjust(p, id, Some(host)).unwrap(), hit);
                }
            }
            scores
        })
        .collect();
    let rows = rows(&names, &fleets);
    print("Hosts differ: 20 detectors on 12 hosts", &rows);
    for other in &rows[..3] {
        assert!(rows[3].log_loss < other.log_loss && rows[3].brier < other.brier, "behind {}", other.name);
    }
}
