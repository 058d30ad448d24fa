//! A stream against the same rows as a finished episode.

use proptest::prelude::*;
use stakeout_core::window::SECOND_NS;
use stakeout_core::{
    Batch, ChannelKind, ChannelSpec, EpisodeInfo, InputKind, Schema, Source, SourceRows, Statistic, Trace, View,
    WindowSpec, class,
};
use stakeout_features::live::FAR_STRIDES;
use stakeout_features::{CutScratch, Inputs, Live, Pushed, cut};

use crate::generate;

/// A window as a model is fed with it.
#[derive(Debug, Clone)]
struct Out {
    t0: i64,
    length: u32,
    values: Vec<f32>,
}

impl Out {
    fn of(t0: i64, batch: &Batch) -> Self {
        assert_eq!(batch.rows(), 1);
        Self { t0, length: batch.lengths[0], values: batch.values.clone() }
    }
}

/// Rows of all sources in the order of their times.
fn merged(sources: &[SourceRows]) -> Vec<(i64, Source, &[f64])> {
    let mut rows = Vec::new();
    for source in sources {
        let width = source.channels.len();
        for (row, &t) in source.t_wall_ns.iter().enumerate() {
            rows.push((t, source.source, &source.values[row * width..(row + 1) * width]));
        }
    }
    rows.sort_by_key(|row| row.0);
    rows
}

fn longest_patience(schema: &Schema) -> i64 {
    schema.window.length_ns + FAR_STRIDES * schema.window.stride_ns
}

/// Everything that comes out of a stream whose clock does not move.
fn stream(live: &mut Live, rows: &[(i64, Source, &[f64])]) -> Vec<Out> {
    let (mut out, mut batch) = (Vec::new(), live.batch());
    for &(t, source, values) in rows {
        let pushed = live.push(source, t, values);
        assert!(matches!(pushed, Pushed::Taken | Pushed::Late), "{pushed:?}");
        while let Some(t0) = live.next_window(&mut batch) {
            out.push(Out::of(t0, &batch));
        }
    }
    while let Some(t0) = live.finish(&mut batch) {
        out.push(Out::of(t0, &batch));
    }
    out
}

/// What the episode gives that the rows tell of.
fn whole(schema: &Schema, sources: &[SourceRows], kind: InputKind) -> Vec<Out> {
    let rows = merged(sources);
    let Some(first) = rows.first() else { return Vec::new() };
    let ends = sources.iter().filter_map(|source| source.t_wall_ns.last().map(|t| t + source.bucket_ns.max(1)));
    let span = (first.0, ends.max().expect("a row"));
    let episode = EpisodeInfo { id: "e".into(), span, ..EpisodeInfo::default() };
    let trace = Trace { episode, sources: sources.to_vec(), labels: Vec::new() };
    let cut = cut(&trace, schema, Inputs::of(kind), &mut CutScratch::default()).expect("it can be cut");
    let values = if kind == InputKind::Summary { &cut.summary } else { &cut.tensor };
    let width = schema.geometry().row_len(kind);
    let out = |(window, &t0): (usize, &i64)| {
        let values = values[window * width..(window + 1) * width].to_vec();
        Out { t0, length: cut.lengths[window], values }
    };
    cut.t0_ns.iter().enumerate().map(out).collect()
}

fn bits(out: &[Out]) -> Vec<(i64, u32, Vec<u32>)> {
    out.iter().map(|out| (out.t0, out.length, out.values.iter().map(|value| value.to_bits()).collect())).collect()
}

/// A guest of levels and counters twice a second and flows in buckets of 100 ms, with gaps, beside the grid.
fn lively(seconds: i64) -> (Schema, Vec<SourceRows>) {
    let kinds = [ChannelKind::Level, ChannelKind::Counter, ChannelKind::Level, ChannelKind::Delta, ChannelKind::Delta];
    let channels = kinds.iter().enumerate().map(|(i, kind)| ChannelSpec {
        name: format!("c{i}"),
        source: if i < 3 { Source::Guest } else { Source::Netflow },
        field: format!("f{i}"),
        kind: *kind,
        unit: "u".into(),
        deployable: true,
        about: String::new(),
    });
    let window = WindowSpec { statistics: Statistic::ALL.to_vec(), ..WindowSpec::default() };
    let schema = stakeout_features::schema(channels, View::Realistic, window, class::built_in()).unwrap();
    let wave = |i: i64, width: i64| (0..width).map(move |c| f64::from((i * (c + 3) % 17) as i32) + 0.25 * i as f64);
    let guest: Vec<i64> = (0..2 * seconds).map(|i| 3 * SECOND_NS + i * SECOND_NS / 2 + i % 7 * 1_000_003).collect();
    let flows: Vec<i64> = (0..10 * seconds)
        .filter(|i| i % 13 > 4)
        .map(|i| 3 * SECOND_NS + i * 100_000_000 + i % 5 * 20_000_000)
        .collect();
    let rows = |source, bucket_ns, channels: Vec<usize>, t_wall_ns: Vec<i64>| {
        let width = channels.len() as i64;
        let values = (0..t_wall_ns.len() as i64).flat_map(|i| wave(i, width)).collect();
        SourceRows { source, bucket_ns, channels, t_wall_ns, values }
    };
    let sources =
        vec![rows(Source::Guest, 0, vec![0, 1, 2], guest), rows(Source::Netflow, 100_000_000, vec![3, 4], flows)];
    (schema, sources)
}

