//! Where normal vectors lie and how they spread: fitted, stored, and made ready to score.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::moments::{self, Moments};
use super::order::{self, Sorted};
use super::rows::{Number, Rows};
use super::shrunk::{Whitening, ledoit_wolf};
use super::{FLAGGED, Method, VARIANCE_FLOOR};
use crate::DetectError;

/// Below so many values a dimension is not looked at.
const MIN_SEEN: u64 = 10;

/// Location and spread, as stored. A dimension without a centre is not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    centre: Vec<Option<f64>>,
    variance: Vec<f64>,
    /// The most that a squared z may count, where the variance is the floor.
    cap: Vec<Option<f64>>,
    /// Packed lower triangle over the dimensions that have a centre and no cap.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    whitening: Option<Vec<f64>>,
}

impl Shape {
    /// Learns from rows that are taken as they are.
    pub(super) fn fit<T: Number>(
        rows: &Rows<'_, T>,
        method: Method,
        half_life: Option<f64>,
    ) -> Result<Self, DetectError> {
        let moments = Moments::of(rows, half_life)?;
        let weights = moments::weights(rows.len(), half_life)?;
        let n = moments::effective(&weights);
        let estimates: Vec<Option<(f64, f64)>> = (0..rows.width())
            .into_par_iter()
            .map(|d| {
                let plain = plain(&moments, d)?;
                let sorted = || Sorted::new(rows.iter().zip(&weights).map(|(row, w)| (row[d].into(), *w)));
                let ordered = match method {
                    Method::Diagonal | Method::Shrunk => return Some(plain),
                    Method::Robust => order::median_mad(&sorted())?,
                    Method::Trimmed => order::trimmed(&sorted())?,
                };
                // A column most of whose values are equal has no spread by order. Its standard deviation makes its
                // squared z 1 on average, as every column's is, so that rare bursts do not drown the others.
                Some(if ordered.1 > VARIANCE_FLOOR { ordered } else { (ordered.0, plain.1) })
            })
            .collect();
        let counted = |d: usize| n * moments.seen(d) as f64 / rows.len().max(1) as f64;
        let mut shape = Self::of(estimates.into_iter().enumerate().map(|(d, estimate)| (estimate, counted(d))))?;
        if method == Method::Shrunk {
            let live = shape.live();
            let columns: Vec<Vec<f64>> = live.par_iter().map(|&d| shape.standardised(rows, d)).collect();
            let (matrix, _) = ledoit_wolf(&columns, &weights);
            let whitening = Whitening::of(&matrix, live.len()).ok_or_else(|| {
                DetectError::Data(
                    "some values are too large for a covariance: leave those vectors out, or take another method"
                        .into(),
                )
            })?;
            shape.whitening = Some(whitening.lower().to_vec());
        }
        Ok(shape)
    }

    /// From moments that were added up elsewhere. What was forgotten no longer counts as seen.
    pub(super) fn of_moments(moments: &Moments) -> Result<Self, DetectError> {
        let enough = |d: usize| moments.counted(d) >= MIN_SEEN as f64;
        Self::of((0..moments.width()).map(|d| (plain(moments, d).filter(|_| enough(d)), moments.counted(d))))
    }

    /// From centre and variance of each dimension, where it is looked at, and the number of vectors that they stand for.
    fn of(estimates: impl Iterator<Item = (Option<(f64, f64)>, f64)>) -> Result<Self, DetectError> {
        let mut shape = Self { centre: Vec::new(), variance: Vec::new(), cap: Vec::new(), whitening: None };
        for (d, (estimate, n)) in estimates.enumerate() {
            if estimate.is_some_and(|(centre, variance)| !(centre.is_finite() && variance.is_finite())) {
                return Err(DetectError::Data(format!(
                    "the values of column {d} (from 0) are too large to be squared"
                )));
            }
            let floored = estimate.is_some_and(|(_, variance)| variance <= VARIANCE_FLOOR);
            shape.centre.push(estimate.map(|(centre, _)| centre));
            shape.variance.push(estimate.map_or(1.0, |(_, variance)| variance.max(VARIANCE_FLOOR)));
            // Samuelson (1968), "How deviant can you be?": among n + 1 values none lies farther from their mean than
            // n / √(n + 1) standard deviations. A column that did not move in n vectors cannot vouch for more.
            shape.cap.push(floored.then(|| n * n / (n + 1.0)));
        }
        Ok(shape)
    }

    /// One column in standard deviations from its centre; a missing value lies at the centre.
    fn standardised<T: Number>(&self, rows: &Rows<'_, T>, d: usize) -> Vec<f64> {
        let (centre, deviation) = (self.centre[d].unwrap_or(0.0), self.variance[d].sqrt());
        let value = |row: &[T]| {
            let t = (row[d].into() - centre) / deviation;
            if t.is_nan() { 0.0 } else { t }
        };
        rows.iter().map(value).collect()
    }

