//! Reading tables: the only file that speaks polars.
//!
//! Third-party readers may panic on hostile bytes, so that every call into them is guarded; the file is read into
//! memory first (a mapped file that shrinks kills the process), under a cap that also holds for what it claims to
//! unpack to. One table is in memory at a time.

use std::collections::HashMap;
use std::fmt;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use polars::prelude::{
    CsvReadOptions, DataFrame, DataType, ParallelStrategy, ParquetReader, PolarsResult, SerReader, Series, TimeUnit,
};
use stakeout_core::text::printable;

use super::check::nearest;
use super::clock::{self, DateFormat, Fault};
use crate::TelemetryError;

/// A code that stands for a missing value.
pub(super) const MISSING: u32 = u32::MAX;

/// What is wrong with a table, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableFault {
    pub column: Option<String>,
    /// Counted from 1.
    pub row: Option<usize>,
    pub why: String,
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = &self.column {
            write!(f, "column `{}`", printable(column, 64))?;
        }
        if let Some(row) = self.row {
            write!(f, "{}row {row}", if self.column.is_some() { ", " } else { "" })?;
        }
        write!(f, "{}{}", if self.column.is_some() || self.row.is_some() { ": " } else { "" }, self.why)
    }
}

impl std::error::Error for TableFault {}

/// A table in memory: the columns that were asked for.
pub(super) struct Table {
    pub path: PathBuf,
    frame: DataFrame,
}

/// Texts of a column, each distinct one stored once.
pub(super) struct Codes {
    /// Per row, a position in `texts` or [`MISSING`].
    pub codes: Vec<u32>,
    /// Distinct texts in order of first appearance.
    pub texts: Vec<String>,
}

impl Codes {
    /// The text of a row.
    pub(super) fn text(&self, row: usize) -> Option<&str> {
        self.texts.get(self.codes[row] as usize).map(String::as_str)
    }
}

impl Table {
    /// Reads those columns of a table that `choose` names, given all names in order.
    ///
    /// # Errors
    /// When the file is not a readable table of at most `cap` bytes (packed and unpacked).
    pub(super) fn read<E>(
        path: &Path,
        cap: u64,
        choose: impl FnOnce(&[String]) -> Result<Vec<String>, E>,
    ) -> Result<Self, TelemetryError>
    where
        TelemetryError: From<E>,
    {
        let bytes = read_capped(path, cap)?;
        let frame = if bytes.starts_with(b"PAR1") {
            let names = guarded(path, || parquet_names(&bytes))?;
            let columns = choose(&names)?;
            let size = guarded(path, || parquet_size(&bytes, &columns))?;
            if size > cap {
                let why =
                    format!("it unpacks to {size} bytes or more, and the cap is {cap}: raise it or split the table");
                return Err(fault(path, None, None, why));
            }
            guarded(path, || {
                ParquetReader::new(Cursor::new(&bytes[..]))
                    .with_columns(Some(columns))
                    .read_parallel(ParallelStrategy::None)
                    .set_rechunk(true)
                    .finish()
            })?
        } else {
            let separator = match path.extension().and_then(|ending| ending.to_str()) {
                Some("csv") => b',',
                Some("tsv") => b'\t',
                _ => return Err(fault(path, None, None, "it is neither parquet nor named .csv or .tsv".into())),
            };
            let all = guarded(path, || {
                let options = CsvReadOptions::default().with_has_header(true).with_infer_schema_length(None);
                let options =
                    options.map_parse_options(|parse| parse.with_separator(separator)).with_n_threads(Some(1));
                options.into_reader_with_file_handle(Cursor::new(&bytes[..])).finish()
            })?;
            let names: Vec<String> = all.get_column_names().iter().map(ToString::to_string).collect();
            let columns = choose(&names)?;
            guarded(path, || all.select(columns))?
        };
        Ok(Self { path: path.to_owned(), frame })
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.frame.height()
    }

    /// An error about this table; `row` counts from 0.
    pub(super) fn fault(&self, column: &str, row: Option<usize>, why: impl Into<String>) -> TelemetryError {
        fault(&self.path, Some(column), row.map(|row| row + 1), why.into())
    }

    fn series(&self, column: &str) -> Result<&Series, TelemetryError> {
        match self.frame.column(column) {
            Ok(found) => Ok(found.as_materialized_series()),
            Err(_) => Err(self.fault(column, None, "the table has no such column")),
        }
    }

    /// A numeric column, NaN where a value is missing; infinities as they stand.
    pub(super) fn numbers(&self, column: &str) -> Result<Vec<f64>, TelemetryError> {
        let series = self.series(column)?;
        if !is_number(series.dtype()) {
            let remedy = if is_list(series.dtype()) { ": set episode.each_row = true" } else { "" };
            let why = format!("it holds {}, and a channel needs numbers{remedy}", series.dtype());
            return Err(self.fault(column, None, why));
        }
        guarded(&self.path, || floats(series))
    }

