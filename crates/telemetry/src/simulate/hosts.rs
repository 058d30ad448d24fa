//! The machines. Each differs in size, in what it does anyway, in how it counts and in what its clocks say: a model
//! that learnt the numbers of one host instead of their meaning must fail on another.

use stakeout_core::Source;

use super::demand::{ASKS, Ask, Demand, demand};
use super::draw::Draw;
use super::profiles::BASELINE;

/// Sources that the simulator writes, in file order.
pub(super) const SOURCES: [Source; 4] = [Source::Proc, Source::Guest, Source::Qmp, Source::Netflow];

/// What `t_mono_ns` counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MonoBase {
    /// The start of the episode.
    Episode,
    /// The boot of the machine that the source runs on.
    Boot,
}

/// The clock of one source on one host.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceClock {
    /// Constant error of the wall clock, nanoseconds.
    pub(super) offset_ns: i64,
    /// Its rate error, parts per million, since the start of the episode.
    pub(super) drift_ppm: f64,
    /// What the monotonic clock counts from.
    pub(super) mono: MonoBase,
    /// When that boot was, Unix nanoseconds.
    pub(super) boot_ns: i64,
}

impl SourceClock {
    /// `(t_mono_ns, t_wall_ns)` as this source reports `t_ns` after an episode's start.
    pub(super) fn read(&self, start_ns: i64, t_ns: i64) -> (i64, i64) {
        let own = t_ns + (t_ns as f64 * self.drift_ppm * 1e-6) as i64;
        let base = match self.mono {
            MonoBase::Episode => 0,
            MonoBase::Boot => start_ns - self.boot_ns,
        };
        (base + own, start_ns + self.offset_ns + own)
    }
}

/// Work that a host does again and again: logs, caches, statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chore {
    /// Period, seconds.
    pub(super) every_s: f64,
    /// How long it takes, seconds.
    pub(super) length_s: f64,
    /// How much it adds, relative to the baseline.
    pub(super) strength: f64,
}

/// A simulated device.
#[derive(Debug, Clone)]
pub(super) struct Host {
    /// Its name in metadata.
    pub(super) name: String,
    /// Virtual cores.
    pub(super) cores: f64,
    /// CPU clock in GHz.
    pub(super) ghz: f64,
    /// Memory in bytes.
    pub(super) memory: f64,
    /// Ticks that its kernels count a second of CPU time as.
    pub(super) hz: f64,
    /// Disk speed relative to the reference machine.
    pub(super) disk: f64,
    /// Link speed relative to the reference machine.
    pub(super) link: f64,
    /// Bytes a disk operation moves.
    pub(super) block: f64,
    /// Payload bytes of a full packet.
    pub(super) packet: f64,
    /// What it asks for when nothing is run on it.
    pub(super) base: Demand,
    /// Deviation of the logarithm of its background noise.
    pub(super) noise: f64,
    /// Its own recurring work.
    pub(super) chore: Chore,
    /// When in the day it is busiest.
    pub(super) busiest: f64,
    /// Growth of the baseline per day, as a factor.
    pub(super) growth: f64,
    /// When it booted, Unix nanoseconds: its counters have been running since.
    pub(super) boot_ns: i64,
    /// One clock for each of [`SOURCES`].
    pub(super) clocks: [SourceClock; 4],
}

