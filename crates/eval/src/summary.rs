//! Many folds of one recipe: a score a held-out group, their unweighted mean, and the pooled score.

use serde::{Deserialize, Serialize};
use stakeout_core::Side;

use crate::bootstrap::{self, Plan};
use crate::estimate::{Estimate, Unit};
use crate::evaluation::{Chances, Evaluation, Rows, confusion, distinct, evaluate, in_rank_order};
use crate::metrics::class_notes;
use crate::{EvalError, Names, Predictions, TrainSide};

/// What an interval over folds does not say.
pub const CAVEAT: &str = "fold models share training data: the interval speaks of hosts, not of retraining";

/// One fold of a recipe with one seed.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The group that was held out.
    pub held_out: &'a str,
    /// The seed.
    pub seed: u64,
    /// Its predictions; only the test side is read.
    pub predictions: &'a Predictions,
    /// Its training side.
    pub train: &'a TrainSide,
}

/// The scores of a leave-one-group-out recipe: what `summary.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was held out, one at a time.
    pub unit: Unit,
    /// Class names in id order.
    pub classes: Vec<String>,
    /// Seeds, ascending.
    pub seeds: Vec<u64>,
    /// How the intervals were made.
    pub bootstrap: Plan,
    /// Each held-out group, by name.
    pub folds: Vec<FoldScore>,
    /// The primary figure: unweighted means over the groups, which are what is resampled.
    pub primary: Primary,
    /// The secondary figure: all test rows of all folds in one matrix.
    pub pooled: Evaluation,
    /// What the intervals do not say.
    pub caveat: String,
    /// What else must be said beside the numbers.
    pub notes: Vec<String>,
}

/// One held-out group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldScore {
    /// Its name.
    pub held_out: String,
    /// Test windows of one seed.
    pub n_windows: usize,
    /// Test episodes.
    pub n_episodes: usize,
    /// Macro F1 of the constant predictor, mean over seeds.
    pub constant: Option<f64>,
    /// Accuracy of the constant predictor, mean over seeds.
    pub constant_accuracy: Option<f64>,
    /// Macro F1, mean over seeds.
    pub macro_f1: Option<f64>,
    /// Accuracy, mean over seeds.
    pub accuracy: Option<f64>,
    /// Macro F1 of each seed, ascending by seed.
    pub by_seed: Vec<SeedScore>,
}

/// One fold with one seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SeedScore {
    /// The seed.
    pub seed: u64,
    /// Macro F1 on the test side.
    pub macro_f1: Option<f64>,
}

/// Unweighted means over held-out groups.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Primary {
    /// Mean macro F1 of the constant predictor.
    pub constant: Estimate,
    /// Mean accuracy of the constant predictor.
    pub constant_accuracy: Estimate,
    /// Mean macro F1.
    pub macro_f1: Estimate,
    /// Mean accuracy.
    pub accuracy: Estimate,
    /// Mean difference of macro F1 to the constant predictor, group by group.
    pub over_constant: Estimate,
}

