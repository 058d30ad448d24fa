//! Learning a baseline: centre and spread from some vectors, the threshold from others.

use serde::{Deserialize, Serialize};

use super::calibrated::{Calibrated, Calibration, Refusal};
use super::learn::{learn, scores_by, without_clump, z};
use super::parametric::{self, Observed, Parametric};
use super::rows::{Number, Rows};
use super::score::{Score, Skipped};
use super::settings::{Method, Settings, ThresholdFrom};
use super::shape::{Scorer, Scratch, Shape};
use super::tail::{self, Tail};
use super::{MIN_BASELINE_SAMPLES, Moments, blocks, moments};
use crate::DetectError;

#[derive(Debug, Clone)]
struct Ready {
    shape: Shape,
    scorer: Scorer,
    calibration: Calibration,
    budget: f64,
    threshold: f64,
}

/// The scorer follows from the shape, and has NaN where a dimension is not looked at: it is not compared.
impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        (&self.shape, &self.calibration, self.budget, self.threshold)
            == (&other.shape, &other.calibration, other.budget, other.threshold)
    }
}

/// The normal vectors of one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Baseline {
    /// Vectors that centre and spread were learnt from.
    n: u64,
    ready: Option<Ready>,
}

impl Baseline {
    /// Learns from normal vectors in time order. With fewer than [`MIN_BASELINE_SAMPLES`] the baseline says nothing.
    ///
    /// For a threshold from held-out vectors the older half is learnt from and the newer half held out: a drift between
    /// them widens the threshold instead of raising alarms.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for settings out of range; [`DetectError::Data`] where held-out vectors are demanded and
    /// too few for the budget, or for values that are too large to be squared.
    pub fn fit<T: Number>(rows: &Rows<'_, T>, settings: &Settings) -> Result<Self, DetectError> {
        settings.check()?;
        let n = rows.len() as u64;
        let counted = moments::effective(&moments::weights(rows.len(), settings.half_life)?);
        if rows.len() < MIN_BASELINE_SAMPLES || counted < MIN_BASELINE_SAMPLES as f64 {
            return Ok(Self { n, ready: None });
        }
        if settings.threshold == ThresholdFrom::Parametric {
            return Self::parametric(rows, settings, None, None);
        }
        match Self::conformal(rows, settings)? {
            Ok(baseline) => Ok(baseline),
            Err((refused, block_length)) if settings.threshold == ThresholdFrom::Auto => {
                Self::parametric(rows, settings, Some(refused), block_length)
            }
            Err((refused, block_length)) => Err(DetectError::Data(refusal(settings.budget, refused, block_length))),
        }
    }

    /// From moments that were added up as vectors came, or merged from several machines: a `diagonal` baseline of all of
    /// them. No vector is left to be held out, so that the threshold is that of independent normal dimensions, marked as
    /// parametric, and guarantees nothing: it is for a host that cannot keep its vectors.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a budget out of range, [`DetectError::Data`] for values that were too large to be
    /// squared.
    pub fn of_moments(moments: &Moments, budget: f64) -> Result<Self, DetectError> {
        Settings { budget, ..Settings::default() }.check()?;
        let n = moments.rows();
        let counted = (0..moments.width()).map(|d| moments.counted(d)).fold(0.0, f64::max);
        if n < MIN_BASELINE_SAMPLES as u64 || counted < MIN_BASELINE_SAMPLES as f64 {
            return Ok(Self { n, ready: None });
        }
        let shape = Shape::of_moments(moments)?;
        let scorer = shape.scorer().map_err(|error| DetectError::Data(error.into()))?;
        let distribution = Parametric::new(Method::Diagonal, counted, scorer.used, None);
        let threshold = distribution.threshold(budget);
        let calibration =
            Calibration::Parametric { distribution, refused: None, block_length: None, vectors: 0, left_out: 0 };
        Ok(Self { n, ready: Some(Ready { shape, scorer, calibration, budget, threshold }) })
    }

