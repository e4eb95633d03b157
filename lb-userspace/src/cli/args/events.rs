//! The options of `drlb events`.

use clap::Args;

use super::values::{event_kind, event_limit};
use crate::api::types::EVENTS;
use crate::events::EventKind;
use crate::model::{BackendAddr, Name, Vip};

/// `drlb events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on showing what happens, until interrupted. With -o json each event is one line.
    #[arg(short, long)]
    pub follow: bool,
    /// Only of this kind; may be given several times.
    #[arg(long = "kind", value_name = "KIND", value_parser = event_kind())]
    pub kinds: Vec<EventKind>,
    /// Only about this listener and its backends.
    #[arg(long, value_name = "NAME")]
    pub listener: Option<Name>,
    /// Only about this VIP, and the backends of its listeners.
    #[arg(long, value_name = "IP")]
    pub vip: Option<Vip>,
    /// Only about this backend.
    #[arg(long, value_name = "ADDRESS")]
    pub backend: Option<BackendAddr>,
    /// Only about this interface.
    #[arg(long, value_name = "IFNAME")]
    pub interface: Option<String>,
    /// Show the latest so many, 1 to 8192.
    #[arg(long, default_value_t = EVENTS, value_name = "N", value_parser = event_limit)]
    pub limit: usize,
}
