//! MiniRocket: its loops on one series, a fit on 2,000 windows of 29 channels × 20 steps, and scoring.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array3;
use serde_json::json;
use stakeout_core::{
    BaseModel, Batch, ChannelSpec, Device, FitContext, InputKind, Labelled, Schema, Scratch, Silent, View, WindowSpec,
    WindowTable, Windows, channels, class,
};
use stakeout_kernels::rocket::{Convolver, KERNELS, shares_above};

const ROWS: usize = 2000;

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

/// Every fifth channel rises with the label, every twentieth value is missing.
fn windows(dice: &mut Dice) -> (WindowTable, Vec<u16>) {
    let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
    let schema = Schema::new(all, View::Realistic, WindowSpec::default(), class::built_in(), 1);
    let schema = schema.expect("the built-in schema is valid");
    let geometry = schema.geometry();
    let labels: Vec<u16> = (0..ROWS).map(|_| dice.below(5) as u16).collect();
    let tensor = Array3::from_shape_fn((ROWS, geometry.channels, geometry.steps), |(row, channel, step)| {
        let slope = if channel % 5 == usize::from(labels[row]) { 0.1 } else { 0.0 };
        if dice.below(20) == 0 { f32::NAN } else { slope * step as f32 + dice.noise() }
    });
    let lengths = vec![geometry.steps as u32; ROWS];
    (WindowTable::new(schema, None, Some(tensor), lengths).expect("the table follows the schema"), labels)
}

fn fit(windows: &WindowTable, labels: &[u16], features: usize, largest_side: usize) -> Box<dyn BaseModel> {
    let config = json!({ "features": features, "largest_side": largest_side });
    let registry = stakeout_models::builtin();
    let estimator = registry.get("minirocket").map(|entry| (entry.configure)(&config)).expect("it is built in");
    let weights = vec![1.0; labels.len()];
    let mut silent = Silent;
    let mut cx = FitContext { validation: None, seed: 1, device: Device::default(), observer: &mut silent };
    estimator
        .and_then(|estimator| estimator.fit(Labelled { windows, labels, weights: &weights }, &mut cx))
        .expect("the data can be learnt")
}

fn bench(c: &mut Criterion) {
    let mut dice = Dice(1);
    let mut loops = c.benchmark_group("one series");
    for steps in [20, 150, 1000] {
        let series: Vec<f32> = (0..steps).map(|_| dice.noise()).collect();
        let mut convolver = Convolver::default();
        loops.throughput(Throughput::Elements((KERNELS * steps) as u64));
        loops.bench_function(format!("84 kernels, {steps} steps"), |b| {
            b.iter(|| {
                convolver.load([&series[..]], steps, 2);
                (0..KERNELS).map(|kernel| convolver.convolve(kernel)[0]).sum::<f32>()
            });
        });
        let biases: Vec<f32> = (0..59).map(|_| dice.noise()).collect();
        let mut shares = vec![0.0; biases.len()];
        loops.throughput(Throughput::Elements((biases.len() * steps) as u64));
        loops.bench_function(format!("shares above 59 biases, {steps} steps"), |b| {
            b.iter(|| shares_above(&series, &biases, &mut shares));
        });
    }
    loops.finish();

    let (table, labels) = windows(&mut dice);
    let mut model = c.benchmark_group("minirocket");
    model.sample_size(10);
    model.bench_function("fit, 2000 windows, 1000 features", |b| b.iter(|| fit(&table, &labels, 1000, 4032)));
    model.bench_function("fit, 2000 windows, 10000 features", |b| b.iter(|| fit(&table, &labels, 10_000, 4032)));
    let fitted = fit(&table, &labels, 10_000, 1000);
    let fitted_whole = fit(&table, &labels, 10_000, 4032);
    for (model_name, fitted) in [("924 features", &fitted), ("9996 features", &fitted_whole)] {
        for rows in [1, 256] {
            let mut batch = Batch::new(InputKind::Tensor, table.schema().geometry());
            table.gather(&(0..rows).collect::<Vec<_>>(), &mut batch).expect("rows of the table");
            let (mut scratch, mut out) = (Scratch::default(), vec![0.0; rows * 5]);
            model.throughput(Throughput::Elements(rows as u64));
            model.bench_function(format!("score {rows} windows, {model_name}"), |b| {
                b.iter(|| fitted.predict_into(&batch, &mut scratch, &mut out));
            });
        }
    }
    model.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
