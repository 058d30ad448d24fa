//! Tiny data for the tests of nets.

use ndarray::{Array2, Array3, s};
use rand_xoshiro::Xoshiro256PlusPlus;
use stakeout_core::{
    Batch, ChannelKind, ChannelSpec, ClassList, EpochRecord, FitObserver, InputKind, Labelled, ModelError, Schema,
    Source, View, WindowSpec, WindowTable, Windows,
};

use super::rng::{self, Purpose, generator};

/// A number in [-1, 1).
pub(crate) fn signed(rng: &mut Xoshiro256PlusPlus) -> f32 {
    rng::unit(rng).mul_add(2.0, -1.0)
}

/// A schema of any size.
pub(crate) fn schema(channels: usize, steps: u32, classes: usize) -> Schema {
    let channels = (0..channels).map(|i| ChannelSpec {
        name: format!("guest.c{i}"),
        source: Source::Guest,
        field: format!("c{i}"),
        kind: ChannelKind::Level,
        unit: "1".into(),
        deployable: true,
        about: String::new(),
    });
    let window = WindowSpec { length_ns: i64::from(steps) * 1000, steps, ..WindowSpec::default() };
    let classes = ClassList::try_from((0..classes).map(|i| format!("class{i}")).collect::<Vec<_>>()).unwrap();
    Schema::new(channels, View::Realistic, window, classes, 1).unwrap()
}

/// Windows whose class shows in where the rise of a channel lies, with noise, gaps and some short windows.
pub(crate) struct Toy {
    pub(crate) table: WindowTable,
    pub(crate) labels: Vec<u16>,
    pub(crate) weights: Vec<f32>,
}

impl Toy {
    pub(crate) fn new(n: usize, seed: u64) -> Self {
        const CHANNELS: usize = 4;
        const STEPS: usize = 6;
        const CLASSES: usize = 3;
        let mut rng = generator(seed, Purpose::Order, 99);
        let mut values = Array3::zeros((n, CHANNELS, STEPS));
        let (mut labels, mut lengths) = (Vec::new(), Vec::new());
        for row in 0..n {
            let class = row % CLASSES;
            for channel in 0..CHANNELS {
                for step in 0..STEPS {
                    let signal = if channel == class && step >= 2 { 1.0 } else { 0.0 };
                    let gap = rng::unit(&mut rng) < 0.1;
                    let noise = 0.6 * signed(&mut rng);
                    values[[row, channel, step]] = if gap { f32::NAN } else { signal + noise };
                }
            }
            labels.push(class as u16);
            lengths.push(if rng::unit(&mut rng) < 0.2 { 4 } else { STEPS as u32 });
        }
        // the summary: the mean of what was seen, then some of the values themselves, gaps included
        let schema = schema(CHANNELS, STEPS as u32, CLASSES);
        let mut summary = Array2::zeros((n, schema.geometry().features));
        for ((row, feature), value) in summary.indexed_iter_mut() {
            let series = values.slice(s![row, feature % CHANNELS, ..]);
            let seen: Vec<f32> = series.iter().copied().filter(|v: &f32| !v.is_nan()).collect();
            let mean = seen.iter().sum::<f32>() / seen.len().max(1) as f32;
            *value = if feature < CHANNELS { mean } else { series[feature / CHANNELS] };
        }
        let table = WindowTable::new(schema, Some(summary), Some(values), lengths).unwrap();
        let weights = (0..n).map(|row| if row % CLASSES == 0 { 0.5 } else { 1.25 }).collect();
        Self { table, labels, weights }
    }

    pub(crate) fn side(&self) -> Labelled<'_> {
        Labelled { windows: &self.table, labels: &self.labels, weights: &self.weights }
    }

    pub(crate) fn batch(&self, kind: InputKind, rows: &[usize]) -> Batch {
        let mut batch = Batch::new(kind, self.table.schema().geometry());
        self.table.gather(rows, &mut batch).unwrap();
        batch
    }
}

/// Keeps everything that a fit reports, and can interrupt it.
#[derive(Default)]
pub(crate) struct Notebook {
    pub(crate) records: Vec<EpochRecord>,
    pub(crate) notes: Vec<String>,
    pub(crate) states: Vec<Vec<u8>>,
    pub(crate) start: Option<Vec<u8>>,
    pub(crate) steps: u64,
    pub(crate) stop_after: Option<u64>,
}

impl FitObserver for Notebook {
    fn progress(&mut self, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
        self.steps += 1;
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), ModelError> {
        self.records.push(record.clone());
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|steps| self.steps >= steps)
    }

    fn save_state(&mut self, state: &[u8]) -> Result<(), ModelError> {
        self.states.push(state.to_vec());
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(self.start.clone())
    }
}
