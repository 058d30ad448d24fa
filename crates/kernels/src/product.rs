//! Products of small dense matrices, alone or added to something, row-major, one thread.
//!
//! A tile of `c` stays in registers while one row of `b` after another is multiplied into it. Every number of `c` is one chain
//! of multiply-adds along the inner dimension, from its start in order: it does not depend on how many other rows and columns
//! there are, nor on how they were tiled.

#![allow(unsafe_code)] // loads and stores at places that were checked once for the whole product
#![allow(clippy::inline_always)] // vector code must be compiled as part of the function that turns the instruction set on

use pulp::{Simd, WithSimd};

use crate::simd::Level;

/// A matrix read through strides: the number in row `i` and column `j` is `values[i * row + j * column]`.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// From a row to the next.
    pub row: usize,
    /// From a column to the next.
    pub column: usize,
}

impl<'a> Strided<'a> {
    /// Rows of a width, one after another.
    pub fn rows(values: &'a [f32], width: usize) -> Self {
        Self { values, row: width, column: 1 }
    }

    /// The transposed matrix, in place.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// Sizes of a product: `c` is `rows × columns`, `a` is `rows × inner`, `b` is `inner × columns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows of `a` and `c`.
    pub rows: usize,
    /// Columns of `b` and `c`.
    pub columns: usize,
    /// Columns of `a`, rows of `b`.
    pub inner: usize,
}

/// What a product is added to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start<'a> {
    /// Nothing: what `c` holds does not count.
    Zero,
    /// What `c` holds.
    Held,
    /// Rows of their own, so many numbers apart; with 0 every row of `c` starts from the same.
    Rows(&'a [f32], usize),
}

/// `c = a · b`, `c += a · b` or `c = start + a · b`. `b` and `c` lie in rows, `b_row` and `c_row` numbers apart; numbers of `c`
/// between its rows
/// are left alone.
///
/// # Panics
/// When a matrix, or what is started from, ends before its last number, or `c_row` is less than the columns.
pub fn multiply(
    level: Level,
    size: Size,
    a: Strided<'_>,
    (b, b_row): (&[f32], usize),
    (c, c_row): (&mut [f32], usize),
    start: Start<'_>,
) {
    level.run(Call(Product { size, a, b, b_row, c, c_row, start }));
}

/// Writes the transpose of `from` (`rows × columns`, in rows) to `to`, in rows.
///
/// # Panics
/// When a slice has another length.
pub fn transpose(from: &[f32], [rows, columns]: [usize; 2], to: &mut [f32]) {
    assert_eq!(to.len(), rows * columns, "the same numbers");
    transpose_rows(from, [rows, columns], (to, rows));
}

/// The same, to rows that are `to_row` numbers apart; numbers between them are left alone.
///
/// # Panics
/// When `from` has another length, or `to` ends before its last number.
pub fn transpose_rows(from: &[f32], [rows, columns]: [usize; 2], (to, to_row): (&mut [f32], usize)) {
    const BLOCK: usize = 8;
    assert_eq!(from.len(), rows * columns, "a matrix of those sizes");
    assert!(to_row >= rows, "rows that do not overlap");
    let (whole_rows, whole_columns) = (rows - rows % BLOCK, columns - columns % BLOCK);
    for i in (0..whole_rows).step_by(BLOCK) {
        for j in (0..whole_columns).step_by(BLOCK) {
            let block: [[f32; BLOCK]; BLOCK] = std::array::from_fn(|row| {
                from[(i + row) * columns + j..][..BLOCK].try_into().expect("a block's numbers")
            });
            for column in 0..BLOCK {
                let turned: [f32; BLOCK] = std::array::from_fn(|row| block[row][column]);
                to[(j + column) * to_row + i..][..BLOCK].copy_from_slice(&turned);
            }
        }
    }
    let mut one_by_one = |i: usize, j: usize| to[j * to_row + i] = from[i * columns + j];
    (0..whole_rows).for_each(|i| (whole_columns..columns).for_each(|j| one_by_one(i, j)));
    (whole_rows..rows).for_each(|i| (0..columns).for_each(|j| one_by_one(i, j)));
}

/// A product inside of other vector code: call [`Product::run`].
pub(crate) struct Product<'a> {
    pub(crate) size: Size,
    pub(crate) a: Strided<'a>,
    pub(crate) b: &'a [f32],
    pub(crate) b_row: usize,
    pub(crate) c: &'a mut [f32],
    pub(crate) c_row: usize,
    pub(crate) start: Start<'a>,
}

impl Product<'_> {
    /// The product as a function of its own: one copy an instruction set, however many callers there are.
    #[inline(never)]
    pub(crate) fn run<S: Simd>(self, simd: S) {
        simd.vectorize(self);
    }
}

struct Call<'a>(Product<'a>);

