//! The window kernel on synthetic samples: one source of 16 channels at 10 Hz for two minutes, 23 windows.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stakeout_core::Statistic;
use stakeout_features::kernel::{Place, StepMeans, Summariser};
use stakeout_features::{Grid, Samples};

const GRID: Grid = Grid { first_ns: 0, stride_ns: 5_000_000_000, length_ns: 10_000_000_000, steps: 20, windows: 23 };
const CHANNELS: usize = 16;

/// Jittered samples, `gaps` of a thousand of them missing.
fn samples(gaps: u64) -> Samples {
    let mut state = 1u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let t_ns: Vec<i64> = (0..1200).map(|i| i * 100_000_000 + draw(50_000_000) as i64).collect();
    let mut samples = Samples::default();
    samples.reset(CHANNELS, t_ns);
    for column in 0..CHANNELS {
        for cell in samples.column_mut(column) {
            *cell = if draw(1000) < gaps { f32::NAN } else { draw(4000) as f32 / 8.0 };
        }
    }
    samples
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("23 windows of 16 channels");
    group.throughput(Throughput::Elements(GRID.windows as u64));
    let positions: Vec<usize> = (0..CHANNELS).collect();
    let place = Place::new(&positions, CHANNELS);
    let (mut means, mut summariser) = (StepMeans::default(), Summariser::default());
    for (data, gaps) in [("complete", 0), ("1 % missing", 10)] {
        let samples = samples(gaps);
        let sets: [(&str, &[Statistic]); 2] =
            [("default statistics", &Statistic::DEFAULT), ("all statistics", &Statistic::ALL)];
        for (name, statistics) in sets {
            let mut summary = vec![0.0; GRID.windows * statistics.len() * CHANNELS];
            group.bench_function(format!("{name}, {data}"), |b| {
                b.iter(|| {
                    means.compute(&GRID, &samples);
                    summariser.write(&GRID, &samples, &means, statistics, &place, &mut summary);
                });
            });
        }
        let mut tensor = vec![0.0; GRID.windows * CHANNELS * GRID.steps];
        group.bench_function(format!("tensor, {data}"), |b| {
            b.iter(|| {
                means.compute(&GRID, &samples);
                means.write(&place, &mut tensor);
            });
        });
        let columns: Vec<Vec<f32>> =
            (0..CHANNELS).map(|c| samples.clone().column_mut(c).map(|v| *v).collect()).collect();
        let columns: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
        group.bench_function(format!("columns to lanes, {data}"), |b| {
            let mut into = Samples::default();
            b.iter(|| into.fill(samples.t_ns().iter().copied(), &columns));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
