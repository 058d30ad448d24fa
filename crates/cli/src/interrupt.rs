//! Ctrl-C: the first asks the work to save its state and stop, the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};

static CANCEL: AtomicBool = AtomicBool::new(false);

/// The flag that long work watches. Installs the handler on first use.
pub(crate) fn flag() -> &'static AtomicBool {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let installed = ctrlc::set_handler(|| {
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
