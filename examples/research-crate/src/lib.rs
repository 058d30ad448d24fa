//! A research crate: a model, a channel and a recipe of our own, and every command of `stakeout` for them.
//!
//! * [`centroid`]: the model `acme/nearest-centroid`;
//! * [`profile_out`]: the recipe `acme/leave-one-profile-out`;
//! * [`lab`]: a store whose `corpus.toml` has a channel of our own, `guest.open_files`.
//!
//! Nothing of stakeout is changed for this: [`models`] and [`recipes`] go to [`stakeout_cli::main_with`], which is all
//! that `main.rs` does. What they promise is checked in `tests/contract.rs` by the suites of `stakeout-testkit`.

pub mod centroid;
pub mod lab;
pub mod profile_out;

use stakeout_core::{CoreError, ModelRegistry};
use stakeout_splits::{RecipeRegistry, SplitError};

/// The models of stakeout, and ours.
///
/// # Errors
/// When our model has a name that is taken.
pub fn models() -> Result<ModelRegistry, CoreError> {
    let mut models = stakeout_models::builtin();
    models.add(centroid::entry()?)?;
    Ok(models)
}

/// The recipes of stakeout, and ours.
///
/// # Errors
/// When our recipe has a name that is taken.
pub fn recipes() -> Result<RecipeRegistry, SplitError> {
    let mut recipes = RecipeRegistry::builtin();
    recipes.add(profile_out::ENTRY)?;
    Ok(recipes)
}
