//! Who did something to a registry.

use serde::{Deserialize, Serialize};

use crate::EvidenceError;

/// The longest name or reason that is kept, in bytes.
pub const LONGEST_TEXT: usize = 4096;

/// Who changes a registry, when and why. The library asks no clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Name of the user.
    pub who: String,
    /// Unix seconds.
    pub at: i64,
    /// In their words.
    pub why: String,
}

impl Signature {
    /// Refuses a text that would make the registry outgrow what is read of it.
    ///
    /// # Errors
    /// [`EvidenceError::Invalid`].
    pub fn check(&self) -> Result<(), EvidenceError> {
        for (what, text) in [("who", &self.who), ("why", &self.why)] {
            if text.len() > LONGEST_TEXT {
                let why = format!("it has {} bytes, at most {LONGEST_TEXT} are kept", text.len());
                return Err(EvidenceError::Invalid { what, why });
            }
        }
        Ok(())
    }
}
