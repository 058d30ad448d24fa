//! Reading a mapping and the rules that a type cannot hold. Errors name the line; an unknown key is answered with the
//! nearest one that exists.

use std::path::Path;

use stakeout_core::{ChannelKind, ClassList};

use super::choice::{Classes, WindowLength};
use super::clock::Unit;
use super::mapping::{Audit, ChannelGroup, Fold, Mapping, Origin, Timeline};
use crate::TelemetryError;
use crate::corpus::line_of;

/// A longer bucket would be a summary, not a series.
const LONGEST_BUCKET_NS: i64 = 86_400_000_000_000;
/// What is left of the clock after the last instant that is accepted.
const LONGEST_STEP_NS: i64 = 366 * LONGEST_BUCKET_NS;

impl Mapping {
    /// Reads the text of a mapping; `path` is named in errors.
    ///
    /// # Errors
    /// [`TelemetryError::Malformed`] with the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TelemetryError> {
        let mapping: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            TelemetryError::malformed(path, line, with_nearest_key(error.message()))
        })?;
        mapping.check().map_err(|Broken { at, why }| TelemetryError::malformed(path, line_of_table(text, at), why))?;
        Ok(mapping)
    }

    /// Whether the starts of episodes are made up, because the corpus does not know them.
    pub fn is_synthetic(&self) -> bool {
        self.time.unit == Unit::Index || self.time.origin == Origin::Episode
    }

    fn check(&self) -> Result<(), Broken> {
        self.check_name()?;
        self.check_time()?;
        self.check_labels()?;
        self.check_sides()?;
        self.audit.as_ref().map_or(Ok(()), check_audit)?;
        if self.audit.is_some() && self.is_synthetic() {
            return broken("[audit]", "a made-up clock has nothing to be compared with");
        }
        if self.channels.is_empty() {
            return broken("[[channels]]", "name at least one channel");
        }
        if let Some(aggregate) = self.aggregate {
            let ns = aggregate.bucket_seconds.ns();
            if ns <= 0 || ns > LONGEST_BUCKET_NS || ns % 1_000_000 != 0 {
                return broken("[aggregate]", "bucket_seconds is a whole number of milliseconds, at most a day");
            }
        }
        for (i, group) in self.channels.iter().enumerate() {
            let is_bucketed = self.aggregate.is_some() || self.time.unit == Unit::Index;
            check_channels(group, self.aggregate.is_some(), is_bucketed)
                .map_err(|why| Broken { at: Place::Channels(i), why: why.into() })?;
        }
        if self.episode.each_row && (self.aggregate.is_some() || self.event.is_some()) {
            return broken("[episode]", "each_row goes with neither [aggregate] nor [event]");
        }
        if self.window.seconds == WindowLength::Longest && !self.episode.each_row {
            return broken("[window]", "seconds = \"longest\" needs episode.each_row: give a number of seconds");
        }
        Ok(())
    }

    fn check_name(&self) -> Result<(), Broken> {
        let plain = self.name.replace("{table}", "");
        if self.name.is_empty() || plain.contains(['{', '}']) {
            return broken("name", "name is a text in which only {table} may stand in braces");
        }
        Ok(())
    }

    fn check_time(&self) -> Result<(), Broken> {
        let time = &self.time;
        let index = time.unit == Unit::Index;
        if index != time.step_seconds.is_some() {
            return broken("[time]", "step_seconds belongs to unit = \"index\", and to no other unit");
        }
        if time.step_seconds.is_some_and(|step| step.ns() <= 0 || step.ns() > LONGEST_STEP_NS) {
            return broken("[time]", "step_seconds must be more than 0 and at most 366 days");
        }
        if time.column.is_none() && !index {
            return broken("[time]", "name the column, or use unit = \"index\" to count rows");
        }
        if time.format.is_some() && time.unit != Unit::Date {
            return broken("[time]", "format belongs to unit = \"date\"");
        }
        if self.is_synthetic() && time.offset_seconds.ns() != 0 {
            return broken("[time]", "offset_seconds moves an absolute clock, and this one is not");
        }
        if !self.is_synthetic() && time.timeline != Timeline::Corpus {
            return broken("[time]", "timeline places episodes on a synthetic clock, and this one is absolute");
        }
        if time.unit == Unit::Date && time.origin == Origin::Episode {
            return broken("[time]", "a date is absolute: origin = \"episode\" needs a number");
        }
        if self.episode.each_row && (!index || time.column.is_some()) {
            return broken("[time]", "episode.each_row needs unit = \"index\" without a column");
        }
        Ok(())
    }

    fn check_labels(&self) -> Result<(), Broken> {
        let Classes::Named(names) = &self.labels.classes else { return Ok(()) };
        let classes = ClassList::try_from(names.clone()).map_err(|error| at("[labels]", error.to_string()))?;
        if let Some(class) = self.labels.map.values().find(|class| classes.id(class).is_none()) {
            return broken("[labels]", &format!("map leads to `{class}`, which is not in classes"));
        }
        if let Some(both) = self.labels.unlabelled.iter().find(|value| self.labels.map.contains_key(*value)) {
            return broken("[labels]", &format!("`{both}` is in map and in unlabelled"));
        }
        if let Some(class) = self.label_rules.keys().find(|class| classes.id(class).is_none()) {
            return broken("[label_rules]", &format!("`{class}` is not in labels.classes"));
        }
        Ok(())
    }

    fn check_sides(&self) -> Result<(), Broken> {
        if let Some(given) = &self.given {
            let mut values: Vec<&String> =
                [&given.train, &given.validation, &given.test].into_iter().flatten().collect();
            let all = values.len();
            values.sort_unstable();
            values.dedup();
            if values.is_empty() || values.len() < all {
                return broken("[given]", "give each value of the column to one side");
            }
        }
        if self.calibration.as_ref().is_some_and(|calibration| calibration.values.is_empty()) {
            return broken("[calibration]", "name at least one value");
        }
        Ok(())
    }
}

