//! Sources and channels: where a number comes from and what it means.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::CoreError;

/// Where rows come from. One file of an episode holds the rows of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `/proc` of the hypervisor process on the physical machine (privileged).
    Proc,
    /// The hypervisor's monitor protocol (privileged).
    Qmp,
    /// An agent inside the observed system.
    Guest,
    /// Flow records of the network, in buckets.
    Netflow,
    /// Hardware performance counters (optional, privileged).
    Perf,
}

impl Source {
    /// All sources, in the order in which reports name them.
    pub const ALL: [Self; 5] = [Self::Proc, Self::Qmp, Self::Guest, Self::Netflow, Self::Perf];

    /// The lower-case name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proc => "proc",
            Self::Qmp => "qmp",
            Self::Guest => "guest",
            Self::Netflow => "netflow",
            Self::Perf => "perf",
        }
    }

    /// The episode file that holds this source's rows (each is also accepted with `.zst` appended).
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Proc => "telemetry-proc.jsonl",
            Self::Qmp => "telemetry-qmp.jsonl",
            Self::Guest => "telemetry-guest.jsonl",
            Self::Netflow => "netflow.jsonl",
            Self::Perf => "telemetry-perf.jsonl",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Source {
    type Err = CoreError;

    fn from_str(s: &str) -> Result<Self, CoreError> {
        Self::ALL
            .into_iter()
            .find(|source| source.name() == s)
            .ok_or_else(|| CoreError::invalid("source", s, "use proc, qmp, guest, netflow or perf"))
    }
}

/// How the numbers of a channel are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A reading at an instant.
    Level,
    /// A cumulative count: differenced to a rate per second; a reset is missing, not a negative rate.
    Counter,
    /// The amount in the row's own interval: rate = sum / time observed. Absence inside the source's live span is
    /// zero, outside it is missing.
    Delta,
}

impl ChannelKind {
    /// The lower-case name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Counter => "counter",
            Self::Delta => "delta",
        }
    }
}

/// One numeric series of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSpec {
    /// Unique name, `<source>.<what>`.
    pub name: String,
    /// The source whose rows carry it.
    pub source: Source,
    /// The JSON field of those rows.
    pub field: String,
    /// How its numbers are read.
    pub kind: ChannelKind,
    /// Unit of the raw field; a counter or delta becomes this unit per second.
    pub unit: String,
    /// Whether it can be had where the detector will run.
    pub deployable: bool,
    /// One line: why a detector would look at it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

impl ChannelSpec {
    /// The unit of the series that a model sees.
    pub fn series_unit(&self) -> String {
        match self.kind {
            ChannelKind::Level => self.unit.clone(),
            ChannelKind::Counter | ChannelKind::Delta => format!("{}/s", self.unit),
        }
    }

    /// Checks names and fields: non-empty, printable ASCII without spaces, at most 64 bytes.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] naming the offending text.
    pub fn check(&self) -> Result<(), CoreError> {
        for (what, text) in [("channel name", &self.name), ("channel field", &self.field), ("channel unit", &self.unit)]
        {
            let plain = text.bytes().all(|b| b.is_ascii_graphic());
            if text.is_empty() || text.len() > 64 || !plain {
                return Err(CoreError::invalid(
                    what,
                    text.clone(),
                    "use 1 to 64 printable ASCII characters without spaces",
                ));
            }
        }
        Ok(())
    }
}
