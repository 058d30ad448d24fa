//! The classical models: a fit on 20,000 windows of 230 statistics with 5 classes, and scoring 256 of them.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use serde_json::{Value, json};
use stakeout_core::{
    BaseModel, Batch, ChannelSpec, Device, FitContext, InputKind, Labelled, Schema, Scratch, Silent, View, WindowSpec,
    WindowTable, Windows, channels, class,
};

const ROWS: usize = 20_000;

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

/// Every tenth statistic follows the label, every fiftieth cell is missing.
fn windows() -> (WindowTable, Vec<u16>) {
    let mut dice = Dice(1);
    let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
    let schema = Schema::new(all, View::Oracle, WindowSpec::default(), class::built_in(), 1);
    let schema = schema.expect("the built-in schema is valid");
    let labels: Vec<u16> = (0..ROWS).map(|_| dice.below(5) as u16).collect();
    let summary = Array2::from_shape_fn((ROWS, schema.geometry().features), |(row, column)| {
        let lift = if column % 10 == usize::from(labels[row]) { 0.4 } else { 0.0 };
        if dice.below(50) == 0 { f32::NAN } else { lift + dice.noise() }
    });
    let table = WindowTable::new(schema, Some(summary), None, vec![20; ROWS]).expect("the table follows the schema");
    (table, labels)
}

fn fit(kind: &str, config: &Value, windows: &WindowTable, labels: &[u16]) -> Box<dyn BaseModel> {
    let registry = stakeout_models::builtin();
    let estimator = registry.get(kind).map(|entry| (entry.configure)(config)).expect("it is built in");
    let weights = vec![1.0; labels.len()];
    let mut cx = FitContext { validation: None, seed: 1, device: Device::default(), observer: &mut Silent };
    estimator
        .and_then(|estimator| estimator.fit(Labelled { windows, labels, weights: &weights }, &mut cx))
        .expect("the data can be learnt")
}

fn bench(c: &mut Criterion) {
    let (table, labels) = windows();
    let mut group = c.benchmark_group("classical");
    group.sample_size(10);
    let mut batch = Batch::new(InputKind::Summary, table.schema().geometry());
    table.gather(&(0..256).collect::<Vec<_>>(), &mut batch).expect("rows of the table");
    let (mut scratch, mut out) = (Scratch::default(), vec![0.0; 256 * 5]);
    for (kind, config) in [
        ("logistic", json!({})),
        ("tree", json!({})),
        ("forest", json!({})),
        ("extra-trees", json!({})),
        ("knn", json!({ "neighbours": 5 })),
    ] {
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function(format!("fit {kind}"), |b| b.iter(|| fit(kind, &config, &table, &labels)));
        let fitted = fit(kind, &config, &table, &labels);
        group.throughput(Throughput::Elements(256));
        group.bench_function(format!("score 256 windows, {kind}"), |b| {
            b.iter(|| fitted.predict_into(&batch, &mut scratch, &mut out));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
