//! Made-up sequences: what a program does on a quiet day, and a few that break in. They say nothing about real malware.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::data::Sequences;
use super::vocabulary::Vocabulary;
use crate::DetectError;

/// Benign routines; a bracketed step may be left out, a starred one repeated.
const ROUTINES: [&[&str]; 4] = [
    &["auth.login", "file.read*", "[file.write]", "net.send*", "[net.receive]", "auth.logout"],
    &["timer.fire", "proc.spawn", "file.read*", "file.write*", "[log.append]", "proc.exit"],
    &["net.receive*", "db.query*", "[db.update]", "net.send", "[log.append]"],
    &["proc.spawn", "lib.load*", "[config.read]", "net.resolve", "net.send*", "net.receive*", "proc.exit"],
];

/// What an intrusion adds; each one is also done on quiet days, but not in this order.
const INTRUSIONS: [&[&str]; 4] = [
    &["net.receive", "file.write", "proc.spawn", "net.resolve", "net.send*"],
    &["net.scan*", "auth.login", "file.read*", "net.send*"],
    &["proc.spawn", "config.read", "auth.escalate", "log.truncate"],
    &["file.read*", "file.encrypt*", "file.delete*"],
];

/// Share of anomalous sequences in percent.
const ANOMALOUS: u64 = 8;

/// `samples` labelled sequences of about ten actions, 8 % of them anomalous, and their vocabulary. Same seed, same
/// sequences.
///
/// # Errors
/// [`DetectError::Invalid`] when `samples` is not in 1 to 10 million.
pub fn simulate(samples: usize, seed: u64) -> Result<(Sequences, Vocabulary), DetectError> {
    if !(1..=10_000_000).contains(&samples) {
        return Err(DetectError::Invalid { what: "samples", why: format!("{samples}: 1 to 10,000,000") });
    }
    let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(seed));
    let (mut data, mut vocabulary) = (Sequences::default(), Vocabulary::default());
    let mut ids = Vec::new();
    for _ in 0..samples {
        let anomalous = dice.below(100) < ANOMALOUS;
        ids.clear();
        let parts = 1 + dice.below(2);
        let intruded = dice.below(parts);
        for part in 0..parts {
            let routine = ROUTINES[dice.below(ROUTINES.len() as u64) as usize];
            act(routine, &mut dice, &mut vocabulary, &mut ids)?;
            if anomalous && part == intruded {
                let intrusion = INTRUSIONS[dice.below(INTRUSIONS.len() as u64) as usize];
                act(intrusion, &mut dice, &mut vocabulary, &mut ids)?;
            }
        }
        data.push(ids.iter().copied(), Some(anomalous));
    }
    Ok((data, vocabulary))
}

/// Runs through a routine.
fn act(routine: &[&str], dice: &mut Dice, vocabulary: &mut Vocabulary, ids: &mut Vec<u32>) -> Result<(), DetectError> {
    for step in routine {
        let (name, times) = if let Some(name) = step.strip_suffix('*') {
            (name, 1 + dice.below(3))
        } else if let Some(name) = step.strip_prefix('[') {
            (name.trim_end_matches(']'), dice.below(2))
        } else {
            (*step, 1)
        };
        let id = vocabulary.intern(name)?;
        ids.extend((0..times).map(|_| id));
    }
    Ok(())
}

struct Dice(Xoshiro256PlusPlus);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_its_sequences() {
        let (data, vocabulary) = simulate(2000, 1).unwrap();
        assert_eq!(simulate(2000, 1).unwrap(), (data.clone(), vocabulary));
        assert_ne!(simulate(2000, 2).unwrap().0, data);
        let anomalous = data.iter().filter(|(_, label)| *label == Some(true)).count();
        assert!((120..200).contains(&anomalous), "{anomalous}");
        let mean = data.actions() as f64 / data.len() as f64;
        assert!((7.0..16.0).contains(&mean), "{mean}");
        assert!(simulate(0, 1).is_err() && simulate(usize::MAX, 1).is_err());
    }
}
