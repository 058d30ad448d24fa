//! Calibration maps as plain values: from the probabilities of a model to probabilities that mean what they say. They
//! are fitted in `eval`, on the validation side alone, and applied wherever probabilities leave a model.

use serde::{Deserialize, Serialize};

use crate::CoreError;
use crate::confusion::argmax;

/// A probability below this counts as this where its logarithm is taken: the distance from 1 to the next `f32`. A row
/// of `f32` cannot say anything finer of a class that it is nearly sure of.
pub const LEAST: f32 = f32::EPSILON;

/// Largest temperature; its inverse is the smallest.
const MAX_TEMPERATURE: f64 = 1e3;
/// Largest size of a weight or bias.
const MAX_WEIGHT: f64 = 1e6;

/// A map from one probability row (one value a class) to another. What was read from a file obeys
/// [`Calibration::check`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "Unchecked")]
pub enum Calibration {
    /// `softmax(ln p / t)`: one number for all classes, never changes which class is called (Guo et al., ICML 2017,
    /// section 4.2).
    Temperature {
        /// Above 1: the model was too sure of itself.
        t: f64,
    },
    /// Each class on its own through a monotone curve, then divided by the sum (Zadrozny and Elkan, KDD 2002).
    Isotonic {
        /// One curve a class.
        maps: Vec<Curve>,
    },
    /// `softmax(W ln p + b)` (Kull et al., `NeurIPS` 2019, section 3).
    Dirichlet {
        /// Classes × classes; row k makes class k.
        weights: Vec<Vec<f64>>,
        /// One a class.
        bias: Vec<f64>,
    },
}

/// A monotone, piecewise linear curve over [0, 1]; constant before its first and after its last knot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// Probabilities of the model, strictly ascending.
    pub x: Vec<f64>,
    /// What they mean, never falling.
    pub y: Vec<f64>,
}

/// The same as read, before it is checked.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Unchecked {
    Temperature { t: f64 },
    Isotonic { maps: Vec<Curve> },
    Dirichlet { weights: Vec<Vec<f64>>, bias: Vec<f64> },
}

impl TryFrom<Unchecked> for Calibration {
    type Error = CoreError;

    fn try_from(unchecked: Unchecked) -> Result<Self, CoreError> {
        let map = match unchecked {
            Unchecked::Temperature { t } => Self::Temperature { t },
            Unchecked::Isotonic { maps } => Self::Isotonic { maps },
            Unchecked::Dirichlet { weights, bias } => Self::Dirichlet { weights, bias },
        };
        map.check()?;
        Ok(map)
    }
}

impl Calibration {
    /// The name used in configuration and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Temperature { .. } => "temperature",
            Self::Isotonic { .. } => "isotonic",
            Self::Dirichlet { .. } => "dirichlet",
        }
    }

    /// Checks the rules that [`Calibration::apply`] relies on: finite values in range, square weights, monotone curves.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] naming the rule.
    pub fn check(&self) -> Result<(), CoreError> {
        let refuse = |why: String| Err(CoreError::invalid("calibration map", self.name(), why));
        match self {
            Self::Temperature { t } => {
                if !(1.0 / MAX_TEMPERATURE..=MAX_TEMPERATURE).contains(t) {
                    return refuse(format!("t is {t}: it lies between 1/{MAX_TEMPERATURE} and {MAX_TEMPERATURE}"));
                }
            }
            Self::Isotonic { maps } => {
                if let Some((class, why)) = maps.iter().enumerate().find_map(|(i, curve)| Some((i, curve.broken()?))) {
                    return refuse(format!("the curve of class {class} {why}"));
                }
            }
            Self::Dirichlet { weights, bias } => {
                if weights.len() != bias.len() || weights.iter().any(|row| row.len() != bias.len()) {
                    return refuse(format!("{} biases need as many rows of as many weights", bias.len()));
                }
                let wild = |w: &&f64| !(-MAX_WEIGHT..=MAX_WEIGHT).contains(*w);
                if let Some(w) = weights.iter().flatten().chain(bias).find(wild) {
                    return refuse(format!("{w} is no weight: they lie between -{MAX_WEIGHT} and {MAX_WEIGHT}"));
                }
            }
        }
        Ok(())
    }

    /// Checks that the map is one for so many classes.
    ///
    /// # Errors
    /// [`CoreError::Shape`].
    pub fn check_classes(&self, classes: usize) -> Result<(), CoreError> {
        let own = match self {
            Self::Temperature { .. } => classes,
            Self::Isotonic { maps } => maps.len(),
            Self::Dirichlet { bias, .. } => bias.len(),
        };
        if own == classes {
            return Ok(());
        }
        Err(CoreError::Shape {
            what: "calibration map",
            got: format!("{own} classes"),
            expected: format!("{classes} classes"),
        })
    }

    /// Maps one row in place. The result sums to 1 up to the rounding of its `f32` values.
    ///
    /// # Panics
    /// When the row is empty or has another number of classes than the map.
    pub fn apply(&self, row: &mut [f32]) {
        match self {
            Self::Temperature { t } => {
                let called = usize::from(argmax(row));
                softmax(row, |row, class| log(row[class]) / t);
                // Two neighbours may round to one value: the class that is called stays the same.
                let first = usize::from(argmax(row));
                if first != called {
                    row[called] = row[first].next_up();
                }
            }
            Self::Isotonic { maps } => {
                assert_eq!(row.len(), maps.len(), "one curve a class");
                let mapped: Vec<f64> = row.iter().zip(maps).map(|(p, curve)| curve.at(f64::from(*p))).collect();
                let sum: f64 = mapped.iter().sum();
                let even = 1.0 / row.len() as f64;
                for (p, mapped) in row.iter_mut().zip(mapped) {
                    *p = if sum == 0.0 { even } else { mapped / sum } as f32;
                }
            }
            Self::Dirichlet { weights, bias } => {
                assert_eq!(row.len(), bias.len(), "one bias a class");
                let logs: Vec<f64> = row.iter().map(|p| log(*p)).collect();
                softmax(row, |_, class| {
                    weights[class].iter().zip(&logs).map(|(w, log)| w * log).sum::<f64>() + bias[class]
                });
            }
        }
    }
}

