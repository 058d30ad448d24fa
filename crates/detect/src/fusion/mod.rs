//! Fusion: what several detectors say of one observation, as one verdict with the evidence of each kept.
//!
//! A [`Detector`] is anything that looks at an observation: a fitted model ([`ModelDetector`]), an outlier baseline
//! ([`BaselineDetector`]), an action-sequence classifier ([`SequenceDetector`]), or one of another crate. It says a
//! calibrated probability, a p-value, or why it says nothing. [`Fusion`] shifts each probability by what feedback says
//! of its detector ([`Reliability`]) and comes to one of four outcomes.
//!
//! Invariants:
//! * a detector that says nothing, or fails, changes nothing but its own line of evidence; when all do, the outcome is
//!   [`Outcome::Blind`], never [`Outcome::Quiet`];
//! * a p-value is never read as a probability: it can make the outcome [`Outcome::Unlike`] and nothing else;
//! * being unlike anything seen never hides an alert: it stands beside it in the evidence.
//!
//! ```
//! use stakeout_detect::fusion::{Fusion, Outcome, Said};
//! use stakeout_detect::reliability::{Evidence, Reliability, ReliabilityStore, Weighting};
//!
//! let store = ReliabilityStore::default();
//! let feedback = Reliability::new(Evidence::undecayed(&store), store.prior(), Weighting::LogOdds)?;
//! let said = [("gru", Said::Probability(0.2)), ("baseline", Said::PValue(1e-6))];
//! let verdict = Fusion::default().verdict(Some("web-1"), &said, &feedback)?;
//! assert_eq!(verdict.outcome, Outcome::Unlike);
//! # Ok::<(), stakeout_detect::DetectError>(())
//! ```

mod detectors;
mod verdict;

use serde::Serialize;
use stakeout_core::Batch;

pub use detectors::{BaselineDetector, ModelDetector, SequenceDetector};
pub use verdict::{Contribution, Fusion, Outcome, Rule, Verdict};

#[cfg(doc)]
use crate::reliability::Reliability;
use crate::{DetectError, baseline, sequence};

/// What there is to look at: of one host, at one time. What is absent was not observed.
///
/// Models and baselines have inputs and scales of their own, so that each looks at what stands under its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observation<'a> {
    /// The host, where it is known.
    pub host: Option<&'a str>,
    /// One window a model, by the model's name, scaled as it was trained.
    pub windows: &'a [(&'a str, &'a Batch)],
    /// A vector a baseline, by the baseline's name: features or an embedding, as it was trained.
    pub vectors: &'a [(&'a str, &'a [f32])],
    /// The names of the actions of a session, in order.
    pub actions: Option<&'a [&'a str]>,
}

/// What stands under a name.
fn named<'a, T: ?Sized>(all: &[(&str, &'a T)], name: &str) -> Option<&'a T> {
    all.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
}

/// What a detector says of an observation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Calibrated probability that something malicious goes on.
    Probability(f64),
    /// How often a normal observation looks at least so strange. Says nothing of malice.
    PValue(f64),
    /// Nothing, and why.
    Nothing(String),
}

/// Memory of the detectors, used again for every observation.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of models.
    pub model: stakeout_core::Scratch,
    /// Of outlier baselines.
    pub baseline: baseline::Scratch,
    /// Of action sequences.
    pub sequence: sequence::Scratch,
    /// Class probabilities.
    pub probabilities: Vec<f32>,
}

/// Anything that looks at live observations.
pub trait Detector: Send + Sync {
    /// Its name in the reliability store.
    fn id(&self) -> &str;

    /// What it says of an observation.
    ///
    /// # Errors
    /// When it cannot look at what there is; [`look`] keeps that as evidence and asks the others.
    fn look(&self, observation: &Observation<'_>, scratch: &mut Scratch) -> Result<Said, DetectError>;
}

/// What all detectors say, in their order. One that fails says nothing, with its error as the reason.
pub fn look<'a>(
    detectors: &'a [Box<dyn Detector>],
    observation: &Observation<'_>,
    scratch: &mut Scratch,
) -> Vec<(&'a str, Said)> {
    let one = |detector: &'a dyn Detector| {
        let said = detector.look(observation, scratch);
        (detector.id(), said.unwrap_or_else(|error| Said::Nothing(format!("failed: {error}"))))
    };
    detectors.iter().map(Box::as_ref).map(one).collect()
}
