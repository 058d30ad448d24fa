//! What a trace holds.

use stakeout_core::{ChannelSpec, Source, View, channels};
use stakeout_telemetry::{Compression, Keep, Verdict};

use crate::small::{LENGTH, S, Small, T0, examine_all, id};

fn realistic() -> Vec<ChannelSpec> {
    channels::BUILT_IN.iter().map(ChannelSpec::from).filter(|channel| View::Realistic.shows(channel)).collect()
}

#[test]
fn a_trace_holds_the_rows_that_were_written() {
    let channels = realistic();
    for compression in [Compression::Plain, Compression::Zstd] {
        let small = Small::with(1, compression);
        let trace = examine_all(&small.path, Keep::Trace(&channels)).remove(0).trace.unwrap();
        assert_eq!((trace.episode.id, trace.episode.span), (id(0), (T0, T0 + LENGTH)));
        let shape: Vec<_> =
            trace.sources.iter().map(|s| (s.source, s.bucket_ns, s.channels.len(), s.values.len())).collect();
        assert_eq!(
            shape,
            [
                (Source::Proc, 0, 0, 0),
                (Source::Qmp, 0, 0, 0),
                (Source::Guest, 0, 19, 19 * 80),
                (Source::Netflow, S / 10, 10, 10 * 80),
            ]
        );
        let guest = &trace.sources[2];
        assert_eq!(guest.channels, (0..19).collect::<Vec<_>>());
        assert_eq!(guest.t_wall_ns[79], T0 + 79 * S / 2);
        for k in 0..80 {
            for c in 0..19 {
                assert_eq!(guest.values[k * 19 + c], (k * 7 + c) as f64 * 0.5);
            }
        }
        let at =
            |seconds: i64| trace.labels.iter().rev().find(|l| l.t_wall_ns <= T0 + seconds * S).and_then(|l| l.class);
        assert_eq!([at(0), at(9), at(10), at(29), at(39)], [Some(0), Some(0), Some(1), Some(2), Some(3)]);
    }
}

#[test]
fn channels_come_in_the_order_that_was_asked_for_known_or_not() {
    let mut channels = realistic();
    channels.swap(0, 28);
    channels.push(ChannelSpec { name: "guest.new".into(), field: "new".into(), ..channels[1].clone() });
    let small = Small::new();
    let trace = examine_all(&small.path, Keep::Trace(&channels)).remove(0).trace.unwrap();
    let (guest, netflow) = (&trace.sources[2], &trace.sources[3]);
    assert_eq!(guest.channels, (1..19).chain([28, 29]).collect::<Vec<_>>());
    assert_eq!(guest.values[18], 0.0); // guest.cpu_user of the first row
    assert!(guest.values.chunks(20).all(|row| row[19].is_nan()));
    assert_eq!(netflow.channels[0], 0);
    assert_eq!(netflow.values[0], 9.0 * 0.5);
}

#[test]
fn nulls_are_counted_and_no_reason_to_degrade() {
    let small = Small::new();
    small.edit("telemetry-guest.jsonl", |lines| {
        lines[3] = lines[3].replace("\"ctxt\":12", "\"ctxt\":null");
        lines[4] = lines[4].replace("\"ctxt\":15.5,", "");
    });
    let examined = examine_all(&small.path, Keep::Trace(&realistic())).remove(0);
    assert_eq!((examined.verdict, examined.rows.missing_values), (Verdict::Accepted, 2));
    let guest = &examined.trace.unwrap().sources[2];
    assert!(guest.values[3 * 19 + 3].is_nan() && guest.values[4 * 19 + 3].is_nan());
    assert_eq!(guest.values[5 * 19 + 3], 19.0);
}

#[test]
fn a_rejected_trace_is_in_order_and_an_errored_one_is_not_there() {
    let small = Small::new();
    small.edit("telemetry-guest.jsonl", |lines| lines.swap(7, 8));
    let examined = examine_all(&small.path, Keep::Trace(&realistic())).remove(0);
    assert_eq!(examined.verdict, Verdict::Rejected);
    let times = &examined.trace.unwrap().sources[2].t_wall_ns;
    assert_eq!(times.len(), 79);
    assert!(times.is_sorted());
    small.edit("telemetry-guest.jsonl", |lines| lines[0] = "{".into());
    assert_eq!(examine_all(&small.path, Keep::Trace(&realistic()))[0].trace, None);
}
