//! Fitting: every figure that the head, the calibration and the threshold are made from is that of a sequence judged by
//! language models that never saw it.
//!
//! 1. Different sequences are dealt into folds, copies together. The language models of the other folds measure a fold.
//! 2. The head is fitted on these measurements; for the calibration once more a fold, on those of the other folds.
//! 3. The calibration is fitted on the scores of 2. For the report and the threshold it is fitted a fold too.
//! 4. The language models are counted once more, from all sequences.
//!
//! What is deployed has thus seen a little more than what was judged: on sequences that it was trained on it is surer.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::calibrate::{self, Meaning};
use super::config::{Config, ENOUGH, FEWEST, Mode, Threshold};
use super::counts::Counts;
use super::data::Sequences;
use super::distinct::{Distinct, distinct, folds};
use super::features::{FEATURES, Measure, Scratch};
use super::head::{self, Head};
use super::model::{Classes, SequenceModel, Training};
use super::vocabulary::{FIRST, Vocabulary};
use crate::DetectError;

/// What came out of a fit beside the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The model.
    pub model: SequenceModel,
    /// Each training sequence that counted, judged by models that did not see it or its copies.
    pub held_out: Vec<Judged>,
    /// What should be said beside the figures.
    pub remarks: Vec<String>,
}

/// A sequence with its copies, judged by a model that saw none of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Score of the head.
    pub score: f64,
    /// Calibrated probability of an anomaly.
    pub probability: f64,
    /// Normal copies.
    pub normal: u64,
    /// Anomalous copies.
    pub anomalous: u64,
}

/// Learns a model from labelled sequences under the ids of a vocabulary. Sequences without a label are left out.
///
/// # Errors
/// [`DetectError::Invalid`] for a setting out of range, [`DetectError::Data`] for too few sequences, for an id beyond
/// the vocabulary, and for a false-alarm rate that the normal sessions are too few for.
pub fn fit(data: &Sequences, vocabulary: Vocabulary, config: &Config) -> Result<Fitted, DetectError> {
    config.check()?;
    check_ids(data, &vocabulary)?;
    let mut remarks = Vec::new();
    let mut all = distinct(data);
    if all.unlabelled > 0 {
        remarks.push(format!("{} sequences without a label were left out", all.unlabelled));
    }
    let classes = classes(&mut all, config.mode, &mut remarks)?;
    let ids = vocabulary.ids();
    let kinds: Vec<usize> = all.anomalous.iter().map(|n| usize::from(*n > 0)).collect();
    let fold = folds(&kinds, config.folds, config.seed);

    let rows = held_out_features(&all, &fold, classes, config, ids)?;
    let cases = Cases::new(&all, &rows, &fold);
    let scores = cases.crossed(config.folds, |train| train.head(classes, config), |head, case| head.score(&case.row));
    let scored = cases.with(&scores);
    let meant = scored.crossed(
        config.folds,
        |train| train.meaning(classes, config),
        |meaning, case| meaning.probability(case.score),
    );

    let head = cases.all().head(classes, config);
    let meaning = scored.all().meaning(classes, config);
    let held_out: Vec<Judged> = (0..all.sequences.len())
        .map(|i| Judged { score: scores[i], probability: meant[i], normal: all.normal[i], anomalous: all.anomalous[i] })
        .collect();
    let threshold = threshold(config, &held_out, &meaning, &mut remarks)?;
    let (normal, anomalous) = count(&all, classes, config.n, |_| true)?;
    let training = Training {
        normal: all.normal.iter().sum(),
        anomalous: all.anomalous.iter().sum(),
        distinct: all.sequences.len() as u64,
        updated: 0,
        simulated: false,
    };
    let model = SequenceModel::new(*config, vocabulary, normal, anomalous, head, meaning, threshold, training);
    Ok(Fitted { model, held_out, remarks })
}

/// Refuses ids that the vocabulary does not hold.
pub(super) fn check_ids(data: &Sequences, vocabulary: &Vocabulary) -> Result<(), DetectError> {
    let good = FIRST..vocabulary.ids() as u32;
    match data.iter().flat_map(|(actions, _)| actions).find(|id| !good.contains(id)) {
        Some(id) => {
            Err(DetectError::Data(format!("action id {id}: the vocabulary has ids {FIRST} to {}", good.end - 1)))
        }
        None => Ok(()),
    }
}

