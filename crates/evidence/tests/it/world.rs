//! Made-up predictions.

use stakeout_core::{ClassList, Side};
use stakeout_eval::{Prediction, Predictions, TrainSide};
use stakeout_evidence::criteria::criteria;
use stakeout_evidence::{Beside, Criterion, Outcome, Policy};

/// One window: episode, host, profile, label, probability of class 1.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) episode: usize,
    pub(crate) host: usize,
    pub(crate) profile: usize,
    pub(crate) label: u16,
    pub(crate) p: f32,
}

/// Two classes, `clean` and `attack`.
pub(crate) fn predictions(windows: &[Window]) -> Predictions {
    let classes = ClassList::try_from(vec!["clean".to_owned(), "attack".to_owned()]).unwrap();
    let mut predictions = Predictions::new(classes);
    for (i, window) in windows.iter().enumerate() {
        predictions
            .push(&Prediction {
                side: Side::Test,
                fold: "f",
                seed: 1,
                episode: &format!("E{}", window.episode),
                host: &format!("h{}", window.host),
                sample: "s",
                profile: &format!("p{}", window.profile),
                t0_ns: i as i64,
                t_onset_ns: None,
                observed_seconds: 10.0,
                label: window.label,
                probabilities: &[1.0 - window.p, window.p],
            })
            .unwrap();
    }
    predictions
}

pub(crate) fn train() -> TrainSide {
    TrainSide { windows: vec![900, 100], episodes: 30, hosts: 6 }
}

pub(crate) fn judge(predictions: &Predictions, policy: &str) -> Vec<Criterion> {
    judge_beside(predictions, policy, &Beside::default())
}

pub(crate) fn judge_beside(predictions: &Predictions, policy: &str, beside: &Beside<'_>) -> Vec<Criterion> {
    criteria(predictions, &train(), &Policy::parse(policy, "x").unwrap(), beside).unwrap()
}

pub(crate) fn named<'a>(criteria: &'a [Criterion], name: &str) -> &'a Criterion {
    criteria.iter().find(|criterion| criterion.name.starts_with(name)).unwrap_or_else(|| panic!("no {name}"))
}

pub(crate) fn met(criteria: &[Criterion]) -> bool {
    criteria.iter().all(|criterion| criterion.outcome == Outcome::Met)
}

/// `episodes` episodes of 10 windows on 3 hosts; the first `attacks` windows of each are attacks; `p` says what the
/// model thinks of (label, position).
pub(crate) fn regular(episodes: usize, attacks: usize, p: impl Fn(usize, u16, usize) -> f32) -> Vec<Window> {
    (0..episodes)
        .flat_map(|episode| (0..10).map(move |i| (episode, i)))
        .map(|(episode, i)| {
            let label = u16::from(i < attacks);
            Window { episode, host: episode % 3, profile: episode % 2, label, p: p(episode, label, i) }
        })
        .collect()
}