    /// The dimensions that have a covariance.
    fn live(&self) -> Vec<usize> {
        (0..self.centre.len()).filter(|&d| self.centre[d].is_some() && self.cap[d].is_none()).collect()
    }

    pub(super) fn width(&self) -> usize {
        self.centre.len()
    }

    /// Makes ready to score; says what is wrong with stored numbers.
    pub(super) fn scorer(&self) -> Result<Scorer, &'static str> {
        let width = self.centre.len();
        if self.variance.len() != width || self.cap.len() != width {
            return Err("centre, variance and cap have different lengths");
        }
        if self.centre.iter().flatten().any(|value| !value.is_finite()) {
            return Err("a centre is not finite");
        }
        if self.variance.iter().any(|&value| !(value.is_finite() && value >= VARIANCE_FLOOR)) {
            return Err("a variance is below the floor of 1e-6 or not finite");
        }
        if self.cap.iter().flatten().any(|&value| !(value.is_finite() && value > 0.0)) {
            return Err("a cap is not positive and finite");
        }
        let live = self.live();
        let whitening = match &self.whitening {
            None => None,
            Some(lower) => {
                let bad = "the whitening is no triangle over the dimensions with a covariance";
                Some((live.clone(), Whitening::stored(live.len(), lower.clone()).ok_or(bad)?))
            }
        };
        Ok(Scorer {
            used: self.centre.iter().flatten().count(),
            dense: Dense::new(self),
            centre: self.centre.iter().map(|value| value.unwrap_or(f64::NAN)).collect(),
            inverse: self.variance.iter().map(|value| 1.0 / value.sqrt()).collect(),
            cap: self.cap.iter().map(|cap| cap.unwrap_or(f64::INFINITY)).collect(),
            whitening,
        })
    }
}

/// Mean and variance of a dimension, where enough values were seen.
fn plain(moments: &Moments, d: usize) -> Option<(f64, f64)> {
    moments.mean(d).zip(moments.variance(d)).filter(|_| moments.seen(d) >= MIN_SEEN)
}

/// Room for scoring that is kept between vectors.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    centred: Vec<f64>,
}

/// A shape made ready: no division and no allocation is left to do.
#[derive(Debug, Clone)]
pub(super) struct Scorer {
    /// Dimensions that are looked at.
    pub(super) used: usize,
    /// NaN where a dimension is not looked at: it then counts as not observed.
    centre: Vec<f64>,
    inverse: Vec<f64>,
    cap: Vec<f64>,
    whitening: Option<(Vec<usize>, Whitening)>,
    dense: Dense,
}

/// The common case: every dimension that is looked at was observed. What is not looked at, or capped, has a factor of 0.
#[derive(Debug, Clone)]
struct Dense {
    centre: Vec<f64>,
    inverse: Vec<f64>,
    capped: Vec<usize>,
}

/// What a vector's distance is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Distance {
    /// The squared distance; its mean over normal vectors is near `seen`.
    pub(super) squared: f64,
    /// Dimensions that are looked at and were observed.
    pub(super) seen: usize,
    /// Those among them whose squared z, before any cap, is at least [`FLAGGED`].
    pub(super) flagged: usize,
}

impl Scorer {
    /// The distance of a vector of the right width.
    pub(super) fn distance<T: Number>(&self, vector: &[T], scratch: &mut Scratch) -> Distance {
        let mut distance = self.all_observed(vector).unwrap_or_else(|| self.some_observed(vector));
        if let Some((live, whitening)) = &self.whitening {
            scratch.centred.clear();
            scratch.centred.extend(live.iter().map(|&d| {
                let t = (vector[d].into() - self.centre[d]) * self.inverse[d];
                if t.is_nan() { 0.0 } else { t }
            }));
            let still: f64 = self.dense.capped.iter().filter_map(|&d| self.squared_z(vector, d)).sum();
            distance.squared = whitening.squared(&scratch.centred) + still;
        }
        distance
    }

    /// The squared z of one dimension; `None` where it was not observed or is not looked at.
    pub(super) fn squared_z<T: Number>(&self, vector: &[T], d: usize) -> Option<f64> {
        let t = (vector[d].into() - self.centre[d]) * self.inverse[d];
        (!t.is_nan()).then(|| (t * t).min(self.cap[d]))
    }

    /// Whether a dimension that is looked at has an infinite value.
    pub(super) fn has_infinite<T: Number>(&self, vector: &[T]) -> bool {
        vector.iter().zip(&self.centre).any(|(&value, centre)| value.into().is_infinite() && !centre.is_nan())
    }