    /// A threshold from the newer half; where the budget is too small for it, what it would need and the length of a
    /// block, if it came to that.
    #[allow(clippy::type_complexity)] // a failure of two kinds: the data's, and the budget's
    fn conformal<T: Number>(
        rows: &Rows<'_, T>,
        settings: &Settings,
    ) -> Result<Result<Self, (Refusal, Option<usize>)>, DetectError> {
        let needed = tail::needed(settings.budget);
        let (older, newer) = rows.split((rows.len() / 2).max(MIN_BASELINE_SAMPLES));
        let (older, newer) = (older.rows(), newer.rows());
        let counted = moments::effective(&moments::weights(older.len(), settings.half_life)?);
        // A block holds at least one vector.
        if newer.len() < needed || counted < MIN_BASELINE_SAMPLES as f64 {
            return Ok(Err((Refusal { needed, have: newer.len() }, None)));
        }
        let (shape, scorer, n) = learn(&older, settings)?;
        let block_length = settings.block.unwrap_or_else(|| {
            let (scores, segments) = scores_by(&scorer, &older, &older.segments());
            (blocks::autocorrelation_time(&scores, &segments).round() as usize).max(1)
        });
        let cut = blocks::cut(&newer.segments(), block_length);
        let (scores, lengths) = scores_by(&scorer, &newer, &cut);
        let (scores, lengths, left_out) = without_clump(scores, lengths, settings.contamination());
        let tail = Tail::new(&scores, &lengths);
        let threshold = match tail.threshold(settings.budget) {
            Ok(threshold) => threshold,
            Err(refused) => return Ok(Err((refused, Some(block_length)))),
        };
        let calibration = Calibration::Conformal { tail, block_length, vectors: newer.len(), left_out };
        Ok(Ok(Self { n, ready: Some(Ready { shape, scorer, calibration, budget: settings.budget, threshold }) }))
    }

    /// A threshold from a distribution; all vectors are learnt from, and each half scored by a baseline of the other says
    /// how far normal vectors scatter.
    fn parametric<T: Number>(
        rows: &Rows<'_, T>,
        settings: &Settings,
        refused: Option<Refusal>,
        block_length: Option<usize>,
    ) -> Result<Self, DetectError> {
        let (shape, scorer, n) = learn(rows, settings)?;
        let (older, newer) = rows.split(rows.len() / 2);
        let (mut scores, mut parts) = (Vec::new(), Vec::new());
        for (own, other) in [(&older, &newer), (&newer, &older)] {
            let (_, half, used) = learn(&own.rows(), settings)?;
            scores.extend(scores_by(&half, &other.rows(), &[other.rows().len()]).0);
            parts.push(used as f64);
        }
        let held_out = scores.len();
        let lengths = vec![held_out];
        let (scores, _, left_out) = without_clump(scores, lengths, settings.contamination());
        let (method, d) = (settings.method, scorer.used);
        let effective = |n: f64| moments::weights(n as usize, settings.half_life).map(|w| moments::effective(&w));
        let whole = effective(n as f64)?;
        // A half knows less than the whole: what theory says of the difference is taken off again.
        let at_half = parametric::theory(method, effective(parts.iter().sum::<f64>() / 2.0)?, d);
        let at_whole = parametric::theory(method, whole, d);
        let observed = parametric::observed(scores.iter().map(|z| z * z).collect()).map(|observed| Observed {
            median: observed.median * at_whole.mean / at_half.mean,
            ratio: observed.ratio.powf((at_whole.variation / at_half.variation).sqrt()),
            ..observed
        });
        let distribution = Parametric::new(method, whole, d, observed);
        let threshold = distribution.threshold(settings.budget);
        let calibration = Calibration::Parametric { distribution, refused, block_length, vectors: held_out, left_out };
        Ok(Self { n, ready: Some(Ready { shape, scorer, calibration, budget: settings.budget, threshold }) })
    }

    /// Scores one vector. Nothing is allocated after the first vector of a full covariance, and nothing at all else.
    pub fn score<T: Number>(&self, vector: &[T], scratch: &mut Scratch) -> Score {
        let Some(ready) = &self.ready else {
            let few = self.n < MIN_BASELINE_SAMPLES as u64;
            let reason = if few { Skipped::TooFew { seen: self.n } } else { Skipped::Forgotten };
            return Score::none(reason, 0.0, self.n);
        };
        match ready.z(vector, scratch) {
            Err(reason) => Score::none(reason, ready.threshold, self.n),
            Ok((z, flagged, seen)) => Score {
                z,
                threshold: ready.threshold,
                is_outlier: z > ready.threshold,
                dims_flagged: flagged,
                dims_seen: seen,
                baseline_n: self.n,
                skipped: None,
            },
        }
    }

