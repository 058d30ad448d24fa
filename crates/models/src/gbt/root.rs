//! The root histograms of all trees of a round in one pass over the bins: they share their rows.

use rayon::prelude::*;
use stakeout_kernels::bins::MISSING;
use stakeout_kernels::histogram::{LANES, Line, fill_trees};
use stakeout_kernels::quantise::Packed;
use stakeout_kernels::simd::Level;

use super::coded::Coded;
use crate::trees::binned::Binned;

/// Rows taken at a time: their lines (1 MiB) stay in the second-level cache from column to column.
const PIECE: usize = 16_384;
/// Columns at a time: two tables of 16 KiB fill a first-level cache.
const COLUMNS: usize = 2;

/// What each of up to eight trees adds for each of `rows`.
pub(super) fn lines(trees: &[&[Packed]], rows: &[u32], out: &mut Vec<Line>) {
    out.resize(rows.len(), Line::ZERO);
    rows.par_chunks(PIECE).zip(out.par_chunks_mut(PIECE)).for_each(|(rows, out)| {
        for (row, line) in rows.iter().zip(out) {
            for (lane, tree) in line.0.iter_mut().zip(trees) {
                *lane = tree[*row as usize];
            }
        }
    });
}

/// Fills the histograms of the trees that `lines` was made for.
pub(super) fn histograms(binned: &Binned, coded: &Coded, rows: &[u32], lines: &[Line], out: &mut [&mut Vec<Line>]) {
    let bins = coded.bins();
    let mut groups: Vec<Vec<&mut [Line]>> = (0..coded.groups()).map(|_| Vec::with_capacity(out.len())).collect();
    for histograms in out {
        histograms.resize(coded.groups() * bins, Line::ZERO);
        for (group, own) in groups.iter_mut().zip(histograms.chunks_exact_mut(bins)) {
            group.push(own);
        }
    }
    groups.into_par_iter().enumerate().with_max_len(1).for_each(|(group, mut out)| {
        let columns = group * LANES..binned.columns().min((group + 1) * LANES);
        let mut tables = vec![[Line::ZERO; 256]; LANES];
        for (rows, lines) in rows.chunks(PIECE).zip(lines.chunks(PIECE)) {
            for (at, tables) in columns.clone().step_by(COLUMNS).zip(tables.as_chunks_mut::<COLUMNS>().0) {
                // behind the last column its own bins are summed once more and left alone
                let pair = std::array::from_fn(|i| binned.column((at + i).min(columns.end - 1)));
                fill_trees(Level::best(), pair, rows, lines, tables);
            }
        }
        for (bin, line) in (0..bins).map(|bin| (if bin + 1 == bins { usize::from(MISSING) } else { bin }, bin)) {
            for (tree, out) in out.iter_mut().enumerate() {
                out[line] =
                    Line(std::array::from_fn(|lane| if lane < columns.len() { tables[lane][bin].0[tree] } else { 0 }));
            }
        }
    });
}
