//! Products and distances of dense rows, in a fixed order of additions.

/// Partial sums that run side by side. Sixteen fill two vector registers of eight, and the order of additions is the
/// same on every machine.
const LANES: usize = 16;
/// Values between two looks at the limit.
const STRIDE: usize = 64;

/// Squared Euclidean distance of two rows; once it passes `limit`, some number above `limit`.
///
/// # Panics
/// When the lengths differ.
pub fn squared(a: &[f32], b: &[f32], limit: f32) -> f32 {
    assert_eq!(a.len(), b.len(), "two rows of one width");
    let mut total = 0.0;
    for (a, b) in a.chunks(STRIDE).zip(b.chunks(STRIDE)) {
        let mut sums = [0.0f32; LANES];
        let (wide_a, rest_a) = a.as_chunks::<LANES>();
        let (wide_b, rest_b) = b.as_chunks::<LANES>();
        for (a, b) in wide_a.iter().zip(wide_b) {
            for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                let difference = a - b;
                *sum += difference * difference;
            }
        }
        for (sum, (a, b)) in sums.iter_mut().zip(rest_a.iter().zip(rest_b)) {
            let difference = a - b;
            *sum += difference * difference;
        }
        total += sums.iter().sum::<f32>();
        if total > limit {
            break;
        }
    }
    total
}

/// Sum of products in double precision.
///
/// # Panics
/// When the lengths differ.
pub fn dot(weights: &[f64], row: &[f32]) -> f64 {
    assert_eq!(weights.len(), row.len(), "one weight a value");
    let mut sums = [0.0f64; LANES];
    let (wide_weights, rest_weights) = weights.as_chunks::<LANES>();
    let (wide_row, rest_row) = row.as_chunks::<LANES>();
    for (weights, row) in wide_weights.iter().zip(wide_row) {
        for (sum, (weight, value)) in sums.iter_mut().zip(weights.iter().zip(row)) {
            *sum += weight * f64::from(*value);
        }
    }
    for (sum, (weight, value)) in sums.iter_mut().zip(rest_weights.iter().zip(rest_row)) {
        *sum += weight * f64::from(*value);
    }
    sums.iter().sum()
}

/// `out += factor * row`.
///
/// # Panics
/// When the lengths differ.
pub fn add_scaled(out: &mut [f64], factor: f64, row: &[f32]) {
    assert_eq!(out.len(), row.len(), "one sum a value");
    for (out, value) in out.iter_mut().zip(row) {
        *out += factor * f64::from(*value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_the_slow_sum(pairs in prop::collection::vec((-1000i32..1000, -1000i32..1000), 0..300), limit in 0u32..4000) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().map(|(a, b)| (*a as f32 / 256.0, *b as f32 / 256.0)).unzip();
            let slow: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let fast = f64::from(squared(&a, &b, f32::INFINITY));
            prop_assert!((fast - slow).abs() <= 1e-5 * slow, "{fast} for {slow}");
            let limit = limit as f32;
            let limited = squared(&a, &b, limit);
            let is_kept = if fast <= f64::from(limit) { f64::from(limited) == fast } else { limited > limit };
            prop_assert!(is_kept, "{limited} for {fast} with the limit {limit}");
        }

        #[test]
        fn products_as_the_slow_sum(pairs in prop::collection::vec((-1000i32..1000, -1000i32..1000), 0..100)) {
            let (a, b): (Vec<f64>, Vec<f32>) = pairs.iter().map(|(a, b)| (f64::from(*a), *b as f32)).unzip();
            // whole numbers: every order of additions is exact
            prop_assert_eq!(dot(&a, &b), pairs.iter().map(|(a, b)| f64::from(a * b)).sum::<f64>());
            let mut out = a.clone();
            add_scaled(&mut out, -2.0, &b);
            prop_assert!(out.iter().zip(&pairs).all(|(out, (a, b))| *out == f64::from(a - 2 * b)));
        }
    }
}
