//! The programs that are run: one static table of what each asks for in each phase.
//!
//! The amounts are invented. They follow what such programs are commonly said to do, so that the phases differ in
//! kind and order of magnitude; no number here was measured on malware, and a detector that works on these programs
//! has shown nothing about real ones.

use super::demand::Ask::{
    Addresses, Crunch, Dns, Faults, Flows, Flush, Forks, In, Memory, Out, Ports, Read, Refused, Sessions, Switches,
    Syn, System, User, Write,
};
use super::demand::Rhythm::{Bursts, Steady};
use super::demand::{Entries, Rhythm};

/// What a program does in one phase, on top of the host's own load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    /// What it asks for while it is on.
    pub(super) asks: Entries,
    /// When it is on.
    pub(super) rhythm: Rhythm,
}

/// A behaviour family.
#[derive(Debug)]
pub(super) struct Profile {
    /// Its name in metadata and reports.
    pub(super) name: &'static str,
    /// What it does in `armed`, `infecting`, `infected_running` and `dormant`. While the phase is `clean` it does
    /// not run.
    pub(super) acts: [Act; 4],
}

/// A program without a label: it runs while the phase is `clean`.
#[derive(Debug)]
pub(super) struct Benign {
    /// Its name in metadata and reports.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) act: Act,
}

const fn act(asks: Entries, rhythm: Rhythm) -> Act {
    Act { asks, rhythm }
}

/// What the reference machine asks for when nobody runs anything: a small server with a web service and a database.
pub(super) const BASELINE: Entries = &[
    (User, 0.16),
    (System, 0.06),
    (Read, 0.25),
    (Write, 0.35),
    (Flush, 0.6),
    (Memory, 700.0),
    (Faults, 300.0),
    (Forks, 0.5),
    (Switches, 900.0),
    (Sessions, 14.0),
    (Flows, 1.6),
    (Addresses, 0.6),
    (Ports, 0.5),
    (Syn, 0.05),
    (Refused, 0.03),
    (Out, 5.0),
    (In, 9.0),
    (Dns, 0.5),
];

/// The malicious profiles.
#[rustfmt::skip] // a table: one phase a row
pub(super) static MALICIOUS: [Profile; 6] = [
    // Tries many addresses on a few ports, is mostly refused, and dials home by name now and then. Little CPU, no disk.
    Profile { name: "scan-and-dial", acts: [
        act(&[(Switches, 390.0), (Sessions, 2.0), (Flows, 1.35), (In, 4.5), (Refused, 0.225)], Bursts { every: 4.0, on: 1.5 }),
        act(&[(User, 0.25), (System, 0.15), (Forks, 6.0), (Faults, 2500.0), (In, 160.0), (Write, 0.9), (Dns, 1.5), (Memory, 30.0)], Steady),
        act(&[(System, 0.22), (Switches, 1500.0), (Syn, 45.0), (Addresses, 28.0), (Ports, 3.0), (Refused, 16.0), (Flows, 7.0), (Dns, 1.2), (Sessions, 2.0)], Bursts { every: 9.0, on: 6.5 }),
        act(&[(Flows, 0.85), (Dns, 1.02), (Out, 1.02), (Syn, 0.51), (Memory, 20.0)], Bursts { every: 7.0, on: 1.0 }),
    ]},
    // Computes on every core and speaks to one pool over one long session. Steady; the network hardly shows it.
    Profile { name: "cryptominer", acts: [
        act(&[(Switches, 330.0), (Sessions, 2.0), (Flows, 1.05), (In, 5.25), (Dns, 0.3)], Bursts { every: 5.0, on: 1.5 }),
        act(&[(User, 0.5), (System, 0.12), (Forks, 4.0), (Faults, 4000.0), (In, 260.0), (Write, 1.8), (Dns, 0.9), (Memory, 90.0)], Steady),
        act(&[(Crunch, 0.55), (Memory, 260.0), (Switches, 500.0), (Sessions, 1.0), (Out, 0.9), (In, 0.9), (Flows, 0.15)], Steady),
        act(&[(Crunch, 0.06), (Memory, 180.0), (Sessions, 2.0), (Out, 0.68), (Dns, 0.17)], Bursts { every: 11.0, on: 2.0 }),
    ]},
    // Walks the files: reads, encrypts, writes back, flushes. Disk and one or two cores, in runs of a few seconds.
    Profile { name: "ransomware", acts: [
        act(&[(Switches, 360.0), (Sessions, 2.0), (Flows, 0.9), (In, 6.0), (Read, 0.375)], Bursts { every: 4.0, on: 1.2 }),
        act(&[(User, 0.35), (System, 0.2), (Forks, 9.0), (Faults, 3500.0), (In, 130.0), (Read, 1.5), (Write, 1.2), (Dns, 0.8), (Memory, 60.0)], Steady),
        act(&[(User, 0.9), (System, 0.35), (Read, 14.0), (Write, 13.0), (Flush, 14.0), (Faults, 2200.0), (Switches, 1400.0), (Memory, 120.0)], Bursts { every: 7.0, on: 5.0 }),
        act(&[(Read, 0.68), (Out, 0.85), (Dns, 0.51), (Sessions, 2.0), (Memory, 60.0)], Bursts { every: 9.0, on: 1.0 }),
    ]},
    // Gathers files, then sends them to few addresses in long bursts; asks names more than it must.
    Profile { name: "exfiltration", acts: [
        act(&[(Switches, 300.0), (Sessions, 2.0), (Flows, 1.2), (In, 4.5), (Out, 1.5)], Bursts { every: 6.0, on: 2.0 }),
        act(&[(User, 0.25), (System, 0.15), (Forks, 7.0), (Faults, 2200.0), (In, 120.0), (Read, 0.9), (Write, 0.6), (Dns, 1.4), (Memory, 40.0)], Steady),
        act(&[(User, 0.25), (System, 0.2), (Read, 5.0), (Out, 480.0), (In, 11.0), (Flows, 1.2), (Sessions, 3.0), (Dns, 2.5), (Switches, 600.0), (Memory, 70.0)], Bursts { every: 10.0, on: 6.0 }),
        act(&[(Out, 5.1), (Dns, 1.36), (Sessions, 2.0), (Read, 0.255)], Bursts { every: 8.0, on: 1.2 }),
    ]},
    // Waits for orders, then floods one address with small packets.
    Profile { name: "ddos-bot", acts: [
        act(&[(Switches, 345.0), (Sessions, 2.0), (Flows, 1.5), (In, 3.75), (Syn, 0.3)], Bursts { every: 5.0, on: 1.2 }),
        act(&[(User, 0.25), (System, 0.12), (Forks, 5.0), (Faults, 1900.0), (In, 110.0), (Write, 0.5), (Dns, 1.1), (Memory, 25.0)], Steady),
        act(&[(System, 0.5), (User, 0.12), (Syn, 420.0), (Out, 60.0), (Refused, 3.0), (Flows, 2.0), (Ports, 1.0), (Switches, 1100.0), (Sessions, 1.0)], Bursts { every: 12.0, on: 7.0 }),
        act(&[(Flows, 0.51), (Out, 0.85), (In, 0.85), (Sessions, 2.0), (Dns, 0.51)], Bursts { every: 6.0, on: 0.8 }),
    ]},
    // Drops further programs and leaves a shell in which somebody types: bursts of short processes, small traffic.
    Profile { name: "dropper-shell", acts: [
        act(&[(Switches, 375.0), (Sessions, 2.0), (Flows, 1.2), (In, 7.5), (Forks, 0.45)], Bursts { every: 4.0, on: 1.5 }),
        act(&[(User, 0.45), (System, 0.25), (Forks, 14.0), (Faults, 5200.0), (In, 300.0), (Write, 2.6), (Flush, 1.0), (Dns, 0.9), (Memory, 70.0)], Steady),
        act(&[(User, 0.22), (System, 0.12), (Forks, 9.0), (Faults, 2400.0), (Switches, 500.0), (Sessions, 2.0), (Out, 6.0), (In, 3.0), (Read, 0.6), (Memory, 40.0)], Bursts { every: 6.0, on: 3.0 }),
        act(&[(Sessions, 2.0), (Out, 0.68), (In, 0.51), (Switches, 102.0), (Memory, 30.0)], Bursts { every: 10.0, on: 1.0 }),
    ]},
];

