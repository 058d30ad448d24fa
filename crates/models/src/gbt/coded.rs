//! The bins of the training rows as histograms want them: a cache line a row and 64 columns.

use rayon::prelude::*;
use stakeout_kernels::histogram::{BLOCK, Codes, LANES, encode};
use stakeout_kernels::split::Shape;

use crate::trees::binned::{Binned, Edges};

/// Rows encoded at a time: their lines stay in the cache while the columns of a block are written one by one.
const PIECE: usize = 1024;

/// Bins by blocks of columns, and the shape of their histograms.
pub(super) struct Coded {
    blocks: Vec<Vec<Codes>>,
    /// Bins of present values of each group of columns.
    present: Vec<usize>,
    bins: usize,
}

impl Coded {
    pub(super) fn of(binned: &Binned, edges: &Edges) -> Self {
        let most = edges.0.iter().map(Vec::len).max().unwrap_or(0) + 1;
        let blocks = edges.0.chunks(BLOCK).enumerate().map(|(block, columns)| {
            let mut codes = vec![Codes([0; BLOCK]); binned.rows()];
            codes.par_chunks_mut(PIECE).enumerate().for_each(|(piece, codes)| {
                let rows = piece * PIECE..piece * PIECE + codes.len();
                for place in 0..columns.len() {
                    encode(&binned.column(block * BLOCK + place)[rows.clone()], place, most as u8, codes);
                }
            });
            codes
        });
        let blocks = blocks.collect();
        let present = edges.0.chunks(LANES).map(|group| group.iter().map(Vec::len).max().unwrap_or(0) + 1).collect();
        Self { blocks, present, bins: most + 1 }
    }

    /// The rows of a block of columns.
    pub(super) fn block(&self, block: usize) -> &[Codes] {
        &self.blocks[block]
    }

    /// Groups of columns.
    pub(super) fn groups(&self) -> usize {
        self.present.len()
    }

    /// Lines of a group's histogram: most bins of present values, then one for missing values.
    pub(super) fn bins(&self) -> usize {
        self.bins
    }

    /// The shape of a group's histogram, of which some columns may be cut.
    pub(super) fn shape(&self, group: usize, columns: u8) -> Shape {
        Shape { present: self.present[group], missing: self.bins - 1, columns }
    }
}
