//! Gradient sums per bin.

/// First and second derivative of the loss of one row, or sums of them.
pub type Gradient = [f32; 2];

/// Gradient sums of one column: one entry a bin, the last one for missing values.
pub type Histogram = [Gradient; 256];

/// A histogram of nothing.
pub const EMPTY: Histogram = [[0.0; 2]; 256];

/// Rows that are summed on their own before they join the total. It bounds the rounding error: a single-precision sum
/// of many equal terms drifts once a term falls near the spacing of floats around the sum.
const CHUNK: usize = 4096;

/// The histogram of a column over all rows: `column[i]` is the bin of the row with `gradients[i]`.
///
/// # Panics
/// When the lengths differ.
pub fn of_all(column: &[u8], gradients: &[Gradient], out: &mut Histogram) {
    assert_eq!(column.len(), gradients.len(), "one gradient a row");
    sum_chunks(column, gradients, out, |column, gradients, out| {
        for (bin, gradient) in column.iter().zip(gradients) {
            add(&mut out[usize::from(*bin)], *gradient);
        }
    });
}

/// The histogram of a column over some rows: `gradients[i]` belongs to `rows[i]`, whose bin is `column[rows[i]]`.
///
/// # Panics
/// When the lengths differ or a row is out of range.
pub fn of_rows(column: &[u8], rows: &[u32], gradients: &[Gradient], out: &mut Histogram) {
    assert_eq!(rows.len(), gradients.len(), "one gradient a row");
    sum_chunks(rows, gradients, out, |rows, gradients, out| {
        for (row, gradient) in rows.iter().zip(gradients) {
            add(&mut out[usize::from(column[*row as usize])], *gradient);
        }
    });
}

/// `parent -= child`, entry by entry: what is left is the sibling's.
///
/// # Panics
/// When the lengths differ.
pub fn subtract(parent: &mut [Histogram], child: &[Histogram]) {
    assert_eq!(parent.len(), child.len(), "histograms of the same columns");
    for (parent, child) in parent.as_flattened_mut().iter_mut().zip(child.as_flattened()) {
        parent[0] -= child[0];
        parent[1] -= child[1];
    }
}

fn sum_chunks<T>(
    rows: &[T],
    gradients: &[Gradient],
    out: &mut Histogram,
    sum: impl Fn(&[T], &[Gradient], &mut Histogram),
) {
    *out = EMPTY;
    if rows.len() <= CHUNK {
        return sum(rows, gradients, out);
    }
    for (rows, gradients) in rows.chunks(CHUNK).zip(gradients.chunks(CHUNK)) {
        let mut part = EMPTY;
        sum(rows, gradients, &mut part);
        for (out, part) in out.iter_mut().zip(part) {
            add(out, part);
        }
    }
}

#[inline]
fn add(into: &mut Gradient, what: Gradient) {
    into[0] += what[0];
    into[1] += what[1];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sums in double precision, one row at a time.
    fn slow(column: &[u8], rows: impl Iterator<Item = usize>, gradients: &[Gradient]) -> Vec<[f64; 2]> {
        let mut out = vec![[0.0; 2]; 256];
        for (row, gradient) in rows.zip(gradients) {
            for side in 0..2 {
                out[usize::from(column[row])][side] += f64::from(gradient[side]);
            }
        }
        out
    }

    /// Error of three single-precision sums of up to `n` values of at most 1: `n u Σ|x|` each (Higham, Accuracy and
    /// Stability of Numerical Algorithms, 2002, section 4.2).
    fn bound(n: usize) -> f64 {
        3.0 * f64::from(f32::EPSILON) * (n * n) as f64
    }

    fn close(fast: &Histogram, slow: &[[f64; 2]], tolerance: f64) -> bool {
        fast.as_flattened().iter().zip(slow.as_flattened()).all(|(a, b)| (f64::from(*a) - b).abs() <= tolerance)
    }

    fn rows() -> impl Strategy<Value = Vec<(u8, Gradient)>> {
        prop::collection::vec(
            (
                any::<u8>(),
                (
                    (0u32..1 << 20).prop_map(|i| -1.0 + i as f32 * (2.0 / 1_048_576.0)),
                    (0u32..1 << 20).prop_map(|i| 0.0 + i as f32 * (0.5 / 1_048_576.0)),
                )
                    .prop_map(|(gradient, hessian)| [gradient, hessian]),
            ),
            0..300,
        )
    }

    proptest! {
        #[test]
        fn as_the_slow_sum(rows in rows(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..200)) {
            let (column, gradients): (Vec<u8>, Vec<Gradient>) = rows.into_iter().unzip();
            let mut all = EMPTY;
            of_all(&column, &gradients, &mut all);
            prop_assert!(close(&all, &slow(&column, 0..column.len(), &gradients), bound(column.len())));

            let picks: Vec<u32> =
                picks.iter().filter(|_| !column.is_empty()).map(|p| p.index(column.len()) as u32).collect();
            let own: Vec<Gradient> = picks.iter().map(|row| gradients[*row as usize]).collect();
            let mut some = [[7.0; 2]; 256];
            of_rows(&column, &picks, &own, &mut some);
            prop_assert!(close(&some, &slow(&column, picks.iter().map(|row| *row as usize), &own), bound(picks.len())));
        }

        #[test]
        fn what_one_child_leaves_is_the_other(rows in rows(), border in 0usize..300) {
            let (column, gradients): (Vec<u8>, Vec<Gradient>) = rows.into_iter().unzip();
            let border = border.min(column.len());
            let mut parts = [[EMPTY]; 3];
            of_all(&column, &gradients, &mut parts[0][0]);
            of_all(&column[..border], &gradients[..border], &mut parts[1][0]);
            let [parent, child, _] = &mut parts;
            subtract(parent, child);
            prop_assert!(close(&parent[0], &slow(&column, border..column.len(), &gradients[border..]), bound(column.len())));
        }
    }

    #[test]
    fn a_million_equal_rows_do_not_drift() {
        // a plain single-precision sum of these ends 5 % off
        let (column, gradients) = (vec![3u8; 2_000_000], vec![[0.26f32, 0.26]; 2_000_000]);
        let mut out = EMPTY;
        of_all(&column, &gradients, &mut out);
        assert!((out[3][1] / 520_000.0 - 1.0).abs() < 2e-4, "{}", out[3][1]);
    }
}
