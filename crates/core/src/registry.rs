//! The model registry: from a kind to its parser and its loader. A research crate adds entries of its own.

use crate::{BaseModel, CoreError, Device, Estimator, Geometry, ModelError, ModelKind};

/// What a stored model is loaded from.
pub struct LoadContext<'a> {
    /// The hyper-parameters that it was fitted with.
    pub config: &'a serde_json::Value,
    /// The shape of its input.
    pub geometry: Geometry,
    /// The bytes of [`BaseModel::weights`].
    pub weights: &'a [u8],
    /// Where nets compute.
    pub device: Device,
}

/// One kind of model.
#[derive(Debug, Clone)]
pub struct ModelEntry {
    /// Its name.
    pub kind: ModelKind,
    /// One line for lists.
    pub about: &'static str,
    /// The body of `[model.<kind>]` with every setting at its default, commented, as TOML.
    pub defaults: &'static str,
    /// An estimator from the (possibly partial) content of `[model.<kind>]`; an unknown key is an error.
    pub configure: fn(&serde_json::Value) -> Result<Box<dyn Estimator>, ModelError>,
    /// A model from stored weights.
    pub load: fn(&LoadContext<'_>) -> Result<Box<dyn BaseModel>, ModelError>,
}

/// All kinds of model that a program knows, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct ModelRegistry {
    entries: Vec<ModelEntry>,
}

impl ModelRegistry {
    /// Adds a kind.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] when the kind is already there.
    pub fn add(&mut self, entry: ModelEntry) -> Result<(), CoreError> {
        if self.entries.iter().any(|known| known.kind == entry.kind) {
            return Err(CoreError::invalid("model kind", entry.kind.as_str(), "it is registered already"));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// All kinds, in order.
    pub fn entries(&self) -> &[ModelEntry] {
        &self.entries
    }

    /// The entry of a kind.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] that lists the known kinds.
    pub fn get(&self, kind: &str) -> Result<&ModelEntry, CoreError> {
        self.entries.iter().find(|entry| entry.kind.as_str() == kind).ok_or_else(|| {
            let known: Vec<&str> = self.entries.iter().map(|entry| entry.kind.as_str()).collect();
            CoreError::invalid("model", kind, format!("this program knows {}", known.join(", ")))
        })
    }
}
