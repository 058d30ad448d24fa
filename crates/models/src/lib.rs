//! Windows to class probabilities: the model zoo, one file a model.
//!
//! Everything here stands behind [`Estimator`](stakeout_core::Estimator) and [`BaseModel`](stakeout_core::BaseModel):
//! no caller names a model type, and a model from another crate is registered in the same way as these.
//!
//! Invariants: the seed of the fit is the only source of randomness, and the number of threads never shows; a
//! probability row depends on its own window alone; weights from a file are checked before they are believed.
//!
//! ```
//! let registry = stakeout_models::builtin();
//! let gbt = registry.get("gbt")?;
//! let estimator = (gbt.configure)(&serde_json::json!({ "rounds": 50 }))?;
//! assert_eq!(estimator.config()["rounds"], 50);
//! let message = (gbt.configure)(&serde_json::json!({ "round": 50 })).err().expect("no such setting").to_string();
//! assert!(message.starts_with("[model.gbt] round: there is no such setting, did you mean `rounds`?"), "{message}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bytes;
pub mod config;
mod draw;
mod interchange;
mod ridge;
mod trees;
mod weighted;

pub mod constant;
pub mod extra_trees;
pub mod forest;
pub mod gbt;
pub mod knn;
pub mod logistic;
pub mod minirocket;
pub mod nn;
pub mod tree;

use stakeout_core::ModelRegistry;

/// The models of this crate.
pub fn builtin() -> ModelRegistry {
    let mut registry = ModelRegistry::default();
    let classical = [
        constant::entry(),
        logistic::entry(),
        knn::entry(),
        tree::entry(),
        forest::entry(),
        extra_trees::entry(),
        gbt::entry(),
        minirocket::entry(),
    ];
    for entry in classical.into_iter().chain(nn::entries()) {
        registry.add(entry).expect("the kinds of this crate differ");
    }
    registry
}
