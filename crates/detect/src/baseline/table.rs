//! Vectors of a table: one a row, its columns the dimensions, or one column of lists (embeddings).

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use polars::prelude::{
    CsvReadOptions, DataFrame, DataType, ParallelStrategy, ParquetReader, PolarsResult, SerReader, Series,
};
use stakeout_core::files;
use stakeout_core::text::printable;

use crate::{DetectError, packed};

/// A larger table, packed or unpacked, is not read.
const MAX_BYTES: u64 = 2 << 30;

/// The longest name of a column in bytes.
const LONGEST_COLUMN: usize = 1024;

/// Which columns of a table are what; every other one is a dimension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSpec {
    /// The column that names the host; none: all rows are of one.
    pub host: Option<String>,
    /// The column that says what is an outlier: above 0 it is, 0 it is not, below 0 or missing nobody knows.
    pub label: Option<String>,
    /// Columns that are nothing.
    pub ignore: Vec<String>,
    /// Only rows that have these values in these columns, which are no dimensions.
    pub only: Vec<(String, String)>,
    /// The dimensions, in order; none: all columns that are nothing else.
    pub columns: Option<Vec<String>>,
}

/// Vectors in the order of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// Name of each dimension.
    pub columns: Vec<String>,
    /// The vectors of each host, by its name; without a column of hosts the name is empty.
    pub hosts: BTreeMap<String, HostVectors>,
}

/// The vectors of one host. Rows of a column of lists may differ in length, or be missing (a length of 0).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostVectors {
    values: Vec<f64>,
    ends: Vec<usize>,
    /// Whether each is an outlier, where a label says so.
    pub labels: Vec<Option<bool>>,
    /// The row of the table of each, from 0.
    pub rows: Vec<usize>,
}

impl HostVectors {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One vector; empty where it is missing.
    ///
    /// # Panics
    /// When `at` is out of range.
    pub fn vector(&self, at: usize) -> &[f64] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[start..self.ends[at]]
    }

    /// The numbers of some vectors, one after another.
    pub fn concat(&self, keep: impl Fn(usize) -> bool) -> Vec<f64> {
        (0..self.len()).filter(|&at| keep(at)).flat_map(|at| self.vector(at)).copied().collect()
    }

    fn push(&mut self, values: impl Iterator<Item = f64>, label: Option<bool>, row: usize) {
        self.values.extend(values);
        self.ends.push(self.values.len());
        self.labels.push(label);
        self.rows.push(row);
    }
}

/// Reads a parquet or CSV table.
///
/// # Errors
/// [`DetectError::Io`] and [`DetectError::TooLarge`] for the file; [`DetectError::Parse`] naming the column where one is
/// absent or holds no numbers.
pub fn read_table(path: &Path, spec: &TableSpec) -> Result<Vectors, DetectError> {
    let frame = read(path, spec)?;
    let wrong = |why: String| fault(path, why);
    if frame.height() == 0 {
        return Err(wrong("it has no rows".into()));
    }
    let names: Vec<String> = frame.get_column_names().iter().map(ToString::to_string).collect();
    if let Some(name) = names.iter().find(|name| name.len() > LONGEST_COLUMN) {
        let (shown, n) = (printable(name, 24), name.len());
        return Err(wrong(format!("column `{shown}` is named in {n} bytes, at most {LONGEST_COLUMN} are read")));
    }
    let series = |name: &str| frame.column(name).map(polars::prelude::Column::as_materialized_series);
    let series = |name: &str| series(name).map_err(|_| absent(path, name, &names));
    let keep = kept(path, &frame, spec, &series)?;
    let hosts = spec.host.as_deref().map(|name| texts(path, series(name)?)).transpose()?;
    let labels = spec.label.as_deref().map(|name| labels(path, series(name)?)).transpose()?;
    let host = |row: usize| hosts.as_ref().map_or(Some(""), |hosts| hosts[row].as_deref());
    let label = |row: usize| labels.as_ref().and_then(|labels| labels[row]);
    let chosen = match &spec.columns {
        Some(columns) => columns.clone(),
        None => dimensions(&names, spec),
    };
    if chosen.is_empty() {
        return Err(wrong("no column is left to be a dimension".into()));
    }
    let mut vectors = Vectors { columns: chosen.clone(), hosts: BTreeMap::new() };
    let mut push = |row: usize, values: &mut dyn Iterator<Item = f64>| -> Result<(), DetectError> {
        let Some(name) = host(row) else {
            let column = spec.host.as_deref().unwrap_or_default();
            return Err(wrong(format!("row {} has no host in column `{}`", row + 1, printable(column, 64))));
        };
        if !vectors.hosts.contains_key(name) {
            vectors.hosts.insert(name.to_owned(), HostVectors::default());
        }
        if let Some(own) = vectors.hosts.get_mut(name) {
            own.push(values, label(row), row);
        }
        Ok(())
    };
    if let Some(column) = list_column(&chosen, &names, &series)? {
        let inner = series(&column)?.dtype().inner_dtype().cloned().unwrap_or(DataType::Null);
        if !is_number(&inner) {
            let name = printable(&column, 64);
            return Err(wrong(format!("column `{name}` holds lists of {inner}, a vector needs numbers")));
        }
        let lists = guarded(path, || lists(series(&column).map_err(|error| text(&error))?))?;
        let width = lists.iter().find(|list| !list.is_empty()).map_or(0, Vec::len);
        for row in (0..frame.height()).filter(|&row| keep[row]) {
            push(row, &mut lists[row].iter().copied())?;
        }
        if spec.columns.is_none() {
            vectors.columns = (0..width).map(|i| format!("{column}[{i}]")).collect();
        }
        return Ok(vectors);
    }
    let mut columns = Vec::with_capacity(chosen.len());
    for name in &chosen {
        let series = series(name)?;
        let dtype = series.dtype();
        if let Some(numbers) = written(path, series)? {
            columns.push(numbers);
            continue;
        }
        if !is_number(dtype) {
            return Err(wrong(format!(
                "column `{}` holds {dtype}, a dimension needs numbers: name it as the host or the label, or ignore it",
                printable(name, 64)
            )));
        }
        columns.push(guarded(path, || numbers(series))?);
    }
    for row in (0..frame.height()).filter(|&row| keep[row]) {
        push(row, &mut columns.iter().map(|column| column[row]))?;
    }
    Ok(vectors)
}

