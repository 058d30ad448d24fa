//! Scores of a set of rows: the constant predictor, the whole, each class, each profile, each host, the confusion.

use serde::{Deserialize, Serialize};
use stakeout_core::confusion::Confusion;

use crate::bootstrap::Plan;
use crate::cells::ClusterCounts;
use crate::estimate::{Estimate, HOSTS_FOR_INTERVAL, Unit, UnitScores, unit_scores};
use crate::probabilities::{Cases, ProbabilityScores, probability_scores};
use crate::{EvalError, Names};

/// Scores of one model on the rows of one side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The constant predictor on the same rows: what a model has to beat.
    pub constant: Constant,
    /// The model.
    pub test: ModelScores,
    /// The model on the rows of each profile, by name.
    pub by_profile: Vec<Group>,
    /// The model on the rows of each host, by name.
    pub by_host: Vec<Group>,
    /// Truth × prediction.
    pub confusion: ConfusionTable,
}

/// The majority class of the training side, predicted for every window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    /// Its name, or the names where folds differ; empty when the training side is.
    pub class: String,
    /// Macro F1 by the headline unit.
    pub macro_f1: Estimate,
    /// Accuracy by the headline unit.
    pub accuracy: Estimate,
    /// Both scores by every unit.
    pub by_unit: Vec<UnitScores>,
    /// The class frequencies of the training side as probabilities, by the headline unit; absent without rows or
    /// training side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<ProbabilityScores>,
}

/// Scores of the model on the whole side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelScores {
    /// Macro F1 by the headline unit: hosts where there are [`HOSTS_FOR_INTERVAL`] or more, else episodes.
    pub macro_f1: Estimate,
    /// Accuracy by the headline unit.
    pub accuracy: Estimate,
    /// Both scores by every unit.
    pub by_unit: Vec<UnitScores>,
    /// Each class of the class list.
    pub per_class: Vec<ClassScores>,
    /// The probabilities, by the headline unit; absent without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<ProbabilityScores>,
}

/// Scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Its name.
    pub class: String,
    /// Share of its predictions that are right; `None` when it was never predicted.
    pub precision: Option<f64>,
    /// Share of its windows that were found; `None` when there is none.
    pub recall: Option<f64>,
    /// F1 of the constant predictor; `None` when the class neither occurs nor is the constant.
    pub constant: Option<f64>,
    /// F1, 0 for a class that was never trained; `None` when the class neither occurs nor is predicted.
    pub f1: Option<f64>,
    /// Windows with this label.
    pub support: u64,
    /// Windows called so.
    pub predicted: u64,
    /// Whether the training side had this class.
    pub trained: bool,
    /// Share of resamples (headline unit) that left this class out; `None` for a class that is not scored.
    pub left_out: Option<f64>,
}

/// Scores of some rows that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name of the host or profile.
    pub name: String,
    /// Windows in it.
    pub n_windows: usize,
    /// Episodes in it.
    pub n_episodes: usize,
    /// Hosts in it.
    pub n_hosts: usize,
    /// Macro F1 of the constant predictor on the same rows.
    pub constant: Option<f64>,
    /// Macro F1 over the classes of these rows, by their headline unit.
    pub macro_f1: Estimate,
    /// Accuracy.
    pub accuracy: Estimate,
}

/// Counts over the union of the labels that occur and that were predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionTable {
    /// Class names in id order.
    pub labels: Vec<String>,
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

/// Rows to be scored. Units carry alphabetical ranks, so that nothing depends on the order of rows.
pub(crate) struct Rows {
    pub(crate) truth: Vec<u16>,
    pub(crate) predicted: Vec<u16>,
    /// What the constant predictor says, row by row (folds differ); `None` with an empty training side.
    pub(crate) constant: Option<Vec<u16>>,
    pub(crate) episode: Vec<u32>,
    pub(crate) host: Vec<u32>,
    pub(crate) profile: Vec<u32>,
    /// The held-out group, where it is another unit than the host.
    pub(crate) group: Option<(Unit, Vec<u32>)>,
    pub(crate) trained: Vec<bool>,
    pub(crate) chances: Chances,
}

