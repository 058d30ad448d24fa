//! The ledger as text: a table of the hosts that test, then every cell that nobody should take for tested, by name.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Ledger, Status};

/// Longest name in a table; the lists below it have names in full.
const LONGEST: usize = 28;

impl Ledger {
    /// A table of test windows, a row for every profile that ran on a host of the test side, and the lists of cells that
    /// are untested, have too few windows or were never trained. Lists are wrapped at `width` columns. Names are
    /// stripped of control and bidirectional characters.
    pub fn render(&self, width: usize) -> String {
        let min = self.min_cell();
        let mut lines = Vec::new();
        let tested = format!(
            "a cell is tested from {} windows of {} episodes on (? = fewer, - = none)",
            min.windows, min.episodes
        );
        wrap(&mut lines, "coverage, profile × host × phase, in test windows", &[tested], width);
        let (profiles, hosts, phases) = (0..self.profiles().len(), 0..self.hosts().len(), 0..self.phases().len());
        let cells = |p: usize, h: usize| phases.clone().map(move |c| self.cell(p, h, c));
        let tests = |h: usize| profiles.clone().any(|p| cells(p, h).any(|cell| cell.test.windows > 0));
        let (testing, silent): (Vec<usize>, Vec<usize>) = hosts.partition(|&h| tests(h));

        let mut table = vec![vec!["profile".to_owned(), "host".to_owned()]];
        table[0].extend(self.phases().iter().map(|phase| short(phase)));
        let mut untested = Vec::new();
        let mut too_few = Vec::new();
        for p in profiles.clone() {
            let mut never_ran = Vec::new();
            for &h in &testing {
                if cells(p, h).all(|cell| cell.train.windows + cell.validation.windows + cell.test.windows == 0) {
                    never_ran.push(clean(&self.hosts()[h]));
                    continue;
                }
                let mut row = vec![short(&self.profiles()[p]), short(&self.hosts()[h])];
                let (mut none, mut few) = (Vec::new(), Vec::new());
                for cell in cells(p, h) {
                    row.push(match cell.status {
                        Status::Tested => cell.test.windows.to_string(),
                        Status::TooFew => format!("{}?", cell.test.windows),
                        Status::Untested => "-".into(),
                    });
                    match cell.status {
                        Status::Tested => {}
                        Status::TooFew => {
                            few.push(format!("{} {}/{}", clean(cell.phase), cell.test.windows, cell.test.episodes));
                        }
                        Status::Untested => none.push(clean(cell.phase)),
                    }
                }
                table.push(row);
                let place = format!("{} on {}", clean(&self.profiles()[p]), clean(&self.hosts()[h]));
                for (list, phases) in [(&mut untested, none), (&mut too_few, few)] {
                    if !phases.is_empty() {
                        list.push(format!("{place}: {}", phases.join(", ")));
                    }
                }
            }
            if !never_ran.is_empty() {
                let profile = clean(&self.profiles()[p]);
                untested.push(format!("{profile} on {}: every phase", never_ran.join(", ")));
            }
        }
        lines.extend(aligned(&table));

        let names =
            |positions: &[usize]| positions.iter().map(|&h| clean(&self.hosts()[h])).collect::<Vec<_>>().join(", ");
        if !silent.is_empty() {
            untested.push(format!("every profile and phase on {} (no test window)", names(&silent)));
        }
        wrap(&mut lines, "untested", &untested, width);
        wrap(&mut lines, "too few (windows/episodes)", &too_few, width);
        wrap(&mut lines, "tested but never trained on any host", &self.never_trained(), width);
        let s = self.summary();
        let all = s.tested + s.too_few + s.untested;
        lines.push(format!("{} of {all} cells tested, {} too few, {} untested", s.tested, s.too_few, s.untested));
        lines.join("\n")
    }

    /// Profile and phase with test windows on some host and training windows on none.
    fn never_trained(&self) -> Vec<String> {
        let (mut tested, mut trained) = (BTreeSet::new(), BTreeSet::new());
        for cell in self.cells() {
            if cell.test.windows > 0 {
                tested.insert((cell.profile, cell.phase));
            }
            if cell.train.windows > 0 {
                trained.insert((cell.profile, cell.phase));
            }
        }
        tested.difference(&trained).map(|(profile, phase)| format!("{}: {}", clean(profile), clean(phase))).collect()
    }
}

impl fmt::Display for Ledger {
    /// As [`Ledger::render`] at 100 columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(100))
    }
}

/// A name without characters that move the cursor or turn the line around (UAX #9).
fn clean(name: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

/// A clean name, cut to a column's width.
fn short(name: &str) -> String {
    let name = clean(name);
    if name.chars().count() <= LONGEST {
        return name;
    }
    name.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// The first two columns to the left, the others to the right.
fn aligned(table: &[Vec<String>]) -> Vec<String> {
    let columns = table[0].len();
    let widths: Vec<usize> =
        (0..columns).map(|c| table.iter().map(|row| row[c].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(c, (text, &w))| if c < 2 { format!("{text:<w$}") } else { format!("{text:>w$}") });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    table.iter().map(line).collect()
}

/// `title: item; item; …`, wrapped between words; nothing without items.
fn wrap(lines: &mut Vec<String>, title: &str, items: &[String], width: usize) {
    if items.is_empty() {
        return;
    }
    let text = format!("{title}: {}", items.join("; "));
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, "   ".into()));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
}
