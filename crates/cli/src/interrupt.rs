//! Ctrl-C: the first asks the work to save its state and stop, the second ends the process at once. Work without a state
//! ends at the first, and what it had begun is removed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static CANCEL: AtomicBool = AtomicBool::new(false);
static BEGUN: Mutex<Option<PathBuf>> = Mutex::new(None);

/// A folder that is removed should Ctrl-C come while this value lives.
pub(crate) struct Begun(());

impl Begun {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        flag();
        *BEGUN.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.to_owned());
        Self(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        BEGUN.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The flag that long work watches. Installs the handler on first use.
pub(crate) fn flag() -> &'static AtomicBool {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let installed = ctrlc::set_handler(|| {
            // held until the process ends: nothing is moved into place meanwhile
            let begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(folder) = &*begun {
                // what is still being written may be there again after the first time
                let removed = (0..3).any(|_| std::fs::remove_dir_all(folder).is_ok());
                let left = if removed { String::new() } else { format!(", remove {}", folder.display()) };
                crate::output::say(&format!("stopped: nothing was made{left}"));
                std::process::exit(130);
            }
            drop(begun);
            if CANCEL.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            crate::output::say("stopping after this step and saving the state; press Ctrl-C again to stop at once");
        });
        if let Err(error) = installed {
            crate::output::say(&format!("warning: Ctrl-C will not save state: {error}"));
        }
    });
    &CANCEL
}
