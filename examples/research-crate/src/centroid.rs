//! `acme/nearest-centroid`: the class whose mean is nearest, on window summaries.
//!
//! Distances are in units of the spread within classes, as in Tibshirani et al., "Diagnosis of multiple cancer types by
//! shrunken centroids" (PNAS 2002), without the shrinking. A missing value is left out of the distance, on both sides:
//! of a class's mean and of a window's distance, which is a mean over what the window has.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stakeout_core::model::check_batch;
use stakeout_core::{
    BaseModel, Batch, CoreError, Estimator, FitContext, Geometry, InputKind, Labelled, LoadContext, ModelEntry,
    ModelError, ModelKind, Scratch,
};
use stakeout_models::config::{section, within};

const KIND: &str = "acme/nearest-centroid";
/// Windows that are held in memory at a time.
const CHUNK: usize = 256;
/// No squared distance along one input counts more, so that sums stay finite.
const FARTHEST: f64 = 1e12;
const MAGIC: &[u8; 8] = b"ACMECEN1";

/// The registry entry.
///
/// # Errors
/// Never, with the name above.
pub fn entry() -> Result<ModelEntry, CoreError> {
    Ok(ModelEntry {
        kind: ModelKind::new(KIND)?,
        about: "the nearest class mean, in units of the spread within classes",
        defaults: "# How fast probability falls with the mean squared distance.\nsharpness = 2.0\n",
        configure: |given| Ok(Box::new(NearestCentroid::new(section(KIND, given)?)?)),
        load,
    })
}

/// The settings: what `[model."acme/nearest-centroid"]` may hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How fast probability falls with the mean squared distance.
    pub sharpness: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { sharpness: 2.0 }
    }
}

/// The unfitted model.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestCentroid {
    config: Config,
}

impl NearestCentroid {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the setting and its range.
    pub fn new(config: Config) -> Result<Self, ModelError> {
        within(KIND, "sharpness", &config.sharpness, 1e-3..=1e3, "0.001 to 1000")?;
        Ok(Self { config })
    }

    fn to_value(&self) -> Value {
        serde_json::json!({ "sharpness": self.config.sharpness })
    }
}

impl Estimator for NearestCentroid {
    fn kind(&self) -> ModelKind {
        ModelKind::new(KIND).expect("a valid kind")
    }

    fn input(&self) -> InputKind {
        InputKind::Summary
    }

    /// Nothing is chosen, so that validation windows are trained on.
    fn needs_validation(&self) -> bool {
        false
    }

    fn config(&self) -> Value {
        self.to_value()
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        train.check()?;
        let geometry = train.windows.schema().geometry();
        let (classes, inputs) = (geometry.classes, geometry.features);

        // First pass: weighted means. `at` is the cell of a class and an input.
        let at = |label: u16, input: usize| usize::from(label) * inputs + input;
        let (mut mass, mut means) = (vec![0.0; classes * inputs], vec![0.0; classes * inputs]);
        each_window(train, cx, 0, |row, label, weight| {
            for (input, value) in seen(row) {
                mass[at(label, input)] += weight;
                means[at(label, input)] += weight * value;
            }
        })?;
        for (mean, mass) in means.iter_mut().zip(&mass) {
            *mean = if *mass > 0.0 { *mean / mass } else { f64::NAN };
        }
        // A class that never showed an input takes the mean of those that did: it then says nothing about the class.
        for input in 0..inputs {
            let known = (0..classes).map(|class| class * inputs + input).filter(|&cell| mass[cell] > 0.0);
            let (sum, n) = known.fold((0.0, 0.0), |(sum, n), cell| (sum + mass[cell] * means[cell], n + mass[cell]));
            for class in 0..classes {
                let mean = &mut means[class * inputs + input];
                if mean.is_nan() {
                    *mean = if n > 0.0 { sum / n } else { 0.0 };
                }
            }
        }

        // Second pass: the spread of each input within classes, and what each class weighs.
        let (mut squares, mut masses) = (vec![0.0; inputs], vec![0.0; inputs]);
        let mut weights = vec![0.0; classes];
        each_window(train, cx, 1, |row, label, weight| {
            weights[usize::from(label)] += weight;
            for (input, value) in seen(row) {
                squares[input] += weight * (value - means[at(label, input)]).powi(2);
                masses[input] += weight;
            }
        })?;
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return Err(ModelError::Data("every window has weight 0".into()));
        }
        let spreads: Vec<f64> =
            squares.iter().zip(&masses).map(|(s, m)| if *m > 0.0 { (s / m).sqrt() } else { 0.0 }).collect();
        let scales = (0..inputs).map(|input| {
            // An input that is constant within classes may still tell them apart: its unit is then a thousandth of
            // how far the classes lie apart. One that is constant throughout has no unit and is left out (0).
            let means = (0..classes).map(|class| means[class * inputs + input]);
            let (low, high) = means.fold((f64::MAX, f64::MIN), |(low, high), mean| (low.min(mean), high.max(mean)));
            let spread = spreads[input].max((high - low) / 1000.0);
            if spread > 0.0 && spread.is_finite() { (1.0 / spread) as f32 } else { 0.0 }
        });
        let centroids = Centroids {
            config: self.config.clone(),
            geometry,
            shares: weights.iter().map(|weight| (weight / total) as f32).collect(),
            scales: scales.collect(),
            means: means.iter().map(|mean| *mean as f32).collect(),
        };
        centroids.check()?;
        Ok(Box::new(centroids))
    }
}

