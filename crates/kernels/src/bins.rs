//! Values to bins: weighted quantile edges, exact on the values given.

/// The bin of a missing value (NaN).
pub const MISSING: u8 = 255;

/// The largest number of bins for values that are present.
pub const MAX_BINS: usize = 255;

/// Upper edges between bins, ascending and finite: bin `b` holds the values in `(edges[b - 1], edges[b]]`, the last bin
/// those above the last edge. There are at most `max_bins - 1` edges; none when fewer than two values differ.
///
/// `values` are (value, weight) pairs. NaN and weights that are not positive are passed over; infinities count as the
/// largest finite numbers. Where the distinct values fit, each gets a bin of its own, cut half-way to the next one.
/// Otherwise bins are closed, from the left, where their weight comes nearest to an even share of what is left, so that
/// a value heavier than a share takes one bin and the others share the rest.
///
/// # Panics
/// When `max_bins` is not in `2..=255`.
pub fn quantile_edges(values: impl IntoIterator<Item = (f32, f32)>, max_bins: usize) -> Vec<f32> {
    assert!((2..=MAX_BINS).contains(&max_bins), "2 to 255 bins");
    // value and weight in one word, ordered by value: one cheap sort, the same for any order of the input
    let mut keys: Vec<u64> = values
        .into_iter()
        .filter(|(value, weight)| !value.is_nan() && *weight > 0.0)
        .map(|(value, weight)| u64::from(sort_key(value)) << 32 | u64::from(weight.to_bits()))
        .collect();
    keys.sort_unstable();
    let distinct: Vec<(f32, f64)> = keys
        .chunk_by(|a, b| a >> 32 == b >> 32)
        .map(|run| {
            let weight = run.iter().map(|key| f64::from(f32::from_bits(*key as u32))).sum();
            (from_sort_key((run[0] >> 32) as u32), weight)
        })
        .collect();

    let mut edges = Vec::new();
    let (mut left, mut bins) = (distinct.iter().map(|(_, weight)| weight).sum::<f64>(), max_bins);
    let mut held = 0.0;
    for pair in distinct.windows(2) {
        let [(value, weight), (next, next_weight)] = [pair[0], pair[1]];
        held += weight;
        let share = left / bins as f64;
        if distinct.len() <= max_bins || held >= share || held + next_weight - share > share - held {
            edges.push(midpoint(value, next));
            (left, held, bins) = (left - held, 0.0, bins - 1);
            if bins == 1 {
                break;
            }
        }
    }
    edges
}

/// The bin of a value.
#[inline]
pub fn bin(edges: &[f32], value: f32) -> u8 {
    if value.is_nan() { MISSING } else { edges.partition_point(|edge| *edge < value) as u8 }
}

/// Bins one column of a row-major block of values (rows × `width`).
///
/// # Panics
/// When the block has fewer rows than `out`, or `column` is not less than `width`.
pub fn bin_column(block: &[f32], width: usize, column: usize, edges: &[f32], out: &mut [u8]) {
    assert!(column < width && block.len() >= out.len() * width, "a block of rows × width values");
    for (row, out) in block.chunks_exact(width).zip(out) {
        *out = bin(edges, row[column]);
    }
}

/// An integer that orders as the (finite, clamped) value does; both zeros are one.
fn sort_key(value: f32) -> u32 {
    let bits = (value.clamp(f32::MIN, f32::MAX) + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_sort_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// A number in `[a, b)`, half-way where there is room.
fn midpoint(a: f32, b: f32) -> f32 {
    let middle = f64::midpoint(f64::from(a), f64::from(b)) as f32;
    if middle < b { middle } else { a }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn even(values: &[f32]) -> impl Iterator<Item = (f32, f32)> {
        values.iter().map(|v| (*v, 1.0))
    }

    #[test]
    fn a_heavy_value_takes_one_bin() {
        let mut values = vec![0.0f32; 900];
        values.extend((1..=100).map(|v| v as f32));
        let edges = quantile_edges(even(&values), 11);
        assert_eq!(edges[0], 0.5);
        assert_eq!(edges.len(), 10);
        assert_eq!(edges[1], 10.5);
    }

    #[test]
    fn nothing_to_cut() {
        assert!(quantile_edges(even(&[]), 255).is_empty());
        assert!(quantile_edges(even(&[f32::NAN, 3.0, 3.0]), 255).is_empty());
        assert!(quantile_edges(even(&[-0.0, 0.0]), 255).is_empty());
        assert!(quantile_edges([(1.0, 1.0), (2.0, 0.0)], 255).is_empty());
    }

    #[test]
    fn infinities_have_bins() {
        let values = [f32::NEG_INFINITY, 0.0, f32::INFINITY];
        let edges = quantile_edges(even(&values), 255);
        assert!(edges.iter().all(|edge| edge.is_finite()));
        assert_eq!(values.map(|v| bin(&edges, v)), [0, 1, 2]);
    }

    #[test]
    fn neighbouring_floats_are_kept_apart() {
        let (a, b) = (1.0f32, 1.0f32.next_up());
        let edges = quantile_edges(even(&[b, a]), 255);
        assert_eq!([a, b].map(|v| bin(&edges, v)), [0, 1]);
    }

    fn any_values() -> impl Strategy<Value = Vec<(f32, f32)>> {
        let value = prop_oneof![
            4 => -8i32..8,
            1 => any::<i32>(),
        ]
        .prop_map(|v| v as f32 / 2.0);
        let value = prop_oneof![20 => value, 1 => any::<f32>()];
        prop::collection::vec((value, (0u32..1 << 20).prop_map(|i| 0.0 + i as f32 * (3.0 / 1_048_576.0))), 0..400)
    }

    proptest! {
        #[test]
        fn edges_ascend_and_bins_keep_the_order(values in any_values(), max_bins in 2usize..=255) {
            let edges = quantile_edges(values.iter().copied(), max_bins);
            prop_assert!(edges.len() < max_bins);
            prop_assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
            for (v, _) in &values {
                let slow = if v.is_nan() { 255 } else { edges.iter().filter(|edge| **edge < *v).count() };
                prop_assert_eq!(usize::from(bin(&edges, *v)), slow);
            }
        }

        #[test]
        fn no_bin_is_empty_and_few_values_are_all_told_apart(values in any_values(), max_bins in 2usize..=255) {
            let mut reversed = values.clone();
            reversed.reverse();
            let edges = quantile_edges(values.iter().copied(), max_bins);
            prop_assert_eq!(&edges, &quantile_edges(reversed, max_bins));
            let mut present: Vec<f32> =
                values.iter().filter(|(v, w)| !v.is_nan() && *w > 0.0).map(|(v, _)| v.clamp(f32::MIN, f32::MAX)).collect();
            present.sort_by(f32::total_cmp);
            present.dedup();
            let mut used: Vec<u8> = present.iter().map(|v| bin(&edges, *v)).collect();
            used.dedup();
            prop_assert_eq!(used.len(), if present.is_empty() { 0 } else { edges.len() + 1 });
            if present.len() <= max_bins {
                prop_assert_eq!(used.len(), present.len());
            }
        }

        #[test]
        fn a_column_of_a_block(block in prop::collection::vec(any::<f32>(), 12)) {
            let edges = quantile_edges(block.iter().map(|v| (*v, 1.0)), 4);
            let mut out = [0u8; 4];
            bin_column(&block, 3, 2, &edges, &mut out);
            prop_assert_eq!(out, [2, 5, 8, 11].map(|i: usize| bin(&edges, block[i])));
        }
    }
}
