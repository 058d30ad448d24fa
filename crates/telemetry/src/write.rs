//! Writing a store: whole episodes or nothing.
//!
//! An episode is written into a folder beside its place, synced, and renamed; only then does the index name it. After
//! a crash there may be a leftover folder or an episode that the index does not know, never half an episode that the
//! index calls whole. Index lines stand in the order of sequence numbers that the caller chooses, whatever thread
//! finishes first, so the same input gives the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use stakeout_core::{Source, class};

use crate::store::{EPISODES_FOLDER, INDEX_FILE, META_FILE, PARTIAL_PREFIX, episode_folder};
use crate::{Corpus, EpisodeMeta, FileRecord, IndexRecord, Stream, TelemetryError};

/// The lock of a store that is being written.
const LOCK_FILE: &str = ".lock";
/// Index lines that wait for a sync together.
const INDEX_BATCH: usize = 64;
const BUFFER: usize = 1 << 16;

/// How the row files of an episode are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// JSON Lines.
    #[default]
    Plain,
    /// JSON Lines in one zstd frame, `.jsonl.zst`.
    Zstd,
}

/// A store that is being written. Shared by reference between threads; locked against other processes.
///
/// ```
/// use stakeout_telemetry::{Corpus, StoreWriter, Compression, EpisodeMeta, meta};
/// # let folder = tempfile::tempdir().unwrap();
/// let corpus = Corpus::built_in();
/// let store = StoreWriter::create(&folder.path().join("store"), &corpus)?;
/// let start = 1_700_000_000_000_000_000;
/// let id = meta::ulid_from(1_700_000_000_000, &corpus.name, "run-1");
/// let meta = EpisodeMeta::new(id, "run-1", (start, start + 60_000_000_000)).on("host-1").of("sleep", "benign");
/// let mut episode = store.episode(0, meta, Compression::Plain)?;
/// episode.label(0, start, "clean")?;
/// let channels = corpus.channels_of(stakeout_core::Source::Guest).count();
/// episode.row(stakeout_core::Source::Guest, 0, start, &vec![1.0; channels])?;
/// episode.finish(start)?;
/// assert_eq!(store.finish()?, 1);
/// # Ok::<(), stakeout_telemetry::TelemetryError>(())
/// ```
#[derive(Debug)]
pub struct StoreWriter {
    path: PathBuf,
    corpus: Corpus,
    index: Mutex<Index>,
    /// Held for its lock; the operating system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl StoreWriter {
    /// A new store in an absent or empty folder.
    ///
    /// # Errors
    /// When the folder is not empty, is locked by another writer, or cannot be written.
    pub fn create(path: &Path, corpus: &Corpus) -> Result<Self, TelemetryError> {
        fs::create_dir_all(path).map_err(|error| TelemetryError::io("creating", path, error))?;
        let mut entries = fs::read_dir(path).map_err(|error| TelemetryError::io("reading", path, error))?;
        if entries.next().is_some() {
            return Err(TelemetryError::store(path, "the folder is not empty: name a new one, or remove it first"));
        }
        let lock = lock(path)?;
        corpus.write(path)?;
        Self::open(path, corpus, lock)
    }

    /// Adds to a store that holds the same corpus. Leftovers of an interrupted writer are removed.
    ///
    /// # Errors
    /// When the folder is no store, holds another corpus, is locked by another writer, or cannot be written.
    pub fn append(path: &Path, corpus: &Corpus) -> Result<Self, TelemetryError> {
        if !path.join(INDEX_FILE).is_file() {
            return Err(TelemetryError::store(path, format!("there is no {INDEX_FILE}: this is no store")));
        }
        let lock = lock(path)?;
        if Corpus::read(path)? != *corpus {
            return Err(TelemetryError::store(path, "it holds another corpus: a store has one corpus.toml"));
        }
        let writer = Self::open(path, corpus, lock)?;
        remove_leftovers(&path.join(EPISODES_FOLDER))?;
        Ok(writer)
    }

