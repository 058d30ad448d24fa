//! The fitted classifier: asked, updated, merged.

use serde::{Deserialize, Serialize};

use super::calibrate::Meaning;
use super::config::Config;
use super::counts::Counts;
use super::data::Sequences;
use super::features::{Features, Measure, Scratch};
use super::fit::check_ids;
use super::head::Head;
use super::vocabulary::{FIRST, UNKNOWN, Vocabulary};
use crate::DetectError;

/// Which kinds of sequences a model was learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classes {
    /// Normal ones.
    One,
    /// Normal and anomalous ones.
    Two,
}

/// What a model was learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Normal sessions of the fit.
    pub normal: u64,
    /// Anomalous sessions of the fit.
    pub anomalous: u64,
    /// Different sequences of the fit.
    pub distinct: u64,
    /// Sessions that were added since; they moved the language models, not the head nor its calibration.
    pub updated: u64,
    /// Whether the sequences were made up by the program.
    pub simulated: bool,
}

/// What a model says of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// Whether it is called anomalous: the probability reaches the threshold.
    pub label: bool,
    /// Larger is more anomalous, and only the order means something: the logit of the logistic head, or the distance
    /// from what is usual.
    pub score: f64,
    /// Calibrated probability of an anomaly; of a model of one class the most that it can be at the stated prior.
    pub probability: f64,
    /// The larger one of the probability and what it leaves.
    pub confidence: f64,
    /// Of a model of one class: the share of normal sessions that are as unusual.
    pub p_value: Option<f64>,
    /// What was measured.
    pub features: Features,
}

/// A fitted action-sequence classifier.
#[derive(Debug, Clone)]
pub struct SequenceModel {
    pub(super) config: Config,
    pub(super) vocabulary: Vocabulary,
    pub(super) normal: Counts,
    pub(super) anomalous: Option<Counts>,
    pub(super) head: Head,
    pub(super) meaning: Meaning,
    pub(super) threshold: f64,
    pub(super) training: Training,
    /// Made from the counts.
    measure: Measure,
}

/// Two models are equal when they were learnt from the same and would write the same file.
impl PartialEq for SequenceModel {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
            && self.vocabulary == other.vocabulary
            && self.normal == other.normal
            && self.anomalous == other.anomalous
            && self.head == other.head
            && self.meaning == other.meaning
            && self.threshold == other.threshold
            && self.training == other.training
    }
}

impl SequenceModel {
    #[expect(clippy::too_many_arguments, reason = "the parts of a file and of a fit, in one place each")]
    pub(super) fn new(
        config: Config,
        vocabulary: Vocabulary,
        normal: Counts,
        anomalous: Option<Counts>,
        head: Head,
        meaning: Meaning,
        threshold: f64,
        training: Training,
    ) -> Self {
        let measure = Measure::new(&normal, anomalous.as_ref(), vocabulary.ids());
        Self { config, vocabulary, normal, anomalous, head, meaning, threshold, training, measure }
    }

    /// Says what it thinks of a sequence of ids of [`SequenceModel::vocabulary`]. Any other id is the unknown action.
    pub fn predict(&self, actions: &[u32], scratch: &mut Scratch) -> Prediction {
        let features = self.measure.features(actions, scratch);
        let score = self.head.score(&features.values());
        let probability = self.meaning.probability(score);
        Prediction {
            label: probability >= self.threshold,
            score,
            probability,
            confidence: probability.max(1.0 - probability),
            p_value: self.meaning.p_value(score),
            features,
        }
    }

    /// Says what it thinks of many sequences, in their order; `out` is emptied first. Nothing is allocated a sequence.
    pub fn predict_all(&self, data: &Sequences, scratch: &mut Scratch, out: &mut Vec<Prediction>) {
        out.clear();
        out.reserve(data.len());
        out.extend(data.iter().map(|(actions, _)| self.predict(actions, scratch)));
    }

