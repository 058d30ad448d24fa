//! Sequences from a parquet table: one row a sequence, a list column with its actions.

use std::io::Cursor;
use std::path::Path;

use polars::prelude::*;
use stakeout_core::files::read_regular;
use stakeout_core::text::printable;

use super::data::Sequences;
use super::jsonl::Names;
use crate::{DetectError, packed};

/// The largest table in bytes, packed or unpacked.
const MAX_BYTES: u64 = 2 << 30;

/// Which columns hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// A list of strings or whole numbers: the actions.
    pub sequence: String,
    /// 0 (normal) or 1 (anomalous), or a boolean; where the table has no such column, or no value in a row, there is no
    /// label.
    pub label: String,
    /// Whole numbers: when each sequence came, `t_wall_ns` (Unix nanoseconds); `None`: nobody knows.
    pub time: Option<String>,
    /// Only rows whose column has this value, as text.
    pub only: Vec<(String, String)>,
}

impl Default for Columns {
    /// `sequence`, `label`, no time, all rows.
    fn default() -> Self {
        Self { sequence: "sequence".to_owned(), label: "label".to_owned(), time: None, only: Vec::new() }
    }
}

/// Reads a parquet file of sequences.
///
/// # Errors
/// [`DetectError::Io`], [`DetectError::TooLarge`] for what would unpack to more than 2 GiB, and [`DetectError::Parse`] naming
/// the column and the row for what is not such a table.
pub fn read_parquet(path: &Path, columns: &Columns, names: Names<'_>) -> Result<Sequences, DetectError> {
    within(MAX_BYTES, path, columns, names)
}

fn within(cap: u64, path: &Path, columns: &Columns, mut names: Names<'_>) -> Result<Sequences, DetectError> {
    let shown = path.display().to_string();
    let bytes =
        read_regular(path, cap).map_err(|source| DetectError::Io { action: "reading", path: shown.clone(), source })?;
    let damaged = |why| DetectError::Parse { path: shown.clone(), line: None, why };
    let (wanted, size) = packed::guarded(|| needed(&bytes, columns)).map_err(damaged)?;
    let wanted = wanted.map_err(damaged)?;
    if size > cap {
        return Err(DetectError::TooLarge { path: shown, size, cap });
    }
    packed::guarded(|| Ok(rows(&bytes, wanted, columns, &mut names))).and_then(|read| read).map_err(damaged)
}

fn text(error: &PolarsError) -> String {
    printable(&error.to_string(), 200)
}

/// The columns that are read, and what they unpack to; or what is wrong with them.
fn needed(bytes: &[u8], columns: &Columns) -> PolarsResult<(Result<Vec<String>, String>, u64)> {
    let mut reader = ParquetReader::new(Cursor::new(bytes));
    let held: Vec<String> = reader.schema()?.iter_names().map(ToString::to_string).collect();
    let has = |name: &String| held.contains(name);
    let mut wanted = vec![columns.sequence.clone()];
    wanted.extend(has(&columns.label).then(|| columns.label.clone()));
    wanted.extend(columns.time.clone());
    wanted.extend(columns.only.iter().map(|(name, _)| name.clone()));
    wanted.sort();
    wanted.dedup();
    if let Some(absent) = wanted.iter().find(|name| !has(name)) {
        let held = held.iter().map(|name| printable(name, 40)).collect::<Vec<_>>().join(", ");
        let why = format!("it has no column `{}`, it has {}", printable(absent, 64), printable(&held, 300));
        return Ok((Err(why), 0));
    }
    let size = packed::unpacked(&mut reader, &wanted)?;
    Ok((Ok(wanted), size))
}

fn rows(bytes: &[u8], wanted: Vec<String>, columns: &Columns, names: &mut Names<'_>) -> Result<Sequences, String> {
    let labelled = wanted.contains(&columns.label);
    let reader = ParquetReader::new(Cursor::new(bytes)).with_columns(Some(wanted));
    let frame = reader.finish().map_err(|error| text(&error))?;
    let column = |name: &str| frame.column(name).map_err(|error| text(&error));

    let mut kept = vec![true; frame.height()];
    for (name, value) in &columns.only {
        let cast = column(name)?.cast(&DataType::String).map_err(|error| text(&error))?;
        let cells = cast.str().map_err(|error| text(&error))?;
        for (kept, cell) in kept.iter_mut().zip(cells.iter()) {
            *kept &= cell == Some(value.as_str());
        }
    }
    let labels = if labelled { labels(column(&columns.label)?)? } else { vec![None; frame.height()] };
    let times = match &columns.time {
        Some(name) => times(column(name)?)?,
        None => vec![None; frame.height()],
    };
    let actions = Actions::new(column(&columns.sequence)?, &columns.sequence)?;
    let (mut data, mut ids) = (Sequences::default(), Vec::new());
    for row in (0..frame.height()).filter(|&row| kept[row]) {
        ids.clear();
        actions.row(row, |name| names.id(name), &mut ids).map_err(|why| format!("row {}: {why}", row + 1))?;
        data.push_at(ids.iter().copied(), labels[row], times[row]);
    }
    Ok(data)
}

