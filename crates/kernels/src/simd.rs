//! Instruction sets, found at run time.
//!
//! A kernel is written once over `pulp::Simd` and compiled for every set: AVX-512, AVX2 with FMA, NEON, and portable code.
//! Its public function takes the [`Level`] first, so that tests and benches run each of them on one machine. Results of
//! one level are the same on every machine that has it; two levels differ in the last bits, where one of them fuses a
//! product with its sum and the other does not.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Arch, Simd, WithSimd};

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy)]
pub struct Level(Arch);

impl Level {
    /// The widest one. Looked up once a process; asking again costs a load.
    pub fn best() -> Self {
        Self(Arch::new())
    }

    /// All of them, the portable one first.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self(Arch::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(|level| Self(Arch::V3(level))));
            all.extend(pulp::x86::V4::try_new().map(|level| Self(Arch::V4(level))));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(pulp::aarch64::Neon::try_new().map(|level| Self(Arch::Neon(level))));
        all
    }

    /// Numbers in one of its vectors.
    #[cfg(test)]
    fn lanes(self) -> usize {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;

            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        self.run(Lanes)
    }

    /// Runs a kernel as compiled for this level.
    #[inline]
    pub(crate) fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        self.0.dispatch(op)
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::best()
    }
}

/// Some neighbouring numbers of a row: one vector, or what is left of the row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Where it begins.
    pub(crate) at: usize,
    /// How many numbers it holds.
    pub(crate) len: usize,
}

/// Walks over a row of a width, vector by vector; the last part may be shorter.
#[inline(always)]
pub(crate) fn parts<S: Simd>(width: usize, mut each: impl FnMut(Part)) {
    let whole = width - width % S::F32_LANES;
    for at in (0..whole).step_by(S::F32_LANES) {
        each(Part { at, len: S::F32_LANES });
    }
    if whole < width {
        each(Part { at: whole, len: width - whole });
    }
}

/// A part of a row as a vector; lanes behind a short part hold 0.
///
/// # Panics
/// When the row ends before the part.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, row: &[f32], part: Part) -> S::f32s {
    let numbers = &row[part.at..part.at + part.len];
    if part.len == S::F32_LANES { S::as_simd_f32s(numbers).0[0] } else { simd.partial_load_f32s(numbers) }
}

/// Writes a vector into a part of a row; lanes behind a short part are dropped.
///
/// # Panics
/// When the row ends before the part.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, row: &mut [f32], part: Part, vector: S::f32s) {
    let numbers = &mut row[part.at..part.at + part.len];
    if part.len == S::F32_LANES {
        S::as_mut_simd_f32s(numbers).0[0] = vector;
    } else {
        simd.partial_store_f32s(numbers, vector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_level_is_among_all_and_the_widest() {
        let lanes: Vec<usize> = Level::all().into_iter().map(Level::lanes).collect();
        assert_eq!(lanes[0], 1);
        assert_eq!(lanes.iter().max(), Some(&Level::best().lanes()));
    }

    #[test]
    fn parts_cover_a_row_once() {
        struct Double<'a>(&'a mut [f32]);
        impl WithSimd for Double<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                parts::<S>(
                    self.0.len(),
                    #[inline(always)]
                    |part| {
                        let row = load(simd, self.0, part);
                        store(simd, self.0, part, simd.add_f32s(row, row));
                    },
                );
            }
        }
        for level in Level::all() {
            for width in 0..70 {
                let mut row: Vec<f32> = (0..width).map(|i| i as f32).collect();
                level.run(Double(&mut row));
                assert!(row.iter().enumerate().all(|(i, value)| *value == 2.0 * i as f32), "{level:?}: {row:?}");
            }
        }
    }
}
