//! Windows: how a trace is cut and what is computed from each cut.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ChannelSpec, CoreError};

/// Nanoseconds in a second.
pub const SECOND_NS: i64 = 1_000_000_000;

/// Which channels a model may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Only channels that can be had in deployment.
    #[default]
    Realistic,
    /// All channels, the privileged ones included.
    Oracle,
}

impl View {
    /// Whether this view shows a channel.
    pub fn shows(self, channel: &ChannelSpec) -> bool {
        self == Self::Oracle || channel.deployable
    }

    /// The lower-case name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Realistic => "realistic",
            Self::Oracle => "oracle",
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for View {
    type Err = CoreError;

    fn from_str(s: &str) -> Result<Self, CoreError> {
        match s {
            "realistic" => Ok(Self::Realistic),
            "oracle" => Ok(Self::Oracle),
            _ => Err(CoreError::invalid("view", s, "use realistic or oracle")),
        }
    }
}

/// One number computed per channel and window, over the samples inside the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// Population standard deviation (ddof 0).
    Std,
    /// 95th percentile, linear interpolation between order statistics (Hyndman and Fan 1996, type 7).
    P95,
    /// Ordinary least squares slope per second.
    Slope,
    /// Share of observed buckets (a bucket is one tensor step) whose mean is zero.
    ZeroShare,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Last value.
    Last,
    /// Median, linear interpolation (type 7).
    Median,
}

impl Statistic {
    /// All statistics.
    pub const ALL: [Self; 9] = [
        Self::Mean,
        Self::Std,
        Self::P95,
        Self::Slope,
        Self::ZeroShare,
        Self::Min,
        Self::Max,
        Self::Last,
        Self::Median,
    ];

    /// The default five.
    pub const DEFAULT: [Self; 5] = [Self::Mean, Self::Std, Self::P95, Self::Slope, Self::ZeroShare];

    /// The snake-case name used in files and feature names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Std => "std",
            Self::P95 => "p95",
            Self::Slope => "slope",
            Self::ZeroShare => "zero_share",
            Self::Min => "min",
            Self::Max => "max",
            Self::Last => "last",
            Self::Median => "median",
        }
    }
}

/// What happens to a last window that the observed span covers only in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Partial {
    /// Dropped and counted.
    #[default]
    Drop,
    /// Kept, with its unobserved tail marked as padding.
    Mask,
}

impl Partial {
    /// The lower-case name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Mask => "mask",
        }
    }
}

/// The clock that windows are cut on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// `t_wall_ns`, Unix nanoseconds.
    #[default]
    Wall,
    /// A synthetic clock made from row numbers: the corpus has none of its own.
    Index,
}

impl Clock {
    /// The lower-case name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Index => "index",
        }
    }
}

/// How traces are cut into windows. All times are integer nanoseconds, so that no rounding moves a row over an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// Length of a window.
    pub length_ns: i64,
    /// Distance between window starts; starts lie on the absolute grid `k * stride_ns`.
    pub stride_ns: i64,
    /// Time steps of a tensor; each is `length_ns / steps` long.
    pub steps: u32,
    /// At most this many windows from the start of each episode (0 = all).
    pub max_per_episode: u32,
    /// What happens to a partial last window.
    pub partial: Partial,
    /// The clock that the corpus carries.
    pub clock: Clock,
    /// What a summary holds per channel, in this order.
    pub statistics: Vec<Statistic>,
}

impl Default for WindowSpec {
    /// Ten seconds every five, twenty steps, the default five statistics.
    fn default() -> Self {
        Self {
            length_ns: 10 * SECOND_NS,
            stride_ns: 5 * SECOND_NS,
            steps: 20,
            max_per_episode: 0,
            partial: Partial::Drop,
            clock: Clock::Wall,
            statistics: Statistic::DEFAULT.to_vec(),
        }
    }
}

impl WindowSpec {
    /// Length of one tensor step in nanoseconds.
    pub fn step_ns(&self) -> i64 {
        self.length_ns / i64::from(self.steps)
    }

    /// Checks that lengths are positive, steps divide the window, and statistics are present once each.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] naming the setting and the rule.
    pub fn check(&self) -> Result<(), CoreError> {
        const DAY_NS: i64 = 366 * 86_400 * SECOND_NS;
        let seconds = |ns: i64| format!("{} s", ns as f64 / 1e9);
        if self.length_ns <= 0 || self.length_ns > DAY_NS {
            return Err(CoreError::invalid("window.seconds", seconds(self.length_ns), "it must lie in (0, one year]"));
        }
        if self.stride_ns <= 0 || self.stride_ns > DAY_NS {
            return Err(CoreError::invalid(
                "window.stride_seconds",
                seconds(self.stride_ns),
                "it must lie in (0, one year]",
            ));
        }
        if self.steps == 0 || self.steps > 100_000 {
            return Err(CoreError::invalid("window.steps", self.steps.to_string(), "it must lie in 1 to 100,000"));
        }
        if self.length_ns % i64::from(self.steps) != 0 {
            return Err(CoreError::invalid(
                "window.steps",
                self.steps.to_string(),
                format!("it must divide the window of {} ns without a rest", self.length_ns),
            ));
        }
        if self.statistics.is_empty() {
            return Err(CoreError::invalid("window.statistics", "[]", "name at least one statistic"));
        }
        for (i, statistic) in self.statistics.iter().enumerate() {
            if self.statistics[..i].contains(statistic) {
                return Err(CoreError::invalid("window.statistics", statistic.name(), "it stands twice"));
            }
        }
        Ok(())
    }
}
