//! Scalers as plain values; they are fitted and applied in `features`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Mean and deviation per feature (summary) or per channel (tensor).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    /// Mean of the observed values; 0 where none was observed.
    pub mean: Vec<f32>,
    /// Deviation to divide by, always positive; 1 where the observed deviation is too small to divide by.
    pub deviation: Vec<f32>,
}

/// How inputs are centred and scaled before a model sees them. A missing value stays missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaler {
    /// Raw values.
    None,
    /// One set of moments, from the training side.
    Global(Moments),
    /// One set per host, from the host's declared calibration stretch.
    HostClean(BTreeMap<String, Moments>),
}

impl Scaler {
    /// The name used in configuration and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Global(_) => "global",
            Self::HostClean(_) => "host-clean",
        }
    }
}
