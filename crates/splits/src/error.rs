use std::fmt;

use stakeout_core::Side;
use thiserror::Error;

/// Why data could not be held out as asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SplitError {
    /// No such recipe, a recipe that is there already, or a name that cannot be one.
    #[error("split recipe `{name}`: {why}")]
    Recipe {
        /// The name as it was given.
        name: String,
        /// The rule and the way forward.
        why: String,
    },
    /// A key of `[split]` is unknown or out of range.
    #[error("[split] of recipe `{recipe}`: {why}")]
    Config {
        /// The recipe whose settings they are.
        recipe: String,
        /// The rule and the way forward.
        why: String,
    },
    /// The index contradicts itself or does not belong to the fold.
    #[error("sample index: {0}")]
    Index(String),
    /// The data cannot be held out this way.
    #[error("recipe `{recipe}` cannot split this data: {why}")]
    Unsplittable {
        /// The recipe.
        recipe: String,
        /// What is missing and what would help.
        why: String,
    },
    /// The sides break a rule that every fold keeps.
    #[error("fold `{name}`: {why}")]
    Fold {
        /// The fold's name.
        name: String,
        /// The rule and the rows that break it.
        why: String,
    },
    /// The same program stands on two sides that the recipe promises to hold apart.
    #[error("fold `{fold}`: sample hashes stand on two sides, {count} in all: {}; give their episodes one side{}", list(.first, *.count), .remedy)]
    SharedSamples {
        /// The fold's name.
        fold: String,
        /// How many hashes.
        count: usize,
        /// The first few.
        first: Vec<SharedSample>,
        /// Another way out, where the recipe has one; empty otherwise.
        remedy: &'static str,
    },
    /// Windows with identical content stand on two sides.
    #[error("fold `{fold}`: identical windows stand on two sides, {count} in all: {}; give both episodes one side, or set split.duplicates = \"drop\" to leave out the twin on the earlier side", list(&pairs(.first), *.count))]
    DuplicateWindows {
        /// The fold's name.
        fold: String,
        /// How many contents stand on two sides.
        count: usize,
        /// The first few pairs.
        first: Vec<(Twin, Twin)>,
    },
    /// The test side has profiles that the training side lacks, and the configuration forbids that.
    #[error("fold `{fold}`: profiles {} stand on the test side and not on the training side (split.require_profiles = true): hold out other groups with another seed or share, or drop the requirement", .profiles.join(", "))]
    UntrainedProfiles {
        /// The fold's name.
        fold: String,
        /// The profiles, by name.
        profiles: Vec<String>,
    },
}

/// One sample hash on two sides, with an episode on each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSample {
    /// The hash in lower-case hex.
    pub sha256: String,
    /// An episode and its side.
    pub one: (String, Side),
    /// An episode on another side.
    pub other: (String, Side),
}

/// One of two windows with identical content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// The episode's ULID.
    pub episode: String,
    /// Start of the window in `t_wall_ns`.
    pub t0_ns: i64,
    /// The side that it stands on.
    pub side: Side,
}

impl fmt::Display for SharedSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.sha256.get(..12).unwrap_or(&self.sha256);
        write!(f, "{hash} in {} ({}) and {} ({})", self.one.0, self.one.1, self.other.0, self.other.1)
    }
}

impl fmt::Display for Twin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ns ({})", self.episode, self.t0_ns, self.side)
    }
}

fn pairs(pairs: &[(Twin, Twin)]) -> Vec<String> {
    pairs.iter().map(|(one, other)| format!("{one} = {other}")).collect()
}

/// The first few, and that there are more.
fn list(first: &[impl ToString], count: usize) -> String {
    let first: Vec<String> = first.iter().map(ToString::to_string).collect();
    match count - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
