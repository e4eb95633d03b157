//! The commands, their options and their help: what `--help`, the completions and the man pages are made of.

mod backend;
mod config;
mod events;
mod health;
mod listener;
pub(super) mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

pub use self::backend::BackendCommand;
pub use self::config::{ApplyArgs, ImportArgs, ImportFormat};
pub use self::events::EventsArgs;
pub use self::health::{HealthCommand, HealthSet};
pub use self::listener::{ListenerAdd, ListenerCommand, ListenerSet};
use self::values::{limit, mode, on_or_off, output, vip_owner};
use crate::api::socket::DEFAULT_SOCKET;
use crate::api::types::FLOWS;
use crate::model::{AttachMode, Name, VipOwner};

/// Where the agent keeps its state unless told otherwise.
const DEFAULT_STATE_DIR: &str = "/var/lib/drlb";
/// Where maps and links are pinned unless told otherwise.
const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/drlb";

const AFTER_HELP: &str = "\
A balancer in four commands:
  drlb agent &
  drlb attach eth1
  drlb listener add web --vip 192.0.2.10 --protocol tcp --port 80
  drlb backend add web 192.0.2.21

Exit status: 0 done, 1 refused or failed (a sentence on stderr says why), 2 wrong usage, 3 doctor found
problems, 130 interrupted.";

/// Direct-routing load balancer on XDP.
///
/// drlb sends each packet for a virtual IP (VIP) to one of the backends by rewriting its Ethernet addresses, nothing
/// else. The backend holds the VIP itself and answers the client directly.
///
/// `drlb agent` runs the balancer; all other commands speak to it over its Unix socket.
#[derive(Debug, Parser)]
#[command(name = "drlb", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// The agent's Unix socket.
    #[arg(long, global = true, env = "DRLB_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    pub socket: PathBuf,
    /// How to print: a table for people, or the API's JSON for programs.
    #[arg(short, long, global = true, default_value = "table", value_name = "FORMAT", value_parser = output())]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tables and sentences.
    Table,
    /// The API's JSON, as it came.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the balancer.
    ///
    /// The agent owns the configuration, follows the backends' MAC addresses and keeps the BPF maps true. It logs to
    /// stderr (RUST_LOG sets how much). Forwarding goes on when it ends; `drlb detach` ends that.
    Agent(AgentArgs),
    /// Forward the traffic that comes in by an interface.
    Attach(AttachArgs),
    /// Stop forwarding on an interface, and take the XDP program off it.
    Detach {
        /// The interface's name.
        #[arg(value_name = "IFNAME")]
        interface: String,
    },
    /// Show interfaces, listeners and backends, and what keeps a backend from taking traffic.
    Status,
    /// Add, list, change and remove listeners.
    #[command(subcommand)]
    Listener(ListenerCommand),
    /// Add, list, change and remove backends, and prepare servers to be backends.
    #[command(subcommand)]
    Backend(BackendCommand),
    /// Check whether backends really serve, so that only those that do take traffic.
    #[command(subcommand)]
    Health(HealthCommand),
    /// Name what is wrong with interfaces, VIPs and backends, and how to mend it.
    ///
    /// Exit status 0: nothing is wrong (there may be notes); 3: there are problems. With -o json for monitoring.
    Doctor,
    /// Show the packets and bytes by outcome, listener and backend, and what is remembered of flows.
    Stats,
    /// Show the flows that are remembered, and where they go.
    ///
    /// While nothing changes, source-ip-port and source-ip remember no flow: then there is nothing to show.
    Flows(FlowsArgs),
    /// Show what happened lately: to backends, neighbours, links, VIPs, the program and the configuration.
    ///
    /// The agent keeps the latest 8192 in memory; its log has all. docs/events.md lists the kinds.
    Events(EventsArgs),
    /// Print the hash of a password that is read from standard input, for the agent's configuration.
    HashPassword,
    /// Make the balancer what a file says.
    ///
    /// The file says all of the interfaces and listeners that it names. What an earlier file had and this one has not is
    /// removed; what was made by other commands stays. All of it is done, or nothing.
    Apply(ApplyArgs),
    /// Print what `drlb apply` makes the same of.
    Export,
    /// Turn another load balancer's file into one for `drlb apply`, on standard output.
    ///
    /// What can't be carried over is told on standard error, with its line.
    Import(ImportArgs),
    /// Print a shell's completions of these commands.
    ///
    /// For bash: drlb completions bash >/etc/bash_completion.d/drlb
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page, or write those of all commands.
    Man {
        /// Write a page for each command into this folder.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// `drlb agent`
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// Folder of the configuration that lasts. It is made if it is not there.
    #[arg(long, default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Folder of the pinned maps and links, on a BPF file system.
    #[arg(long, default_value = DEFAULT_PIN_DIR, value_name = "DIR")]
    pub pin_dir: PathBuf,
    /// Who answers ARP, neighbour discovery and ping for VIPs, unless their listeners say: xdp, the program; host, this host's
    /// kernel, which has the address; none, nobody: they are routed to this host.
    #[arg(long, default_value = "xdp", value_parser = vip_owner())]
    pub vip_owner: VipOwner,
    /// Configuration in TOML: interfaces and listeners, which are applied at the start and on SIGHUP; the OpenStack API, its
    /// users, and the networks that VIPs come from.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve the OpenStack API on this address and port, too.
    #[arg(long, value_name = "ADDR:PORT")]
    pub api_listen: Option<SocketAddr>,
    /// off: no packets are forwarded, and neither root nor BPF is needed. To try the API and automation.
    #[arg(long, default_value = "on", action = ArgAction::Set, value_parser = on_or_off(), value_name = "on|off")]
    pub data_plane: bool,
}

/// `drlb attach`
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The interface's name.
    #[arg(value_name = "IFNAME")]
    pub interface: String,
    /// Where the XDP program runs: native, in the driver; generic, in the kernel's network stack, with every driver
    /// and slower; auto, native if the driver can, else generic.
    #[arg(long, default_value = "native", value_parser = mode())]
    pub mode: AttachMode,
}

/// `drlb flows`
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Only those of this listener.
    pub listener: Option<Name>,
    /// Show no more than so many, 1 to 10000.
    #[arg(long, default_value_t = FLOWS, value_name = "N", value_parser = limit)]
    pub limit: usize,
}

#[cfg(test)]
mod tests;