fn check_audit(audit: &Audit) -> Result<(), Broken> {
    if audit.column.is_none() && audit.events.is_none() {
        return broken("[audit]", "name a column or an event log to compare with");
    }
    if audit.column.is_some() != audit.unit.is_some() || audit.unit == Some(Unit::Index) {
        return broken("[audit]", "column and unit belong together, and the unit is absolute");
    }
    if audit.format.is_some() && audit.unit != Some(Unit::Date) {
        return broken("[audit]", "format belongs to unit = \"date\"");
    }
    if audit.tolerance_seconds.ns() <= 0 {
        return broken("[audit]", "tolerance_seconds must be more than 0");
    }
    if let Some(log) = &audit.events {
        for needed in ["epoch", "tag"] {
            if !log.line.columns().any(|name| name == needed) {
                return broken("[audit.events]", &format!("line must hold {{{needed}}}"));
            }
        }
        if log.file.is_empty() || log.file.contains(['/', '\\']) {
            return broken("[audit.events]", "file is the name of a file, without a folder");
        }
    }
    Ok(())
}

fn check_channels(group: &ChannelGroup, aggregated: bool, bucketed: bool) -> Result<(), &'static str> {
    if group.aggregate.is_some() != aggregated {
        return Err("[aggregate] and `aggregate = ...` in every channel belong together");
    }
    match group.aggregate {
        Some(Fold::Count) if group.columns.is_some() => return Err("count counts rows: leave columns out"),
        Some(Fold::Count) if group.name.is_none() => return Err("a count needs a name"),
        Some(Fold::Count | Fold::Sum | Fold::Distinct) if group.kind != ChannelKind::Delta => {
            return Err("count, sum and distinct are amounts in a bucket: kind = \"delta\"");
        }
        Some(Fold::Mean | Fold::Max) if group.kind != ChannelKind::Level => {
            return Err("mean and max are readings: kind = \"level\"");
        }
        _ => {}
    }
    if group.columns.is_none() && group.aggregate != Some(Fold::Count) {
        return Err("name the columns");
    }
    if group.kind == ChannelKind::Delta && !bucketed {
        return Err("a delta needs an interval: use [aggregate], or unit = \"index\" with step_seconds");
    }
    if let Some(name) = &group.name
        && name.columns().any(|part| part != "column")
    {
        return Err("only {column} may stand in braces in a channel name");
    }
    Ok(())
}

/// A broken rule and where it stands.
struct Broken {
    at: Place,
    why: String,
}

#[derive(Clone, Copy)]
enum Place {
    Line(&'static str),
    Channels(usize),
}

fn at(line: &'static str, why: String) -> Broken {
    Broken { at: Place::Line(line), why }
}

fn broken(line: &'static str, why: &str) -> Result<(), Broken> {
    Err(at(line, why.to_owned()))
}

/// The line on which a table starts; 1 when it is written in another form.
fn line_of_table(text: &str, place: Place) -> u64 {
    let (start, skip) = match place {
        Place::Line(start) => (start, 0),
        Place::Channels(i) => ("[[channels]]", i),
    };
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with(start));
    lines.nth(skip).map_or(1, |(number, _)| number)
}