/// Which classes are learnt; anomalies that are not learnt from are taken out of the counts.
fn classes(all: &mut Distinct<'_>, mode: Mode, remarks: &mut Vec<String>) -> Result<Classes, DetectError> {
    let of = |counts: &[u64]| counts.iter().filter(|n| **n > 0).count();
    let (normal, anomalous) = (of(&all.normal), of(&all.anomalous));
    if normal < FEWEST {
        let unlabelled = match all.unlabelled {
            0 => String::new(),
            n => format!("; {n} without a label were left out"),
        };
        return Err(DetectError::Data(format!(
            "{normal} different normal sequences (label 0): at least {FEWEST} are needed to learn what is usual{unlabelled}"
        )));
    }
    let classes = match mode {
        Mode::TwoClass if anomalous < 2 => {
            return Err(DetectError::Data(format!(
                "{anomalous} different anomalous sequences (label 1): two classes need at least 2, {ENOUGH} to be worth \
                 it; learn from normal sequences alone (one-class)"
            )));
        }
        Mode::TwoClass => Classes::Two,
        Mode::Auto if anomalous >= ENOUGH => Classes::Two,
        Mode::Auto | Mode::OneClass => Classes::One,
    };
    if classes == Classes::One && anomalous > 0 {
        let sessions: u64 = all.anomalous.iter().sum();
        remarks.push(format!(
            "learnt from normal sequences alone: {sessions} anomalous sessions ({anomalous} different) were left out"
        ));
        let kept: Vec<usize> = (0..all.normal.len()).filter(|&i| all.normal[i] > 0).collect();
        all.sequences = kept.iter().map(|&i| all.sequences[i]).collect();
        all.normal = kept.iter().map(|&i| all.normal[i]).collect();
        all.anomalous = vec![0; kept.len()];
    }
    Ok(classes)
}

/// Counts of the sequences that `take` says.
fn count(
    all: &Distinct<'_>,
    classes: Classes,
    n: usize,
    take: impl Fn(usize) -> bool,
) -> Result<(Counts, Option<Counts>), DetectError> {
    let of = |times: &[u64]| {
        let mut counts = Counts::new(n)?;
        (0..times.len()).filter(|&i| take(i)).for_each(|i| counts.add(all.sequences[i], times[i]));
        Ok::<Counts, DetectError>(counts)
    };
    let anomalous = match classes {
        Classes::One => None,
        Classes::Two => Some(of(&all.anomalous)?),
    };
    Ok((of(&all.normal)?, anomalous))
}

/// Measurements of each sequence under the language models of the other folds.
fn held_out_features(
    all: &Distinct<'_>,
    fold: &[usize],
    classes: Classes,
    config: &Config,
    ids: usize,
) -> Result<Vec<[f64; FEATURES]>, DetectError> {
    let parts: Vec<Vec<(usize, [f64; FEATURES])>> = (0..config.folds)
        .into_par_iter()
        .map(|own| {
            let (normal, anomalous) = count(all, classes, config.n, |i| fold[i] != own)?;
            let measure = Measure::new(&normal, anomalous.as_ref(), ids);
            let mut scratch = Scratch::default();
            let rows = (0..fold.len()).filter(|&i| fold[i] == own);
            Ok(rows.map(|i| (i, measure.features(all.sequences[i], &mut scratch).values())).collect())
        })
        .collect::<Result<_, DetectError>>()?;
    let mut rows = vec![[0.0; FEATURES]; fold.len()];
    for (i, row) in parts.into_iter().flatten() {
        rows[i] = row;
    }
    Ok(rows)
}

/// One side of a sequence: its copies of one label.
#[derive(Debug, Clone, Copy)]
struct Case {
    sequence: usize,
    fold: usize,
    row: [f64; FEATURES],
    score: f64,
    label: bool,
    weight: f64,
}

/// Cases that something is fitted on.
#[derive(Debug, Clone)]
struct Cases(Vec<Case>);

impl Cases {
    fn new(all: &Distinct<'_>, rows: &[[f64; FEATURES]], fold: &[usize]) -> Self {
        let case = |i: usize, label: bool, count: u64| {
            (count > 0).then(|| Case {
                sequence: i,
                fold: fold[i],
                row: rows[i],
                score: 0.0,
                label,
                weight: count as f64,
            })
        };
        let both = |i| [case(i, false, all.normal[i]), case(i, true, all.anomalous[i])];
        Self((0..rows.len()).flat_map(both).flatten().collect())
    }

    fn with(&self, scores: &[f64]) -> Self {
        Self(self.0.iter().map(|case| Case { score: scores[case.sequence], ..*case }).collect())
    }

