//! Histograms and best cuts of two siblings, a few columns at a time.

use rayon::prelude::*;
use stakeout_kernels::histogram::{GROUPS, LANES, Line, fill};
use stakeout_kernels::quantise::Packed;
use stakeout_kernels::simd::Level;
use stakeout_kernels::split::{Cut, Node, best_cuts};

use super::coded::Coded;

/// Histograms of fewer additions than this are not worth waking other threads for.
const PARALLEL: usize = 1 << 18;

/// Two siblings, of which the rows of the first are summed.
pub(super) struct Siblings<'a> {
    pub(super) coded: &'a Coded,
    pub(super) level: Level,
    /// Which columns of each group may be cut, a bit each.
    pub(super) columns: &'a [u8],
    pub(super) rows: &'a [u32],
    /// One entry a row of `rows`.
    pub(super) own: &'a [Packed],
    /// `None` where a sibling must be a leaf.
    pub(super) scans: [Option<&'a Node>; 2],
}

impl Siblings<'_> {
    /// The best cut of each. `rest` holds the parent's histograms; where `child` is given, the two become those of the
    /// siblings.
    pub(super) fn cuts(&self, rest: &mut [Line], child: Option<&mut [Line]>) -> [Option<Cut>; 2] {
        // the tables of the groups that are summed together take 32 KiB, a first-level cache
        match self.coded.bins() {
            ..=64 => self.all::<64, 8>(rest, child),
            65..=128 => self.all::<128, 4>(rest, child),
            _ => self.all::<256, 2>(rest, child),
        }
    }

    fn all<const B: usize, const K: usize>(&self, rest: &mut [Line], child: Option<&mut [Line]>) -> [Option<Cut>; 2] {
        let lines = K * self.coded.bins();
        let parallel = self.rows.len() * self.columns.len() * LANES >= PARALLEL;
        let better = |a: [Option<Cut>; 2], b: [Option<Cut>; 2]| [0, 1].map(|side| better(a[side], b[side]));
        match (child, parallel) {
            (None, false) => (0..)
                .zip(rest.chunks_mut(lines))
                .map(|(part, rest)| self.part::<B, K>(part, rest, None))
                .fold([None; 2], better),
            (Some(child), false) => (0..)
                .zip(rest.chunks_mut(lines).zip(child.chunks_mut(lines)))
                .map(|(part, (rest, child))| self.part::<B, K>(part, rest, Some(child)))
                .fold([None; 2], better),
            (None, true) => rest
                .par_chunks_mut(lines)
                .enumerate()
                .map(|(part, rest)| self.part::<B, K>(part, rest, None))
                .reduce(|| [None; 2], better),
            (Some(child), true) => rest
                .par_chunks_mut(lines)
                .zip(child.par_chunks_mut(lines))
                .enumerate()
                .map(|(part, (rest, child))| self.part::<B, K>(part, rest, Some(child)))
                .reduce(|| [None; 2], better),
        }
    }

    /// The best cuts on up to `K` groups of columns, which are summed and searched while they are in the first-level cache.
    #[allow(clippy::large_stack_arrays)] // 32 KiB, see `cuts`
    fn part<const B: usize, const K: usize>(
        &self,
        part: usize,
        rest: &mut [Line],
        mut child: Option<&mut [Line]>,
    ) -> [Option<Cut>; 2] {
        let bins = self.coded.bins();
        let first = part * K;
        let mut tables = [[Line::ZERO; B]; K];
        let tables = &mut tables[..rest.len() / bins];
        fill::<B, K>(self.coded.block(first / GROUPS), first % GROUPS, self.rows, self.own, tables);
        let mut best = [None; 2];
        for (i, (table, rest)) in tables.iter().zip(rest.chunks_exact_mut(bins)).enumerate() {
            let (group, table) = (first + i, &table[..bins]);
            let shape = self.coded.shape(group, self.columns[group]);
            let cuts = best_cuts(self.level, self.scans, table, rest, child.is_some(), shape);
            if let Some(child) = &mut child {
                child[i * bins..(i + 1) * bins].copy_from_slice(table);
            }
            for (best, cut) in best.iter_mut().zip(cuts) {
                *best = better(*best, cut.map(|cut| Cut { column: cut.column + group * LANES, ..cut }));
            }
        }
        best
    }
}

fn better(a: Option<Cut>, b: Option<Cut>) -> Option<Cut> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.better(b)),
        (a, b) => a.or(b),
    }
}
