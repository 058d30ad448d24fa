//! The values of a mapping that have more than one form. Each reads itself, so that an error keeps its line and says
//! what would have been right.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use stakeout_core::window::SECOND_NS;

use crate::Seconds;

/// Text with column values in it: `"{host}-{run}"`, then a map from whole results to others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
    map: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Column(String),
}

impl Template {
    /// Parses text with names in braces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            let close = from.find('}').ok_or_else(|| format!("`{text}` opens a brace that it does not close"))?;
            let name = &from[1..close];
            if name.is_empty() || name.contains('{') {
                return Err(format!("`{text}` has braces without a name in them"));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Column(name.into()));
            rest = &from[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        if parts.is_empty() { Err("it is empty".into()) } else { Ok(Self { parts, map: BTreeMap::new() }) }
    }

    /// The names in braces.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text with each name replaced by its value; `None` when a value is missing.
    pub fn fill<'a>(&self, mut value: impl FnMut(&str) -> Option<&'a str>) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Column(name) => text.push_str(value(name)?),
            }
        }
        Some(self.map.get(&text).cloned().unwrap_or(text))
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WithMap {
            template: String,
            #[serde(default)]
            map: BTreeMap<String, String>,
        }

        impl<'de> Visitor<'de> for Form {
            type Value = Template;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text like \"{column}\" or { template = \"{column}\", map = { 0 = \"name\" } }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Template, E> {
                Template::parse(text).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Template, A::Error> {
                let WithMap { template, map } = WithMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Template { map, ..Template::parse(&template).map_err(de::Error::custom)? })
            }
        }

        deserializer.deserialize_any(Form)
    }
}

/// The class list of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Classes {
    /// Named in order.
    Named(Vec<String>),
    /// The distinct values of the label column, in sorted order.
    FromData,
}

/// The length of the default window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowLength {
    /// So many seconds.
    Fixed(Seconds),
    /// As long as the longest series.
    Longest,
}

/// One or several column selectors, as they stand in the mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns(pub Vec<String>);

impl<'de> Deserialize<'de> for Classes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WordOrList { word, list } = WordOrList::read(deserializer, "a list of class names or \"from-data\"")?;
        match word.as_deref() {
            None => Ok(Self::Named(list)),
            Some("from-data") => Ok(Self::FromData),
            Some(other) => {
                Err(de::Error::custom(format!("`{other}` is neither a list of class names nor \"from-data\"")))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WordOrList { word, mut list } =
            WordOrList::read(deserializer, "a column, a range (m00..m37), a pattern (ch*) or a list of them")?;
        list.extend(word);
        if list.is_empty() { Err(de::Error::custom("name at least one column")) } else { Ok(Self(list)) }
    }
}

impl<'de> Deserialize<'de> for WindowLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl Visitor<'_> for Form {
            type Value = WindowLength;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds or \"longest\"")
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<WindowLength, E> {
                Seconds::from_f64(seconds).map(WindowLength::Fixed).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<WindowLength, E> {
                let seconds = Seconds::from_ns(SECOND_NS).times(seconds);
                seconds.map(WindowLength::Fixed).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<WindowLength, E> {
                if word == "longest" {
                    Ok(WindowLength::Longest)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(word), &self))
                }
            }
        }

        deserializer.deserialize_any(Form)
    }
}

struct WordOrList {
    word: Option<String>,
    list: Vec<String>,
}

impl WordOrList {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, expected: &'static str) -> Result<Self, D::Error> {
        struct Form(&'static str);

        impl<'de> Visitor<'de> for Form {
            type Value = WordOrList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<WordOrList, E> {
                Ok(WordOrList { word: Some(word.into()), list: Vec::new() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<WordOrList, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(WordOrList { word: None, list })
            }
        }

        deserializer.deserialize_any(Form(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_values_and_then_maps_the_whole() {
        let template = Template::parse("{host}-run{n}").unwrap();
        assert_eq!(template.columns().collect::<Vec<_>>(), ["host", "n"]);
        assert_eq!(template.fill(|name| Some(if name == "n" { "7" } else { "a" })).unwrap(), "a-run7");
        assert_eq!(template.fill(|name| (name == "n").then_some("7")), None);
        let mapped = Template { map: [("0".into(), "benign".into())].into(), ..Template::parse("{label}").unwrap() };
        assert_eq!(mapped.fill(|_| Some("0")).unwrap(), "benign");
        assert_eq!(mapped.fill(|_| Some("2")).unwrap(), "2");
    }

    #[test]
    fn a_broken_template_says_what_is_wrong() {
        for (text, why) in [("{host", "does not close"), ("a{}b", "without a name"), ("", "empty")] {
            assert!(Template::parse(text).unwrap_err().contains(why), "{text}");
        }
    }
}