fn bucket(source: Source) -> i64 {
    if source == Source::Netflow { 100_000_000 } else { 0 }
}

#[test]
fn of_lively_sources_every_window_is_the_episodes_bit_for_bit() {
    let (schema, sources) = lively(60);
    for kind in [InputKind::Summary, InputKind::Tensor] {
        let expected = whole(&schema, &sources, kind);
        assert_eq!(expected.len(), 10);
        for patience in [2 * SECOND_NS, longest_patience(&schema)] {
            let mut live = Live::new(&schema, kind, bucket, patience).unwrap();
            assert_eq!(bits(&stream(&mut live, &merged(&sources))), bits(&expected), "{kind} {patience}");
            live.restart();
            assert_eq!(bits(&stream(&mut live, &merged(&sources))), bits(&expected), "{kind} once more");
        }
    }
}

#[test]
fn a_window_is_out_with_the_row_that_completes_it_and_a_silent_source_is_waited_for_once() {
    let (schema, sources) = lively(90);
    let mut live = Live::new(&schema, InputKind::Tensor, bucket, 4 * SECOND_NS).unwrap();
    let mut batch = live.batch();
    let stop = 40 * SECOND_NS;
    let mut seen = Vec::new();
    for (t, source, values) in merged(&sources) {
        if source == Source::Guest || t < stop {
            assert_eq!(live.push(source, t, values), Pushed::Taken);
            while let Some(t0) = live.next_window(&mut batch) {
                seen.push((t0, t - (t0 + schema.window.length_ns)));
            }
        }
    }
    assert_eq!(
        seen.iter().map(|seen| seen.0 / SECOND_NS).collect::<Vec<_>>(),
        (1..=16).map(|k| 5 * k).collect::<Vec<_>>()
    );
    for (t0, delay) in seen {
        let end = t0 + schema.window.length_ns;
        let expected = if end == 40 * SECOND_NS { 4 * SECOND_NS } else { 0 };
        assert!((expected..expected + 1_300_000_000).contains(&delay), "the window to {end} came {delay} ns later");
    }
}

#[test]
fn rows_that_come_late_or_go_back_are_told_and_change_no_window_that_is_out() {
    let (schema, _) = lively(1);
    let mut live = Live::new(&schema, InputKind::Tensor, bucket, 0).unwrap();
    let mut batch = live.batch();
    let (guest, flows) = ([1.0, 2.0, 3.0], [4.0, 5.0]);
    let s = SECOND_NS;
    assert_eq!(live.push(Source::Guest, 0, &guest), Pushed::Taken);
    assert_eq!(live.push(Source::Guest, 0, &guest), Pushed::Backwards);
    assert_eq!(live.push(Source::Perf, 0, &[]), Pushed::NotAsked);
    assert_eq!(live.push(Source::Guest, 10 * s, &guest), Pushed::Taken);
    assert_eq!(live.next_window(&mut batch), Some(0));
    assert_eq!(live.next_window(&mut batch), None);
    assert_eq!(live.push(Source::Netflow, 9 * s, &flows), Pushed::Late);
    assert_eq!(live.push(Source::Guest, 15 * s, &guest), Pushed::Taken);
    assert_eq!(live.next_window(&mut batch), Some(5 * s));
    assert!(batch.values[3 * 20 + 8] == 40.0, "the late row is in the next window: {:?}", &batch.values[3 * 20..]);
}

#[test]
fn a_stray_row_is_dropped_and_a_clock_that_moved_starts_anew() {
    let (schema, _) = lively(1);
    let mut live = Live::new(&schema, InputKind::Tensor, bucket, SECOND_NS).unwrap();
    let mut batch = live.batch();
    let (row, s) = ([1.0, 2.0, 3.0], SECOND_NS);
    for t in 0..12 {
        assert_eq!(live.push(Source::Guest, t * s, &row), Pushed::Taken);
    }
    assert_eq!(live.push(Source::Guest, i64::MAX, &row), Pushed::Astray);
    assert_eq!(live.push(Source::Guest, i64::MAX - 1, &row), Pushed::Astray);
    assert_eq!(live.push(Source::Guest, 12 * s, &row), Pushed::Taken);
    assert_eq!(live.next_window(&mut batch), Some(0), "patience is over");
    for away in [900_000, 7] {
        assert_eq!(live.push(Source::Guest, away * s, &row), Pushed::Astray);
        assert_eq!(live.push(Source::Guest, (away + 1) * s, &row), Pushed::Moved);
        while live.finish(&mut batch).is_some() {}
        live.restart();
        assert_eq!(live.push(Source::Guest, (away + 1) * s, &row), Pushed::Taken);
    }
    for t in 9..30 {
        assert_eq!(live.push(Source::Guest, t * s, &row), Pushed::Taken);
    }
    assert_eq!(live.next_window(&mut batch), Some(10 * s));
}