    fn open(path: &Path, corpus: &Corpus, lock: File) -> Result<Self, TelemetryError> {
        let episodes = path.join(EPISODES_FOLDER);
        fs::create_dir_all(&episodes).map_err(|error| TelemetryError::io("creating", &episodes, error))?;
        let index = Index::open(&path.join(INDEX_FILE), episodes)?;
        Ok(Self { path: path.to_owned(), corpus: corpus.clone(), index: Mutex::new(index), _lock: lock })
    }

    /// The corpus that is being written.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// The folder of the store.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts an episode. `sequence` counts the episodes of this writer from 0 and orders the index: the lines of
    /// later numbers wait in memory for earlier ones, so hand out numbers in small consecutive blocks to threads.
    /// The row counters of `meta` are filled in by the writer.
    ///
    /// # Errors
    /// When `meta` breaks a rule, or the episode is there already.
    pub fn episode(
        &self,
        sequence: u64,
        mut meta: EpisodeMeta,
        compression: Compression,
    ) -> Result<EpisodeWriter<'_>, TelemetryError> {
        meta.rows = crate::RowCounters::default();
        meta.check()?;
        if meta.clock != self.corpus.window.clock {
            let why = format!("the corpus has the {} clock", self.corpus.window.clock.name());
            return Err(TelemetryError::invalid("clock", meta.clock.name(), why));
        }
        let place = episode_folder(&self.path, &meta.episode_id);
        if fs::symlink_metadata(&place).is_ok() {
            return Err(TelemetryError::store(&place, "the episode is there already"));
        }
        let folder = self.path.join(EPISODES_FOLDER).join(format!("{PARTIAL_PREFIX}{}", meta.episode_id));
        fs::create_dir(&folder).map_err(|error| TelemetryError::io("creating", &folder, error))?;
        let files = Stream::ALL.map(|_| None);
        Ok(EpisodeWriter { store: self, sequence, meta, compression, folder, files, done: false })
    }

    /// Writes what is still waiting for the index, syncs, and returns how many episodes this writer added.
    ///
    /// # Errors
    /// I/O errors.
    pub fn finish(self) -> Result<u64, TelemetryError> {
        let mut index = self.index.into_inner().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut index.waiting);
        index.ready.extend(waiting.into_values().flatten());
        index.flush()?;
        Ok(index.written)
    }
}

/// One episode that is being written; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct EpisodeWriter<'a> {
    store: &'a StoreWriter,
    sequence: u64,
    meta: EpisodeMeta,
    compression: Compression,
    folder: PathBuf,
    /// In the order of [`Stream::ALL`].
    files: [Option<RowFile>; 7],
    done: bool,
}

