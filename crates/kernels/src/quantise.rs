//! First and second derivatives of the loss as whole numbers, both in one word.
//!
//! Sums of whole numbers are exact: they do not depend on the order of the rows, the difference of two sums is the sum of
//! the rest, and one addition serves both derivatives. A derivative is rounded up or down at random, so that its
//! expectation is itself and the errors of many rows cancel (Shi et al., "Quantized training of gradient boosting decision
//! trees", `NeurIPS` 2022, who show that two to five bits are enough; here there are as many as fit, 15 for 65,000 rows).

/// First and second derivative of the loss of one row, or sums of them.
pub type Gradient = [f32; 2];

/// Whole numbers of steps of both derivatives: the first one, signed, in the upper half, the second one in the lower.
/// Sums are taken by `wrapping_add`; they are right while both halves stay in their range, which [`Units`] sees to.
pub type Packed = u64;

/// Steps at most. More than single precision tells apart would be for nothing.
const MOST_STEPS: usize = 1 << 22;

/// The size of one step of each derivative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Units {
    first: f64,
    second: f64,
    steps: u32,
}

impl Units {
    /// Steps as small as the sum over all of `gradients` allows: each half of a [`Packed`] stays below 2³¹.
    ///
    /// # Panics
    /// With 2³⁰ rows or more.
    pub fn of(gradients: impl ExactSizeIterator<Item = Gradient>) -> Self {
        let rows = gradients.len();
        assert!(rows < 1 << 30, "at most 2^30 rows");
        // one step above the largest number may be reached by rounding
        let steps = (i32::MAX as usize / rows.max(1) - 1).min(MOST_STEPS) as u32;
        let [first, second] = gradients.fold([0.0f32, 0.0], |[a, b], [g, h]| [a.max(g.abs()), b.max(h)]);
        let unit = |largest: f32| if largest > 0.0 { f64::from(largest) / f64::from(steps) } else { 1.0 };
        Self { first: unit(first), second: unit(second), steps }
    }

    /// A row's derivatives in steps. The halves of `dither`, uniform, decide which way each is rounded. The second one,
    /// which is positive, is at least one step: a sum of 0 means no row.
    #[inline]
    pub fn round(&self, [first, second]: Gradient, dither: u64) -> Packed {
        const UNIT: f32 = 1.0 / (1u64 << 32) as f32;
        let [up_first, up_second] = [(dither >> 32) as f32 * UNIT, dither as u32 as f32 * UNIT];
        let first = (first * (1.0 / self.first) as f32 + up_first).floor() as i32;
        let second = (second * (1.0 / self.second) as f32 + up_second) as u32;
        pack(first, second.max(1))
    }

    /// What sums stand for.
    #[inline]
    pub fn sums(&self, packed: Packed) -> [f64; 2] {
        let (first, second) = unpack(packed);
        [f64::from(first) * self.first, f64::from(second) * self.second]
    }

    /// The size of a step of the second derivative.
    #[inline]
    pub(crate) fn second(&self) -> f64 {
        self.second
    }

    /// Steps of one row at most, in either half.
    #[inline]
    pub(crate) fn steps(&self) -> u32 {
        self.steps + 1
    }
}

/// Both halves in one word.
#[inline]
pub fn pack(first: i32, second: u32) -> Packed {
    ((i64::from(first) << 32) + i64::from(second)) as u64
}

/// The two halves.
#[inline]
pub fn unpack(packed: Packed) -> (i32, u32) {
    ((packed >> 32) as i32, packed as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gradients() -> impl Strategy<Value = Vec<Gradient>> {
        let row = (-1_000_000i32..=1_000_000, 0i32..=1_000_000, 0i32..4).prop_map(|(g, h, size)| {
            let size = 10f32.powi(size - 2);
            [g as f32 * 1e-6 * size, h as f32 * 5e-7 * size + 1e-16]
        });
        prop::collection::vec(row, 1..300)
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_rows_within_a_step_a_row(rows in gradients(), dithers in prop::collection::vec(any::<u64>(), 300)) {
            let units = Units::of(rows.iter().copied());
            let packed: Vec<Packed> = rows.iter().zip(&dithers).map(|(row, dither)| units.round(*row, *dither)).collect();
            let total = packed.iter().fold(0, |sum: Packed, row| sum.wrapping_add(*row));
            for side in 0..2 {
                let exact: f64 = rows.iter().map(|row| f64::from(row[side])).sum();
                let step = [units.first, units.second][side];
                // a step for the rounding, a half for that of single precision
                let apart = (units.sums(total)[side] - exact).abs();
                prop_assert!(apart <= 1.5 * step * rows.len() as f64, "{apart} of {step}");
            }
            let halves: (i64, i64) = packed.iter().fold((0, 0), |(g, h), row| {
                let (first, second) = unpack(*row);
                assert!(second >= 1);
                (g + i64::from(first), h + i64::from(second))
            });
            let (first, second) = unpack(total);
            prop_assert_eq!(halves, (i64::from(first), i64::from(second)));
        }

        #[test]
        fn halves_come_back(first in any::<i32>(), second in any::<u32>()) {
            prop_assert_eq!(unpack(pack(first, second)), (first, second));
        }
    }

    #[test]
    fn rounding_is_right_on_average() {
        // a third of a step: nearest rounding would lose all of it
        let units =
            Units::of([[1.0f32, 1.0], [0.0, 0.0]].into_iter().cycle().take(200_000).collect::<Vec<_>>().into_iter());
        let row = [units.first as f32 / 3.0, units.second as f32 * (1.0 + 1.0 / 3.0)];
        let mut state = 1u64;
        let total = (0..100_000).fold(0, |sum: Packed, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum.wrapping_add(units.round(row, state ^ state.rotate_left(23)))
        });
        let (first, second) = unpack(total);
        assert!((f64::from(first) / 100_000.0 - 1.0 / 3.0).abs() < 0.01, "{first}");
        assert!((f64::from(second) / 100_000.0 - 4.0 / 3.0).abs() < 0.01, "{second}");
    }

    #[test]
    fn the_largest_sums_fit() {
        for rows in [1usize, 3, 1000, 3_000_000] {
            let units = Units::of(vec![[1.0f32, 1.0]; rows].into_iter());
            let (first, second) = unpack(units.round([1.0, 1.0], u64::MAX));
            assert!(i64::from(first) * rows as i64 <= i64::from(i32::MAX), "{rows}");
            assert!(i64::from(second) * rows as i64 <= i64::from(i32::MAX), "{rows}");
        }
    }
}
