//! Means and variances that grow a vector at a time, or a part at a time.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::rows::{Number, Rows};
use crate::DetectError;

/// Rows that one task sums up. Fixed, so that the number of threads changes no bit.
const CHUNK: usize = 4096;

/// A larger value is not taken: however many come, the sum of their squares stays finite.
const LARGEST: f64 = 1e140;

/// Weighted mean and sum of squared deviations per dimension.
///
/// One vector: Welford (1962), with weights as West (1979), "Updating mean and variance estimates". Two parts: Chan,
/// Golub and `LeVeque` (1983), "Algorithms for computing the sample variance". A missing value (NaN) leaves its dimension
/// as it is.
///
/// Forgetting: a vector that is `h` vectors old, `h` the half-life, weighs half of the newest.
///
/// Moments are a plain value: they are stored between vectors, sent by a host and added up by another, and
/// [`Baseline::of_moments`](super::Baseline::of_moments) scores with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Moments {
    rows: u64,
    keep: f64,
    columns: Vec<Column>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    seen: u64,
    weight: f64,
    squares: f64,
    mean: f64,
    m2: f64,
}

/// Moments as a file has them, before they are looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    rows: u64,
    keep: f64,
    columns: Vec<Column>,
}

impl TryFrom<Stored> for Moments {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { rows, keep, columns } = stored;
        if !(keep > 0.0 && keep <= 1.0) {
            return Err("the share that is kept from vector to vector is not above 0 and at most 1".into());
        }
        let positive = |value: f64| value.is_finite() && value >= 0.0;
        let good = |own: &Column| {
            own.seen <= rows
                && [own.weight, own.squares, own.m2].into_iter().all(positive)
                && own.mean.abs() <= LARGEST
                && own.weight <= own.seen as f64 * (1.0 + 1e-9)
        };
        match columns.iter().position(|own| !good(own)) {
            None => Ok(Self { rows, keep, columns }),
            Some(at) => Err(format!("column {at} (from 0) holds what no vectors can have made")),
        }
    }
}

impl Moments {
    /// Nothing seen yet, of vectors of `width` numbers.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a half-life that is not positive and finite.
    pub fn new(width: usize, half_life: Option<f64>) -> Result<Self, DetectError> {
        Ok(Self { rows: 0, keep: keep(half_life)?, columns: vec![Column::default(); width] })
    }

    /// The moments of all rows, summed up in parallel; the same bits for any number of threads.
    ///
    /// # Errors
    /// As [`Moments::new`].
    pub fn of<T: Number>(rows: &Rows<'_, T>, half_life: Option<f64>) -> Result<Self, DetectError> {
        let empty = Self::new(rows.width(), half_life)?;
        let starts: Vec<usize> = (0..rows.len()).step_by(CHUNK).collect();
        let parts: Vec<Self> = starts
            .par_iter()
            .map(|&start| {
                let mut part = empty.clone();
                for row in start..rows.len().min(start + CHUNK) {
                    part.add(rows.row(row));
                }
                part
            })
            .collect();
        let mut all = empty;
        for part in &parts {
            all.append(part);
        }
        Ok(all)
    }

    /// Takes one more vector, the newest.
    ///
    /// # Errors
    /// [`DetectError::Data`] when it has another width, or a value that is infinite or beyond 1e140; nothing is taken then.
    pub fn push<T: Number>(&mut self, vector: &[T]) -> Result<(), DetectError> {
        if vector.len() != self.columns.len() {
            return Err(other_width(vector.len(), self.columns.len()));
        }
        if let Some(at) = vector.iter().position(|&value| value.into().abs() > LARGEST) {
            let value: f64 = vector[at].into();
            let why = if value.is_infinite() { "is infinite" } else { "is too large to be squared" };
            return Err(DetectError::Data(format!("the value in column {at} (from 0) {why}: leave the vector out")));
        }
        self.add(vector);
        Ok(())
    }

    /// Takes a part that was summed up elsewhere and is newer than all that is here.
    ///
    /// # Errors
    /// [`DetectError::Data`] when it has another width or half-life.
    pub fn merge(&mut self, newer: &Self) -> Result<(), DetectError> {
        if newer.columns.len() != self.columns.len() {
            return Err(other_width(newer.columns.len(), self.columns.len()));
        }
        if newer.keep.to_bits() != self.keep.to_bits() {
            return Err(DetectError::Data("the parts forget at different half-lives".into()));
        }
        self.append(newer);
        Ok(())
    }

    /// Vectors taken.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Numbers a vector.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The mean of a dimension; `None` where no value was seen.
    pub fn mean(&self, dimension: usize) -> Option<f64> {
        let column = self.columns.get(dimension)?;
        (column.weight > 0.0).then_some(column.mean)
    }

