//! From a store to windows and their index: every episode is examined, cut, and accounted for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::{Array2, Array3};
use rayon::prelude::*;
use stakeout_core::{
    CoreError, EpisodeInfo, EpisodeRef, InputKind, ModelError, SampleIndex, Schema, View, WindowKey, WindowTable,
};
use stakeout_features::{Cut, CutScratch, FeatureError, Inputs, StoredWriter};
use stakeout_telemetry::{Calibration, Corpus, Examined, Keep, Store, Verdict, WindowKeys};

use crate::cache::{self, Contents, HeldWindows, Locked, Staged, WindowCache};
use crate::summaries::calibration_stretch;
use crate::{Account, Experiment, Progress, TrainError};

/// Episodes that are read at a time: enough for all threads, few enough for any memory.
const CHUNK: usize = 64;

/// How a store is read.
#[derive(Debug, Clone)]
pub struct Reading<'a> {
    /// Which channels are seen.
    pub view: View,
    /// Window settings laid over the corpus's own.
    pub window: &'a WindowKeys,
    /// Which input the models take.
    pub inputs: Inputs,
    /// Whether degraded episodes are read too.
    pub degraded: bool,
    /// Where windows are kept between runs, and which. It changes no result.
    pub cache: &'a WindowCache,
}

impl<'a> Reading<'a> {
    /// How an experiment reads its store.
    pub fn of(experiment: &'a Experiment, inputs: Inputs, cache: &'a WindowCache) -> Self {
        Self { view: experiment.view, window: &experiment.window, inputs, degraded: experiment.degraded, cache }
    }
}

/// Windows of the hosts' calibration stretches.
#[derive(Debug)]
pub struct CalibrationWindows {
    /// The windows.
    pub windows: HeldWindows,
    /// The host of each.
    pub hosts: Vec<String>,
}

/// The labelled windows of a store, with who each is.
#[derive(Debug)]
pub struct Dataset {
    /// What the windows hold.
    pub schema: Schema,
    /// Labelled windows, in store order.
    pub windows: HeldWindows,
    /// Who each window is, row for row.
    pub index: SampleIndex,
    /// Windows of calibration stretches, which are in no side.
    pub calibration: CalibrationWindows,
    /// What became of everything.
    pub account: Account,
    /// Whether the corpus was simulated.
    pub simulated: bool,
    /// Name of the corpus.
    pub corpus: String,
    /// BLAKE3 over the corpus description and the index: the data that results speak of.
    pub digest: String,
}

impl Dataset {
    /// Examines and cuts every episode of a store.
    ///
    /// # Errors
    /// When the store cannot be opened, the settings break a rule, or no labelled window is left.
    pub fn open(
        path: &Path,
        reading: &Reading<'_>,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<Self, TrainError> {
        let store = Store::open(path)?;
        let corpus = store.corpus();
        let window = reading.window.over(&corpus.window)?;
        let schema = stakeout_features::schema(corpus.channels.clone(), reading.view, window, corpus.classes.clone())?;
        Self::with_schema(&store, schema, reading.inputs, reading.degraded, reading.cache, progress, cancel)
    }

