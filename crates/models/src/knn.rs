//! Nearest neighbours (Cover and Hart 1967; weighted by distance as in Dudani 1976): the training windows themselves
//! vote, exactly, by brute force.
//!
//! Inputs are scaled robustly, by median and interquartile range of the training side, and held within ten of those
//! units; a missing value counts as the median. The nearest of the `k` neighbours votes with its row weight, the others
//! with theirs times the ratio of its distance to their own. Votes become probabilities by adding `smoothing` votes spread
//! evenly over the classes (Laplace): a window whose neighbours are few, light or far apart is less sure of its class.
//!
//! `neighbours = 0` chooses k among 1, 3, 5, 9, 15, 25 on the validation side, which the recipe cuts by its own groups:
//! leave-one-out on the training side would find the other half of an overlapping window and always choose 1. With too
//! few validation windows leave-one-out is all there is. The most accurate k wins, by row weights; the lower log loss
//! decides between equals, then the smaller k.
//!
//! Guarantees: the same probabilities in any batch, bit for bit; the same bytes for any number of threads; a window of
//! weight 0 counts as absent; a class without a training window keeps its column, with a small probability. The
//! checkpoint holds training windows: do not give it to those who may not see them.
//!
//! In reading order: `robust` (inputs), `nearest` (search), `vote` (probabilities, choice of k).

mod nearest;
mod robust;
mod vote;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stakeout_core::model::check_batch;
use stakeout_core::{
    BaseModel, Batch, Estimator, FitContext, Geometry, InputKind, Labelled, LoadContext, ModelEntry, ModelError,
    ModelKind, Scratch,
};

use crate::bytes::Reader;
use crate::config::{self, within};
use crate::draw::{choose, stream};
use crate::weighted::Weighted;
use nearest::Neighbours;
use robust::Robust;

const KIND: &str = "knn";
const MAGIC: [u8; 4] = *b"SKNN";
const FORMAT: u32 = 1;
/// The values of k that are tried.
const CANDIDATES: [usize; 6] = [1, 3, 5, 9, 15, 25];
/// With fewer validation windows than this k is chosen by leave-one-out: they say too little.
const MIN_VALIDATION_WINDOWS: usize = stakeout_core::model::FEWEST_TO_CHOOSE;
/// Windows that k is chosen by, at most.
const JUDGED: usize = 2000;

/// The registry entry.
pub fn entry() -> ModelEntry {
    ModelEntry {
        kind: kind(),
        about: "nearest neighbours, exact: the training windows vote",
        defaults: include_str!("knn/defaults.toml"),
        configure: |given| Ok(Box::new(Knn::new(config::section(KIND, given)?)?)),
        load,
    }
}

/// Settings; the commented defaults are in the registry entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnnConfig {
    /// What each window is fed as.
    pub input: InputKind,
    /// Neighbours that vote; 0: chosen.
    pub neighbours: usize,
    /// Votes spread evenly over the classes.
    pub smoothing: f64,
    /// Training windows kept, at most.
    pub max_rows: usize,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self { input: InputKind::Summary, neighbours: 0, smoothing: 1.0, max_rows: 20_000 }
    }
}

impl KnnConfig {
    fn check(&self) -> Result<(), ModelError> {
        within(KIND, "neighbours", &self.neighbours, 0..=1000, "0 (chosen) to 1000")?;
        within(KIND, "smoothing", &self.smoothing, 1e-6..=1e6, "1e-6 to 1e6")?;
        within(KIND, "max_rows", &self.max_rows, 1..=10_000_000, "1 to 10000000")
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("settings serialise")
    }
}

/// Keeps training windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Knn {
    config: KnnConfig,
}