fn labels(column: &Column) -> Result<Vec<Option<bool>>, String> {
    // As numbers with a fraction: a label of 0.9 is none, and not a 0.
    let numbers = column.cast(&DataType::Float64).map_err(|error| text(&error))?;
    let numbers = numbers.f64().map_err(|error| text(&error))?;
    if numbers.null_count() > column.null_count() {
        return Err(format!("column `{}`: a label is 0 (normal) or 1 (anomalous)", printable(column.name(), 64)));
    }
    let label = |(row, label): (usize, Option<f64>)| match label {
        None => Ok(None),
        Some(0.0) => Ok(Some(false)),
        Some(1.0) => Ok(Some(true)),
        Some(other) => Err(format!("row {}: label {other}: it is 0 (normal) or 1 (anomalous)", row + 1)),
    };
    numbers.iter().enumerate().map(label).collect()
}

fn times(column: &Column) -> Result<Vec<Option<i64>>, String> {
    if !column.dtype().is_integer() {
        let (name, kind) = (printable(column.name(), 64), printable(&column.dtype().to_string(), 64));
        return Err(format!("column `{name}` is {kind}: a time is a whole number of Unix nanoseconds"));
    }
    let numbers = column.cast(&DataType::Int64).map_err(|error| text(&error))?;
    Ok(numbers.i64().map_err(|error| text(&error))?.iter().collect())
}

/// A list column of names or of numbers.
enum Actions {
    Names(ListChunked),
    Numbers(ListChunked),
}

impl Actions {
    fn new(column: &Column, name: &str) -> Result<Self, String> {
        let odd = || {
            let kind = printable(&column.dtype().to_string(), 64);
            format!("column `{}` is {kind}, not a list of strings or whole numbers", printable(name, 64))
        };
        let (DataType::List(inner) | DataType::Array(inner, _)) = column.dtype() else { return Err(odd()) };
        let cast = |to: DataType| {
            let cast = column.cast(&DataType::List(Box::new(to))).map_err(|error| text(&error))?;
            cast.list().cloned().map_err(|error| text(&error))
        };
        match **inner {
            DataType::String => Ok(Self::Names(cast(DataType::String)?)),
            ref inner if inner.is_integer() => Ok(Self::Numbers(cast(DataType::Int64)?)),
            _ => Err(odd()),
        }
    }