    /// How often a normal vector scores at least so high: by held-out vectors (never below 1 / (blocks + 1)), or by the
    /// fallback's distribution. 1 where there is no score.
    pub fn p_value(&self, score: &Score) -> f64 {
        match &self.ready {
            Some(ready) if score.skipped.is_none() => match &ready.calibration {
                Calibration::Conformal { tail, .. } => tail.p_value(score.z),
                Calibration::Parametric { distribution, .. } => distribution.p_value(score.z),
            },
            _ => 1.0,
        }
    }

    /// The squared z of every dimension, in order; `None` where it was not observed or is not looked at. Empty where
    /// there is no score.
    pub fn squared_z<T: Number>(&self, vector: &[T]) -> Vec<Option<f64>> {
        match &self.ready {
            Some(ready) if vector.len() == ready.shape.width() => {
                (0..vector.len()).map(|d| ready.scorer.squared_z(vector, d)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Vectors that centre and spread were learnt from.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Numbers a vector; `None` where too few vectors were seen.
    pub fn width(&self) -> Option<usize> {
        self.ready.as_ref().map(|ready| ready.shape.width())
    }

    /// Where the threshold comes from; `None` where too few vectors were seen.
    pub fn calibrated(&self) -> Option<Calibrated> {
        let Ready { calibration, budget, threshold, .. } = self.ready.as_ref()?;
        Some(match calibration {
            Calibration::Conformal { tail, block_length, vectors, left_out } => Calibrated {
                kind: "conformal",
                threshold: *threshold,
                level: tail.p_value(threshold.next_up()),
                block_length: Some(*block_length),
                blocks: Some(tail.blocks),
                held_out: *vectors,
                left_out: *left_out,
                refused: None,
                distribution: None,
            },
            Calibration::Parametric { distribution, refused, block_length, vectors, left_out } => Calibrated {
                kind: "parametric",
                threshold: *threshold,
                level: *budget,
                block_length: *block_length,
                blocks: None,
                held_out: *vectors,
                left_out: *left_out,
                refused: *refused,
                distribution: Some(distribution.describe()),
            },
        })
    }
}

impl Ready {
    fn z<T: Number>(&self, vector: &[T], scratch: &mut Scratch) -> Result<(f64, usize, usize), Skipped> {
        if vector.is_empty() {
            return Err(Skipped::Missing);
        }
        let expected = self.shape.width();
        if vector.len() != expected {
            return Err(Skipped::Dimensions { got: vector.len(), expected });
        }
        z(&self.scorer, vector, scratch)
    }
}

fn refusal(budget: f64, refused: Refusal, block_length: Option<usize>) -> String {
    let Refusal { needed, have } = refused;
    let length = block_length.unwrap_or(1);
    format!(
        "a budget of {budget} needs {needed} held-out blocks ({} normal vectors in blocks of {length}, half of them \
         held out), there are {have}: give more normal vectors, a budget of at least {:.6}, or take the parametric \
         threshold, which guarantees nothing",
        needed.saturating_mul(length).saturating_mul(2),
        1.0 / (have as f64 + 1.0),
    )
}

/// What a file holds of a baseline; the rest follows from it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    fitted: Option<Fitted>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fitted {
    budget: f64,
    shape: Shape,
    calibration: Calibration,
}

impl From<Baseline> for Stored {
    fn from(baseline: Baseline) -> Self {
        let fitted = baseline.ready.map(|ready| Fitted {
            budget: ready.budget,
            shape: ready.shape,
            calibration: ready.calibration,
        });
        Self { n: baseline.n, fitted }
    }
}

impl TryFrom<Stored> for Baseline {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Some(Fitted { budget, shape, calibration }) = stored.fitted else {
            return Ok(Self { n: stored.n, ready: None });
        };
        if stored.n < MIN_BASELINE_SAMPLES as u64 {
            return Err(format!("a baseline of {} vectors, {MIN_BASELINE_SAMPLES} are needed", stored.n));
        }
        Settings { budget, ..Settings::default() }.check().map_err(|error| error.to_string())?;
        let scorer = shape.scorer()?;
        let threshold = match &calibration {
            Calibration::Conformal { tail, .. } => {
                tail.check()?;
                tail.threshold(budget).map_err(|refused| refused.to_string())?
            }
            Calibration::Parametric { distribution, .. } => {
                distribution.check()?;
                distribution.threshold(budget)
            }
        };
        Ok(Self { n: stored.n, ready: Some(Ready { shape, scorer, calibration, budget, threshold }) })
    }
}
