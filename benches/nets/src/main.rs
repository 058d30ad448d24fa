//! Milliseconds of a training step and of one prediction of the nets, as `fit` and `predict_into` make them: a batch is
//! gathered, filled and augmented (not at all, by default), run forwards and backwards, and the optimiser steps.
//!
//! `net_steps [NAMES] [SECONDS] [BATCHES]`: NAMES and BATCHES are lists with commas, `all` takes every name. One line each:
//! name, `train` or `infer`, batch, median and least milliseconds, repetitions, and mean milliseconds of all threads' processor
//! time (Linux; what a busy machine disturbs least).
//!
//! ```sh
//! cargo build --release -p stakeout-cli -p stakeout-net-steps   # what the binary is built of is not built again
//! RAYON_NUM_THREADS=2 target/release/net_steps gru,lstm 2
//! ```
//!
//! A package of its own: with the other benches beside it, cargo picks other features of some small crates, and everything
//! that stands on them is built again, burn included.

use std::error::Error;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use ndarray::{Array2, Array3};
use serde_json::{Value, json};
use stakeout_core::{
    BaseModel, Batch, ChannelKind, ChannelSpec, ClassList, Device, EpochRecord, FitContext, FitObserver, Labelled,
    ModelError, Schema, Scratch, Source, View, WindowSpec, WindowTable, Windows,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A net at a length of windows, with the widths of the peers' script.
struct Subject {
    name: &'static str,
    kind: &'static str,
    steps: u32,
    channels: usize,
    settings: fn() -> Value,
}

const fn subject(name: &'static str, kind: &'static str, steps: u32, settings: fn() -> Value) -> Subject {
    Subject { name, kind, steps, channels: 46, settings }
}

const SUBJECTS: &[Subject] = &[
    // 92 channels × 5 statistics, each beside whether it was missing: 920 inputs, none of which is always zero
    Subject {
        name: "mlp",
        kind: "mlp",
        steps: 20,
        channels: 92,
        settings: || json!({"hidden": 256, "layers": 2, "dropout": 0.0}),
    },
    subject("cnn", "cnn", 20, || json!({"filters": [64, 64, 64], "kernels": [5, 5, 5], "dropout": 0.0})),
    subject("gru", "gru", 20, || json!({"hidden": 64, "dropout": 0.0})),
    subject("lstm", "lstm", 20, || json!({"hidden": 64, "dropout": 0.0})),
    subject("transformer", "transformer", 20, || json!({"width": 64, "layers": 2, "dropout": 0.0})),
    subject("cnn_t100", "cnn", 100, || json!({"filters": [64, 64, 64], "kernels": [5, 5, 5], "dropout": 0.0})),
    subject("gru_t100", "gru", 100, || json!({"hidden": 64, "dropout": 0.0})),
    subject("lstm_t100", "lstm", 100, || json!({"hidden": 64, "dropout": 0.0})),
    subject("transformer_t100", "transformer", 100, || json!({"width": 64, "layers": 2, "dropout": 0.0})),
];
const CLASSES: usize = 8;
/// Steps before the clock counts.
const WARM_UP: usize = 10;
/// Predictions between two looks at the clock.
const REPEAT: usize = 100;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, otherwise: &str| arguments.get(at).map_or(otherwise, String::as_str).to_owned();
    let (names, seconds, batches) = (argument(0, "all"), argument(1, "2"), argument(2, "64,256"));
    let budget = Duration::from_secs_f64(seconds.parse()?);
    let batches = batches.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let mut known = names.split(',').filter(|name| *name != "all" && SUBJECTS.iter().all(|s| s.name != *name));
    if let Some(name) = known.next() {
        let all: Vec<&str> = SUBJECTS.iter().map(|subject| subject.name).collect();
        return Err(format!("no net `{name}`: all, or some of {}", all.join(",")).into());
    }
    for subject in SUBJECTS.iter().filter(|s| names == "all" || names.split(',').any(|name| name == s.name)) {
        let mut model = None;
        for batch in &batches {
            let windows = subject.windows(batch * 40)?;
            let mut observer = Clock::new(budget);
            model = Some(subject.fit(&windows, *batch, 1, &mut Clock::new(Duration::MAX))?);
            let _ = subject.fit(&windows, *batch, 10_000, &mut observer); // until the time is over
            let busy = observer.busy / observer.times.len() as f64;
            print(subject.name, "train", *batch, &mut observer.times, busy);
        }
        let windows = subject.windows(64)?;
        if let Some(model) = model {
            let (before, mut times) = (busy(), predictions(model.as_ref(), &windows, budget / 2)?);
            let busy = (busy() - before) / (times.len() * REPEAT) as f64;
            print(subject.name, "infer", 1, &mut times, busy);
        }
    }
    Ok(())
}

fn print(name: &str, work: &str, batch: usize, times: &mut [f64], busy: f64) {
    times.sort_by(f64::total_cmp);
    let milliseconds = |at: usize| times.get(at).map_or(f64::NAN, |seconds| seconds * 1e3);
    let (median, least) = (milliseconds(times.len() / 2), milliseconds(0));
    println!("{name},{work},{batch},{median:.5},{least:.5},{},{:.5}", times.len(), busy * 1e3);
}

