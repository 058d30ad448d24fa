//! The window kernel: samples of one clock → statistics and step means of overlapping windows.
//!
//! One pass. Rows are accumulated once into blocks, and blocks are merged into windows: a block is as long as the
//! greatest common divisor of stride and length, so that every window is a run of whole blocks. Where that does not
//! pay (a stride that does not overlap, blocks that hold hardly a row) each window is a block of its own; the code
//! is the same, only the row ranges differ.
//!
//! Sums are kept in `f64`, of values shifted by the first one observed in the block, so that a small deviation on a
//! large level survives (Chan, Golub and Le Veque 1983, "Algorithms for computing the sample variance", section 3). A
//! value that is NaN or infinite is not observed. Every block first takes the path for complete rows; its sums tell
//! whether that was right.
//!
//! Operations on a lane never depend on the width of the registers, and no fused multiply-add is used: results are the
//! same bits on every instruction set.

// Run-time dispatch compiles `with_simd` once per instruction set; only what is inlined into it profits.
#![allow(clippy::inline_always)]
// Several arrays of lanes are walked side by side, all by the same lane number.
#![allow(clippy::needless_range_loop)]

mod block;
mod order;
mod ranges;
mod steps;
mod summary;

pub use steps::StepMeans;
pub use summary::Summariser;

use pulp::{Simd, WithSimd};

use crate::samples::LANES;

/// Runs `op` with the widest instructions that pay: AVX2 where the processor has it. AVX-512 was measured and is a tenth
/// slower here.
fn dispatch(op: impl WithSimd<Output = ()>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return Simd::vectorize(avx2, op);
    }
    pulp::Arch::new().dispatch(op);
}

/// Where the columns of some samples belong in an input.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    positions: &'a [usize],
    channels: usize,
    /// Whether positions ascend, so that eight of them stand together when the last is seven after the first.
    ascending: bool,
}

impl<'a> Place<'a> {
    /// Columns at `positions` of an input of `channels` channels.
    ///
    /// # Panics
    /// When a position is not a channel.
    pub fn new(positions: &'a [usize], channels: usize) -> Self {
        assert!(positions.iter().all(|position| *position < channels), "positions are channels");
        Self { positions, channels, ascending: positions.is_sorted_by(|a, b| a < b) }
    }

    /// Writes the lanes of one column group to their places in a row of one number a channel.
    #[inline(always)]
    fn scatter(&self, group: usize, lanes: &[f32; LANES], row: &mut [f32]) {
        let positions = &self.positions[group * LANES..];
        // Channels of one source usually stand together: one store instead of eight.
        if positions.len() >= LANES && positions[LANES - 1] == positions[0] + LANES - 1 && self.ascending {
            row[positions[0]..positions[0] + LANES].copy_from_slice(lanes);
        } else {
            for (&position, &value) in positions.iter().zip(lanes) {
                row[position] = value;
            }
        }
    }
}
