//! The schema: the ordered, complete description of what a model was fed.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{ChannelSpec, ClassList, CoreError, InputKind, View, WindowSpec};

/// Sizes that follow from a schema. Two batches with the same geometry fit the same model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Geometry {
    /// Channels in the view.
    pub channels: usize,
    /// Time steps of a tensor.
    pub steps: usize,
    /// Length of a summary row: statistics × channels.
    pub features: usize,
    /// Classes.
    pub classes: usize,
}

impl Geometry {
    /// Values per window for a kind of input.
    pub fn row_len(self, kind: InputKind) -> usize {
        match kind {
            InputKind::Summary => self.features,
            InputKind::Tensor => self.channels * self.steps,
        }
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, steps, features, classes } = self;
        write!(f, "{channels} channels × {steps} steps, {features} features, {classes} classes")
    }
}

/// Everything that decides what the numbers in a window mean, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The channels of the view, in the order of the model's input.
    pub channels: Vec<ChannelSpec>,
    /// The view that chose them.
    pub view: View,
    /// How windows are cut and summarised.
    pub window: WindowSpec,
    /// The classes.
    pub classes: ClassList,
    /// Version of the code that computes windows; raised whenever its output changes.
    pub extractor: u32,
}

/// BLAKE3 of a schema's canonical text, as 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SchemaHash(String);

impl SchemaHash {
    /// The full hash in hex.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight digits, for file names and tables.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for SchemaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Schema {
    /// The schema of those `channels` that `view` shows.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] when no channel is left, a name stands twice, or a part breaks its own rules.
    pub fn new(
        channels: impl IntoIterator<Item = ChannelSpec>,
        view: View,
        window: WindowSpec,
        classes: ClassList,
        extractor: u32,
    ) -> Result<Self, CoreError> {
        let channels = channels.into_iter().filter(|channel| view.shows(channel)).collect();
        let schema = Self { channels, view, window, classes, extractor };
        schema.check()?;
        Ok(schema)
    }

