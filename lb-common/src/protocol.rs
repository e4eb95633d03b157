//! IP protocol numbers that drlb treats by name (IANA "Assigned Internet Protocol Numbers").

/// ICMP for IPv4.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;
/// In a listener's key: every protocol and every port, the DR-mode listener. 255 is reserved by IANA, so no packet that
/// a host accepts has it.
pub const ANY: u8 = 255;

/// True for a protocol whose header begins with a source and a destination port.
#[inline(always)]
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}
