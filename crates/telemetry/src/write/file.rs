//! The files of an episode on their way to disk: hashed while they are written.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Compression;
use crate::{Corpus, FileRecord, Stream, TelemetryError};

const BUFFER: usize = 1 << 16;

/// A file whose size and sha256 are known when it is closed.
pub(super) struct Hashed {
    file: File,
    hasher: Sha256,
    size: u64,
}

impl Hashed {
    pub(super) fn create(path: &Path) -> Result<Self, TelemetryError> {
        let file = File::create_new(path).map_err(|error| TelemetryError::io("creating", path, error))?;
        Ok(Self { file, hasher: Sha256::new(), size: 0 })
    }

    pub(super) fn finish(self, name: String) -> io::Result<FileRecord> {
        self.file.sync_all()?;
        let sha256 = hex(&self.hasher.finalize());
        Ok(FileRecord { name, sha256, size: self.size })
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char]).collect()
}

enum Sink {
    Plain(Hashed),
    Zstd(Box<zstd::stream::write::Encoder<'static, Hashed>>),
}

/// One JSON Lines file.
pub(super) struct RowFile {
    path: PathBuf,
    name: String,
    sink: Sink,
    pub(super) buffer: Vec<u8>,
    /// What stands in each row between the timestamps and the first channel.
    pub(super) head: Vec<u8>,
    /// `,"field":` for each channel.
    pub(super) keys: Vec<Vec<u8>>,
    last: Option<(i64, i64)>,
    pub(super) rows: u64,
}

impl std::fmt::Debug for RowFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowFile").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl RowFile {
    pub(super) fn create(
        folder: &Path,
        stream: Stream,
        corpus: &Corpus,
        compression: Compression,
    ) -> Result<Self, TelemetryError> {
        let zst = if compression == Compression::Zstd { ".zst" } else { "" };
        let name = format!("{}{zst}", stream.file_name());
        let path = folder.join(&name);
        let hashed = Hashed::create(&path)?;
        let sink = match compression {
            Compression::Plain => Sink::Plain(hashed),
            Compression::Zstd => Sink::Zstd(Box::new(
                zstd::stream::write::Encoder::new(hashed, 3)
                    .map_err(|error| TelemetryError::io("writing", &path, error))?,
            )),
        };
        let (mut head, mut keys) = (Vec::new(), Vec::new());
        if let Stream::Rows(source) = stream {
            head = format!(",\"source\":\"{source}\",\"available_in_deployment\":{}", corpus.available(source)).into();
            keys.extend(corpus.channels_of(source).map(|channel| {
                let field = serde_json::to_string(&channel.field).expect("a field name is text");
                format!(",{field}:").into_bytes()
            }));
        }
        Ok(Self { path, name, sink, buffer: Vec::with_capacity(BUFFER + 4096), head, keys, last: None, rows: 0 })
    }

    pub(super) fn failed(&self, error: io::Error) -> TelemetryError {
        TelemetryError::io("writing", &self.path, error)
    }

    /// Starts a line; the wall clock must be at least `step` ns past the previous row's.
    pub(super) fn next(&mut self, t_mono_ns: i64, t_wall_ns: i64, step: i64) -> Result<(), TelemetryError> {
        let (mono, wall) = self.last.unwrap_or((0, -step));
        if t_wall_ns < 0 || t_wall_ns - step < wall {
            let why = format!("{} row {} has {wall} before it and time does not go back", self.name, self.rows + 1);
            return Err(TelemetryError::invalid("t_wall_ns", &t_wall_ns.to_string(), why));
        }
        if t_mono_ns < mono {
            let why = format!("{} row {} has {mono} before it and time does not go back", self.name, self.rows + 1);
            return Err(TelemetryError::invalid("t_mono_ns", &t_mono_ns.to_string(), why));
        }
        self.last = Some((t_mono_ns, t_wall_ns));
        self.buffer.extend_from_slice(b"{\"t_mono_ns\":");
        integer(&mut self.buffer, t_mono_ns);
        self.buffer.extend_from_slice(b",\"t_wall_ns\":");
        integer(&mut self.buffer, t_wall_ns);
        Ok(())
    }

    pub(super) fn end_line(&mut self) -> Result<(), TelemetryError> {
        self.buffer.extend_from_slice(b"}\n");
        self.rows += 1;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), TelemetryError> {
        match &mut self.sink {
            Sink::Plain(file) => file.write_all(&self.buffer),
            Sink::Zstd(encoder) => encoder.write_all(&self.buffer),
        }
        .map_err(|error| TelemetryError::io("writing", &self.path, error))?;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<FileRecord, TelemetryError> {
        self.flush()?;
        let Self { path, name, sink, .. } = self;
        match sink {
            Sink::Plain(file) => file.finish(name),
            Sink::Zstd(encoder) => encoder.finish().and_then(|file| file.finish(name)),
        }
        .map_err(|error| TelemetryError::io("writing", &path, error))
    }
}

fn integer(buffer: &mut Vec<u8>, value: i64) {
    serde_json::to_writer(buffer, &value).expect("a vector takes every byte");
}

/// A finite JSON number that reads back as the same `f64`; whole numbers without a fraction, NaN as `null`.
pub(super) fn number(buffer: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.is_nan() {
        buffer.extend_from_slice(b"null");
    } else if value.trunc() == value && value.abs() < EXACT && (value != 0.0 || value.is_sign_positive()) {
        integer(buffer, value as i64);
    } else {
        serde_json::to_writer(buffer, &value).expect("a vector takes every byte");
    }
}