    /// The sum over the dimensions, in eight fixed lanes and without a branch, so that it becomes vector instructions.
    /// `None` where a value is missing (or infinite where it is not looked at).
    fn all_observed<T: Number>(&self, vector: &[T]) -> Option<Distance> {
        let Dense { centre, inverse, capped } = &self.dense;
        let (mut sum, mut flagged) = ([0.0f64; LANES], [0u64; LANES]);
        let (values, rest) = vector.as_chunks::<LANES>();
        let (centres, centre_rest) = centre.as_chunks::<LANES>();
        let (inverses, inverse_rest) = inverse.as_chunks::<LANES>();
        for ((values, centre), inverse) in values.iter().zip(centres).zip(inverses) {
            for lane in 0..LANES {
                let t = (values[lane].into() - centre[lane]) * inverse[lane];
                sum[lane] += t * t;
                flagged[lane] += u64::from(t * t >= FLAGGED);
            }
        }
        for (lane, ((&value, centre), inverse)) in rest.iter().zip(centre_rest).zip(inverse_rest).enumerate() {
            let t = (value.into() - centre) * inverse;
            sum[lane] += t * t;
            flagged[lane] += u64::from(t * t >= FLAGGED);
        }
        let mut distance =
            Distance { squared: sum.iter().sum(), seen: self.used, flagged: flagged.iter().sum::<u64>() as usize };
        for &d in capped {
            let t = (vector[d].into() - self.centre[d]) * self.inverse[d];
            if t.is_nan() {
                return None;
            }
            distance.squared += (t * t).min(self.cap[d]);
            distance.flagged += usize::from(t * t >= FLAGGED);
        }
        (!distance.squared.is_nan()).then_some(distance)
    }

    /// As above, with what is missing left out.
    fn some_observed<T: Number>(&self, vector: &[T]) -> Distance {
        let mut lanes = Lanes::default();
        let (values, rest) = vector.as_chunks::<LANES>();
        let (centres, centre_rest) = self.centre.as_chunks::<LANES>();
        let (inverses, inverse_rest) = self.inverse.as_chunks::<LANES>();
        let (caps, cap_rest) = self.cap.as_chunks::<LANES>();
        for (((values, centre), inverse), cap) in values.iter().zip(centres).zip(inverses).zip(caps) {
            lanes.add(&values.map(Into::into), centre, inverse, cap);
        }
        if !rest.is_empty() {
            // Padded by what counts as not observed.
            let mut padded = [[f64::NAN; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]];
            for (lane, &value) in rest.iter().enumerate() {
                padded[0][lane] = value.into();
                padded[1][lane] = centre_rest[lane];
                padded[2][lane] = inverse_rest[lane];
                padded[3][lane] = cap_rest[lane];
            }
            let [values, centre, inverse, cap] = padded;
            lanes.add(&values, &centre, &inverse, &cap);
        }
        Distance {
            squared: lanes.sum.iter().sum(),
            seen: lanes.seen.iter().sum::<f64>() as usize,
            flagged: lanes.flagged.iter().sum::<f64>() as usize,
        }
    }
}

impl Dense {
    fn new(shape: &Shape) -> Self {
        let live = |d: usize| shape.centre[d].filter(|_| shape.cap[d].is_none());
        let width = shape.centre.len();
        Self {
            centre: (0..width).map(|d| live(d).unwrap_or(0.0)).collect(),
            inverse: (0..width).map(|d| live(d).map_or(0.0, |_| 1.0 / shape.variance[d].sqrt())).collect(),
            capped: (0..width).filter(|&d| shape.centre[d].is_some() && shape.cap[d].is_some()).collect(),
        }
    }
}

const LANES: usize = 8;

/// Running sums; counts are floats so that all three are of one width.
#[derive(Default)]
struct Lanes {
    sum: [f64; LANES],
    seen: [f64; LANES],
    flagged: [f64; LANES],
}

