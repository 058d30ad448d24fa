//! One fold with one seed: scale, fit, score.

use stakeout_core::model::FEWEST_TO_CHOOSE;
use stakeout_core::{
    BaseModel, Calibration, Checkpoint, CheckpointHeader, Estimator, FitContext, FitObserver, InputKind, Labelled,
    SampleIndex, Scaler, Scores, Side, Subset, Windows,
};
use stakeout_eval::calibrate::{self, Sample};
use stakeout_eval::{Prediction, Predictions, TrainSide};
use stakeout_features::{Scaled, fit_moments};
use stakeout_splits::Fold;

use crate::config::{ClassWeights, Experiment, ScalerChoice};
use crate::dataset::CalibrationWindows;
use crate::{Dataset, TrainError};

/// What a fit is given besides the data.
pub(crate) struct Cell<'a> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) estimator: &'a dyn Estimator,
    pub(crate) fold: &'a Fold,
    pub(crate) seed: u64,
}

/// A fitted and scored fold.
pub(crate) struct Fitted {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) predictions: Predictions,
    pub(crate) train: TrainSide,
    /// What must be said of the validation side: what it was used for.
    pub(crate) remarks: Vec<String>,
}

impl Cell<'_> {
    /// Rows that fit weights: training rows, joined by the validation rows when those are held back for nothing.
    pub(crate) fn train_rows(&self) -> Vec<usize> {
        let held_back = self.validation_rows();
        if self.experiment.refit_all {
            // Every row that chooses nothing, those that the recipe puts in no side included.
            return (0..self.fold.rows()).filter(|row| held_back.binary_search(row).is_err()).collect();
        }
        let mut rows = self.fold.train().to_vec();
        if held_back.is_empty() {
            rows.extend_from_slice(self.fold.validation());
            rows.sort_unstable();
        }
        rows
    }

    /// Rows that are held back from training: those that choose an epoch or fit a calibration map, where there are
    /// enough of them for either.
    pub(crate) fn validation_rows(&self) -> &[usize] {
        let rows = self.fold.validation();
        let used = self.estimator.needs_validation() || self.experiment.calibration.method().is_some();
        if used && rows.len() >= FEWEST_TO_CHOOSE { rows } else { &[] }
    }

    /// What must be said where validation rows were too few for what they were asked for.
    fn too_few_remarks(&self) -> Vec<String> {
        let n = self.fold.validation().len();
        if n >= FEWEST_TO_CHOOSE {
            return Vec::new();
        }
        let mut remarks = Vec::new();
        if n > 0 && self.estimator.needs_validation() {
            remarks.push(format!(
                "{n} validation windows are too few to choose by ({FEWEST_TO_CHOOSE}): they were trained on"
            ));
        }
        if let Some(method) = self.experiment.calibration.method() {
            remarks.push(format!(
                "no calibration map: {n} validation windows are too few to fit one ({FEWEST_TO_CHOOSE}); probabilities \
                 are the model's own, not {} ones",
                method.name()
            ));
        }
        remarks
    }

    /// Fits the calibration map to the validation rows, which are all that `predictions` holds, and sends them through
    /// it.
    fn calibrate(
        &self,
        predictions: &mut Predictions,
        remarks: &mut Vec<String>,
    ) -> Result<Option<Calibration>, TrainError> {
        let Some(method) = self.experiment.calibration.method().filter(|_| !predictions.is_empty()) else {
            return Ok(None);
        };
        let sample = Sample::of(predictions, Side::Validation)?;
        let map = calibrate::fit(method, &sample)?;
        predictions.calibrate(&map)?;
        let found = match &map {
            Calibration::Temperature { t } => format!(" ({t:.3})"),
            _ => String::new(),
        };
        remarks.push(format!(
            "probabilities went through a {} map{found} fitted on the {} validation windows ({} episodes, each of weight \
             1): the calibration of the validation rows themselves is in-sample",
            method.name(),
            predictions.len(),
            sample.episodes()
        ));
        let absent: Vec<&str> =
            sample.absent().into_iter().map(|class| predictions.classes().names()[class].as_str()).collect();
        if !absent.is_empty() {
            remarks.push(format!("the calibration map saw no window of {}", absent.join(", ")));
        }
        Ok(Some(map))
    }

    /// Fits on the training side and scores validation and test windows.
    pub(crate) fn fit(&self, dataset: &Dataset, observer: &mut dyn FitObserver) -> Result<Fitted, TrainError> {
        let index = &dataset.index;
        let (train_rows, validation_rows) = (self.train_rows(), self.validation_rows());
        let kind = self.estimator.input();
        let scaler = fit_scaler(self.experiment.scaler, dataset, &train_rows, kind)?;
        let host_of_row = hosts(index);
        let scaled = Scaled::new(&dataset.windows, &scaler, &index.hosts, &host_of_row)?;

        let class_weights = class_weights(self.experiment.class_weights, index, &train_rows);
        let labels = |rows: &[usize]| rows.iter().map(|&row| index.windows[row].label).collect::<Vec<_>>();
        let weights =
            |labels: &[u16]| labels.iter().map(|&label| class_weights[usize::from(label)]).collect::<Vec<_>>();
        let (train_labels, validation_labels) = (labels(&train_rows), labels(validation_rows));
        let (train_weights, validation_weights) = (weights(&train_labels), weights(&validation_labels));
        let (train, validation) = (Subset::new(&scaled, &train_rows), Subset::new(&scaled, validation_rows));

        let chooses = self.estimator.needs_validation() && !validation_rows.is_empty();
        let mut cx = FitContext {
            validation: chooses.then_some(Labelled {
                windows: &validation,
                labels: &validation_labels,
                weights: &validation_weights,
            }),
            seed: self.seed,
            device: self.experiment.device,
            observer,
        };
        let train = Labelled { windows: &train, labels: &train_labels, weights: &train_weights };
        let model = self.estimator.fit(train, &mut cx)?;

        let mut predictions = Predictions::new(dataset.schema.classes.clone());
        score(
            &*model,
            None,
            &scaled,
            index,
            self.fold.name(),
            self.seed,
            &mut predictions,
            Side::Validation,
            validation_rows,
        )?;
        let mut remarks = self.too_few_remarks();
        let calibration = self.calibrate(&mut predictions, &mut remarks)?;
        if !self.experiment.refit_all {
            score(
                &*model,
                calibration.as_ref(),
                &scaled,
                index,
                self.fold.name(),
                self.seed,
                &mut predictions,
                Side::Test,
                self.fold.test(),
            )?;
        }
        Ok(Fitted {
            checkpoint: Checkpoint {
                header: CheckpointHeader {
                    kind: model.kind(),
                    config: model.config(),
                    input: model.input(),
                    schema_hash: dataset.schema.hash(),
                    schema: dataset.schema.clone(),
                    scaler,
                    calibration,
                    recipe: self.experiment.recipe.clone(),
                    held_out: if self.experiment.refit_all { Vec::new() } else { self.fold.held_out().to_vec() },
                    tested: !self.experiment.refit_all,
                    seed: self.seed,
                    simulated: dataset.simulated,
                    code_version: env!("CARGO_PKG_VERSION").into(),
                },
                weights: model.weights()?,
            },
            predictions,
            train: train_side(index, &train_rows),
            remarks,
        })
    }
}