/// The columns that are no host, label, condition or nothing.
fn dimensions(names: &[String], spec: &TableSpec) -> Vec<String> {
    let other = |name: &&String| {
        !(spec.host.as_ref() == Some(*name)
            || spec.label.as_ref() == Some(*name)
            || spec.ignore.contains(*name)
            || spec.only.iter().any(|(column, _)| column == *name))
    };
    names.iter().filter(other).cloned().collect()
}

/// The column of lists that holds the vectors: the only dimension, or the one that `name[i]` are made from.
fn list_column<'a>(
    chosen: &[String],
    names: &[String],
    series: &impl Fn(&str) -> Result<&'a Series, DetectError>,
) -> Result<Option<String>, DetectError> {
    let is_list = |series: &Series| matches!(series.dtype(), DataType::List(_) | DataType::Array(..));
    match chosen {
        [only] if names.contains(only) => Ok(is_list(series(only)?).then(|| only.clone())),
        [first, ..] if !names.contains(first) => {
            let stem = first.strip_suffix("[0]").filter(|stem| names.iter().any(|name| name == stem));
            stem.map(|stem| Ok(is_list(series(stem)?).then(|| stem.to_owned()))).transpose().map(Option::flatten)
        }
        _ => Ok(None),
    }
}

/// Which rows have the values that are asked for.
fn kept<'a>(
    path: &Path,
    frame: &DataFrame,
    spec: &TableSpec,
    series: &impl Fn(&str) -> Result<&'a Series, DetectError>,
) -> Result<Vec<bool>, DetectError> {
    let mut keep = vec![true; frame.height()];
    for (column, wanted) in &spec.only {
        for (keep, value) in keep.iter_mut().zip(texts(path, series(column)?)?) {
            *keep &= value.as_deref() == Some(wanted);
        }
    }
    Ok(keep)
}

fn texts(path: &Path, series: &Series) -> Result<Vec<Option<String>>, DetectError> {
    guarded(path, || {
        if series.dtype().is_float() {
            // 1.0 is `1`, as a human writes it.
            let cast = series.cast(&DataType::Float64)?;
            return Ok(cast.f64()?.iter().map(|value| value.map(|value| value.to_string())).collect());
        }
        let cast = series.cast(&DataType::String)?;
        Ok(cast.str()?.iter().map(|value| value.map(str::to_owned)).collect())
    })
}

fn labels(path: &Path, series: &Series) -> Result<Vec<Option<bool>>, DetectError> {
    let dtype = series.dtype();
    if !is_number(dtype) {
        return Err(fault(
            path,
            format!(
                "column `{}` holds {dtype}, a label needs numbers or truth values: above 0 is an outlier",
                printable(series.name(), 64)
            ),
        ));
    }
    let known = |value: f64| if value > 0.0 { Some(true) } else { (value == 0.0).then_some(false) };
    Ok(guarded(path, || numbers(series))?.into_iter().map(known).collect())
}

