//! Models on disk: what is deployed, what was, and what might be.
//!
//! ```text
//! models/
//!   current/pointer.json      which model is deployed, and every step that led there
//!   current/<id>/             that model, and earlier ones to go back to
//!   candidates/<id>/          accepted by the gate, and never deployed
//!   audit.jsonl               who did what, when and why, each line chained to the one before
//!   .lock
//! ```
//!
//! An entry holds the four files of a run and the last [`Bundle`] of the gate. Its name is the address of the run's
//! files ([`address`]), so that a changed byte shows. Changes are made by one process at a time; the one write that
//! deploys is the rename of the pointer. A process that is killed before it leaves the old model current and, at most,
//! an entry more; one that is killed after it leaves a step that the log does not have, and the next process writes it
//! down.

mod audit;
mod entry;
mod lookup;
mod pointer;
mod signature;
mod stage;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use stakeout_core::files;

use crate::EvidenceError;
use crate::bundle::{Bundle, Verdict};
use crate::snapshot::{address, digests};

pub use audit::{Action, Record, read_log};
pub use entry::{Entry, State};
pub use pointer::{Pointer, Step};
pub use signature::{LONGEST_TEXT, Signature};
pub use stage::Stage;

const CURRENT: &str = "current";
const CANDIDATES: &str = "candidates";
const POINTER: &str = "pointer.json";
const AUDIT: &str = "audit.jsonl";
const LOCK: &str = ".lock";
/// The last judgement of an entry.
pub const BUNDLE: &str = "gate.json";

/// A registry of models in a folder.
#[derive(Debug, Clone)]
pub struct Registry {
    path: PathBuf,
}

/// A registry that no other process changes meanwhile.
pub(crate) struct Locked<'a> {
    registry: &'a Registry,
    _lock: File,
}