    /// The unbiased variance of a dimension; `None` below two values.
    pub fn variance(&self, dimension: usize) -> Option<f64> {
        let column = self.columns.get(dimension)?;
        // The sum of weights less the share that the mean has used up: n - 1 when all weigh 1.
        let freedom = column.weight - column.squares / column.weight;
        (column.seen > 1 && freedom > 0.0).then(|| (column.m2 / freedom).max(0.0))
    }

    /// How many values of equal weight say as much as those seen in a dimension: (Σw)² / Σw² (Kish 1965), 0 where there
    /// is none. Without forgetting it is [`Moments::seen`].
    pub fn counted(&self, dimension: usize) -> f64 {
        let column = self.columns.get(dimension).filter(|column| column.squares > 0.0);
        column.map_or(0.0, |column| column.weight * column.weight / column.squares)
    }

    /// Values seen in a dimension.
    pub fn seen(&self, dimension: usize) -> u64 {
        self.columns.get(dimension).map_or(0, |column| column.seen)
    }

    fn add<T: Number>(&mut self, vector: &[T]) {
        self.rows = self.rows.saturating_add(1);
        let keep = self.keep;
        for (column, &value) in self.columns.iter_mut().zip(vector) {
            column.forget(keep, keep * keep);
            let value: f64 = value.into();
            if value.is_nan() {
                continue;
            }
            column.seen = column.seen.saturating_add(1);
            column.weight += 1.0;
            column.squares += 1.0;
            let delta = value - column.mean;
            column.mean += delta / column.weight;
            column.m2 += delta * (value - column.mean);
        }
    }

    fn append(&mut self, newer: &Self) {
        let keep = self.keep.powf(newer.rows as f64);
        self.rows = self.rows.saturating_add(newer.rows);
        for (column, other) in self.columns.iter_mut().zip(&newer.columns) {
            column.forget(keep, keep * keep);
            column.seen = column.seen.saturating_add(other.seen);
            let weight = column.weight + other.weight;
            if other.weight == 0.0 || weight == 0.0 {
                continue;
            }
            let delta = other.mean - column.mean;
            column.mean += delta * (other.weight / weight);
            column.m2 += other.m2 + delta * delta * (column.weight * other.weight / weight);
            column.weight = weight;
            column.squares += other.squares;
        }
    }
}

impl Column {
    fn forget(&mut self, keep: f64, keep_squared: f64) {
        self.weight *= keep;
        self.squares *= keep_squared;
        self.m2 *= keep;
    }
}

/// What a vector's weight is multiplied by when the next one comes.
fn keep(half_life: Option<f64>) -> Result<f64, DetectError> {
    match half_life {
        None => Ok(1.0),
        Some(half_life) if half_life.is_finite() && half_life > 0.0 => Ok((-1.0 / half_life).exp2()),
        Some(half_life) => Err(DetectError::Invalid {
            what: "half-life",
            why: format!("{half_life} is not a positive number of vectors"),
        }),
    }
}

/// The weight of each of `n` vectors, oldest first: 1 for the newest, half of it a half-life earlier.
///
/// # Errors
/// As [`Moments::new`].
pub(super) fn weights(n: usize, half_life: Option<f64>) -> Result<Vec<f64>, DetectError> {
    let keep = keep(half_life)?;
    Ok((0..n).map(|row| keep.powf((n - 1 - row) as f64)).collect())
}

