//! Vectors to learn from: a matrix in time order, whose rows belong to segments.

use crate::DetectError;

/// A number of a vector: `f32` or `f64`. Everything is computed in `f64`.
pub trait Number: Copy + Send + Sync + Into<f64> {}
impl Number for f32 {}
impl Number for f64 {}

/// Vectors of one host in time order, row-major; NaN means "not observed".
///
/// A segment is a stretch without a hole (an episode, or the whole table): vectors depend on their neighbours inside a
/// segment.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T> {
    values: &'a [T],
    width: usize,
    segments: &'a [usize],
}

impl<'a, T: Number> Rows<'a, T> {
    /// Rows of `width` numbers, in segments of the given lengths; no segments means one.
    ///
    /// # Errors
    /// [`DetectError::Data`] for a width of 0, a length that is no whole number of rows, segments that do not add up,
    /// or an infinite value (it is named).
    pub fn new(values: &'a [T], width: usize, segments: &'a [usize]) -> Result<Self, DetectError> {
        if width == 0 {
            return Err(DetectError::Data("a vector needs at least one number".into()));
        }
        if !values.len().is_multiple_of(width) {
            return Err(DetectError::Data(format!(
                "{} numbers are no whole number of vectors of {width}",
                values.len()
            )));
        }
        let rows = values.len() / width;
        if !segments.is_empty() && segments.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)) != Some(rows) {
            return Err(DetectError::Data(format!("the lengths of the segments do not add up to {rows} vectors")));
        }
        if let Some(at) = values.iter().position(|&value| value.into().is_infinite()) {
            return Err(DetectError::Data(format!(
                "vector {} has an infinite value in column {} (both from 0): mend it, or leave the vector out",
                at / width,
                at % width
            )));
        }
        Ok(Self { values, width, segments })
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The vectors in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [T]> + use<'a, T> {
        self.values.chunks_exact(self.width)
    }

    /// One vector.
    ///
    /// # Panics
    /// When `row` is out of range.
    pub fn row(&self, row: usize) -> &'a [T] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    pub(super) fn values(&self) -> &'a [T] {
        self.values
    }

    /// Lengths of the segments.
    pub fn segments(&self) -> Vec<usize> {
        if self.segments.is_empty() { vec![self.len()] } else { self.segments.to_vec() }
    }

    /// The vectors before `row` and those from it on, each with the segments cut accordingly.
    pub(super) fn split(&self, row: usize) -> (Part<'a, T>, Part<'a, T>) {
        let (mut before, mut after, mut start) = (Vec::new(), Vec::new(), 0);
        for length in self.segments() {
            let cut = row.clamp(start, start + length) - start;
            before.push(cut);
            after.push(length - cut);
            start += length;
        }
        for lengths in [&mut before, &mut after] {
            lengths.retain(|&length| length > 0);
        }
        let (first, second) = self.values.split_at(row * self.width);
        (
            Part { values: first, width: self.width, segments: before },
            Part { values: second, width: self.width, segments: after },
        )
    }
}

/// One side of a split, which owns the lengths of its segments.
#[derive(Debug, Clone)]
pub(super) struct Part<'a, T> {
    values: &'a [T],
    width: usize,
    segments: Vec<usize>,
}

impl<T: Number> Part<'_, T> {
    pub(super) fn rows(&self) -> Rows<'_, T> {
        Rows { values: self.values, width: self.width, segments: &self.segments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_cuts_the_segment_that_it_falls_into() {
        let values: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let rows = Rows::new(&values, 2, &[3, 4, 3]).unwrap();
        let (before, after) = rows.split(5);
        assert_eq!((before.rows().segments(), after.rows().segments()), (vec![3, 2], vec![2, 3]));
        assert_eq!(after.rows().row(0), [10.0, 11.0]);
        let (none, all) = rows.split(0);
        assert!(none.rows().is_empty());
        assert_eq!(all.rows().len(), 10);
    }

    #[test]
    fn what_is_no_matrix_of_finite_numbers_is_refused() {
        let refused =
            |values: &[f64], width, segments: &[usize]| Rows::new(values, width, segments).unwrap_err().to_string();
        assert!(refused(&[1.0], 0, &[]).contains("at least one number"));
        assert!(refused(&[1.0, 2.0, 3.0], 2, &[]).contains("no whole number"));
        assert!(refused(&[1.0, 2.0], 1, &[3]).contains("add up"));
        assert!(refused(&[1.0, 2.0], 1, &[usize::MAX, 3]).contains("add up"));
        assert!(
            refused(&[1.0, f64::NAN, 2.0, f64::INFINITY], 2, &[])
                .contains("vector 1 has an infinite value in column 1")
        );
        assert!(Rows::<f32>::new(&[], 3, &[]).unwrap().is_empty());
    }
}
