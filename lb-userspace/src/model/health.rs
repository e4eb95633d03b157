//! What is asked of backends to find out whether they serve: a pool's health check.

mod change;
mod codes;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use change::HealthChange;
pub use codes::StatusCodes;

use super::address::BackendAddr;
use super::choices::{HttpMethod, HttpVersion, ProbeType, WhenAllDown};
use super::fault::Fault;
use super::{Listener, Protocol};

/// A pool's health check: how each of its backends is probed, and when it counts as up or down.
///
/// A probe goes to the VIP and port of each listener that the pool serves, on the backend's own MAC, as a client's packet
/// does. It begins every `delay_ms`, give or take `jitter` percent, and has failed when nothing has answered rightly after
/// `timeout_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is sent, and what counts as a right answer.
    #[serde(flatten)]
    pub probe: Probe,
    /// The port to probe instead of the listener's.
    #[serde(default)]
    pub port: Option<u16>,
    /// Milliseconds from the beginning of a probe to that of the next.
    pub delay_ms: u32,
    /// Milliseconds that an answer may take. More than the delay is allowed: the next probe then begins when the one
    /// before has ended.
    pub timeout_ms: u32,
    /// Right answers in a row that make a backend that is down count as up.
    pub rise: u8,
    /// Failures in a row that make a backend that is up count as down.
    pub fall: u8,
    /// By how many percent of the delay the time between two probes varies, up and down.
    pub jitter: u8,
    /// What becomes of the pool's traffic while all its backends are down.
    pub when_all_down: WhenAllDown,
}

/// What a probe sends, and what counts as a right answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Probe {
    /// A TCP connection is accepted.
    Tcp,
    /// An HTTP request gets one of the expected status codes.
    Http(HttpProbe),
    /// The same over TLS.
    Https(HttpsProbe),
    /// A TLS handshake comes to its end.
    Tls(TlsProbe),
    /// An echo request (ping) is answered.
    Icmp,
    /// A datagram is not refused, or is answered.
    Udp(UdpProbe),
}

/// An HTTP request and the status codes that count as a right answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// The method.
    pub method: HttpMethod,
    /// The path, and the query if there is one: what stands in the request line.
    pub path: String,
    /// The `Host` header; the VIP if not given.
    pub host: Option<String>,
    /// The version of HTTP.
    pub version: HttpVersion,
    /// The status codes that are a right answer.
    pub expect: StatusCodes,
}

/// An HTTP request over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpsProbe {
    /// The request.
    #[serde(flatten)]
    pub http: HttpProbe,
    /// The TLS that it goes over.
    #[serde(flatten)]
    pub tls: TlsProbe,
}

/// A TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsProbe {
    /// Whether the server's certificate must be valid for the name, and signed by an authority that this host trusts.
    pub verify: bool,
    /// The server's name: what is sent as SNI, and what the certificate must be for; if not given the `Host` header's name
    /// of an HTTP probe, else the VIP, which is not sent.
    pub sni: Option<String>,
}

/// A datagram and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpProbe {
    /// What is sent: text, or `hex:` and hexadecimal digits; an empty datagram if not given.
    pub send: Option<String>,
    /// What an answer must hold, written as `send` is. If not given, silence is a right answer too, and only an ICMP error
    /// such as "port unreachable" is a wrong one.
    pub answer: Option<String>,
}

/// Where a backend is probed, where that differs from the others of its pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MonitorTarget {
    /// The address to probe. It is probed as any host speaks to it, not by the VIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<BackendAddr>,
    /// The port to probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Probe {
    /// The name of its type.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        self.kind().name()
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> ProbeType {
        match self {
            Self::Tcp => ProbeType::Tcp,
            Self::Http(_) => ProbeType::Http,
            Self::Https(_) => ProbeType::Https,
            Self::Tls(_) => ProbeType::Tls,
            Self::Icmp => ProbeType::Icmp,
            Self::Udp(_) => ProbeType::Udp,
        }
    }
}

impl ProbeType {
    /// What a listener's backends are probed by unless set: its own protocol on its port; an echo request where there is
    /// no port to try, or no way to try the protocol.
    #[must_use]
    pub const fn default_for(protocol: Protocol, port: u16) -> Self {
        match (protocol, port) {
            (_, 0) | (Protocol::Ip | Protocol::Sctp, _) => Self::Icmp,
            (Protocol::Tcp, _) => Self::Tcp,
            (Protocol::Udp, _) => Self::Udp,
        }
    }

    /// True if it goes to a port.
    #[must_use]
    pub const fn has_port(self) -> bool {
        !matches!(self, Self::Icmp)
    }
}

impl HealthCheck {
    /// The delay unless set, in milliseconds.
    pub const DEFAULT_DELAY_MS: u32 = 5_000;
    /// The timeout unless set, in milliseconds.
    pub const DEFAULT_TIMEOUT_MS: u32 = 2_000;
    /// The shortest delay, in milliseconds.
    pub const MIN_DELAY_MS: u32 = 100;
    /// The longest delay and timeout, in milliseconds: a day.
    pub const MAX_DELAY_MS: u32 = 86_400_000;
    /// The shortest timeout, in milliseconds.
    pub const MIN_TIMEOUT_MS: u32 = 10;
    /// The largest rise and fall.
    pub const MAX_RISE: u8 = 100;
    /// The most jitter, in percent.
    pub const MAX_JITTER: u8 = 50;

    /// A check of that type with everything else as it is unless set.
    #[must_use]
    pub fn new(kind: ProbeType) -> Self {
        Self {
            probe: change::default_probe(kind),
            port: None,
            delay_ms: Self::DEFAULT_DELAY_MS,
            timeout_ms: Self::DEFAULT_TIMEOUT_MS,
            rise: 2,
            fall: 3,
            jitter: 10,
            when_all_down: WhenAllDown::Drop,
        }
    }

    /// The time from the beginning of a probe to that of the next, without jitter.
    #[must_use]
    pub const fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms as u64)
    }

    /// The time that an answer may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms as u64)
    }

    /// The longest that a backend which has ceased to serve is given new flows: `fall` probes, of which the first begins a
    /// delay after the backend's end at the latest, and the last takes its whole timeout. To that comes the time of one
    /// reconciliation.
    #[must_use]
    pub fn detection(&self) -> Duration {
        let longest_delay = self.delay() * (100 + u32::from(self.jitter)) / 100;
        longest_delay.max(self.timeout()) * u32::from(self.fall) + self.timeout()
    }

    /// Checks the ranges, and what is said of the probe.
    ///
    /// # Errors
    /// The [`Fault`] that names the first thing that is wrong.
    pub fn check(&self) -> Result<(), Fault> {
        change::check(self)
    }

    /// Checks that a listener's backends can be probed so: that there is a port to probe.
    ///
    /// # Errors
    /// There is none.
    pub fn fits(&self, listener: &Listener) -> Result<(), Fault> {
        if self.probe.kind().has_port() && self.port.is_none() && listener.port == 0 {
            return Err(Fault::invalid(format!(
                "listener `{}` takes every port, so a {} check needs to be told which one to probe; give a port, or \
                 choose type icmp",
                listener.name,
                self.probe.type_name()
            )));
        }
        Ok(())
    }
}
