//! Progress on stderr: a bar with rate and time left on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stakeout_trainer::{Progress, Quiet};

use crate::output::clean;

/// How often a plain line is printed where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// The progress that fits where stderr leads.
pub(crate) fn for_stderr(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(Quiet)
    } else if stderr().is_terminal() {
        Box::new(Bar { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)) })
    } else {
        Box::new(Plain { state: Mutex::new(Stage::new("", "")) })
    }
}

struct Bar {
    bar: ProgressBar,
}

impl Progress for Bar {
    fn stage(&self, name: &str, unit: &'static str, total: u64) {
        self.bar.reset();
        if total == 0 {
            self.bar.unset_length();
        } else {
            self.bar.set_length(total);
        }
        let template = format!("{{prefix:24}} {{bar:28}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left  {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
        self.bar.set_prefix(clean(name));
        self.bar.set_message("");
    }

    fn advance(&self, done: u64, total: u64, note: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(clean(note));
        if done >= total {
            self.bar.abandon();
        }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{}", clean(text)));
    }
}

struct Stage {
    name: String,
    unit: &'static str,
    start: Instant,
    printed: Instant,
}

impl Stage {
    fn new(name: &str, unit: &'static str) -> Self {
        let now = Instant::now();
        Self { name: clean(name), unit, start: now, printed: now }
    }
}

struct Plain {
    state: Mutex<Stage>,
}

impl Progress for Plain {
    fn stage(&self, name: &str, unit: &'static str, _total: u64) {
        if let Ok(mut state) = self.state.lock() {
            *state = Stage::new(name, unit);
        }
    }

    fn advance(&self, done: u64, total: u64, note: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        if state.printed.elapsed() < PLAIN_INTERVAL && done < total {
            return;
        }
        state.printed = Instant::now();
        let seconds = state.start.elapsed().as_secs_f64();
        let rate = done as f64 / seconds.max(1e-9);
        let left = total.saturating_sub(done) as f64 / rate.max(1e-9);
        let note = clean(note);
        crate::output::say(&format!(
            "{}: {done}/{total} {} ({rate:.1}/s, {left:.0} s left) {note}",
            state.name, state.unit
        ));
    }

    fn say(&self, text: &str) {
        crate::output::say(&clean(text));
    }
}
