//! Convolutions of MiniRocket and the shares of their outputs above a bias (Dempster, Schmidt and Webb, "MiniRocket",
//! KDD 2021, sections 3.1 and 3.3).
//!
//! All 84 kernels have nine taps, of which three weigh 2 and six weigh -1. An output is therefore three times the sum
//! of three shifted copies of the series less the sum of all nine, and the latter is the same for every kernel.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::simd::Level;

/// Taps of a kernel.
pub const TAPS: usize = 9;

/// Kernels: the ways to choose three of nine taps.
pub const KERNELS: usize = 84;

/// The taps that weigh 2, in lexicographic order.
pub const POSITIONS: [[u8; 3]; KERNELS] = positions();

const fn positions() -> [[u8; 3]; KERNELS] {
    let mut all = [[0; 3]; KERNELS];
    let mut kernel = 0;
    let [mut a, mut b, mut c] = [0, 1, 2];
    while kernel < KERNELS {
        all[kernel] = [a, b, c];
        kernel += 1;
        c += 1;
        if c == TAPS as u8 {
            b += 1;
            if b == TAPS as u8 - 1 {
                a += 1;
                b = a + 1;
            }
            c = b + 1;
        }
    }
    all
}

/// Steps that a kernel reaches to each side of its middle tap.
pub fn reach(dilation: usize) -> usize {
    TAPS / 2 * dilation
}

/// One series at one dilation, ready for all kernels; its memory is used again by the next series.
#[derive(Debug, Default)]
pub struct Convolver {
    length: usize,
    dilation: usize,
    /// The series with zeros on either side, as far as a kernel reaches.
    padded: Vec<f32>,
    /// Sums of three neighbouring taps.
    triples: Vec<f32>,
    /// Sums of nine taps.
    nines: Vec<f32>,
    output: Vec<f32>,
}

impl Convolver {
    /// Takes the sum of some channels as its series: the first `length` steps of each. What lies behind them counts as
    /// little as what lies before the first step.
    ///
    /// # Panics
    /// When a channel is shorter than `length`.
    pub fn load<'a>(&mut self, channels: impl IntoIterator<Item = &'a [f32]>, length: usize, dilation: usize) {
        let reach = reach(dilation);
        (self.length, self.dilation) = (length, dilation);
        self.padded.clear();
        self.padded.resize(length + 2 * reach, 0.0);
        for channel in channels {
            for (sum, value) in self.padded[reach..reach + length].iter_mut().zip(&channel[..length]) {
                *sum += value;
            }
        }
        self.triples.resize(length + 6 * dilation, 0.0);
        self.nines.resize(length, 0.0);
        self.output.resize(length, 0.0);
        let Self { padded, triples, nines, .. } = self;
        Level::best().run(SumNine { dilation, padded, triples, nines });
    }

    /// The output of a kernel: one value a step, steps outside the series read as 0.
    ///
    /// A constant stretch gives exactly 0, because both sums round alike: twice a number is exact, and the third
    /// addend meets the same partial sum in both.
    ///
    /// # Panics
    /// When there is no such kernel.
    pub fn convolve(&mut self, kernel: usize) -> &[f32] {
        let [a, b, c] = POSITIONS[kernel].map(|tap| &self.padded[usize::from(tap) * self.dilation..][..self.length]);
        Level::best().run(Convolve { taps: [a, b, c], nines: &self.nines, out: &mut self.output });
        &self.output
    }
}

/// `out[i] = from[i] + from[i + step] + from[i + 2 step]`.
#[inline(always)]
fn sum_three(from: &[f32], step: usize, out: &mut [f32]) {
    let n = out.len();
    let terms = from[..n].iter().zip(&from[step..][..n]).zip(&from[2 * step..][..n]);
    for (out, ((a, b), c)) in out.iter_mut().zip(terms) {
        *out = (a + b) + c;
    }
}

/// For each bias the share of the values above it; 0 where there is no value.
///
/// # Panics
/// When the lengths of `biases` and `out` differ.
pub fn shares_above(values: &[f32], biases: &[f32], out: &mut [f32]) {
    assert_eq!(biases.len(), out.len(), "one share a bias");
    Level::best().run(SharesAbove { values, biases, out });
}

struct SumNine<'a> {
    dilation: usize,
    padded: &'a [f32],
    triples: &'a mut [f32],
    nines: &'a mut [f32],
}

impl WithSimd for SumNine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        sum_three(self.padded, self.dilation, self.triples);
        sum_three(self.triples, 3 * self.dilation, self.nines);
    }
}

