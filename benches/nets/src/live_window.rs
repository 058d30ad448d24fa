//! Microseconds of one window of a live stream: cut, scaled and answered, as `stakeout predict --stdin` does it.
//!
//! `live_window [MODELS] [SECONDS]`: MODELS is a list with commas out of gbt, mlp, cnn, gru, lstm and transformer, each with
//! its default settings (gbt: 100 rounds), on the 46 built-in channels at about the simulator's rates. One line each: name, then
//! median and least microseconds of the whole and of the answer alone, and how many windows.
//!
//! ```sh
//! cargo build --release -p stakeout-cli -p stakeout-net-steps   # what the binary is built of is not built again
//! target/release/live_window
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use ndarray::{Array2, Array3};
use serde_json::json;
use stakeout_core::{
    BaseModel, ChannelSpec, Device, FitContext, InputKind, Labelled, Moments, Schema, Scratch, Silent, Source, View,
    WindowSpec, WindowTable, channels, class,
};
use stakeout_features::live::{FAR_STRIDES, Live};
use stakeout_features::scale;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

const MODELS: [&str; 6] = ["gbt", "mlp", "cnn", "gru", "lstm", "transformer"];
const BUCKET_NS: i64 = 100_000_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = arguments.first().map_or_else(|| MODELS.join(","), Clone::clone);
    let seconds: f64 = arguments.get(1).map_or(Ok(2.0), |seconds| seconds.parse())?;
    let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
    let schema = stakeout_features::schema(all, View::Oracle, WindowSpec::default(), class::built_in())?;
    for name in asked.split(',') {
        let model = fit(name, &schema)?;
        let [whole, answer] = measure(&*model, &schema, Duration::from_secs_f64(seconds))?;
        let [(median, least), (own_median, own_least)] = [&whole, &answer].map(|times| middle_and_least(times));
        println!("{name},{median:.2},{least:.2},{own_median:.2},{own_least:.2},{}", whole.len());
    }
    Ok(())
}

/// Numbers in ±1; Knuth's MMIX linear congruential generator.
fn draw(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// A model fitted to noise: how long it takes to answer depends on its shape alone.
fn fit(name: &str, schema: &Schema) -> Outcome<Box<dyn BaseModel>> {
    const ROWS: usize = 2000;
    let settings = match name {
        "gbt" => json!({"rounds": 100, "early_stopping_rounds": 0}),
        _ => json!({"train": {"epochs": 1, "batch_share": 1.0}}),
    };
    let estimator = (stakeout_models::builtin().get(name)?.configure)(&settings)?;
    let (geometry, mut state) = (schema.geometry(), 1);
    let (mut summary, mut tensor) = (None, None);
    match estimator.input() {
        InputKind::Summary => {
            summary = Some(Array2::from_shape_fn((ROWS, geometry.features), |_| draw(&mut state)));
        }
        InputKind::Tensor => {
            let shape = (ROWS, geometry.channels, geometry.steps);
            tensor = Some(Array3::from_shape_fn(shape, |_| draw(&mut state)));
        }
    }
    let windows = WindowTable::new(schema.clone(), summary, tensor, vec![geometry.steps as u32; ROWS])?;
    let labels: Vec<u16> = (0..ROWS).map(|row| (row % geometry.classes) as u16).collect();
    let weights = vec![1.0; ROWS];
    let mut cx = FitContext { validation: None, seed: 1, device: Device::default(), observer: &mut Silent };
    Ok(estimator.fit(Labelled { windows: &windows, labels: &labels, weights: &weights }, &mut cx)?)
}

/// Rows of a source a second, about as the simulator writes them.
fn rate(source: Source) -> i64 {
    match source {
        Source::Netflow => 10,
        Source::Proc => 5,
        _ => 2,
    }
}

/// Microseconds of every window that a stream completes, and of its answer.
fn measure(model: &dyn BaseModel, schema: &Schema, budget: Duration) -> Outcome<[Vec<f64>; 2]> {
    let bucket = |source| if source == Source::Netflow { BUCKET_NS } else { 0 };
    let patience = schema.window.length_ns.min(FAR_STRIDES * schema.window.stride_ns);
    let mut live = Live::new(schema, model.input(), bucket, patience)?;
    let moments = scale::moments_len(schema, model.input());
    let moments = Moments { mean: vec![0.5; moments], deviation: vec![2.0; moments] };
    let sources: Vec<(Source, usize)> =
        Source::ALL.map(|source| (source, Live::channels(schema, source).count())).to_vec();
    let (mut batch, mut scratch) = (live.batch(), Scratch::default());
    let mut out = vec![0.0; schema.classes.len()];
    let (mut state, mut tick, mut values) = (7, 0i64, Vec::new());
    let [mut whole, mut answer] = [Vec::new(), Vec::new()];
    let begin = Instant::now();
    while begin.elapsed() < budget || whole.len() < 20 {
        let due = |source: &&(Source, usize)| source.1 > 0 && tick % (10 / rate(source.0)) == 0;
        for &(source, width) in sources.iter().filter(due) {
            values.clear();
            // counters grow
            values.extend((0..width).map(|_| tick as f64 + f64::from(draw(&mut state))));
            live.push(source, tick * BUCKET_NS, &values);
            let start = Instant::now();
            while live.next_window(&mut batch).is_some() {
                scale::apply(&moments, &mut batch);
                let asked = Instant::now();
                model.predict_into(&batch, &mut scratch, &mut out)?;
                let end = Instant::now();
                whole.push((end - start).as_secs_f64() * 1e6);
                answer.push((end - asked).as_secs_f64() * 1e6);
            }
        }
        tick += 1;
    }
    Ok([whole, answer])
}

fn middle_and_least(times: &[f64]) -> (f64, f64) {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}
