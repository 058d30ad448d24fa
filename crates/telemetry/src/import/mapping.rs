//! The mapping: a TOML file that says what the columns of a table mean.
//!
//! ```toml
//! name = "lab"
//! host = "{machine}"                 # text, with the value of a column in braces
//! sample = "{program}"
//! profile = { template = "{kind}", map = { 0 = "benign", 1 = "worm" } }
//!
//! [labels]
//! column = "infected"
//! classes = ["clean", "infected"]    # in order; or "from-data"
//! map = { 0 = "clean", 1 = "infected" }
//! unlabelled = ["-1"]
//!
//! [episode]
//! key = ["machine", "run"]
//!
//! [time]
//! column = "t"
//! unit = "s"                         # s, ms, us, ns, date (with a format) or index (with step_seconds)
//! origin = "episode"                 # or unix
//!
//! [window]
//! seconds = 10
//!
//! [[channels]]
//! columns = "m00..m37"               # a name, a range, a pattern (m*) or a list
//! source = "guest"
//! kind = "level"                     # level, counter or delta
//! unit = "share"
//! deployable = true
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use stakeout_core::window::SECOND_NS;
use stakeout_core::{ChannelKind, Partial, Source, Statistic};

use super::choice::{Classes, Columns, Template, WindowLength};
use super::clock::{DateFormat, Unit};
use crate::Seconds;

/// What the columns of a table mean. See the module documentation for an example.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Name of the corpus; `{table}` stands for the name of the first table without its ending.
    pub name: String,
    /// The device that was observed.
    pub host: Template,
    /// The program that was run.
    pub sample: Template,
    /// The behaviour family of the sample.
    pub profile: Template,
    /// The sha256 of the sample in hex.
    #[serde(default)]
    pub sample_sha256: Option<Template>,
    /// Where labels come from.
    pub labels: Labels,
    /// What makes an episode.
    pub episode: Episode,
    /// The clock of the rows.
    pub time: Time,
    /// The sides that the corpus itself assigns.
    #[serde(default)]
    pub given: Option<Given>,
    /// Which episodes are calibration stretches of their hosts.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// A column whose non-null values are events at the time of their row.
    #[serde(default)]
    pub event: Option<EventColumn>,
    /// A second clock to compare the first with.
    #[serde(default)]
    pub audit: Option<Audit>,
    /// Turns a table of events into buckets.
    #[serde(default)]
    pub aggregate: Option<Aggregate>,
    /// How the corpus is cut by default.
    pub window: Window,
    /// Class → the event that must justify it.
    #[serde(default)]
    pub label_rules: BTreeMap<String, String>,
    /// The channels, in the order of a model's input.
    pub channels: Vec<ChannelGroup>,
}

/// Where labels come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// The column that holds them.
    pub column: String,
    /// The classes in order, or `from-data`: the distinct values in sorted order.
    pub classes: Classes,
    /// Value → class, for values that are not class names themselves.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// Values that mean "no label"; `null` names the missing value.
    #[serde(default)]
    pub unlabelled: Vec<String>,
}

/// What makes an episode.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Episode {
    /// The columns whose values, together, name an episode.
    pub key: Vec<String>,
    /// Whether each row is an episode, its channels being list columns.
    #[serde(default)]
    pub each_row: bool,
}

/// The clock of the rows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The column; absent only for `index`: the number of the row inside its episode.
    #[serde(default)]
    pub column: Option<String>,
    /// What its numbers count.
    pub unit: Unit,
    /// The form of a text date.
    #[serde(default)]
    pub format: Option<DateFormat>,
    /// Seconds between two index values.
    #[serde(default)]
    pub step_seconds: Option<Seconds>,
    /// What zero means.
    #[serde(default)]
    pub origin: Origin,
    /// Which episodes follow one another on a synthetic clock.
    #[serde(default)]
    pub timeline: Timeline,
    /// Added to every absolute time: the remedy for a clock that is known to be off.
    #[serde(default = "none")]
    pub offset_seconds: Seconds,
}

