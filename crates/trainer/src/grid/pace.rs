//! How far a grid is, and how long it may still take. None of it reaches a file.

use std::time::Duration;

use crate::Progress;

/// Counts cells and remembers how long each kind of model took.
pub(crate) struct Pace {
    total: usize,
    done: usize,
    /// Model and seconds of the cells that were trained now, not kept.
    took: Vec<(String, f64)>,
}

impl Pace {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, done: 0, took: Vec::new() }
    }

    /// A cell that was finished before.
    pub(crate) fn keep(&mut self) {
        self.done += 1;
    }

    /// A cell is over; says how much time is left.
    pub(crate) fn done(&mut self, model: &str, took: Duration) -> String {
        self.done += 1;
        self.took.push((model.to_owned(), took.as_secs_f64()));
        self.left(None)
    }

    /// `cell 3/12, about 4 min left`, before a cell of this model.
    pub(crate) fn label(&self, model: &str) -> String {
        let left = if self.took.is_empty() { String::new() } else { format!(", {}", self.left(Some(model))) };
        format!("cell {}/{}{left}", self.done + 1, self.total)
    }

    /// The cells to come at the mean of what was trained so far, the next one at that of its own model where known.
    fn left(&self, next: Option<&str>) -> String {
        let mean = |of: Option<&str>| {
            let seconds = self.took.iter().filter(|(model, _)| of.is_none_or(|of| of == model)).map(|(_, s)| *s);
            let seconds: Vec<f64> = seconds.collect();
            (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
        };
        let all = mean(None).unwrap_or(0.0);
        let to_come = self.total.saturating_sub(self.done);
        let first = next.and_then(|model| mean(Some(model))).unwrap_or(all);
        let seconds = match to_come {
            0 => return "nothing left".into(),
            n => first + all * (n - 1) as f64,
        };
        match seconds {
            s if s < 90.0 => format!("about {s:.0} s left"),
            s if s < 5400.0 => format!("about {:.0} min left", s / 60.0),
            s => format!("about {:.1} h left", s / 3600.0),
        }
    }
}

/// Progress of one cell, told as a part of the whole.
pub(crate) struct Numbered<'a> {
    inner: &'a dyn Progress,
    label: String,
}

impl<'a> Numbered<'a> {
    pub(crate) fn new(inner: &'a dyn Progress, label: String) -> Self {
        Self { inner, label }
    }
}

impl Progress for Numbered<'_> {
    fn stage(&self, name: &str, unit: &'static str, total: u64) {
        self.inner.stage(&format!("{}: {name}", self.label), unit, total);
    }

    fn advance(&self, done: u64, total: u64, note: &str) {
        self.inner.advance(done, total, note);
    }

    fn say(&self, text: &str) {
        self.inner.say(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_counted_and_the_next_one_is_timed_by_its_own_model() {
        let mut pace = Pace::new(6);
        assert_eq!(pace.label("gbt"), "cell 1/6");
        pace.keep();
        assert_eq!(pace.label("gbt"), "cell 2/6");
        assert_eq!(pace.done("gbt", Duration::from_secs(10)), "about 40 s left");
        assert_eq!(pace.done("gru", Duration::from_secs(70)), "about 2 min left");
        assert_eq!(pace.label("gbt"), "cell 4/6, about 2 min left"); // 10 s, then twice 40 s
        assert_eq!(pace.label("cnn"), "cell 4/6, about 2 min left"); // three times 40 s
        pace.done("gbt", Duration::from_secs(10));
        pace.done("gbt", Duration::from_secs(10));
        assert_eq!(pace.label("gbt"), "cell 6/6, about 10 s left");
        assert_eq!(pace.done("gbt", Duration::from_hours(20)), "nothing left");
    }
}
