//! Any table of named columns as parquet, for callers that keep no table library of their own.

use std::path::Path;

use polars::prelude::*;
use stakeout_core::files;

use crate::EvalError;
use crate::tables::guarded;

/// The values of a column, one a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Text.
    Text(Vec<String>),
    /// Whole numbers from 0.
    Whole(Vec<u64>),
    /// Numbers; `None` where there is none.
    Real(Vec<Option<f64>>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Whole(values) => values.len(),
            Self::Real(values) => values.len(),
        }
    }
}

/// Writes named columns as a parquet file (zstd) through a temporary one. Same columns, same bytes.
///
/// # Errors
/// [`EvalError::Table`] when names repeat or lengths differ, [`EvalError::Core`] when the file cannot be written.
pub fn write_columns(path: &Path, columns: &[(String, Values)]) -> Result<(), EvalError> {
    let height = columns.first().map_or(0, |(_, values)| values.len());
    let bytes = guarded("writing", path, || {
        let columns = columns.iter().map(|(name, values)| match values {
            Values::Text(values) => Column::new(name.into(), values),
            Values::Whole(values) => Column::new(name.into(), values),
            Values::Real(values) => Column::new(name.into(), values),
        });
        let mut frame = DataFrame::new(height, columns.collect())?;
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).with_compression(ParquetCompression::Zstd(None)).finish(&mut frame)?;
        Ok(bytes)
    })?;
    Ok(files::write_atomic(path, &bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_back_and_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let columns = vec![
            ("setting".to_owned(), Values::Text(vec!["a".into(), "b".into()])),
            ("trial".to_owned(), Values::Whole(vec![1, 2])),
            ("score".to_owned(), Values::Real(vec![Some(0.5), None])),
        ];
        write_columns(&path, &columns).unwrap();
        let first = std::fs::read(&path).unwrap();
        let frame = ParquetReader::new(std::io::Cursor::new(&first)).finish().unwrap();
        assert_eq!(frame.get_column_names(), ["setting", "trial", "score"]);
        assert_eq!(frame.column("score").unwrap().f64().unwrap().get(1), None);
        assert_eq!(frame.column("trial").unwrap().u64().unwrap().get(1), Some(2));
        write_columns(&path, &columns).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        let uneven = vec![columns[0].clone(), ("short".to_owned(), Values::Whole(vec![1]))];
        assert!(write_columns(&path, &uneven).is_err());
    }
}
