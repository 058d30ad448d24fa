//! Demand: what a program asks of a machine, before the machine turns it into channels.

/// One thing that programs ask for. All amounts are for the reference machine (3 GHz, one disk, one link); a host
/// scales them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// User mode on every core at once, as a share of them.
    Crunch,
    /// User mode, in cores.
    User,
    /// Kernel mode, in cores.
    System,
    /// Disk reads, MB/s.
    Read,
    /// Disk writes, MB/s.
    Write,
    /// Forced writes to the disk, 1/s.
    Flush,
    /// Resident memory, MB.
    Memory,
    /// Page faults, 1/s.
    Faults,
    /// New processes, 1/s.
    Forks,
    /// Context switches, 1/s.
    Switches,
    /// Open TCP connections.
    Sessions,
    /// New conversations, 1/s.
    Flows,
    /// New destination addresses, 1/s.
    Addresses,
    /// New destination ports, 1/s.
    Ports,
    /// Bare connection attempts (scans and floods), 1/s.
    Syn,
    /// Refused attempts, 1/s.
    Refused,
    /// Payload that leaves, KB/s.
    Out,
    /// Payload that enters, KB/s.
    In,
    /// Name look-ups, 1/s.
    Dns,
}

/// How many things can be asked for.
pub(super) const ASKS: usize = 19;

/// An amount of each [`Ask`].
pub(super) type Demand = [f64; ASKS];

/// A sparse demand as it is written in tables.
pub(super) type Entries = &'static [(Ask, f64)];

/// The dense form of a table entry.
pub(super) fn demand(entries: Entries) -> Demand {
    let mut demand = [0.0; ASKS];
    for &(ask, amount) in entries {
        demand[ask as usize] += amount;
    }
    demand
}

/// When an act is on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rhythm {
    /// All the time.
    Steady,
    /// `on` seconds at the start of every `every` seconds; nearly nothing between.
    Bursts {
        /// Period in seconds.
        every: f64,
        /// Length of a burst in seconds.
        on: f64,
    },
}

impl Rhythm {
    /// What is left of an act between its bursts.
    const REST: f64 = 0.06;

    /// Share of the demand at `t` seconds after the act began, at `pace` times the written speed.
    pub(super) fn level(self, t: f64, pace: f64) -> f64 {
        match self {
            Self::Steady => 1.0,
            Self::Bursts { every, on } if (t * pace).rem_euclid(every) < on => 1.0,
            Self::Bursts { .. } => Self::REST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_on_at_the_start_of_each_period_and_follow_the_pace() {
        let rhythm = Rhythm::Bursts { every: 10.0, on: 2.0 };
        let on = |t, pace| rhythm.level(t, pace) == 1.0;
        assert!(on(0.0, 1.0) && on(1.9, 1.0) && on(11.0, 1.0) && !on(2.0, 1.0) && !on(9.9, 1.0));
        assert!(on(5.5, 2.0) && !on(1.5, 2.0));
        assert_eq!(Rhythm::Steady.level(3.0, 1.0), 1.0);
    }

    #[test]
    fn entries_land_on_their_ask() {
        let dense = demand(&[(Ask::Crunch, 0.5), (Ask::Dns, 2.0)]);
        assert_eq!((dense[0], dense[ASKS - 1]), (0.5, 2.0));
        assert_eq!(dense.iter().filter(|v| **v != 0.0).count(), 2);
    }
}