/// Probabilities of the rows. Empty where only calls are scored.
#[derive(Default)]
pub(crate) struct Chances {
    /// Rows × classes.
    pub(crate) probabilities: Vec<f32>,
    /// Class frequencies of each training side.
    pub(crate) constants: Vec<Vec<f32>>,
    /// Which of them belongs to each row; `None` where a training side is empty.
    pub(crate) constant_of: Option<Vec<usize>>,
}

impl Rows {
    fn only(&self, column: &[u32], key: u32) -> Self {
        fn keep<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| values[row]).collect()
        }
        let rows: Vec<usize> = (0..column.len()).filter(|&row| column[row] == key).collect();
        Self {
            truth: keep(&self.truth, &rows),
            predicted: keep(&self.predicted, &rows),
            constant: self.constant.as_ref().map(|values| keep(values, &rows)),
            episode: keep(&self.episode, &rows),
            host: keep(&self.host, &rows),
            profile: keep(&self.profile, &rows),
            group: self.group.as_ref().map(|(unit, values)| (*unit, keep(values, &rows))),
            trained: self.trained.clone(),
            chances: Chances::default(),
        }
    }

    /// Scores of the rows' own probabilities or of others, by the headline unit.
    fn probability_scores(
        &self,
        probabilities: &[f32],
        unit: Unit,
        plan: &Plan,
    ) -> Result<Option<ProbabilityScores>, EvalError> {
        let cases = Cases {
            classes: self.trained.len(),
            probabilities,
            truth: &self.truth,
            episode: &self.episode,
            cluster: if unit == Unit::Host { &self.host } else { &self.episode },
            unit,
        };
        probability_scores(&cases, plan)
    }

    fn units(&self) -> Vec<(Unit, &[u32])> {
        let mut units = vec![(Unit::Episode, self.episode.as_slice()), (Unit::Host, &self.host)];
        units.extend(self.group.as_ref().map(|(unit, values)| (*unit, values.as_slice())));
        units
    }

    fn counts(&self, clusters: &[u32], predicted: &[u16]) -> Result<ClusterCounts, EvalError> {
        ClusterCounts::new(self.trained.len(), Some(&self.trained), clusters, &self.truth, predicted)
    }
}

/// The unit of the headline: hosts where there are enough of them, else episodes.
pub(crate) fn headline(n_hosts: usize) -> Unit {
    if n_hosts >= HOSTS_FOR_INTERVAL { Unit::Host } else { Unit::Episode }
}

