//! Folds: which rows train, which choose, which test.

use serde::{Deserialize, Serialize};
use stakeout_core::Side;

use crate::SplitError;
use crate::draw::fnv1a;

/// What two sides promise not to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Separates {
    /// No host stands on both sides. Programs may: the score speaks of new machines.
    Hosts,
    /// No program stands on both sides, by name or by hash.
    Samples,
    /// No episode stands on both sides.
    Episodes,
    /// One side ends before the other begins, with a gap.
    Time,
    /// The corpus assigned the sides. It is held to separate programs, as far as hashes are known.
    Given,
    /// Nothing is promised.
    Unstated,
}

impl Separates {
    /// Whether one program on both sides breaks the promise.
    pub fn refuses_shared_samples(self) -> bool {
        matches!(self, Self::Samples | Self::Given)
    }

    /// What a fold of this kind holds out, for a sentence.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Samples => "programs",
            Self::Episodes => "episodes",
            Self::Time => "a stretch of time",
            Self::Given | Self::Unstated => "what the corpus assigns",
        }
    }

    /// The lower-case name used in files and texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Samples => "samples",
            Self::Episodes => "episodes",
            Self::Time => "time",
            Self::Given => "given",
            Self::Unstated => "unstated",
        }
    }
}

/// Rows that stand on no side, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Why, as a fragment: `purged: within one window of a later side`.
    pub reason: String,
    /// The rows.
    pub rows: Vec<usize>,
}

/// What a [`Fold`] is made from. Rows may come in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldParts {
    /// A file-system-safe name, see [`file_name`].
    pub name: String,
    /// The groups of the test side.
    pub held_out: Vec<String>,
    /// Rows that fit weights.
    pub train: Vec<usize>,
    /// Rows that choose epochs and thresholds; may be empty.
    pub validation: Vec<usize>,
    /// Rows that choose nothing.
    pub test: Vec<usize>,
    /// Rows on no side.
    pub dropped: Vec<Dropped>,
    /// What a reader of the score must know, as fragments.
    pub notes: Vec<String>,
    /// What the test side does not share with the other two.
    pub test_by: Separates,
    /// What the validation side does not share with the training side.
    pub validation_by: Separates,
}

/// One way to hold data out. Every row of the index stands on exactly one side or was dropped for a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold(FoldParts);

impl Fold {
    /// Checks the parts against an index of `rows` windows.
    ///
    /// # Errors
    /// [`SplitError::Fold`] when the name is not file-system safe, a row is out of range, stands twice or nowhere, or
    /// the train or test side is empty.
    pub fn new(rows: usize, mut parts: FoldParts) -> Result<Self, SplitError> {
        let refuse = |why: String| Err(SplitError::Fold { name: parts.name.clone(), why });
        if !is_file_name(&parts.name) {
            return refuse(
                "the name must be 1 to 120 of a-z, 0-9, `.`, `_`, `+`, `-` and not begin with `.` or `-`".into(),
            );
        }
        for (side, of) in [(Side::Train, &parts.train), (Side::Test, &parts.test)] {
            if of.is_empty() {
                return refuse(format!("the {side} side has no window"));
            }
        }
        let mut place: Vec<Option<&str>> = vec![None; rows];
        let sides = [("train", &parts.train), ("validation", &parts.validation), ("test", &parts.test)];
        let dropped = parts.dropped.iter().map(|dropped| (dropped.reason.as_str(), &dropped.rows));
        for (side, of) in sides.into_iter().chain(dropped) {
            for &row in of {
                match place.get_mut(row) {
                    None => return refuse(format!("row {row} ({side}) is out of range: the index has {rows} windows")),
                    Some(Some(before)) => return refuse(format!("row {row} stands twice: {before} and {side}")),
                    Some(free) => *free = Some(side),
                }
            }
        }
        if let Some(row) = place.iter().position(Option::is_none) {
            return refuse(format!("row {row} stands on no side and was not dropped for a reason"));
        }
        for rows in [&mut parts.train, &mut parts.validation, &mut parts.test] {
            rows.sort_unstable();
        }
        parts.dropped.retain(|dropped| !dropped.rows.is_empty());
        for dropped in &mut parts.dropped {
            dropped.rows.sort_unstable();
        }
        Ok(Self(parts))
    }

    /// A file-system-safe name of the held-out groups.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The groups of the test side.
    pub fn held_out(&self) -> &[String] {
        &self.0.held_out
    }

    /// Rows that fit weights, ascending, at least one.
    pub fn train(&self) -> &[usize] {
        &self.0.train
    }

    /// Rows that choose epochs, thresholds and temperatures, ascending; may be empty.
    pub fn validation(&self) -> &[usize] {
        &self.0.validation
    }

    /// Rows that choose nothing, ascending, at least one.
    pub fn test(&self) -> &[usize] {
        &self.0.test
    }

    /// The rows of a side, ascending.
    pub fn side(&self, side: Side) -> &[usize] {
        match side {
            Side::Train => &self.0.train,
            Side::Validation => &self.0.validation,
            Side::Test => &self.0.test,
        }
    }

    /// The side of every row of the index; `None` where it was dropped.
    pub fn sides(&self) -> Vec<Option<Side>> {
        let mut sides = vec![None; self.rows()];
        for side in [Side::Train, Side::Validation, Side::Test] {
            for &row in self.side(side) {
                sides[row] = Some(side);
            }
        }
        sides
    }

    /// Number of windows of the index that was split.
    pub fn rows(&self) -> usize {
        let dropped: usize = self.0.dropped.iter().map(|dropped| dropped.rows.len()).sum();
        self.0.train.len() + self.0.validation.len() + self.0.test.len() + dropped
    }

    /// Rows that stand on no side, by reason; no entry is empty.
    pub fn dropped(&self) -> &[Dropped] {
        &self.0.dropped
    }

    /// What a reader of the score must know.
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// Adds a note that only the finished fold could show.
    pub(crate) fn note(&mut self, note: String) {
        self.0.notes.push(note);
    }

    /// What the test side does not share with the other two.
    pub fn test_by(&self) -> Separates {
        self.0.test_by
    }

    /// What the validation side does not share with the training side.
    pub fn validation_by(&self) -> Separates {
        self.0.validation_by
    }
}

fn is_file_name(name: &str) -> bool {
    (1..=120).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._+-".contains(&b))
}

/// A file-system-safe name for some groups: their names joined by `+`, in lower case, other characters replaced. A
/// digest is appended whenever something was replaced or cut off, so that two sets of groups keep two names, on file
/// systems without upper and lower case too.
///
/// ```
/// use stakeout_splits::file_name;
/// assert_eq!(file_name(&["host-1".into(), "host-4".into()]), "host-1+host-4");
/// assert!(file_name(&["../Etc".into()]).starts_with("_._etc-"));
/// ```
pub fn file_name(groups: &[String]) -> String {
    const LONGEST: usize = 60;
    let mut name = String::new();
    for (i, group) in groups.iter().enumerate() {
        if i > 0 {
            name.push('+');
        }
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '_' };
        name.extend(group.chars().map(safe));
    }
    if name.starts_with(['.', '-', '+']) || name.is_empty() {
        name.replace_range(..name.len().min(1), "_");
    }
    if name.len() <= LONGEST && name == groups.join("+") && !groups.iter().any(|group| group.contains('+')) {
        return name;
    }
    name.truncate(LONGEST);
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    format!("{name}-{:012x}", fnv1a(&groups) >> 16)
}
