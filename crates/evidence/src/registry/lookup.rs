//! Finding entries while other processes deploy them.

use super::entry::{self, Entry, State};
use super::{CANDIDATES, CURRENT, Registry, Stage};
use crate::EvidenceError;
use crate::snapshot::Snapshot;

impl Registry {
    /// Every entry: the current one, earlier ones, candidates; by state, then by address. One whose process was killed
    /// while it deployed it may lie in both folders: it is one entry, and a candidate unless the pointer names it.
    ///
    /// # Errors
    /// As [`Registry::pointer`]; an entry that cannot be read is listed as damaged.
    pub fn entries(&self) -> Result<Vec<Entry>, EvidenceError> {
        let pointer = self.pointer()?;
        // Candidates first: what is deployed meanwhile is then met in both folders, never in neither.
        let candidates = entry::ids(&self.path.join(CANDIDATES))?;
        let mut deployed = entry::ids(&self.path.join(CURRENT))?;
        if let Some(id) = pointer.current().map(str::to_owned)
            && let Err(place) = deployed.binary_search(&id)
        {
            deployed.insert(place, id); // its folder is gone: it is listed, as damaged
        }
        let read = |folder: &str, id: &str| {
            let state = if pointer.current() == Some(id) {
                State::Current
            } else if pointer.history.iter().any(|step| step.id == id) {
                State::Earlier
            } else {
                State::Candidate
            };
            Entry::read(&self.path.join(folder).join(id), id.to_owned(), state)
        };
        let mut entries: Vec<Entry> = deployed.iter().map(|id| read(CURRENT, id)).collect();
        for id in candidates.iter().filter(|id| deployed.binary_search(id).is_err()) {
            let entry = read(CANDIDATES, id);
            // Gone since it was listed: it was deployed, and lies there now.
            entries.push(if entry.path.is_dir() { entry } else { read(CURRENT, id) });
        }
        entries.sort_by(|a, b| (a.state, &a.id).cmp(&(b.state, &b.id)));
        Ok(entries)
    }

    /// The one entry whose address begins so.
    ///
    /// # Errors
    /// [`EvidenceError::Registry`] for none or several.
    pub fn find(&self, prefix: &str) -> Result<Entry, EvidenceError> {
        self.check_prefix(prefix)?;
        let shown = stakeout_core::text::printable(prefix, 64);
        let mut found: Vec<Entry> = self.entries()?.into_iter().filter(|entry| entry.id.starts_with(prefix)).collect();
        match (found.pop(), found.len()) {
            (Some(entry), 0) => Ok(entry),
            (Some(_), more) => Err(EvidenceError::registry(
                &self.path,
                format!("`{shown}` begins {} addresses: give more of it", more + 1),
            )),
            (None, _) => Err(EvidenceError::registry(
                &self.path,
                format!("no model `{shown}`: `stakeout models list` shows them"),
            )),
        }
    }

    /// Copies the one entry whose address begins so into a stage.
    ///
    /// # Errors
    /// As [`Registry::find`]; [`EvidenceError::Registry`] when its files are not those of its address.
    pub fn copy(&self, prefix: &str, stage: &Stage) -> Result<(Entry, Snapshot), EvidenceError> {
        let entry = self.find(prefix)?;
        let (entry, files) = match Snapshot::take(&entry.path, &stage.entry()) {
            // Another process deployed it between look-up and copy: it has moved, once and for good.
            Err(_) if !entry.path.is_dir() => {
                let entry = self.find(prefix)?;
                let files = Snapshot::take(&entry.path, &stage.entry())?;
                (entry, files)
            }
            copied => (entry, copied?),
        };
        if files.id() != entry.id {
            entry.verify()?;
            return Err(EvidenceError::registry(
                &entry.path,
                "its files were changed while they were copied: try again",
            ));
        }
        Ok((entry, files))
    }

    pub(super) fn check_prefix(&self, prefix: &str) -> Result<(), EvidenceError> {
        const SHORTEST: usize = 4;
        if prefix.len() >= SHORTEST {
            return Ok(());
        }
        let shown = stakeout_core::text::printable(prefix, 64);
        let why = format!("`{shown}`: give {SHORTEST} characters of an address or more");
        Err(EvidenceError::registry(&self.path, why))
    }
}
