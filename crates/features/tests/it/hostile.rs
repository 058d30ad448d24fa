//! Traces that no sound reader makes: errors that name the episode, the source and the remedy; never a panic.

use stakeout_core::{
    ChannelKind, ChannelSpec, EpisodeInfo, Schema, Source, SourceRows, Trace, View, WindowSpec, class,
};
use stakeout_features::{CutScratch, Inputs, cut};

fn schema(kind: ChannelKind) -> Schema {
    let channel = ChannelSpec {
        name: "netflow.octets".into(),
        source: Source::Netflow,
        field: "octets".into(),
        kind,
        unit: "byte".into(),
        deployable: true,
        about: String::new(),
    };
    stakeout_features::schema([channel], View::Oracle, WindowSpec::default(), class::built_in())
        .expect("a valid schema")
}

fn trace(span: (i64, i64), t_wall_ns: Vec<i64>) -> Trace {
    let values = vec![1.0; t_wall_ns.len()];
    let rows = SourceRows { source: Source::Netflow, bucket_ns: 100_000_000, channels: vec![0], t_wall_ns, values };
    let episode = EpisodeInfo { id: "EPISODE".into(), span, ..EpisodeInfo::default() };
    Trace { episode, sources: vec![rows], labels: Vec::new() }
}

fn error(trace: &Trace, kind: ChannelKind) -> String {
    cut(trace, &schema(kind), Inputs::BOTH, &mut CutScratch::default()).expect_err("a hostile trace").to_string()
}

const HOUR: i64 = 3_600_000_000_000;

#[test]
fn faults_are_named() {
    let sound = trace((0, HOUR), vec![0, 5, 9]);
    let check = |change: fn(&mut Trace), expected: &str| {
        let mut hostile = sound.clone();
        change(&mut hostile);
        let error = error(&hostile, ChannelKind::Delta);
        assert!(error.contains("EPISODE") && error.contains(expected), "{error}");
    };
    check(|t| t.sources[0].values.push(1.0), "source netflow: 4 values do not make 3 rows of 1 columns");
    check(|t| t.sources[0].t_wall_ns.swap(0, 2), "rows are not in time order");
    check(|t| t.sources[0].channels[0] = 7, "column of channel 7, but the schema has 1");
    check(|t| t.sources[0].bucket_ns = 0, "the source needs the length of its bucket");
    check(|t| t.episode.span.1 = i64::MAX, "window.max_per_episode");
    check(|t| (t.episode.span.1, t.sources[0].t_wall_ns[2]) = (900 * HOUR, 900 * HOUR), "buckets of a source");
}

#[test]
fn extreme_times_neither_overflow_nor_fill_silence_outside_the_span() {
    for kind in [ChannelKind::Level, ChannelKind::Counter, ChannelKind::Delta] {
        for times in [vec![i64::MIN, 0, 1, i64::MAX], vec![i64::MIN; 3], vec![i64::MAX; 2], vec![i64::MIN, i64::MAX]] {
            for span in [(0, HOUR), (i64::MIN, i64::MIN + HOUR), (i64::MAX - HOUR, i64::MAX), (HOUR, -HOUR)] {
                let hostile = trace(span, times.clone());
                let cut = cut(&hostile, &schema(kind), Inputs::BOTH, &mut CutScratch::default()).expect("few windows");
                assert!(cut.counts.windows <= 720);
            }
        }
    }
}

#[test]
fn too_many_values_are_refused_before_they_are_allocated() {
    let mut schema = schema(ChannelKind::Level);
    schema.window.steps = 100_000;
    let hostile = trace((0, 100_000 * HOUR), Vec::new());
    let error = cut(&hostile, &schema, Inputs::BOTH, &mut CutScratch::default());
    assert!(error.is_err());
    schema.window.stride_ns = 5 * HOUR;
    let summary = Inputs { summary: true, tensor: false };
    let error = cut(&hostile, &schema, summary, &mut CutScratch::default()).expect_err("too large").to_string();
    assert!(error.contains("number of values"), "{error}");
}
