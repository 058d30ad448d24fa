//! One fit of MiniRocket on made-up windows, for the cost table of `docs/models.md` and beside aeon's
//! (`benches/peers/minirocket.py`).
//!
//! `rocket_fit WINDOWS CHANNELS STEPS CLASSES [SETTINGS]`: prints one JSON object with seconds of wall clock and process
//! CPU of the fit, of scoring the same windows at once, and of scoring them one by one. SETTINGS is JSON as in
//! `[model.minirocket]`.

use std::error::Error;
use std::time::Instant;

use mimalloc::MiMalloc;
use ndarray::Array3;
use serde_json::json;
use stakeout_core::{
    Batch, ChannelKind, ChannelSpec, ClassList, Device, FitContext, Labelled, Schema, Scratch, Silent, Source, View,
    WindowSpec, WindowTable, Windows,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, channels, steps, classes, settings @ ..] = &arguments[..] else {
        return Err("usage: rocket_fit WINDOWS CHANNELS STEPS CLASSES [SETTINGS]".into());
    };
    let (rows, channels, steps): (usize, usize, usize) = (rows.parse()?, channels.parse()?, steps.parse()?);
    let classes: u16 = classes.parse()?;
    let settings = settings.first().map_or(Ok(json!({})), |settings| settings.parse())?;
    // of two classes the second is rare
    let label =
        |row: usize| if classes == 2 { u16::from(row.is_multiple_of(10)) } else { (row % usize::from(classes)) as u16 };
    let labels: Vec<u16> = (0..rows).map(label).collect();
    let windows = windows(&labels, channels, steps, classes)?;

    let estimator = (stakeout_models::builtin().get("minirocket")?.configure)(&settings)?;
    let weights = vec![1.0; rows];
    let mut silent = Silent;
    let mut cx = FitContext { validation: None, seed: 1, device: Device::default(), observer: &mut silent };
    let train = Labelled { windows: &windows, labels: &labels, weights: &weights };
    let start = Clocks::now();
    let model = estimator.fit(train, &mut cx)?;
    let fit = start.since();
    let start = Clocks::now();
    model.predict(&windows)?;
    let score = start.since();
    let (mut batch, mut scratch) = (Batch::new(model.input(), model.geometry()), Scratch::default());
    let mut out = vec![0.0; usize::from(classes)];
    let start = Clocks::now();
    for row in 0..rows {
        windows.gather(&[row], &mut batch)?;
        model.predict_into(&batch, &mut scratch, &mut out)?;
    }
    println!("{}", json!({ "fit": fit, "score": score, "one_by_one": start.since() }));
    Ok(())
}

/// Noise; every fifth channel rises with the class.
fn windows(labels: &[u16], channels: usize, steps: usize, classes: u16) -> Outcome<WindowTable> {
    let specs = (0..channels).map(|i| ChannelSpec {
        name: format!("guest.input_{i}"),
        source: Source::Guest,
        field: format!("input_{i}"),
        kind: ChannelKind::Level,
        unit: "1".into(),
        deployable: true,
        about: String::new(),
    });
    // a tenth of a second a step
    let window = WindowSpec { length_ns: steps as i64 * 100_000_000, steps: steps as u32, ..WindowSpec::default() };
    let classes = ClassList::try_from((0..classes).map(|class| format!("class-{class}")).collect::<Vec<_>>())?;
    let schema = Schema::new(specs, View::Realistic, window, classes, 1)?;
    // Knuth's MMIX linear congruential generator
    let mut state = 1u64;
    let tensor = Array3::from_shape_fn((labels.len(), channels, steps), |(row, channel, step)| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let slope = if channel % 5 == 0 { 0.03 * f32::from(labels[row]) } else { 0.0 };
        (state >> 40) as f32 / (1u64 << 24) as f32 + slope * step as f32
    });
    Ok(WindowTable::new(schema, None, Some(tensor), vec![steps as u32; labels.len()])?)
}

struct Clocks {
    wall: Instant,
    cpu: f64,
}

impl Clocks {
    fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self { wall: Instant::now(), cpu: now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9 }
    }

    fn since(&self) -> serde_json::Value {
        json!({ "wall": self.wall.elapsed().as_secs_f64(), "cpu": Self::now().cpu - self.cpu })
    }
}
