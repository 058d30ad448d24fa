//! Sequences as JSON Lines: `{"features": {"sequence": ["open", "read", 17]}, "label": 0}`, one a line. An action is a
//! string or a whole number (the number 17 and the string "17" are one action); the label is 0 (normal), 1 (anomalous),
//! or absent. `"t_wall_ns": 1700000000000000000`, where it is there, says when the sequence came (Unix nanoseconds). Other
//! fields are passed over.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use stakeout_core::files::open_regular;
use stakeout_core::text::printable;

use super::data::Sequences;
use super::vocabulary::{UNKNOWN, Vocabulary, check_name};
use crate::DetectError;

/// The longest line in bytes.
const MAX_LINE: u64 = 64 << 20;

/// Whose ids the actions get.
#[derive(Debug)]
pub enum Names<'a> {
    /// Those of a vocabulary that takes in new actions.
    Grow(&'a mut Vocabulary),
    /// Those of a vocabulary as it is: other actions are [`UNKNOWN`].
    Known(&'a Vocabulary),
}

impl Names<'_> {
    /// The id of an action.
    pub(super) fn id(&mut self, name: &str) -> Result<u32, String> {
        match self {
            Self::Grow(vocabulary) => vocabulary.intern(name).map_err(|error| error.to_string()),
            Self::Known(vocabulary) => {
                let id = vocabulary.id(name);
                if id == UNKNOWN {
                    check_name(name)?;
                }
                Ok(id)
            }
        }
    }
}

/// Reads a file of sequences.
///
/// # Errors
/// [`DetectError::Io`], and [`DetectError::Parse`] with the line for what is not such a file.
pub fn read_jsonl(path: &Path, names: Names<'_>) -> Result<Sequences, DetectError> {
    let shown = path.display().to_string();
    let file =
        open_regular(path).map_err(|source| DetectError::Io { action: "reading", path: shown.clone(), source })?;
    read(BufReader::with_capacity(1 << 16, file), &shown, names)
}

fn read(mut reader: impl BufRead, path: &str, mut names: Names<'_>) -> Result<Sequences, DetectError> {
    let mut data = Sequences::default();
    let (mut text, mut ids, mut line) = (Vec::new(), Vec::new(), 0);
    loop {
        text.clear();
        line += 1;
        let parse = |why: String| DetectError::Parse { path: path.to_owned(), line: Some(line), why };
        let io = |source| DetectError::Io { action: "reading", path: path.to_owned(), source };
        if reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut text).map_err(io)? == 0 {
            return Ok(data);
        }
        if text.len() as u64 > MAX_LINE {
            return Err(parse(format!("the line is longer than {MAX_LINE} bytes: one sequence a line is read")));
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let row: Row<'_> = serde_json::from_slice(text.trim_ascii_end()).map_err(|error| parse(because(&error)))?;
        ids.clear();
        for action in &row.features.sequence {
            ids.push(names.id(&action.0).map_err(parse)?);
        }
        data.push_at(ids.iter().copied(), row.label.map(|label| label.0), row.t_wall_ns);
    }
}

/// What is wrong with a line, without the text of a hostile one.
fn because(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    let column = error.column();
    let remedy = if error.is_eof() {
        "the file was cut off: write it again"
    } else {
        "a line is {\"features\": {\"sequence\": [\"open\", 17]}, \"label\": 0}"
    };
    format!("{} (column {column}); {remedy}", printable(what, 160))
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    features: Measured<'a>,
    #[serde(default)]
    label: Option<Label>,
    #[serde(default)]
    t_wall_ns: Option<i64>,
}

#[derive(Deserialize)]
struct Measured<'a> {
    #[serde(borrow)]
    sequence: Vec<Action<'a>>,
}

/// An action by its name, a number by its digits.
struct Action<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Action<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl<'de> Visitor<'de> for Name {
            type Value = Action<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an action: a string or a whole number")
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Action<'de>, E> {
                Ok(Action(Cow::Borrowed(name)))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Action<'de>, E> {
                Ok(Action(Cow::Owned(name.to_owned())))
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Action<'de>, E> {
                Ok(Action(Cow::Owned(id.to_string())))
            }

            fn visit_i64<E: de::Error>(self, id: i64) -> Result<Action<'de>, E> {
                Ok(Action(Cow::Owned(id.to_string())))
            }
        }

        deserializer.deserialize_any(Name)
    }
}