impl Host {
    /// The `number`th host of a store that begins at `start_ns`.
    pub(super) fn new(seed: u64, number: usize, start_ns: i64) -> Self {
        let mut draw = Draw::new(seed, "host", number as u64);
        let cores = [2.0, 4.0, 4.0, 8.0, 8.0, 16.0][draw.below(6)];
        let load = draw.factor(0.3);
        let mut base = demand(BASELINE);
        for amount in &mut base {
            *amount *= load * draw.factor(0.4);
        }
        base[Ask::Memory as usize] *= draw.between(0.7, 2.5);
        let boot_ns = start_ns - (draw.between(0.5, 30.0) * 86_400e9) as i64;
        let physical_boot_ns = boot_ns - (draw.between(0.5, 60.0) * 86_400e9) as i64;
        let clocks = SOURCES.map(|source| {
            let (mono, boot_ns) = match source {
                Source::Proc => (MonoBase::Boot, physical_boot_ns),
                Source::Guest => (MonoBase::Boot, boot_ns),
                _ => (MonoBase::Episode, 0),
            };
            SourceClock {
                offset_ns: draw.between(-45e6, 45e6) as i64,
                drift_ppm: draw.between(-40.0, 40.0),
                mono,
                boot_ns,
            }
        });
        Self {
            name: format!("host-{:02}", number + 1),
            cores,
            ghz: draw.between(2.1, 4.4),
            memory: [4.0, 8.0, 16.0, 32.0][draw.below(4)] * (1u64 << 30) as f64,
            hz: [100.0, 100.0, 250.0][draw.below(3)],
            disk: draw.factor(0.5),
            link: draw.factor(0.5),
            block: 1024.0 * draw.between(12.0, 90.0),
            packet: draw.between(350.0, 1100.0),
            base,
            noise: draw.between(0.15, 0.4),
            chore: Chore {
                every_s: draw.between(25.0, 90.0),
                length_s: draw.between(1.0, 6.0),
                strength: draw.between(0.5, 5.0),
            },
            busiest: draw.unit(),
            growth: draw.between(0.97, 1.08),
            boot_ns,
            clocks,
        }
    }

    /// What identifies it beyond its name.
    pub(super) fn fingerprint(&self) -> String {
        format!("{} cores, {:.2} GHz, {:.0} GiB", self.cores, self.ghz, self.memory / (1u64 << 30) as f64)
    }

    /// The factor of the baseline at a time after the store's start: a daily wave and slow growth, so that a later
    /// month is not the earlier one.
    pub(super) fn tide(&self, seconds: f64) -> f64 {
        let days = seconds / 86_400.0;
        let wave = 1.0 + 0.25 * (std::f64::consts::TAU * (days + self.busiest)).sin();
        wave * self.growth.powf(days.min(60.0))
    }

    /// What a table entry means here: disk and link set how much of it gets through in a second.
    pub(super) fn scale(&self, mut asked: Demand) -> Demand {
        let (disk, link) = (self.disk.powf(0.7), self.link.powf(0.7));
        for (asks, factor) in [
            (&[Ask::Read, Ask::Write, Ask::Flush][..], disk),
            (&[Ask::Out, Ask::In, Ask::Syn, Ask::Addresses, Ask::Refused], link),
        ] {
            for ask in asks {
                asked[*ask as usize] *= factor;
            }
        }
        asked
    }
}

/// One factor an ask, around 1: how a sample differs from its profile, or a run from its sample.
pub(super) fn variation(draw: &mut Draw, together: f64, each: f64) -> Demand {
    let common = draw.factor(together);
    std::array::from_fn::<f64, ASKS, _>(|_| common * draw.factor(each))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000_000;
    const START: i64 = 20_000 * DAY;

    #[test]
    fn hosts_differ_and_repeat() {
        let a = Host::new(1, 0, START);
        assert_eq!(format!("{a:?}"), format!("{:?}", Host::new(1, 0, START)));
        assert_ne!(a.base, Host::new(1, 1, START).base);
        assert_ne!(a.base, Host::new(2, 0, START).base);
    }

    #[test]
    fn clocks_stay_within_their_bounds_and_keep_two_bases() {
        for number in 0..20 {
            let host = Host::new(3, number, START);
            for clock in &host.clocks {
                let (start_mono, start_wall) = clock.read(START + DAY, 0);
                let (mono, wall) = clock.read(START + DAY, 120_000_000_000);
                assert!((start_wall - START - DAY).abs() < 50_000_000);
                assert!((wall - start_wall - 120_000_000_000).abs() < 10_000_000);
                assert_eq!(mono - start_mono, wall - start_wall);
                assert_eq!(start_mono > DAY, clock.mono == MonoBase::Boot);
            }
        }
    }
}