    /// A column of number lists: one series a row. A missing list is empty.
    pub(super) fn lists(&self, column: &str) -> Result<Vec<Vec<f64>>, TelemetryError> {
        let series = self.series(column)?;
        let inner = match series.dtype() {
            DataType::List(inner) | DataType::Array(inner, _) => inner,
            other => {
                let why = format!("it holds {other}, and episode.each_row needs lists of numbers");
                return Err(self.fault(column, None, why));
            }
        };
        if !is_number(inner) {
            let why = format!("its lists hold {inner}, and a channel needs numbers");
            return Err(self.fault(column, None, why));
        }
        guarded(&self.path, || {
            let list = series.cast(&DataType::List(inner.clone()))?;
            let list = list.list()?;
            (0..list.len())
                .map(|row| list.get_as_series(row).map_or(Ok(Vec::new()), |series| floats(&series)))
                .collect()
        })
    }

    /// A column of texts, whole numbers or truth values, as texts.
    pub(super) fn codes(&self, column: &str) -> Result<Codes, TelemetryError> {
        let series = self.series(column)?;
        let dtype = series.dtype();
        let textual = matches!(
            dtype,
            DataType::String | DataType::Boolean | DataType::Categorical(..) | DataType::Enum(..) | DataType::Null
        );
        if !textual && !dtype.is_integer() && !dtype.is_float() {
            let why = format!("it holds {dtype}, and text or numbers are needed");
            return Err(self.fault(column, None, why));
        }
        guarded(&self.path, || {
            if dtype.is_float() {
                // 1.0 is `1`: a mapping names numbers as a human writes them
                let cast = series.cast(&DataType::Float64)?;
                return Ok(encode(cast.f64()?.iter().map(|value| value.map(|v| v.to_string()))));
            }
            let cast = series.cast(&DataType::String)?;
            Ok(encode(cast.str()?.iter()))
        })
    }

    /// The instants of a column, in nanoseconds.
    pub(super) fn times(&self, column: &str, scale: &Scale<'_>) -> Result<Vec<Result<i64, Fault>>, TelemetryError> {
        let series = self.series(column)?;
        let dtype = series.dtype();
        let wrong = |why: String| Err(self.fault(column, None, why));
        match (scale, dtype) {
            (Scale::Date(None), DataType::String) => wrong("it holds text: give the format of the date".into()),
            (Scale::Date(Some(format)), DataType::String) => guarded(&self.path, || {
                let read = |text: Option<&str>| text.map_or(Err(Fault::Missing), |text| format.read(text));
                Ok(series.str()?.iter().map(read).collect())
            }),
            (Scale::Date(_), DataType::Datetime(unit, _)) => {
                let scale_ns = match unit {
                    TimeUnit::Nanoseconds => 1,
                    TimeUnit::Microseconds => 1_000,
                    TimeUnit::Milliseconds => 1_000_000,
                };
                guarded(&self.path, || integers(&series.to_physical_repr(), scale_ns))
            }
            (Scale::Date(_), DataType::Date) => {
                guarded(&self.path, || integers(&series.to_physical_repr(), 86_400_000_000_000))
            }
            (Scale::Date(_), other) => wrong(format!("it holds {other}, and unit = \"date\" needs text or dates")),
            (Scale::Number(scale_ns), other) if other.is_integer() => {
                guarded(&self.path, || integers(series, *scale_ns))
            }
            (Scale::Number(scale_ns), other) if other.is_float() => guarded(&self.path, || {
                let read = |value: Option<f64>| value.map_or(Err(Fault::Missing), |v| clock::from_float(v, *scale_ns));
                Ok(series.cast(&DataType::Float64)?.f64()?.iter().map(read).collect())
            }),
            (Scale::Number(_), DataType::Null) => Ok(vec![Err(Fault::Missing); self.rows()]),
            (Scale::Number(_), other) => {
                let dates = matches!(other, DataType::Datetime(..) | DataType::Date | DataType::String);
                let remedy = if dates { ": is it unit = \"date\"?" } else { "" };
                wrong(format!("it holds {other}, and this time unit needs numbers{remedy}"))
            }
        }
    }
}

/// How the values of a time column become nanoseconds.
pub(super) enum Scale<'a> {
    /// Numbers of so many nanoseconds each.
    Number(i64),
    /// Dates, as text of a form or as a date type.
    Date(Option<&'a DateFormat>),
}

/// An error about a table; `row` counts from 1.
pub(super) fn fault(path: &Path, column: Option<&str>, row: Option<usize>, why: String) -> TelemetryError {
    let fault = TableFault { column: column.map(str::to_owned), row, why };
    TelemetryError::Table { path: printable(&path.display().to_string(), 200), source: Box::new(fault) }
}

