//! Windows on disk: records of one size, read by position, so that a corpus need not fit in memory.
//!
//! A file is 16 bytes (magic and size of a record) and then one record a window: its summary, its tensor, as far as they
//! are held, as little-endian `f32`, and its number of own steps as `u32`. Whoever keeps the file knows its schema, how
//! many windows it has, and the digest of its bytes.

use std::fs::File;
use std::io::{BufWriter, Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

use stakeout_core::batch::check_gather;
use stakeout_core::{Batch, CoreError, Geometry, InputKind, Schema, Windows, files};

use crate::{Cut, Inputs};

const MAGIC: [u8; 8] = *b"STKWIN01";
/// Bytes before the first record.
const HEAD: u64 = 16;
/// Records that are read at once where they are neighbours.
const RUN: usize = 256;

/// Where the parts of a record lie, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    summary: Option<usize>,
    tensor: Option<usize>,
    length: usize,
    size: usize,
}

impl Layout {
    fn new(geometry: Geometry, inputs: Inputs) -> Self {
        let width = |held: bool, kind| if held { 4 * geometry.row_len(kind) } else { 0 };
        let (summary, tensor) = (width(inputs.summary, InputKind::Summary), width(inputs.tensor, InputKind::Tensor));
        Self {
            summary: inputs.summary.then_some(0),
            tensor: inputs.tensor.then_some(summary),
            length: summary + tensor,
            size: summary + tensor + 4,
        }
    }

    fn of(&self, kind: InputKind) -> Result<usize, CoreError> {
        let at = match kind {
            InputKind::Summary => self.summary,
            InputKind::Tensor => self.tensor,
        };
        at.ok_or(CoreError::NotHeld(kind))
    }
}

/// Writes windows one after the other.
#[derive(Debug)]
pub struct StoredWriter {
    out: BufWriter<File>,
    path: PathBuf,
    hash: blake3::Hasher,
    layout: Layout,
    len: usize,
    record: Vec<u8>,
}

/// What was written: how many windows, and the BLAKE3 digest of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Windows.
    pub len: usize,
    /// Digest of all bytes, in lower-case hex.
    pub blake3: String,
}

impl StoredWriter {
    /// A new file for windows of a schema.
    ///
    /// # Errors
    /// [`CoreError::Io`], also where the file is there already.
    pub fn create(path: &Path, schema: &Schema, inputs: Inputs) -> Result<Self, CoreError> {
        let layout = Layout::new(schema.geometry(), inputs);
        let file = File::create_new(path).map_err(|source| CoreError::io("making", path, source))?;
        let out = BufWriter::with_capacity(1 << 20, file);
        let mut writer =
            Self { out, path: path.to_owned(), hash: blake3::Hasher::new(), layout, len: 0, record: Vec::new() };
        writer.record.extend(MAGIC);
        writer.record.extend((layout.size as u64).to_le_bytes());
        writer.flush_record()?;
        Ok(writer)
    }

    /// Adds one window of a cut that was made with the inputs of this file.
    ///
    /// # Errors
    /// [`CoreError::Io`]; [`CoreError::Shape`] for a cut with other inputs.
    pub fn push(&mut self, cut: &Cut, window: usize) -> Result<(), CoreError> {
        let Layout { summary, tensor, length, .. } = self.layout;
        self.record.clear();
        for (values, at, end) in [(&cut.summary, summary, tensor.unwrap_or(length)), (&cut.tensor, tensor, length)] {
            let width = at.map_or(0, |at| (end - at) / 4);
            let row = values.get(window * width..(window + 1) * width).ok_or_else(|| CoreError::Shape {
                what: "cut",
                got: format!("{} values", values.len()),
                expected: format!("{width} for each window"),
            })?;
            self.record.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        }
        self.record.extend(cut.lengths[window].to_le_bytes());
        self.len += 1;
        self.flush_record()
    }

    fn flush_record(&mut self) -> Result<(), CoreError> {
        self.hash.update(&self.record);
        self.out.write_all(&self.record).map_err(|source| CoreError::io("writing", &self.path, source))
    }

    /// Ends the file and brings it to the disk.
    ///
    /// # Errors
    /// [`CoreError::Io`].
    pub fn finish(self) -> Result<Written, CoreError> {
        let failed = |source| CoreError::io("writing", &self.path, source);
        let file = self.out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok(Written { len: self.len, blake3: self.hash.finalize().to_hex().to_string() })
    }
}

/// Windows of a file.
#[derive(Debug)]
pub struct StoredWindows {
    schema: Schema,
    layout: Layout,
    len: usize,
    file: File,
    path: PathBuf,
}

