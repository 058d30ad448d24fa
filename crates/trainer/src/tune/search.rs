//! The search itself: rung by rung, trial by trial, inner fold by inner fold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use stakeout_core::{EpochRecord, FitObserver, ModelError};
use stakeout_eval::bootstrap::Plan;
use stakeout_eval::{Constant, Unit};
use stakeout_splits::{Fold, RecipeRegistry, nested_folds};

use super::folder::{BEST, RESULT, TRIALS};
use super::halving::{Rung, Score, promote, rank, rungs};
use super::journal::{Evaluation, Journal};
use super::score::{Reported, keep, report, score};
use super::space::{Settings, resource, set_model};
use super::{SearchDir, Space, TuneKeys, complete, report::best_toml, report::write_history};
use crate::fit::Cell;
use crate::run::Origin;
use crate::{Dataset, Experiment, Progress, Request, TrainError, rundir};

/// What is searched, and where.
pub struct Search<'a> {
    /// Data, base settings, model and recipe.
    pub request: &'a Request<'a>,
    /// `[tune]`.
    pub keys: &'a TuneKeys,
    /// The outer fold: settings are chosen inside its training side.
    pub outer: &'a Fold,
    /// Where recipes are configured, to write an experiment of the outer fold alone.
    pub recipes: &'a RecipeRegistry,
}

/// A trial of the last rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// Its number; 0 is the configured settings.
    pub trial: usize,
    /// Its settings.
    pub settings: Settings,
    /// Its score with all of the resource.
    #[serde(flatten)]
    pub score: Reported,
}

/// A trial that could not be fitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its number.
    pub trial: usize,
    /// Why.
    pub why: String,
}

/// The result of a search: `tune.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Where the numbers come from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The outer fold.
    pub fold: String,
    /// What its test side holds: never seen here.
    pub held_out: Vec<String>,
    /// Seed of every fit.
    pub seed: u64,
    /// Names of the inner folds.
    pub inner_folds: Vec<String>,
    /// What they hold out.
    pub inner_by: String,
    /// What grew from rung to rung.
    pub resource: String,
    /// Trials and resource of each rung.
    pub rungs: Vec<(usize, u64)>,
    /// Settings tried.
    pub trials: usize,
    /// Fits made.
    pub fits: usize,
    /// How intervals were made.
    pub bootstrap: Plan,
    /// The constant predictor on the inner test windows.
    pub constant: Constant,
    /// The trials of the last rung, best first.
    pub ranking: Vec<Ranked>,
    /// Trials that could not be fitted.
    pub failed: Vec<Failed>,
    /// What must be said beside the numbers.
    pub notes: Vec<String>,
}

/// What grows from rung to rung.
enum Resource {
    /// A whole-number setting of the model, by its path.
    Setting(Vec<String>),
    /// The number of inner folds that a trial is judged on.
    Folds,
}

/// Everything that a fit needs, without a row of the test side.
struct Inner<'a> {
    search: &'a Search<'a>,
    dataset: Dataset,
    folds: Vec<Fold>,
    base: Experiment,
    space: Space,
    trials: Vec<Settings>,
    resource: Resource,
    seed: u64,
}

impl Search<'_> {
    /// Digest of everything that decides the search.
    ///
    /// # Errors
    /// For settings that the model refuses.
    pub fn digest(&self) -> Result<String, TrainError> {
        let base = complete(self.request.experiment, self.request.model)?;
        let config = self.request.model_config()?;
        let keys = serde_json::to_string(self.keys).unwrap_or_default();
        let data = &self.request.dataset;
        let parts = [
            rundir::settings_digest(self.request.model.kind.as_str(), &base, &config).as_str(),
            &keys,
            &data.digest,
            data.schema.hash().as_str(),
            self.outer.name(),
            env!("CARGO_PKG_VERSION"),
        ]
        .join("\n");
        Ok(blake3::hash(parts.as_bytes()).to_hex().to_string())
    }

    /// Refuses what can be refused before anything is written or fitted.
    ///
    /// # Errors
    /// A mistaken space or setting, or a training side that makes no inner folds.
    pub fn check(&self) -> Result<(), TrainError> {
        Inner::new(self).map(|_| ())
    }

    /// Searches, and writes journal, history, best settings and result into `dir`. Evaluations that an earlier process
    /// finished there are not made again.
    ///
    /// # Errors
    /// A mistaken space or setting, before anything is fitted; [`ModelError::Cancelled`] (inside
    /// [`TrainError::Model`]) when `cancel` was raised: finished evaluations are kept.
    pub fn run(&self, dir: &SearchDir, progress: &dyn Progress, cancel: &AtomicBool) -> Result<Found, TrainError> {
        let inner = Inner::new(self)?;
        let mut journal = Journal::open(dir.path(), &self.digest()?)?;
        let (plan, history, last) = inner.halve(&mut journal, progress, cancel)?;
        let (found, best) = inner.found(&plan, &history, &last)?;
        write_history(&dir.path().join(TRIALS), &history)?;
        let text = best_toml(self, &found, best)?;
        stakeout_core::files::write_atomic(&dir.path().join(BEST), text.as_bytes())?;
        rundir::write_json(&dir.path().join(RESULT), &found)?;
        Ok(found)
    }
}

