//! Which model is deployed: one small file, replaced in one rename.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stakeout_core::files;
use stakeout_core::text::printable;

use super::{Action, Signature};
use crate::EvidenceError;
use crate::policy::FORMAT;

const MAX_BYTES: u64 = 16 << 20;

/// A step: a promotion or a way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Counts from 1.
    pub revision: u64,
    /// Promoted or rolled back.
    pub action: Action,
    /// The model that is deployed after it.
    pub id: String,
    /// Digest of the judgement behind it; empty for a way back.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bundle: String,
    /// Who, when, why.
    pub by: Signature,
}

/// What is deployed, and the steps that led there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// Version of the format.
    pub format: u32,
    /// Number of the last step; 0 = nothing was ever deployed.
    pub revision: u64,
    /// All steps, in order.
    pub history: Vec<Step>,
}

impl Default for Pointer {
    fn default() -> Self {
        Self { format: FORMAT, revision: 0, history: Vec::new() }
    }
}

impl Pointer {
    /// Reads the file; where there is none, nothing was ever deployed.
    pub(super) fn read(path: &Path) -> Result<Self, EvidenceError> {
        let bytes = match files::read_regular(path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(EvidenceError::io("reading", path, error)),
        };
        Self::parse(&bytes).map_err(|why| EvidenceError::registry(path, why))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            format!(
                "line {}: {error}: it is damaged; bring it back from a copy, audit.jsonl has every step",
                error.line()
            )
        };
        // The version is looked at first: a newer file may have any other shape.
        match serde_json::from_slice::<Version>(bytes).map_err(damaged)?.format {
            FORMAT => {}
            newer if newer > FORMAT => {
                return Err(format!("format {newer} is newer than this program's {FORMAT}: use a newer stakeout"));
            }
            older => return Err(format!("format {older} was never written: it is damaged")),
        }
        let pointer: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        let counted = pointer.history.iter().enumerate().all(|(i, step)| step.revision == i as u64 + 1);
        if !counted || pointer.revision != pointer.history.len() as u64 {
            return Err("its steps are not numbered one by one: it is damaged".into());
        }
        if let Some(step) = pointer.history.iter().find(|step| !super::entry::is_id(&step.id)) {
            return Err(format!(
                "step {} names `{}`, which is no address: it is damaged",
                step.revision,
                printable(&step.id, 20)
            ));
        }
        Ok(pointer)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), EvidenceError> {
        let mut text = serde_json::to_string_pretty(self).map_err(|e| EvidenceError::registry(path, e.to_string()))?;
        text.push('\n');
        Ok(files::write_atomic(path, text.as_bytes())?)
    }

    pub(super) fn step(&mut self, action: Action, id: &str, bundle: &str, by: &Signature) {
        self.revision += 1;
        self.history.push(Step {
            revision: self.revision,
            action,
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            by: by.clone(),
        });
    }

    /// The model that is deployed.
    pub fn current(&self) -> Option<&str> {
        self.history.last().map(|step| step.id.as_str())
    }

    /// The models that can be gone back to, the current one last: a promotion lies on top, a way back takes off what
    /// lies above.
    fn stack(&self) -> Vec<&str> {
        let mut stack: Vec<&str> = Vec::new();
        for step in &self.history {
            match step.action {
                Action::RolledBack => {
                    while stack.last().is_some_and(|top| *top != step.id) {
                        stack.pop();
                    }
                }
                _ => stack.push(&step.id),
            }
        }
        stack
    }

    /// The model to go back to.
    pub(super) fn before(&self, to: Option<&str>) -> Result<String, String> {
        let mut stack = self.stack();
        stack.pop().ok_or("nothing was ever promoted")?;
        let found = match to {
            None => stack.last(),
            Some(prefix) => stack.iter().rev().find(|id| id.starts_with(prefix)),
        };
        found.map(|id| (*id).to_owned()).ok_or_else(|| match to {
            None => "there is no earlier model to go back to".into(),
            Some(prefix) => format!("`{}` is no earlier model: promote it through the gate", printable(prefix, 64)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> String {
        format!("{n:064x}")
    }

    fn by() -> Signature {
        Signature { who: "a".into(), at: 1, why: String::new() }
    }

    #[test]
    fn ways_back_lead_further_and_further_back() {
        let mut pointer = Pointer::default();
        assert!(pointer.before(None).is_err());
        for n in 1..=3 {
            pointer.step(Action::Promoted, &id(n), "", &by());
        }
        for n in [2, 1] {
            let back = pointer.before(None).unwrap();
            assert_eq!(back, id(n));
            pointer.step(Action::RolledBack, &back, "", &by());
        }
        assert!(pointer.before(None).is_err() && pointer.before(Some(&id(3))).is_err());
        pointer.step(Action::Promoted, &id(4), "", &by());
        assert_eq!(pointer.before(None).unwrap(), id(1));
    }

    #[test]
    fn damaged_older_and_newer_pointers_are_told_apart() {
        let mut pointer = Pointer::default();
        pointer.step(Action::Promoted, &id(1), "", &by());
        let good = serde_json::to_value(&pointer).unwrap();
        let with = |key: &str, value: serde_json::Value| {
            let mut bad = good.clone();
            bad[key] = value;
            Pointer::parse(bad.to_string().as_bytes()).unwrap_err()
        };
        assert!(Pointer::parse(good.to_string().as_bytes()).is_ok());
        assert!(with("format", 2.into()).contains("newer"));
        assert!(with("format", 0.into()).contains("never written"));
        assert!(with("revision", 7.into()).contains("damaged"));
        assert!(with("extra", 7.into()).contains("damaged"));
        let mut bad = good.clone();
        bad["history"][0]["id"] = "../../etc".into();
        assert!(Pointer::parse(bad.to_string().as_bytes()).unwrap_err().contains("no address"));
        let text = good.to_string();
        for cut in 0..text.len() {
            assert!(Pointer::parse(&text.as_bytes()[..cut]).is_err());
        }
    }

    proptest! {
        /// Against a plain list that is cut on the way back.
        #[test]
        fn the_way_back_is_a_stack(moves in proptest::collection::vec(0u8..5, 0..40)) {
            let (mut pointer, mut twin) = (Pointer::default(), Vec::<String>::new());
            for (i, what) in moves.into_iter().enumerate() {
                if what == 0 {
                    let back = pointer.before(None);
                    if twin.len() < 2 {
                        prop_assert!(back.is_err());
                        continue;
                    }
                    twin.pop();
                    prop_assert_eq!(Some(&back.clone().unwrap()), twin.last());
                    pointer.step(Action::RolledBack, &back.unwrap(), "", &by());
                } else {
                    pointer.step(Action::Promoted, &id(i as u8), "", &by());
                    twin.push(id(i as u8));
                }
                prop_assert_eq!(pointer.current(), twin.last().map(String::as_str));
                let again = Pointer::parse(&serde_json::to_vec(&pointer).unwrap()).unwrap();
                prop_assert_eq!(&again, &pointer);
            }
        }
    }
}
