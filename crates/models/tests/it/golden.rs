//! One tiny checkpoint per format version and model must always load, and say what it said when it was made.
//!
//! They were made by `stakeout train` on a simulated store with a handful of weights. When one no longer loads, the
//! reader of the old version is broken: mend the reader, never the file.

use std::path::Path;

use stakeout_core::{Batch, Checkpoint, Device, Scratch};

/// Windows that do not depend on any generator: a sawtooth with every eleventh value missing.
fn windows(model: &dyn stakeout_core::BaseModel) -> Batch {
    let mut batch = Batch::new(model.input(), model.geometry());
    batch.reset(3);
    for (i, value) in batch.values.iter_mut().enumerate() {
        if i % 11 != 0 {
            *value = ((i * 37) % 101) as f32 / 50.0 - 1.0;
        }
    }
    batch
}

#[test]
fn checkpoints_of_format_1_load_and_predict_what_they_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/golden");
    let registry = stakeout_models::builtin();
    for kind in [
        "cnn",
        "constant",
        "extra-trees",
        "forest",
        "gbt",
        "gru",
        "knn",
        "logistic",
        "lstm",
        "minirocket",
        "mlp",
        "transformer",
        "tree",
    ] {
        let path = folder.join(format!("format-1-{kind}.stk"));
        let (header, model) = Checkpoint::load(&path, &registry, Device::Flex).unwrap();
        assert_eq!(header.kind.as_str(), kind);
        assert!(header.simulated);
        let batch = windows(&*model);
        let mut scores = vec![0.0; batch.rows() * model.geometry().classes];
        model.predict_into(&batch, &mut Scratch::default(), &mut scores).unwrap();
        let text = std::fs::read_to_string(folder.join(format!("format-1-{kind}.json"))).unwrap();
        let expected: Vec<f32> = serde_json::from_str(&text).unwrap();
        assert_eq!(scores.len(), expected.len(), "{kind}: {scores:?}");
        for (score, expected) in scores.iter().zip(&expected) {
            assert!((score - expected).abs() < 1e-5, "{kind}: {score} was {expected}; all: {scores:?}");
        }
    }
}
