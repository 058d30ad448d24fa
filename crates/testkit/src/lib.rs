//! Contract suites for what outsiders add (models, recipes), and the tiny synthetic data that they run on.
//!
//! A suite panics with the contract that was broken, so that it stands as one line in a test:
//!
//! ```
//! let recipe = stakeout_splits::RecipeRegistry::builtin().configure("host", &serde_json::json!({})).unwrap();
//! stakeout_testkit::check_split(recipe.as_ref());
//! ```
//!
//! Invariant: it rests on `core` and `splits` alone, so that every crate above can use it without a cycle.

pub mod data;
pub mod estimator;
pub mod split;

pub use estimator::check_estimator;
pub use split::check_split;