impl EpisodeWriter<'_> {
    /// A row of a source: one value for each of its channels in the order of [`Corpus::channels_of`], NaN where there
    /// is none (written as `null`).
    ///
    /// # Errors
    /// When the number of values is wrong, one is infinite, or `t_wall_ns` does not increase; I/O errors.
    ///
    /// Anything [`crate::ReasonCode`] would object to in a single file is refused here, so that damage in a store is
    /// damage, not a habit of its writer.
    pub fn row(
        &mut self,
        source: Source,
        t_mono_ns: i64,
        t_wall_ns: i64,
        values: &[f64],
    ) -> Result<(), TelemetryError> {
        let width = self.store.corpus.channels_of(source).count();
        if values.len() != width || width == 0 {
            let why = format!("source {source} has {width} channels");
            return Err(TelemetryError::invalid("row", &format!("{} values", values.len()), why));
        }
        if let Some(value) = values.iter().find(|value| value.is_infinite()) {
            return Err(TelemetryError::invalid("channel value", &value.to_string(), "JSON has finite numbers only"));
        }
        let file = self.file(Stream::Rows(source))?;
        file.next(t_mono_ns, t_wall_ns, 1)?;
        let RowFile { buffer, keys, head, .. } = file;
        buffer.extend_from_slice(head);
        for (key, &value) in keys.iter().zip(values) {
            buffer.extend_from_slice(key);
            number(buffer, value);
        }
        file.end_line()
    }

    /// From `t_wall_ns` on, the episode is in this class of the corpus, or `unlabelled`.
    ///
    /// # Errors
    /// When the class is unknown or `t_wall_ns` decreases; I/O errors.
    pub fn label(&mut self, t_mono_ns: i64, t_wall_ns: i64, phase: &str) -> Result<(), TelemetryError> {
        if phase != class::UNLABELLED && self.store.corpus.classes.id(phase).is_none() {
            let known = self.store.corpus.classes.names().join(", ");
            return Err(TelemetryError::invalid("label", phase, format!("use one of {known}")));
        }
        self.named(Stream::Labels, t_mono_ns, t_wall_ns, b",\"phase\":", phase)
    }

    /// Something happened.
    ///
    /// # Errors
    /// When the name is not 1 to 200 visible bytes or `t_wall_ns` decreases; I/O errors.
    pub fn event(&mut self, t_mono_ns: i64, t_wall_ns: i64, event: &str) -> Result<(), TelemetryError> {
        crate::meta::check_name("event", event)?;
        self.named(Stream::Events, t_mono_ns, t_wall_ns, b",\"event\":", event)
    }

    /// Makes the file of a source or of labels or events, even when no row follows.
    ///
    /// # Errors
    /// I/O errors.
    pub fn touch(&mut self, stream: Stream) -> Result<(), TelemetryError> {
        self.file(stream).map(|_| ())
    }

    fn named(
        &mut self,
        stream: Stream,
        t_mono_ns: i64,
        t_wall_ns: i64,
        key: &[u8],
        name: &str,
    ) -> Result<(), TelemetryError> {
        let file = self.file(stream)?;
        file.next(t_mono_ns, t_wall_ns, 0)?;
        file.buffer.extend_from_slice(key);
        serde_json::to_writer(&mut file.buffer, name).map_err(|error| file.failed(error.into()))?;
        file.end_line()
    }

    fn file(&mut self, stream: Stream) -> Result<&mut RowFile, TelemetryError> {
        let slot = &mut self.files[Stream::ALL.iter().position(|s| *s == stream).expect("every stream is listed")];
        match slot {
            Some(file) => Ok(file),
            None => Ok(slot.insert(RowFile::create(&self.folder, stream, &self.store.corpus, self.compression)?)),
        }
    }

    /// Completes the episode: counters, hashes, syncs, rename, index. `received_at` is what the index says, Unix
    /// nanoseconds; imported and simulated data pass a time that depends on the data only.
    ///
    /// # Errors
    /// I/O errors; nothing is left behind then.
    pub fn finish(mut self, received_at: i64) -> Result<(), TelemetryError> {
        let mut records = Vec::new();
        for (stream, file) in Stream::ALL.into_iter().zip(&mut self.files) {
            if let Some(file) = file.take() {
                *self.meta.rows.of(stream) = Some(file.rows);
                records.push(file.finish()?);
            }
        }
        let mut text = serde_json::to_vec_pretty(&self.meta).expect("a checked meta is JSON");
        text.push(b'\n');
        let path = self.folder.join(META_FILE);
        let mut meta = Hashed::create(&path)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| TelemetryError::io("writing", &path, error)
        };
        meta.write_all(&text).map_err(failed(&path))?;
        records.push(meta.finish(META_FILE.to_owned()).map_err(failed(&path))?);
        records.sort_by(|a, b| a.name.cmp(&b.name));
        sync_folder(&self.folder)?;
        let place = episode_folder(&self.store.path, &self.meta.episode_id);
        fs::rename(&self.folder, &place).map_err(failed(&place))?;
        self.done = true;
        let record = IndexRecord { episode_id: self.meta.episode_id.clone(), received_at, files: records };
        let mut line = serde_json::to_vec(&record).expect("an index record is JSON");
        line.push(b'\n');
        self.store.lock_index().submit(self.sequence, Some(line))
    }
}

impl Drop for EpisodeWriter<'_> {
    /// An episode that failed gives its place in the index free and removes its folder; an error here has no one to
    /// go to, and the leftover folder is one that a validator names and a later writer removes.
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.folder);
            let _ = self.store.lock_index().submit(self.sequence, None);
        }
    }
}

