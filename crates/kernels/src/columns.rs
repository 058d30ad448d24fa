//! Columns of a batch that are zero throughout, which a product can do without.
//!
//! Half of what a net is fed says how much of a channel was missing, which is often nothing.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::simd::{Level, load, parts, store};

/// Zero columns between two others that are multiplied with them: a product of a few columns is not worth its start.
const GAP: usize = 8;

/// The columns that are not zero in every row, in order; columns with few between them are one range.
pub(crate) fn used_columns(level: Level, x: &[f32], width: usize, sizes: &mut Vec<f32>, used: &mut Vec<Range<usize>>) {
    sizes.clear();
    sizes.resize(width, 0.0);
    // most often a few rows show that no column is left out
    let mut rest = x;
    let mut rows = 1;
    while !rest.is_empty() && sizes.contains(&0.0) {
        let (some, others) = rest.split_at(rest.len().min(rows * width));
        level.run(Sizes { x: some, sizes });
        rest = others;
        rows *= 4;
    }
    used.clear();
    let mut end = 0;
    // a column with NaN in it has a size that is not zero
    while let Some(gap) = sizes[end..].iter().position(|size| *size != 0.0) {
        let start = end + gap;
        end = start + sizes[start..].iter().position(|size| *size == 0.0).unwrap_or(width - start);
        match used.last_mut() {
            Some(last) if start < last.end + GAP => last.end = end,
            _ => used.push(start..end),
        }
    }
}

/// Sums of absolute values by column.
struct Sizes<'a> {
    x: &'a [f32],
    sizes: &'a mut [f32],
}

impl WithSimd for Sizes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, sizes } = self;
        let width = sizes.len();
        for row in x.chunks_exact(width) {
            parts::<S>(
                width,
                #[inline(always)]
                |part| {
                    let sum = simd.add_f32s(load(simd, sizes, part), simd.abs_f32s(load(simd, row, part)));
                    store(simd, sizes, part, sum);
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_left_out_is_zero_and_nothing_is_left_out_in_vain(
            rows in 0usize..5,
            filled in prop::collection::vec(prop::bool::weighted(0.2), 1..90),
            bad in 0usize..3,
        ) {
            let width = filled.len();
            let value = [1e-30, f32::NAN, -5.0][bad];
            let x: Vec<f32> =
                (0..rows * width).map(|at| if filled[at % width] && at / width == rows / 2 { value } else { 0.0 }).collect();
            for level in Level::all() {
                let mut used = vec![];
                used_columns(level, &x, width, &mut vec![], &mut used);
                let inside = |column: &usize| used.iter().any(|range| range.contains(column));
                let needed: Vec<usize> = (0..width).filter(|column| rows > 0 && filled[*column]).collect();
                prop_assert!(needed.iter().all(inside), "{used:?}");
                for range in &used {
                    prop_assert!(needed.contains(&range.start) && needed.contains(&(range.end - 1)));
                }
                prop_assert!(used.windows(2).all(|pair| pair[0].end + GAP <= pair[1].start));
            }
        }
    }
}