struct Label(bool);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Zero;

        impl Visitor<'_> for Zero {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label: 0 (normal) or 1 (anomalous)")
            }

            fn visit_u64<E: de::Error>(self, label: u64) -> Result<Label, E> {
                match label {
                    0 => Ok(Label(false)),
                    1 => Ok(Label(true)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(label), &self)),
                }
            }

            fn visit_bool<E: de::Error>(self, label: bool) -> Result<Label, E> {
                Ok(Label(label))
            }
        }

        deserializer.deserialize_any(Zero)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(Sequences, Vocabulary), DetectError> {
        let mut vocabulary = Vocabulary::default();
        let data = read(text.as_bytes(), "a.jsonl", Names::Grow(&mut vocabulary))?;
        Ok((data, vocabulary))
    }

    #[test]
    fn strings_and_numbers_are_actions_and_other_fields_are_passed_over() {
        let text = concat!(
            r#"{"features":{"sequence":["open",17,"17",-1,"日本\u0041"],"count":3},"label":0,"id":"x"}"#,
            "\n\n",
            r#"{"label":1,"features":{"sequence":[]}}"#,
            "\r\n",
            r#"{"features":{"sequence":["open"]},"label":null,"t_wall_ns":1700000000000000001}"#,
        );
        let (data, vocabulary) = parsed(text).unwrap();
        let rows: Vec<_> = data.iter().collect();
        assert_eq!(rows, [(&[3, 4, 4, 5, 6][..], Some(false)), (&[][..], Some(true)), (&[3][..], None)]);
        assert_eq!(vocabulary.names().collect::<Vec<_>>(), ["open", "17", "-1", "日本A"]);
        assert_eq!((data.t_wall_ns(1), data.t_wall_ns(2)), (None, Some(1_700_000_000_000_000_001)));
        let known =
            read(text.as_bytes(), "a", Names::Known(&Vocabulary::from_names(["17".to_owned()]).unwrap())).unwrap();
        assert_eq!(known.get(0), [UNKNOWN, 3, 3, UNKNOWN, UNKNOWN]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_stays_short() {
        let long = format!(r#"{{"features":{{"sequence":["{}"]}}}}"#, "a".repeat(10_000_000));
        for (bad, expected) in [
            (r#"{"features":{"sequence":["a"]},"label":2}"#, "0 (normal) or 1 (anomalous)"),
            (r#"{"features":{"sequence":["a",1.5]},"label":0}"#, "a string or a whole number"),
            (r#"{"features":{"sequence":[]},"t_wall_ns":"noon"}"#, "i64"),
            (r#"{"features":{"sequence":["a",NaN]},"label":0}"#, "column"),
            (r#"{"features":{"sequence":["a"#, "cut off"),
            (r#"{"features":{"sequence":"a"}}"#, "sequence"),
            (r#"{"features":{}}"#, "missing field `sequence`"),
            ("{\"features\":{\"sequence\":[\"\u{1b}[2J\"]},\"label\":\"\u{1b}[2J\u{202e}\"}", "column"),
            ("[1,2]", "column"),
            (long.as_str(), "10000000 bytes"),
        ] {
            let text = format!("{{\"features\":{{\"sequence\":[]}}}}\n{bad}\n");
            let error = parsed(&text).unwrap_err().to_string();
            assert!(error.starts_with("a.jsonl:2: ") && error.contains(expected), "{error}");
            assert!(error.len() < 500 && !error.contains('\u{1b}') && !error.contains('\u{202e}'), "{error}");
            let unheld = read(text.as_bytes(), "a.jsonl", Names::Known(&Vocabulary::default()));
            assert!(unheld.unwrap_err().to_string().starts_with("a.jsonl:2: "));
        }
        let not_text = read(&b"\xff\xfe\x00"[..], "a.jsonl", Names::Known(&Vocabulary::default()));
        assert!(not_text.is_err());
        let deep = "[".repeat(1_000_000);
        assert!(parsed(&deep).unwrap_err().to_string().starts_with("a.jsonl:1: "));
        let nested = format!(r#"{{"features":{{"sequence":[],"x":{deep}}}}}"#);
        assert!(parsed(&nested).is_err());
    }

    #[test]
    fn a_folder_is_no_file_of_sequences() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_jsonl(folder.path(), Names::Known(&Vocabulary::default())).is_err());
        assert!(read_jsonl(&folder.path().join("absent"), Names::Known(&Vocabulary::default())).is_err());
    }
}