/// Brings the runs of a leave-one-group-out recipe together; `unit` is what a fold holds out.
///
/// Seeds are averaged within a group first, so that more seeds never look like more groups.
///
/// # Errors
/// [`EvalError::Invalid`] without runs, for runs with different classes, twice the same fold and seed, or a plan out
/// of range.
pub fn summary(runs: &[Run<'_>], unit: Unit, plan: &Plan) -> Result<Summary, EvalError> {
    plan.check()?;
    let mut runs = runs.to_vec();
    runs.sort_by_key(|run| (run.held_out, run.seed));
    let classes = runs.first().ok_or_else(|| EvalError::invalid("summary", "there is no run"))?.predictions.classes();
    for run in &runs {
        run.train.check(classes.len())?;
        if run.predictions.classes() != classes {
            return Err(EvalError::invalid("summary", format!("fold {} has other classes", run.held_out)));
        }
    }
    if let Some(pair) = runs.windows(2).find(|p| (p[0].held_out, p[0].seed) == (p[1].held_out, p[1].seed)) {
        let (fold, seed) = (pair[0].held_out, pair[0].seed);
        return Err(EvalError::invalid("summary", format!("fold {fold} with seed {seed} stands twice")));
    }
    let mut seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let folds: Vec<FoldScore> = runs.chunk_by(|x, y| x.held_out == y.held_out).map(fold_score).collect();
    let primary = primary(&folds, unit, plan)?;
    let pooled = pooled(&runs, classes.names(), unit, plan)?;
    let mut notes = Vec::new();
    for fold in folds.iter().filter(|fold| fold.macro_f1.is_none()) {
        notes.push(format!("{unit} {} has no test window and is in no mean", fold.held_out));
    }
    for fold in folds.iter().filter(|fold| fold.by_seed.len() < seeds.len()) {
        notes.push(format!("{unit} {} was run with {} of {} seeds", fold.held_out, fold.by_seed.len(), seeds.len()));
    }
    if seeds.len() > 1 {
        notes.push(format!("pooled scores and counts hold every window once a seed, {} times in all", seeds.len()));
    }
    let (n, least) = (primary.macro_f1.n_units, unit.for_interval());
    if n < least {
        notes.push(format!("there is no interval over {unit}s: it takes {least}, tested were {n}"));
    }
    notes.extend(class_notes(&pooled.test));
    Ok(Summary {
        unit,
        classes: classes.names().to_vec(),
        seeds,
        bootstrap: *plan,
        folds,
        primary,
        pooled,
        caveat: CAVEAT.into(),
        notes,
    })
}

fn fold_score(runs: &[Run<'_>]) -> FoldScore {
    let mut by_seed = Vec::new();
    let (mut constants, mut constant_accuracies, mut accuracies) = (Vec::new(), Vec::new(), Vec::new());
    for run in runs {
        let rows = run.predictions.rows_of(Side::Test);
        let truth: Vec<u16> = rows.iter().map(|&row| run.predictions.label[row]).collect();
        let predicted: Vec<u16> = rows.iter().map(|&row| run.predictions.predicted(row)).collect();
        let trained = run.train.trained();
        let own = confusion(trained.len(), &truth, &predicted);
        let f1s: Vec<f64> = (0..trained.len())
            .filter_map(|class| own.f1(class).map(|f1| if trained[class] { f1 } else { 0.0 }))
            .collect();
        by_seed.push(SeedScore { seed: run.seed, macro_f1: average(&f1s) });
        accuracies.extend(own.accuracy());
        if let Some(class) = run.train.majority() {
            let constant = confusion(trained.len(), &truth, &vec![class; rows.len()]);
            constants.extend(constant.macro_f1());
            constant_accuracies.extend(constant.accuracy());
        }
    }
    let first = runs[0].predictions;
    let rows = first.rows_of(Side::Test);
    let scores: Vec<f64> = by_seed.iter().filter_map(|score| score.macro_f1).collect();
    FoldScore {
        held_out: runs[0].held_out.to_owned(),
        n_windows: rows.len(),
        n_episodes: distinct(&rows.iter().map(|&row| first.episode[row]).collect::<Vec<_>>()),
        constant: average(&constants),
        constant_accuracy: average(&constant_accuracies),
        macro_f1: average(&scores),
        accuracy: average(&accuracies),
        by_seed,
    }
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn primary(folds: &[FoldScore], unit: Unit, plan: &Plan) -> Result<Primary, EvalError> {
    let estimate = |value: &dyn Fn(&FoldScore) -> Option<f64>| -> Result<Estimate, EvalError> {
        let values: Vec<f64> = folds.iter().filter_map(value).collect();
        Ok(Estimate::new(average(&values), &bootstrap::mean(&values, plan)?, unit, values.len(), plan))
    };
    Ok(Primary {
        constant: estimate(&|fold| fold.constant)?,
        constant_accuracy: estimate(&|fold| fold.constant_accuracy)?,
        macro_f1: estimate(&|fold| fold.macro_f1)?,
        accuracy: estimate(&|fold| fold.accuracy)?,
        over_constant: estimate(&|fold| fold.macro_f1.zip(fold.constant).map(|(own, constant)| own - constant))?,
    })
}

fn pooled(runs: &[Run<'_>], classes: &[String], unit: Unit, plan: &Plan) -> Result<Evaluation, EvalError> {
    let [mut episodes, mut hosts, mut profiles, mut groups] = std::array::from_fn(|_| Names::default());
    let mut rows = Rows {
        truth: Vec::new(),
        predicted: Vec::new(),
        constant: runs.iter().all(|run| run.train.majority().is_some()).then(Vec::new),
        episode: Vec::new(),
        host: Vec::new(),
        profile: Vec::new(),
        group: (unit != Unit::Host).then(|| (unit, Vec::new())),
        trained: vec![false; classes.len()],
        chances: Chances {
            probabilities: Vec::new(),
            constants: runs.iter().filter_map(|run| run.train.frequencies()).collect(),
            constant_of: runs.iter().all(|run| run.train.majority().is_some()).then(Vec::new),
        },
    };
    for (nth, run) in runs.iter().enumerate() {
        let majority = run.train.majority();
        for (trained, own) in rows.trained.iter_mut().zip(run.train.trained()) {
            *trained |= own;
        }
        for row in run.predictions.rows_of(Side::Test) {
            let it = run.predictions.row(row);
            rows.truth.push(it.label);
            rows.predicted.push(run.predictions.predicted(row));
            rows.chances.probabilities.extend_from_slice(run.predictions.probabilities(row));
            rows.chances.constant_of.iter_mut().for_each(|of| of.push(nth));
            rows.episode.push(episodes.intern(it.episode));
            rows.host.push(hosts.intern(it.host));
            rows.profile.push(profiles.intern(it.profile));
            if let Some((_, group)) = &mut rows.group {
                group.push(groups.intern(run.held_out));
            }
            if let Some(constant) = &mut rows.constant {
                constant.extend(majority);
            }
        }
    }
    let rank = |ids: &mut Vec<u32>, names: &Names| {
        let ranks = names.ranks();
        for id in ids {
            *id = ranks[*id as usize];
        }
    };
    rank(&mut rows.episode, &episodes);
    rank(&mut rows.host, &hosts);
    rank(&mut rows.profile, &profiles);
    if let Some((_, group)) = &mut rows.group {
        rank(group, &groups);
    }
    evaluate(&rows, classes, &in_rank_order(&hosts), &in_rank_order(&profiles), plan)
}
