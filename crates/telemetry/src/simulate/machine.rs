//! The machine: a tenth of a second at a time, it turns what programs ask for into the built-in channels.
//!
//! All sources look at the same machine, so one disk write shows in the guest's sectors, in the hypervisor's block
//! statistics and in the process that carries the guest, each in its own unit.

use stakeout_core::channels::BUILT_IN;

use super::demand::{ASKS, Ask, Demand};
use super::draw::Draw;
use super::hosts::Host;

/// Steps a second.
pub(super) const STEPS_PER_SECOND: usize = 10;
const DT: f64 = 1.0 / STEPS_PER_SECOND as f64;
const MB: f64 = 1_048_576.0;

/// Number of channels.
pub(super) const CHANNELS: usize = BUILT_IN.len();

/// One value a channel, in registry order: a level's reading, a counter's increment, a delta's amount.
pub(super) type Step = [f64; CHANNELS];

/// Position of a channel in the registry; an unknown name does not compile.
const fn at(name: &str) -> usize {
    let name = name.as_bytes();
    let mut i = 0;
    while i < CHANNELS {
        let other = BUILT_IN[i].name.as_bytes();
        let mut same = other.len() == name.len();
        let mut k = 0;
        while same && k < name.len() {
            same = other[k] == name[k];
            k += 1;
        }
        if same {
            return i;
        }
        i += 1;
    }
    panic!("no such channel")
}

macro_rules! fill {
    ($step:ident { $($name:literal: $value:expr,)* }) => { $($step[const { at($name) }] = $value;)* };
}

/// What a machine remembers from one step to the next.
pub(super) struct Machine<'a> {
    host: &'a Host,
    noise: Demand,
    factor: Demand,
    steps: usize,
    used: f64,
    rss: f64,
    cached: f64,
    dirty: f64,
    load1: f64,
}

impl<'a> Machine<'a> {
    /// A machine that has been up for a while under its own load.
    pub(super) fn new(host: &'a Host, draw: &mut Draw) -> Self {
        let used = (host.base[Ask::Memory as usize] * MB).min(0.7 * host.memory);
        let noise = std::array::from_fn(|_| draw.normal());
        Self {
            host,
            noise,
            factor: [1.0; ASKS],
            steps: 0,
            used,
            rss: (used * draw.between(1.1, 1.5)).min(host.memory),
            cached: (host.memory - used) * draw.between(0.15, 0.6),
            dirty: draw.between(0.5, 20.0) * MB,
            load1: host.base[Ask::User as usize] * draw.between(0.5, 2.0),
        }
    }

    /// The host's background noise: one factor an ask, wandering with a memory of about five seconds.
    pub(super) fn noise(&mut self, draw: &mut Draw) -> &Demand {
        const EVERY: usize = STEPS_PER_SECOND / 2;
        const KEEP: f64 = 0.9;
        if self.steps.is_multiple_of(EVERY) {
            let sigma = self.host.noise;
            for (noise, factor) in self.noise.iter_mut().zip(&mut self.factor) {
                *noise = KEEP * *noise + (1.0 - KEEP * KEEP).sqrt() * draw.normal();
                *factor = (sigma * *noise - 0.5 * sigma * sigma).exp();
            }
        }
        self.steps += 1;
        &self.factor
    }

