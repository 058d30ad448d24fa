//! The 46 built-in channels, as one static registry. Order is meaning: a model's input follows it.
//!
//! Names and fields follow `/proc` (proc(5)), QEMU's monitor protocol (`query-blockstats`, `query-balloon`) and the
//! IPFIX information elements (RFC 7012).

use crate::{ChannelKind, ChannelSpec, Source};

/// A channel of the built-in registry.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Unique name.
    pub name: &'static str,
    /// The source whose rows carry it.
    pub source: Source,
    /// The JSON field of those rows.
    pub field: &'static str,
    /// How its numbers are read.
    pub kind: ChannelKind,
    /// Unit of the raw field.
    pub unit: &'static str,
    /// Whether it can be had where the detector will run.
    pub deployable: bool,
    /// Why a detector would look at it.
    pub about: &'static str,
}

impl From<&BuiltIn> for ChannelSpec {
    fn from(c: &BuiltIn) -> Self {
        Self {
            name: c.name.into(),
            source: c.source,
            field: c.field.into(),
            kind: c.kind,
            unit: c.unit.into(),
            deployable: c.deployable,
            about: c.about.into(),
        }
    }
}

use ChannelKind::{Counter, Delta, Level};
use Source::{Guest, Netflow, Proc, Qmp};

const fn channel(
    source: Source,
    name: &'static str,
    field: &'static str,
    kind: ChannelKind,
    unit: &'static str,
    about: &'static str,
) -> BuiltIn {
    let deployable = matches!(source, Guest | Netflow);
    BuiltIn { name, source, field, kind, unit, deployable, about }
}

/// Length of a network flow bucket.
pub const NETFLOW_BUCKET_NS: i64 = 100_000_000;