/// The host of every window, as a position in the index's hosts.
pub(crate) fn hosts(index: &SampleIndex) -> Vec<u32> {
    (0..index.len()).map(|row| index.episode_of(row).host).collect()
}

/// Moments of the training rows, or of each host's calibration stretch.
pub(crate) fn fit_scaler(
    choice: ScalerChoice,
    dataset: &Dataset,
    train_rows: &[usize],
    kind: InputKind,
) -> Result<Scaler, TrainError> {
    Ok(match choice {
        ScalerChoice::None => Scaler::None,
        ScalerChoice::Global => Scaler::Global(fit_moments(&dataset.windows, train_rows, kind)?),
        ScalerChoice::HostClean => host_clean(&dataset.calibration, &dataset.index.hosts, kind)?,
    })
}

/// Moments of each of the given hosts from its own calibration stretch: chosen by time or by the corpus, never by a
/// label, and in no side of any fold.
///
/// # Errors
/// [`TrainError::Data`] naming the hosts without a calibration window.
pub(crate) fn host_clean(
    calibration: &CalibrationWindows,
    hosts: &[String],
    kind: InputKind,
) -> Result<Scaler, TrainError> {
    let mut by_host = std::collections::BTreeMap::new();
    let mut bare = Vec::new();
    for host in hosts {
        let rows: Vec<usize> = (0..calibration.hosts.len()).filter(|&row| calibration.hosts[row] == *host).collect();
        if rows.is_empty() {
            bare.push(host.as_str());
        } else {
            by_host.insert(host.clone(), fit_moments(&calibration.windows, &rows, kind)?);
        }
    }
    if bare.is_empty() {
        return Ok(Scaler::HostClean(by_host));
    }
    Err(TrainError::Data(format!(
        "scaler host-clean: no calibration window for {}; declare a stretch in corpus.toml ([calibration] minutes or \
         declared), or use scaler = \"global\"",
        bare.join(", ")
    )))
}

