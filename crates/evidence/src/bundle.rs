//! What a gate found, whole: what it read, what it asked, and what follows.

use serde::{Deserialize, Serialize};
use stakeout_eval::Sides;

use crate::check::{Check, Outcome};
use crate::criteria::Criterion;
use crate::policy::{Cap, FORMAT, Policy};
use crate::snapshot::FileRead;

/// What may become of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing.
    Refused,
    /// It may be kept, and not be deployed: something that it takes was not shown.
    Candidate,
    /// It may be deployed.
    Deployable,
}

impl Verdict {
    /// The lower-case name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Candidate => "candidate",
            Self::Deployable => "deployable",
        }
    }
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Kind of model.
    pub model: String,
    /// The recipe that held data out.
    pub recipe: String,
    /// The fold.
    pub fold: String,
    /// The groups of the test side.
    pub held_out: Vec<String>,
    /// Which channels it saw.
    pub view: String,
    /// The seed.
    pub seed: u64,
    /// How settings, epochs and probabilities were chosen, in the run's own words.
    pub selection: String,
    /// Name of the corpus.
    pub corpus: String,
    /// Whether it was simulated.
    pub simulated: bool,
    /// Digest of the store.
    pub data_digest: String,
    /// Hash of the schema.
    pub schema_hash: String,
    /// Version of the code that trained it.
    pub code_version: String,
}

/// What keeps a verdict down whatever the figures say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Why.
    pub why: String,
    /// What the verdict is at most.
    pub at_most: Verdict,
    /// The way forward.
    pub remedy: String,
}

/// The record of one judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Version of the format.
    pub format: u32,
    /// Version of the code that judged.
    pub judged_by: String,
    /// Address of the run's files.
    pub id: String,
    /// What follows.
    pub verdict: Verdict,
    /// Where the model comes from.
    pub lineage: Lineage,
    /// The files that were read.
    pub read: Vec<FileRead>,
    /// Digest of the store that the run was made again from; absent where it was taken on trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The current model that it was compared with, and the files of it that were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incumbent: Option<(String, Vec<FileRead>)>,
    /// What was asked.
    pub policy: Policy,
    /// Windows on each side.
    pub n_windows: Sides,
    /// Test episodes and hosts.
    pub n_test: (usize, usize),
    /// What the files say about each other and about their store.
    pub checks: Vec<Check>,
    /// Figures and bounds; none where the files cannot be believed far enough to compute them.
    pub criteria: Vec<Criterion>,
    /// What keeps the verdict down.
    pub limits: Vec<Limit>,
    /// BLAKE3 over all of the above: files, store, policy, findings.
    pub digest: String,
}

impl Bundle {
    /// Sets verdict and digest from the findings.
    pub(crate) fn close(mut self) -> Self {
        let refused = self.checks.iter().any(|check| check.outcome == Outcome::Refused)
            || self.criteria.iter().any(|criterion| criterion.outcome == Outcome::Refused)
            || self.criteria.is_empty();
        let cap = self.limits.iter().map(|limit| limit.at_most).min().unwrap_or(Verdict::Deployable);
        self.verdict = if refused { Verdict::Refused } else { cap };
        self.digest = self.own_digest();
        self
    }

    /// The digest that the content deserves.
    pub fn own_digest(&self) -> String {
        let open = Self { digest: String::new(), ..self.clone() };
        blake3::hash(serde_json::to_string(&open).unwrap_or_default().as_bytes()).to_hex().to_string()
    }

    /// Whether format and digest are what they must be.
    pub fn is_whole(&self) -> bool {
        self.format == FORMAT && self.digest == self.own_digest()
    }
}

/// A cap as a limit, where it limits.
pub(crate) fn limit(cap: Cap, why: impl Into<String>, remedy: &str) -> Option<Limit> {
    let at_most = match cap {
        Cap::Refuse => Verdict::Refused,
        Cap::Candidate => Verdict::Candidate,
        Cap::Allow => return None,
    };
    Some(Limit { why: why.into(), at_most, remedy: remedy.to_owned() })
}
