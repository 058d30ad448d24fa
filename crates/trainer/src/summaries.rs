//! The summaries of a store's windows, episode by episode: for detectors that learn what is normal, and know no class.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use stakeout_core::{EpisodeInfo, Schema};
use stakeout_features::Inputs;
use stakeout_telemetry::{Calibration, Store};

use crate::dataset::{schema_as, sweep};
use crate::{Account, Progress, Reading, TrainError};

/// A store and what its windows hold.
pub struct Summaries {
    store: Store,
    /// What the windows hold.
    pub schema: Schema,
}

/// What is known of a window's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Inside its host's calibration stretch.
    Calibration,
    /// The class at its centre; 0 is the clean one.
    Class(u16),
    /// No label.
    Unknown,
}

/// The windows of one episode, in time order.
#[derive(Debug)]
pub struct EpisodeWindows<'a> {
    /// Whose they are.
    pub episode: &'a EpisodeInfo,
    /// Start of each window in `t_wall_ns`.
    pub t0_ns: &'a [i64],
    /// What is known of each.
    pub states: &'a [State],
    /// Windows × features.
    pub values: &'a [f32],
}

impl Summaries {
    /// A store read with the given view and windows.
    ///
    /// # Errors
    /// When the store cannot be opened or the settings break a rule.
    pub fn open(path: &Path, reading: &Reading<'_>) -> Result<Self, TrainError> {
        let store = Store::open(path)?;
        let corpus = store.corpus();
        let window = reading.window.over(&corpus.window)?;
        let schema = stakeout_features::schema(corpus.channels.clone(), reading.view, window, corpus.classes.clone())?;
        Ok(Self { store, schema })
    }

    /// A store read as another one was.
    ///
    /// # Errors
    /// When the store cannot be opened, or its channels or classes are not the schema's.
    pub fn open_as(path: &Path, schema: &Schema) -> Result<Self, TrainError> {
        let store = Store::open(path)?;
        let schema = schema_as(store.corpus(), schema)?;
        Ok(Self { store, schema })
    }

    /// Whether the store was simulated.
    pub fn simulated(&self) -> bool {
        self.store.corpus().simulated
    }

    /// Hands the windows of every usable episode to `take`, in the order of the store, which is that of time within a
    /// host; what was read is accounted for.
    ///
    /// # Errors
    /// When an episode cannot be read, `take` fails, or the work is cancelled.
    pub fn each(
        &self,
        degraded: bool,
        progress: &dyn Progress,
        cancel: &AtomicBool,
        mut take: impl FnMut(&EpisodeWindows<'_>) -> Result<(), TrainError>,
    ) -> Result<Account, TrainError> {
        let corpus = self.store.corpus();
        let inputs = Inputs { summary: true, tensor: false };
        let mut account = Account::of(corpus);
        let mut host_start = BTreeMap::new();
        let length = self.schema.window.length_ns;
        sweep(&self.store, &self.schema, inputs, degraded, progress, cancel, |swept| {
            account.add(&swept);
            let Some((info, cut, _)) = swept.cut else { return Ok(()) };
            let stretch = calibration_stretch(corpus.calibration, &mut host_start, &info);
            let state = |(&t0, &label): (&i64, &Option<u16>)| {
                let inside = stretch.is_some_and(|(start, end)| start <= t0 && t0.saturating_add(length) <= end);
                if inside { State::Calibration } else { label.map_or(State::Unknown, State::Class) }
            };
            let states: Vec<State> = cut.t0_ns.iter().zip(&cut.labels).map(state).collect();
            take(&EpisodeWindows { episode: &info, t0_ns: &cut.t0_ns, states: &states, values: &cut.summary })
        })?;
        Ok(account)
    }
}

/// The part of an episode that is its host's calibration: [start, end). Windows inside it are calibration, windows across
/// an end are in nothing. `host_start` is kept between the episodes of a store, in their order.
pub(crate) fn calibration_stretch(
    calibration: Calibration,
    host_start: &mut BTreeMap<String, i64>,
    info: &EpisodeInfo,
) -> Option<(i64, i64)> {
    match calibration {
        Calibration::None => None,
        Calibration::Declared => info.calibration.then_some((i64::MIN, i64::MAX)),
        Calibration::First { ns } => {
            // Episodes come in the order of their ids, which begin with their start time.
            let start = *host_start.entry(info.host.clone()).or_insert(info.span.0);
            Some((start, start.saturating_add(ns)))
        }
    }
}
