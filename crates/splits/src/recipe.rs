//! Recipes: how data is held out, by name.
//!
//! A crate from outside adds its own and checks it with `stakeout_testkit::check_split`:
//!
//! ```
//! use stakeout_core::SampleIndex;
//! use stakeout_splits::{Fold, FoldParts, RecipeEntry, RecipeRegistry, Separates, Split, SplitError, check_index, file_name};
//!
//! /// Tests on the host whose name is last.
//! struct LastHost;
//!
//! impl Split for LastHost {
//!     fn name(&self) -> &str {
//!         "acme/last-host"
//!     }
//!
//!     fn separates(&self) -> Separates {
//!         Separates::Hosts
//!     }
//!
//!     fn folds(&self, index: &SampleIndex, _seed: u64) -> Result<Vec<Fold>, SplitError> {
//!         check_index(index)?;
//!         let host = |row: usize| &index.hosts[index.episode_of(row).host as usize];
//!         let last = (0..index.len()).map(host).max().cloned().unwrap_or_default();
//!         let (test, train) = (0..index.len()).partition(|&row| *host(row) == last);
//!         let held_out = vec![last];
//!         let parts = FoldParts {
//!             name: file_name(&held_out),
//!             held_out,
//!             train,
//!             validation: Vec::new(),
//!             test,
//!             dropped: Vec::new(),
//!             notes: vec!["validation: none".into()],
//!             test_by: Separates::Hosts,
//!             validation_by: Separates::Unstated,
//!         };
//!         Ok(vec![Fold::new(index.len(), parts)?])
//!     }
//! }
//!
//! let mut recipes = RecipeRegistry::builtin();
//! recipes.add(RecipeEntry {
//!     name: "acme/last-host",
//!     about: "the host whose name is last",
//!     defaults: "",
//!     configure: |_| Ok(Box::new(LastHost)),
//! })?;
//! # stakeout_testkit::check_split(recipes.configure("acme/last-host", &serde_json::json!({}))?.as_ref());
//! # Ok::<(), SplitError>(())
//! ```

use std::fmt;

use serde_json::Value;
use stakeout_core::{ModelKind, SampleIndex};

use crate::{Fold, MinCell, Separates, SplitError, given, hold_out, leave_one_out, time};

/// A way to hold data out.
pub trait Split: Send + Sync {
    /// The name under which the recipe is known: `host`, `acme/by-year`.
    fn name(&self) -> &str;

    /// What the test side of its folds does not share with the other two.
    fn separates(&self) -> Separates;

    /// The folds of an index: at least one, in an order and with sides that follow from the index and the seed alone.
    /// The order of [`SampleIndex::windows`] plays no part: permuted windows make permuted folds.
    ///
    /// # Errors
    /// [`SplitError`] when the data cannot be held out this way, or duplicates stand on two sides.
    fn folds(&self, index: &SampleIndex, seed: u64) -> Result<Vec<Fold>, SplitError>;

    /// From how many test windows and episodes on a cell of the ledger counts as tested.
    fn min_cell(&self) -> MinCell {
        MinCell::default()
    }
}

/// One recipe.
#[derive(Clone)]
pub struct RecipeEntry {
    /// Its name.
    pub name: &'static str,
    /// One line for lists.
    pub about: &'static str,
    /// The body of `[split]` with every setting at its default, commented, as TOML.
    pub defaults: &'static str,
    /// A recipe from the (possibly partial, possibly null) content of `[split]`; an unknown key is an error.
    pub configure: fn(&Value) -> Result<Box<dyn Split>, SplitError>,
}

impl fmt::Debug for RecipeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipeEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All recipes that a program knows, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct RecipeRegistry {
    entries: Vec<RecipeEntry>,
}

impl RecipeRegistry {
    /// The recipes of this crate: `host`, `sample`, `time`, `given`, `leave-one-host-out`, `leave-one-sample-out`.
    pub fn builtin() -> Self {
        let entries = vec![
            hold_out::HOST,
            hold_out::SAMPLE,
            time::ENTRY,
            given::ENTRY,
            leave_one_out::HOST,
            leave_one_out::SAMPLE,
        ];
        Self { entries }
    }

    /// Adds a recipe.
    ///
    /// # Errors
    /// [`SplitError::Recipe`] when the name is taken or is not lower-case letters, digits and `-` (at most one `/`).
    pub fn add(&mut self, entry: RecipeEntry) -> Result<(), SplitError> {
        let refuse = |why: &str| Err(SplitError::Recipe { name: entry.name.into(), why: why.into() });
        if ModelKind::new(entry.name).is_err() {
            return refuse("use lower-case letters, digits and `-`, as `host` or `acme/by-year`");
        }
        if self.entries.iter().any(|known| known.name == entry.name) {
            return refuse("it is registered already");
        }
        self.entries.push(entry);
        Ok(())
    }

    /// All recipes, in order.
    pub fn entries(&self) -> &[RecipeEntry] {
        &self.entries
    }

    /// The entry of a name.
    ///
    /// # Errors
    /// [`SplitError::Recipe`] that lists the known names.
    pub fn get(&self, name: &str) -> Result<&RecipeEntry, SplitError> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.entries.iter().map(|entry| entry.name).collect();
            SplitError::Recipe { name: name.into(), why: format!("this program knows {}", known.join(", ")) }
        })
    }

    /// The recipe of a name with the given content of `[split]`.
    ///
    /// # Errors
    /// As [`RecipeRegistry::get`]; [`SplitError::Config`] for an unknown key or a value out of range.
    pub fn configure(&self, name: &str, body: &Value) -> Result<Box<dyn Split>, SplitError> {
        (self.get(name)?.configure)(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_configured_by_its_own_defaults_and_refuses_an_unknown_key() {
        let registry = RecipeRegistry::builtin();
        for entry in registry.entries() {
            let body: Value = toml::from_str(entry.defaults).unwrap();
            let recipe = registry.configure(entry.name, &body).unwrap();
            assert_eq!(recipe.name(), entry.name);
            assert_eq!(recipe.min_cell(), MinCell::default());
            registry.configure(entry.name, &Value::Null).unwrap();
            let error = registry.configure(entry.name, &serde_json::json!({ "tset_share": 0.5 })).err().unwrap();
            assert!(error.to_string().contains("unknown field `tset_share`"), "{error}");
        }
    }

    #[test]
    fn a_name_is_taken_once_and_an_unknown_one_lists_the_known() {
        let mut registry = RecipeRegistry::builtin();
        let host = registry.get("host").unwrap().clone();
        assert!(registry.add(host.clone()).unwrap_err().to_string().contains("registered already"));
        assert!(registry.add(RecipeEntry { name: "By Year", ..host.clone() }).is_err());
        registry.add(RecipeEntry { name: "acme/by-year", ..host }).unwrap();
        let error = registry.get("hosts").unwrap_err().to_string();
        assert!(error.contains("host, sample, time, given") && error.ends_with("acme/by-year"), "{error}");
    }
}