impl Curve {
    /// The rule that the curve breaks.
    fn broken(&self) -> Option<&'static str> {
        let Self { x, y } = self;
        let inside = |values: &[f64]| values.iter().all(|v| (0.0..=1.0).contains(v));
        if x.is_empty() || x.len() != y.len() {
            Some("needs one y for each x, and at least one")
        } else if !inside(x) || !inside(y) {
            Some("leaves [0, 1]")
        } else if x.windows(2).any(|pair| pair[0] >= pair[1]) {
            Some("has an x that does not rise")
        } else if y.windows(2).any(|pair| pair[0] > pair[1]) {
            Some("has a y that falls")
        } else {
            None
        }
    }

    /// The value of the curve.
    fn at(&self, p: f64) -> f64 {
        let Self { x, y } = self;
        let right = x.partition_point(|knot| *knot < p);
        if p.is_nan() {
            p
        } else if right == 0 {
            y[0]
        } else if right == x.len() {
            y[right - 1]
        } else {
            let part = (p - x[right - 1]) / (x[right] - x[right - 1]);
            y[right - 1] + part * (y[right] - y[right - 1])
        }
    }
}

/// `ln max(p, LEAST)`; what is not a number stays so.
fn log(p: f32) -> f64 {
    f64::from(if p < LEAST { LEAST } else { p }).ln()
}

