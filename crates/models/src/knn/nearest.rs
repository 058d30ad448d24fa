//! The nearest rows, exactly: every row is looked at.

use rayon::prelude::*;
use stakeout_kernels::dense;

/// Queries of a task.
const QUERIES: usize = 8;
/// Rows that all queries of a task pass over while they are in the cache.
const TILE: usize = 64;

/// A row and its distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    pub(super) row: u32,
    /// Squared Euclidean distance.
    pub(super) squared: f32,
}

/// The rows that can be found.
pub(super) struct Neighbours {
    values: Vec<f32>,
    width: usize,
}

impl Neighbours {
    /// `values` are rows × `width`, finite.
    pub(super) fn new(values: Vec<f32>, width: usize) -> Self {
        Self { values, width }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() / self.width
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The `k` nearest rows of each query (queries × `width`), nearest first, the lower row among equals: queries × k.
    /// Where `left_out` names a row a query, that one is not found. `k` rows must be left.
    pub(super) fn nearest(&self, queries: &[f32], k: usize, left_out: Option<&[u32]>) -> Vec<Found> {
        let none = Found { row: u32::MAX, squared: f32::INFINITY };
        let mut found = vec![none; queries.len() / self.width * k];
        let tasks = queries.par_chunks(QUERIES * self.width).zip(found.par_chunks_mut(QUERIES * k));
        tasks.enumerate().for_each(|(task, (queries, found))| {
            for (tile, rows) in self.values.chunks(TILE * self.width).enumerate() {
                let own = queries.chunks_exact(self.width).zip(found.chunks_exact_mut(k));
                for (query, (values, found)) in own.enumerate() {
                    let left_out = left_out.map(|rows| rows[task * QUERIES + query]);
                    for (i, row) in rows.chunks_exact(self.width).enumerate() {
                        let row_number = (tile * TILE + i) as u32;
                        if left_out == Some(row_number) {
                            continue;
                        }
                        let squared = dense::squared(values, row, found[k - 1].squared);
                        if squared < found[k - 1].squared {
                            insert(found, Found { row: row_number, squared });
                        }
                    }
                }
            }
        });
        found
    }
}

/// Puts one in its place behind those that are as near, and drops the last.
fn insert(found: &mut [Found], new: Found) {
    let place = found.partition_point(|old| old.squared <= new.squared);
    found[place..].rotate_right(1);
    found[place] = new;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_sorting_all_rows(
            values in prop::collection::vec(-20i16..20, 30..600), queries in prop::collection::vec(-20i16..20, 3..90),
            k in 1usize..9, leave in any::<bool>(),
        ) {
            let real = |values: &[i16]| -> Vec<f32> {
                values[..values.len() / 3 * 3].iter().map(|v| f32::from(*v) / 2.0).collect()
            };
            let all = Neighbours::new(real(&values), 3);
            // a query may be one of the rows
            let queries = if leave { all.values[..3 * all.len().min(20)].to_vec() } else { real(&queries) };
            let own: Vec<u32> = (0..(queries.len() / 3) as u32).collect();
            let found = all.nearest(&queries, k, leave.then_some(&own[..]));
            for (i, query) in queries.chunks_exact(3).enumerate() {
                let squared = |row: usize| -> f32 { all.row(row).iter().zip(query).map(|(a, b)| (a - b).powi(2)).sum() };
                let mut slow: Vec<Found> = (0..all.len())
                    .filter(|row| !(leave && *row == i))
                    .map(|row| Found { row: row as u32, squared: squared(row) })
                    .collect();
                slow.sort_by(|a, b| a.squared.total_cmp(&b.squared).then(a.row.cmp(&b.row)));
                // quarters of whole numbers: every sum is exact
                prop_assert_eq!(&found[i * k..][..k], &slow[..k]);
            }
        }
    }
}
