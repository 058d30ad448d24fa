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

// Run-time dispatch compiles a closure once per instruction set; only what is inlined into it profits.
#![allow(clippy::inline_always)]

mod block;
mod order;
mod ranges;
mod steps;
mod summary;

pub use steps::StepMeans;
pub use summary::Summariser;

use crate::samples::LANES;

/// Where the columns of some samples belong in an input: `positions[column]` of `channels`.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The channel of each column.
    pub positions: &'a [usize],
    /// Channels of the whole input.
    pub channels: usize,
}

impl Place<'_> {
    /// Writes the lanes of one column group to their places in a row of one number a channel.
    fn scatter(&self, group: usize, lanes: &[f32; LANES], row: &mut [f32]) {
        let positions = &self.positions[group * LANES..];
        for (&position, &value) in positions.iter().zip(lanes) {
            row[position] = value;
        }
    }
}
