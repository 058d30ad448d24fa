//! One episode on its way to disk.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use stakeout_core::{Source, class};

use super::file::{Hashed, RowFile, number};
use super::{Compression, StoreWriter, sync_folder};
use crate::store::{EPISODES_FOLDER, META_FILE, PARTIAL_PREFIX, episode_folder};
use crate::{EpisodeMeta, IndexRecord, Stream, TelemetryError};

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

impl<'a> EpisodeWriter<'a> {
    pub(super) fn start(
        store: &'a StoreWriter,
        sequence: u64,
        mut meta: EpisodeMeta,
        compression: Compression,
    ) -> Result<Self, TelemetryError> {
        meta.rows = crate::RowCounters::default();
        meta.check()?;
        if meta.clock != store.corpus.window.clock {
            let why = format!("the corpus has the {} clock", store.corpus.window.clock.name());
            return Err(TelemetryError::invalid("clock", meta.clock.name(), why));
        }
        let place = episode_folder(&store.path, &meta.episode_id);
        if fs::symlink_metadata(&place).is_ok() {
            return Err(TelemetryError::store(&place, "the episode is there already"));
        }
        let folder = store.path.join(EPISODES_FOLDER).join(format!("{PARTIAL_PREFIX}{}", meta.episode_id));
        fs::create_dir(&folder).map_err(|error| TelemetryError::io("creating", &folder, error))?;
        let files = Stream::ALL.map(|_| None);
        Ok(Self { store, sequence, meta, compression, folder, files, done: false })
    }

    /// A row of a source: one value for each of its channels in the order of [`crate::Corpus::channels_of`], NaN
    /// where there is none (written as `null`).
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