/// The answer to a column that is not there.
pub(super) fn missing_column(path: &Path, column: &str, names: &[String]) -> TelemetryError {
    let near = nearest(column, names.iter().map(String::as_str))
        .map(|near| format!("; did you mean `{}`?", printable(near, 64)));
    let why = format!("the table has no such column{}", near.unwrap_or_default());
    fault(path, Some(column), None, why)
}

fn read_capped(path: &Path, cap: u64) -> Result<Vec<u8>, TelemetryError> {
    let failed = |error| TelemetryError::io("reading", path, error);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(fault(path, None, None, "it is not a regular file: name the tables themselves".into()));
    }
    if meta.len() > cap {
        let why = format!("it has {} bytes and the cap is {cap}: raise it or split the table", meta.len());
        return Err(fault(path, None, None, why));
    }
    std::fs::read(path).map_err(failed)
}

/// Runs a reader; its error or its panic becomes an error that names the file.
fn guarded<T>(path: &Path, read: impl FnOnce() -> PolarsResult<T>) -> Result<T, TelemetryError> {
    let damaged = |why: String| fault(path, None, None, format!("it cannot be read: {why}"));
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(printable(&error.to_string(), 300))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(damaged(format!("the reader gave up on damaged content ({})", printable(text, 200))))
        }
    }
}

fn parquet_names(bytes: &[u8]) -> PolarsResult<Vec<String>> {
    let schema = ParquetReader::new(Cursor::new(bytes)).schema()?;
    Ok(schema.iter_names().map(ToString::to_string).collect())
}

/// What some columns unpack to, as their metadata tells, at eight bytes a value at least.
fn parquet_size(bytes: &[u8], columns: &[String]) -> PolarsResult<u64> {
    let mut reader = ParquetReader::new(Cursor::new(bytes));
    let metadata = reader.get_metadata()?;
    let mut size = 0_u64;
    for group in &metadata.row_groups {
        for column in columns {
            for chunk in group.columns_under_root_iter(column).into_iter().flatten() {
                let values = u64::try_from(chunk.num_values()).unwrap_or(u64::MAX).saturating_mul(8);
                size = size.saturating_add(values.max(u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX)));
            }
        }
    }
    Ok(size)
}

fn is_number(dtype: &DataType) -> bool {
    dtype.is_numeric() || matches!(dtype, DataType::Boolean | DataType::Null)
}

fn is_list(dtype: &DataType) -> bool {
    matches!(dtype, DataType::List(_) | DataType::Array(..))
}

fn floats(series: &Series) -> PolarsResult<Vec<f64>> {
    if *series.dtype() == DataType::Float32 {
        return Ok(series.f32()?.iter().map(|value| value.map_or(f64::NAN, widen)).collect());
    }
    let cast = series.cast(&DataType::Float64)?;
    Ok(cast.f64()?.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// The `f64` that is written as the `f32` is, where it leads back to the same `f32`: half the digits in a file, and
/// nothing is lost.
fn widen(value: f32) -> f64 {
    match value.to_string().parse::<f64>() {
        Ok(short) if short as f32 == value => short,
        _ => f64::from(value),
    }
}

fn integers(series: &Series, scale_ns: i64) -> PolarsResult<Vec<Result<i64, Fault>>> {
    if *series.dtype() == DataType::UInt64 {
        let read = |value: u64| i64::try_from(value).map_err(|_| Fault::TooLarge);
        let read = |value: u64| read(value).and_then(|value| clock::from_integer(value, scale_ns));
        return Ok(series.u64()?.iter().map(|value| value.map_or(Err(Fault::Missing), read)).collect());
    }
    let cast = series.cast(&DataType::Int64)?;
    let read = |value: i64| clock::from_integer(value, scale_ns);
    Ok(cast.i64()?.iter().map(|value| value.map_or(Err(Fault::Missing), read)).collect())
}

fn encode<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> Codes {
    let mut known: HashMap<String, u32> = HashMap::new();
    let mut texts = Vec::new();
    let mut codes = Vec::new();
    for value in values {
        codes.push(match value {
            None => MISSING,
            Some(text) => match known.get(text.as_ref()) {
                Some(code) => *code,
                None => {
                    let code = texts.len() as u32;
                    texts.push(text.as_ref().to_owned());
                    known.insert(text.as_ref().to_owned(), code);
                    code
                }
            },
        });
    }
    Codes { codes, texts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_widened_number_keeps_its_bits_and_loses_its_tail() {
        assert_eq!(widen(0.1), 0.1);
        for bits in (0..=u32::MAX).step_by(9_973) {
            let value = f32::from_bits(bits);
            assert!(value.is_nan() || (widen(value) as f32).to_bits() == bits, "{value}");
        }
    }

    #[test]
    fn a_panic_of_a_reader_is_an_error() {
        let result = guarded::<()>(Path::new("t.parquet"), || panic!("page {} is gone", 7));
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "table t.parquet");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("page 7 is gone"), "{source}");
    }
}