impl Knn {
    /// An estimator with checked settings.
    ///
    /// # Errors
    /// [`ModelError::Config`] that names the first setting out of range.
    pub fn new(config: KnnConfig) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self { config })
    }

    /// The number of neighbours that does best.
    fn choose_k(&self, fitted: &Fitted, cx: &mut FitContext<'_>) -> Result<usize, ModelError> {
        let candidates: Vec<usize> = CANDIDATES.into_iter().filter(|k| *k < fitted.neighbours.len().max(2)).collect();
        let most = *candidates.last().expect("1 is always there");
        let validation = match cx.validation {
            Some(validation) => {
                validation.check()?;
                Some((validation, Weighted::of(&validation)?))
                    .filter(|(_, own)| own.rows.len() >= MIN_VALIDATION_WINDOWS)
            }
            None => None,
        };
        let (found, labels, weights, how) = match validation {
            Some((validation, own)) => {
                let picks = choose(own.rows.len(), own.rows.len().min(JUDGED), &mut stream(cx.seed, [1]));
                let pick = |of: &dyn Fn(usize) -> usize| picks.iter().map(|i| of(*i as usize)).collect::<Vec<_>>();
                let queries = fitted.robust.gather(validation.windows, self.config.input, &pick(&|i| own.rows[i]))?;
                let labels: Vec<u16> = picks.iter().map(|i| own.labels[*i as usize]).collect();
                let weights: Vec<f32> = picks.iter().map(|i| own.weights[*i as usize]).collect();
                (fitted.neighbours.nearest(&queries, most, None), labels, weights, "by the validation side")
            }
            None => {
                let all = &fitted.neighbours;
                let picks = choose(all.len(), all.len().min(JUDGED), &mut stream(cx.seed, [1]));
                let queries: Vec<f32> = picks.iter().flat_map(|i| all.row(*i as usize)).copied().collect();
                let labels: Vec<u16> = picks.iter().map(|i| fitted.labels[*i as usize]).collect();
                let weights: Vec<f32> = picks.iter().map(|i| fitted.weights[*i as usize]).collect();
                let how = "by leaving out each training window: there are too few validation windows";
                (all.nearest(&queries, most, Some(&picks)), labels, weights, how)
            }
        };
        let electorate = fitted.electorate();
        let judged = candidates.iter().map(|k| (*k, vote::judge(&electorate, &found, most, *k, &labels, &weights)));
        let best = judged.reduce(|best, next| if next.1.beats(&best.1) { next } else { best });
        let k = best.expect("1 is always there").0;
        cx.observer.note(&format!("{k} neighbours vote, chosen {how}"));
        Ok(k)
    }
}

impl Estimator for Knn {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        self.config.input
    }

    fn needs_validation(&self) -> bool {
        self.config.neighbours == 0
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    fn fit(&self, train: Labelled<'_>, cx: &mut FitContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
        train.check()?;
        let geometry = train.windows.schema().geometry();
        let Weighted { rows, labels, weights } = Weighted::of(&train)?;
        let picks = choose(rows.len(), rows.len().min(self.config.max_rows), &mut stream(cx.seed, [0]));
        if picks.len() < rows.len() {
            cx.observer.note(&format!("kept {} of {} training windows: max_rows", picks.len(), rows.len()));
        }
        let rows: Vec<usize> = picks.iter().map(|i| rows[*i as usize]).collect();
        let width = geometry.row_len(self.config.input);
        let robust = Robust::of(train.windows, self.config.input, &rows)?;
        let mut fitted = Fitted {
            config: self.config.clone(),
            geometry,
            neighbours: Neighbours::new(robust.gather(train.windows, self.config.input, &rows)?, width),
            robust,
            labels: picks.iter().map(|i| labels[*i as usize]).collect(),
            weights: picks.iter().map(|i| weights[*i as usize]).collect(),
            k: 1,
        };
        cx.observer.progress(1, 2);
        if cx.observer.cancelled() {
            // seconds of work: it starts again without a state
            return Err(ModelError::Cancelled);
        }
        fitted.k = match self.config.neighbours {
            0 => self.choose_k(&fitted, cx)?,
            fixed => fixed.min(rows.len()),
        };
        cx.observer.progress(2, 2);
        Ok(Box::new(fitted))
    }
}

struct Fitted {
    config: KnnConfig,
    geometry: Geometry,
    robust: Robust,
    neighbours: Neighbours,
    labels: Vec<u16>,
    weights: Vec<f32>,
    k: usize,
}

