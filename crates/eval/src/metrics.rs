//! The metrics of one run: what `metrics.json` says about the test side.

use serde::{Deserialize, Serialize};
use stakeout_core::Side;

use crate::bootstrap::Plan;
use crate::evaluation::{
    Chances, ConfusionTable, Constant, Evaluation, Group, ModelScores, Rows, distinct, evaluate, in_rank_order,
};
use crate::{EvalError, HOSTS_FOR_INTERVAL, Predictions};

/// What is known of the training side; its windows are not among the predictions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainSide {
    /// Windows of each class, in id order. The majority is the constant predictor; 0 = never trained.
    pub windows: Vec<u64>,
    /// Episodes.
    pub episodes: usize,
    /// Hosts.
    pub hosts: usize,
}

impl TrainSide {
    /// The class with most windows; the first one wins a tie. `None` when there is no window.
    pub fn majority(&self) -> Option<u16> {
        let most = self.windows.iter().max().filter(|most| **most > 0)?;
        self.windows.iter().position(|n| n == most).map(|class| class as u16)
    }

    /// Share of each class in the windows: what the constant predictor says. `None` when there is no window.
    pub fn frequencies(&self) -> Option<Vec<f32>> {
        let total: u64 = self.windows.iter().sum();
        (total > 0).then(|| self.windows.iter().map(|&n| (n as f64 / total as f64) as f32).collect())
    }

    pub(crate) fn trained(&self) -> Vec<bool> {
        self.windows.iter().map(|&n| n > 0).collect()
    }

    pub(crate) fn check(&self, classes: usize) -> Result<(), EvalError> {
        if self.windows.len() == classes {
            return Ok(());
        }
        Err(EvalError::invalid("training side", format!("{} counts with {classes} classes", self.windows.len())))
    }
}

/// A count for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// Training side.
    pub train: usize,
    /// Validation side.
    pub validation: usize,
    /// Test side.
    pub test: usize,
}

/// The metrics of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Class names in id order.
    pub classes: Vec<String>,
    /// Windows a side.
    pub n_windows: Sides,
    /// Episodes a side.
    pub n_episodes: Sides,
    /// Hosts a side.
    pub n_hosts: Sides,
    /// How the intervals were made.
    pub bootstrap: Plan,
    /// The constant predictor on the test side.
    pub constant: Constant,
    /// The model on the test side.
    pub test: ModelScores,
    /// The model on each profile.
    pub by_profile: Vec<Group>,
    /// The model on each host.
    pub by_host: Vec<Group>,
    /// Truth × prediction on the test side.
    pub confusion: ConfusionTable,
    /// What must be said beside the numbers, as sentences.
    pub notes: Vec<String>,
}

/// Scores the test side of a run.
///
/// Macro F1 is over a class set fixed before resampling: the labels of the test side and the classes predicted there.
/// A class without hits counts 0, a class that was never trained counts 0 whatever was called so, and a class that a
/// resample has not at all is left out of that resample.
///
/// # Errors
/// [`EvalError::Invalid`] for a plan out of range or a training side with other classes.
pub fn metrics(predictions: &Predictions, train: &TrainSide, plan: &Plan) -> Result<Metrics, EvalError> {
    plan.check()?;
    let classes = predictions.classes().names();
    train.check(classes.len())?;
    let test = predictions.rows_of(Side::Test);
    let validation = predictions.rows_of(Side::Validation);
    let column = |ids: &[u32], rows: &[usize]| rows.iter().map(|&row| ids[row]).collect::<Vec<_>>();
    let ranked = |ids: &[u32], ranks: Vec<u32>| test.iter().map(|&row| ranks[ids[row] as usize]).collect::<Vec<_>>();
    let rows = Rows {
        truth: test.iter().map(|&row| predictions.label[row]).collect(),
        predicted: test.iter().map(|&row| predictions.predicted(row)).collect(),
        constant: train.majority().map(|class| vec![class; test.len()]),
        episode: ranked(&predictions.episode, predictions.episodes.ranks()),
        host: ranked(&predictions.host, predictions.hosts.ranks()),
        profile: ranked(&predictions.profile, predictions.profiles.ranks()),
        group: None,
        trained: train.trained(),
        chances: Chances {
            probabilities: test.iter().flat_map(|&row| predictions.probabilities(row)).copied().collect(),
            constants: train.frequencies().into_iter().collect(),
            constant_of: train.frequencies().map(|_| vec![0; test.len()]),
        },
    };
    let count = |ids: &[u32], train| Sides {
        train,
        validation: distinct(&column(ids, &validation)),
        test: distinct(&column(ids, &test)),
    };
    let n_hosts = count(&predictions.host, train.hosts);
    let n_episodes = count(&predictions.episode, train.episodes);
    let (hosts, profiles) = (in_rank_order(&predictions.hosts), in_rank_order(&predictions.profiles));
    let Evaluation { constant, test: scores, by_profile, by_host, confusion } =
        evaluate(&rows, classes, &hosts, &profiles, plan)?;
    Ok(Metrics {
        classes: classes.to_vec(),
        n_windows: Sides {
            train: train.windows.iter().sum::<u64>() as usize,
            validation: validation.len(),
            test: test.len(),
        },
        n_episodes,
        n_hosts,
        bootstrap: *plan,
        notes: notes(n_hosts.test, n_episodes.test, &scores),
        constant,
        test: scores,
        by_profile,
        by_host,
        confusion,
    })
}

fn notes(n_hosts: usize, n_episodes: usize, scores: &ModelScores) -> Vec<String> {
    let mut notes = Vec::new();
    notes.push(match n_hosts {
        0 => "the test side is empty: nothing was tested".into(),
        1 => "one host was tested: no claim about other devices can be made".into(),
        2..HOSTS_FOR_INTERVAL => format!(
            "{n_hosts} hosts were tested, and it takes {HOSTS_FOR_INTERVAL} to resample hosts: the interval is by \
             episode and speaks of these hosts only"
        ),
        _ => format!("{n_hosts} hosts were tested: the interval resamples hosts"),
    });
    if n_episodes == 1 {
        notes.push("one episode was tested: there is no interval".into());
    }
    notes.extend(class_notes(scores));
    notes
}

/// What must be said about classes that were never trained or that resamples left out.
pub(crate) fn class_notes(scores: &ModelScores) -> Vec<String> {
    let mut notes = Vec::new();
    for class in scores.per_class.iter().filter(|class| !class.trained && class.f1.is_some()) {
        notes.push(format!("class {} was never trained: it counts 0 in macro F1", class.class));
    }
    for part in scores.by_unit.iter().filter(|part| part.macro_f1.unit == scores.macro_f1.unit) {
        if let Some(share) = part.left_out.filter(|share| *share > 0.0) {
            notes.push(format!(
                "in {:.1} % of the resamples a class did not occur at all and was left out of macro F1",
                100.0 * share
            ));
        }
    }
    notes
}