    /// One step under a total demand.
    pub(super) fn step(&mut self, asked: &Demand, draw: &mut Draw) -> Step {
        let host = self.host;
        let of = |ask: Ask| asked[ask as usize];

        // Network first: its packets cost CPU time and interrupts.
        let mut count = |rate: f64| draw.poisson(rate * DT) as f64;
        let syn = count(of(Ask::Syn));
        let flows = count(of(Ask::Flows));
        let dns = count(of(Ask::Dns));
        let refused = count(of(Ask::Refused));
        let contacts = flows + syn;
        let addresses = count(of(Ask::Addresses)).min(contacts) + f64::from(u8::from(contacts > 0.0));
        let ports = count(of(Ask::Ports)).min(contacts) + f64::from(u8::from(contacts > 0.0));
        let full_out = count(of(Ask::Out) * 1024.0 / host.packet);
        let full_in = count(of(Ask::In) * 1024.0 / host.packet);
        let forks = count(of(Ask::Forks));
        let packets_out = full_out + 0.5 * full_in.min(full_out).floor() + syn + 3.0 * flows + dns;
        let packets_in = full_in + (0.5 * full_out).floor() + refused + 2.0 * flows + dns;
        let octets_out = (full_out * host.packet * draw.between(0.8, 1.2) + 54.0 * (packets_out - full_out)).floor();
        let octets_in = (full_in * host.packet * draw.between(0.8, 1.2) + 58.0 * (packets_in - full_in)).floor();

        // CPU: the clock sets how long work takes; what does not fit waits.
        let speed = host.ghz / 3.0;
        let operations_read = of(Ask::Read) * MB / host.block;
        let operations_write = of(Ask::Write) * MB / (0.6 * host.block) + of(Ask::Flush);
        let packets = (packets_out + packets_in) / DT;
        let user = of(Ask::User) / speed + of(Ask::Crunch) * host.cores;
        let system =
            (of(Ask::System) + 2e-5 * packets + 4e-5 * (operations_read + operations_write) + 6e-6 * of(Ask::Faults))
                / speed;
        let fits = (0.98 * host.cores / (user + system)).min(1.0);
        let waiting = (user + system) * (1.0 - fits);
        let (user, system) = (user * fits, system * fits);
        let busy = user + system;
        let utilisation = busy / host.cores;
        let latency = 0.0018 / host.disk;
        let blocked = ((operations_read * 0.35 + of(Ask::Flush) * 3.0) * latency).min(host.cores);
        let runnable = 1.0 + draw.poisson(0.8 * busy + waiting) as f64;

        // Memory moves towards what is asked for; the page cache fills with what is read and gives way.
        let wanted = (of(Ask::Memory) * MB).min(0.93 * host.memory);
        self.used += (wanted - self.used) * DT / 2.0;
        self.cached += (0.6 * of(Ask::Read) + 0.3 * of(Ask::Write)) * MB * DT;
        self.cached = self.cached.min(0.92 * (host.memory - self.used)).max(8.0 * MB);
        self.rss = self.rss.max((self.used + 0.5 * self.cached).min(host.memory));
        self.dirty += of(Ask::Write) * MB * DT - self.dirty * DT * (0.12 + 0.01 * of(Ask::Flush)).min(2.0);
        self.load1 += (runnable - 1.0 + blocked - self.load1) * DT / 60.0;
        let pressure = (self.used / host.memory - 0.8).max(0.0);
        let io_threads = (40.0 * latency * (operations_read + operations_write)).min(24.0).floor();
        let switches = of(Ask::Switches) + 0.8 * packets + 2.0 * (operations_read + operations_write);

        let mut step = [0.0; CHANNELS];
        fill!(step {
            "proc.cpu_user": 1.04 * user * host.hz * DT,
            "proc.cpu_system": (0.3 * system + 1.2e-5 * packets + 3e-5 * (operations_read + operations_write)) * host.hz * DT,
            "proc.rss": self.rss,
            "proc.threads": host.cores + 3.0 + io_threads,
            "proc.minor_faults": (0.08 * of(Ask::Faults) + 2.0) * DT,
            "proc.major_faults": draw.poisson((0.02 + 200.0 * pressure) * DT) as f64,
            "proc.read_bytes": 0.85 * of(Ask::Read) * MB * DT,
            "proc.write_bytes": of(Ask::Write) * MB * DT,
            "proc.voluntary_switches": (switches * (1.0 - 0.8 * utilisation) * 0.5 + 60.0) * DT,
            "proc.involuntary_switches": (3.0 + 45.0 * busy * utilisation) * DT,
            "qmp.block_read_bytes": of(Ask::Read) * MB * DT,
            "qmp.block_write_bytes": of(Ask::Write) * MB * DT,
            "qmp.block_read_operations": operations_read * DT,
            "qmp.block_write_operations": operations_write * DT,
            "qmp.block_flush_operations": of(Ask::Flush) * DT,
            "qmp.block_write_time": operations_write * latency * 1e9 * DT,
            "qmp.balloon_actual": host.memory,
            "guest.cpu_user": user * host.hz * DT,
            "guest.cpu_system": system * host.hz * DT,
            "guest.cpu_iowait": (blocked * (1.0 - utilisation).max(0.0)) * host.hz * DT,
            "guest.context_switches": switches * DT,
            "guest.interrupts": (70.0 * host.cores * (0.3 + utilisation) + 0.6 * packets + operations_read + operations_write) * DT,
            "guest.forks": forks,
            "guest.procs_running": runnable,
            "guest.procs_blocked": draw.poisson(blocked) as f64,
            "guest.load1": self.load1,
            "guest.memory_available": host.memory - self.used,
            "guest.memory_cached": self.cached,
            "guest.memory_dirty": self.dirty,
            "guest.page_faults": (of(Ask::Faults) + 120.0 * forks / DT * 0.5) * DT,
            "guest.swap_out": 4000.0 * pressure * DT,
            "guest.disk_read_sectors": of(Ask::Read) * MB / 512.0 * DT,
            "guest.disk_written_sectors": of(Ask::Write) * MB / 512.0 * DT,
            "guest.net_received_bytes": 1.01 * octets_in + 14.0 * packets_in,
            "guest.net_sent_bytes": 1.01 * octets_out + 14.0 * packets_out,
            "guest.tcp_established": of(Ask::Sessions) + 0.8 * of(Ask::Flows),
            "netflow.octets_out": octets_out,
            "netflow.octets_in": octets_in,
            "netflow.packets_out": packets_out,
            "netflow.packets_in": packets_in,
            "netflow.flows_started": contacts,
            "netflow.destination_addresses": addresses,
            "netflow.destination_ports": ports,
            "netflow.tcp_syn": syn + (0.8 * flows).round(),
            "netflow.tcp_rst": refused,
            "netflow.dns_queries": dns,
        });
        step
    }
}

