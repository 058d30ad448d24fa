//! A live process asks about one window after another: once the first ones have been answered, nothing is allocated.

use serde_json::json;
use stakeout_core::{Batch, Device, FitContext, Labelled, Scratch, Silent, Windows};
use stakeout_kernels::counting::{self, Counting};
use stakeout_models::builtin;
use stakeout_testkit::data::{SmallWindows, small_windows};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_fitted_model_answers_one_window_without_allocating() {
    let SmallWindows { windows, labels } = small_windows(1, 60, 3, 46, 20);
    let weights = vec![1.0; labels.len()];
    let quick = json!({"epochs": 1, "batch_size": 60, "batch_share": 1.0});
    let (registry, mut scratch) = (builtin(), Scratch::default());
    for (kind, config) in [
        ("mlp", json!({ "train": quick })),
        ("cnn", json!({ "train": quick })),
        ("gru", json!({ "train": quick })),
        ("gru", json!({ "train": quick, "hidden": 9, "layers": 2, "bidirectional": true })),
        ("lstm", json!({ "train": quick })),
        ("transformer", json!({ "train": quick })),
        ("gbt", json!({ "rounds": 10, "early_stopping_rounds": 0 })),
    ] {
        let estimator = (registry.get(kind).unwrap().configure)(&config).unwrap();
        let mut cx = FitContext { validation: None, seed: 1, device: Device::default(), observer: &mut Silent };
        let train = Labelled { windows: &windows, labels: &labels, weights: &weights };
        let model = estimator.fit(train, &mut cx).unwrap();
        let mut batch = Batch::new(model.input(), windows.schema().geometry());
        let mut out = vec![0.0; 3];
        // the first round is the warm-up: gaps decide how much room a window takes
        let mut counts = Vec::with_capacity(40);
        for row in (0..20).chain(0..20) {
            windows.gather(&[row], &mut batch).unwrap();
            let before = counting::allocations();
            model.predict_into(&batch, &mut scratch, &mut out).unwrap();
            counts.push(counting::allocations() - before);
        }
        assert!(counts[20..].iter().all(|count| *count == 0), "{kind}: {counts:?}");
        assert!((out.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}