#[test]
fn a_stream_denser_than_any_telemetry_takes_no_more_memory() {
    let (schema, _) = lively(1);
    let mut live = Live::new(&schema, InputKind::Summary, bucket, 0).unwrap();
    let crowded = (0..300_000).filter(|t| live.push(Source::Guest, *t, &[0.0; 3]) == Pushed::Crowded).count();
    assert_eq!(crowded, 300_000 - (1 << 18));
    let mut batch = live.batch();
    assert_eq!(live.push(Source::Guest, 10 * SECOND_NS, &[1.0; 3]), Pushed::Crowded);
    assert_eq!(live.next_window(&mut batch), Some(0));
    assert_eq!(live.push(Source::Guest, 10 * SECOND_NS + 1, &[1.0; 3]), Pushed::Taken);
}

#[test]
fn the_end_of_time_is_an_end() {
    let (schema, _) = lively(1);
    for begin in [i64::MAX, i64::MAX - 10 * SECOND_NS, i64::MAX - 14 * SECOND_NS, 0] {
        let mut live = Live::new(&schema, InputKind::Summary, bucket, 0).unwrap();
        let mut batch = live.batch();
        for t in [begin, begin.saturating_add(12 * SECOND_NS), i64::MAX] {
            live.push(Source::Guest, t, &[0.0; 3]);
            while live.next_window(&mut batch).is_some() {}
        }
        while live.finish(&mut batch).is_some() {}
    }
}

#[test]
fn impossible_streams_are_refused() {
    let (schema, _) = lively(1);
    let refused = |bucket: fn(Source) -> i64, patience| {
        Live::new(&schema, InputKind::Summary, bucket, patience).unwrap_err().to_string()
    };
    assert!(refused(|_| 0, 0).contains("`c3`"));
    assert!(refused(bucket, -1).contains("between 0 and 310 s"));
    assert!(refused(bucket, 311 * SECOND_NS).contains("311 s"));
}

/// Within the rounding of sums that are taken in another order: `large` is the largest value of the channel's window.
fn assert_near(got: f32, expected: f32, large: f32, what: &str) {
    let close = (got - expected).abs() <= 1e-5 * large || got.to_bits() == expected.to_bits();
    assert!(close || (got.is_nan() && expected.is_nan()), "{what}: {got} and {expected}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_patient_stream_gives_the_windows_of_the_episode(
        (schema, trace) in generate::schema().prop_flat_map(generate::trace),
    ) {
        let mut sources = trace.sources;
        for source in &mut sources {
            // rows of one instant: a stream takes the first
            let width = source.channels.len();
            let t = std::mem::take(&mut source.t_wall_ns);
            let values = std::mem::take(&mut source.values);
            for (row, &t) in t.iter().enumerate() {
                if source.t_wall_ns.last() != Some(&t) {
                    source.t_wall_ns.push(t);
                    source.values.extend_from_slice(&values[row * width..(row + 1) * width]);
                }
            }
        }
        let of = |asked: Source| sources.iter().find(|rows| rows.source == asked).map_or(0, |rows| rows.bucket_ns);
        let asked: Vec<_> = sources.iter().filter(|rows| !rows.channels.is_empty()).cloned().collect();
        for kind in [InputKind::Summary, InputKind::Tensor] {
            let mut live = Live::new(&schema, kind, of, longest_patience(&schema)).unwrap();
            let (got, expected) = (stream(&mut live, &merged(&asked)), whole(&schema, &asked, kind));
            let place = |out: &Out| (out.t0, out.length);
            prop_assert_eq!(got.iter().map(place).collect::<Vec<_>>(), expected.iter().map(place).collect::<Vec<_>>());
            let channels = schema.channels.len();
            for (got, expected) in got.iter().zip(&expected) {
                for (i, (got, value)) in got.values.iter().zip(&expected.values).enumerate() {
                    if kind == InputKind::Tensor {
                        prop_assert_eq!(got.to_bits(), value.to_bits());
                        continue;
                    }
                    let at = |statistic: Statistic| {
                        let row = schema.window.statistics.iter().position(|s| *s == statistic).unwrap();
                        expected.values[row * channels + i % channels].abs()
                    };
                    let large = at(Statistic::Min).max(at(Statistic::Max));
                    let statistic = schema.window.statistics[i / channels];
                    // the shortest time between two rows is a nanosecond
                    let large = if statistic == Statistic::Slope { large * 1e9 } else { large };
                    assert_near(*got, *value, large, statistic.name());
                }
            }
        }
    }
}