impl WithSimd for Call<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run(simd);
    }
}

/// Inner steps that are made before the next columns: a slab of `b` of four vectors a row stays in the first cache.
const SLAB: usize = 96;

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { size: Size { rows, columns, inner }, a, b, b_row, c, c_row, start } = self;
        if rows == 0 || columns == 0 {
            return;
        }
        assert!(c_row >= columns && fits(c.len(), [rows, columns], [c_row, 1]), "c holds all its rows");
        if let Start::Rows(from, from_row) = start {
            assert!(fits(from.len(), [rows, columns], [from_row, 1]), "a start for every row");
        }
        if inner == 0 {
            for (i, row) in c.chunks_mut(c_row).take(rows).enumerate() {
                match start {
                    Start::Zero => row[..columns].fill(0.0),
                    Start::Held => {}
                    Start::Rows(from, from_row) => row[..columns].copy_from_slice(&from[i * from_row..][..columns]),
                }
            }
            return;
        }
        assert!(fits(a.values.len(), [rows, inner], [a.row, a.column]), "a holds all its numbers");
        assert!(fits(b.len(), [inner, columns], [b_row, 1]), "b holds all its rows");

        let c = c.as_mut_ptr();
        let slabs = inner.div_ceil(SLAB);
        for slab in 0..slabs {
            let [from, to] = [slab, slab + 1].map(|slab| begin(slab, inner, slabs));
            let job = Slab {
                rows,
                inner: to - from,
                // SAFETY: `from` is below `inner`, whose last column and row `fits` found in their slices.
                a: unsafe { a.values.as_ptr().add(from * a.column) },
                a_row: a.row,
                a_column: a.column,
                b: &b[from * b_row..],
                b_row,
                c,
                c_row,
                from: match start {
                    Start::Zero if slab == 0 => None,
                    Start::Rows(rows, row) if slab == 0 => Some((rows.as_ptr(), row)),
                    _ => Some((c.cast_const(), c_row)),
                },
            };
            // SAFETY: `fits` found the numbers of all rows and columns in their slices, of which a slab is a part.
            unsafe { job.run(simd, columns) };
        }
    }
}

