//! Predictions as a parquet table: one row a window, one column a field, one column `p_<class>` a class.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use polars::prelude::*;
use stakeout_core::{ClassList, CoreError, Side, files};

use crate::{EvalError, Names, Prediction, Predictions};

/// What a reader accepts at most. A reference corpus makes two million windows.
const MAX_ROWS: usize = 20_000_000;
const MAX_BYTES: u64 = 4 << 30;
const FIELDS: [&str; 11] = [
    "side",
    "fold",
    "seed",
    "episode",
    "host",
    "sample",
    "profile",
    "t0_ns",
    "t_onset_ns",
    "observed_seconds",
    "label",
];
const PROBABILITY: &str = "p_";

impl Predictions {
    /// Writes a parquet file (zstd) through a temporary one. Same predictions, same bytes.
    ///
    /// # Errors
    /// [`EvalError::Table`] when the table cannot be made, [`EvalError::Core`] when it cannot be written.
    pub fn write_parquet(&self, path: &Path) -> Result<(), EvalError> {
        let bytes = guarded("writing", path, || self.parquet_bytes())?;
        Ok(files::write_atomic(path, &bytes)?)
    }

    fn parquet_bytes(&self) -> PolarsResult<Vec<u8>> {
        fn names<'a>(names: &'a Names, ids: &[u32]) -> Vec<&'a str> {
            ids.iter().map(|&id| names.get(id)).collect()
        }
        let classes = self.classes().names();
        let mut columns = vec![
            Column::new("side".into(), self.side.iter().map(|side| side.name()).collect::<Vec<_>>()),
            Column::new("fold".into(), names(&self.folds, &self.fold)),
            Column::new("seed".into(), &self.seed),
            Column::new("episode".into(), names(&self.episodes, &self.episode)),
            Column::new("host".into(), names(&self.hosts, &self.host)),
            Column::new("sample".into(), names(&self.samples, &self.sample)),
            Column::new("profile".into(), names(&self.profiles, &self.profile)),
            Column::new("t0_ns".into(), &self.t0_ns),
            Column::new("t_onset_ns".into(), &self.t_onset_ns),
            Column::new("observed_seconds".into(), &self.observed_seconds),
            Column::new(
                "label".into(),
                self.label.iter().map(|&label| classes[usize::from(label)].as_str()).collect::<Vec<_>>(),
            ),
        ];
        for (id, class) in classes.iter().enumerate() {
            let column: Vec<f32> = self.probabilities.iter().skip(id).step_by(classes.len()).copied().collect();
            columns.push(Column::new(format!("{PROBABILITY}{class}").into(), column));
        }
        let mut frame = DataFrame::new(self.len(), columns)?;
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).with_compression(ParquetCompression::Zstd(None)).finish(&mut frame)?;
        Ok(bytes)
    }

    /// Reads what [`Predictions::write_parquet`] wrote.
    ///
    /// # Errors
    /// [`EvalError::File`] for a table that is not one of predictions, [`EvalError::Table`] for a damaged one,
    /// [`EvalError::Row`] for a row outside the rules, [`EvalError::Core`] when the file cannot be read.
    pub fn read_parquet(path: &Path) -> Result<Self, EvalError> {
        let bytes = read_regular(path)?;
        let frame = guarded("reading", path, || {
            let mut reader = ParquetReader::new(Cursor::new(&bytes));
            let columns: Vec<String> = reader.schema()?.iter_names().map(ToString::to_string).collect();
            let rows = reader.num_rows()?;
            Ok((columns, rows))
        })
        .and_then(|(columns, rows)| {
            check_shape(&columns, rows).map_err(|why| unusable(path, why))?;
            guarded("reading", path, || ParquetReader::new(Cursor::new(&bytes)).finish())
        })?;
        guarded("reading", path, || Ok(from_frame(&frame, path)))?
    }
}

/// Third-party readers run on bytes that anybody may have written: a panic of theirs is an error of the file.
pub(crate) fn guarded<T>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce() -> PolarsResult<T>,
) -> Result<T, EvalError> {
    let source: Box<dyn std::error::Error + Send + Sync> = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => Box::new(error),
        Err(_) => "the table library gave up on it: the file is damaged, write it again".into(),
    };
    Err(EvalError::Table { action, path: path.display().to_string(), source })
}

