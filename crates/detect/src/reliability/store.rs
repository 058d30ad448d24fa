//! The store as a value: counters of every detector, and the fleet's prior.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stakeout_core::text::printable;

use super::counters::{self, Counters};
use super::prior::FleetPrior;
use crate::DetectError;

/// The longest name of a detector or host, in bytes.
pub const LONGEST_NAME: usize = 1024;

/// What is known of one detector: in all, and on each host that an analyst named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawEntry")]
pub struct Entry {
    #[serde(flatten)]
    pub(super) total: Counters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) hosts: BTreeMap<String, Counters>,
}

/// What a journal says, before it is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    alpha: u64,
    beta: u64,
    #[serde(default)]
    hosts: BTreeMap<String, Counters>,
}

impl TryFrom<RawEntry> for Entry {
    type Error = String;

    fn try_from(raw: RawEntry) -> Result<Self, String> {
        let total = Counters::try_from(counters::Raw { alpha: raw.alpha, beta: raw.beta })?;
        Self::new(total, raw.hosts)
    }
}

impl Entry {
    /// Refuses more on the hosts than in all.
    pub(super) fn new(total: Counters, hosts: BTreeMap<String, Counters>) -> Result<Self, String> {
        let on_hosts = hosts.values().fold(Counters::default(), |sum, cell| sum.plus(*cell));
        if on_hosts.alpha > total.alpha || on_hosts.beta > total.beta {
            return Err("more on its hosts than in all".into());
        }
        Ok(Self { total, hosts })
    }

    /// Everything that was said of the detector, whatever the host.
    pub fn total(&self) -> Counters {
        self.total
    }

    /// What was said on each host; feedback without a host is in the total alone.
    pub fn hosts(&self) -> &BTreeMap<String, Counters> {
        &self.hosts
    }

    pub(super) fn add(&mut self, host: Option<&str>, said: Counters) {
        self.total = self.total.plus(said);
        if let Some(host) = host {
            let cell = self.hosts.entry(host.to_owned()).or_default();
            *cell = cell.plus(said);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.total = self.total.plus(other.total);
        for (host, said) in &other.hosts {
            let cell = self.hosts.entry(host.clone()).or_default();
            *cell = cell.plus(*said);
        }
    }
}

/// What an analyst said of one alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was what the detector said.
    Hit,
    /// It was not.
    FalseAlarm,
}

impl Verdict {
    pub(super) fn counters(self) -> Counters {
        match self {
            Self::Hit => Counters::after(1, 0),
            Self::FalseAlarm => Counters::after(0, 1),
        }
    }
}

/// How often each detector was right, as an analyst said; sorted by detector.
///
/// ```
/// use stakeout_detect::reliability::{ReliabilityStore, Verdict};
/// let mut store = ReliabilityStore::default();
/// store.record("gru", Some("web-1"), Verdict::Hit)?;
/// store.record("gru", None, Verdict::FalseAlarm)?;
/// let gru = &store.detectors()["gru"];
/// assert_eq!((gru.total().alpha(), gru.total().beta(), gru.hosts()["web-1"].alpha()), (2, 2, 2));
/// # Ok::<(), stakeout_detect::DetectError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReliabilityStore {
    pub(super) detectors: BTreeMap<String, Entry>,
    pub(super) prior: Option<FleetPrior>,
}

impl ReliabilityStore {
    /// Every detector that was ever spoken of.
    pub fn detectors(&self) -> &BTreeMap<String, Entry> {
        &self.detectors
    }

    /// The prior of the last refit; Beta(1, 1) before the first.
    pub fn prior(&self) -> FleetPrior {
        self.prior.clone().unwrap_or_default()
    }

    /// Counts one word of an analyst.
    ///
    /// # Errors
    /// [`DetectError::Invalid`] for a blank or an overlong name.
    pub fn record(&mut self, detector: &str, host: Option<&str>, verdict: Verdict) -> Result<(), DetectError> {
        check_name("detector id", detector)?;
        host.map_or(Ok(()), |host| check_name("host", host))?;
        self.add(detector, host, verdict.counters());
        Ok(())
    }

    /// Adds the evidence of another store; this one's prior stays. Merging is counting one after the other: the order of
    /// what was said changes nothing.
    pub fn merge(&mut self, other: &Self) {
        for (id, entry) in &other.detectors {
            self.detectors.entry(id.clone()).or_default().merge(entry);
        }
    }

    /// Fits the prior to what is known now. Nothing else ever changes it.
    pub fn refit_prior(&mut self, revision: u64) {
        self.prior = Some(FleetPrior::fit(self, revision));
    }

    pub(super) fn add(&mut self, detector: &str, host: Option<&str>, said: Counters) {
        self.detectors.entry(detector.to_owned()).or_default().add(host, said);
    }
}

/// Refuses a name that nobody could see or that is too long to be one.
///
/// # Errors
/// [`DetectError::Invalid`].
pub fn check_name(what: &'static str, name: &str) -> Result<(), DetectError> {
    let why = if is_blank(name) {
        "is blank: give a name with at least one visible character".to_owned()
    } else if name.len() > LONGEST_NAME {
        format!("has {} bytes, at most {LONGEST_NAME} are allowed", name.len())
    } else {
        return Ok(());
    };
    Err(DetectError::Invalid { what, why })
}

/// Whether nothing of a name can be seen: what is printed of it, if anything, is white.
pub(super) fn is_blank(name: &str) -> bool {
    name.chars().all(|c| c.is_whitespace() || (c != '?' && printable(c.encode_utf8(&mut [0; 4]), 1) == "?"))
}