/// Evaluations by trial, setting of the resource (0 where folds are it) and inner fold.
type Made = BTreeMap<(usize, u64, usize), Evaluation>;

impl<'a> Inner<'a> {
    fn new(search: &'a Search<'a>) -> Result<Self, TrainError> {
        let Search { request, keys, outer, .. } = search;
        keys.check()?;
        let kind = request.model.kind.as_str();
        let base = complete(request.experiment, request.model)?;
        let space = Space::read(&keys.space, kind, &base)?;
        let split_seed = request.experiment.split_seed();
        let (resource, trials) = match &keys.resource {
            None => (Resource::Folds, keys.trials),
            Some(key) => {
                let (path, _) = resource(key, kind, &base)?;
                if space.searches(&path) {
                    let why = format!("`{key}` cannot be searched and be the resource");
                    return Err(TrainError::config("tune.resource", why));
                }
                (Resource::Setting(path), keys.trials)
            }
        };
        let trials = space.draw(&base, trials, keys.seed.unwrap_or(split_seed));
        // Every trial's settings are in range before the first is fitted.
        for settings in &trials {
            let config = space.apply(&base, settings)?.model[kind].clone();
            (request.model.configure)(&config)?;
        }
        let mut rows: Vec<usize> = outer.train().iter().chain(outer.validation()).copied().collect();
        rows.sort_unstable();
        let dataset = request.dataset.only(&rows)?;
        let all: Vec<usize> = (0..rows.len()).collect();
        let folds = nested_folds(&dataset.index, &all, outer.test_by(), keys.inner_folds, split_seed)?;
        let seed = request.experiment.seed.list().first().copied().unwrap_or_default();
        Ok(Self { search, dataset, folds, base, space, trials, resource, seed })
    }

    fn kind(&self) -> &str {
        self.search.request.model.kind.as_str()
    }

    /// The configured amount of the resource, which the last rung has.
    fn most(&self) -> Result<u64, TrainError> {
        match (&self.resource, &self.search.keys.resource) {
            (Resource::Setting(_), Some(key)) => Ok(resource(key, self.kind(), &self.base)?.1),
            _ => Ok(self.folds.len() as u64),
        }
    }

    /// The inner folds that a rung judges on.
    fn folds_of(&self, rung: Rung) -> &[Fold] {
        match self.resource {
            Resource::Setting(_) => &self.folds,
            Resource::Folds => &self.folds[..(rung.resource as usize).min(self.folds.len())],
        }
    }

    /// How much one fit counts in the progress.
    fn cost(&self, rung: Rung) -> u64 {
        match self.resource {
            Resource::Setting(_) => rung.resource,
            Resource::Folds => 1,
        }
    }