/// How many equal weights say as much: (Σw)² / Σw² (Kish 1965).
pub(super) fn effective(weights: &[f64]) -> f64 {
    let (sum, squares) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

fn other_width(got: usize, expected: usize) -> DetectError {
    DetectError::Data(format!("the vector has {got} numbers, the baseline {expected}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two passes over everything, the definition.
    fn slow(values: &[f64], width: usize, half_life: Option<f64>) -> Vec<(Option<f64>, Option<f64>)> {
        let n = values.len() / width;
        let weight = |row: usize| half_life.map_or(1.0, |h| (-((n - 1 - row) as f64) / h).exp2());
        (0..width)
            .map(|d| {
                let column: Vec<(f64, f64)> = (0..n)
                    .map(|row| (values[row * width + d], weight(row)))
                    .filter(|(value, _)| !value.is_nan())
                    .collect();
                let sum: f64 = column.iter().map(|(_, w)| w).sum();
                let squares: f64 = column.iter().map(|(_, w)| w * w).sum();
                let mean = column.iter().map(|(v, w)| v * w).sum::<f64>() / sum;
                let m2: f64 = column.iter().map(|(v, w)| w * (v - mean).powi(2)).sum();
                let mean = (!column.is_empty()).then_some(mean);
                (mean, (column.len() > 1).then(|| m2 / (sum - squares / sum)))
            })
            .collect()
    }

    fn near(a: Option<f64>, b: Option<f64>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs())),
            (a, b) => a == b,
        }
    }

    fn value(drawn: i32) -> f64 {
        if drawn % 7 == 0 { f64::NAN } else { f64::from(drawn) / 32.0 }
    }

    proptest! {
        #[test]
        fn merged_is_sequential_is_two_passes(
            drawn in prop::collection::vec(-1000i32..1000, 3..180), cuts in prop::collection::vec(0usize..60, 0..4), half in 0u32..40,
        ) {
            let values: Vec<f64> = drawn[..drawn.len() / 3 * 3].iter().map(|&v| value(v)).collect();
            let half_life = (half > 0).then_some(f64::from(half));
            let rows = Rows::new(&values, 3, &[]).unwrap();
            let mut sequential = Moments::new(3, half_life).unwrap();
            rows.iter().for_each(|row| sequential.push(row).unwrap());
            let mut merged = Moments::new(3, half_life).unwrap();
            let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (rows.len() + 1)).chain([0, rows.len()]).collect();
            bounds.sort_unstable();
            for pair in bounds.windows(2) {
                let mut part = Moments::new(3, half_life).unwrap();
                (pair[0]..pair[1]).for_each(|row| part.push(rows.row(row)).unwrap());
                merged.merge(&part).unwrap();
            }
            for (d, (mean, variance)) in slow(&values, 3, half_life).into_iter().enumerate() {
                for moments in [&sequential, &merged] {
                    prop_assert!(near(moments.mean(d), mean), "{:?} {mean:?}", moments.mean(d));
                    prop_assert!(near(moments.variance(d), variance), "{:?} {variance:?}", moments.variance(d));
                }
                prop_assert_eq!(sequential.seen(d), merged.seen(d));
                prop_assert!(near(Some(sequential.counted(d)), Some(merged.counted(d))));
                prop_assert!(half_life.is_some() || sequential.counted(d) == sequential.seen(d) as f64);
            }
            let stored = serde_json::to_string(&merged).unwrap();
            prop_assert_eq!(serde_json::from_str::<Moments>(&stored).unwrap(), merged.clone());
            prop_assert_eq!(sequential.rows(), merged.rows());
        }
    }

    #[test]
    fn threads_change_no_bit_and_large_means_cost_no_digits() {
        let values: Vec<f64> = (0..30_000u32).map(|i| 1e9 + f64::from(i.wrapping_mul(2_654_435_761) >> 20)).collect();
        let rows = Rows::new(&values, 2, &[]).unwrap();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Moments::of(&rows, Some(500.0)).unwrap())
        };
        assert_eq!(on(1), on(3));
        let (mean, variance) = slow(&values, 2, None)[1];
        let all = Moments::of(&rows, None).unwrap();
        assert!(near(all.mean(1), mean) && near(all.variance(1), variance));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let mut moments = Moments::new(2, None).unwrap();
        moments.push(&[1.0f32, 2.0]).unwrap();
        let before = moments.clone();
        assert!(moments.push(&[1.0f32]).unwrap_err().to_string().contains("has 1 numbers, the baseline 2"));
        assert!(moments.push(&[f32::INFINITY, 0.0]).unwrap_err().to_string().contains("column 0 (from 0) is infinite"));
        assert!(moments.push(&[0.0, -1e200]).unwrap_err().to_string().contains("too large to be squared"));
        assert!(moments.merge(&Moments::new(3, None).unwrap()).is_err());
        assert!(moments.merge(&Moments::new(2, Some(5.0)).unwrap()).is_err());
        assert_eq!(moments, before);
        for half_life in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Moments::new(2, Some(half_life)).is_err());
        }
    }

    #[test]
    fn stored_moments_are_checked() {
        let mut moments = Moments::new(2, Some(9.0)).unwrap();
        (0..20).for_each(|i| moments.push(&[f64::from(i), f64::NAN]).unwrap());
        let good = serde_json::to_value(&moments).unwrap();
        assert_eq!(serde_json::from_value::<Moments>(good.clone()).unwrap(), moments);
        for (pointer, to) in [
            ("/keep", "0.0"),
            ("/keep", "1.5"),
            ("/rows", "3"),
            ("/columns/0/m2", "-1.0"),
            ("/columns/0/weight", "21.0"),
            ("/columns/0/mean", "1e300"),
            ("/columns/1/squares", "null"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = serde_json::from_str(to).unwrap();
            assert!(serde_json::from_value::<Moments>(bad).is_err(), "{pointer} {to}");
        }
    }
}