/// Adds the nearest of the keys that serde lists to its complaint about an unknown one.
fn with_nearest_key(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown ")) else { return message.into() };
    match nearest(unknown, quoted) {
        Some(key) => format!("{message}; did you mean `{key}`?"),
        None => message.into(),
    }
}

/// The candidate with the smallest edit distance, if it is near enough to be a slip of the pen.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| distance(word, candidate);
    candidates.into_iter().min_by_key(near).filter(|best| near(best) <= 1 + word.chars().count() / 3)
}

/// Edit distance (Wagner and Fischer 1974), one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(256).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(256).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const SMALL: &str = r#"
name = "lab"
host = "{machine}"
sample = "{program}"
profile = "none"

[labels]
column = "infected"
classes = ["clean", "infected"]
map = { 0 = "clean", 1 = "infected" }

[episode]
key = ["machine", "run"]

[time]
column = "t"
unit = "s"

[window]
seconds = 10

[[channels]]
columns = "m0..m3"
source = "guest"
kind = "level"
unit = "share"
deployable = true
"#;

    fn why(text: &str) -> String {
        Mapping::parse(Path::new("lab.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn the_small_mapping_is_valid() {
        let mapping = Mapping::parse(Path::new("lab.toml"), SMALL).unwrap();
        assert_eq!(mapping.channels.len(), 1);
        assert!(!mapping.is_synthetic());
    }

    #[test]
    fn a_slip_of_the_pen_is_answered_with_line_and_nearest_key() {
        let text = SMALL.replace("columns = ", "colums = ");
        let why = why(&text);
        assert!(why.starts_with("lab.toml:23: ") && why.ends_with("did you mean `columns`?"), "{why}");
    }

    #[test]
    fn each_rule_names_its_line() {
        let cases: [(&str, &str, u64, &str); 22] = [
            ("unit = \"s\"", "unit = \"index\"", 15, "step_seconds"),
            ("unit = \"s\"", "unit = \"week\"", 17, "unknown variant"),
            ("unit = \"s\"", "unit = \"s\"\nformat = \"%F\"", 15, "format belongs"),
            ("unit = \"s\"", "unit = \"date\"\nformat = \"%H\"", 18, "at least a year"),
            ("unit = \"s\"", "unit = \"s\"\ntimeline = \"host\"", 15, "synthetic"),
            ("unit = \"s\"", "unit = \"s\"\norigin = \"episode\"\noffset_seconds = 1", 15, "absolute clock"),
            ("column = \"t\"\n", "", 15, "name the column"),
            ("seconds = 10", "seconds = \"longest\"", 19, "each_row"),
            ("seconds = 10", "seconds = \"short\"", 20, "longest"),
            ("seconds = 10", "seconds = 0.12345678912", 20, "nanoseconds"),
            ("1 = \"infected\"", "1 = \"ill\"", 7, "not in classes"),
            ("[\"clean\", \"infected\"]", "[\"clean\"]", 7, "2 to 1000"),
            ("[\"clean\", \"infected\"]", "\"all\"", 9, "from-data"),
            ("kind = \"level\"", "kind = \"delta\"", 22, "interval"),
            ("kind = \"level\"", "kind = \"level\"\naggregate = \"mean\"", 22, "belong together"),
            ("columns = \"m0..m3\"\n", "", 22, "name the columns"),
            ("columns = \"m0..m3\"", "columns = []", 23, "at least one"),
            ("host = \"{machine}\"", "host = \"{machine\"", 3, "does not close"),
            ("host = \"{machine}\"", "host = { template = \"\" }", 3, "empty"),
            ("name = \"lab\"", "name = \"{host}\"", 2, "{table}"),
            ("[window]", "[given]\ncolumn = \"s\"\ntrain = [\"a\"]\ntest = [\"a\"]\n[window]", 19, "one side"),
            ("[window]", "[audit]\ntolerance_seconds = 1\n[window]", 19, "column or an event log"),
        ];
        for (was, is, line, words) in cases {
            assert!(SMALL.contains(was));
            let why = why(&SMALL.replace(was, is));
            assert!(why.starts_with(&format!("lab.toml:{line}: ")) && why.contains(words), "{is}: {why}");
        }
    }

    #[test]
    fn edit_distance_counts_single_changes() {
        for (a, b, expected) in [("", "abc", 3), ("kitten", "sitting", 3), ("columns", "colums", 1), ("ab", "ab", 0)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        assert_eq!(nearest("zzzzzz", ["alpha"]), None);
    }
}
