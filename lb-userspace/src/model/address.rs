//! The addresses of a balancer's two sides, told apart by their types.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use lb_common::address::Address;
use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// An address that clients speak to. Always a unicast address that is not loopback; an IPv4-mapped IPv6 address is
/// taken as the IPv4 address that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Vip(IpAddr);

/// The address by which a backend is found on its segment: its own, not the VIP. Unicast and not loopback, as [`Vip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendAddr(IpAddr);

/// Why an address can be neither a VIP nor a backend, or `None` if it can.
fn objection(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("is the unspecified address");
    }
    if address.is_loopback() {
        return Some("is a loopback address");
    }
    if address.is_multicast() {
        return Some("is a multicast address");
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        // RFC 1122 section 3.2.1.3: 0.0.0.0/8 is "this network"; RFC 1112 section 4: 240.0.0.0/4 is reserved.
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => Some("is in a reserved range"),
        _ => None,
    }
}

fn unicast(role: &str, address: IpAddr) -> Result<IpAddr, Fault> {
    let address = address.to_canonical();
    match objection(address) {
        None => Ok(address),
        Some(objection) => {
            Err(Fault::invalid(format!("{role} {address} {objection}; give a unicast address that hosts can own")))
        }
    }
}

fn parse(role: &str, text: &str) -> Result<IpAddr, Fault> {
    let address = text.parse().map_err(|_| {
        Fault::invalid(format!("{role} `{text}` is not an IP address; write it as 192.0.2.10 or 2001:db8::10"))
    })?;
    unicast(role, address)
}

macro_rules! address_role {
    ($type:ident, $role:literal) => {
        impl $type {
            /// The address.
            #[must_use]
            pub const fn ip(self) -> IpAddr {
                self.0
            }

            /// The address as the maps hold it.
            #[must_use]
            pub fn address(self) -> Address {
                self.0.into()
            }

            /// `IPv4` or `IPv6`, as people say it.
            #[must_use]
            pub const fn family(self) -> &'static str {
                match self.0 {
                    IpAddr::V4(_) => "IPv4",
                    IpAddr::V6(_) => "IPv6",
                }
            }
        }

        impl TryFrom<IpAddr> for $type {
            type Error = Fault;

            fn try_from(address: IpAddr) -> Result<Self, Fault> {
                unicast($role, address).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Fault;

            fn try_from(text: String) -> Result<Self, Fault> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(address: $type) -> Self {
                address.to_string()
            }
        }

        impl FromStr for $type {
            type Err = Fault;

            fn from_str(text: &str) -> Result<Self, Fault> {
                parse($role, text).map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

impl BackendAddr {
    /// What comes before all addresses, and is nobody's.
    pub(crate) const LEAST: Self = Self(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
}

address_role!(Vip, "VIP");
address_role!(BackendAddr, "backend");

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Vip>().expect_err(text).message
    }

    #[test]
    fn what_is_not_a_unicast_address_is_refused_with_the_reason() {
        assert_eq!(refusal("web"), "VIP `web` is not an IP address; write it as 192.0.2.10 or 2001:db8::10");
        for (text, reason) in [
            ("0.0.0.0", "is the unspecified address"),
            ("::", "is the unspecified address"),
            ("127.0.0.1", "is a loopback address"),
            ("::1", "is a loopback address"),
            ("224.0.0.1", "is a multicast address"),
            ("ff02::1", "is a multicast address"),
            ("255.255.255.255", "is the broadcast address"),
            ("240.0.0.1", "is in a reserved range"),
            ("0.1.2.3", "is in a reserved range"),
            ("::ffff:127.0.0.1", "is a loopback address"),
        ] {
            assert!(refusal(text).contains(reason), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mapped: Vip = "::ffff:192.0.2.10".parse().expect("a mapped address");
        assert_eq!(mapped.to_string(), "192.0.2.10");
        assert_eq!(mapped.family(), "IPv4");
    }

    #[test]
    fn json_is_the_address_as_text() {
        let vip: Vip = "2001:db8::10".parse().expect("an address");
        assert_eq!(serde_json::to_string(&vip).expect("a string"), "\"2001:db8::10\"");
        assert!(serde_json::from_str::<BackendAddr>("\"ff02::1\"").is_err());
    }
}
