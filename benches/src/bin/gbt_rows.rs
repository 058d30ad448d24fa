//! Gradient boosting on rows from files, for `benches/peers/gbt.py`.
//!
//! `gbt_rows FOLDER THREADS ROUNDS [SETTINGS]`: reads `xtr.f32`, `ytr.i32`, `xte.f32`, `yte.i32` (little endian,
//! row-major), fits, and prints one JSON object: seconds of wall clock and process CPU of the fit, accuracy and log-loss
//! on the second set, and microseconds to score one window (median over some of the second set). SETTINGS is JSON as in
//! `[model.gbt]` and replaces some of those of the peers, which sample no rows and no inputs.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use mimalloc::MiMalloc;
use ndarray::Array2;
use serde_json::{Value, json};
use stakeout_core::confusion::argmax;
use stakeout_core::{
    BaseModel, Batch, ChannelKind, ChannelSpec, ClassList, Device, FitContext, InputKind, Labelled, Schema, Scratch,
    Silent, Source, Statistic, View, WindowSpec, WindowTable, Windows,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, threads, rounds, settings @ ..] = &arguments[..] else {
        return Err("usage: gbt_rows FOLDER THREADS ROUNDS [SETTINGS]".into());
    };
    let mut config = json!({
        "learning_rate": 0.1, "max_depth": 6, "min_child_weight": 1.0, "lambda": 1.0, "subsample": 1.0,
        "colsample": 1.0, "max_bins": 255, "early_stopping_rounds": 0,
    });
    if let Some(settings) = settings.first() {
        for (key, value) in settings.parse::<Value>()?.as_object().ok_or("SETTINGS is not an object")? {
            config[key] = value.clone();
        }
    }
    config["rounds"] = Value::from(rounds.parse::<usize>()?);
    let folder = Path::new(folder);
    let [train_labels, test_labels] = [labels(folder, "ytr.i32")?, labels(folder, "yte.i32")?];
    let classes = 1 + usize::from(train_labels.iter().chain(&test_labels).copied().max().ok_or("no rows")?);
    let train = windows(folder, "xtr.f32", train_labels.len(), classes)?;
    let test = windows(folder, "xte.f32", test_labels.len(), classes)?;

    let estimator = (stakeout_models::builtin().get("gbt")?.configure)(&config)?;
    let weights = vec![1.0; train_labels.len()];
    let rows = Labelled { windows: &train, labels: &train_labels, weights: &weights };
    let mut silent = Silent;
    let mut cx = FitContext { validation: None, seed: 1, device: Device::default(), observer: &mut silent };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build()?;
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let model = pool.install(|| estimator.fit(rows, &mut cx))?;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);

    let (accuracy, log_loss) = scores(&*model, &test, &test_labels)?;
    let score_us = score_us(&*model, &test)?;
    println!(
        "{}",
        json!({ "wall": wall, "cpu": cpu, "accuracy": accuracy, "log_loss": log_loss, "score_us": score_us })
    );
    Ok(())
}

/// Microseconds to score one window, each of 2,000 after the other.
fn score_us(model: &dyn BaseModel, windows: &WindowTable) -> Outcome<f64> {
    let mut batch = Batch::new(InputKind::Summary, windows.schema().geometry());
    let (mut scratch, mut out) = (Scratch::default(), vec![0.0; windows.schema().geometry().classes]);
    let mut times = Vec::new();
    for row in 0..windows.len().min(2000) {
        windows.gather(&[row], &mut batch)?;
        let start = Instant::now();
        model.predict_into(&batch, &mut scratch, &mut out)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn scores(model: &dyn BaseModel, windows: &WindowTable, labels: &[u16]) -> Outcome<(f64, f64)> {
    let scores = model.predict(windows)?;
    let (mut hits, mut loss) = (0.0, 0.0);
    for (row, label) in scores.rows().into_iter().zip(labels) {
        hits += if argmax(&row.to_vec()) == *label { 1.0 } else { 0.0 };
        loss -= f64::from(row[usize::from(*label)].max(1e-9)).ln();
    }
    let n = labels.len() as f64;
    Ok((hits / n, loss / n))
}

fn labels(folder: &Path, name: &str) -> Outcome<Vec<u16>> {
    let bytes = std::fs::read(folder.join(name))?;
    let numbers = bytes.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().expect("four bytes")));
    Ok(numbers.map(u16::try_from).collect::<Result<_, _>>()?)
}

/// Rows of plain numbers as summaries of one statistic a channel.
fn windows(folder: &Path, name: &str, rows: usize, classes: usize) -> Outcome<WindowTable> {
    let bytes = std::fs::read(folder.join(name))?;
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    let channels = (0..values.len() / rows).map(|i| ChannelSpec {
        name: format!("guest.input_{i}"),
        source: Source::Guest,
        field: format!("input_{i}"),
        kind: ChannelKind::Level,
        unit: "1".into(),
        deployable: true,
        about: String::new(),
    });
    let window = WindowSpec { statistics: vec![Statistic::Mean], ..WindowSpec::default() };
    let classes = ClassList::try_from((0..classes).map(|i| format!("class-{i}")).collect::<Vec<_>>())?;
    let schema = Schema::new(channels, View::Realistic, window, classes, 1)?;
    let summary = Array2::from_shape_vec((rows, values.len() / rows), values)?;
    Ok(WindowTable::new(schema, Some(summary), None, vec![20; rows])?)
}

fn cpu_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}
