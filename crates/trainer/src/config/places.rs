//! Where each setting was written: the line of the file, the `--set`, the option.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::TrainError;

/// Where the settings of an experiment come from, so that what is wrong with one is said with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The file's name, and the line of every key in it.
    file: String,
    lines: BTreeMap<Vec<String>, usize>,
    /// What was laid over it, in order: the key and the words of the command line.
    words: Vec<(Vec<String>, String)>,
}

impl Places {
    /// The keys of a file; a text that is no TOML has none.
    pub(crate) fn of_file(path: &Path, text: &str) -> Self {
        let mut places = Self { file: path.display().to_string(), ..Self::default() };
        if let Ok(table) = DeTable::parse(text) {
            // Line ends once, so that a large file is not searched from its beginning for every key.
            let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
            let line = |at: usize| 1 + ends.partition_point(|end| *end < at);
            walk(table.get_ref(), &mut Vec::new(), &line, &mut places.lines);
        }
        places
    }

    /// Notes that a setting was given by words of the command line: `--set seed=2`, `--split host`.
    pub fn note<'a>(&mut self, key: impl IntoIterator<Item = &'a str>, words: impl Into<String>) {
        self.words.push((key.into_iter().map(str::to_owned).collect(), words.into()));
    }

    /// The overrides in order: key and words.
    pub(crate) fn words(&self) -> impl Iterator<Item = (&[String], &str)> {
        self.words.iter().map(|(key, words)| (key.as_slice(), words.as_str()))
    }

    /// Where a setting was given; of its section where it was not given itself, and `None` where neither was.
    pub fn of<S: AsRef<str>>(&self, key: &[S]) -> Option<String> {
        let key: Vec<String> = key.iter().map(|part| part.as_ref().to_owned()).collect();
        (1..=key.len()).rev().find_map(|depth| {
            let part = &key[..depth];
            let by_words = |gives: &dyn Fn(&[String]) -> bool| {
                self.words.iter().rev().find(|(key, _)| gives(key)).map(|(_, words)| words.clone())
            };
            let in_file = || Some(format!("{}:{}", self.file, self.lines.get(part)?));
            by_words(&|given| given == part).or_else(in_file).or_else(|| by_words(&|given| given.starts_with(part)))
        })
    }

    /// Whether just this setting was given.
    pub(crate) fn has(&self, key: &[String]) -> bool {
        self.lines.contains_key(key) || self.words.iter().any(|(given, _)| given == key)
    }

    /// Puts the place of the setting that an error names before it.
    pub(crate) fn locate(&self, error: TrainError) -> TrainError {
        match error {
            TrainError::Config { place, why } => match self.of(&place.split('.').collect::<Vec<_>>()) {
                Some(found) => TrainError::config(found, format!("{place}: {why}")),
                None => TrainError::Config { place, why },
            },
            other => other,
        }
    }
}

fn walk(
    table: &DeTable<'_>,
    above: &mut Vec<String>,
    line: &dyn Fn(usize) -> usize,
    into: &mut BTreeMap<Vec<String>, usize>,
) {
    for (key, value) in table {
        above.push(key.get_ref().to_string());
        into.insert(above.clone(), line(key.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            walk(inner, above, line, into);
        }
        above.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_was_said_counts_and_a_section_stands_in_for_its_keys() {
        let text = "seed = 1\n\n[model.gru]\nhidden = 8\ntrain.epochs = 3\n[split]\nmin_cell = { windows = 1 }\n";
        let mut places = Places::of_file("x.toml".as_ref(), text);
        let check = |places: &Places, key: &str, expected: Option<&str>| {
            assert_eq!(places.of(&key.split('.').collect::<Vec<_>>()).as_deref(), expected, "{key}");
        };
        for (key, line) in [
            ("seed", "x.toml:1"),
            ("model.gru", "x.toml:3"),
            ("model.gru.hidden", "x.toml:4"),
            ("model.gru.train.epochs", "x.toml:5"),
            ("model.gru.layers", "x.toml:3"),
            ("split.min_cell.windows", "x.toml:7"),
            ("split.min_cell.episodes", "x.toml:7"),
        ] {
            check(&places, key, Some(line));
        }
        check(&places, "recipe", None);
        places.note(["recipe"], "--split host");
        places.note(["model", "gru", "hidden"], "--set model.gru.hidden=9");
        places.note(["model", "gbt", "rounds"], "--set model.gbt.rounds=9");
        check(&places, "recipe", Some("--split host"));
        check(&places, "model.gru.hidden", Some("--set model.gru.hidden=9"));
        check(&places, "model.gru.layers", Some("x.toml:3"));
        check(&places, "model.gbt", Some("--set model.gbt.rounds=9"));
    }
}
