//! The arguments of `drlb health`.

use clap::{Args, Subcommand};

use super::values::{http_method, http_version, probe_type, when_all_down};
use crate::model::span::milliseconds;
use crate::model::{HttpMethod, HttpVersion, Name, ProbeType, StatusCodes, WhenAllDown};

/// `drlb health`
#[derive(Debug, Subcommand)]
pub enum HealthCommand {
    /// Check the backends of a listener, or change how they are checked. What is not given stays as it is.
    ///
    /// A probe goes to the VIP on each backend's own MAC, as a client's packet does; if it fails, the backend's own address
    /// is tried, which tells a service that is down from a broken way by the VIP. Only backends that are up take traffic. A
    /// backend that fails is out after FALL x DELAY (and its jitter) + TIMEOUT at the latest.
    Set(Box<HealthSet>),
    /// Check the backends of a listener no more: all count as up.
    Unset {
        /// The listener.
        listener: Name,
    },
    /// Show how the backends of a listener are checked.
    Show {
        /// The listener.
        listener: Name,
    },
}

/// `drlb health set`
#[derive(Debug, Args)]
pub struct HealthSet {
    /// The listener.
    pub listener: Name,
    /// What a probe is. Unless set, tcp or udp as the listener is, and icmp where it takes every port or protocol.
    #[arg(long = "type", value_name = "TYPE", value_parser = probe_type())]
    pub kind: Option<ProbeType>,
    /// The port to probe instead of the listener's; 0 for the listener's.
    #[arg(long)]
    pub port: Option<u16>,
    /// From the beginning of a probe to that of the next, like 500ms, 5s or 1m; 5s unless set.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    pub delay: Option<u32>,
    /// How long an answer may take; 2s unless set.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    pub timeout: Option<u32>,
    /// Right answers in a row that bring a backend up; 2 unless set.
    #[arg(long, value_name = "N")]
    pub rise: Option<u8>,
    /// Failures in a row that take a backend down; 3 unless set.
    #[arg(long, value_name = "N")]
    pub fall: Option<u8>,
    /// By how many percent the delay varies, so that probes don't fall into step; 10 unless set.
    #[arg(long, value_name = "PERCENT")]
    pub jitter: Option<u8>,
    /// What becomes of traffic while all backends are down: drop it, or use-all of them as if they were up; drop unless set.
    #[arg(long, value_name = "WHAT", value_parser = when_all_down())]
    pub when_all_down: Option<WhenAllDown>,
    /// The method of an HTTP request; GET unless set.
    #[arg(long, value_parser = http_method())]
    pub method: Option<HttpMethod>,
    /// The path of an HTTP request; / unless set.
    #[arg(long)]
    pub path: Option<String>,
    /// The Host header of an HTTP request; the VIP unless set, or if empty.
    #[arg(long)]
    pub host: Option<String>,
    /// The version of HTTP; 1.1 unless set.
    #[arg(long = "http-version", value_name = "VERSION", value_parser = http_version())]
    pub http_version: Option<HttpVersion>,
    /// The status codes that are right, like 200, 200,204 or 200-299; 200 unless set.
    #[arg(long, value_name = "CODES")]
    pub expect: Option<StatusCodes>,
    /// Whether a server's certificate must be valid, by the authorities that this host trusts; false unless set.
    #[arg(long, value_name = "BOOL")]
    pub verify: Option<bool>,
    /// The server's name in TLS; the Host header's unless set, or if empty.
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// What a datagram holds, as text or as hex:0a0b; nothing unless set.
    #[arg(long, value_name = "DATA")]
    pub send: Option<String>,
    /// What a datagram's answer must hold, written as --send. Unless set, or if empty, none is waited for: then the backend
    /// must answer a ping, and must not refuse the datagram.
    #[arg(long, value_name = "DATA")]
    pub answer: Option<String>,
}
