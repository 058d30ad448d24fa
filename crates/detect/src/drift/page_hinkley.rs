//! The Page–Hinkley test: has the mean of a stream risen?

use serde::{Deserialize, Serialize};

use crate::DetectError;

/// The test of Page (1954) for a rise of a mean that is not known but followed (Hinkley 1971; in the form of Gama et
/// al. 2014, section 3.2.2):
///
/// ```text
/// m_t = Σ (x_i − x̄_i − δ),   alarm when m_t − min m > λ
/// ```
///
/// with `x̄_i` the mean up to `x_i`. After an alarm it starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageHinkley {
    delta: f64,
    lambda: f64,
    values: u64,
    mean: f64,
    sum: f64,
    least: f64,
}

impl PageHinkley {
    /// A test that overlooks a rise of `delta` and gives an alarm at `lambda`.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] unless `delta` is finite and not negative, `lambda` finite and positive.
    pub fn new(delta: f64, lambda: f64) -> Result<Self, DetectError> {
        let good = delta.is_finite() && delta >= 0.0 && lambda.is_finite() && lambda > 0.0;
        if !good {
            let why = format!("delta {delta}, lambda {lambda}: delta is not negative, lambda is positive");
            return Err(DetectError::Invalid { what: "Page-Hinkley test", why });
        }
        Ok(Self { delta, lambda, values: 0, mean: 0.0, sum: 0.0, least: 0.0 })
    }

    /// Takes the next value; the height of the rise where it gives an alarm. What is not finite is passed over.
    pub fn observe(&mut self, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        self.values += 1;
        self.mean += (value - self.mean) / self.values as f64;
        self.sum += value - self.mean - self.delta;
        self.least = self.least.min(self.sum);
        let rise = self.sum - self.least;
        if rise <= self.lambda {
            return None;
        }
        *self = Self { values: 0, mean: 0.0, sum: 0.0, least: 0.0, ..*self };
        Some(rise)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rise after the last of the values, from the definition.
    fn slow(values: &[f64], delta: f64) -> f64 {
        let mean = |t: usize| values[..=t].iter().sum::<f64>() / (t + 1) as f64;
        let m = |t: usize| (0..t).map(|i| values[i] - mean(i) - delta).sum::<f64>();
        m(values.len()) - (0..=values.len()).map(m).fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #[test]
        fn alarms_come_when_the_definition_says(values in prop::collection::vec(-20i32..20, 1..60), lambda in 1u32..40) {
            let lambda = f64::from(lambda) / 2.0 + 0.01;
            let mut test = PageHinkley::new(0.1, lambda).unwrap();
            let mut since = Vec::new();
            for value in values.into_iter().map(f64::from) {
                since.push(value);
                let rise = slow(&since, 0.1);
                match test.observe(value) {
                    Some(found) => {
                        prop_assert!((found - rise).abs() < 1e-9 && rise > lambda - 1e-9);
                        since.clear();
                    }
                    None => prop_assert!(rise <= lambda + 1e-9),
                }
            }
        }
    }

    #[test]
    fn a_rise_is_found_soon_and_a_steady_or_falling_mean_never() {
        let wave = |i: u32| f64::from(i % 5) / 5.0;
        let mut test = PageHinkley::new(0.05, 5.0).unwrap();
        assert!((0..5000).all(|i| test.observe(wave(i)).is_none()));
        assert!((0..5000).all(|i| test.observe(wave(i) - 1.0).is_none()));
        let mut test = PageHinkley::new(0.05, 5.0).unwrap();
        (0..500).for_each(|i| assert!(test.observe(wave(i)).is_none()));
        let found = (0..50).find(|i| test.observe(wave(*i) + 1.0).is_some()).unwrap();
        assert!(found < 12, "{found}");
        assert_eq!((test.observe(f64::NAN), test.observe(f64::INFINITY)), (None, None));
        for (delta, lambda) in [(-1.0, 1.0), (0.0, 0.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert!(PageHinkley::new(delta, lambda).is_err());
        }
    }
}
