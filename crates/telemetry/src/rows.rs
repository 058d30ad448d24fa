//! Rows: one JSON object a line, mapped to slots without building a tree.
//!
//! The first line of a file is read with `serde_json`, which is the authority on what JSON is. It leaves behind the
//! order and spacing of its keys, and as long as the following lines repeat them a line is a comparison of known
//! bytes and a handful of numbers (`fast`). A line that differs in any way goes back to the authority. Both ways give
//! the same row: a property test says so.

mod fast;
mod mixed;
mod slow;

use stakeout_core::Source;

use crate::Stream;
use crate::reader::Problem;
use fast::Template;

pub use mixed::MixedRows;

/// The keys of every telemetry row that are not channels.
pub const ROW_KEYS: [&str; 4] = ["t_mono_ns", "t_wall_ns", "source", "available_in_deployment"];

/// Whether a channel may not use this field name.
pub(crate) fn is_reserved(field: &str) -> bool {
    ROW_KEYS.contains(&field)
}

/// What a key of a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Mono,
    Wall,
    Source,
    Available,
    /// The phase of a label, the name of an event.
    Name,
    /// Position in [`Row::values`].
    Channel(usize),
}

#[derive(Debug, Clone)]
struct Key {
    name: Box<str>,
    slot: Slot,
    required: bool,
}

/// One parsed line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Clock of the recorder, nanoseconds.
    pub t_mono_ns: i64,
    /// Wall clock, Unix nanoseconds.
    pub t_wall_ns: i64,
    /// Another source than the file's, where the row names one.
    pub other_source: Option<String>,
    /// What the row says of its availability in deployment.
    pub available: bool,
    /// Phase or event; empty in a telemetry row.
    pub name: String,
    /// One value a field, in the parser's order; NaN where it is absent or `null`.
    pub values: Vec<f64>,
    /// How many values are absent or `null`.
    pub missing: usize,
    /// Keys that are none of the parser's.
    pub unknown: Vec<String>,
}

/// Reads the lines of one file.
#[derive(Debug)]
pub struct RowParser {
    keys: Vec<Key>,
    fields: usize,
    source: Option<Source>,
    template: Template,
    /// By field: whether any row had its key.
    carried: Vec<bool>,
}

