//! Sample indices to folds: how data is held out, and what the held-out side covers.
//!
//! A window says little on its own: windows overlap, share an episode, a program and a machine. A random cut over
//! windows therefore tests memory, not detection. The recipes here hold out what a detector will really meet: a new
//! host, a new program, a later time.
//!
//! Invariants:
//! * a recipe sees [`stakeout_core::SampleIndex`] (who, when, which label, which digest) and never a feature value;
//! * a [`Fold`] whose sides overlap, repeat a row, leave a row unaccounted for or lack a train or test side does not
//!   exist;
//! * folds depend on names, times, labels and the seed, never on the order of rows or on threads.
//!
//! ```
//! use stakeout_core::{EpisodeRef, SampleIndex, WindowKey};
//! use stakeout_splits::{Ledger, RecipeRegistry};
//!
//! let mut index = SampleIndex { classes: vec!["clean".into(), "infecting".into()], window_ns: 10, ..Default::default() };
//! index.samples.push("dropper".into());
//! index.profiles.push("worm".into());
//! for host in 0..6 {
//!     index.hosts.push(format!("host-{host}"));
//!     index.episodes.push(EpisodeRef {
//!         id: format!("episode-{host}"), host, sample: 0, profile: 0, sample_sha256: None, given: None, span: (0, 20), onset_ns: None,
//!     });
//!     for (t0_ns, label) in [(0, 0), (5, 0), (10, 1)] {
//!         index.windows.push(WindowKey { episode: host, t0_ns, label, digest: 0 });
//!     }
//! }
//! let recipe = RecipeRegistry::builtin().configure("host", &serde_json::json!({ "test_share": 0.3 }))?;
//! let fold = &recipe.folds(&index, 1)?[0];
//! assert_eq!((fold.train().len(), fold.validation().len(), fold.test().len()), (9, 3, 6));
//! assert_eq!(Ledger::new(&index, fold, recipe.min_cell())?.hosts().len(), 6);
//! # Ok::<(), stakeout_splits::SplitError>(())
//! ```

mod error;
pub mod fold;
pub mod recipe;

mod checks;
mod choose;
mod draw;
mod groups;
mod instant;
mod validation;

mod given;
mod hold_out;
mod leave_one_out;
mod time;

pub mod duplicates;
pub mod inner;
pub mod ledger;
mod ledger_text;
pub mod nested;

pub use duplicates::{Duplicates, check_duplicates};
pub use error::{SharedSample, SplitError, Twin};
pub use fold::{Dropped, Fold, FoldParts, Separates, file_name};
pub use groups::{Unit, check_index, sample_groups};
pub use inner::inner_folds;
pub use instant::instant;
pub use ledger::{Cell, Count, Ledger, MinCell, Status, Summary};
pub use nested::nested_folds;
pub use recipe::{RecipeEntry, RecipeRegistry, Split};
