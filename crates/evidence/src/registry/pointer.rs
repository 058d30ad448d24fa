//! Which model is deployed: one small file, replaced in one rename.

use std::collections::BTreeSet;
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
        if text.len() as u64 > MAX_BYTES {
            let why =
                format!("with one more step it has more than the {MAX_BYTES} bytes that are read: use a new registry");
            return Err(EvidenceError::registry(path, why));
        }
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
        let Some(prefix) = to else {
            return stack.last().map(|id| (*id).to_owned()).ok_or("there is no earlier model to go back to".into());
        };
        let shown = printable(prefix, 64);
        let found: BTreeSet<&str> = stack.into_iter().filter(|id| id.starts_with(prefix)).collect();
        match (found.first(), found.len()) {
            (Some(id), 1) => Ok((*id).to_owned()),
            (None, _) => Err(format!("`{shown}` is no earlier model: promote it through the gate")),
            (_, more) => Err(format!("`{shown}` begins {more} addresses: give more of it")),
        }
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

    #[test]
    fn a_word_that_begins_two_addresses_goes_back_to_neither() {
        let mut pointer = Pointer::default();
        for n in [1, 2, 3] {
            pointer.step(Action::Promoted, &id(n), "", &by());
        }
        assert!(pointer.before(Some("0000")).unwrap_err().contains("begins 2 addresses"));
        assert_eq!(pointer.before(Some(&id(1))).unwrap(), id(1));
        assert!(pointer.before(Some(&id(3))).unwrap_err().contains("no earlier model"), "it is current");
        pointer.step(Action::Promoted, &id(1), "", &by());
        pointer.step(Action::Promoted, &id(4), "", &by());
        assert_eq!(pointer.before(Some(&id(1))).unwrap(), id(1), "twice on the way is one address");
    }

    #[test]
    fn a_pointer_that_could_not_be_read_again_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pointer.json");
        let mut pointer = Pointer::default();
        pointer.write(&path).unwrap();
        let before = std::fs::read(&path).unwrap();
        let long = Signature { why: "x".repeat(MAX_BYTES as usize), ..by() };
        pointer.step(Action::Promoted, &id(1), "", &long);
        assert!(pointer.write(&path).unwrap_err().to_string().contains("new registry"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
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
