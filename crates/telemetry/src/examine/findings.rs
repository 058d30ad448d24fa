//! Reasons as they come up: one a code and file, with the first occurrence and a count.

use stakeout_core::text::printable;

use super::Reason;
use crate::ReasonCode;

#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Reason>);

impl Findings {
    /// Adds an occurrence; only the first of a code and file is put in words.
    pub(super) fn add(
        &mut self,
        code: ReasonCode,
        file: Option<&str>,
        line: Option<u64>,
        text: impl FnOnce() -> String,
    ) {
        if let Some(known) = self.0.iter_mut().find(|known| known.code == code && known.file.as_deref() == file) {
            known.count += 1;
            return;
        }
        let text = printable(&text(), 300);
        self.0.push(Reason { code, file: file.map(str::to_owned), line, count: 1, text });
    }

    pub(super) fn has(&self, code: ReasonCode, file: &str) -> bool {
        self.0.iter().any(|known| known.code == code && known.file.as_deref() == Some(file))
    }

    /// Worst first, then by code, file and line.
    pub(super) fn into_reasons(mut self) -> Vec<Reason> {
        self.0.sort_by(|a, b| {
            let worst = b.code.verdict().cmp(&a.code.verdict());
            worst.then_with(|| (a.code, &a.file, a.line).cmp(&(b.code, &b.file, b.line)))
        });
        self.0
    }
}