/// Whether the last number of a matrix that is not empty lies in a slice.
#[inline(always)]
fn fits(len: usize, [rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> bool {
    (rows - 1).saturating_mul(row).saturating_add((columns - 1).saturating_mul(column)) < len
}

/// A product over some of the inner steps.
struct Slab<'a> {
    rows: usize,
    inner: usize,
    a: *const f32,
    a_row: usize,
    a_column: usize,
    /// From its first row to the end of the whole slice.
    b: &'a [f32],
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    /// Where the sums start from, and from a row of that to the next.
    from: Option<(*const f32, usize)>,
}

/// Where part `at` of `parts` almost equal ones of `all` begins, however many there are: the obvious `at * all / parts` would
/// overflow.
fn begin(at: usize, all: usize, parts: usize) -> usize {
    at * (all / parts) + at.min(all % parts)
}

/// Columns of `c`: how many vectors are loaded, and how many numbers of the last one count.
#[derive(Clone, Copy)]
struct Columns {
    from: usize,
    last: usize,
}

impl Slab<'_> {
    /// # Safety
    /// `a`, `b` and `c` hold `rows × inner`, `inner × columns` and `rows × columns` numbers at their strides, and so does what
    /// the sums start from; `inner > 0`, and nobody else writes to `c`.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, simd: S, columns: usize) {
        let lanes = S::F32_LANES;
        let mut from = 0;
        while from < columns {
            let left = columns - from;
            // one row alone fills the pipeline with more vectors of it
            let most = if self.rows == 1 { 8 } else { vectors::<S>() };
            let count = if left >= lanes * most { most } else { left.div_ceil(lanes).min(vectors::<S>()) };
            let strip = Columns { from, last: (left - (count - 1) * lanes).min(lanes) };
            // SAFETY: the caller's; `strip` ends at or before `columns`.
            unsafe {
                match count {
                    1 => self.strip::<S, 1>(simd, strip),
                    2 => self.strip::<S, 2>(simd, strip),
                    3 if vectors::<S>() == 4 => self.strip::<S, 3>(simd, strip),
                    4 if vectors::<S>() == 4 => self.strip::<S, 4>(simd, strip),
                    _ => self.tile::<S, 1, 8>(simd, 0, strip),
                }
            }
            from += count * lanes;
        }
    }

    /// Some columns of all rows.
    ///
    /// # Safety
    /// As for [`Self::run`], and `N` vectors from `strip.from` lie within the columns, the last one up to `strip.last`.
    #[inline(always)]
    unsafe fn strip<S: Simd, const N: usize>(&self, simd: S, strip: Columns) {
        let blocks = self.rows.div_ceil(HIGHEST);
        for block in 0..blocks {
            // blocks of almost one height: a single row left over would wait for its own sums
            let [row, end] = [block, block + 1].map(|block| begin(block, self.rows, blocks));
            // SAFETY: the caller's; rows `row` to `end` are rows of `a` and `c`.
            unsafe {
                match end - row {
                    1 => self.tile::<S, 1, N>(simd, row, strip),
                    2 => self.tile::<S, 2, N>(simd, row, strip),
                    3 => self.tile::<S, 3, N>(simd, row, strip),
                    4 => self.tile::<S, 4, N>(simd, row, strip),
                    5 => self.tile::<S, 5, N>(simd, row, strip),
                    _ => self.tile::<S, 6, N>(simd, row, strip),
                }
            }
        }
    }

    /// `M` rows from `row`, `N` vectors of columns.
    ///
    /// # Safety
    /// As for [`Self::strip`], and `M` rows from `row` are rows of `a` and `c`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(&self, simd: S, row: usize, strip: Columns) {
        let lanes = S::F32_LANES;
        let width = |vector: usize| if vector + 1 == N { strip.last } else { lanes };
        // SAFETY: row `row` is a row of `c`, and column `strip.from` one of its columns.
        let c = unsafe { self.c.add(row * self.c_row + strip.from) };
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        if let Some((from, from_row)) = self.from {
            // SAFETY: row `row` is a row of it, and column `strip.from` one of its columns.
            let from = unsafe { from.add(row * from_row + strip.from) };
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `width(j)` numbers from here are columns of row `row + i`.
                    let held = unsafe { std::slice::from_raw_parts(from.add(i * from_row + j * lanes), width(j)) };
                    *sum = if width(j) == lanes { S::as_simd_f32s(held).0[0] } else { simd.partial_load_f32s(held) };
                }
            }
        }
        // SAFETY: row `row` is a row of `a`.
        let mut a = unsafe { self.a.add(row * self.a_row) };
        // Whole vectors may be read as long as they end within `b`: what lies behind the strip goes into lanes that are dropped.
        let room = self.b.len().saturating_sub(strip.from + N * lanes - 1);
        let whole = if strip.last == lanes { self.inner } else { room.div_ceil(self.b_row.max(1)).min(self.inner) };
        for step in 0..whole {
            // SAFETY: step < inner. Either the strip is whole and its columns lie in every row of `b`, or
            // step · b_row < room, so that step · b_row + strip.from + N · lanes ≤ b.len().
            let b = unsafe { self.b.as_ptr().add(step * self.b_row + strip.from) };
            let b: [S::f32s; N] =
                std::array::from_fn(|j| unsafe { b.add(j * lanes).cast::<S::f32s>().read_unaligned() });
            // SAFETY: `a` is at column `step` of row `row`; rows up to `row + M` are rows of `a`.
            unsafe { add(simd, &mut sums, a, self.a_row, b) };
            a = a.wrapping_add(self.a_column);
        }
        for step in whole..self.inner {
            let b = &self.b[step * self.b_row + strip.from..];
            let b: [S::f32s; N] = std::array::from_fn(|j| simd.partial_load_f32s(&b[j * lanes..j * lanes + width(j)]));
            // SAFETY: as above.
            unsafe { add(simd, &mut sums, a, self.a_row, b) };
            a = a.wrapping_add(self.a_column);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                // SAFETY: `width(j)` numbers from here are columns of row `row + i`, and `c` is ours alone.
                let held = unsafe { std::slice::from_raw_parts_mut(c.add(i * self.c_row + j * lanes), width(j)) };
                if width(j) == lanes {
                    S::as_mut_simd_f32s(held).0[0] = *sum;
                } else {
                    simd.partial_store_f32s(held, *sum);
                }
            }
        }
    }
}

/// Rows of a tile at most.
const HIGHEST: usize = 6;

/// Vectors in a row of a tile: with [`HIGHEST`] rows, the sums, one row of `b` and one number of `a` fit into the registers.
#[inline(always)]
fn vectors<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 4 } else { 2 }
}

/// One inner step: the outer product of `M` numbers of `a` and a row of `b`.
///
/// # Safety
/// `a` and the `M - 1` places `a_row` after one another behind it can be read.
#[inline(always)]
unsafe fn add<S: Simd, const M: usize, const N: usize>(
    simd: S,
    sums: &mut [[S::f32s; N]; M],
    a: *const f32,
    a_row: usize,
    b: [S::f32s; N],
) {
    for (i, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's.
        let factor = simd.splat_f32s(unsafe { *a.add(i * a_row) });
        for (sum, b) in sums.iter_mut().zip(b) {
            *sum = simd.mul_add_e_f32s(factor, b, *sum);
        }
    }
}

#[cfg(test)]
mod tests;