fn unusable(path: &Path, why: impl Into<String>) -> EvalError {
    EvalError::File { path: path.display().to_string(), why: why.into() }
}

fn read_regular(path: &Path) -> Result<Vec<u8>, EvalError> {
    let failed = |source| CoreError::io("reading", path, source);
    files::read_regular(path, MAX_BYTES).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => unusable(path, error.to_string()),
        _ => failed(error).into(),
    })
}

fn check_shape(columns: &[String], rows: usize) -> Result<(), String> {
    if let Some(missing) = FIELDS.iter().find(|field| !columns.iter().any(|column| column == *field)) {
        return Err(format!("it has no column `{missing}`: this is not a file of predictions"));
    }
    let unknown = columns.iter().find(|column| !FIELDS.contains(&column.as_str()) && !column.starts_with(PROBABILITY));
    if let Some(unknown) = unknown {
        return Err(format!("column `{}` is unknown", stakeout_core::text::printable(unknown, 64)));
    }
    if rows > MAX_ROWS {
        return Err(format!("{rows} rows, at most {MAX_ROWS} are read"));
    }
    Ok(())
}

fn from_frame(frame: &DataFrame, path: &Path) -> Result<Predictions, EvalError> {
    let names = frame.get_column_names();
    let classes: Vec<String> = names.iter().filter_map(|name| name.strip_prefix(PROBABILITY)).map(Into::into).collect();
    let mut predictions = Predictions::new(ClassList::try_from(classes)?);
    let wrong = |source: PolarsError| EvalError::Table {
        action: "reading",
        path: path.display().to_string(),
        source: Box::new(source),
    };
    let column = |name: &str| frame.column(name).map_err(wrong);
    let text = |name: &str| column(name)?.str().map_err(wrong);
    let whole = |name: &str| column(name)?.i64().map_err(wrong);
    let (side, fold, seed) = (text("side")?, text("fold")?, column("seed")?.u64().map_err(wrong)?);
    let (episode, host) = (text("episode")?, text("host")?);
    let (sample, profile, label) = (text("sample")?, text("profile")?, text("label")?);
    let (t0, onset) = (whole("t0_ns")?, whole("t_onset_ns")?);
    let observed = column("observed_seconds")?.f64().map_err(wrong)?;
    let mut probabilities = Vec::new();
    for class in predictions.classes().names() {
        probabilities.push(column(&format!("{PROBABILITY}{class}"))?.f32().map_err(wrong)?);
    }
    let mut values = vec![0.0; probabilities.len()];
    for row in 0..frame.height() {
        let absent = |name: &str| EvalError::Row { row, why: format!("`{name}` has no value") };
        for (value, column) in values.iter_mut().zip(&probabilities) {
            *value = column.get(row).ok_or_else(|| absent("probability"))?;
        }
        let name = label.get(row).ok_or_else(|| absent("label"))?;
        let id = predictions.classes().id(name).ok_or_else(|| EvalError::Row {
            row,
            why: format!("label `{}` is not a class", stakeout_core::text::printable(name, 64)),
        })?;
        predictions.push(&Prediction {
            side: side.get(row).ok_or_else(|| absent("side"))?.parse::<Side>()?,
            fold: fold.get(row).ok_or_else(|| absent("fold"))?,
            seed: seed.get(row).ok_or_else(|| absent("seed"))?,
            episode: episode.get(row).ok_or_else(|| absent("episode"))?,
            host: host.get(row).ok_or_else(|| absent("host"))?,
            sample: sample.get(row).ok_or_else(|| absent("sample"))?,
            profile: profile.get(row).ok_or_else(|| absent("profile"))?,
            t0_ns: t0.get(row).ok_or_else(|| absent("t0_ns"))?,
            t_onset_ns: onset.get(row),
            observed_seconds: observed.get(row).ok_or_else(|| absent("observed_seconds"))?,
            label: id,
            probabilities: &values,
        })?;
    }
    Ok(predictions)
}