impl StoredWindows {
    /// Opens a file that was written for the same schema and inputs, and reads it once to see that its bytes are those that
    /// were written.
    ///
    /// # Errors
    /// [`CoreError::Io`]: the operating system's, or `InvalidData` for a file of another size or with other bytes.
    pub fn open(path: &Path, schema: Schema, inputs: Inputs, written: &Written) -> Result<Self, CoreError> {
        let failed = |source| CoreError::io("reading", path, source);
        let damaged = |why: String| failed(Error::new(ErrorKind::InvalidData, why));
        let layout = Layout::new(schema.geometry(), inputs);
        let file = files::open_regular(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let expected = (written.len as u64).checked_mul(layout.size as u64).and_then(|all| all.checked_add(HEAD));
        if expected != Some(size) {
            return Err(damaged(format!("it has {size} bytes, which {} windows do not make", written.len)));
        }
        let mut hash = blake3::Hasher::new();
        hash.update_reader(&file).map_err(failed)?;
        if hash.finalize().to_hex().as_str() != written.blake3 {
            return Err(damaged("its bytes are not those that were written".into()));
        }
        Ok(Self { schema, layout, len: written.len, file, path: path.to_owned() })
    }

    /// Some windows alone, in the given order, in a file of their own without a name: nothing of the others is in it.
    ///
    /// # Errors
    /// [`CoreError::Io`] when the file cannot be written beside this one, [`CoreError::Shape`] when a row is out of range.
    pub fn select(&self, rows: &[usize]) -> Result<Self, CoreError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let failed = |source| CoreError::io("making a temporary file in", folder, source);
        let file = tempfile::tempfile_in(folder).map_err(failed)?;
        let mut writer = StoredWriter {
            out: BufWriter::with_capacity(1 << 20, file.try_clone().map_err(failed)?),
            path: folder.to_owned(),
            hash: blake3::Hasher::new(),
            layout: self.layout,
            len: 0,
            record: vec![0; HEAD as usize],
        };
        writer.flush_record()?;
        for &row in rows {
            if row >= self.len {
                let (got, expected) = (row.to_string(), format!("less than {}", self.len));
                return Err(CoreError::Shape { what: "row", got, expected });
            }
            writer.record.resize(self.layout.size, 0);
            self.read(row, &mut writer.record)?;
            writer.flush_record()?;
        }
        writer.out.flush().map_err(failed)?;
        drop(writer);
        Ok(Self { schema: self.schema.clone(), layout: self.layout, len: rows.len(), file, path: self.path.clone() })
    }

    /// Fills `into` with the records from `row` on.
    fn read(&self, row: usize, into: &mut [u8]) -> Result<(), CoreError> {
        read_at(&self.file, into, HEAD + row as u64 * self.layout.size as u64)
            .map_err(|source| CoreError::io("reading", &self.path, source))
    }
}

