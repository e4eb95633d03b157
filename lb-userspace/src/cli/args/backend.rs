//! The arguments of `drlb backend`.

use clap::{ArgGroup, Subcommand};

use super::values::{format, weight};
use crate::backend_setup::Format;
use crate::model::span::seconds as span;
use crate::model::{BackendAddr, Name, Vip};

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
        /// Send it new flows only while none of the others can take any.
        #[arg(long)]
        backup: bool,
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
        /// Put it into service; this also ends a drain.
        #[arg(long, group = "change", conflicts_with = "down")]
        up: bool,
        /// Take it out of service at once, keeping its weight. To let its flows end first, use drlb backend drain.
        #[arg(long, group = "change")]
        down: bool,
        /// Check its health at this address instead of by the VIP.
        #[arg(long, group = "change", value_name = "IP")]
        monitor_address: Option<BackendAddr>,
        /// Check its health at this port.
        #[arg(long, group = "change", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
        monitor_port: Option<u16>,
        /// Check its health as that of the others.
        #[arg(long, group = "change", conflicts_with_all = ["monitor_address", "monitor_port"])]
        no_monitor: bool,
        /// Send it new flows only while none of the others can take any.
        #[arg(long, group = "change", conflicts_with = "no_backup")]
        backup: bool,
        /// Send it its share of the new flows at any time.
        #[arg(long, group = "change")]
        no_backup: bool,
    },
    /// Take a backend out of service gently: it gets no new flows, and keeps those that it has until they end.
    ///
    /// The backend counts as drained when no flow of it is left, or at the deadline; then it gets nothing more, stays listed,
    /// and can be removed. A flow that is silent is waited for as long as the listener's idle times say. To put the backend
    /// back into service: drlb backend set LISTENER ADDRESS --up
    Drain {
        /// The listener.
        listener: Name,
        /// The backend.
        address: BackendAddr,
        /// Wait no longer than that for its flows, like 90s, 5m or 1h; those that are left then are cut off.
        #[arg(long, value_name = "TIME", value_parser = span)]
        deadline: Option<u32>,
        /// Return when it is drained, and show until then how many flows are left. Ctrl-C ends the waiting, not the drain.
        #[arg(long)]
        wait: bool,
    },
    /// Remove a backend from a listener.
    ///
    /// Its flows are cut off, unless it was drained before.
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
