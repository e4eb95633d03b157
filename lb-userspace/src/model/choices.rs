//! The closed lists that a user chooses from.

use std::fmt;
use std::str::FromStr;

use lb_common::protocol;
use serde::{Deserialize, Serialize};

use super::fault::Fault;

macro_rules! choices {
    ($(#[doc = $type_doc:literal])+ $type:ident, $what:literal, $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        $(#[doc = $type_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $type {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name that the command line and JSON use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = Fault;

            fn from_str(text: &str) -> Result<Self, Fault> {
                Self::ALL.iter().copied().find(|choice| choice.name() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|choice| choice.name()).collect();
                    Fault::invalid(format!("`{text}` is not {}; choose one of {}", $what, names.join(", ")))
                })
            }
        }
    };
}

choices! {
    /// What a listener takes of its VIP's traffic.
    Protocol, "a protocol",
    /// TCP (RFC 9293).
    Tcp = "tcp",
    /// UDP (RFC 768).
    Udp = "udp",
    /// SCTP (RFC 9260).
    Sctp = "sctp",
    /// Every IP protocol and every port: the DR-mode listener.
    Ip = "ip",
}

impl Protocol {
    /// The number in a listener's key, see [`lb_common::protocol`].
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Sctp => protocol::SCTP,
            Self::Ip => protocol::ANY,
        }
    }
}

choices! {
    /// How a new flow gets its backend.
    Algorithm, "an algorithm",
    /// By the hash of the whole 5-tuple: connections of one client spread over the backends.
    SourceIpPort = "source-ip-port",
    /// By the hash of the client's address: all connections of one client go to one backend.
    SourceIp = "source-ip",
    /// The next one in turn, by weight. Every flow is remembered.
    RoundRobin = "round-robin",
    /// The one of two, taken at random by weight, that has fewer flows for its weight. Every flow is remembered.
    LeastConnections = "least-connections",
}

choices! {
    /// What a health check sends.
    ProbeType, "a type of health check",
    /// A TCP connection.
    Tcp = "tcp",
    /// An HTTP request.
    Http = "http",
    /// An HTTP request over TLS.
    Https = "https",
    /// A TLS handshake.
    Tls = "tls",
    /// An echo request (ping).
    Icmp = "icmp",
    /// A datagram.
    Udp = "udp",
}

choices! {
    /// What becomes of a pool's traffic while all its backends are down.
    WhenAllDown, "what can be done when all backends are down",
    /// It is dropped, so that clients turn elsewhere.
    Drop = "drop",
    /// It goes to all backends as if they were up: rather an uncertain answer than none.
    UseAll = "use-all",
}

choices! {
    /// The method of an HTTP request (RFC 9110 section 9).
    HttpMethod, "an HTTP method",
    /// GET.
    Get = "GET",
    /// HEAD.
    Head = "HEAD",
    /// POST.
    Post = "POST",
    /// PUT.
    Put = "PUT",
    /// DELETE.
    Delete = "DELETE",
    /// CONNECT.
    Connect = "CONNECT",
    /// OPTIONS.
    Options = "OPTIONS",
    /// TRACE.
    Trace = "TRACE",
    /// PATCH (RFC 5789).
    Patch = "PATCH",
}

choices! {
    /// The version of HTTP.
    HttpVersion, "a version of HTTP",
    /// HTTP/1.0 (RFC 1945).
    Http10 = "1.0",
    /// HTTP/1.1 (RFC 9112).
    Http11 = "1.1",
}

choices! {
    /// Who answers for a VIP on its segment: ARP, neighbour discovery and echo.
    VipOwner, "an owner of a VIP",
    /// The XDP program, so that no host needs the address. Others that claim it are noticed and answered.
    Xdp = "xdp",
    /// This host's kernel, which has the address.
    Host = "host",
    /// Nobody: the VIP is routed to this host.
    None = "none",
}

#[expect(clippy::derivable_impls, reason = "the macro that makes the type has no mark for a default")]
impl Default for VipOwner {
    fn default() -> Self {
        Self::Xdp
    }
}

choices! {
    /// How the XDP program is to be attached.
    AttachMode, "an attach mode",
    /// In the driver; refused if the driver has no XDP.
    Native = "native",
    /// In the kernel's network stack, after the driver: works with every driver, and slower.
    Generic = "generic",
    /// Native, or generic if the driver has no XDP.
    Auto = "auto",
}

choices! {
    /// Where an attached XDP program runs.
    XdpMode, "an XDP mode",
    /// In the driver.
    Native = "native",
    /// In the kernel's network stack.
    Generic = "generic",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_text_and_json() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.name().parse::<Protocol>(), Ok(*protocol));
            assert_eq!(serde_json::to_string(protocol).expect("a string"), format!("\"{protocol}\""));
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse::<Algorithm>(), Ok(*algorithm));
        }
    }

    #[test]
    fn an_unknown_choice_names_those_that_exist() {
        let fault = "icmp".parse::<Protocol>().expect_err("not a choice");
        assert_eq!(fault.message, "`icmp` is not a protocol; choose one of tcp, udp, sctp, ip");
    }
}