impl RowParser {
    /// A parser for the file of a stream, with the channel fields that its rows may carry.
    ///
    /// # Panics
    /// When `fields` repeats a name or holds one of [`ROW_KEYS`].
    pub fn new<'a>(stream: Stream, fields: impl IntoIterator<Item = &'a str>) -> Self {
        let (source, name) = match stream {
            Stream::Rows(source) => (Some(source), None),
            Stream::Labels => (None, Some("phase")),
            Stream::Events => (None, Some("event")),
        };
        let key = |name: &str, slot, required| Key { name: name.into(), slot, required };
        let mut keys = vec![
            key("t_mono_ns", Slot::Mono, true),
            key("t_wall_ns", Slot::Wall, true),
            key("source", Slot::Source, source.is_some()),
            key("available_in_deployment", Slot::Available, source.is_some()),
        ];
        keys.extend(name.map(|name| key(name, Slot::Name, true)));
        let first = keys.len();
        for (i, field) in fields.into_iter().enumerate() {
            assert!(keys.iter().all(|key| *key.name != *field), "field {field} stands twice");
            keys.push(key(field, Slot::Channel(i), false));
        }
        let fields = keys.len() - first;
        Self { keys, fields, source, template: Template::new(source, fields), carried: vec![false; fields] }
    }

    /// Reads one line into `row`, whose memory is used again.
    ///
    /// # Errors
    /// What is wrong with the line; `row` holds nothing of use then.
    pub fn parse(&mut self, line: &[u8], row: &mut Row) -> Result<(), Problem> {
        if self.template.read(line, row) {
            return Ok(());
        }
        let order = slow::read(self, line, row)?;
        for &key in &order {
            if let Slot::Channel(field) = self.keys[key].slot {
                self.carried[field] = true;
            }
        }
        if row.unknown.is_empty() && row.other_source.is_none() {
            self.template.learn(&order.iter().map(|&key| &self.keys[key]), line);
        }
        Ok(())
    }

    /// By field: whether any row read so far had its key, be it with `null`. A layout is learnt from a row that was
    /// read the slow way, so what the fast way reads is in here too.
    pub fn carried(&self) -> &[bool] {
        &self.carried
    }

    fn clear(&self, row: &mut Row) {
        row.values.clear();
        row.values.resize(self.fields, f64::NAN);
        row.other_source = None;
        row.available = false;
        row.name.clear();
        row.missing = self.fields;
        row.unknown.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReasonCode::{self, self as R};
    use proptest::prelude::*;

    fn parser() -> RowParser {
        RowParser::new(Stream::Rows(Source::Guest), ["a", "bb", "c"])
    }

    fn code(line: &[u8]) -> Option<ReasonCode> {
        parser().parse(line, &mut Row::default()).err().map(|problem| problem.code)
    }

    const HEAD: &str = r#"{"t_mono_ns":1,"t_wall_ns":2,"source":"guest","available_in_deployment":true"#;

    #[test]
    fn a_row_is_read_in_any_order_and_spacing() {
        let mut row = Row::default();
        let mut parser = parser();
        for line in [
            format!(r#"{HEAD},"a":1.5,"bb":null,"c":-3}}"#),
            format!(r#"{HEAD},"a":1.5,"c":-3}}"#),
            r#" { "c" : -3e0, "\u0061":15e-1 ,"available_in_deployment":true,"source":"guest","t_wall_ns":2,"t_mono_ns":1}"#
                .to_owned(),
        ] {
            parser.parse(line.as_bytes(), &mut row).unwrap();
            assert_eq!((row.t_mono_ns, row.t_wall_ns, row.available, row.missing), (1, 2, true, 1));
            assert_eq!((row.values[0], row.values[1].is_nan(), row.values[2]), (1.5, true, -3.0));
        }
    }

    #[test]
    fn unknown_keys_and_other_sources_are_told() {
        let mut row = Row::default();
        let line = format!(r#"{HEAD},"x":{{"y":[1,2,"z"]}},"c":1}}"#).replace("guest", "qmp");
        parser().parse(line.as_bytes(), &mut row).unwrap();
        assert_eq!(row.unknown, ["x"]);
        assert_eq!(row.other_source.as_deref(), Some("qmp"));
    }

    #[test]
    fn each_defect_has_its_code() {
        let with = |rest: &str| format!("{HEAD}{rest}").into_bytes();
        for (line, expected) in [
            (b"".to_vec(), R::BadJson),
            (b"[1]".to_vec(), R::BadJson),
            (with(""), R::BadJson),
            (with(",\"a\":01}"), R::BadJson),
            (with("} {}"), R::BadJson),
            (with(",\"a\":NaN}"), R::NotFinite),
            (with(",\"a\":-Infinity}"), R::NotFinite),
            (with(",\"a\":1e999}"), R::NotFinite),
            (with(",\"a\":\"1\"}"), R::WrongType),
            (with(",\"a\":true}"), R::WrongType),
            (with(",\"a\":[1]}"), R::WrongType),
            (with(",\"a\":1,\"a\":1}"), R::DuplicateKey),
            (with(",\"x\":1,\"x\":1}"), R::DuplicateKey),
            (with(",\"t_wall_ns\":2}"), R::DuplicateKey),
            (with(",\"x\":\"\u{0}\"}"), R::BadJson),
            ([&with(",\"x\":\"")[..], b"\xff\"}"].concat(), R::NotUtf8),
            (br#"{"t_mono_ns":1,"t_wall_ns":2,"source":"guest"}"#.to_vec(), R::MissingKey),
            (with("}").iter().map(|b| if *b == b'2' { b'x' } else { *b }).collect(), R::BadJson),
        ] {
            assert_eq!(code(&line), Some(expected), "{}", String::from_utf8_lossy(&line));
        }
        for time in ["-1", "1.5", "9223372036854775808", "1e30", "99999999999999999999999"] {
            assert_eq!(code(with("}").as_slice()), None);
            let line =
                String::from_utf8(with("}")).unwrap().replace("\"t_wall_ns\":2", &format!("\"t_wall_ns\":{time}"));
            assert_eq!(code(line.as_bytes()), Some(R::BadTimestamp), "{time}");
        }
        assert_eq!(code(with("}").replace(b"true", b"1").as_slice()), Some(R::WrongType));
        assert_eq!(code(with("}").replace(b"\"guest\"", b"null").as_slice()), Some(R::WrongType));
    }

    trait Replace {
        fn replace(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
    }

    impl Replace for Vec<u8> {
        fn replace(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
            let at = self.windows(from.len()).position(|window| window == from).unwrap();
            [&self[..at], to, &self[at + from.len()..]].concat()
        }
    }

    #[test]
    fn labels_and_events_have_a_name() {
        let mut row = Row::default();
        let mut labels = RowParser::new(Stream::Labels, []);
        labels.parse(br#"{"t_mono_ns":1,"t_wall_ns":2,"phase":"cl\u0065an"}"#, &mut row).unwrap();
        assert_eq!(row.name, "clean");
        let error = labels.parse(br#"{"t_mono_ns":1,"t_wall_ns":2,"event":"x"}"#, &mut row).unwrap_err();
        assert_eq!(error.code, R::MissingKey);
    }

    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| format!("{n:e}")),
            (0u64..1 << 54, 0usize..30).prop_map(|(n, places)| format!("{:.places$}", n as f64 / 1000.0)),
            "-?[0-9]{0,25}(\\.[0-9]{0,25})?([eE][-+]?[0-9]{0,3})?",
            Just("null".to_owned()),
            Just("-0".to_owned()),
        ]
    }

    fn bits(row: &Row) -> (Row, Vec<u64>) {
        (Row { values: Vec::new(), ..row.clone() }, row.values.iter().map(|value| value.to_bits()).collect())
    }

    proptest! {
        #[test]
        fn the_fast_way_gives_what_the_authority_gives(
            numbers in proptest::collection::vec(number(), 5),
            spaced: bool,
            junk in proptest::option::of((0usize..200, any::<u8>())),
        ) {
            let [mono, wall, a, bb, c] = &numbers[..] else { unreachable!() };
            let text = |mono: &str, wall: &str, a: &str, bb: &str, c: &str| {
                let text = format!(
                    r#"{{"t_mono_ns":{mono},"t_wall_ns":{wall},"source":"guest","available_in_deployment":false,"c":{c},"a":{a},"bb":{bb}}}"#
                );
                if spaced { text.replace(',', ", ").replace(':', ": ") } else { text }
            };
            let mut line = text(mono, wall, a, bb, c).into_bytes();
            if let Some((at, byte)) = junk {
                let at = at % line.len();
                line[at] = byte;
            }
            let (mut warm, mut fast, mut slow) = (parser(), Row::default(), Row::default());
            warm.parse(text("1", "2", "3", "4", "5").as_bytes(), &mut fast).unwrap();
            prop_assert!(warm.template.read(text("1", "2", "3", "4.5", "-500").as_bytes(), &mut fast));
            match (warm.parse(&line, &mut fast), slow::read(&parser(), &line, &mut slow)) {
                (Ok(()), Ok(_)) => prop_assert_eq!(bits(&fast), bits(&slow)),
                (fast, slow) => prop_assert_eq!(fast.err(), slow.err()),
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..5)) {
            let (mut parser, mut row) = (parser(), Row::default());
            for line in lines {
                prop_assert!(parser.parse(&line, &mut row).is_err());
            }
        }
    }
}
