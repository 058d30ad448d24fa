//! Rows of all sources in one stream.

use memchr::memmem;
use stakeout_core::Source;
use stakeout_core::text::printable;

use super::{Row, RowParser};
use crate::reader::Problem;
use crate::{ReasonCode, Stream};

/// Reads rows that name their source, one parser a source.
#[derive(Debug)]
pub struct MixedRows {
    /// In the order of [`Source::ALL`].
    parsers: [RowParser; Source::ALL.len()],
    /// Whose row the last one was.
    last: usize,
}

impl MixedRows {
    /// Parsers for the channel fields that the rows of each source may carry.
    ///
    /// # Panics
    /// As [`RowParser::new`].
    pub fn new<'a, F: IntoIterator<Item = &'a str>>(fields: impl Fn(Source) -> F) -> Self {
        Self { parsers: Source::ALL.map(|source| RowParser::new(Stream::Rows(source), fields(source))), last: 0 }
    }

    /// Reads one line into `row`, whose memory is used again, and says whose row it is.
    ///
    /// # Errors
    /// As [`RowParser::parse`]; `wrong_source` for a source that there is none of.
    pub fn parse(&mut self, line: &[u8], row: &mut Row) -> Result<Source, Problem> {
        let mut at = guess(line).unwrap_or(self.last);
        self.parsers[at].parse(line, row)?;
        // The guess may be wrong, the parser is not.
        let named =
            |row: &Row| Source::ALL.iter().position(|source| Some(source.name()) == row.other_source.as_deref());
        if let Some(other) = named(row) {
            at = other;
            self.parsers[at].parse(line, row)?;
        }
        if let Some(other) = &row.other_source {
            let text = format!("there is no source {}", printable(other, 64));
            return Err(Problem::new(ReasonCode::WrongSource, text));
        }
        self.last = at;
        Ok(Source::ALL[at])
    }

    /// By field of a source: whether any row read so far had its key.
    pub fn carried(&self, source: Source) -> &[bool] {
        self.parsers[at(source)].carried()
    }
}

fn at(source: Source) -> usize {
    Source::ALL.iter().position(|known| *known == source).expect("all sources")
}

/// The source that a line seems to name: which parser to ask first.
fn guess(line: &[u8]) -> Option<usize> {
    let after = memmem::find(line, b"\"source\"")? + b"\"source\"".len();
    let value = line[after..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    Source::ALL
        .iter()
        .position(|source| value.strip_prefix(source.name().as_bytes()).is_some_and(|rest| rest.first() == Some(&b'"')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> MixedRows {
        MixedRows::new(|source| match source {
            Source::Guest => vec!["a", "b"],
            Source::Netflow => vec!["a"],
            _ => vec![],
        })
    }

    #[test]
    fn every_row_finds_its_parser_however_it_names_its_source() {
        let (mut rows, mut row) = (rows(), Row::default());
        let line = |source: &str, more: &str| {
            format!(r#"{{"t_mono_ns":1,"t_wall_ns":2,"source":{source},"available_in_deployment":true{more}}}"#)
        };
        for (source, more, expected, values) in [
            (r#""guest""#, r#","a":1,"b":2"#, Source::Guest, 2),
            (r#""netflow""#, r#","a":1"#, Source::Netflow, 1),
            (r#""guest""#, r#","a":3,"b":4"#, Source::Guest, 2),
            (r#" "proc""#, "", Source::Proc, 0),
            (r#""gu\u0065st""#, r#","b":2"#, Source::Guest, 2),
            (r#""netflow""#, r#","x":{"source":"guest"}"#, Source::Netflow, 1),
        ] {
            assert_eq!(rows.parse(line(source, more).as_bytes(), &mut row), Ok(expected), "{source} {more}");
            assert_eq!(row.values.len(), values);
            assert!(row.other_source.is_none());
        }
        let misled = r#"{"note":{"source":"guest"},"source":"netflow","t_mono_ns":1,"t_wall_ns":2,"available_in_deployment":true}"#;
        assert_eq!(rows.parse(misled.as_bytes(), &mut row), Ok(Source::Netflow));
        assert_eq!(rows.carried(Source::Guest), [true, true]);
        assert_eq!(rows.carried(Source::Netflow), [true]);
        let strange = rows.parse(line(r#""gu\u0000est""#, "").as_bytes(), &mut row).unwrap_err();
        assert_eq!(strange.code, ReasonCode::WrongSource);
        assert!(!strange.text.contains('\0'));
        let none =
            rows.parse(br#"{"t_mono_ns":1,"t_wall_ns":2,"available_in_deployment":true}"#, &mut row).unwrap_err();
        assert_eq!(none.code, ReasonCode::MissingKey);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(lines in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                "[{\"source:a-z, ]{0,60}".prop_map(String::into_bytes),
            ], 1..6)) {
            let (mut rows, mut row) = (rows(), Row::default());
            for line in lines {
                prop_assert!(rows.parse(&line, &mut row).is_err());
            }
        }
    }
}
