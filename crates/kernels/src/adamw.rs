//! One step of `AdamW` (Loshchilov and Hutter 2019, algorithm 2) over some weights, number by number.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::simd::{Level, load, parts, store};

/// The numbers of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What the gradient is multiplied by first.
    pub scale: f32,
    /// How much of the first moment stays.
    pub beta1: f32,
    /// How much of the second moment stays.
    pub beta2: f32,
    /// The learning rate, divided by what the first moment still lacks.
    pub rate: f32,
    /// What the root of the second moment is multiplied by, for what it still lacks.
    pub root: f32,
    /// Added to the root.
    pub epsilon: f32,
    /// How much of a weight stays.
    pub keep: f32,
}

/// Moves weights and moments by their gradient.
///
/// # Panics
/// When the lengths differ.
pub fn update(level: Level, step: Step, gradient: &[f32], weights: &mut [f32], first: &mut [f32], second: &mut [f32]) {
    let n = gradient.len();
    assert!(weights.len() == n && first.len() == n && second.len() == n, "two moments a weight");
    level.run(Update { step, gradient, weights, first, second });
}

struct Update<'a> {
    step: Step,
    gradient: &'a [f32],
    weights: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl WithSimd for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { step, gradient, weights, first, second } = self;
        let all = |value: f32| simd.splat_f32s(value);
        let (scale, root, epsilon, keep) = (all(step.scale), all(step.root), all(step.epsilon), all(step.keep));
        let (beta1, rest1) = (all(step.beta1), all(1.0 - step.beta1));
        let (beta2, rest2) = (all(step.beta2), all(1.0 - step.beta2));
        let rate = all(-step.rate);
        parts::<S>(
            gradient.len(),
            #[inline(always)]
            |part| {
                let g = simd.mul_f32s(scale, load(simd, gradient, part));
                let m = simd.mul_add_e_f32s(rest1, g, simd.mul_f32s(beta1, load(simd, first, part)));
                let square = simd.mul_f32s(g, g);
                let v = simd.mul_add_e_f32s(rest2, square, simd.mul_f32s(beta2, load(simd, second, part)));
                store(simd, first, part, m);
                store(simd, second, part, v);
                let below = simd.mul_add_e_f32s(simd.sqrt_f32s(v), root, epsilon);
                let move_by = simd.div_f32s(simd.mul_f32s(rate, m), below);
                let weight = simd.mul_add_e_f32s(keep, load(simd, weights, part), move_by);
                store(simd, weights, part, weight);
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::{close, exact, numbers};

    #[test]
    fn as_in_double_precision() {
        let step = Step { scale: 0.5, beta1: 0.9, beta2: 0.99, rate: 0.1, root: 1.5, epsilon: 1e-3, keep: 0.75 };
        for n in [0, 1, 7, 16, 45] {
            let (gradient, before) = (numbers(n, 1), numbers(n, 2));
            let moments = [numbers(n, 3), numbers(n, 4).into_iter().map(f32::abs).collect()];
            let mut expected = [exact(&before), exact(&moments[0]), exact(&moments[1])];
            for (i, g) in exact(&gradient).into_iter().enumerate() {
                let g = 0.5 * g;
                expected[1][i] = 0.9 * expected[1][i] + 0.1 * g;
                expected[2][i] = 0.99 * expected[2][i] + 0.01 * g * g;
                expected[0][i] = 0.75 * expected[0][i] - 0.1 * expected[1][i] / (1.5 * expected[2][i].sqrt() + 1e-3);
            }
            for level in Level::all() {
                let (mut weights, [mut first, mut second]) = (before.clone(), moments.clone());
                update(level, step, &gradient, &mut weights, &mut first, &mut second);
                for (got, expected) in [weights, first, second].iter().zip(&expected) {
                    close(got, expected, 2e-6, &format!("{n}, {level:?}"));
                }
            }
        }
    }
}
