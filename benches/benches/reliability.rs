//! The reliability store: 1,000 detectors, each on four hosts; load, save, one change with lock, journal and syncs, a shift,
//! a refit of the prior. The files lie in the folder for temporary files: what a sync costs is that disk's.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use stakeout_detect::reliability::{
    By, Change, Evidence, OnDoubt, Paths, Reliability, ReliabilityStore, Verdict, Weighting, save, try_load, update,
};

const DETECTORS: u64 = 1000;
const HOSTS: u64 = 4;

/// Detector d is right on 1 + d mod 9 of ten alerts of each host.
fn fleet() -> ReliabilityStore {
    let mut store = ReliabilityStore::default();
    for d in 0..DETECTORS {
        for h in 0..HOSTS {
            for alert in 0..10 {
                let verdict = if alert <= d % 9 { Verdict::Hit } else { Verdict::FalseAlarm };
                let recorded = store.record(&format!("detector-{d:04}"), Some(&format!("host-{h}")), verdict);
                recorded.expect("names are sound");
            }
        }
    }
    store
}

fn bench(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = fleet();
    store.refit_prior(1);
    let path = folder.path().join("saved.json");
    save(&store, &path).expect("it is written");
    let size = std::fs::metadata(&path).expect("it is there").len() / 1000;
    let mut group = c.benchmark_group(format!("reliability, 1,000 detectors x 4 hosts, {size} kB"));

    group.bench_function("load", |x| x.iter(|| try_load(&path).expect("it is sound")));
    group.bench_function("save", |x| x.iter(|| save(&store, &path).expect("it is written")));
    for (name, start) in [("update", &store), ("update of an empty store", &ReliabilityStore::default())] {
        let paths = Paths::beside(&folder.path().join(name).join("calibration.json"));
        let by = By { who: "bench".into(), why: None, t_wall_ns: 1 };
        std::fs::create_dir_all(folder.path().join(name)).expect("a folder");
        save(start, &paths.store).expect("it is written");
        group.bench_function(name, |x| {
            x.iter(|| {
                let hits = vec!["detector-0500".to_owned()];
                let change = Change::Feedback { hits, false_alarms: Vec::new(), host: Some("host-2".into()) };
                update(&paths, change, &by, OnDoubt::Refuse).expect("it is counted").record.seq
            });
        });
    }
    for (name, weighting) in
        [("shift", Weighting::LogOdds), ("shift, lower bound", Weighting::LowerBound { level: 0.05 })]
    {
        let known = Reliability::new(Evidence::undecayed(&store), store.prior(), weighting).expect("a sound level");
        // Right on nine of ten: the bound is looked for.
        group.bench_function(name, |x| {
            x.iter(|| known.adjust(black_box(0.7), black_box("detector-0503"), Some("host-2")).expect("a probability"));
        });
    }
    group.sample_size(10).bench_function("refit the prior", |x| {
        x.iter(|| {
            let mut store = store.clone();
            store.refit_prior(2);
            store
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
