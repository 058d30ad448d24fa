//! One fold with one seed: scale, fit, score.

use stakeout_core::{
    BaseModel, Checkpoint, CheckpointHeader, Estimator, FitContext, FitObserver, InputKind, Labelled, SampleIndex,
    Scaler, Side, Subset,
};
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
}

impl Cell<'_> {
    /// Rows that fit weights: training rows, joined by the validation rows when the estimator chooses nothing on them.
    pub(crate) fn train_rows(&self) -> Vec<usize> {
        let chooses = self.estimator.needs_validation();
        if self.experiment.refit_all {
            // Every row that chooses nothing, those that the recipe puts in no side included.
            let choose = if chooses { self.fold.validation() } else { &[] };
            return (0..self.fold.rows()).filter(|row| choose.binary_search(row).is_err()).collect();
        }
        let mut rows = self.fold.train().to_vec();
        if !chooses {
            rows.extend_from_slice(self.fold.validation());
            rows.sort_unstable();
        }
        rows
    }

    fn validation_rows(&self) -> &[usize] {
        if self.estimator.needs_validation() { self.fold.validation() } else { &[] }
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

        let mut cx = FitContext {
            validation: (!validation_rows.is_empty()).then_some(Labelled {
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
            &scaled,
            index,
            self.fold.name(),
            self.seed,
            &mut predictions,
            Side::Validation,
            validation_rows,
        )?;
        if !self.experiment.refit_all {
            score(
                &*model,
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
        })
    }
}

/// The host of every window, as a position in the index's hosts.
pub(crate) fn hosts(index: &SampleIndex) -> Vec<u32> {
    (0..index.len()).map(|row| index.episode_of(row).host).collect()
}

/// Moments of the training rows, or of each host's calibration stretch.
fn fit_scaler(
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

fn train_side(index: &SampleIndex, rows: &[usize]) -> TrainSide {
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

/// Adds the predictions of some rows of a scaled source.
#[allow(clippy::too_many_arguments)] // one row of predictions names all of these
pub(crate) fn score(
    model: &dyn BaseModel,
    windows: &dyn stakeout_core::Windows,
    index: &SampleIndex,
    fold: &str,
    seed: u64,
    predictions: &mut Predictions,
    side: Side,
    rows: &[usize],
) -> Result<(), TrainError> {
    let scores = model.predict(&Subset::new(windows, rows))?;
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