#[cfg(test)]
mod tests {
    use super::super::demand::demand;
    use super::super::profiles::{BASELINE, MALICIOUS};
    use super::*;

    const START: i64 = 1_700_000_000_000_000_000;

    /// Sums over `seconds` under a constant demand.
    fn run(host: &Host, asked: &Demand, seconds: usize) -> Step {
        let mut draw = Draw::new(9, "machine", 0);
        let mut machine = Machine::new(host, &mut draw);
        let mut sum = [0.0; CHANNELS];
        for _ in 0..seconds * STEPS_PER_SECOND {
            for (sum, value) in sum.iter_mut().zip(machine.step(asked, &mut draw)) {
                *sum += value;
            }
        }
        sum
    }

    #[test]
    fn every_channel_is_filled_finite_and_never_negative() {
        for number in 0..12 {
            let host = Host::new(4, number, START);
            for profile in &MALICIOUS {
                let mut asked = host.base;
                for (a, b) in asked.iter_mut().zip(demand(profile.acts[2].asks)) {
                    *a += b;
                }
                let sum = run(&host, &asked, 30);
                assert!(sum.iter().all(|v| v.is_finite() && *v >= 0.0), "{}", profile.name);
            }
        }
        // Two channels may stay at zero: without memory pressure nothing is swapped and few pages come from disk.
        let sum = run(&Host::new(4, 0, START), &demand(BASELINE), 300);
        for (channel, sum) in BUILT_IN.iter().zip(sum) {
            assert!(sum > 0.0 || channel.name.ends_with("swap_out"), "{} stays at zero", channel.name);
        }
    }

    #[test]
    fn cpu_time_never_exceeds_the_cores() {
        let host = Host::new(4, 1, START);
        let sum = run(&host, &demand(&[(Ask::Crunch, 3.0), (Ask::System, 9.0)]), 20);
        let seconds = (sum[at("guest.cpu_user")] + sum[at("guest.cpu_system")]) / host.hz;
        assert!(seconds <= 20.0 * host.cores && seconds > 19.0 * host.cores);
    }

    #[test]
    fn the_same_writes_show_in_three_sources() {
        let sum = run(&Host::new(4, 2, START), &demand(&[(Ask::Write, 5.0)]), 10);
        let bytes = 50.0 * MB;
        for seen in [
            sum[at("proc.write_bytes")],
            sum[at("qmp.block_write_bytes")],
            512.0 * sum[at("guest.disk_written_sectors")],
        ] {
            assert!((seen / bytes - 1.0).abs() < 1e-9);
        }
    }
}