/// Seconds that the threads of this process have run; NaN where nobody says.
fn busy() -> f64 {
    let run = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("schedstat")).ok();
    let nanoseconds = |stat: String| stat.split(' ').next()?.parse::<f64>().ok();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let total: f64 = tasks.filter_map(|task| nanoseconds(run(task)?)).sum();
    if total > 0.0 { total * 1e-9 } else { f64::NAN }
}

impl Subject {
    /// Windows of noise, with classes in turn. Summaries have a gap in every sixteenth place: a column of zeros would cost
    /// nothing.
    fn windows(&self, rows: usize) -> Outcome<WindowTable> {
        let specs = (0..self.channels).map(|i| ChannelSpec {
            name: format!("guest.input_{i}"),
            source: Source::Guest,
            field: format!("input_{i}"),
            kind: ChannelKind::Level,
            unit: "1".into(),
            deployable: true,
            about: String::new(),
        });
        let window = WindowSpec { steps: self.steps, ..WindowSpec::default() };
        let classes = ClassList::try_from((0..CLASSES).map(|class| format!("class-{class}")).collect::<Vec<_>>())?;
        let schema = Schema::new(specs, View::Realistic, window, classes, 1)?;
        // Knuth's MMIX linear congruential generator
        let mut state = 1u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let (features, steps) = (schema.geometry().features, self.steps as usize);
        let lengths = vec![self.steps; rows];
        Ok(match self.kind {
            "mlp" => {
                let summary =
                    Array2::from_shape_fn(
                        (rows, features),
                        |(row, feature)| {
                            if (row + feature) % 16 == 0 { f32::NAN } else { draw() }
                        },
                    );
                WindowTable::new(schema, Some(summary), None, lengths)?
            }
            _ => {
                let tensor = Array3::from_shape_fn((rows, self.channels, steps), |_| draw());
                WindowTable::new(schema, None, Some(tensor), lengths)?
            }
        })
    }

    fn fit(
        &self,
        windows: &WindowTable,
        batch: usize,
        epochs: usize,
        observer: &mut Clock,
    ) -> Result<Box<dyn BaseModel>, ModelError> {
        let mut settings = (self.settings)();
        settings["train"] = json!({"epochs": epochs, "batch_size": batch, "batch_share": 1.0, "learning_rate": 1e-3});
        let estimator = (stakeout_models::builtin().get(self.kind)?.configure)(&settings)?;
        let labels: Vec<u16> = (0..windows.len()).map(|row| (row % CLASSES) as u16).collect();
        let weights = vec![1.0; windows.len()];
        let mut cx = FitContext { validation: None, seed: 1, device: Device::default(), observer };
        estimator.fit(Labelled { windows, labels: &labels, weights: &weights }, &mut cx)
    }
}

/// Seconds of one prediction after another, each of a hundred windows one by one.
fn predictions(model: &dyn BaseModel, windows: &WindowTable, budget: Duration) -> Outcome<Vec<f64>> {
    let kind = model.input();
    let batches = (0..windows.len()).map(|row| {
        let mut batch = Batch::new(kind, windows.schema().geometry());
        windows.gather(&[row], &mut batch).map(|()| batch)
    });
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    let (mut scratch, mut out) = (Scratch::default(), vec![0.0; CLASSES]);
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < budget || times.len() < WARM_UP {
        let start = Instant::now();
        for batch in batches.iter().cycle().take(REPEAT) {
            model.predict_into(batch, &mut scratch, &mut out)?;
        }
        times.push(start.elapsed().as_secs_f64() / REPEAT as f64);
    }
    Ok(times)
}

/// Seconds between one step and the next, until the time is over.
struct Clock {
    budget: Duration,
    begin: Instant,
    last: Option<Instant>,
    steps: usize,
    times: Vec<f64>,
    /// Processor seconds before the first step that counts, and in all that count.
    start: f64,
    busy: f64,
}

impl Clock {
    fn new(budget: Duration) -> Self {
        Self { budget, begin: Instant::now(), last: None, steps: 0, times: Vec::new(), start: 0.0, busy: 0.0 }
    }
}

impl FitObserver for Clock {
    fn progress(&mut self, _done: u64, _total: u64) {
        let now = Instant::now();
        self.steps += 1;
        if self.steps == WARM_UP {
            self.start = busy();
        }
        if let Some(last) = self.last.replace(now).filter(|_| self.steps > WARM_UP) {
            self.times.push((now - last).as_secs_f64());
        }
        if self.begin.elapsed() > self.budget {
            self.busy = busy() - self.start;
        }
    }

    fn epoch(&mut self, _record: &EpochRecord) -> Result<(), ModelError> {
        Ok(())
    }

    fn cancelled(&self) -> bool {
        self.begin.elapsed() > self.budget && self.times.len() >= WARM_UP
    }

    fn save_state(&mut self, _state: &[u8]) -> Result<(), ModelError> {
        Ok(())
    }

    fn load_state(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        Ok(None)
    }
}