/// The built-in registry: proc 10, qmp 7 (both only in the oracle view), guest 19, netflow 10.
#[rustfmt::skip] // one channel a line: a registry is read as a table
pub static BUILT_IN: [BuiltIn; 46] = [
    channel(Proc, "proc.cpu_user", "utime_ticks", Counter, "tick", "cycles that the whole guest burns in user mode"),
    channel(Proc, "proc.cpu_system", "stime_ticks", Counter, "tick", "exits and device emulation on the guest's behalf"),
    channel(Proc, "proc.rss", "rss_bytes", Level, "byte", "guest memory really touched"),
    channel(Proc, "proc.threads", "num_threads", Level, "thread", "I/O worker threads appear under disk load"),
    channel(Proc, "proc.minor_faults", "minflt", Counter, "fault", "first touches of guest memory: unpacking"),
    channel(Proc, "proc.major_faults", "majflt", Counter, "fault", "memory pressure on the physical machine"),
    channel(Proc, "proc.read_bytes", "read_bytes", Counter, "byte", "disk reads that reach the physical disk"),
    channel(Proc, "proc.write_bytes", "write_bytes", Counter, "byte", "disk writes: encryption and dropped files"),
    channel(Proc, "proc.voluntary_switches", "voluntary_ctxt_switches", Counter, "switch", "how often the guest idles"),
    channel(Proc, "proc.involuntary_switches", "nonvoluntary_ctxt_switches", Counter, "switch", "how often it is stopped at work"),
    channel(Qmp, "qmp.block_read_bytes", "rd_bytes", Counter, "byte", "what the guest reads, seen below its kernel"),
    channel(Qmp, "qmp.block_write_bytes", "wr_bytes", Counter, "byte", "what the guest writes, seen below its kernel"),
    channel(Qmp, "qmp.block_read_operations", "rd_operations", Counter, "operation", "size of reads together with bytes"),
    channel(Qmp, "qmp.block_write_operations", "wr_operations", Counter, "operation", "size of writes together with bytes"),
    channel(Qmp, "qmp.block_flush_operations", "flush_operations", Counter, "operation", "synchronous writers: databases and encryptors"),
    channel(Qmp, "qmp.block_write_time", "wr_total_time_ns", Counter, "ns", "time spent in writes"),
    channel(Qmp, "qmp.balloon_actual", "balloon_actual_bytes", Level, "byte", "memory that the guest holds"),
    channel(Guest, "guest.cpu_user", "cpu_user_jiffies", Counter, "jiffy", "user mode: mining, cracking, packing"),
    channel(Guest, "guest.cpu_system", "cpu_system_jiffies", Counter, "jiffy", "kernel mode: file and socket storms"),
    channel(Guest, "guest.cpu_iowait", "cpu_iowait_jiffies", Counter, "jiffy", "waiting for the disk"),
    channel(Guest, "guest.context_switches", "ctxt", Counter, "switch", "many short tasks: scanners, worker pools"),
    channel(Guest, "guest.interrupts", "intr", Counter, "interrupt", "network and disk activity below the sockets"),
    channel(Guest, "guest.forks", "processes", Counter, "process", "shells and droppers start processes"),
    channel(Guest, "guest.procs_running", "procs_running", Level, "process", "runnable tasks: load without averaging"),
    channel(Guest, "guest.procs_blocked", "procs_blocked", Level, "process", "tasks stuck in I/O"),
    channel(Guest, "guest.load1", "load1", Level, "process", "smoothed load: slow campaigns"),
    channel(Guest, "guest.memory_available", "mem_available_bytes", Level, "byte", "memory taken by a new tenant"),
    channel(Guest, "guest.memory_cached", "cached_bytes", Level, "byte", "page cache: files being walked"),
    channel(Guest, "guest.memory_dirty", "dirty_bytes", Level, "byte", "writes not yet on disk"),
    channel(Guest, "guest.page_faults", "pgfault", Counter, "fault", "new code and data being mapped"),
    channel(Guest, "guest.swap_out", "pswpout", Counter, "page", "memory pressure inside the guest"),
    channel(Guest, "guest.disk_read_sectors", "sectors_read", Counter, "sector", "file walks, exfiltration staging"),
    channel(Guest, "guest.disk_written_sectors", "sectors_written", Counter, "sector", "encryption, dropped files"),
    channel(Guest, "guest.net_received_bytes", "rx_bytes", Counter, "byte", "downloads, commands"),
    channel(Guest, "guest.net_sent_bytes", "tx_bytes", Counter, "byte", "exfiltration, floods"),
    channel(Guest, "guest.tcp_established", "tcp_established", Level, "socket", "open sessions: a shell that stays"),
    channel(Netflow, "netflow.octets_out", "octetDeltaCount_out", Delta, "byte", "volume that leaves"),
    channel(Netflow, "netflow.octets_in", "octetDeltaCount_in", Delta, "byte", "volume that enters"),
    channel(Netflow, "netflow.packets_out", "packetDeltaCount_out", Delta, "packet", "packet rate out: floods and scans"),
    channel(Netflow, "netflow.packets_in", "packetDeltaCount_in", Delta, "packet", "answers: a scan gets few"),
    channel(Netflow, "netflow.flows_started", "newFlowCount", Delta, "flow", "new conversations: scanning, beacons"),
    channel(Netflow, "netflow.destination_addresses", "distinctDestinationAddressCount", Delta, "address", "fan-out over machines"),
    channel(Netflow, "netflow.destination_ports", "distinctDestinationPortCount", Delta, "port", "fan-out over services"),
    channel(Netflow, "netflow.tcp_syn", "tcpSynTotalCount", Delta, "packet", "connection attempts"),
    channel(Netflow, "netflow.tcp_rst", "tcpRstTotalCount", Delta, "packet", "refused attempts"),
    channel(Netflow, "netflow.dns_queries", "dnsQueryCount", Delta, "query", "name look-ups: generated domains, tunnels"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_what_its_documentation_says() {
        let count = |source| BUILT_IN.iter().filter(|c| c.source == source).count();
        assert_eq!([Proc, Qmp, Guest, Netflow].map(count), [10, 7, 19, 10]);
        assert_eq!(BUILT_IN.iter().filter(|c| c.deployable).count(), 29);
        for channel in &BUILT_IN {
            ChannelSpec::from(channel).check().unwrap();
            assert!(channel.name.starts_with(channel.source.name()), "{}", channel.name);
            assert!(!channel.about.is_empty());
        }
    }
}
