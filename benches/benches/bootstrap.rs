//! Bootstrap of macro F1: 100,000 predictions, 6 unequal classes, 1,000 episodes whose errors go together, 1,000
//! resamples, one thread. The peer script for the same task is `benches/peers/bootstrap.py`.

use criterion::{Criterion, criterion_group, criterion_main};
use stakeout_core::Confusion;
use stakeout_eval::bootstrap::{clusters, interval, paired_clusters, paired_rows, rows};
use stakeout_eval::{ClusterCounts, JointCounts, Plan};

const ROWS: usize = 100_000;
const CLASSES: usize = 6;
const SHARES: [f64; CLASSES] = [0.5, 0.2, 0.12, 0.09, 0.06, 0.03];
const PLAN: Plan = Plan { resamples: 1000, level: 0.95, seed: 1 };

/// `SplitMix64` (Steele, Lea and Flood 2014): enough for test data, and no dependency.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn truth(dice: &mut Dice) -> Vec<u16> {
    let class = |mut u: f64| {
        SHARES.iter().position(|share| {
            u -= share;
            u < 0.0
        })
    };
    (0..ROWS).map(|_| class(dice.unit()).unwrap_or(0) as u16).collect()
}

/// A model that is mostly wrong on a share `bad` of the episodes and seldom elsewhere.
fn model(dice: &mut Dice, truth: &[u16], bad: f64, error: f64) -> Vec<u16> {
    let errors: Vec<f64> = (0..1000).map(|_| if dice.unit() < bad { 0.6 } else { error }).collect();
    let says = |(row, truth): (usize, &u16)| {
        if dice.unit() < errors[row / 100] { (dice.unit() * CLASSES as f64) as u16 } else { *truth }
    };
    truth.iter().enumerate().map(says).collect()
}

fn bench(c: &mut Criterion) {
    let mut dice = Dice(7);
    let truth = truth(&mut dice);
    let a = model(&mut dice, &truth, 0.12, 0.05);
    let b = model(&mut dice, &truth, 0.10, 0.05);
    let episode: Vec<u32> = (0..ROWS as u32).map(|row| row / 100).collect();
    let mut confusion = Confusion::new(CLASSES);
    truth.iter().zip(&a).for_each(|(truth, predicted)| confusion.add(*truth, *predicted));
    let joint = JointCounts::new(CLASSES, &truth, &a, &b).expect("classes are in range");
    let counts = |of: &[u16]| ClusterCounts::new(CLASSES, None, &episode, &truth, of).expect("classes are in range");
    let (by_episode, other) = (counts(&a), counts(&b));

    // The measured thread is the only worker: nothing is handed over and nobody has to be woken.
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    alone.build_global().expect("no pool was made before");
    let ends = |values: &[f64]| interval(values, PLAN.level);
    let mut group = c.benchmark_group("bootstrap of macro F1, 1,000 resamples");
    let mut measure = |name: &str, work: &dyn Fn() -> Vec<f64>| {
        group.bench_function(name, |x| x.iter(|| ends(&work())));
    };
    measure("rows", &|| rows(&confusion, None, &PLAN).unwrap().macro_f1);
    measure("episodes", &|| clusters(&by_episode, &PLAN).unwrap().macro_f1);
    measure("episodes, counting included", &|| clusters(&counts(&a), &PLAN).unwrap().macro_f1);
    measure("paired rows", &|| paired_rows(&joint, &PLAN).unwrap().macro_f1);
    measure("paired episodes", &|| paired_clusters(&by_episode, &other, &PLAN).unwrap().macro_f1);
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
