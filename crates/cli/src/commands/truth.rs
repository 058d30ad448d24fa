//! The validator against the ground truth of `simulate --faults`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use stakeout_telemetry::simulate::{FAULTS_FILE, Fault, FaultRecord};
use stakeout_telemetry::{Examined, Verdict};

use crate::output;

/// Injected fault × diagnosed fault, filled episode by episode.
pub(crate) struct Truth {
    injected: BTreeMap<String, Fault>,
    /// Rows: the faults in order, then none. Columns: the same, then "another reason".
    counts: Vec<Vec<u64>>,
}

/// Column of an episode without a reason, and row of one without a fault.
const NONE: usize = Fault::ALL.len();
/// Column of a verdict for a reason that no fault leads to.
const OTHER: usize = NONE + 1;

impl Truth {
    /// The ground truth beside a store's episodes; `None` where the store was not damaged on purpose.
    pub(crate) fn of(store: &Path) -> anyhow::Result<Option<Self>> {
        const CAP: u64 = 256 << 20;
        let path = store.join(FAULTS_FILE);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() <= CAP => {}
            _ => return Ok(None),
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut injected = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let record: FaultRecord =
                serde_json::from_str(line).with_context(|| format!("{}:{number}", path.display()))?;
            injected.insert(record.episode_id, record.fault);
        }
        Ok(Some(Self { injected, counts: vec![vec![0; OTHER + 1]; NONE + 1] }))
    }

    pub(crate) fn add(&mut self, examined: &Examined) {
        let position = |fault: Fault| Fault::ALL.iter().position(|known| *known == fault).unwrap_or(NONE);
        let row = self.injected.get(&examined.id).map_or(NONE, |fault| position(*fault));
        // An index line that points outside the store is an entry of its own, beside the folder that it should name.
        if row == NONE && examined.meta.is_none() {
            return;
        }
        let column = match Fault::diagnosed(examined) {
            Some(fault) => position(fault),
            None if examined.verdict >= Verdict::Rejected => OTHER,
            None => NONE,
        };
        self.counts[row][column] += 1;
    }

    /// Faults caught as what they are, faults, and healthy episodes that were rejected or errored.
    pub(crate) fn score(&self) -> (u64, u64, u64) {
        let caught = (0..NONE).map(|fault| self.counts[fault][fault]).sum();
        let faults = self.counts[..NONE].iter().flatten().sum();
        let alarms = (0..=OTHER).filter(|column| *column != NONE).map(|column| self.counts[NONE][column]).sum();
        (caught, faults, alarms)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let (caught, faults, alarms) = self.score();
        serde_json::json!({
            "labels": Fault::ALL.iter().map(|f| f.name()).chain(["none", "other"]).collect::<Vec<_>>(),
            "counts": self.counts, "caught": caught, "faults": faults, "healthy_rejected": alarms,
        })
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let letters: Vec<String> =
            (1..=NONE).map(|i| format!("({i})")).chain(["none".into(), "other".into()]).collect();
        let header: Vec<&str> = ["injected \\ found"].into_iter().chain(letters.iter().map(String::as_str)).collect();
        let names = Fault::ALL.iter().map(|fault| fault.name()).chain(["none"]);
        let rows: Vec<Vec<String>> = names
            .zip(&self.counts)
            .enumerate()
            .map(|(i, (name, counts))| {
                let label = if i < NONE { format!("({}) {name}", i + 1) } else { name.to_owned() };
                [label].into_iter().chain(counts.iter().map(u64::to_string)).collect()
            })
            .collect();
        let (caught, faults, alarms) = self.score();
        output::line(&format!("\nagainst the ground truth in {FAULTS_FILE}"))?;
        output::line(&output::table(&header, &rows))?;
        output::line(&format!(
            "{caught} of {faults} faults found as what they are; {alarms} healthy episodes refused"
        ))?;
        Ok(())
    }
}