    fn all(&self) -> Part<'_> {
        Part(self.0.iter().collect())
    }

    /// Fits on the other folds and asks for each sequence of a fold; by sequence.
    fn crossed<T>(&self, folds: usize, fit: impl Fn(&Part<'_>) -> T, ask: impl Fn(&T, &Case) -> f64) -> Vec<f64> {
        let mut out = vec![0.0; self.0.last().map_or(0, |case| case.sequence + 1)];
        for own in 0..folds {
            let (inside, outside): (Vec<&Case>, Vec<&Case>) = self.0.iter().partition(|case| case.fold == own);
            // With fewer sequences than folds a fold may be empty, or the rest.
            let fitted = fit(&Part(if outside.is_empty() { inside.clone() } else { outside }));
            for case in inside {
                out[case.sequence] = ask(&fitted, case);
            }
        }
        out
    }
}

/// Some of the cases.
struct Part<'a>(Vec<&'a Case>);

impl Part<'_> {
    fn weights(&self) -> Vec<f64> {
        self.0.iter().map(|case| case.weight).collect()
    }

    fn labels(&self) -> Vec<bool> {
        self.0.iter().map(|case| case.label).collect()
    }

    fn head(&self, classes: Classes, config: &Config) -> Head {
        let rows: Vec<[f64; FEATURES]> = self.0.iter().map(|case| case.row).collect();
        match classes {
            Classes::One => head::distance(&rows, &self.weights()),
            Classes::Two => head::logistic(&rows, &self.labels(), &self.weights(), config.epochs),
        }
    }

    fn meaning(&self, classes: Classes, config: &Config) -> Meaning {
        let scores: Vec<f64> = self.0.iter().map(|case| case.score).collect();
        match classes {
            Classes::One => calibrate::tail(&scores, &self.weights(), config.prior),
            Classes::Two => calibrate::isotonic(&scores, &self.labels(), &self.weights()),
        }
    }
}

/// The probability from which a sequence is called anomalous.
fn threshold(
    config: &Config,
    held_out: &[Judged],
    meaning: &Meaning,
    remarks: &mut Vec<String>,
) -> Result<f64, DetectError> {
    let mut order: Vec<&Judged> = held_out.iter().collect();
    order.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let tied = || order.chunk_by(|a, b| a.probability == b.probability);
    match config.threshold {
        Threshold::At(p) => meaning.check_threshold(p).map(|()| p),
        Threshold::BestF1 => {
            let all: u64 = held_out.iter().map(|judged| judged.anomalous).sum();
            if all == 0 {
                let why = "best F1: there is no anomalous sequence to choose by; give a number or a false-alarm rate";
                return Err(DetectError::Data(why.to_owned()));
            }
            let (mut hits, mut called, mut best) = (0, 0, (0.0, 1.0));
            for tied in tied() {
                hits += tied.iter().map(|judged| judged.anomalous).sum::<u64>();
                called += tied.iter().map(|judged| judged.anomalous + judged.normal).sum::<u64>();
                let f1 = 2.0 * hits as f64 / (called + all) as f64;
                if f1 > best.0 {
                    best = (f1, tied[0].probability);
                }
            }
            remarks
                .push(format!("threshold {:.4}: the best F1 ({:.3}) on held-out training sequences", best.1, best.0));
            Ok(best.1)
        }
        Threshold::FalseAlarms(share) => {
            let normal: u64 = held_out.iter().map(|judged| judged.normal).sum();
            if share < 1.0 / (normal as f64 + 1.0) {
                return Err(DetectError::Data(format!(
                    "false-alarm rate {share:?}: {normal} normal sessions say nothing below 1 in {}; {} are needed",
                    normal + 1,
                    ((1.0 / share).ceil() - 1.0) as u64
                )));
            }
            if let Meaning::Tail { prior, .. } = meaning {
                // The largest p-value that is called, as a probability.
                let most = (share * (normal as f64 + 1.0)).floor() / (normal as f64 + 1.0);
                if most >= calibrate::TOLD_APART {
                    return Err(DetectError::Invalid {
                        what: "false-alarm rate",
                        why: format!(
                            "{share}: a model of one class tells sequences apart below {:.4} alone",
                            calibrate::TOLD_APART
                        ),
                    });
                }
                return Ok(calibrate::at_most(most, *prior));
            }
            let (mut alarms, mut found) = (0, None);
            for tied in tied() {
                alarms += tied.iter().map(|judged| judged.normal).sum::<u64>();
                if (alarms + 1) as f64 > share * (normal as f64 + 1.0) {
                    break;
                }
                found = Some(tied[0].probability);
            }
            let Some(found) = found else {
                return Err(DetectError::Data(format!(
                    "false-alarm rate {share}: even the most anomalous held-out sequences have more normal copies; use a \
                     larger rate"
                )));
            };
            remarks.push(format!("threshold {found:.4}: at most {share} of held-out normal training sessions"));
            Ok(found)
        }
    }
}
