//! Tables that anybody may have written: what they unpack to is known before anything is unpacked, and a panic of the
//! library that reads them is an error of the file.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use polars::prelude::{ParquetReader, PolarsResult};
use stakeout_core::text::printable;

/// Bytes that columns of a parquet file take in memory, by what its footer says of them: a short file may hold one value
/// a billion times.
pub(crate) fn unpacked(reader: &mut ParquetReader<Cursor<&[u8]>>, columns: &[String]) -> PolarsResult<u64> {
    let mut size = 0u64;
    for group in &reader.get_metadata()?.row_groups {
        for chunk in columns.iter().filter_map(|name| group.columns_under_root_iter(name)).flatten() {
            let values = u64::try_from(chunk.num_values()).unwrap_or(u64::MAX).saturating_mul(8);
            let unpacked = u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX);
            size = size.saturating_add(values.max(unpacked));
        }
    }
    Ok(size)
}

/// Runs a reader; what is wrong with the file.
pub(crate) fn guarded<T>(read: impl FnOnce() -> PolarsResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("it cannot be read: {}", printable(&error.to_string(), 300))),
        Err(_) => Err("the table library gave up on it: the file is damaged, write it again".into()),
    }
}
