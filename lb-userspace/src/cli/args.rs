//! The commands, their options and their help: what `--help`, the completions and the man pages are made of.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand};
use clap_complete::Shell;
use lb_common::limits::MAX_WEIGHT;

use crate::api::socket::DEFAULT_SOCKET;
use crate::backend_setup::Format;
use crate::model::{Algorithm, AttachMode, BackendAddr, Name, Protocol, Vip};

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

Exit status: 0 done, 1 refused or failed (a sentence on stderr says why), 2 wrong usage.";

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
    /// Show the packets and bytes by outcome, listener and backend.
    Stats,
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
    /// Change a listener.
    Set {
        /// The listener.
        name: Name,
        /// What of a flow chooses its backend.
        #[arg(long, value_parser = algorithm())]
        algorithm: Algorithm,
    },
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
    /// What of a flow chooses its backend: source-ip-port spreads the connections of a client, source-ip keeps them
    /// together.
    #[arg(long, default_value = "source-ip-port", value_parser = algorithm())]
    pub algorithm: Algorithm,
    /// Slots of the lookup table, a prime; 65537 unless set. More slots follow the weights more closely.
    #[arg(long, value_name = "N")]
    pub slots: Option<u32>,
}

/// `drlb backend`
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// Add a backend to a listener.
    Add {
        /// The listener.
        listener: Name,
        /// The server's own address, by which it is found on the segment; not the VIP.
        address: BackendAddr,
        /// Its share of the flows, in proportion to the other weights: 0 to 256, 0 for none.
        #[arg(long, default_value_t = 1, value_parser = weight)]
        weight: u16,
    },
    /// List a listener's backends.
    List {
        /// The listener.
        listener: Name,
    },
    /// Change a backend.
    #[command(group = ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// The listener.
        listener: Name,
        /// The backend.
        address: BackendAddr,
        /// Its share of the flows, in proportion to the other weights: 0 to 256, 0 for none.
        #[arg(long, group = "change", value_parser = weight)]
        weight: Option<u16>,
        /// Put it into service.
        #[arg(long, group = "change", conflicts_with = "down")]
        up: bool,
        /// Take it out of service, keeping its weight.
        #[arg(long, group = "change")]
        down: bool,
    },
    /// Remove a backend from a listener.
    Remove {
        /// The listener.
        listener: Name,
        /// The backend.
        address: BackendAddr,
    },
    /// Print what makes a server a direct-routing backend. Needs no agent.
    ///
    /// Shell: a script to run as root on the server. Cloud-init: user data that makes it last. Systemd: files for
    /// systemd-networkd and systemd-sysctl. Each has a note on the checks of clouds that must be lifted.
    Setup {
        /// A VIP that the server serves; may be given more than once.
        #[arg(long = "vip", value_name = "IP", required = true)]
        vips: Vec<Vip>,
        /// The form of what is printed.
        #[arg(long, default_value = "shell", value_parser = format())]
        format: Format,
    },
}

/// A set of VIPs from what was given, each once.
pub(super) fn each_once(vips: Vec<Vip>) -> BTreeSet<Vip> {
    vips.into_iter().collect()
}

/// A choice from a list, by the name that each has: so that help, completions and errors name all of them.
fn choice<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|&choice| name(choice))).try_map(move |text| {
        all.iter().copied().find(|&choice| name(choice) == text).ok_or(format!("`{text}` is none of the choices"))
    })
}

fn output() -> impl TypedValueParser<Value = Output> {
    choice(&[Output::Table, Output::Json], |output| match output {
        Output::Table => "table",
        Output::Json => "json",
    })
}

fn mode() -> impl TypedValueParser<Value = AttachMode> {
    choice(AttachMode::ALL, AttachMode::name)
}

fn protocol() -> impl TypedValueParser<Value = Protocol> {
    choice(Protocol::ALL, Protocol::name)
}

fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    choice(Algorithm::ALL, Algorithm::name)
}

fn format() -> impl TypedValueParser<Value = Format> {
    choice(Format::ALL, Format::name)
}

fn weight(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|&weight| weight <= MAX_WEIGHT)
        .ok_or_else(|| format!("a weight is a whole number from 0 to {MAX_WEIGHT}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_port_goes_with_the_protocols_that_have_ports() {
        let add = "drlb listener add web --vip 192.0.2.10 --protocol";
        assert!(parse(&format!("{add} tcp --port 80")).is_ok());
        assert!(parse(&format!("{add} ip")).is_ok());
        let refusal = parse(&format!("{add} sctp")).expect_err("no port");
        assert!(refusal.contains("--port <PORT>"), "{refusal}");
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_right() {
        for (line, expected) in [
            (
                "drlb listener add web --vip here --protocol ip",
                "VIP `here` is not an IP address; write it as 192.0.2.10",
            ),
            ("drlb listener add web --vip 192.0.2.10 --protocol gre", "[possible values: tcp, udp, sctp, ip]"),
            ("drlb listener add web --vip 192.0.2.10 --protocol tcp --port 65536", "65536 is not in 0..=65535"),
            ("drlb listener show a/b", "the name `a/b` contains '/'"),
            ("drlb backend add web 192.0.2.21 --weight 257", "a weight is a whole number from 0 to 256"),
            ("drlb backend add web 192.0.2.21 --weight=-1", "a weight is a whole number from 0 to 256"),
            ("drlb backend add web ff02::1", "backend ff02::1 is a multicast address"),
            ("drlb backend set web 192.0.2.21", "<--weight <WEIGHT>|--up|--down>"),
            ("drlb backend set web 192.0.2.21 --up --down", "'--up' cannot be used with '--down'"),
            ("drlb listener set web", "--algorithm <ALGORITHM>"),
            ("drlb backend setup", "--vip <IP>"),
            ("drlb status -o yaml", "[possible values: table, json]"),
            ("drlb attach eth1 --mode fast", "[possible values: native, generic, auto]"),
        ] {
            let refusal = parse(line).map(|_| ()).expect_err(line);
            assert!(refusal.contains(expected), "{line}: {refusal}");
        }
    }

    #[test]
    fn the_common_options_stand_anywhere() {
        for line in ["drlb --socket /s -o json backend list web", "drlb backend list web -o json --socket /s"] {
            let cli = parse(line).expect(line);
            assert_eq!((cli.socket, cli.output), (PathBuf::from("/s"), Output::Json));
        }
    }
}
