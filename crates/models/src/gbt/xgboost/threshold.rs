//! From thresholds of this program to `XGBoost`'s and back, exactly.

use stakeout_core::Moments;

/// The threshold of `x < t` on raw values that parts them as `scale(x) <= threshold` does; `scale` does not fall.
///
/// Where every finite value goes left, it is the largest finite number (`XGBoost`'s JSON has no infinity that other
/// readers take), so that only that number and infinity itself would go elsewhere.
pub(super) fn to_raw(threshold: f32, scale: impl Fn(f32) -> f32) -> f32 {
    let left = |x: f32| scale(x) <= threshold;
    if !left(f32::MIN) {
        return f32::MIN;
    }
    if left(f32::MAX) {
        return f32::MAX;
    }
    // among numbers in their order, by bisection: `low` goes left, `high` right
    let (mut low, mut high) = (order(f32::MIN), order(f32::MAX));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if left(number(middle)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    number(high)
}

/// What centres and scales an input, as the program computes it.
pub(super) fn scale(moments: Option<&Moments>, input: usize) -> impl Fn(f32) -> f32 {
    let (mean, deviation) = moments.map_or((0.0, 1.0), |of| (of.mean[input], of.deviation[input]));
    move |x| (x - mean) / deviation
}

/// The threshold of `x <= t` that parts values as `x < threshold` does; the largest number stands for all of them, as
/// [`to_raw`] writes it.
pub(super) fn from_raw(threshold: f32) -> f32 {
    if threshold == f32::MAX { f32::INFINITY } else { threshold.next_down() }
}

/// Place of a number among all others; both zeros have one of their own, side by side.
fn order(x: f32) -> i64 {
    let bits = x.to_bits();
    let size = i64::from(bits & !(1 << 31));
    if bits >> 31 == 1 { -size - 1 } else { size }
}

fn number(order: i64) -> f32 {
    if order < 0 { f32::from_bits((-order - 1) as u32 | 1 << 31) } else { f32::from_bits(order as u32) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_in_order() {
        let numbers = [f32::MIN, -1.0, -f32::MIN_POSITIVE, -0.0, 0.0, f32::MIN_POSITIVE, 1.0, f32::MAX];
        assert!(numbers.windows(2).all(|pair| order(pair[0]) < order(pair[1])));
        for x in numbers {
            assert_eq!(number(order(x)).to_bits(), x.to_bits());
        }
    }

    #[test]
    fn without_a_scaler_the_next_number() {
        for threshold in [-3.5, -0.0, 0.0, 1e-30, 7.0] {
            let raw = to_raw(threshold, scale(None, 0));
            assert_eq!(raw, threshold.next_up());
            assert_eq!(from_raw(raw), threshold);
        }
        assert_eq!(to_raw(f32::INFINITY, scale(None, 0)), f32::MAX);
        assert_eq!(from_raw(f32::MAX), f32::INFINITY);
        assert_eq!(to_raw(f32::NEG_INFINITY, scale(None, 0)), f32::MIN);
    }

    proptest! {
        /// Around the threshold and anywhere else, a value goes to the same side as its scaled one.
        #[test]
        fn parts_values_as_the_scaled_threshold_does(
            threshold in -4_000_000i32..4_000_000,
            mean in any::<i32>(),
            exponent in -20i32..20,
            steps in -300i64..300,
            other in any::<u32>(),
        ) {
            let threshold = threshold as f32 / 1e6;
            let of = Moments { mean: vec![mean as f32 / 1e3], deviation: vec![2f32.powi(exponent) * 1.37] };
            let scale = scale(Some(&of), 0);
            let raw = to_raw(threshold, &scale);
            let near = number((order(raw) + steps).clamp(order(f32::MIN), order(f32::MAX)));
            for x in [near, raw, raw.next_down(), f32::from_bits(other)] {
                if x.is_finite() && x != f32::MAX {
                    prop_assert_eq!(x < raw, scale(x) <= threshold, "{}", x);
                }
            }
        }
    }
}