    /// Runs all rungs; returns them, all evaluations in the order in which they were made, and the scores of the last.
    #[allow(clippy::type_complexity)] // three values of one caller
    fn halve(
        &self,
        journal: &mut Journal,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<(Vec<Rung>, Vec<Evaluation>, Vec<(usize, Score, Vec<Evaluation>)>), TrainError> {
        let keys = self.search.keys;
        let plan = rungs(self.trials.len(), keys.rungs, keys.eta, self.most()?);
        let work = |rung: Rung, trials: usize| (trials * self.folds_of(rung).len()) as u64 * self.cost(rung);
        let later = |rungs: &[Rung]| -> u64 { rungs.iter().map(|&rung| work(rung, rung.trials)).sum() };
        let total = later(&plan);
        let unit = match &self.resource {
            Resource::Folds => "fits",
            Resource::Setting(path) => match path.last().map(String::as_str) {
                Some("epochs") => "epochs",
                Some("rounds") => "rounds",
                Some("trees") => "trees",
                _ => "units",
            },
        };
        progress.stage(&format!("tuning {}, fold {}", self.kind(), self.search.outer.name()), unit, total);
        if journal.kept() > 0 {
            progress.say(&format!("kept {} finished fits", journal.kept()));
        }
        let mut meter = Meter { done: 0, total };
        let (mut made, mut history): (Made, Vec<Evaluation>) = (Made::new(), Vec::new());
        let mut alive: Vec<usize> = (0..self.trials.len()).collect();
        let mut last = Vec::new();
        let mut best: Option<f64> = None;
        for (r, &rung) in plan.iter().enumerate() {
            last.clear();
            // The configured settings may ride along.
            meter.total = meter.done + work(rung, alive.len()) + later(&plan[r + 1..]);
            for &trial in &alive {
                let mut own = Vec::new();
                for f in 0..self.folds_of(rung).len() {
                    let key = (trial, if matches!(self.resource, Resource::Folds) { 0 } else { rung.resource }, f);
                    if let Some(before) = made.get(&key) {
                        meter.skip(self.cost(rung));
                        own.push(before.clone());
                        continue;
                    }
                    let fold = &self.folds[f];
                    let evaluation = if let Some(kept) = journal.next(trial, rung.resource, fold.name())? {
                        self.check(&kept, trial)?;
                        meter.skip(self.cost(rung));
                        kept
                    } else {
                        let so_far = best.map_or(String::new(), |best| format!(", best so far {best:.3}"));
                        let note = format!("rung {} of {}, trial {trial}{so_far}", r + 1, plan.len());
                        let evaluation = self.evaluate(
                            trial,
                            r + 1,
                            rung,
                            fold,
                            &Watch {
                                progress,
                                cancel,
                                base: meter.done,
                                share: self.cost(rung),
                                total: meter.total,
                                note,
                            },
                        )?;
                        journal.push(&evaluation)?;
                        meter.done += self.cost(rung);
                        evaluation
                    };
                    let failed = evaluation.failed.is_some();
                    history.push(evaluation.clone());
                    made.insert(key, evaluation.clone());
                    own.push(evaluation);
                    if failed {
                        break;
                    }
                }
                let score = score(&own.iter().collect::<Vec<_>>(), self.dataset.schema.classes.len());
                best = [best, score.macro_f1].into_iter().flatten().reduce(f64::max);
                last.push((trial, score, own));
            }
            if let Some(&next) = plan.get(r + 1) {
                let scores: Vec<(usize, Score)> = last.iter().map(|(trial, score, _)| (*trial, *score)).collect();
                alive = promote(&scores, next);
                best = None; // scores with less of the resource are another measure
            }
        }
        Ok((plan, history, last))
    }

    /// Fits one trial on one inner fold. A fit that the data or the settings break is a result too.
    fn evaluate(
        &self,
        trial: usize,
        rung_number: usize,
        rung: Rung,
        fold: &Fold,
        watch: &Watch<'_>,
    ) -> Result<Evaluation, TrainError> {
        if watch.cancel.load(Ordering::Relaxed) {
            return Err(ModelError::Cancelled.into());
        }
        let mut experiment = self.space.apply(&self.base, &self.trials[trial])?;
        if let Resource::Setting(path) = &self.resource {
            set_model(&mut experiment, self.kind(), path, &rung.resource.into());
        }
        let estimator = (self.search.request.model.configure)(&experiment.model[self.kind()])?;
        let cell = Cell { experiment: &experiment, estimator: &*estimator, fold, seed: self.seed };
        let (scored, failed) = match cell.fit(&self.dataset, &mut watch.clone()) {
            Ok(fitted) => (Some(keep(&fitted.predictions, &self.dataset.index, fold.test(), &fitted.train)), None),
            Err(TrainError::Model(ModelError::Data(why))) => (None, Some(why)),
            Err(error) => return Err(error),
        };
        Ok(Evaluation {
            trial,
            rung: rung_number,
            resource: rung.resource,
            fold: fold.name().to_owned(),
            seed: self.seed,
            settings: self.trials[trial].clone(),
            scored,
            failed,
        })
    }

    /// A kept evaluation speaks of this search's trial, episodes and classes.
    fn check(&self, kept: &Evaluation, trial: usize) -> Result<(), TrainError> {
        let (index, classes) = (&self.dataset.index, self.dataset.schema.classes.len());
        let sound = kept.scored.as_ref().is_none_or(|scored| {
            let windows: u64 = scored.cells.iter().map(|cell| u64::from(cell.3)).sum();
            let known = scored
                .cells
                .iter()
                .all(|cell| (cell.0 as usize) < index.episodes.len() && usize::from(cell.1.max(cell.2)) < classes);
            known && windows <= index.len() as u64 && scored.train.windows.len() == classes
        });
        if sound && kept.settings == self.trials[trial] && kept.seed == self.seed {
            return Ok(());
        }
        Err(TrainError::Data(format!("trials.jsonl: trial {trial} is not of this search; start again with --force")))
    }

    /// Brings the last rung together; also returns the best settings as an experiment.
    fn found(
        &self,
        plan: &[Rung],
        history: &[Evaluation],
        last: &[(usize, Score, Vec<Evaluation>)],
    ) -> Result<(Found, Experiment), TrainError> {
        let Search { request, keys, outer, .. } = self.search;
        let scores: Vec<(usize, Score)> = last.iter().map(|(trial, score, _)| (*trial, *score)).collect();
        let intervals = &request.experiment.intervals;
        let bootstrap = Plan { resamples: intervals.resamples, level: intervals.level, seed: self.seed };
        let mut ranking = Vec::new();
        for trial in rank(&scores) {
            let Some((_, _, own)) = last.iter().find(|(other, _, _)| *other == trial) else { continue };
            let own: Vec<&Evaluation> = own.iter().collect();
            let (index, classes) = (&self.dataset.index, &self.dataset.schema.classes);
            if let Some(score) = report(&own, index, classes, Unit::Host, &bootstrap)? {
                ranking.push(Ranked { trial, settings: self.trials[trial].clone(), score });
            }
        }
        let failed: Vec<Failed> = history
            .iter()
            .filter_map(|made| made.failed.clone().map(|why| Failed { trial: made.trial, why }))
            .collect();
        let Some(best) = ranking.first() else {
            let first = failed.first().map_or("no trial was made", |failed| &failed.why);
            return Err(TrainError::Data(format!("every trial failed; the first: {first}")));
        };
        let experiment = self.space.apply(&self.base, &best.settings)?;
        let constant = best.score.constant.clone();
        let estimator = (request.model.configure)(&experiment.model[self.kind()])?;
        let mut notes: Vec<String> = Vec::new();
        for fold in &self.folds {
            notes.extend(fold.notes().iter().map(|note| format!("inner fold {}: {note}", fold.name())));
        }
        notes.extend(request.clock_remark());
        if best.trial == 0 {
            notes.push("no trial was better than the settings as they were configured".into());
        }
        if self.trials.len() < keys.trials {
            notes.push(format!("the space has only {} different settings", self.trials.len()));
        }
        if !self.space.skipped.is_empty() {
            notes.push(format!("not settings of {}: {}", self.kind(), self.space.skipped.join(", ")));
        }
        if request.experiment.seed.list().len() > 1 {
            notes.push(format!("every fit has the first seed, {}", self.seed));
        }
        notes.push(
            "the best of many is flattered by the windows that chose it; the test side of the outer fold chose nothing \
             and was not looked at"
                .into(),
        );
        let by = self.folds[0].test_by().name();
        let selection = format!(
            "the largest pooled macro F1 over {} inner folds ({by} held out) inside the training side, ties by log loss",
            self.folds.len()
        );
        let found = Found {
            origin: Origin { selection, ..request.origin(&*estimator) },
            fold: outer.name().to_owned(),
            held_out: outer.held_out().to_vec(),
            seed: self.seed,
            inner_folds: self.folds.iter().map(|fold| fold.name().to_owned()).collect(),
            inner_by: by.to_owned(),
            resource: keys.resource.clone().unwrap_or_else(|| "inner folds".into()),
            rungs: plan.iter().map(|rung| (rung.trials, rung.resource)).collect(),
            trials: self.trials.len(),
            fits: history.len(),
            bootstrap,
            constant,
            ranking,
            failed,
            notes,
        };
        Ok((found, experiment))
    }
}

/// How far the search is, in units of the resource.
struct Meter {
    done: u64,
    total: u64,
}

impl Meter {
    /// Work that need not be done: it says nothing about the speed.
    fn skip(&mut self, units: u64) {
        self.total = self.total.saturating_sub(units);
    }
}

/// Shows one fit as part of the whole, and lets it be interrupted. Its state is not kept: a fit of a search is short.
#[derive(Clone)]
struct Watch<'a> {
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    base: u64,
    share: u64,
    total: u64,
    note: String,
}

impl FitObserver for Watch<'_> {
    fn progress(&mut self, done: u64, total: u64) {
        let part = (u128::from(self.share) * u128::from(done.min(total)) / u128::from(total.max(1))) as u64;
        self.progress.advance(self.base + part, self.total, &self.note);
    }

    fn epoch(&mut self, _record: &EpochRecord) -> Result<(), ModelError> {
        Ok(())
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn save_state(&mut self, _state: &[u8]) -> Result<(), ModelError> {
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(None)
    }
}