/// What time zero means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The Unix epoch.
    #[default]
    Unix,
    /// The start of the episode, whose place in time is unknown: it is given a synthetic one.
    Episode,
}

/// Which episodes follow one another on a synthetic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timeline {
    /// All episodes, in order of first appearance: no two overlap.
    #[default]
    Corpus,
    /// The episodes of each host: hosts run side by side, so that a split over time cuts every host.
    Host,
}

/// The sides that the corpus itself assigns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The column that holds them.
    pub column: String,
    /// Values that mean the training side.
    #[serde(default)]
    pub train: Vec<String>,
    /// Values that mean the validation side.
    #[serde(default)]
    pub validation: Vec<String>,
    /// Values that mean the test side.
    #[serde(default)]
    pub test: Vec<String>,
}

/// Which episodes are calibration stretches of their hosts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The column that tells.
    pub column: String,
    /// Its values that mean calibration.
    pub values: Vec<String>,
}

/// A column of events.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventColumn {
    /// The column that holds them.
    pub column: String,
}

/// A second clock to compare the first with: a column, a companion event log, or both.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// A column that tells the same instant as the time column.
    #[serde(default)]
    pub column: Option<String>,
    /// What its numbers count.
    #[serde(default)]
    pub unit: Option<Unit>,
    /// The form of a text date.
    #[serde(default)]
    pub format: Option<DateFormat>,
    /// Differences up to this size are no finding.
    #[serde(default = "five")]
    pub tolerance_seconds: Seconds,
    /// A log of events whose onsets should agree with those of the labels.
    #[serde(default)]
    pub events: Option<EventLog>,
}

fn none() -> Seconds {
    Seconds::from_ns(0)
}

fn five() -> Seconds {
    Seconds::from_ns(5 * SECOND_NS)
}

/// A text file with one event a line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLog {
    /// Its file name: one of the sources, or a file beside the first table.
    pub file: String,
    /// The form of a line: literal text with `{epoch}` (Unix seconds), `{tag}` and any other names in braces.
    pub line: Template,
    /// What follows the class in the tag of an event that starts it.
    #[serde(default)]
    pub onset_suffix: String,
}

/// Turns a table of events into buckets.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// Length of a bucket; buckets lie on the absolute grid of this length.
    pub bucket_seconds: Seconds,
}

/// What becomes of the values that fall into one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fold {
    /// How many rows there are.
    Count,
    /// How many different values there are.
    Distinct,
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
}

/// How the corpus is cut by default.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Length, or `longest`: that of the longest series of list columns.
    pub seconds: WindowLength,
    /// Distance between window starts; the length when absent.
    #[serde(default)]
    pub stride_seconds: Option<Seconds>,
    /// Time steps of a tensor; 20 when absent, one a row for `longest`.
    #[serde(default)]
    pub steps: Option<u32>,
    /// At most this many windows an episode (0 = all).
    #[serde(default)]
    pub max_per_episode: u32,
    /// What happens to a partial last window.
    #[serde(default)]
    pub partial: Partial,
    /// What a summary holds.
    #[serde(default)]
    pub statistics: Option<Vec<Statistic>>,
}

/// Channels that share everything but their column.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelGroup {
    /// The columns; absent only for `aggregate = "count"`.
    #[serde(default)]
    pub columns: Option<Columns>,
    /// Name of the channel, `{column}` standing for the column; `<source>.{column}` when absent.
    #[serde(default)]
    pub name: Option<Template>,
    /// The source whose file the rows go to.
    pub source: Source,
    /// How the numbers are read.
    pub kind: ChannelKind,
    /// Unit of the raw numbers.
    pub unit: String,
    /// Whether they can be had where the detector will run.
    pub deployable: bool,
    /// One line: why a detector would look at it.
    #[serde(default)]
    pub about: String,
    /// What becomes of several values in one bucket.
    #[serde(default)]
    pub aggregate: Option<Fold>,
}