impl Lanes {
    #[inline(always)]
    #[allow(clippy::inline_always)] // four arrays by reference: a call would cost more than its work
    fn add(&mut self, values: &[f64; LANES], centre: &[f64; LANES], inverse: &[f64; LANES], cap: &[f64; LANES]) {
        for lane in 0..LANES {
            let t = (values[lane] - centre[lane]) * inverse[lane];
            let square = t * t;
            // Written so that a NaN takes the cap, and is then left out.
            let capped = if square < cap[lane] { square } else { cap[lane] };
            self.sum[lane] += if square.is_nan() { 0.0 } else { capped };
            self.seen[lane] += if square.is_nan() { 0.0 } else { 1.0 };
            self.flagged[lane] += if square >= FLAGGED { 1.0 } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(drawn: i32) -> f64 {
        if drawn % 9 == 0 { f64::NAN } else { f64::from(drawn) / 16.0 }
    }

    proptest! {
        #[test]
        fn the_quick_sum_is_the_slow_one(
            width in 1usize..21, drawn in prop::collection::vec(-500i32..500, 800..900), probe in prop::collection::vec(-2000i32..2000, 21),
        ) {
            let rows = drawn.len() / width;
            let mut values: Vec<f64> = drawn[..rows * width].iter().map(|&v| value(v)).collect();
            // One column that never moves.
            values.chunks_exact_mut(width).for_each(|row| row[0] = 4.0);
            let rows = Rows::new(&values, width, &[]).unwrap();
            let scorer = Shape::fit(&rows, Method::Diagonal, None).unwrap().scorer().unwrap();
            let vector: Vec<f64> = probe[..width].iter().map(|&v| value(v)).collect();
            let moments = Moments::of(&rows, None).unwrap();
            let (mut sum, mut seen, mut flagged) = (0.0, 0, 0);
            #[allow(clippy::needless_range_loop)] // the dimension is named to all
            for d in 0..width {
                if vector[d].is_nan() || moments.seen(d) < MIN_SEEN { continue; }
                let variance = moments.variance(d).unwrap();
                let mut square = (vector[d] - moments.mean(d).unwrap()).powi(2) / variance.max(VARIANCE_FLOOR);
                let n = moments.seen(d) as f64;
                if variance <= VARIANCE_FLOOR { square = square.min(n * n / (n + 1.0)); }
                sum += square;
                seen += 1;
                flagged += usize::from(square >= FLAGGED);
            }
            let got = scorer.distance(&vector, &mut Scratch::default());
            if let Some(dense) = scorer.all_observed(&vector) {
                let sparse = scorer.some_observed(&vector);
                prop_assert!((dense.squared - sparse.squared).abs() <= 1e-9 * (1.0 + sum));
                prop_assert_eq!((dense.seen, dense.flagged), (sparse.seen, sparse.flagged));
            }
            prop_assert!((got.squared - sum).abs() <= 1e-9 * (1.0 + sum), "{} {sum}", got.squared);
            prop_assert_eq!((got.seen, got.flagged), (seen, flagged));
        }
    }

    #[test]
    fn a_column_that_never_moved_vouches_for_no_more_than_its_vectors() {
        let values = vec![7.0f64; 100];
        let scorer =
            Shape::fit(&Rows::new(&values, 1, &[]).unwrap(), Method::Diagonal, None).unwrap().scorer().unwrap();
        let squared = |x: f64| scorer.distance(&[x], &mut Scratch::default()).squared;
        assert_eq!(squared(7.0), 0.0);
        // The floor of 1e-6 is a standard deviation of a thousandth.
        assert!((squared(7.004) - 16.0).abs() < 1e-6);
        assert_eq!(squared(1e9), 10_000.0 / 101.0);
    }

    #[test]
    fn correlation_makes_a_broken_habit_far_and_a_kept_one_near() {
        let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65536.0 - 0.5;
        let values: Vec<f64> =
            (0..2000u32).flat_map(|i| [noise(i) * 4.0, noise(i) * 4.0 + noise(i + 7000) * 0.2]).collect();
        let rows = Rows::new(&values, 2, &[]).unwrap();
        let distance = |method, x: [f64; 2]| {
            let scorer = Shape::fit(&rows, method, None).unwrap().scorer().unwrap();
            scorer.distance(&x, &mut Scratch::default()).squared
        };
        let (kept, broken) = ([1.5, 1.5], [1.0, -1.0]);
        assert!(distance(Method::Diagonal, kept) > distance(Method::Diagonal, broken));
        assert!(distance(Method::Shrunk, broken) > 20.0 * distance(Method::Shrunk, kept));
    }

    #[test]
    fn stored_numbers_are_checked() {
        let values: Vec<f64> = (0..60).map(f64::from).collect();
        let good = Shape::fit(&Rows::new(&values, 2, &[]).unwrap(), Method::Shrunk, None).unwrap();
        assert!(good.scorer().is_ok());
        let bad = |change: &dyn Fn(&mut Shape)| {
            let mut shape = good.clone();
            change(&mut shape);
            assert!(shape.scorer().is_err(), "{shape:?}");
        };
        bad(&|shape| shape.variance.truncate(1));
        bad(&|shape| shape.variance[0] = 0.0);
        bad(&|shape| shape.variance[0] = f64::NAN);
        bad(&|shape| shape.centre[1] = Some(f64::INFINITY));
        bad(&|shape| shape.cap[1] = Some(1.0));
        bad(&|shape| shape.whitening = Some(vec![1.0]));
    }
}
