//! Sums of derivatives per bin.
//!
//! Columns are taken in groups of eight. A [`Line`] holds the sums of one bin of the eight columns side by side: it is as
//! long as a cache line, and what is done to all columns of a group is done by vector instructions. The bins of the rows
//! lie likewise, a [`Codes`] a row and 64 columns, so that a row of a node costs one cache line whichever columns are
//! looked at.

#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::quantise::Packed;
use crate::simd::Level;

/// Columns of a group.
pub const LANES: usize = 8;
/// Columns of a [`Codes`].
pub const BLOCK: usize = 64;
/// Groups of a [`Codes`].
pub const GROUPS: usize = BLOCK / LANES;

/// Eight sums side by side: of a bin in the columns of a group, or of eight trees in a bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(align(64))]
pub struct Line(pub [Packed; LANES]);

impl Line {
    /// No row.
    pub const ZERO: Self = Self([0; LANES]);

    /// Sums of the rows of both.
    #[must_use]
    #[inline]
    pub fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }

    /// Sums of the rows of this one without those of the other.
    #[must_use]
    #[inline]
    pub fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].wrapping_sub(other.0[lane])))
    }
}

/// The bins of one row in 64 neighbouring columns.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Codes(pub [u8; BLOCK]);

/// Writes a column into its place in the codes of a block of columns; `missing` takes the place of
/// [`crate::bins::MISSING`], so that the bins of a histogram follow each other.
///
/// # Panics
/// When `place` is not below 64 or the lengths differ.
pub fn encode(column: &[u8], place: usize, missing: u8, codes: &mut [Codes]) {
    assert!(place < BLOCK && column.len() == codes.len(), "a row each");
    for (bin, codes) in column.iter().zip(codes) {
        codes.0[place] = if *bin == crate::bins::MISSING { missing } else { *bin };
    }
}

/// Adds some rows to the histograms of neighbouring groups of columns: `packed[i]` belongs to `rows[i]`. `B` is the room
/// for bins, a power of two; the first of `tables` is that of group `first` of the block. `K` groups at a time is fastest,
/// fewer are summed one by one.
///
/// # Panics
/// When the lengths differ, a row is out of range, or the groups reach over the end of the block.
pub fn fill<const B: usize, const K: usize>(
    codes: &[Codes],
    first: usize,
    rows: &[u32],
    packed: &[Packed],
    tables: &mut [[Line; B]],
) {
    if let Ok(tables) = <&mut [[Line; B]; K]>::try_from(&mut *tables) {
        return fill_exactly(codes, first, rows, packed, tables);
    }
    for (i, table) in tables.iter_mut().enumerate() {
        fill_exactly(codes, first + i, rows, packed, std::array::from_mut(table));
    }
}

fn fill_exactly<const B: usize, const K: usize>(
    codes: &[Codes],
    first: usize,
    rows: &[u32],
    packed: &[Packed],
    tables: &mut [[Line; B]; K],
) {
    const { assert!(B.is_power_of_two() && B <= 256, "room for 2^n bins") };
    assert_eq!(rows.len(), packed.len(), "one entry a row");
    for (i, (row, packed)) in rows.iter().zip(packed).enumerate() {
        if let Some(later) = rows.get(i + AHEAD) {
            fetch(codes, *later as usize);
        }
        let own: &[[u8; LANES]] = codes[*row as usize].0.as_chunks().0;
        let own: &[[u8; LANES]; K] = own[first..first + K].try_into().expect("as many groups");
        for (table, own) in tables.iter_mut().zip(own) {
            for (lane, bin) in own.iter().enumerate() {
                // bins fit their room: this cuts nothing off, and no bound is left to check
                let sum = &mut table[usize::from(*bin) & (B - 1)].0[lane];
                *sum = sum.wrapping_add(*packed);
            }
        }
    }
}

/// Rows whose codes are asked for ahead of their turn: the rows of a node are far apart, so that the processor does not
/// see by itself which come next, and memory answers after the time of about this many. Worth a third of the time.
const AHEAD: usize = 12;

/// Asks for the codes of a row to be brought into the cache.
#[inline(always)]
#[allow(unsafe_code)]
fn fetch(codes: &[Codes], row: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(codes) = codes.get(row) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE, to which the instruction belongs, is part of every x86-64 processor, and the pointer is that of a
        // live reference. A prefetch reads nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(codes).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (codes, row);
}

/// Adds rows to histograms of `K` columns for eight trees at once: `lines[i]` holds what each tree adds for `rows[i]`, whose
/// bin is `columns[k][rows[i]]`. One vector addition serves eight trees; their roots share rows and bins.
///
/// # Panics
/// When the lengths differ or a row is out of range.
pub fn fill_trees<const K: usize>(
    level: Level,
    columns: [&[u8]; K],
    rows: &[u32],
    lines: &[Line],
    tables: &mut [[Line; 256]; K],
) {
    level.run(FillTrees { columns, rows, lines, tables });
}

struct FillTrees<'a, const K: usize> {
    columns: [&'a [u8]; K],
    rows: &'a [u32],
    lines: &'a [Line],
    tables: &'a mut [[Line; 256]; K],
}