fn is_number(dtype: &DataType) -> bool {
    dtype.is_numeric() || matches!(dtype, DataType::Boolean | DataType::Null)
}

/// A text file has no types: a column whose words are all numbers, `nan` and `inf` among them, holds numbers.
fn written(path: &Path, series: &Series) -> Result<Option<Vec<f64>>, DetectError> {
    if separator(path).is_none() || *series.dtype() != DataType::String {
        return Ok(None);
    }
    let words = guarded(path, || {
        let numbers = |word: Option<&str>| word.map_or(Some(f64::NAN), |word| word.trim().parse().ok());
        Ok(series.str()?.iter().map(numbers).collect::<Option<Vec<f64>>>())
    })?;
    Ok(words)
}

/// What stands between the columns of a text file; `None` for another one.
fn separator(path: &Path) -> Option<u8> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => Some(b','),
        Some("tsv") => Some(b'\t'),
        _ => None,
    }
}

/// A numeric column, NaN where a value is missing.
fn numbers(series: &Series) -> PolarsResult<Vec<f64>> {
    let cast = series.cast(&DataType::Float64)?;
    Ok(cast.f64()?.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// A column of lists; a missing one is empty.
fn lists(series: &Series) -> PolarsResult<Vec<Vec<f64>>> {
    let cast = series.cast(&DataType::List(Box::new(DataType::Float64)))?;
    let list = cast.list()?;
    (0..list.len()).map(|row| list.get_as_series(row).map_or(Ok(Vec::new()), |series| numbers(&series))).collect()
}

/// The columns that are needed, in memory.
fn read(path: &Path, spec: &TableSpec) -> Result<DataFrame, DetectError> {
    let name = path.display().to_string();
    let failed = |source| DetectError::Io { action: "reading", path: name.clone(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_BYTES {
        return Err(DetectError::TooLarge { path: name, size, cap: MAX_BYTES });
    }
    let bytes = files::read_regular(path, MAX_BYTES).map_err(failed)?;
    if bytes.starts_with(b"PAR1") {
        let mut reader = ParquetReader::new(Cursor::new(&bytes[..]));
        let names = guarded(path, || Ok(reader.schema()?.iter_names().map(ToString::to_string).collect::<Vec<_>>()))?;
        known(path, spec, &names)?;
        let needed: Vec<String> = names.into_iter().filter(|name| !spec.ignore.contains(name)).collect();
        let size = guarded(path, || packed::unpacked(&mut reader, &needed))?;
        if size > MAX_BYTES {
            return Err(DetectError::TooLarge { path: name, size, cap: MAX_BYTES });
        }
        return guarded(path, || {
            ParquetReader::new(Cursor::new(&bytes[..]))
                .with_columns(Some(needed))
                .read_parallel(ParallelStrategy::None)
                .set_rechunk(true)
                .finish()
        });
    }
    let Some(separator) = separator(path) else {
        return Err(fault(path, "it is neither parquet nor named .csv or .tsv".into()));
    };
    let frame = guarded(path, || {
        let options = CsvReadOptions::default().with_has_header(true).with_infer_schema_length(None);
        let options = options.map_parse_options(|parse| parse.with_separator(separator)).with_n_threads(Some(1));
        options.into_reader_with_file_handle(Cursor::new(&bytes[..])).finish()
    })?;
    let names: Vec<String> = frame.get_column_names().iter().map(ToString::to_string).collect();
    known(path, spec, &names)?;
    Ok(frame)
}

/// A column that is to be ignored and is not there would be a dimension under its right name.
fn known(path: &Path, spec: &TableSpec, names: &[String]) -> Result<(), DetectError> {
    match spec.ignore.iter().find(|name| !names.contains(name)) {
        Some(name) => Err(absent(path, name, names)),
        None => Ok(()),
    }
}

/// Runs a reader; what goes wrong is an error of the file.
fn guarded<T>(path: &Path, read: impl FnOnce() -> PolarsResult<T>) -> Result<T, DetectError> {
    packed::guarded(read).map_err(|why| fault(path, why))
}

fn absent(path: &Path, name: &str, names: &[String]) -> DetectError {
    let there: Vec<String> = names.iter().take(12).map(|name| printable(name, 32)).collect();
    let more = if names.len() > there.len() { ", …" } else { "" };
    fault(path, format!("there is no column `{}`: it has {}{more}", printable(name, 64), there.join(", ")))
}

fn fault(path: &Path, why: String) -> DetectError {
    DetectError::Parse { path: path.display().to_string(), line: None, why }
}

fn text(error: &DetectError) -> polars::prelude::PolarsError {
    polars::prelude::PolarsError::ComputeError(error.to_string().into())
}