    /// Checks a schema that came from a file.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] as for [`Schema::new`].
    pub fn check(&self) -> Result<(), CoreError> {
        self.window.check()?;
        if self.channels.is_empty() {
            return Err(CoreError::invalid("view", self.view.name(), "it shows no channel of this corpus"));
        }
        if self.channels.len() > 10_000 {
            return Err(CoreError::invalid("channel list", self.channels.len().to_string(), "at most 10,000 channels"));
        }
        let mut names: Vec<&str> = Vec::with_capacity(self.channels.len());
        for channel in &self.channels {
            channel.check()?;
            names.push(&channel.name);
        }
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CoreError::invalid("channel", pair[0], "it stands twice"));
        }
        Ok(())
    }

    /// The sizes that follow.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            channels: self.channels.len(),
            steps: self.window.steps as usize,
            features: self.channels.len() * self.window.statistics.len(),
            classes: self.classes.len(),
        }
    }

    /// Names of the summary features in input order: `<channel>.<statistic>`.
    pub fn feature_names(&self) -> Vec<String> {
        let statistics = &self.window.statistics;
        statistics
            .iter()
            .flat_map(|statistic| self.channels.iter().map(move |c| format!("{}.{}", c.name, statistic.name())))
            .collect()
    }

    /// The canonical text that is hashed: one line a fact, in order. Descriptions (`about`) do not take part.
    pub fn canonical_text(&self) -> String {
        let mut text = String::from("stakeout schema 1\n");
        let window = &self.window;
        let _ = writeln!(text, "extractor {}", self.extractor);
        let _ = writeln!(text, "view {}", self.view);
        let _ = writeln!(text, "clock {}", window.clock.name());
        let _ = writeln!(text, "window_ns {}", window.length_ns);
        let _ = writeln!(text, "stride_ns {}", window.stride_ns);
        let _ = writeln!(text, "steps {}", window.steps);
        let _ = writeln!(text, "max_per_episode {}", window.max_per_episode);
        let _ = writeln!(text, "partial {}", window.partial.name());
        for statistic in &window.statistics {
            let _ = writeln!(text, "statistic {}", statistic.name());
        }
        for c in &self.channels {
            let deployable = if c.deployable { "deployable" } else { "privileged" };
            let _ =
                writeln!(text, "channel {} {} {} {} {} {deployable}", c.name, c.source, c.field, c.kind.name(), c.unit);
        }
        for class in self.classes.names() {
            let _ = writeln!(text, "class {class}");
        }
        text
    }

    /// The semantic hash: equal exactly when the canonical texts are.
    pub fn hash(&self) -> SchemaHash {
        SchemaHash(blake3::hash(self.canonical_text().as_bytes()).to_hex().to_string())
    }

    /// Refuses another schema with a readable difference; `self` is what a model was trained on.
    ///
    /// # Errors
    /// [`CoreError::SchemaMismatch`], one line a difference.
    pub fn check_same(&self, other: &Self) -> Result<(), CoreError> {
        let difference = self.difference(other);
        if difference.is_empty() { Ok(()) } else { Err(CoreError::SchemaMismatch(difference)) }
    }

    /// What differs between this schema (what was) and another (what is), one readable line a difference; empty
    /// exactly when the hashes are equal.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut compare = |what: String, was: &dyn fmt::Display, is: &dyn fmt::Display| {
            let (was, is) = (was.to_string(), is.to_string());
            if was != is {
                lines.push(format!("{what} was {was}, is {is}"));
            }
        };
        let (a, b) = (&self.window, &other.window);
        compare("extractor version".into(), &self.extractor, &other.extractor);
        compare("view".into(), &self.view, &other.view);
        compare("clock".into(), &a.clock.name(), &b.clock.name());
        compare("window (ns)".into(), &a.length_ns, &b.length_ns);
        compare("stride (ns)".into(), &a.stride_ns, &b.stride_ns);
        compare("steps".into(), &a.steps, &b.steps);
        compare("windows per episode".into(), &a.max_per_episode, &b.max_per_episode);
        compare("partial windows".into(), &a.partial.name(), &b.partial.name());
        let statistics = |w: &WindowSpec| w.statistics.iter().map(|s| s.name()).collect::<Vec<_>>().join(", ");
        compare("statistics".into(), &statistics(a), &statistics(b));
        compare("classes".into(), &self.classes.names().join(", "), &other.classes.names().join(", "));
        compare("number of channels".into(), &self.channels.len(), &other.channels.len());
        for (i, (was, is)) in self.channels.iter().zip(&other.channels).enumerate() {
            if was.name == is.name {
                let facts = |c: &ChannelSpec| {
                    let deployable = if c.deployable { "deployable" } else { "privileged" };
                    format!("{} {} {} {} {deployable}", c.source, c.field, c.kind.name(), c.unit)
                };
                compare(format!("channel {i} ({})", was.name), &facts(was), &facts(is));
            } else {
                compare(format!("channel {i}"), &was.name, &is.name);
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channels, class};

    fn built_in(view: View) -> Schema {
        let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
        Schema::new(all, view, WindowSpec::default(), class::built_in(), 1).expect("the built-in schema is valid")
    }

    #[test]
    fn sizes_of_both_views() {
        assert_eq!(built_in(View::Oracle).geometry().features, 230);
        assert_eq!(built_in(View::Realistic).geometry().features, 145);
    }

    #[test]
    fn swapping_two_channels_changes_the_hash_and_reads_well() {
        let was = built_in(View::Oracle);
        let mut is = was.clone();
        is.channels.swap(17, 19);
        assert_ne!(was.hash(), is.hash());
        assert_eq!(
            was.difference(&is),
            [
                "channel 17 was guest.cpu_user, is guest.cpu_iowait",
                "channel 19 was guest.cpu_iowait, is guest.cpu_user"
            ]
        );
    }

    #[test]
    fn every_fact_of_the_canonical_text_changes_the_hash() {
        let was = built_in(View::Realistic);
        let changes: [fn(&mut Schema); 12] = [
            |s| s.extractor += 1,
            |s| s.view = View::Oracle,
            |s| s.window.length_ns *= 2,
            |s| s.window.stride_ns *= 2,
            |s| s.window.steps = 10,
            |s| s.window.max_per_episode = 1,
            |s| s.window.partial = crate::Partial::Mask,
            |s| s.window.clock = crate::Clock::Index,
            |s| s.window.statistics.swap(0, 1),
            |s| s.channels[3].unit = "furlong".into(),
            |s| s.channels[3].kind = crate::ChannelKind::Delta,
            |s| s.channels[3].deployable = false,
        ];
        for change in changes {
            let mut is = was.clone();
            change(&mut is);
            assert_ne!(was.hash(), is.hash());
            assert_eq!(was.difference(&is).len(), 1);
        }
    }

    #[test]
    fn a_description_is_not_part_of_the_hash() {
        let was = built_in(View::Realistic);
        let mut is = was.clone();
        is.channels[0].about = "reworded".into();
        assert_eq!(was.hash(), is.hash());
    }
}