impl<const K: usize> WithSimd for FillTrees<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { columns, rows, lines, tables } = self;
        assert_eq!(rows.len(), lines.len(), "one line a row");
        for (row, line) in rows.iter().zip(lines) {
            for (table, column) in tables.iter_mut().zip(columns) {
                let sum = &mut table[usize::from(column[*row as usize])];
                *sum = sum.plus(*line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bins::MISSING;
    use crate::quantise::{pack, unpack};

    const ROOM: usize = 32;

    #[derive(Debug)]
    struct Data {
        /// Row by row, all columns of a block.
        bins: Vec<[u8; BLOCK]>,
        rows: Vec<u32>,
        packed: Vec<Packed>,
    }

    fn data() -> impl Strategy<Value = Data> {
        let bin = prop_oneof![8 => 0..ROOM as u8 - 1, 1 => Just(MISSING)];
        let bins =
            prop::collection::vec(prop::collection::vec(bin, BLOCK).prop_map(|row| row.try_into().unwrap()), 1..60);
        let picks = prop::collection::vec((any::<prop::sample::Index>(), -(1i32 << 20)..1 << 20, 0u32..1 << 20), 0..90);
        (bins, picks).prop_map(|(bins, picks)| Data {
            rows: picks.iter().map(|(row, ..)| row.index(bins.len()) as u32).collect(),
            packed: picks.iter().map(|(_, first, second)| pack(*first, *second)).collect(),
            bins,
        })
    }

    /// Sums of both halves of a column, one row at a time; missing values in the last bin.
    fn slow(data: &Data, column: usize, weights: &[Packed]) -> Vec<(i64, i64)> {
        let mut out = vec![(0, 0); ROOM];
        for (row, packed) in data.rows.iter().zip(weights) {
            let bin = data.bins[*row as usize][column];
            let (first, second) = unpack(*packed);
            let sum = &mut out[if bin == MISSING { ROOM - 1 } else { usize::from(bin) }];
            *sum = (sum.0 + i64::from(first), sum.1 + i64::from(second));
        }
        out
    }

    fn lane<const B: usize>(table: &[Line; B], lane: usize) -> Vec<(i64, i64)> {
        let sums = table.iter().map(|line| unpack(line.0[lane]));
        sums.map(|(first, second)| (i64::from(first), i64::from(second))).collect()
    }

    fn codes(data: &Data) -> Vec<Codes> {
        let mut codes = vec![Codes([0; BLOCK]); data.bins.len()];
        for column in 0..BLOCK {
            let bins: Vec<u8> = data.bins.iter().map(|row| row[column]).collect();
            encode(&bins, column, ROOM as u8 - 1, &mut codes);
        }
        codes
    }

    proptest! {
        #[test]
        fn as_the_slow_sum(data in data(), first in 0usize..=GROUPS, groups in 0usize..=GROUPS) {
            let groups = groups.min(GROUPS - first);
            let mut tables = vec![[Line::ZERO; ROOM]; groups];
            fill::<ROOM, 2>(&codes(&data), first, &data.rows, &data.packed, &mut tables);
            for column in 0..groups * LANES {
                let expected = slow(&data, first * LANES + column, &data.packed);
                prop_assert_eq!(lane(&tables[column / LANES], column % LANES), expected);
            }
        }

        #[test]
        fn eight_trees_at_once_as_one_by_one(data in data(), column in 0usize..BLOCK - 1) {
            let columns: [Vec<u8>; 2] = [0, 1].map(|i| data.bins.iter().map(|row| row[column + i]).collect());
            let tree = |tree: u32| data.packed.iter().map(move |packed| packed.rotate_left(tree * 3) >> 8 & !(0xff << 24));
            let lines: Vec<Line> = (0..data.rows.len())
                .map(|row| Line(std::array::from_fn(|i| tree(i as u32).nth(row).unwrap())))
                .collect();
            for level in Level::all() {
                let mut tables = vec![[Line::ZERO; 256]; 2];
                let pair = tables.first_chunk_mut().unwrap();
                fill_trees(level, [&columns[0], &columns[1]], &data.rows, &lines, pair);
                for (i, table) in tables.iter().enumerate() {
                    for own in 0..LANES {
                        let expected = slow(&data, column + i, &tree(own as u32).collect::<Vec<_>>());
                        let mut sums = lane(table, own);
                        sums[ROOM - 1] = sums[usize::from(MISSING)];
                        prop_assert_eq!(&sums[..ROOM], &expected);
                    }
                }
            }
        }
    }

    #[test]
    fn what_one_child_leaves_is_the_other() {
        let whole = Line(std::array::from_fn(|lane| pack(5 - 3 * lane as i32, 100 + lane as u32)));
        let one = Line(std::array::from_fn(|lane| pack(lane as i32 - 70, 40)));
        let other = whole.minus(one);
        assert_eq!(other.0.map(unpack), std::array::from_fn(|lane| (75 - 4 * lane as i32, 60 + lane as u32)));
        assert_eq!(one.plus(other), whole);
    }
}