impl StoreWriter {
    fn lock_index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The append-only index, in sequence order.
#[derive(Debug)]
struct Index {
    file: File,
    path: PathBuf,
    episodes: PathBuf,
    next: u64,
    waiting: BTreeMap<u64, Option<Vec<u8>>>,
    ready: Vec<Vec<u8>>,
    written: u64,
}

impl Index {
    fn open(path: &Path, episodes: PathBuf) -> Result<Self, TelemetryError> {
        let failed = |error| TelemetryError::io("writing", path, error);
        cut_partial_line(path).map_err(failed)?;
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        let (waiting, ready) = (BTreeMap::new(), Vec::new());
        Ok(Self { file, path: path.to_owned(), episodes, next: 0, waiting, ready, written: 0 })
    }

    fn submit(&mut self, sequence: u64, line: Option<Vec<u8>>) -> Result<(), TelemetryError> {
        if sequence < self.next || self.waiting.insert(sequence, line).is_some() {
            return Err(TelemetryError::invalid("sequence number", &sequence.to_string(), "it was used already"));
        }
        while let Some(line) = self.waiting.remove(&self.next) {
            self.ready.extend(line);
            self.next += 1;
        }
        if self.ready.len() >= INDEX_BATCH { self.flush() } else { Ok(()) }
    }

    /// Renames first reach the disk, then the lines that speak of them.
    fn flush(&mut self) -> Result<(), TelemetryError> {
        sync_folder(&self.episodes)?;
        let failed = |error| TelemetryError::io("writing", &self.path, error);
        self.file.write_all(&self.ready.concat()).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.written += self.ready.len() as u64;
        self.ready.clear();
        Ok(())
    }
}

/// A crash may have cut the last line of an index: it named no one, and the next line must not be glued to it.
fn cut_partial_line(path: &Path) -> io::Result<()> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    Ok(())
}

fn remove_leftovers(episodes: &Path) -> Result<(), TelemetryError> {
    let failed = |error| TelemetryError::io("cleaning", episodes, error);
    for entry in fs::read_dir(episodes).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn lock(store: &Path) -> Result<File, TelemetryError> {
    let path = store.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| TelemetryError::io("locking", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(TelemetryError::store(store, "another process is writing it: wait for it"))
        }
        Err(TryLockError::Error(error)) => Err(TelemetryError::io("locking", &path, error)),
    }
}

fn sync_folder(folder: &Path) -> Result<(), TelemetryError> {
    #[cfg(unix)]
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|error| TelemetryError::io("syncing", folder, error))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// A file whose size and sha256 are known when it is closed.
struct Hashed {
    file: File,
    hasher: Sha256,
    size: u64,
}

impl Hashed {
    fn create(path: &Path) -> Result<Self, TelemetryError> {
        let file = File::create_new(path).map_err(|error| TelemetryError::io("creating", path, error))?;
        Ok(Self { file, hasher: Sha256::new(), size: 0 })
    }

    fn finish(self, name: String) -> io::Result<FileRecord> {
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
struct RowFile {
    path: PathBuf,
    name: String,
    sink: Sink,
    buffer: Vec<u8>,
    /// What stands in each row between the timestamps and the first channel.
    head: Vec<u8>,
    /// `,"field":` for each channel.
    keys: Vec<Vec<u8>>,
    last: Option<(i64, i64)>,
    rows: u64,
}

impl std::fmt::Debug for RowFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowFile").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl RowFile {
    fn create(
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

    fn failed(&self, error: io::Error) -> TelemetryError {
        TelemetryError::io("writing", &self.path, error)
    }

    /// Starts a line; the wall clock must be at least `step` ns past the previous row's.
    fn next(&mut self, t_mono_ns: i64, t_wall_ns: i64, step: i64) -> Result<(), TelemetryError> {
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

    fn end_line(&mut self) -> Result<(), TelemetryError> {
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

    fn finish(mut self) -> Result<FileRecord, TelemetryError> {
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
fn number(buffer: &mut Vec<u8>, value: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.is_nan() {
        buffer.extend_from_slice(b"null");
    } else if value.trunc() == value && value.abs() < EXACT && (value != 0.0 || value.is_sign_positive()) {
        integer(buffer, value as i64);
    } else {
        serde_json::to_writer(buffer, &value).expect("a vector takes every byte");
    }
}
