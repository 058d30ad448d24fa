//! Gradient boosting: the loops it is made of, a fit on 10,000 windows of 145 statistics with 5 classes, and scoring.
//! The peers' script for a larger fit is `benches/peers/gbt.py`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use serde_json::json;
use stakeout_core::{
    BaseModel, Batch, ChannelSpec, Device, FitContext, InputKind, Labelled, Schema, Scratch, Silent, View, WindowSpec,
    WindowTable, Windows, channels, class,
};
use stakeout_kernels::bins::quantile_edges;
use stakeout_kernels::histogram::{self, EMPTY, Gradient};
use stakeout_kernels::split::{Rule, best_cut};

const ROWS: usize = 10_000;

/// A linear congruential generator (Knuth's MMIX constants): enough for test data, and no dependency.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// Roughly normal.
    fn noise(&mut self) -> f32 {
        (0..4).map(|_| self.below(1 << 20) as f32).sum::<f32>() / (1 << 20) as f32 - 2.0
    }
}

/// Every tenth statistic follows the label, every twentieth cell is missing.
fn windows(dice: &mut Dice) -> (WindowTable, Vec<u16>) {
    let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
    let schema = Schema::new(all, View::Realistic, WindowSpec::default(), class::built_in(), 1);
    let schema = schema.expect("the built-in schema is valid");
    let labels: Vec<u16> = (0..ROWS).map(|_| dice.below(5) as u16).collect();
    let summary = Array2::from_shape_fn((ROWS, schema.geometry().features), |(row, column)| {
        let lift = if column % 10 == usize::from(labels[row]) { 0.7 } else { 0.0 };
        if dice.below(20) == 0 { f32::NAN } else { lift + dice.noise() }
    });
    let table = WindowTable::new(schema, Some(summary), None, vec![20; ROWS]).expect("the table follows the schema");
    (table, labels)
}

fn fit(windows: &WindowTable, labels: &[u16], rounds: usize) -> Box<dyn BaseModel> {
    let config = json!({ "rounds": rounds, "early_stopping_rounds": 0 });
    let registry = stakeout_models::builtin();
    let estimator = registry.get("gbt").map(|entry| (entry.configure)(&config)).expect("gbt is built in");
    let weights = vec![1.0; labels.len()];
    let mut silent = Silent;
    let mut cx = FitContext { validation: None, seed: 1, device: Device::default(), observer: &mut silent };
    estimator
        .and_then(|estimator| estimator.fit(Labelled { windows, labels, weights: &weights }, &mut cx))
        .expect("the data can be learnt")
}

fn bench(c: &mut Criterion) {
    let mut dice = Dice(1);
    let column: Vec<u8> = (0..ROWS).map(|_| dice.below(255) as u8).collect();
    let gradients: Vec<Gradient> = (0..ROWS).map(|_| [dice.noise(), 0.2]).collect();
    let half: Vec<u32> = (0..ROWS as u32).filter(|_| dice.below(2) == 0).collect();
    let own: Vec<Gradient> = half.iter().map(|row| gradients[*row as usize]).collect();
    let values: Vec<f32> = (0..ROWS).map(|_| dice.noise()).collect();
    let mut filled = EMPTY;

    let mut loops = c.benchmark_group("one column");
    loops.throughput(Throughput::Elements(ROWS as u64));
    loops.bench_function("bin edges", |b| b.iter(|| quantile_edges(values.iter().map(|v| (*v, 1.0)), 255)));
    loops.bench_function("histogram of all rows", |b| {
        b.iter(|| histogram::of_all(&column, &gradients, &mut filled));
    });
    loops.throughput(Throughput::Elements(half.len() as u64));
    loops.bench_function("histogram of half the rows", |b| {
        b.iter(|| histogram::of_rows(&column, &half, &own, &mut filled));
    });
    loops.throughput(Throughput::Elements(1));
    let sum = own.iter().fold([0.0, 0.0], |[g, h], [a, b]| [g + f64::from(*a), h + f64::from(*b)]);
    let rule = Rule { lambda: 1.0, min_child_weight: 0.1, min_gain: 0.0 };
    loops.bench_function("best cut", |b| b.iter(|| best_cut(&filled, 254, sum, &rule)));
    loops.finish();

    let (table, labels) = windows(&mut dice);
    let mut model = c.benchmark_group("gbt");
    model.sample_size(10);
    model.bench_function("fit, 10 rounds", |b| b.iter(|| fit(&table, &labels, 10)));
    let fitted = fit(&table, &labels, 100);
    for rows in [1, 256] {
        let mut batch = Batch::new(InputKind::Summary, table.schema().geometry());
        table.gather(&(0..rows).collect::<Vec<_>>(), &mut batch).expect("rows of the table");
        let (mut scratch, mut out) = (Scratch::default(), vec![0.0; rows * 5]);
        model.throughput(Throughput::Elements(rows as u64));
        model.bench_function(format!("score {rows} windows, 100 rounds"), |b| {
            b.iter(|| fitted.predict_into(&batch, &mut scratch, &mut out));
        });
    }
    model.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
