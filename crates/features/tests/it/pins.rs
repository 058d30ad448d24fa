//! Pinned bytes: what a checkpoint of today must still mean tomorrow.

use stakeout_core::{
    ChannelKind, ChannelSpec, EpisodeInfo, LabelPoint, Partial, Schema, Source, SourceRows, Statistic,
};
use stakeout_core::{Trace, View, WindowSpec, channels, class};
use stakeout_features::{CutScratch, EXTRACTOR_VERSION, Inputs, cut};

#[test]
fn the_built_in_schema() {
    let hash = |view| {
        let all = channels::BUILT_IN.iter().map(ChannelSpec::from);
        stakeout_features::schema(all, view, WindowSpec::default(), class::built_in()).expect("valid").hash()
    };
    let advice = "the built-in schema changed, so every existing checkpoint is refused: if the change is meant, pin the \
                  new hash here and say so in CHANGELOG.md; the extractor version is part of the hash";
    assert_eq!(
        hash(View::Realistic).as_str(),
        "32cbc28d1ff009548efe39a4b1490ab086d54fcefb87ca49e0606d7170e7e864",
        "{advice}"
    );
    assert_eq!(
        hash(View::Oracle).as_str(),
        "8adc2e13857e3a80d71cf84ad75a8a747bb84c549d8c20ebf62bd70a33d769fc",
        "{advice}"
    );
}

#[test]
fn the_kernel_on_a_fixture() {
    let (schema, trace) = fixture();
    let cut = cut(&trace, &schema, Inputs::BOTH, &mut CutScratch::default()).expect("a sound trace");
    let mut hasher = blake3::Hasher::new();
    for value in cut.summary.iter().chain(&cut.tensor) {
        // One pattern for NaN: its sign is not ours to promise.
        let bits = if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
        hasher.update(&bits.to_le_bytes());
    }
    for digest in &cut.digests {
        hasher.update(&digest.to_le_bytes());
    }
    assert_eq!(cut.counts.windows, 12);
    assert_eq!(
        (EXTRACTOR_VERSION, hasher.finalize().to_hex().as_str()),
        (1, "9b4fbfacf920c8f8fd9b32ed9336c346055a56d9439dc3da34e87ce63df2029e"),
        "the extractor's output changed: raise EXTRACTOR_VERSION in crates/features/src/schema.rs, then pin the new \
         version, this digest and the schema hashes here"
    );
}

/// One minute of a guest with a reset and a gap, and of flow buckets with silence; all nine statistics.
fn fixture() -> (Schema, Trace) {
    const S: i64 = 1_000_000_000;
    let channel = |name: &str, source, kind| ChannelSpec {
        name: name.into(),
        source,
        field: name.into(),
        kind,
        unit: "u".into(),
        deployable: true,
        about: String::new(),
    };
    let specs = [
        channel("level", Source::Guest, ChannelKind::Level),
        channel("counter", Source::Guest, ChannelKind::Counter),
        channel("amount", Source::Netflow, ChannelKind::Delta),
    ];
    let window = WindowSpec { statistics: Statistic::ALL.to_vec(), partial: Partial::Mask, ..WindowSpec::default() };
    let schema = stakeout_features::schema(specs, View::Oracle, window, class::built_in()).expect("valid");
    // A small linear congruence: any fixed sequence does.
    let mut state = 1u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut guest = SourceRows {
        source: Source::Guest,
        bucket_ns: 0,
        channels: vec![0, 1],
        t_wall_ns: Vec::new(),
        values: Vec::new(),
    };
    let mut total = 0.0;
    for i in 0..600 {
        if (200..230).contains(&i) {
            continue;
        }
        total = if i == 400 { 0.0 } else { total + draw(1000) as f64 };
        guest.t_wall_ns.push(i * S / 10 + draw(20_000_000) as i64);
        guest.values.push(if draw(50) == 0 { f64::NAN } else { draw(4000) as f64 / 8.0 + 1e6 });
        guest.values.push(total);
    }
    let mut flows = SourceRows {
        source: Source::Netflow,
        bucket_ns: S / 10,
        channels: vec![2],
        t_wall_ns: Vec::new(),
        values: Vec::new(),
    };
    for i in 30..550 {
        if draw(3) == 0 {
            flows.t_wall_ns.push(i * S / 10);
            flows.values.push(draw(1500) as f64);
        }
    }
    let episode = EpisodeInfo { id: "fixture".into(), span: (0, 61 * S), ..EpisodeInfo::default() };
    let labels = vec![LabelPoint { t_wall_ns: 0, class: Some(0) }];
    (schema, Trace { episode, sources: vec![guest, flows], labels })
}