impl Registry {
    /// Opens a registry, or makes an empty one where there is nothing.
    ///
    /// # Errors
    /// [`EvidenceError::Registry`] for a file, or a folder that holds something else; [`EvidenceError::Core`] when it
    /// cannot be made.
    pub fn create(path: &Path) -> Result<Self, EvidenceError> {
        if path.exists() && !path.is_dir() {
            return Err(EvidenceError::registry(path, "it is a file, not a folder: choose another place"));
        }
        let known = |name: &std::ffi::OsStr| {
            [CURRENT, CANDIDATES, AUDIT, LOCK].iter().any(|own| name == *own)
                || name.to_string_lossy().starts_with(files::TEMPORARY_PREFIX)
        };
        if path.exists() && !path.join(CURRENT).is_dir() {
            let entries = fs::read_dir(path).map_err(|e| EvidenceError::io("reading", path, e))?;
            if let Some(other) = entries.flatten().map(|entry| entry.file_name()).find(|name| !known(name)) {
                let name = stakeout_core::text::printable(&other.to_string_lossy(), 40);
                return Err(EvidenceError::registry(
                    path,
                    format!("it holds `{name}` and is no registry: choose another folder"),
                ));
            }
        }
        for folder in [path.to_owned(), path.join(CURRENT), path.join(CANDIDATES)] {
            fs::create_dir_all(&folder).map_err(|e| EvidenceError::io("making", &folder, e))?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Opens a registry that is there.
    ///
    /// # Errors
    /// [`EvidenceError::Registry`] where there is none.
    pub fn open(path: &Path) -> Result<Self, EvidenceError> {
        if path.join(CURRENT).is_dir() {
            return Ok(Self { path: path.to_owned() });
        }
        let why = "there is no registry here: `stakeout gate RUN --registry DIR` makes one";
        Err(EvidenceError::registry(path, why))
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is deployed, and the steps that led there.
    ///
    /// # Errors
    /// [`EvidenceError::Registry`] for a damaged or newer one.
    pub fn pointer(&self) -> Result<Pointer, EvidenceError> {
        Pointer::read(&self.path.join(CURRENT).join(POINTER))
    }

    /// The folder of the model that is deployed.
    ///
    /// # Errors
    /// As [`Registry::pointer`].
    pub fn current(&self) -> Result<Option<(String, PathBuf)>, EvidenceError> {
        Ok(self.pointer()?.current().map(|id| (id.to_owned(), self.path.join(CURRENT).join(id))))
    }

    /// A private folder inside the registry in which a run is copied and judged; it is gone when the value is dropped.
    ///
    /// # Errors
    /// [`EvidenceError::Core`] when it cannot be made.
    pub fn stage(&self) -> Result<Stage, EvidenceError> {
        let locked = self.lock()?;
        stage::remove_dead(&self.path);
        let stage = Stage::make(&self.path)?;
        drop(locked);
        Ok(stage)
    }

    /// Notes a verdict that files nothing.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn note(&self, bundle: &Bundle, run: &str, by: &Signature) -> Result<(), EvidenceError> {
        by.check()?;
        self.lock()?.append(Action::Judged, Some(bundle), &bundle.id, run, by)
    }

    /// Files an accepted run among the candidates. One that is there, or was deployed once, keeps its place and gets the
    /// new judgement.
    ///
    /// # Errors
    /// [`EvidenceError::Registry`] for a refused run or an entry that is damaged.
    pub fn file(&self, stage: &Stage, bundle: &Bundle, run: &str, by: &Signature) -> Result<(), EvidenceError> {
        by.check()?;
        let locked = self.lock()?;
        if bundle.verdict == Verdict::Refused {
            return Err(EvidenceError::registry(&self.path, "a refused run is not filed"));
        }
        let deployed = self.path.join(CURRENT).join(&bundle.id);
        if deployed.is_dir() && entry::is_whole(&deployed, &bundle.id) {
            entry::write_bundle(&deployed, bundle)?;
        } else {
            entry::put(stage, &self.path.join(CANDIDATES).join(&bundle.id), bundle)?;
        }
        locked.append(Action::Filed, Some(bundle), &bundle.id, run, by)
    }

    /// Deploys an accepted run. `seen` is the revision of the pointer that it was judged against; `None` where the
    /// judgement does not depend on the current model.
    ///
    /// Returns false where it is the current model already.
    ///
    /// # Errors
    /// [`EvidenceError::Overtaken`] when the current model is another one by now; [`EvidenceError::Registry`] for a run
    /// that is not deployable or an entry that is damaged; [`EvidenceError::Unlogged`] when it is deployed and its line of
    /// the log could not be written.
    pub fn promote(
        &self,
        stage: &Stage,
        bundle: &Bundle,
        seen: Option<u64>,
        run: &str,
        by: &Signature,
    ) -> Result<bool, EvidenceError> {
        by.check()?;
        let locked = self.lock()?;
        if bundle.verdict != Verdict::Deployable {
            return Err(EvidenceError::registry(&self.path, "a run that is not deployable is not promoted"));
        }
        let pointer = self.pointer()?;
        if seen.is_some_and(|seen| seen != pointer.revision) {
            return Err(EvidenceError::Overtaken);
        }
        let place = self.path.join(CURRENT).join(&bundle.id);
        if place.is_dir() && entry::is_whole(&place, &bundle.id) {
            entry::write_bundle(&place, bundle)?;
        } else {
            entry::put(stage, &place, bundle)?;
        }
        if pointer.current() == Some(bundle.id.as_str()) {
            locked.append(Action::Filed, Some(bundle), &bundle.id, run, by)?;
            return Ok(false);
        }
        let step = locked.commit(pointer, Action::Promoted, &bundle.id, &bundle.digest, by)?;
        // The candidate is now an entry that is deployed; what is left of it is a copy. It goes in one rename, and with the
        // stage: whoever reads it meanwhile has all of it or none.
        let _ = fs::rename(self.path.join(CANDIDATES).join(&bundle.id), stage.path().join("candidate"));
        locked.append(step, Some(bundle), &bundle.id, run, by).map_err(|error| unlogged(&bundle.id, error))?;
        Ok(true)
    }

    /// Goes back to the model before the current one, or to the earlier one whose address begins with `to`.
    ///
    /// # Errors
    /// [`EvidenceError::Registry`] where there is none, or its files are not what was promoted;
    /// [`EvidenceError::Unlogged`] as for a promotion.
    pub fn rollback(&self, to: Option<&str>, by: &Signature) -> Result<String, EvidenceError> {
        by.check()?;
        to.map_or(Ok(()), |prefix| self.check_prefix(prefix))?;
        let locked = self.lock()?;
        let pointer = self.pointer()?;
        let id = pointer.before(to).map_err(|why| EvidenceError::registry(&self.path, why))?;
        let place = self.path.join(CURRENT).join(&id);
        if address(&digests(&place)?) != id {
            let why =
                "its files are not what was promoted: a byte was changed; go back further, or promote another run";
            return Err(EvidenceError::registry(&place, why));
        }
        let step = locked.commit(pointer, Action::RolledBack, &id, "", by)?;
        locked.append(step, None, &id, "", by).map_err(|error| unlogged(&id, error))?;
        Ok(id)
    }

    /// Waits until no other process changes the registry.
    pub(crate) fn lock(&self) -> Result<Locked<'_>, EvidenceError> {
        let path = self.path.join(LOCK);
        let io = |source| EvidenceError::io("locking", &path, source);
        let lock = files::open_lock(&path).map_err(io)?;
        lock.lock().map_err(io)?;
        let locked = Locked { registry: self, _lock: lock };
        locked.catch_up()?;
        Ok(locked)
    }
}

/// The pointer moved and the log did not: that is no failed deployment.
fn unlogged(id: &str, source: EvidenceError) -> EvidenceError {
    EvidenceError::Unlogged { id: id[..12.min(id.len())].to_owned(), source: Box::new(source) }
}

impl Locked<'_> {
    fn log(&self) -> PathBuf {
        self.registry.path.join(AUDIT)
    }

