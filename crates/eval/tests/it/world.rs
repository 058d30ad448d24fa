//! Seeded predictions to test with: classes of unequal size, errors that cluster by episode, hosts that differ.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_core::{ClassList, Side};
use stakeout_eval::{Prediction, Predictions};

pub(crate) struct Dice(Xoshiro256PlusPlus);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

/// Rows of a scored side: cluster, truth and what two models say.
pub(crate) struct Scored {
    pub(crate) classes: usize,
    pub(crate) cluster: Vec<u32>,
    pub(crate) truth: Vec<u16>,
    pub(crate) a: Vec<u16>,
    pub(crate) b: Vec<u16>,
}

/// `clusters` clusters of 1 to `longest` rows; class k is half as frequent as class k − 1.
pub(crate) fn scored(seed: u64, classes: usize, clusters: usize, longest: usize) -> Scored {
    let mut dice = Dice::new(seed);
    let mut out = Scored { classes, cluster: vec![], truth: vec![], a: vec![], b: vec![] };
    for cluster in 0..clusters {
        let (error_a, error_b) = if dice.unit() < 0.2 { (0.6, 0.5) } else { (0.1, 0.15) };
        for _ in 0..=dice.below(longest) {
            let truth = ((-dice.unit().ln() / std::f64::consts::LN_2) as usize).min(classes - 1) as u16;
            let mut says = |error| if dice.unit() < error { dice.below(classes) as u16 } else { truth };
            out.a.push(says(error_a));
            out.b.push(says(error_b));
            out.cluster.push(cluster as u32);
            out.truth.push(truth);
        }
    }
    out
}

pub(crate) const CLASSES: [&str; 4] = ["clean", "armed", "infecting", "dormant"];

pub(crate) fn class_list() -> ClassList {
    ClassList::try_from(CLASSES.map(String::from).to_vec()).unwrap()
}

pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) hosts: usize,
    pub(crate) episodes: usize,
}

/// Predictions for `episodes` episodes over `hosts` hosts, ten windows each; a fifth of them on the validation side.
pub(crate) fn predictions(case: &Case) -> Predictions {
    let mut dice = Dice::new(case.seed);
    let mut out = Predictions::new(class_list());
    for episode in 0..case.episodes {
        let host = episode % case.hosts;
        let side = if episode / case.hosts % 5 == 4 { Side::Validation } else { Side::Test };
        let error = 0.1 + 0.5 * host as f64 / case.hosts as f64;
        for window in 0..10 {
            let label = (dice.below(3) * dice.below(2)) as u16;
            let called = if dice.unit() < error { dice.below(3) } else { usize::from(label) };
            let mut probabilities = [0.1f32; 4];
            probabilities[called] = 0.7;
            out.push(&Prediction {
                side,
                fold: "host",
                seed: 1,
                episode: &format!("01HZX{episode:04}"),
                host: &format!("pi-{host}"),
                sample: &format!("sample-{}", episode % 7),
                profile: ["cryptominer", "scan-and-dial", "wiper"][episode % 3],
                t0_ns: 1_700_000_000_000_000_000 + i64::from(window) * 5_000_000_000,
                t_onset_ns: (episode % 2 == 0).then_some(1_700_000_000_000_000_000),
                observed_seconds: 10.0,
                label,
                probabilities: &probabilities,
            })
            .unwrap();
        }
    }
    out
}

/// The same rows in another order.
pub(crate) fn turned(predictions: &Predictions) -> Predictions {
    let mut out = Predictions::new(predictions.classes().clone());
    for row in (0..predictions.len()).rev() {
        out.push(&predictions.row(row)).unwrap();
    }
    out
}

/// The test rows of each host apart, as leave-one-host-out runs would have them.
pub(crate) fn folds(seed: u64, hosts: usize) -> Vec<(String, Predictions)> {
    let all = predictions(&Case { seed, hosts, episodes: 60 });
    (0..hosts)
        .map(|host| {
            let name = format!("pi-{host}");
            let mut fold = Predictions::new(class_list());
            for row in all.rows_of(Side::Test).into_iter().filter(|&row| all.row(row).host == name) {
                fold.push(&all.row(row)).unwrap();
            }
            (name, fold)
        })
        .collect()
}