impl Fitted {
    fn electorate(&self) -> vote::Electorate<'_> {
        vote::Electorate {
            labels: &self.labels,
            weights: &self.weights,
            classes: self.geometry.classes,
            smoothing: self.config.smoothing,
        }
    }
}

impl BaseModel for Fitted {
    fn kind(&self) -> ModelKind {
        kind()
    }

    fn input(&self) -> InputKind {
        self.config.input
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn predict_into(&self, batch: &Batch, scratch: &mut Scratch, out: &mut [f32]) -> Result<(), ModelError> {
        check_batch(self, batch, out)?;
        let [queries] = scratch.buffers([batch.values.len()]);
        let width = batch.row_len();
        for (raw, out) in batch.values.chunks_exact(width).zip(queries.chunks_exact_mut(width)) {
            self.robust.apply(raw, out);
        }
        let found = self.neighbours.nearest(queries, self.k, None);
        let electorate = self.electorate();
        for (found, out) in found.chunks_exact(self.k).zip(out.chunks_exact_mut(self.geometry.classes)) {
            electorate.probabilities(found, out);
        }
        Ok(())
    }

    fn config(&self) -> Value {
        self.config.to_json()
    }

    /// Magic `SKNN`, then little endian: `u32` format, inputs, classes, windows, neighbours that vote; the scaling as
    /// [`Robust::write`] does; per window `u16` class, then `f32` weight, then its scaled values as `f32`.
    fn weights(&self) -> Result<Vec<u8>, ModelError> {
        let mut bytes = MAGIC.to_vec();
        let inputs = self.geometry.row_len(self.config.input);
        for word in [FORMAT, inputs as u32, self.geometry.classes as u32, self.labels.len() as u32, self.k as u32] {
            bytes.extend(word.to_le_bytes());
        }
        self.robust.write(&mut bytes);
        bytes.extend(self.labels.iter().flat_map(|label| label.to_le_bytes()));
        bytes.extend(self.weights.iter().flat_map(|weight| weight.to_le_bytes()));
        bytes.extend(self.neighbours.values().iter().flat_map(|value| value.to_le_bytes()));
        Ok(bytes)
    }
}

fn kind() -> ModelKind {
    ModelKind::new(KIND).expect("a valid kind")
}

fn load(cx: &LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError> {
    let config: KnnConfig = config::section(KIND, cx.config)?;
    config.check()?;
    let (width, classes) = (cx.geometry.row_len(config.input), cx.geometry.classes);
    let refused = |why: String| Err(ModelError::Weights(why));
    let mut reader = Reader::new(cx.weights);
    reader.expect(MAGIC, FORMAT)?;
    let stored = [reader.u32()? as usize, reader.u32()? as usize];
    if stored != [width, classes] {
        return refused(format!(
            "they are for {} inputs and {} classes, the schema has {width} and {classes}",
            stored[0], stored[1]
        ));
    }
    let (rows, k) = (reader.u32()? as usize, reader.u32()? as usize);
    if k == 0 || k > rows {
        return refused(format!("{k} neighbours of {rows} windows"));
    }
    let robust = Robust::read(&mut reader, width)?;
    let pairs = reader.take(rows, 2)?.chunks_exact(2);
    let labels: Vec<u16> = pairs.map(|b| u16::from_le_bytes(b.try_into().expect("two bytes"))).collect();
    let weights = reader.f32s(rows)?;
    let values = reader.f32s(rows.saturating_mul(width))?;
    reader.end()?;
    if let Some(label) = labels.iter().find(|label| usize::from(**label) >= classes) {
        return refused(format!("class {label} of {classes}"));
    }
    if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
        return refused(format!("window weight {weight}"));
    }
    if let Some(value) = values.iter().find(|value| !robust::is_scaled(**value)) {
        return refused(format!("scaled value {value}"));
    }
    let neighbours = Neighbours::new(values, width);
    Ok(Box::new(Fitted { config, geometry: cx.geometry, robust, neighbours, labels, weights, k }))
}