/// Hands every window to `take` with its label and weight, in order; `pass` of two, for the progress.
fn each_window(
    train: Labelled<'_>,
    cx: &mut FitContext<'_>,
    pass: usize,
    mut take: impl FnMut(&[f32], u16, f64),
) -> Result<(), ModelError> {
    let n = train.windows.len();
    let rows: Vec<usize> = (0..n).collect();
    let mut batch = Batch::new(InputKind::Summary, train.windows.schema().geometry());
    for rows in rows.chunks(CHUNK) {
        if cx.observer.cancelled() {
            return Err(ModelError::Cancelled);
        }
        train.windows.gather(rows, &mut batch)?;
        for (i, &row) in rows.iter().enumerate() {
            take(batch.row(i), train.labels[row], f64::from(train.weights[row]));
        }
        cx.observer.progress((pass * n + rows[rows.len() - 1] + 1) as u64, 2 * n as u64);
    }
    Ok(())
}

/// The inputs that a window has; NaN is one that it has not.
fn seen(row: &[f32]) -> impl Iterator<Item = (usize, f64)> + '_ {
    row.iter().enumerate().filter(|(_, value)| value.is_finite()).map(|(input, value)| (input, f64::from(*value)))
}

/// The fitted model.
#[derive(Debug, Clone, PartialEq)]
struct Centroids {
    config: Config,
    geometry: Geometry,
    /// Share of the training weight of each class.
    shares: Vec<f32>,
    /// One over the spread of each input; 0 leaves the input out.
    scales: Vec<f32>,
    /// Classes × inputs.
    means: Vec<f32>,
}

impl Centroids {
    /// What every fit gives and every file must give.
    fn check(&self) -> Result<(), ModelError> {
        let total: f32 = self.shares.iter().sum();
        let shares = self.shares.iter().all(|share| (0.0..=1.0).contains(share)) && (total - 1.0).abs() < 1e-3;
        let scales = self.scales.iter().all(|scale| scale.is_finite() && *scale >= 0.0);
        if shares && scales && self.means.iter().all(|mean| mean.is_finite()) {
            return Ok(());
        }
        Err(ModelError::Weights("they hold a share, a scale or a mean that no fit gives".into()))
    }

    /// Mean squared distance of a window to a class, over the inputs that the window has; 0 where it has none.
    fn distance(&self, row: &[f32], class: usize) -> f64 {
        let means = &self.means[class * row.len()..];
        let (mut sum, mut n) = (0.0, 0.0);
        for (input, value) in seen(row).filter(|(input, _)| self.scales[*input] > 0.0) {
            let apart = (value - f64::from(means[input])) * f64::from(self.scales[input]);
            sum += (apart * apart).min(FARTHEST);
            n += 1.0;
        }
        if n > 0.0 { sum / n } else { 0.0 }
    }
}

impl BaseModel for Centroids {
    fn kind(&self) -> ModelKind {
        ModelKind::new(KIND).expect("a valid kind")
    }

    fn input(&self) -> InputKind {
        InputKind::Summary
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn predict_into(&self, batch: &Batch, _scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError> {
        check_batch(self, batch, out)?;
        let classes = self.geometry.classes;
        for (row, out) in out.chunks_exact_mut(classes).enumerate() {
            // share · exp(-sharpness · distance), scaled so that the largest exponent is 0.
            let logs: Vec<f64> = (0..classes)
                .map(|class| {
                    f64::from(self.shares[class]).ln() - self.config.sharpness * self.distance(batch.row(row), class)
                })
                .collect();
            let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logs.iter().map(|log| (log - most).exp()).sum();
            for (out, log) in out.iter_mut().zip(&logs) {
                *out = ((log - most).exp() / total) as f32;
            }
        }
        Ok(())
    }

    fn config(&self) -> Value {
        NearestCentroid { config: self.config.clone() }.to_value()
    }

    /// Magic and version, then shares, scales and means as little-endian `f32`.
    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        let numbers = self.shares.iter().chain(&self.scales).chain(&self.means);
        Ok(MAGIC.iter().copied().chain(numbers.flat_map(|number| number.to_le_bytes())).collect())
    }
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let config: Config = section(KIND, cx.config)?;
    NearestCentroid::new(config.clone())?;
    let (classes, inputs) = (cx.geometry.classes, cx.geometry.features);
    // The length follows from the geometry: it is compared before anything is read.
    let body = cx.weights.strip_prefix(MAGIC).filter(|body| body.len() == 4 * (classes + inputs + classes * inputs));
    let Some(body) = body else {
        return Err(ModelError::Weights(format!("they are not those of {KIND} for {}", cx.geometry)));
    };
    let mut numbers = body.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let centroids = Centroids {
        config,
        geometry: cx.geometry,
        shares: numbers.by_ref().take(classes).collect(),
        scales: numbers.by_ref().take(inputs).collect(),
        means: numbers.collect(),
    };
    centroids.check()?;
    Ok(Box::new(centroids))
}
