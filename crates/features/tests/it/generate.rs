//! Random schemas and traces: short grids with rows on, one nanosecond before and one after every edge.

use proptest::prelude::*;
use stakeout_core::{
    ChannelKind, ChannelSpec, EpisodeInfo, LabelPoint, Partial, Schema, Source, SourceRows, Statistic, Trace, View,
    WindowSpec, class,
};

const KINDS: [ChannelKind; 3] = [ChannelKind::Level, ChannelKind::Counter, ChannelKind::Delta];

/// A schema of `guest` and `netflow` channels of random kinds.
pub(crate) fn schema() -> impl Strategy<Value = Schema> {
    let kinds = prop::collection::vec(0..3usize, 2..14);
    // Units of time: a nanosecond puts every row near an edge, the others are what telemetry looks like.
    let unit = prop::sample::select(vec![1i64, 1_000, 500_000_000]);
    let max = prop_oneof![3 => Just(0u32), 1 => 1..5u32];
    (kinds, unit, 1..6i64, 1..6u32, 1..40i64, any::<bool>(), max).prop_map(
        |(kinds, unit, step, steps, stride, mask, max_per_episode)| {
            let channels = kinds.iter().enumerate().map(|(i, &kind)| ChannelSpec {
                name: format!("c{i}"),
                source: if i % 3 == 0 { Source::Netflow } else { Source::Guest },
                field: format!("f{i}"),
                kind: KINDS[kind],
                unit: "u".into(),
                deployable: true,
                about: String::new(),
            });
            let window = WindowSpec {
                length_ns: unit * step * i64::from(steps),
                stride_ns: unit * stride,
                steps,
                max_per_episode,
                partial: if mask { Partial::Mask } else { Partial::Drop },
                statistics: Statistic::ALL.to_vec(),
                ..WindowSpec::default()
            };
            stakeout_features::schema(channels, View::Oracle, window, class::built_in()).expect("a valid schema")
        },
    )
}

/// A trace for a schema: gaps, duplicates, resets, missing and non-finite values, rows outside the span.
pub(crate) fn trace(schema: Schema) -> impl Strategy<Value = (Schema, Trace)> {
    let unit = schema.window.step_ns().min(schema.window.stride_ns);
    let of = |source: Source| {
        let columns: Vec<usize> = (0..schema.channels.len()).filter(|&c| schema.channels[c].source == source).collect();
        let width = columns.len();
        // Rows within a tensor step, at its edges and one nanosecond beside them, seldom far away.
        let gap = prop_oneof![4 => 0..4i64, 4 => Just(4), 1 => 4..12i64, 1 => 40..60i64];
        let row = (gap, -1..2i64, prop::collection::vec(value(), width));
        let share_observed = prop_oneof![Just(1.0), Just(0.7), Just(0.0)];
        let rows = prop::collection::vec(row, 0..180usize);
        (rows, 1..4i64, share_observed, any::<bool>()).prop_map(move |(rows, bucket, share_observed, walks)| {
            let mut t = 0;
            let mut at = Vec::new();
            let mut values = Vec::new();
            let mut total = vec![0.0; width];
            for (gap, beside, row) in rows {
                t += gap * unit / 4;
                at.push(t + beside);
                for (column, (value, draw)) in row.into_iter().enumerate() {
                    total[column] += if value.is_finite() { f64::abs(value) } else { 0.0 };
                    let value = if walks { total[column] } else { value };
                    values.push(if draw < share_observed { value } else { f64::NAN });
                }
            }
            at.sort_unstable();
            SourceRows {
                source,
                bucket_ns: (bucket * unit / 2).max(1),
                channels: columns.clone(),
                t_wall_ns: at,
                values,
            }
        })
    };
    let sources = (of(Source::Guest), of(Source::Netflow));
    let labels = prop::collection::vec((0..60i64, prop::option::of(0..5u16)), 0..4);
    (sources, labels, -20..20i64, 0..120i64, -40..40i64).prop_map(
        move |((guest, netflow), labels, begin, len, shift)| {
            let shift = shift * schema.window.stride_ns;
            let mut sources = vec![guest, netflow];
            for source in &mut sources {
                source.t_wall_ns.iter_mut().for_each(|t| *t += shift);
            }
            let mut labels: Vec<_> =
                labels.into_iter().map(|(t, class)| LabelPoint { t_wall_ns: shift + t * unit, class }).collect();
            labels.sort_by_key(|label| label.t_wall_ns);
            let begin = shift + begin * unit / 2;
            let episode = EpisodeInfo { id: "e".into(), span: (begin, begin + len * unit), ..EpisodeInfo::default() };
            (schema.clone(), Trace { episode, sources, labels })
        },
    )
}

/// A value and a number in `[0, 1)` that decides whether it is observed.
fn value() -> impl Strategy<Value = (f64, f64)> {
    let value = prop_oneof![
        8 => (-3..4i8).prop_map(f64::from),
        4 => -1e3..1e3f64,
        2 => (0..9u8).prop_map(|v| 1e9 + 64.0 * f64::from(v)),
        1 => prop::sample::select(vec![0.0, -0.0, 1e30, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300]),
    ];
    (value, (0u32..1 << 20).prop_map(|i| 0.0 + f64::from(i) * (1.0 / 1_048_576.0)))
}