    fn row(
        &self,
        row: usize,
        mut id: impl FnMut(&str) -> Result<u32, String>,
        ids: &mut Vec<u32>,
    ) -> Result<(), String> {
        let (Self::Names(list) | Self::Numbers(list)) = self;
        let values = list.get_as_series(row).ok_or("there is no sequence")?;
        let missing = || "an action is missing".to_owned();
        if let Self::Names(_) = self {
            for name in values.str().map_err(|error| text(&error))?.iter() {
                ids.push(id(name.ok_or_else(missing)?)?);
            }
        } else {
            let missing = || format!("an action is missing, or a number above {}", i64::MAX);
            for number in values.i64().map_err(|error| text(&error))?.iter() {
                ids.push(id(&number.ok_or_else(missing)?.to_string())?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::Vocabulary;

    fn written(frame: &mut DataFrame) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        ParquetWriter::new(std::fs::File::create(&path).unwrap()).finish(frame).unwrap();
        (folder, path)
    }

    fn lists(rows: &[Series]) -> Column {
        Series::new("sequence".into(), rows).into_column()
    }

    #[test]
    fn lists_of_names_and_of_numbers_are_sequences() {
        let names = lists(&[Series::new("".into(), ["open", "17"]), Series::new("".into(), ["日本"])]);
        let numbers = lists(&[Series::new("".into(), [17i16, -2]), Series::new("".into(), [17i16])]);
        for (column, expected) in [(names, ["open", "17", "日本"].as_slice()), (numbers, ["17", "-2"].as_slice())] {
            let label = Column::new("label".into(), [Some(1i8), None]);
            let split = Column::new("split".into(), ["train", "test"]);
            let mut frame = DataFrame::new(2, vec![column, label, split]).unwrap();
            let (_folder, path) = written(&mut frame);
            let mut vocabulary = Vocabulary::default();
            let data = read_parquet(&path, &Columns::default(), Names::Grow(&mut vocabulary)).unwrap();
            assert_eq!(vocabulary.names().collect::<Vec<_>>(), expected);
            assert_eq!((data.get(0), data.label(0), data.label(1)), (&[3, 4][..], Some(true), None));
            let only = Columns { only: vec![("split".to_owned(), "test".to_owned())], ..Columns::default() };
            assert_eq!(read_parquet(&path, &only, Names::Known(&vocabulary)).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_is_no_table_of_sequences_is_said() {
        let refused = |frame: &mut DataFrame, columns: &Columns| {
            let (_folder, path) = written(frame);
            read_parquet(&path, columns, Names::Grow(&mut Vocabulary::default())).unwrap_err().to_string()
        };
        let good = lists(&[Series::new("".into(), [1i64])]);
        let mut frame = DataFrame::new(1, vec![good.clone()]).unwrap();
        let other = Columns { sequence: "keys".to_owned(), ..Columns::default() };
        assert!(refused(&mut frame, &other).contains("no column `keys`, it has sequence"));
        let label = |values: Column| DataFrame::new(1, vec![good.clone(), values]).unwrap();
        assert!(
            refused(&mut label(Column::new("label".into(), [7i64])), &Columns::default()).contains("row 1: label 7")
        );
        assert!(refused(&mut label(Column::new("label".into(), ["x"])), &Columns::default()).contains("label"));
        let share = refused(&mut label(Column::new("label".into(), [0.9f64])), &Columns::default());
        assert!(share.contains("row 1: label 0.9"), "{share}");
        let time = Columns { time: Some("label".to_owned()), ..Columns::default() };
        assert!(refused(&mut label(Column::new("label".into(), [1.0f64])), &time).contains("Unix nanoseconds"));
        assert!(refused(&mut frame, &time).contains("no column `label`"));
        let mut plain = DataFrame::new(1, vec![Column::new("sequence".into(), [1.5f64])]).unwrap();
        assert!(refused(&mut plain, &Columns::default()).contains("not a list"));
        let mut floats = DataFrame::new(1, vec![lists(&[Series::new("".into(), [f64::NAN])])]).unwrap();
        assert!(refused(&mut floats, &Columns::default()).contains("not a list of strings"));
        let mut missing = DataFrame::new(1, vec![lists(&[Series::new("".into(), [Some("a"), None])])]).unwrap();
        assert!(refused(&mut missing, &Columns::default()).contains("row 1: an action is missing"));
        let long = "x".repeat(10_000_000);
        let mut long = DataFrame::new(1, vec![lists(&[Series::new("".into(), [long.as_str()])])]).unwrap();
        let error = refused(&mut long, &Columns::default());
        assert!(error.contains("row 1: an action of 10000000 bytes") && error.len() < 500, "{error}");
    }

    #[test]
    fn a_short_file_that_unpacks_to_much_is_refused_before_it_is() {
        // A list of a million equal numbers: a few kilobytes, 8 MB once it is read.
        let numbers = Series::new("".into(), vec![7i64; 1 << 20]);
        let (_folder, path) = written(&mut DataFrame::new(1, vec![lists(&[numbers])]).unwrap());
        let cap = 4 << 20;
        assert!(std::fs::metadata(&path).unwrap().len() < cap / 4);
        let mut vocabulary = Vocabulary::default();
        let error = within(cap, &path, &Columns::default(), Names::Grow(&mut vocabulary)).unwrap_err();
        assert!(matches!(error, DetectError::TooLarge { size, .. } if size >= 8 << 20), "{error}");
        assert_eq!(read_parquet(&path, &Columns::default(), Names::Grow(&mut vocabulary)).unwrap().actions(), 1 << 20);
    }

    #[test]
    fn lists_of_one_length_are_sequences_and_numbers_beyond_the_largest_are_none() {
        let same = lists(&[Series::new("".into(), [1i64, 2]), Series::new("".into(), [2i64, 3])]);
        let same = same.cast(&DataType::Array(Box::new(DataType::Int64), 2)).unwrap();
        let (_folder, path) = written(&mut DataFrame::new(2, vec![same]).unwrap());
        let data = read_parquet(&path, &Columns::default(), Names::Grow(&mut Vocabulary::default())).unwrap();
        assert_eq!((data.get(0), data.get(1)), (&[3, 4][..], &[4, 5][..]));
        let large = lists(&[Series::new("".into(), [u64::MAX])]);
        let (_folder, path) = written(&mut DataFrame::new(1, vec![large]).unwrap());
        let error = read_parquet(&path, &Columns::default(), Names::Grow(&mut Vocabulary::default())).unwrap_err();
        assert!(error.to_string().contains("a number above 9223372036854775807"), "{error}");
    }

    #[test]
    fn sequences_have_times_where_a_column_says_so() {
        let column = lists(&[Series::new("".into(), [1i64]), Series::new("".into(), [2i64])]);
        let time = Column::new("t".into(), [Some(1_700_000_000_000_000_000i64), None]);
        let (_folder, path) = written(&mut DataFrame::new(2, vec![column, time]).unwrap());
        let columns = Columns { time: Some("t".to_owned()), ..Columns::default() };
        let data = read_parquet(&path, &columns, Names::Grow(&mut Vocabulary::default())).unwrap();
        assert_eq!((data.t_wall_ns(0), data.t_wall_ns(1)), (Some(1_700_000_000_000_000_000), None));
    }

    #[test]
    fn a_damaged_table_is_an_error() {
        let mut frame = DataFrame::new(1, vec![lists(&[Series::new("".into(), ["open", "close"])])]).unwrap();
        let (_folder, path) = written(&mut frame);
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 3, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(read_parquet(&path, &Columns::default(), Names::Grow(&mut Vocabulary::default())).is_err());
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            std::fs::write(&path, &flipped).unwrap();
            // Whatever comes back, it comes back.
            let _ = read_parquet(&path, &Columns::default(), Names::Grow(&mut Vocabulary::default()));
        }
    }
}
