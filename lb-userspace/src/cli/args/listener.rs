//! The arguments of `drlb listener`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::values::{
    IdleArg, PersistenceArg, SourceRateArg, algorithm, idle, persistence, protocol, source_rate, vip_owner,
};
use crate::model::{Algorithm, Name, Prefix, Protocol, Vip, VipOwner};

/// `drlb listener`
#[derive(Debug, Subcommand)]
pub enum ListenerCommand {
    /// Add a listener: a VIP, a protocol and a port, and the backends that serve them.
    ///
    /// Protocol ip takes every protocol and every port of the VIP; a more exact listener wins over it.
    Add(ListenerAdd),
    /// List the listeners.
    List,
    /// Show a listener and its backends.
    Show {
        /// The listener.
        name: Name,
    },
    /// Change a listener. No flow that is under way changes its backend by that.
    Set(ListenerSet),
    /// Remove a listener and its backends.
    Remove {
        /// The listener.
        name: Name,
    },
}

/// `drlb listener add`
#[derive(Debug, Args)]
pub struct ListenerAdd {
    /// A name for it: letters, digits, `_`, `.` and `-`.
    pub name: Name,
    /// The virtual IP that clients speak to.
    #[arg(long, value_name = "IP")]
    pub vip: Vip,
    /// What it takes.
    #[arg(long, value_parser = protocol())]
    pub protocol: Protocol,
    /// The port; 0 for every port. Needed for tcp, udp and sctp; ip takes every port by itself.
    #[arg(long, required_if_eq_any([("protocol", "tcp"), ("protocol", "udp"), ("protocol", "sctp")]))]
    pub port: Option<u16>,
    /// How a new flow gets its backend, always by weight: source-ip-port spreads the connections of a client, source-ip
    /// keeps them together, round-robin takes the backends in turn, least-connections the less loaded of two.
    #[arg(long, default_value = "source-ip-port", value_parser = algorithm())]
    pub algorithm: Algorithm,
    /// Keep a client's new flows on the backend of its last one.
    ///
    /// The session ends when the client began no flow for TIME (1h unless set). Clients whose addresses have the same
    /// leading PREFIX bits are one; all bits count unless set.
    #[arg(long, value_name = "source-ip[:TIME][/PREFIX]", value_parser = persistence)]
    pub persistence: Option<PersistenceArg>,
    /// For how long a flow may be silent before it counts as ended: KIND=TIME, once for each kind.
    ///
    /// The kinds are handshake (only its first packet was seen; 60s unless set), established (TCP and SCTP at work; 15m),
    /// closing (after FIN or RST; 30s), udp (2m) and other (5m). They say for how long a flow is remembered after a
    /// change, and how long a drain waits for flows that are silent.
    #[arg(long = "idle", value_name = "KIND=TIME", value_parser = idle)]
    pub idle: Vec<IdleArg>,
    /// Take packets only from this prefix, like 192.0.2.0/24, 2001:db8::/32 or a single address; once for each.
    ///
    /// Packets from elsewhere are dropped and counted as denied. Without any, packets are taken from everywhere.
    #[arg(long = "allow", value_name = "CIDR")]
    pub allow: Vec<Prefix>,
    /// Take packets only from the prefixes in this file, one a line; `-` reads the standard input.
    #[arg(long, value_name = "FILE")]
    pub allow_file: Option<PathBuf>,
    /// Who answers ARP, neighbour discovery and ping for the VIP: xdp, the program; host, this host's kernel, which has the
    /// address; none, nobody: it is routed to this host. Unless set, as for the VIP's other listeners, or the agent's default.
    #[arg(long, value_parser = vip_owner())]
    pub vip_owner: Option<VipOwner>,
    /// Let each source begin no more than RATE flows a second, and BURST at once (as many as RATE unless set).
    ///
    /// What is above that is dropped, flows at work are not. A source is a client's address, or its leading PREFIX bits: 32 for
    /// IPv4 and 64 for IPv6 unless set. Flows of TCP, SCTP and QUIC are counted; other UDP has no first packet to see.
    #[arg(long, value_name = "RATE[:BURST][/PREFIX]", value_parser = source_rate)]
    pub source_rate: Option<SourceRateArg>,
    /// Let there be no more than so many flows at once: new ones are dropped then, those at work stay. Every flow is remembered
    /// for that.
    #[arg(long, value_name = "N")]
    pub max_flows: Option<u32>,
    /// Slots of the lookup table, a prime; 65537 unless set. More slots follow the weights more closely.
    #[arg(long, value_name = "N")]
    pub slots: Option<u32>,
}

/// `drlb listener set`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub struct ListenerSet {
    /// The listener.
    pub name: Name,
    /// How a new flow gets its backend.
    #[arg(long, group = "change", value_parser = algorithm())]
    pub algorithm: Option<Algorithm>,
    /// Keep a client's new flows on the backend of its last one. What is left out is as in `drlb listener add`.
    #[arg(long, group = "change", value_name = "source-ip[:TIME][/PREFIX]", value_parser = persistence)]
    pub persistence: Option<PersistenceArg>,
    /// Let each new flow of a client get its own backend.
    #[arg(long, group = "change", conflicts_with = "persistence")]
    pub no_persistence: bool,
    /// For how long a flow may be silent before it counts as ended: KIND=TIME, as in `drlb listener add`.
    #[arg(long = "idle", group = "change", value_name = "KIND=TIME", value_parser = idle)]
    pub idle: Vec<IdleArg>,
    /// Take packets only from this prefix, and from the others that are given with it: they replace the list of before in
    /// one step. Flows at work from elsewhere are cut off, too.
    #[arg(long = "allow", group = "change", value_name = "CIDR")]
    pub allow: Vec<Prefix>,
    /// The same, from a file with one prefix a line; `-` reads the standard input.
    #[arg(long, group = "change", value_name = "FILE")]
    pub allow_file: Option<PathBuf>,
    /// Take packets from everywhere.
    #[arg(long, group = "change", conflicts_with_all = ["allow", "allow_file"])]
    pub allow_any: bool,
    /// Who answers ARP, neighbour discovery and ping for the VIP. All listeners of the VIP change.
    #[arg(long, group = "change", value_parser = vip_owner())]
    pub vip_owner: Option<VipOwner>,
    /// Let each source begin no more than RATE flows a second, as in `drlb listener add`.
    #[arg(long, group = "change", value_name = "RATE[:BURST][/PREFIX]", value_parser = source_rate)]
    pub source_rate: Option<SourceRateArg>,
    /// Let sources begin flows as fast as they like.
    #[arg(long, group = "change", conflicts_with = "source_rate")]
    pub no_source_rate: bool,
    /// Let there be no more than so many flows at once, as in `drlb listener add`. Flows above that stay.
    #[arg(long, group = "change", value_name = "N")]
    pub max_flows: Option<u32>,
    /// Let there be any number of flows.
    #[arg(long, group = "change", conflicts_with = "max_flows")]
    pub no_max_flows: bool,
    /// Put it back in service.
    #[arg(long, group = "change")]
    pub up: bool,
    /// Take it out of service: its packets are treated as if it were not there. Its settings and backends stay.
    #[arg(long, group = "change", conflicts_with = "up")]
    pub down: bool,
}
