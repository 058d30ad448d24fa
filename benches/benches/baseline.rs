//! Scoring a vector against an outlier baseline: nanoseconds a vector, for 46 features and for 384 numbers of an embedding.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use stakeout_detect::baseline::{Baseline, Method, Rows, Scratch, Settings};

/// Seeded noise in [0, 1).
fn noise(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..n).map(|_| next()).collect()
}

fn score(c: &mut Criterion) {
    let mut group = c.benchmark_group("baseline score");
    for dimensions in [46, 384] {
        let vectors = noise(2200 * dimensions);
        let rows = Rows::new(&vectors, dimensions, &[]).expect("a matrix");
        for method in [Method::Diagonal, Method::Robust, Method::Shrunk] {
            let settings = Settings { method, ..Settings::default() };
            let baseline = Baseline::fit(&rows, &settings).expect("enough vectors");
            let mut scratch = Scratch::default();
            // Other vectors each time: 256 of them stay in the second-level cache, as a live window would.
            let mut at = 0;
            group.bench_function(format!("{method} {dimensions}"), |b| {
                b.iter(|| {
                    at = (at + 1) % 256;
                    baseline.score(black_box(rows.row(at)), &mut scratch)
                });
            });
        }
        let baseline = Baseline::fit(&rows, &Settings::default()).expect("enough vectors");
        let score = baseline.score(rows.row(3), &mut Scratch::default());
        group.bench_function(format!("p-value {dimensions}"), |b| b.iter(|| baseline.p_value(black_box(&score))));
    }
    group.finish();
}

criterion_group!(benches, score);
criterion_main!(benches);