/// Replaces a row by the softmax of the scores that `score` makes of it.
fn softmax(row: &mut [f32], score: impl Fn(&[f32], usize) -> f64) {
    let mut scores: Vec<f64> = (0..row.len()).map(|class| score(row, class)).collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in &mut scores {
        *score = (*score - most).exp();
        sum += *score;
    }
    for (p, score) in row.iter_mut().zip(scores) {
        *p = (score / sum) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(x: &[f64], y: &[f64]) -> Curve {
        Curve { x: x.to_vec(), y: y.to_vec() }
    }

    fn applied(map: &Calibration, row: &[f32]) -> Vec<f32> {
        let mut row = row.to_vec();
        map.apply(&mut row);
        let sum: f64 = row.iter().map(|p| f64::from(*p)).sum();
        assert!((sum - 1.0).abs() < 1e-6 && row.iter().all(|p| (0.0..=1.0).contains(p)), "{row:?}");
        row
    }

    fn close(got: &[f32], expected: &[f64]) {
        assert!(got.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{got:?} {expected:?}");
    }

    #[test]
    fn maps_by_hand() {
        // odds of 9 to 1 become 3 to 1
        close(&applied(&Calibration::Temperature { t: 2.0 }, &[0.9, 0.1]), &[0.75, 0.25]);
        let maps = vec![curve(&[0.2, 0.6], &[0.1, 0.5]), curve(&[0.5], &[0.3])];
        // 0.4 lies half way up the first curve; the second is flat
        close(&applied(&Calibration::Isotonic { maps: maps.clone() }, &[0.4, 0.6]), &[0.5, 0.5]);
        close(&applied(&Calibration::Isotonic { maps: maps.clone() }, &[0.0, 1.0]), &[0.25, 0.75]);
        close(&applied(&Calibration::Isotonic { maps }, &[1.0, 0.0]), &[0.625, 0.375]);
        let weights = vec![vec![2.0, 0.0], vec![0.0, 1.0]];
        let bias = vec![0.0, 2.0f64.ln()];
        // 0.25 against 2 · 0.5
        close(&applied(&Calibration::Dirichlet { weights, bias }, &[0.5, 0.5]), &[0.2, 0.8]);
    }

    #[test]
    fn certainties_and_empty_rows_stay_probabilities() {
        let flat = vec![curve(&[0.0], &[0.0]); 3];
        let weights = vec![vec![1e6; 3], vec![-1e6; 3], vec![0.0; 3]];
        for map in [
            Calibration::Temperature { t: 1e-3 },
            Calibration::Temperature { t: 1e3 },
            Calibration::Isotonic { maps: flat },
            Calibration::Dirichlet { weights, bias: vec![-1e6, 1e6, 0.0] },
        ] {
            map.check().unwrap();
            for row in [[1.0, 0.0, 0.0], [0.0; 3], [f32::MIN_POSITIVE, 1.0, 1e-30]] {
                applied(&map, &row);
            }
        }
    }

    #[test]
    fn a_temperature_never_changes_the_class_that_is_called() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for _ in 0..20_000 {
            let t = [1e-3, 0.3, 1.0, 1.7, 40.0, 1e3][next() as usize % 6];
            let base = next() as f32 / (1u32 << 24) as f32;
            let mut row = [base, base, base];
            // Neighbours and ties are where rounding could decide.
            row[next() as usize % 3] = base.next_up();
            row[next() as usize % 3] = if next() % 4 == 0 { 0.0 } else { base };
            assert_eq!(argmax(&applied(&Calibration::Temperature { t }, &row)), argmax(&row), "{row:?} at {t}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_not_hidden() {
        let maps = vec![curve(&[0.5], &[0.5]); 2];
        let weights = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        for map in [
            Calibration::Temperature { t: 2.0 },
            Calibration::Isotonic { maps },
            Calibration::Dirichlet { weights, bias: vec![0.0; 2] },
        ] {
            let mut row = [f32::NAN, 0.5];
            map.apply(&mut row);
            assert!(row.iter().any(|p| p.is_nan()), "{map:?}: {row:?}");
        }
    }

    #[test]
    fn json_round_trip_and_what_is_refused() {
        for map in [
            Calibration::Temperature { t: 1.3 },
            Calibration::Isotonic { maps: vec![curve(&[0.1, 0.7], &[0.2, 0.9]), curve(&[0.0], &[1.0])] },
            Calibration::Dirichlet { weights: vec![vec![1.0, -0.5], vec![0.25, 1.5]], bias: vec![0.1, -0.1] },
        ] {
            let json = serde_json::to_string(&map).unwrap();
            assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), map, "{json}");
            map.check_classes(2).unwrap();
        }
        assert!(Calibration::Dirichlet { weights: vec![], bias: vec![] }.check_classes(2).is_err());
        for bad in [
            r#"{"temperature":{"t":0}}"#,
            r#"{"temperature":{"t":-1}}"#,
            r#"{"temperature":{"t":1e300}}"#,
            r#"{"temperature":{"t":1,"u":2}}"#,
            r#"{"isotonic":{"maps":[{"x":[],"y":[]}]}}"#,
            r#"{"isotonic":{"maps":[{"x":[0.1,0.1],"y":[0.1,0.2]}]}}"#,
            r#"{"isotonic":{"maps":[{"x":[0.1,0.2],"y":[0.2,0.1]}]}}"#,
            r#"{"isotonic":{"maps":[{"x":[0.1,1.2],"y":[0.1,0.2]}]}}"#,
            r#"{"isotonic":{"maps":[{"x":[0.1],"y":[0.1,0.2]}]}}"#,
            r#"{"dirichlet":{"weights":[[1,0]],"bias":[0,0]}}"#,
            r#"{"dirichlet":{"weights":[[1,0],[0]],"bias":[0,0]}}"#,
            r#"{"dirichlet":{"weights":[[1,0],[0,1e7]],"bias":[0,0]}}"#,
            r#"{"platt":{}}"#,
        ] {
            assert!(serde_json::from_str::<Calibration>(bad).is_err(), "{bad}");
        }
    }
}
