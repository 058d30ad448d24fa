//! What a telemetry row takes from the table rows that it stands for: one row as it is, or a bucket of them folded.

use super::table::MISSING;

/// The raw values of a channel, one a table row, and what becomes of several.
pub(super) enum Values {
    /// How many rows there are.
    Count,
    /// How many different values (codes of texts) there are.
    Distinct(Vec<u32>),
    /// Their sum.
    Sum(Vec<f64>),
    /// Their mean.
    Mean(Vec<f64>),
    /// The largest.
    Max(Vec<f64>),
    /// The last.
    Last(Vec<f64>),
}

impl Values {
    /// The value of some rows. What was not observed (NaN) does not take part; of nothing observed, a sum, mean,
    /// maximum or last value is NaN, a count of rows or of distinct values is not.
    pub(super) fn of(&self, rows: &[u32]) -> f64 {
        match self {
            Self::Count => rows.len() as f64,
            Self::Distinct(codes) => {
                let mut codes: Vec<u32> = rows.iter().map(|row| codes[*row as usize]).collect();
                codes.sort_unstable();
                codes.dedup();
                codes.iter().filter(|code| **code != MISSING).count() as f64
            }
            Self::Sum(values) => observed(values, rows).reduce(|a, b| a + b).unwrap_or(f64::NAN),
            Self::Mean(values) => {
                let (n, sum) = observed(values, rows).fold((0_u32, 0.0), |(n, sum), value| (n + 1, sum + value));
                sum / f64::from(n)
            }
            Self::Max(values) => observed(values, rows).fold(f64::NAN, f64::max),
            Self::Last(values) => observed(values, rows).last().unwrap_or(f64::NAN),
        }
    }

    /// The numbers of the channel, where it has any.
    pub(super) fn numbers_mut(&mut self) -> Option<&mut Vec<f64>> {
        match self {
            Self::Count | Self::Distinct(_) => None,
            Self::Sum(values) | Self::Mean(values) | Self::Max(values) | Self::Last(values) => Some(values),
        }
    }
}

fn observed<'a>(values: &'a [f64], rows: &'a [u32]) -> impl Iterator<Item = f64> + 'a {
    rows.iter().map(|row| values[*row as usize]).filter(|value| !value.is_nan())
}

/// The class of a bucket: the most frequent one of its rows, the one that came first where several are.
pub(super) fn majority(classes: impl Iterator<Item = u16>) -> Option<u16> {
    let mut counts: Vec<(u16, usize)> = Vec::new();
    for class in classes {
        match counts.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => counts.push((class, 1)),
        }
    }
    counts.iter().rev().max_by_key(|(_, count)| *count).map(|(class, _)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_what_they_are_called() {
        let numbers = || vec![1.0, f64::NAN, 3.0, 3.0, f64::NAN];
        let codes = || vec![4, MISSING, 4, 9, MISSING];
        for (values, of_all, of_nothing) in [
            (Values::Sum(numbers()), 7.0, None),
            (Values::Mean(numbers()), 7.0 / 3.0, None),
            (Values::Max(numbers()), 3.0, None),
            (Values::Last(numbers()), 3.0, None),
            (Values::Distinct(codes()), 2.0, Some(0.0)),
            (Values::Count, 4.0, Some(2.0)),
        ] {
            assert_eq!(values.of(&[0, 1, 2, 3]), of_all);
            let value = values.of(&[1, 4]);
            assert!(of_nothing.map_or(value.is_nan(), |expected| value == expected), "{value}");
        }
    }

    #[test]
    fn the_majority_wins_and_the_first_breaks_a_tie() {
        assert_eq!(majority([2, 1, 1].into_iter()), Some(1));
        assert_eq!(majority([2, 1, 1, 2].into_iter()), Some(2));
        assert_eq!(majority([].into_iter()), None);
    }
}
