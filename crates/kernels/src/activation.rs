//! Exponential, sigmoid and hyperbolic tangent.
//!
//! The exponential is reduced to `2^n · exp(r)` with |r| ≤ ln 2 / 2 and a polynomial of degree 6 on the rest (the scheme of
//! Cody and Waite, "Software Manual for the Elementary Functions", 1980, chapter 6; the rest of the Taylor series is below 1.3e-7 on so
//! short an interval). No branch, so that it is as fast as its multiplications.
//!
//! Errors against double precision, tested below: [`exp`] 4e-7 relative on -87..88, outside of which its argument
//! is held at those ends; [`sigmoid`] 2e-7 and [`tanh`] 4e-7 absolute, everywhere. NaN gives some number.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use std::f32::consts::LOG2_E;

use pulp::Simd;

/// 1.5 · 2^23: a float of this size has no room for a fraction, so that adding it rounds to a whole number, which then
/// stands in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// The upper bits of ln 2: few enough that a product with |n| ≤ 128 is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
/// ln 2 less its upper bits.
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `exp(x)`, with the argument held in -87..88.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let constant = |value: f32| simd.splat_f32s(value);
    let x = simd.max_f32s(simd.min_f32s(x, constant(88.0)), constant(-87.0));
    let rounded = simd.mul_add_e_f32s(x, constant(LOG2_E), constant(ROUND));
    let n = simd.sub_f32s(rounded, constant(ROUND));
    let r = simd.mul_add_e_f32s(n, constant(-LN_2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, constant(-LN_2_LOW), r);
    let mut sum = constant(1.0 / 720.0);
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = simd.mul_add_e_f32s(sum, r, constant(coefficient));
    }
    // n added to the exponent of a float between 1/2 and 2
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(sum), exponent))
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(one, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
}

/// `1 - 2 / (exp(2x) + 1)`.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (one, two) = (simd.splat_f32s(1.0), simd.splat_f32s(2.0));
    simd.sub_f32s(one, simd.div_f32s(two, simd.add_f32s(one, exp(simd, simd.add_f32s(x, x)))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulp::WithSimd;

    use super::*;
    use crate::simd::{Level, load, parts, store};

    /// A function of one number.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Function {
        /// `exp(x)`.
        Exp,
        /// `1 / (1 + exp(-x))`.
        Sigmoid,
        /// `(exp(2x) - 1) / (exp(2x) + 1)`.
        Tanh,
    }

    /// Replaces every number by its function.
    fn apply(level: Level, function: Function, row: &mut [f32]) {
        level.run(Apply { function, row });
    }

    struct Apply<'a> {
        function: Function,
        row: &'a mut [f32],
    }

    impl WithSimd for Apply<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let row = self.row;
            match self.function {
                Function::Exp => parts::<S>(
                    row.len(),
                    #[inline(always)]
                    |part| {
                        let value = exp(simd, load(simd, row, part));
                        store(simd, row, part, value);
                    },
                ),
                Function::Sigmoid => parts::<S>(
                    row.len(),
                    #[inline(always)]
                    |part| {
                        let value = sigmoid(simd, load(simd, row, part));
                        store(simd, row, part, value);
                    },
                ),
                Function::Tanh => parts::<S>(
                    row.len(),
                    #[inline(always)]
                    |part| {
                        let value = tanh(simd, load(simd, row, part));
                        store(simd, row, part, value);
                    },
                ),
            }
        }
    }

    fn check(function: Function, exact: fn(f64) -> f64, error: fn(f64, f64) -> f64, limit: f64, values: &[f32]) {
        for level in Level::all() {
            let mut row = values.to_vec();
            apply(level, function, &mut row);
            for (x, got) in values.iter().zip(row) {
                let expected = exact(f64::from(*x));
                let off = error(f64::from(got), expected);
                assert!(off <= limit, "{function:?}({x}) = {got} for {expected}, off by {off:e} ({level:?})");
            }
        }
    }

    fn check_all(values: &[f32]) {
        let held: Vec<f32> = values.iter().map(|x| x.clamp(-87.0, 88.0)).collect();
        check(Function::Exp, f64::exp, |got, expected| (got / expected - 1.0).abs(), 4e-7, &held);
        check(Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), |got, expected| (got - expected).abs(), 2e-7, values);
        check(Function::Tanh, f64::tanh, |got, expected| (got - expected).abs(), 4e-7, values);
    }

    #[test]
    fn as_in_double_precision_on_a_grid() {
        check_all(&(-900_000..=900_000).step_by(7).map(|i| i as f32 * 1e-4).collect::<Vec<_>>());
        check_all(&[f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MIN_POSITIVE, 1e-30]);
    }

    proptest! {
        #[test]
        fn as_in_double_precision(values in prop::collection::vec(-1_000_000i32..1_000_000, 0..67)) {
            check_all(&values.iter().map(|i| *i as f32 * 1.1e-4).collect::<Vec<_>>());
        }

        #[test]
        fn a_number_does_not_see_its_neighbours(values in prop::collection::vec(-1000i32..1000, 1..67)) {
            let values: Vec<f32> = values.iter().map(|i| *i as f32 * 0.01).collect();
            for level in Level::all() {
                for function in [Function::Exp, Function::Sigmoid, Function::Tanh] {
                    let mut row = values.clone();
                    apply(level, function, &mut row);
                    for (value, expected) in values.iter().zip(row) {
                        let mut alone = [*value];
                        apply(level, function, &mut alone);
                        prop_assert_eq!(alone[0].to_bits(), expected.to_bits());
                    }
                }
            }
        }
    }
}