impl Windows for StoredWindows {
    fn len(&self) -> usize {
        self.len
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn gather(&self, rows: &[usize], into: &mut Batch) -> Result<(), CoreError> {
        check_gather(self.len, &self.schema, rows, into)?;
        let at = self.layout.of(into.kind())?;
        let (bytes, size) = (4 * into.row_len(), self.layout.size);
        let steps = self.schema.geometry().steps as u32;
        into.values.clear();
        into.lengths.clear();
        let mut records = Vec::new();
        for run in rows.chunk_by(|a, b| a + 1 == *b).flat_map(|run| run.chunks(RUN)) {
            records.resize(run.len() * size, 0);
            self.read(run[0], &mut records)?;
            for record in records.chunks_exact(size) {
                let values = record[at..at + bytes].as_chunks::<4>().0;
                into.values.extend(values.iter().map(|value| f32::from_le_bytes(*value)));
                let length = record[self.layout.length..].first_chunk().copied().map_or(0, u32::from_le_bytes);
                into.lengths.push(length.min(steps));
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut into: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, at)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => {
                into = &mut into[n..];
                at += n as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3};
    use proptest::prelude::*;
    use stakeout_core::{ChannelSpec, View, WindowSpec, WindowTable, channels, class};

    use super::*;

    fn schema() -> Schema {
        let channels = channels::BUILT_IN[..3].iter().map(ChannelSpec::from);
        crate::schema(channels, View::Oracle, WindowSpec { steps: 4, ..WindowSpec::default() }, class::built_in())
            .unwrap()
    }

    /// A cut of `n` windows whose every value is different, a few of them missing.
    fn cut(n: usize, inputs: Inputs) -> Cut {
        let geometry = schema().geometry();
        let values = |kind, from: f32| -> Vec<f32> {
            let value = |i: usize| if i % 7 == 3 { f32::NAN } else { from + i as f32 };
            (0..n * geometry.row_len(kind)).map(value).collect()
        };
        Cut {
            lengths: (0..n).map(|i| (i % 5) as u32).collect(),
            summary: if inputs.summary { values(InputKind::Summary, 0.5) } else { Vec::new() },
            tensor: if inputs.tensor { values(InputKind::Tensor, -9e5) } else { Vec::new() },
            ..Cut::default()
        }
    }

    fn table(cut: &Cut, inputs: Inputs) -> WindowTable {
        let (schema, n) = (schema(), cut.lengths.len());
        let geometry = schema.geometry();
        let summary =
            inputs.summary.then(|| Array2::from_shape_vec((n, geometry.features), cut.summary.clone()).unwrap());
        let tensor = inputs
            .tensor
            .then(|| Array3::from_shape_vec((n, geometry.channels, geometry.steps), cut.tensor.clone()).unwrap());
        WindowTable::new(schema, summary, tensor, cut.lengths.clone()).unwrap()
    }

    fn write(path: &Path, cut: &Cut, inputs: Inputs) -> Written {
        let mut writer = StoredWriter::create(path, &schema(), inputs).unwrap();
        (0..cut.lengths.len()).for_each(|window| writer.push(cut, window).unwrap());
        writer.finish().unwrap()
    }

    fn gathered(windows: &dyn Windows, kind: InputKind, rows: &[usize]) -> (Vec<u32>, Vec<u32>) {
        let mut batch = Batch::new(kind, windows.schema().geometry());
        windows.gather(rows, &mut batch).unwrap();
        (batch.values.iter().map(|value| value.to_bits()).collect(), batch.lengths)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_rows_in_any_order_are_those_of_a_table_in_memory(
            n in 1usize..40, picks in prop::collection::vec(0usize..1000, 0..60), which in 0usize..3,
        ) {
            let inputs = [Inputs::BOTH, Inputs { summary: true, tensor: false }, Inputs { summary: false, tensor: true }][which];
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("windows");
            let cut = cut(n, inputs);
            let stored = StoredWindows::open(&path, schema(), inputs, &write(&path, &cut, inputs)).unwrap();
            let table = table(&cut, inputs);
            let rows: Vec<usize> = picks.iter().map(|pick| pick % n).chain(0..n).collect();
            let own = stored.select(&rows).unwrap();
            prop_assert_eq!(own.len(), rows.len());
            for (kind, held) in [(InputKind::Summary, inputs.summary), (InputKind::Tensor, inputs.tensor)] {
                if held {
                    prop_assert_eq!(gathered(&stored, kind, &rows), gathered(&table, kind, &rows));
                    let all: Vec<usize> = (0..rows.len()).collect();
                    prop_assert_eq!(gathered(&own, kind, &all), gathered(&table, kind, &rows));
                } else {
                    let mut batch = Batch::new(kind, schema().geometry());
                    prop_assert!(matches!(stored.gather(&rows, &mut batch), Err(CoreError::NotHeld(_))));
                }
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_grown_or_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("windows");
        let written = write(&path, &cut(5, Inputs::BOTH), Inputs::BOTH);
        assert!(StoredWriter::create(&path, &schema(), Inputs::BOTH).is_err(), "it is never overwritten");
        let whole = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8], written: &Written| {
            std::fs::write(&path, bytes).unwrap();
            let error = StoredWindows::open(&path, schema(), Inputs::BOTH, written).unwrap_err();
            std::error::Error::source(&error).unwrap().to_string()
        };
        assert!(refused(&whole[..whole.len() - 1], &written).contains("do not make"));
        assert!(refused(&[&whole[..], &[0]].concat(), &written).contains("do not make"));
        assert!(refused(&whole, &Written { len: usize::MAX, ..written.clone() }).contains("do not make"));
        let mut changed = whole.clone();
        changed[200] ^= 1;
        assert!(refused(&changed, &written).contains("not those that were written"));
        std::fs::write(&path, &whole).unwrap();
        let stored = StoredWindows::open(&path, schema(), Inputs::BOTH, &written).unwrap();
        assert!(stored.gather(&[5], &mut Batch::new(InputKind::Tensor, schema().geometry())).is_err());
        assert!(stored.select(&[5]).is_err());
    }
}
