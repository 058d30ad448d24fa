//! What all tree models share.
//!
//! In reading order: `binned` (data), `node` (trees, the two ways to walk them, their bytes), `grow` (one classification
//! tree), `class_forest` (fitted trees that vote), `bagging` (the loop over trees, its state), `model` (the fitted model
//! behind the trait). The booster's trees are grown in `gbt`, on the same data and into the same nodes.

pub(crate) mod bagging;
pub(crate) mod binned;
pub(crate) mod class_forest;
pub(crate) mod grow;
pub(crate) mod model;
pub(crate) mod node;