    /// The rename that deploys.
    fn commit(
        &self,
        mut pointer: Pointer,
        action: Action,
        id: &str,
        bundle: &str,
        by: &Signature,
    ) -> Result<Action, EvidenceError> {
        pointer.step(action, id, bundle, by);
        pointer.write(&self.registry.path.join(CURRENT).join(POINTER))?;
        Ok(action)
    }

    fn append(
        &self,
        action: Action,
        bundle: Option<&Bundle>,
        id: &str,
        run: &str,
        by: &Signature,
    ) -> Result<(), EvidenceError> {
        let revision = self.registry.pointer()?.revision;
        let record = Record {
            n: 0,
            at: by.at,
            who: by.who.clone(),
            action,
            id: id.to_owned(),
            revision,
            verdict: bundle.map(|bundle| bundle.verdict),
            bundle: bundle.map_or_else(String::new, |bundle| bundle.digest.clone()),
            run: run.to_owned(),
            why: by.why.clone(),
            recovered: false,
            previous: String::new(),
            digest: String::new(),
        };
        audit::append(&self.log(), record)
    }

    /// Writes down the steps of a process that was killed between the pointer and the log.
    fn catch_up(&self) -> Result<(), EvidenceError> {
        let pointer = self.registry.pointer()?;
        let logged = audit::last_revision(&self.log())?;
        for step in pointer.history.iter().filter(|step| step.revision > logged) {
            let record = Record {
                n: 0,
                at: step.by.at,
                who: step.by.who.clone(),
                action: step.action,
                id: step.id.clone(),
                revision: step.revision,
                verdict: None,
                bundle: step.bundle.clone(),
                run: String::new(),
                why: step.by.why.clone(),
                recovered: true,
                previous: String::new(),
                digest: String::new(),
            };
            audit::append(&self.log(), record)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