    /// Says what it thinks of a sequence of names.
    pub fn predict_names<'a>(&self, actions: impl IntoIterator<Item = &'a str>, scratch: &mut Scratch) -> Prediction {
        let ids: Vec<u32> = actions.into_iter().map(|name| self.vocabulary.id(name)).collect();
        self.predict(&ids, scratch)
    }

    /// Adds sequences that an analyst has judged to the language models: `names` is the vocabulary of `data`, whose new
    /// actions are taken in. The head, its calibration and the threshold stay as they were fitted. Sequences without a
    /// label are left out, and so are anomalous ones for a model of one class. Returns how many were added.
    ///
    /// Adding parts one after the other, in any order of whole sequences under one vocabulary, gives the counts of
    /// adding them at once.
    ///
    /// # Errors
    /// [`DetectError::Data`] for an id beyond the vocabulary and for too many actions; the model is unchanged then.
    pub fn update(&mut self, data: &Sequences, names: &Vocabulary) -> Result<u64, DetectError> {
        check_ids(data, names)?;
        let (vocabulary, ids) = grown(&self.vocabulary, names)?;
        let mut added = 0;
        for (actions, label) in data.renamed(|id| ids[id as usize]).iter() {
            let counts = match label {
                Some(false) => Some(&mut self.normal),
                Some(true) => self.anomalous.as_mut(),
                None => None,
            };
            if let Some(counts) = counts {
                counts.add(actions, 1);
                added += 1;
            }
        }
        self.learnt(vocabulary, added);
        Ok(added)
    }

    /// Adds what another model has counted, as that of another machine. The head, its calibration and the threshold stay
    /// those of this model.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for n-grams of another length or another number of classes, [`DetectError::Data`] for
    /// too many actions; the model is unchanged then.
    pub fn merge(&mut self, other: &Self) -> Result<(), DetectError> {
        if self.classes() != other.classes() {
            let why = "one was learnt from normal sequences alone: train both alike".to_owned();
            return Err(DetectError::Invalid { what: "models to merge", why });
        }
        let (vocabulary, ids) = grown(&self.vocabulary, &other.vocabulary)?;
        let id = |other: u32| ids[other as usize];
        let mut normal = self.normal.clone();
        normal.merge(&other.normal, id)?;
        if let (Some(own), Some(other)) = (&mut self.anomalous, &other.anomalous) {
            own.merge(other, id)?;
        }
        self.normal = normal;
        let sessions = other.training.normal + other.training.anomalous;
        self.learnt(vocabulary, sessions.saturating_add(other.training.updated));
        Ok(())
    }

    fn learnt(&mut self, vocabulary: Vocabulary, sessions: u64) {
        self.vocabulary = vocabulary;
        self.training.updated = self.training.updated.saturating_add(sessions);
        self.measure = Measure::new(&self.normal, self.anomalous.as_ref(), self.vocabulary.ids());
    }

    /// The settings of the fit.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The actions that it knows.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The probability from which a sequence is called anomalous.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Calls sequences anomalous from another probability on.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] outside (0, 1], and for one that every sequence reaches.
    pub fn set_threshold(&mut self, threshold: f64) -> Result<(), DetectError> {
        Config { threshold: super::config::Threshold::At(threshold), ..self.config }.check()?;
        self.meaning.check_threshold(threshold)?;
        self.threshold = threshold;
        Ok(())
    }

    /// What it was learnt from.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// Notes that the sequences were made up by the program.
    pub fn mark_simulated(&mut self) {
        self.training.simulated = true;
    }

    /// Which kinds of sequences it was learnt from.
    pub fn classes(&self) -> Classes {
        if self.anomalous.is_some() { Classes::Two } else { Classes::One }
    }

    /// The score of a sequence and what the score means.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Share of each action among those of normal sequences, by id.
    pub fn shares(&self) -> &[f64] {
        self.measure.shares()
    }

    /// How often each action occurred in normal sequences, by id.
    pub fn frequencies(&self) -> Vec<u64> {
        self.normal.frequencies(self.vocabulary.ids())
    }
}

/// A vocabulary with the names of another, and the id of each id of that other.
fn grown(own: &Vocabulary, other: &Vocabulary) -> Result<(Vocabulary, Vec<u32>), DetectError> {
    let mut vocabulary = own.clone();
    let mut ids: Vec<u32> = (0..FIRST).collect();
    for name in other.names() {
        ids.push(vocabulary.intern(name)?);
    }
    ids[UNKNOWN as usize] = UNKNOWN;
    Ok((vocabulary, ids))
}