struct Convolve<'a> {
    taps: [&'a [f32]; 3],
    nines: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [a, b, c] = self.taps;
        let taps = a.iter().zip(b).zip(c);
        for ((out, nine), ((a, b), c)) in self.out.iter_mut().zip(self.nines).zip(taps) {
            *out = 3.0 * ((a + b) + c) - nine;
        }
    }
}

struct SharesAbove<'a> {
    values: &'a [f32],
    biases: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for SharesAbove<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let total = self.values.len().max(1) as f32;
        for (bias, out) in self.biases.iter().zip(self.out) {
            let above: u32 = self.values.iter().map(|value| u32::from(value > bias)).sum();
            *out = above as f32 / total;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: nine weighted taps, in double precision.
    fn slow(series: &[f32], dilation: usize, kernel: usize) -> Vec<f64> {
        (0..series.len() as i64)
            .map(|t| {
                (0..TAPS as i64)
                    .map(|tap| {
                        let at = t + (tap - 4) * dilation as i64;
                        let value = usize::try_from(at).ok().and_then(|at| series.get(at)).copied().unwrap_or(0.0);
                        let weight = if POSITIONS[kernel].contains(&(tap as u8)) { 2.0 } else { -1.0 };
                        weight * f64::from(value)
                    })
                    .sum()
            })
            .collect()
    }

    #[test]
    fn every_three_of_nine_taps() {
        let mut all = Vec::new();
        for a in 0..9u8 {
            for b in a + 1..9 {
                all.extend((b + 1..9).map(|c| [a, b, c]));
            }
        }
        assert_eq!(all, POSITIONS);
    }

    fn values(n: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec((-1000i32..=1000).prop_map(|i| i as f32 / 128.0), n)
    }

    proptest! {
        #[test]
        fn as_the_direct_convolution(
            channels in (0usize..60).prop_flat_map(|steps| prop::collection::vec(values(steps), 1..4)),
            dilation in 1usize..12,
            cut in 0usize..20,
        ) {
            let length = channels[0].len().saturating_sub(cut);
            let sum: Vec<f32> = (0..length).map(|t| channels.iter().map(|c| c[t]).sum()).collect();
            let mut convolver = Convolver::default();
            // another series before it leaves no trace
            convolver.load([&[7.0f32; 90][..]], 90, 3);
            convolver.load(channels.iter().map(Vec::as_slice), length, dilation);
            for kernel in 0..KERNELS {
                let got = convolver.convolve(kernel);
                prop_assert_eq!(got.len(), length);
                for (got, expected) in got.iter().zip(slow(&sum, dilation, kernel)) {
                    prop_assert!((f64::from(*got) - expected).abs() < 1e-3, "{} is {}", got, expected);
                }
            }
        }

        #[test]
        fn shares_as_counted(values in values(0..50), biases in values(0..40)) {
            let mut shares = vec![9.0; biases.len()];
            shares_above(&values, &biases, &mut shares);
            for (share, bias) in shares.iter().zip(&biases) {
                let above = values.iter().filter(|value| *value > bias).count();
                prop_assert_eq!(*share, above as f32 / values.len().max(1) as f32);
            }
        }
    }

    /// Every operation rounds by itself, so that instruction sets do not differ.
    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let series: Vec<f32> = (0..151u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 7e6).collect();
        let biases = [-3.0, 0.0, 0.2, 1.5, 9.0];
        let all = |level: Level| {
            let (mut triples, mut nines) = (vec![0.0; 150 - 2 * 9], vec![0.0; 150 - 8 * 9]);
            level.run(SumNine { dilation: 9, padded: &series, triples: &mut triples, nines: &mut nines });
            let mut out = vec![0.0; nines.len()];
            let taps = [0, 18, 63].map(|from| &series[from..][..nines.len()]);
            level.run(Convolve { taps, nines: &nines, out: &mut out });
            let mut shares = [0.0; 5];
            level.run(SharesAbove { values: &out, biases: &biases, out: &mut shares });
            (out, shares)
        };
        let expected = all(Level::all()[0]);
        assert!(expected.1[1] > 0.0 && expected.1[1] < 1.0);
        for level in Level::all() {
            assert!(all(level) == expected, "{level:?}");
        }
    }

    #[test]
    fn a_constant_series_gives_zero_where_the_kernel_fits() {
        for value in [0.1f32, -3.7, 1e-20, 7e8, 0.333_333_34] {
            let mut convolver = Convolver::default();
            convolver.load([&[value; 40][..]], 40, 2);
            for kernel in 0..KERNELS {
                assert!(convolver.convolve(kernel)[8..32].iter().all(|out| *out == 0.0), "{value}, kernel {kernel}");
            }
        }
    }
}
