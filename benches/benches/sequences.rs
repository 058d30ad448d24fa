//! Action sequences: all measurements and the probability of ten-action sequences, one core.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stakeout_detect::sequence::{Config, FIRST, Mode, Scratch, Sequences, Vocabulary, fit, simulate};

const ROWS: usize = 10_000;

/// A linear congruential generator (Knuth's MMIX constants): enough for test data, and no dependency.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Sequences of ten of `actions` actions, of which about five follow each; every tenth is anomalous and follows nothing.
fn tens(actions: u32, rows: usize, dice: &mut Dice) -> Sequences {
    let mut data = Sequences::default();
    for row in 0..rows {
        let anomalous = row % 10 == 0;
        let mut action = dice.below(u64::from(actions)) as u32;
        let ids: Vec<u32> = (0..10)
            .map(|_| {
                let next =
                    if anomalous { dice.below(u64::from(actions)) as u32 } else { 7 * action + dice.below(5) as u32 };
                action = next % actions;
                FIRST + action
            })
            .collect();
        data.push(ids, Some(anomalous));
    }
    data
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("sequences");
    for actions in [24, 400] {
        let mut dice = Dice(1);
        let train = tens(actions, 20_000, &mut dice);
        let names = || Vocabulary::from_names((0..actions).map(|i| format!("action-{i}"))).expect("names differ");
        let fresh = tens(actions, ROWS, &mut dice);
        group.throughput(Throughput::Elements(ROWS as u64));
        for (mode, name) in [(Mode::TwoClass, "two classes"), (Mode::OneClass, "one class")] {
            let model =
                fit(&train, names(), &Config { mode, ..Config::default() }).expect("enough to learn from").model;
            let (mut scratch, mut out) = (Scratch::default(), Vec::new());
            group.bench_function(format!("score {ROWS} of ten actions, n = 3, {actions} actions, {name}"), |b| {
                b.iter(|| model.predict_all(&fresh, &mut scratch, &mut out));
            });
        }
    }
    let (data, vocabulary) = simulate(5000, 1).expect("in range");
    group.throughput(Throughput::Elements(5000));
    group.sample_size(10);
    group.bench_function("fit 5000 simulated sequences, two classes", |b| {
        b.iter_batched(|| vocabulary.clone(), |names| fit(&data, names, &Config::default()), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