pub(crate) fn distinct(keys: &[u32]) -> usize {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

/// Scores rows. `hosts` and `profiles` give the names behind the ranks.
pub(crate) fn evaluate(
    rows: &Rows,
    classes: &[String],
    hosts: &[&str],
    profiles: &[&str],
    plan: &Plan,
) -> Result<Evaluation, EvalError> {
    let unit = headline(distinct(&rows.host));
    let (mut by_unit, mut constant_by_unit, mut per_class) = (Vec::new(), Vec::new(), Vec::new());
    for (this, clusters) in rows.units() {
        let counts = rows.counts(clusters, &rows.predicted)?;
        let (scores, resamples) = unit_scores(this, &counts, plan)?;
        if this == unit {
            per_class = class_scores(rows, classes, &counts, &resamples.left_out, plan);
        }
        by_unit.push(scores);
        constant_by_unit.push(constant_scores(rows, this, clusters, plan)?);
    }
    let own = at_unit(&by_unit, unit);
    let base = at_unit(&constant_by_unit, unit);
    let Chances { probabilities, constants, constant_of } = &rows.chances;
    let constant_calibration = match constant_of {
        None => None,
        Some(of) => {
            let said: Vec<f32> = of.iter().flat_map(|&run| &constants[run]).copied().collect();
            rows.probability_scores(&said, unit, plan)?
        }
    };
    Ok(Evaluation {
        constant: Constant {
            class: constant_names(rows, classes),
            macro_f1: base.macro_f1,
            accuracy: base.accuracy,
            by_unit: constant_by_unit,
            calibration: constant_calibration,
        },
        test: ModelScores {
            macro_f1: own.macro_f1,
            accuracy: own.accuracy,
            by_unit,
            per_class,
            calibration: rows.probability_scores(probabilities, unit, plan)?,
        },
        by_profile: groups(rows, &rows.profile, profiles, plan)?,
        by_host: groups(rows, &rows.host, hosts, plan)?,
        confusion: confusion_table(rows, classes),
    })
}

fn at_unit(scores: &[UnitScores], unit: Unit) -> UnitScores {
    scores.iter().find(|scores| scores.macro_f1.unit == unit).expect("episodes and hosts are always scored").clone()
}

fn constant_scores(rows: &Rows, unit: Unit, clusters: &[u32], plan: &Plan) -> Result<UnitScores, EvalError> {
    if let Some(constant) = &rows.constant {
        return Ok(unit_scores(unit, &rows.counts(clusters, constant)?, plan)?.0);
    }
    let none = Estimate { point: None, lo: None, hi: None, unit, n_units: distinct(clusters) };
    Ok(UnitScores { macro_f1: none, accuracy: none, left_out: None })
}

fn groups(rows: &Rows, column: &[u32], names: &[&str], plan: &Plan) -> Result<Vec<Group>, EvalError> {
    let mut keys = column.to_vec();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .map(|key| {
            let part = rows.only(column, key);
            let n_hosts = distinct(&part.host);
            let unit = headline(n_hosts);
            let clusters = if unit == Unit::Host { &part.host } else { &part.episode };
            let (scores, _) = unit_scores(unit, &part.counts(clusters, &part.predicted)?, plan)?;
            Ok(Group {
                name: names[key as usize].to_owned(),
                n_windows: part.truth.len(),
                n_episodes: distinct(&part.episode),
                n_hosts,
                constant: part
                    .constant
                    .as_ref()
                    .and_then(|constant| confusion(part.trained.len(), &part.truth, constant).macro_f1()),
                macro_f1: scores.macro_f1,
                accuracy: scores.accuracy,
            })
        })
        .collect()
}

fn class_scores(
    rows: &Rows,
    classes: &[String],
    counts: &ClusterCounts,
    left_out: &[usize],
    plan: &Plan,
) -> Vec<ClassScores> {
    let mut outcomes = Vec::new();
    counts.cells.outcomes(counts.totals(), &mut outcomes);
    let scored = counts.cells.scored();
    let constant = rows.constant.as_ref().map(|constant| confusion(classes.len(), &rows.truth, constant));
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    classes
        .iter()
        .zip(outcomes)
        .enumerate()
        .map(|(id, (class, [hits, support, predicted]))| ClassScores {
            class: class.clone(),
            precision: share(hits, predicted),
            recall: share(hits, support),
            constant: constant.as_ref().and_then(|constant| constant.f1(id)),
            f1: counts.cells.f1(id, [hits, support, predicted]),
            support,
            predicted,
            trained: rows.trained[id],
            left_out: left_out.get(id).filter(|_| scored[id]).map(|n| *n as f64 / plan.resamples as f64),
        })
        .collect()
}

pub(crate) fn confusion(classes: usize, truth: &[u16], predicted: &[u16]) -> Confusion {
    let mut confusion = Confusion::new(classes);
    for (&truth, &predicted) in truth.iter().zip(predicted) {
        confusion.add(truth, predicted);
    }
    confusion
}

fn confusion_table(rows: &Rows, classes: &[String]) -> ConfusionTable {
    let all = confusion(classes.len(), &rows.truth, &rows.predicted);
    let seen: Vec<usize> = (0..classes.len()).filter(|&class| all.f1(class).is_some()).collect();
    let row = |&truth: &usize| seen.iter().map(|predicted| all.counts()[truth * classes.len() + predicted]).collect();
    ConfusionTable {
        labels: seen.iter().map(|&class| classes[class].clone()).collect(),
        counts: seen.iter().map(row).collect(),
    }
}

fn constant_names(rows: &Rows, classes: &[String]) -> String {
    let mut ids = rows.constant.clone().unwrap_or_default();
    ids.sort_unstable();
    ids.dedup();
    ids.iter().map(|&id| classes[usize::from(id)].as_str()).collect::<Vec<_>>().join(", ")
}

/// Names sorted as their ranks are.
pub(crate) fn in_rank_order(names: &Names) -> Vec<&str> {
    let mut sorted: Vec<&str> = names.all().iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted
}
