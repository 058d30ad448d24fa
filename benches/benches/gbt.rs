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
use stakeout_kernels::histogram::{BLOCK, Codes, LANES, Line, fill, fill_trees};
use stakeout_kernels::quantise::{Gradient, Packed, Units};
use stakeout_kernels::simd::Level;
use stakeout_kernels::split::{Node, Rule, Shape, best_cut};

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
    let codes: Vec<Codes> = (0..ROWS).map(|_| Codes(std::array::from_fn(|_| dice.below(255) as u8))).collect();
    let columns: [Vec<u8>; 2] = [0, 1].map(|i| codes.iter().map(|codes: &Codes| codes.0[i]).collect());
    let gradients: Vec<Gradient> = (0..ROWS).map(|_| [dice.noise(), 0.2]).collect();
    let units = Units::of(gradients.iter().copied());
    let packed: Vec<Packed> = gradients.iter().map(|gradient| units.round(*gradient, dice.below(1 << 31))).collect();
    let all: Vec<u32> = (0..ROWS as u32).collect();
    let half: Vec<u32> = (0..ROWS as u32).filter(|_| dice.below(2) == 0).collect();
    let own: Vec<Packed> = half.iter().map(|row| packed[*row as usize]).collect();
    let lines: Vec<Line> = packed.iter().map(|packed| Line([*packed; LANES])).collect();
    let values: Vec<f32> = (0..ROWS).map(|_| dice.noise()).collect();
    let mut tables = vec![[Line::ZERO; 256]; BLOCK / LANES];
    let level = Level::best();

    let mut loops = c.benchmark_group("loops");
    loops.throughput(Throughput::Elements(ROWS as u64));
    loops.bench_function("bin edges of a column", |b| {
        b.iter(|| quantile_edges(values.iter().map(|v| (*v, 1.0)), 255));
    });
    loops.throughput(Throughput::Elements((ROWS * 2) as u64));
    loops.bench_function("histograms of eight trees, 2 columns, all rows", |b| {
        let pair = tables.first_chunk_mut().expect("eight tables");
        b.iter(|| fill_trees(level, [&columns[0], &columns[1]], &all, &lines, pair));
    });
    loops.throughput(Throughput::Elements((half.len() * 2 * LANES) as u64));
    loops.bench_function("histograms of 16 columns, half the rows", |b| {
        b.iter(|| {
            tables[..2].fill([Line::ZERO; 256]);
            fill::<256, 2>(&codes, 0, &half, &own, &mut tables[..2]);
        });
    });
    loops.throughput(Throughput::Elements(LANES as u64));
    let total = own.iter().fold(0, |sum: Packed, packed| sum.wrapping_add(*packed));
    let rule = Rule { lambda: 1.0, min_child_weight: 0.1, min_gain: 0.0 };
    let node = Node::new(total, half.len(), units, rule).expect("a node that can be split");
    let shape = Shape { present: 255, missing: 255, columns: u8::MAX };
    loops.bench_function("best cut of eight columns", |b| b.iter(|| best_cut(level, &node, &tables[0], shape)));
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
