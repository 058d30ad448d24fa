//! Verdicts and the reasons for them. Codes are stable: reports, tables and fault tests speak in them.

use std::fmt;

/// What the validator says about an episode; a worse one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing to object.
    Accepted,
    /// Usable; something optional is missing.
    Degraded,
    /// Readable, but it breaks a rule.
    Rejected,
    /// It cannot be read or parsed.
    Errored,
}

impl Verdict {
    /// All verdicts, best first.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Degraded, Self::Rejected, Self::Errored];

    /// The lower-case name used in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Degraded => "degraded",
            Self::Rejected => "rejected",
            Self::Errored => "errored",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $verdict:ident;)+) => {
        /// Why a verdict is what it is. Each code implies the best verdict that an episode with it can have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ReasonCode { $($(#[doc = $doc])+ $variant,)+ }

        impl ReasonCode {
            /// All codes, worst verdict first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable snake-case name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The verdict that this reason alone leads to.
            pub fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict,)+ }
            }
        }
    };
}

codes! {
    /// The id in the index, or a folder name, is not a ULID (a path traversal, for one): nothing of it is opened.
    UnsafeId = "unsafe_id", Errored;
    /// A file name in the index is not the plain name of an episode file: it is not opened.
    UnsafeFileName = "unsafe_file_name", Errored;
    /// A line of the index cannot be parsed.
    IndexUnreadable = "index_unreadable", Errored;
    /// The index names an episode that has no folder.
    FolderMissing = "folder_missing", Errored;
    /// `meta.json` is missing.
    MetaMissing = "meta_missing", Errored;
    /// `meta.json` cannot be parsed or breaks a rule of its fields.
    MetaInvalid = "meta_invalid", Errored;
    /// A link, FIFO, device or folder where a regular file has to be.
    NotRegularFile = "not_regular_file", Errored;
    /// The operating system refused to read.
    Unreadable = "unreadable", Errored;
    /// A file, or what it unpacks to, is larger than the cap.
    FileTooLarge = "file_too_large", Errored;
    /// A line is longer than the cap.
    LineTooLong = "line_too_long", Errored;
    /// A compressed file does not unpack.
    BadCompression = "bad_compression", Errored;
    /// The last line has no end: the file was cut.
    TruncatedLine = "truncated_line", Errored;
    /// A line is not UTF-8.
    NotUtf8 = "not_utf8", Errored;
    /// A line is not a JSON object.
    BadJson = "bad_json", Errored;
    /// A key stands twice in one row.
    DuplicateKey = "duplicate_key", Errored;
    /// A key that every row carries is absent.
    MissingKey = "missing_key", Errored;
    /// A value has the wrong type.
    WrongType = "wrong_type", Errored;
    /// A number is NaN, infinite or beyond `f64`.
    NotFinite = "not_finite", Errored;
    /// A timestamp is negative, fractional or beyond 64 bits.
    BadTimestamp = "bad_timestamp", Errored;

    /// The episode stands in the index more than once.
    DuplicateEpisode = "duplicate_episode", Rejected;
    /// The folder is there but the index does not know it.
    NotInIndex = "not_in_index", Rejected;
    /// The index names a file that is not there.
    FileMissing = "file_missing", Rejected;
    /// An episode file is there that the index does not know.
    FileNotInIndex = "file_not_in_index", Rejected;
    /// Plain and compressed file of the same stream.
    FileTwice = "file_twice", Rejected;
    /// The size of a file is not what the index says.
    SizeMismatch = "size_mismatch", Rejected;
    /// The sha256 of a file is not what the index says.
    HashMismatch = "hash_mismatch", Rejected;
    /// `meta.json` names another episode than its folder.
    IdMismatch = "id_mismatch", Rejected;
    /// The clock in `meta.json` is not the corpus's clock.
    ClockMismatch = "clock_mismatch", Rejected;
    /// A required source has no file.
    SourceMissing = "source_missing", Rejected;
    /// A source has a file without a row.
    SourceEmpty = "source_empty", Rejected;
    /// A required source has fewer rows than the corpus asks for.
    TooFewRows = "too_few_rows", Rejected;
    /// A row's `source` is not the file's.
    WrongSource = "wrong_source", Rejected;
    /// A row's `available_in_deployment` is not what the corpus says of its source.
    WrongAvailability = "wrong_availability", Rejected;
    /// `t_wall_ns` does not increase from row to row: swapped or repeated rows.
    WallClockRegress = "wall_clock_regress", Rejected;
    /// `t_mono_ns` decreases.
    MonoClockRegress = "mono_clock_regress", Rejected;
    /// Rows carry time since boot where wall clock has to be.
    ClockBootRelative = "clock_boot_relative", Rejected;
    /// Two clocks of the episode differ by a constant, whole number of quarter hours.
    ClockOffset = "clock_offset", Rejected;
    /// Rows lie outside the observed span.
    OutsideSpan = "outside_span", Rejected;
    /// Labels are not in time order.
    LabelTimeRegress = "label_time_regress", Rejected;
    /// A phase goes back where phases only go forward.
    LabelPhaseRegress = "label_phase_regress", Rejected;
    /// A label is not in the class list.
    LabelUnknownClass = "label_unknown_class", Rejected;
    /// A label is not preceded by the event that its rule asks for: it follows the schedule, not what happened.
    LabelUnjustified = "label_unjustified", Rejected;
    /// The counters of `meta.json` are not the number of rows.
    RowCountMismatch = "row_count_mismatch", Rejected;

    /// An optional source has no file.
    OptionalSourceMissing = "optional_source_missing", Degraded;
    /// An optional source has fewer rows than the corpus asks for.
    OptionalTooFewRows = "optional_too_few_rows", Degraded;
    /// There are no labels: nothing of the episode can be trained on or scored.
    LabelsMissing = "labels_missing", Degraded;
    /// A channel is in no row of its source.
    ChannelMissing = "channel_missing", Degraded;
    /// Rows carry fields that are no channel of the corpus.
    UnknownField = "unknown_field", Degraded;
    /// A file that is no episode file.
    UnexpectedFile = "unexpected_file", Degraded;

    /// The corpus has no label rules, so labels could not be checked against events. Alters no verdict.
    LabelsUnchecked = "labels_unchecked", Accepted;
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_verdicts_fall() {
        for (i, code) in ReasonCode::ALL.iter().enumerate() {
            assert!(ReasonCode::ALL[..i].iter().all(|other| other.name() != code.name()), "{code}");
            assert!(i == 0 || ReasonCode::ALL[i - 1].verdict() >= code.verdict(), "{code}");
        }
    }
}
