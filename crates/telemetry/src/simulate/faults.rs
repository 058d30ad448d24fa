//! The faults that a finished store can be given, by name, and the ground truth beside it.

use serde::{Deserialize, Serialize};

use crate::{Examined, ReasonCode};

/// The ground truth: one [`FaultRecord`] a line, in the root of the store.
pub const FAULTS_FILE: &str = "faults.jsonl";

/// A way to damage an episode. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// One bit of a telemetry file flips after it was received.
    BitFlip,
    /// A recorder died while it wrote the last line of a telemetry file.
    TruncatedLine,
    /// The file of a required source is gone after it was received.
    MissingFile,
    /// Two rows of a telemetry file stand in each other's place.
    SwappedRows,
    /// The last label goes back to `clean`.
    LabelRegress,
    /// `t_wall_ns` of one source is time since boot.
    BootRelativeClock,
    /// A label follows the schedule: the event that would justify it did not happen.
    UnjustifiedLabel,
    /// The file of one source is there and empty.
    EmptySource,
    /// One line is longer than any reader accepts.
    OversizedLine,
    /// The id in the index leads out of its folder.
    PathTraversal,
}

impl Fault {
    /// All faults, in the order in which they are dealt out.
    pub const ALL: [Self; 10] = [
        Self::BitFlip,
        Self::TruncatedLine,
        Self::MissingFile,
        Self::SwappedRows,
        Self::LabelRegress,
        Self::BootRelativeClock,
        Self::UnjustifiedLabel,
        Self::EmptySource,
        Self::OversizedLine,
        Self::PathTraversal,
    ];

    /// The snake-case name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::BitFlip => "bit_flip",
            Self::TruncatedLine => "truncated_line",
            Self::MissingFile => "missing_file",
            Self::SwappedRows => "swapped_rows",
            Self::LabelRegress => "label_regress",
            Self::BootRelativeClock => "boot_relative_clock",
            Self::UnjustifiedLabel => "unjustified_label",
            Self::EmptySource => "empty_source",
            Self::OversizedLine => "oversized_line",
            Self::PathTraversal => "path_traversal",
        }
    }

    /// The reason that a validator has to give for it; what follows from the fault may stand beside it.
    ///
    /// [`Self::PathTraversal`] leaves a healthy folder that no line of the index names. The line itself is an entry
    /// of its own, with [`ReasonCode::UnsafeId`].
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::BitFlip => ReasonCode::HashMismatch,
            Self::TruncatedLine => ReasonCode::TruncatedLine,
            Self::MissingFile => ReasonCode::FileMissing,
            Self::SwappedRows => ReasonCode::WallClockRegress,
            Self::LabelRegress => ReasonCode::LabelPhaseRegress,
            Self::BootRelativeClock => ReasonCode::ClockBootRelative,
            Self::UnjustifiedLabel => ReasonCode::LabelUnjustified,
            Self::EmptySource => ReasonCode::SourceEmpty,
            Self::OversizedLine => ReasonCode::LineTooLong,
            Self::PathTraversal => ReasonCode::NotInIndex,
        }
    }

    /// The fault that an examination found, if it found one. A flipped bit may break anything else too, so the hash
    /// is asked first.
    ///
    /// ```
    /// # use stakeout_telemetry::simulate::{Fault, FaultRecord, SimConfig, simulate};
    /// # use stakeout_telemetry::{Store, ValidateOptions, validate};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("store");
    /// let config = SimConfig { episodes: 4, hosts: 1, episode_seconds: 20, faults: Some(0.5), ..SimConfig::default() };
    /// let truth = simulate(&path, &config, &|_, _| {})?.faults;
    /// validate(&Store::open(&path)?, &ValidateOptions::default(), &|_, _, _| {}, &mut |examined| {
    ///     let injected = truth.iter().find(|record| record.episode_id == examined.id).map(|record| record.fault);
    ///     assert_eq!(Fault::diagnosed(&examined), injected);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), stakeout_telemetry::TelemetryError>(())
    /// ```
    pub fn diagnosed(examined: &Examined) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| examined.has(fault.reason()))
    }

    /// Whether it can only happen to an episode with an infection.
    pub(super) fn needs_infection(self) -> bool {
        matches!(self, Self::LabelRegress | Self::UnjustifiedLabel)
    }
}

/// One line of the ground truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRecord {
    /// The damaged episode: the name of its folder.
    pub episode_id: String,
    /// What was done to it.
    pub fault: Fault,
    /// The file that was damaged.
    pub file: String,
    /// The first damaged line, from 1, where the fault has one.
    pub line: Option<u64>,
    /// The first damaged byte, from 0, where the fault has one.
    pub offset: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
        }
    }
}
