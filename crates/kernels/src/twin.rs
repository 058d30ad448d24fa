//! What the tests of the kernels of nets share: numbers, and slow twins in double precision whose gradients are differences.

/// Numbers in -1..1 from a seed.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| draw()).collect()
}

/// In double precision.
pub(crate) fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Every number is within the limit of what is expected.
pub(crate) fn close(got: &[f32], expected: &[f64], limit: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() <= limit, "{what}[{at}]: {got} for {expected}");
    }
}

/// The gradient of `Σ y · dy` by one of the arguments of a twin, by central differences.
pub(crate) fn gradient(twin: impl Fn(&[Vec<f64>]) -> Vec<f64>, args: &[Vec<f64>], by: usize, dy: &[f32]) -> Vec<f64> {
    const STEP: f64 = 1e-6;
    let count = args[by].len();
    let mut args = args.to_vec();
    let mut value = |at: usize, shift: f64| {
        let before = args[by][at];
        args[by][at] = before + shift;
        let y = twin(&args);
        args[by][at] = before;
        y.iter().zip(dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
    };
    (0..count).map(|at| (value(at, STEP) - value(at, -STEP)) / (2.0 * STEP)).collect()
}

/// `x · w + b` in plain sums.
pub(crate) fn dense(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let inputs = w.len() / b.len();
    let row = |x: &[f64]| -> Vec<f64> {
        let sum = |j: usize| x.iter().enumerate().map(|(i, x)| x * w[i * b.len() + j]).sum::<f64>() + b[j];
        (0..b.len()).map(sum).collect()
    };
    x.chunks_exact(inputs).flat_map(row).collect()
}

/// Rows of mean 0 and variance 1, scaled and shifted.
pub(crate) fn layer_norm(x: &[f64], scale: &[f64], shift: &[f64], epsilon: f64) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let normal = x.iter().map(|x| (x - mean) / (variance + epsilon).sqrt());
        normal.zip(scale).zip(shift).map(|((x, scale), shift)| x * scale + shift).collect()
    };
    x.chunks_exact(scale.len()).flat_map(row).collect()
}

/// Attention of all steps of each window to its own steps; padding steps become 0.
pub(crate) fn attention(shape: crate::attention::Shape<'_>, query: &[f64], key: &[f64], value: &[f64]) -> Vec<f64> {
    let crate::attention::Shape { lengths, steps, width, heads } = shape;
    let part = width / heads;
    let mut mixed = vec![0.0; query.len()];
    for (window, own) in lengths.iter().map(|own| *own as usize).enumerate() {
        for head in 0..heads {
            let at = |step: usize, i: usize| (window * steps + step) * width + head * part + i;
            for step in 0..own {
                let score = |other: usize| {
                    (0..part).map(|i| query[at(step, i)] * key[at(other, i)]).sum::<f64>() / (part as f64).sqrt()
                };
                let shares: Vec<f64> = (0..own).map(|other| score(other).exp()).collect();
                let sum: f64 = shares.iter().sum();
                for i in 0..part {
                    mixed[at(step, i)] = (0..own).map(|other| shares[other] / sum * value[at(other, i)]).sum();
                }
            }
        }
    }
    mixed
}