    /// As [`Dataset::open`], with the schema of a model that is there already.
    ///
    /// # Errors
    /// As [`Dataset::open`], and when the store's channels or classes are not the schema's.
    pub fn open_as(
        path: &Path,
        schema: &Schema,
        inputs: Inputs,
        degraded: bool,
        cache: &WindowCache,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<Self, TrainError> {
        let store = Store::open(path)?;
        let own = schema_as(store.corpus(), schema)?;
        Self::with_schema(&store, own, inputs, degraded, cache, progress, cancel)
    }

    fn with_schema(
        store: &Store,
        schema: Schema,
        inputs: Inputs,
        degraded: bool,
        cache: &WindowCache,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<Self, TrainError> {
        let digest = store.digest()?;
        let held = contents(store, &schema, &digest, inputs, degraded, cache, progress, cancel)?;
        let Contents { windows, calibration, index, account } = held;
        Ok(Self {
            windows,
            calibration,
            index,
            account,
            simulated: store.corpus().simulated,
            corpus: store.corpus().name.clone(),
            digest,
            schema,
        })
    }
}

/// The windows of a store: those that were kept, or cut now.
#[allow(clippy::too_many_arguments)] // everything that decides what is cut
fn contents(
    store: &Store,
    schema: &Schema,
    digest: &str,
    inputs: Inputs,
    degraded: bool,
    cache: &WindowCache,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<Contents, TrainError> {
    let key = cache::key(schema, digest, inputs, degraded);
    let kept = |folder: &Path| match cache::read(folder, &key, schema, inputs) {
        Ok(found) => {
            if found.is_some() {
                progress.say(&format!("windows are read from {}", folder.join(&key).display()));
            }
            found
        }
        Err(why) => {
            progress
                .say(&format!("kept windows cannot be used and are cut again: {}: {why}", folder.join(&key).display()));
            None
        }
    };
    let beyond = cache.beyond();
    if let Some(found) = beyond.and_then(|(_, folder)| kept(folder)) {
        return Ok(found);
    }
    let mut builder = Builder::new(store.corpus(), schema);
    let mut made_meanwhile = None;
    let swept = sweep(store, schema, inputs, degraded, progress, cancel, |swept| {
        builder.add(swept)?;
        if let (Some((limit, folder)), Held::Memory(table)) = (beyond, &builder.held)
            && table.bytes() >= limit
        {
            let locked = Locked::wait(folder, progress)?;
            made_meanwhile = kept(folder);
            if made_meanwhile.is_some() {
                return Err(ModelError::Cancelled.into()); // the rest need not be cut
            }
            builder.spill(Staged::new(locked, &key, schema, inputs)?)?;
        }
        Ok(())
    });
    if let Some(found) = made_meanwhile {
        return Ok(found);
    }
    let Builder { held, clean_hosts, index, account, .. } = builder;
    if let Err(error) = swept.and_then(|()| refuse_empty(&index, &account)) {
        if let Held::Disk(staged) = held {
            (*staged).abandon();
        }
        if let (TrainError::Core(CoreError::Io { .. }), Some((_, folder))) = (&error, beyond) {
            progress.say(&cannot_keep(folder));
        }
        return Err(error);
    }
    match held {
        Held::Memory(Parts { labelled, clean }) => Ok(Contents {
            windows: labelled.into_table(schema, inputs)?.into(),
            calibration: CalibrationWindows { windows: clean.into_table(schema, inputs)?.into(), hosts: clean_hosts },
            index,
            account,
        }),
        Held::Disk(staged) => {
            let folder = beyond.map_or(Path::new("."), |(_, folder)| folder);
            (*staged).finish(&index, &clean_hosts, &account).inspect_err(|_| progress.say(&cannot_keep(folder)))?;
            kept(folder).ok_or_else(|| {
                TrainError::Data(format!("windows that were just written to {} cannot be read back", folder.display()))
            })
        }
    }
}

fn cannot_keep(folder: &Path) -> String {
    let at = folder.display();
    format!(
        "where windows could not be kept in {at}: make room, set XDG_CACHE_HOME to another folder, or say --keep-windows never"
    )
}

fn refuse_empty(index: &SampleIndex, account: &Account) -> Result<(), TrainError> {
    if index.is_empty() {
        let Account { episodes, windows_cut, windows_dropped, episodes_refused, .. } = account;
        if let Some(first) = episodes_refused.first() {
            return Err(TrainError::Data(format!("no episode can be cut; the first: {first}")));
        }
        return Err(TrainError::Data(format!(
            "no labelled window is left: episodes {episodes:?}, {windows_cut} windows cut, dropped \
                 {windows_dropped:?}; `stakeout validate` says why episodes are left out, and window.seconds must be \
                 shorter than an episode"
        )));
    }
    Ok(())
}

impl Dataset {
    /// The data set of some rows alone: nothing is left in it of any other window, nor of an episode, host, sample or
    /// profile that has none of them, calibration stretches of such hosts included. The account still speaks of the
    /// whole store.
    ///
    /// # Errors
    /// [`TrainError::Core`] when a row is out of range.
    pub fn only(&self, rows: &[usize]) -> Result<Self, TrainError> {
        let windows = self.windows.select(rows)?;
        let (classes, window_ns) = (self.index.classes.clone(), self.index.window_ns);
        let mut index = SampleIndex { classes, window_ns, ..SampleIndex::default() };
        let mut interned: [BTreeMap<u32, u32>; 3] = Default::default();
        let mut episodes: BTreeMap<u32, u32> = BTreeMap::new();
        for &row in rows {
            let key = self.index.windows[row];
            let episode = *episodes.entry(key.episode).or_insert_with(|| {
                let old = self.index.episode_of(row);
                let mut intern = |kind: usize, id: u32, from: &[String], to: &mut Vec<String>| {
                    *interned[kind].entry(id).or_insert_with(|| {
                        to.push(from[id as usize].clone());
                        (to.len() - 1) as u32
                    })
                };
                let host = intern(0, old.host, &self.index.hosts, &mut index.hosts);
                let sample = intern(1, old.sample, &self.index.samples, &mut index.samples);
                let profile = intern(2, old.profile, &self.index.profiles, &mut index.profiles);
                index.episodes.push(EpisodeRef { host, sample, profile, ..old.clone() });
                (index.episodes.len() - 1) as u32
            });
            index.windows.push(WindowKey { episode, ..key });
        }
        let calibration: Vec<usize> = (0..self.calibration.hosts.len())
            .filter(|&row| index.hosts.contains(&self.calibration.hosts[row]))
            .collect();
        Ok(Self {
            schema: self.schema.clone(),
            windows,
            calibration: CalibrationWindows {
                windows: self.calibration.windows.select(&calibration)?,
                hosts: calibration.iter().map(|&row| self.calibration.hosts[row].clone()).collect(),
            },
            index,
            account: self.account.clone(),
            simulated: self.simulated,
            corpus: self.corpus.clone(),
            digest: self.digest.clone(),
        })
    }
}

/// The schema that a corpus gives with the view and windows of another one, which it must equal.
pub(crate) fn schema_as(corpus: &Corpus, schema: &Schema) -> Result<Schema, TrainError> {
    let window = stakeout_core::WindowSpec { clock: corpus.window.clock, ..schema.window.clone() };
    let own = stakeout_features::schema(corpus.channels.clone(), schema.view, window, corpus.classes.clone())?;
    schema.check_same(&own)?;
    Ok(own)
}

/// The calibration windows of a store alone.
pub(crate) fn calibration_windows(
    store: &Store,
    schema: &Schema,
    inputs: Inputs,
    degraded: bool,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<CalibrationWindows, TrainError> {
    let mut builder = Builder::new(store.corpus(), schema);
    sweep(store, schema, inputs, degraded, progress, cancel, |swept| builder.add(swept))?;
    let Builder { held, clean_hosts, .. } = builder;
    let clean = match held {
        Held::Memory(parts) => parts.clean,
        Held::Disk(_) => Columns::default(), // only `contents` moves them there
    };
    Ok(CalibrationWindows { windows: clean.into_table(schema, inputs)?.into(), hosts: clean_hosts })
}

/// One episode after the sweep.
pub(crate) struct Swept {
    pub(crate) examined: Examined,
    /// Its windows, where the verdict lets them be used.
    pub(crate) cut: Option<(EpisodeInfo, Cut, Option<i64>)>,
    /// Why it has none although its verdict would let it be used: an absurd span, say.
    pub(crate) refused: Option<FeatureError>,
}

/// Examines and cuts all episodes of a store in order, in bounded memory, and hands each to `take`.
pub(crate) fn sweep(
    store: &Store,
    schema: &Schema,
    inputs: Inputs,
    degraded: bool,
    progress: &dyn Progress,
    cancel: &AtomicBool,
    mut take: impl FnMut(Swept) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let entries = store.entries();
    let total = entries.len() as u64;
    progress.stage("reading episodes", "episodes", total);
    let mut done = 0;
    for chunk in entries.chunks(CHUNK) {
        let swept: Result<Vec<Swept>, TrainError> = chunk
            .par_iter()
            .map_init(CutScratch::default, |scratch, entry| {
                let mut examined = stakeout_telemetry::examine(store, entry, Keep::Trace(&schema.channels))?;
                let usable =
                    examined.verdict == Verdict::Accepted || (degraded && examined.verdict == Verdict::Degraded);
                let trace = examined.trace.take().filter(|_| usable);
                let cut = trace.map(|trace| {
                    let cut = stakeout_features::cut(&trace, schema, inputs, scratch)?;
                    let onset = trace.labels.iter().find(|label| label.class.is_some_and(|class| class > 0));
                    Ok((trace.episode, cut, onset.map(|label| label.t_wall_ns)))
                });
                let (cut, refused) = match cut {
                    None => (None, None),
                    Some(Ok(cut)) => (Some(cut), None),
                    Some(Err(error)) => (None, Some(error)),
                };
                Ok(Swept { examined, cut, refused })
            })
            .collect();
        for swept in swept? {
            take(swept)?;
        }
        done += chunk.len() as u64;
        progress.advance(done, total, "");
        if cancel.load(Ordering::Relaxed) {
            return Err(ModelError::Cancelled.into());
        }
    }
    Ok(())
}

/// Windows of one table, before they become arrays.
#[derive(Default)]
struct Columns {
    summary: Vec<f32>,
    tensor: Vec<f32>,
    lengths: Vec<u32>,
}

impl Columns {
    fn push(&mut self, cut: &Cut, window: usize, schema: &Schema) {
        let geometry = schema.geometry();
        let (features, cells) = (geometry.row_len(InputKind::Summary), geometry.row_len(InputKind::Tensor));
        if let Some(row) = cut.summary.get(window * features..(window + 1) * features) {
            self.summary.extend_from_slice(row);
        }
        if let Some(row) = cut.tensor.get(window * cells..(window + 1) * cells) {
            self.tensor.extend_from_slice(row);
        }
        self.lengths.push(cut.lengths[window]);
    }

    /// Writes all windows; their cut was made with the file's inputs.
    fn write(self, to: &mut StoredWriter) -> Result<(), TrainError> {
        let Self { summary, tensor, lengths } = self;
        let cut = Cut { summary, tensor, lengths, ..Cut::default() };
        Ok((0..cut.lengths.len()).try_for_each(|window| to.push(&cut, window))?)
    }

    fn into_table(self, schema: &Schema, inputs: Inputs) -> Result<WindowTable, TrainError> {
        let (n, geometry) = (self.lengths.len(), schema.geometry());
        let shape = |_| TrainError::Data("windows do not follow their schema".into());
        let summary = inputs
            .summary
            .then(|| Array2::from_shape_vec((n, geometry.features), self.summary))
            .transpose()
            .map_err(shape)?;
        let tensor = inputs
            .tensor
            .then(|| Array3::from_shape_vec((n, geometry.channels, geometry.steps), self.tensor))
            .transpose()
            .map_err(shape)?;
        Ok(WindowTable::new(schema.clone(), summary, tensor, self.lengths)?)
    }
}

/// Windows in memory while they are gathered.
#[derive(Default)]
struct Parts {
    labelled: Columns,
    clean: Columns,
}

impl Parts {
    fn bytes(&self) -> u64 {
        [&self.labelled, &self.clean].map(|part| 4 * (part.summary.len() + part.tensor.len()) as u64).iter().sum()
    }
}

/// Where windows go while they are gathered.
enum Held {
    Memory(Parts),
    Disk(Box<Staged>),
}

/// Which table a window belongs to.
#[derive(Clone, Copy)]
enum Table {
    Labelled,
    Calibration,
}

/// Gathers episodes into a data set.
struct Builder<'a> {
    schema: &'a Schema,
    calibration: Calibration,
    held: Held,
    clean_hosts: Vec<String>,
    /// Start of each host's first usable episode: its calibration stretch counts from there.
    host_start: BTreeMap<String, i64>,
    index: SampleIndex,
    interned: [BTreeMap<String, u32>; 3],
    account: Account,
}

impl<'a> Builder<'a> {
    fn new(corpus: &Corpus, schema: &'a Schema) -> Self {
        Self {
            schema,
            calibration: corpus.calibration,
            held: Held::Memory(Parts::default()),
            clean_hosts: Vec::new(),
            host_start: BTreeMap::new(),
            index: SampleIndex {
                classes: corpus.classes.names().to_vec(),
                window_ns: schema.window.length_ns,
                ..SampleIndex::default()
            },
            interned: Default::default(),
            account: Account::of(corpus),
        }
    }

    /// Moves what was gathered to disk, where the rest follows.
    fn spill(&mut self, mut staged: Staged) -> Result<(), TrainError> {
        if let Held::Memory(Parts { labelled, clean }) =
            std::mem::replace(&mut self.held, Held::Memory(Parts::default()))
        {
            labelled.write(&mut staged.labelled)?;
            clean.write(&mut staged.calibration)?;
        }
        self.held = Held::Disk(Box::new(staged));
        Ok(())
    }

    fn keep(&mut self, table: Table, cut: &Cut, window: usize) -> Result<(), TrainError> {
        match (&mut self.held, table) {
            (Held::Memory(parts), Table::Labelled) => parts.labelled.push(cut, window, self.schema),
            (Held::Memory(parts), Table::Calibration) => parts.clean.push(cut, window, self.schema),
            (Held::Disk(staged), Table::Labelled) => staged.labelled.push(cut, window)?,
            (Held::Disk(staged), Table::Calibration) => staged.calibration.push(cut, window)?,
        }
        Ok(())
    }

    fn add(&mut self, swept: Swept) -> Result<(), TrainError> {
        self.account.add(&swept);
        let Some((info, cut, onset_ns)) = swept.cut else { return Ok(()) };
        let stretch = calibration_stretch(self.calibration, &mut self.host_start, &info);
        let mut episode = None;
        for window in 0..cut.t0_ns.len() {
            let t0_ns = cut.t0_ns[window];
            let end = t0_ns.saturating_add(self.schema.window.length_ns);
            let inside = stretch.is_some_and(|stretch| stretch.0 <= t0_ns && end <= stretch.1);
            let across = stretch.is_some_and(|stretch| stretch.0 < end && t0_ns < stretch.1);
            if inside {
                self.keep(Table::Calibration, &cut, window)?;
                self.clean_hosts.push(info.host.clone());
                self.account.windows_calibration += 1;
            } else if across {
                self.account.drop_windows("across the end of a calibration stretch", 1);
            } else if let Some(label) = cut.labels[window] {
                let episode = *episode.get_or_insert_with(|| self.intern_episode(&info, onset_ns));
                self.keep(Table::Labelled, &cut, window)?;
                self.index.windows.push(WindowKey { episode, t0_ns, label, digest: cut.digests[window] });
                self.account.windows_labelled += 1;
            } else {
                self.account.drop_windows("without a label at the centre", 1);
            }
        }
        Ok(())
    }

    fn intern_episode(&mut self, info: &EpisodeInfo, onset_ns: Option<i64>) -> u32 {
        let mut intern = |kind: usize, name: &str, names: &mut Vec<String>| {
            *self.interned[kind].entry(name.to_owned()).or_insert_with(|| {
                names.push(name.to_owned());
                (names.len() - 1) as u32
            })
        };
        let host = intern(0, &info.host, &mut self.index.hosts);
        let sample = intern(1, &info.sample, &mut self.index.samples);
        let profile = intern(2, &info.profile, &mut self.index.profiles);
        self.index.episodes.push(EpisodeRef {
            id: info.id.clone(),
            host,
            sample,
            profile,
            sample_sha256: info.sample_sha256.clone(),
            given: info.given,
            span: info.span,
            onset_ns,
        });
        (self.index.episodes.len() - 1) as u32
    }
}
