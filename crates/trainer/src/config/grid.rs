//! `[grid]`: models, views and scalers that are trained crosswise.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stakeout_core::View;

use super::ScalerChoice;

/// What is trained crosswise. An empty list stands for what the rest of the configuration says: its one view, its one
/// scaler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GridKeys {
    /// Kinds of model, one row of the table each.
    pub models: Vec<String>,
    /// Views, in the order of the table's columns.
    pub views: Vec<View>,
    /// Scalers, in the order of the table's columns.
    pub scalers: Vec<ScalerChoice>,
    /// Which data and code a grid was trained with; written, and read back by `--resume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<GridRecord>,
}

/// What `grid.toml` adds to a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridRecord {
    /// The store; absent for the embedded default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// Digest of the store's content.
    pub data_digest: String,
    /// Version of the code.
    pub code_version: String,
    /// Digest of all settings: an edited file is not continued.
    pub settings: String,
}