/// The benign programs. The first is what runs in a calibration stretch. The others are busy in ways that some
/// malicious profile is busy too: a backup reads and sends, a build computes and forks, an update downloads and writes.
#[rustfmt::skip] // a table: one program a row
pub(super) static BENIGN: [Benign; 5] = [
    Benign { name: "idle", act: act(&[], Steady) },
    Benign { name: "backup", act: act(&[(User, 0.3), (System, 0.2), (Read, 8.0), (Out, 260.0), (Flows, 0.6), (Sessions, 2.0), (Memory, 90.0), (Switches, 500.0)], Bursts { every: 20.0, on: 15.0 }) },
    Benign { name: "build", act: act(&[(Crunch, 0.3), (User, 0.6), (System, 0.25), (Forks, 11.0), (Faults, 4500.0), (Read, 1.2), (Write, 2.5), (Memory, 280.0), (Switches, 900.0)], Bursts { every: 15.0, on: 11.0 }) },
    Benign { name: "update", act: act(&[(User, 0.4), (System, 0.2), (In, 210.0), (Out, 4.0), (Write, 4.5), (Flush, 5.0), (Forks, 4.0), (Faults, 1800.0), (Dns, 1.4), (Flows, 1.5), (Sessions, 2.0), (Memory, 60.0)], Bursts { every: 18.0, on: 12.0 }) },
    Benign { name: "browse", act: act(&[(User, 0.4), (System, 0.1), (Flows, 6.0), (Addresses, 3.0), (Ports, 0.6), (Dns, 3.0), (In, 90.0), (Out, 9.0), (Sessions, 8.0), (Faults, 900.0), (Memory, 150.0), (Switches, 900.0)], Bursts { every: 8.0, on: 4.0 }) },
];

#[cfg(test)]
mod tests {
    use super::super::demand::demand;
    use super::*;

    #[test]
    fn names_are_unique_and_every_act_asks_for_something() {
        let mut names: Vec<_> = MALICIOUS.iter().map(|p| p.name).chain(BENIGN.iter().map(|p| p.name)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), MALICIOUS.len() + BENIGN.len());
        for profile in &MALICIOUS {
            for act in &profile.acts {
                assert!(act.asks.iter().all(|(_, amount)| *amount > 0.0) && !act.asks.is_empty(), "{}", profile.name);
            }
        }
    }

    #[test]
    fn no_two_running_profiles_ask_for_the_same_mix() {
        for (i, a) in MALICIOUS.iter().enumerate() {
            for b in &MALICIOUS[i + 1..] {
                let (x, y) = (demand(a.acts[2].asks), demand(b.acts[2].asks));
                let baseline = demand(BASELINE);
                let apart = x.iter().zip(&y).zip(&baseline).any(|((x, y), base)| {
                    let (low, high) = (x.min(*y) + base, x.max(*y) + base);
                    high > 3.0 * low
                });
                assert!(apart, "{} and {} differ in nothing by three times", a.name, b.name);
            }
        }
    }
}
