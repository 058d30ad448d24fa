//! One fit of MiniRocket on made-up windows of 20 steps, for the cost table of `docs/models.md`.
//!
//! `rocket_fit WINDOWS CHANNELS [SETTINGS]`: prints one JSON object with seconds of wall clock and process CPU of the fit,
//! and of scoring the same windows. SETTINGS is JSON as in `[model.minirocket]`.

use std::error::Error;
use std::time::Instant;

use mimalloc::MiMalloc;
use ndarray::Array3;
use serde_json::json;
use stakeout_core::{
    ChannelKind, ChannelSpec, ClassList, Device, FitContext, Labelled, Schema, Silent, Source, View, WindowSpec,
    WindowTable,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

const STEPS: usize = 20;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, channels, settings @ ..] = &arguments[..] else {
        return Err("usage: rocket_fit WINDOWS CHANNELS [SETTINGS]".into());
    };
    let (rows, channels): (usize, usize) = (rows.parse()?, channels.parse()?);
    let settings = settings.first().map_or(Ok(json!({})), |settings| settings.parse())?;
    let labels: Vec<u16> = (0..rows).map(|row| u16::from(row % 10 == 0)).collect();
    let windows = windows(&labels, channels)?;

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
    println!("{}", json!({ "fit": fit, "score": start.since() }));
    Ok(())
}

/// Noise; in one window of ten every fifth channel rises.
fn windows(labels: &[u16], channels: usize) -> Outcome<WindowTable> {
    let specs = (0..channels).map(|i| ChannelSpec {
        name: format!("guest.input_{i}"),
        source: Source::Guest,
        field: format!("input_{i}"),
        kind: ChannelKind::Level,
        unit: "1".into(),
        deployable: true,
        about: String::new(),
    });
    let window = WindowSpec { steps: STEPS as u32, ..WindowSpec::default() };
    let classes = ClassList::try_from(vec!["still".to_owned(), "rising".to_owned()])?;
    let schema = Schema::new(specs, View::Realistic, window, classes, 1)?;
    // Knuth's MMIX linear congruential generator
    let mut state = 1u64;
    let tensor = Array3::from_shape_fn((labels.len(), channels, STEPS), |(row, channel, step)| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let slope = if labels[row] == 1 && channel % 5 == 0 { 0.03 } else { 0.0 };
        (state >> 40) as f32 / (1u64 << 24) as f32 + slope * step as f32
    });
    Ok(WindowTable::new(schema, None, Some(tensor), vec![STEPS as u32; labels.len()])?)
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