/// Weight of each class in the loss, from the training side: `n / (k · n_c)` over its `k` classes, so that the mean
/// over its windows is 1. A class that it lacks weighs 1 where it occurs in validation.
fn class_weights(choice: ClassWeights, index: &SampleIndex, rows: &[usize]) -> Vec<f32> {
    let mut counts = vec![0u64; index.classes.len()];
    for &row in rows {
        counts[usize::from(index.windows[row].label)] += 1;
    }
    let present = counts.iter().filter(|&&n| n > 0).count();
    let weight = |&n: &u64| match choice {
        ClassWeights::Balanced if n > 0 => (rows.len() as f64 / (present as f64 * n as f64)) as f32,
        _ => 1.0,
    };
    counts.iter().map(weight).collect()
}

pub(crate) fn train_side(index: &SampleIndex, rows: &[usize]) -> TrainSide {
    let mut windows = vec![0; index.classes.len()];
    let mut episodes = std::collections::BTreeSet::new();
    let mut hosts = std::collections::BTreeSet::new();
    for &row in rows {
        windows[usize::from(index.windows[row].label)] += 1;
        episodes.insert(index.windows[row].episode);
        hosts.insert(index.episode_of(row).host);
    }
    TrainSide { windows, episodes: episodes.len(), hosts: hosts.len() }
}

/// The probabilities of all windows of a scaled source, after the calibration map where there is one.
pub(crate) fn probabilities(
    model: &dyn BaseModel,
    calibration: Option<&Calibration>,
    windows: &dyn Windows,
) -> Result<Scores, TrainError> {
    let mut scores = model.predict(windows)?;
    if let Some(map) = calibration {
        map.check_classes(scores.ncols())?;
        for mut row in scores.rows_mut() {
            map.apply(row.as_slice_mut().expect("a score row is contiguous"));
        }
    }
    Ok(scores)
}

/// Adds the predictions of some rows of a scaled source.
#[allow(clippy::too_many_arguments)] // one row of predictions names all of these
pub(crate) fn score(
    model: &dyn BaseModel,
    calibration: Option<&Calibration>,
    windows: &dyn Windows,
    index: &SampleIndex,
    fold: &str,
    seed: u64,
    predictions: &mut Predictions,
    side: Side,
    rows: &[usize],
) -> Result<(), TrainError> {
    let scores = probabilities(model, calibration, &Subset::new(windows, rows))?;
    for (&row, probabilities) in rows.iter().zip(scores.rows()) {
        let (key, episode) = (index.windows[row], index.episode_of(row));
        let seen_until = key.t0_ns.saturating_add(index.window_ns).min(episode.span.1);
        predictions.push(&Prediction {
            side,
            fold,
            seed,
            episode: &episode.id,
            host: &index.hosts[episode.host as usize],
            sample: &index.samples[episode.sample as usize],
            profile: &index.profiles[episode.profile as usize],
            t0_ns: key.t0_ns,
            t_onset_ns: episode.onset_ns,
            observed_seconds: seen_until.saturating_sub(episode.span.0) as f64 / 1e9,
            label: key.label,
            probabilities: probabilities.as_slice().expect("a score row is contiguous"),
        })?;
    }
    Ok(())
}
