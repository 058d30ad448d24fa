//! The authority: a line read with `serde_json`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use stakeout_core::text::printable;

use super::{Key, Row, RowParser, Slot};
use crate::ReasonCode;
use crate::reader::Problem;

/// Reads a line and returns the positions of its keys, in their order.
pub(super) fn read(parser: &RowParser, line: &[u8], row: &mut Row) -> Result<Vec<usize>, Problem> {
    let text = std::str::from_utf8(line)
        .map_err(|error| Problem::new(ReasonCode::NotUtf8, format!("byte {} is not UTF-8", error.valid_up_to() + 1)))?;
    parser.clear(row);
    let mut reading = Reading { parser, row, order: Vec::new(), problem: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let done = (&mut json).deserialize_map(&mut reading).and_then(|()| json.end());
    let Reading { order, problem, .. } = reading;
    match (problem, done) {
        (Some(problem), _) => return Err(problem),
        (None, Err(error)) => return Err(syntax(line, &error)),
        (None, Ok(())) => {}
    }
    for (at, key) in parser.keys.iter().enumerate() {
        if key.required && !order.contains(&at) {
            return Err(Problem::new(ReasonCode::MissingKey, format!("key `{}` is missing", key.name)));
        }
    }
    Ok(order)
}

/// A syntax error in words, with the numbers that JSON does not have told apart.
fn syntax(line: &[u8], error: &serde_json::Error) -> Problem {
    let before = error.column().saturating_sub(2).min(line.len());
    let near = line[before..].iter().take(4).copied().collect::<Vec<u8>>();
    let token = |word: &[u8]| near.windows(word.len()).any(|window| window == word);
    let text = format!("{error}").replace("line 1 column", "column");
    if text.contains("number out of range") || token(b"NaN") || token(b"Inf") {
        return Problem::new(ReasonCode::NotFinite, format!("a number is not finite: {text}"));
    }
    Problem::new(ReasonCode::BadJson, text)
}

struct Reading<'a> {
    parser: &'a RowParser,
    row: &'a mut Row,
    order: Vec<usize>,
    problem: Option<Problem>,
}

impl Reading<'_> {
    /// Remembers what is wrong and stops the deserializer, whose own words are then not used.
    fn stop<E: de::Error>(&mut self, code: ReasonCode, text: String) -> E {
        self.problem.get_or_insert(Problem::new(code, text));
        E::custom("")
    }

    fn take<E: de::Error>(&mut self, key: &Key, value: Scalar<'_>) -> Result<(), E> {
        let row = &mut *self.row;
        match (key.slot, value) {
            (Slot::Channel(_), Scalar::Null) => {}
            (Slot::Channel(at), Scalar::Number(number)) => {
                row.values[at] = number.as_f64();
                row.missing -= 1;
            }
            (Slot::Mono, Scalar::Number(Number::Whole(time))) => row.t_mono_ns = time,
            (Slot::Wall, Scalar::Number(Number::Whole(time))) => row.t_wall_ns = time,
            (Slot::Mono | Slot::Wall, Scalar::Number(number)) => {
                let text = format!("{} = {} is not a time in 0 .. 2^63 ns", key.name, number.as_f64());
                return Err(self.stop(ReasonCode::BadTimestamp, text));
            }
            (Slot::Source, Scalar::Text(text)) => {
                let own = self.parser.source.map(stakeout_core::Source::name);
                row.other_source = (own != Some(&text) && own.is_some()).then(|| printable(&text, 64));
            }
            (Slot::Available, Scalar::Bool(value)) => row.available = value,
            (Slot::Name, Scalar::Text(text)) => row.name.push_str(&text),
            (slot, value) => {
                let expected = match slot {
                    Slot::Channel(_) => "a number or null",
                    Slot::Mono | Slot::Wall => "a whole number",
                    Slot::Source | Slot::Name => "a text",
                    Slot::Available => "true or false",
                };
                let text = format!("{} is {} and has to be {expected}", key.name, value.kind());
                return Err(self.stop(ReasonCode::WrongType, text));
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Reading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let keys = &self.parser.keys;
        let mut next = 0;
        while let Some(name) = map.next_key_seed(KeyText)? {
            // Rows mostly follow the order of the registry: look after the last key first.
            let found = (next..keys.len()).chain(0..next).find(|&at| *keys[at].name == *name);
            let Some(at) = found else {
                let name = name.into_owned();
                if self.row.unknown.contains(&name) {
                    return Err(self.stop(ReasonCode::DuplicateKey, twice(&name)));
                }
                self.row.unknown.push(name);
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if self.order.contains(&at) {
                return Err(self.stop(ReasonCode::DuplicateKey, twice(&name)));
            }
            self.order.push(at);
            next = at + 1;
            let value = map.next_value_seed(ScalarSeed)?;
            self.take(&keys[at], value)?;
        }
        Ok(())
    }
}

fn twice(name: &str) -> String {
    format!("key `{}` stands twice", printable(name, 64))
}

/// A key, borrowed from the line where it has no escapes.
struct KeyText;

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        match ScalarSeed.deserialize(deserializer)? {
            Scalar::Text(text) => Ok(text),
            _ => Err(de::Error::custom("a key is a text")),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Number {
    /// In 0 .. 2^63.
    Whole(i64),
    Other(f64),
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Other(value) => value,
        }
    }
}

/// A value without its tree.
enum Scalar<'de> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'de, str>),
    Nested,
}

impl Scalar<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Nested => "a list or an object",
        }
    }
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar<'de>, E> {
        let whole = if value >= 0 { Number::Whole(value) } else { Number::Other(value as f64) };
        Ok(Scalar::Number(whole))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(i64::try_from(value).map_or(Number::Other(value as f64), Number::Whole)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(Number::Other(value)))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }
}
