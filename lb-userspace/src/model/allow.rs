//! Allow-lists: the sources that a listener takes packets from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use lb_common::address::Address;
use lb_common::allow::Bits;
use lb_common::limits::MAX_ALLOWED;
use serde::{Deserialize, Serialize};

use super::address::Vip;
use super::fault::Fault;

/// A prefix of addresses, as `10.0.0.0/8`. Bits beyond its length are zero; an address alone is a prefix of all its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The first `length` bits of an address. An IPv4-mapped IPv6 prefix is taken as the IPv4 prefix that it stands for.
    ///
    /// # Errors
    /// The address has fewer bits.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, Fault> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        if length > most {
            return Err(Fault::invalid(format!(
                "the prefix {address}/{length} is longer than its address; give 0 to {most} bits"
            )));
        }
        let (address, length) = match address {
            IpAddr::V6(v6) if length >= 96 && v6.to_ipv4_mapped().is_some() => (address.to_canonical(), length - 96),
            _ => (address, length),
        };
        let address = match address {
            IpAddr::V4(v4) => {
                IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) => {
                IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into())
            }
        };
        Ok(Self { address, length })
    }

    /// The first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many of its bits count: 0 to 32, or 128 for IPv6.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }
}

impl FromStr for Prefix {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let wrong = || {
            Fault::invalid(format!(
                "`{text}` is not a prefix of addresses; write it as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7"
            ))
        };
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let length = match length {
            None if address.is_ipv4() => 32,
            None => 128,
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => length.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        Self::new(address, length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl TryFrom<String> for Prefix {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// The sources that a listener takes packets from, each once and in order. An empty list takes them from everywhere.
///
/// Clones share the list, which may be long.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Prefix>", into = "Vec<Prefix>")]
pub struct AllowList {
    prefixes: Arc<[Prefix]>,
    fingerprint: u64,
}

impl AllowList {
    /// The prefixes, in order.
    #[must_use]
    pub fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }

    /// True for a list that takes packets from everywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// How many prefixes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// The same for the same prefixes, and another one for others.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Checks the size, and that all prefixes are of the VIP's family.
    pub(super) fn check(&self, vip: Vip) -> Result<(), Fault> {
        if self.len() > MAX_ALLOWED {
            return Err(Fault::invalid(format!(
                "an allow-list of {} prefixes is too long; a listener takes {MAX_ALLOWED} at most",
                self.len()
            )));
        }
        let other = self.prefixes.iter().find(|prefix| prefix.address.is_ipv4() != vip.ip().is_ipv4());
        other.map_or(Ok(()), |prefix| {
            Err(Fault::invalid(format!(
                "the prefix {prefix} can hold no client of the VIP {vip}, which is {0}; allow {0} prefixes",
                vip.family()
            )))
        })
    }
}

impl fmt::Debug for AllowList {
    /// How long it is: a log has no room for ten thousand prefixes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowList({} prefixes)", self.len())
    }
}

impl Default for AllowList {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<Prefix>> for AllowList {
    fn from(mut prefixes: Vec<Prefix>) -> Self {
        prefixes.sort_unstable();
        prefixes.dedup();
        let words = prefixes.iter().flat_map(|prefix| {
            let Bits { high, low } = Bits::of(&Address::from(prefix.address));
            [high, low, u64::from(prefix.length) << 1 | u64::from(prefix.address.is_ipv4())]
        });
        let fingerprint = fingerprint(words);
        Self { prefixes: prefixes.into(), fingerprint }
    }
}

impl From<AllowList> for Vec<Prefix> {
    fn from(list: AllowList) -> Self {
        list.prefixes.to_vec()
    }
}

/// A number that tells words from others (FNV-1a over words, with SplitMix64's finalizer). Never 0.
#[must_use]
pub fn fingerprint(words: impl IntoIterator<Item = u64>) -> u64 {
    let fold = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 29
    };
    let hash = words.into_iter().fold(0xcbf2_9ce4_8422_2325, fold).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ hash >> 31).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        text.parse::<Prefix>().expect(text).to_string()
    }

    #[test]
    fn a_prefix_is_what_its_length_says_and_an_address_is_one_of_all_its_bits() {
        for (text, prefix) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/0", "0.0.0.0/0"),
            ("2001:db8:1:2::3/48", "2001:db8:1::/48"),
            ("2001:db8::3", "2001:db8::3/128"),
            ("::1/0", "::/0"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ] {
            assert_eq!(read(text), prefix);
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "web", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/x", "/8"] {
            let fault = text.parse::<Prefix>().expect_err(text);
            assert!(fault.message.starts_with(&format!("`{text}` is not a prefix of addresses; write it")), "{fault}");
        }
        let fault = "10.0.0.0/33".parse::<Prefix>().expect_err("too long");
        assert_eq!(fault.message, "the prefix 10.0.0.0/33 is longer than its address; give 0 to 32 bits");
        assert!("2001:db8::/129".parse::<Prefix>().is_err());
    }

    #[test]
    fn a_list_has_each_prefix_once_and_its_order_means_nothing() {
        let list = |texts: &[&str]| -> AllowList {
            texts.iter().map(|text| text.parse::<Prefix>().expect(text)).collect::<Vec<_>>().into()
        };
        let one = list(&["10.1.0.0/8", "192.0.2.7", "10.0.0.0/8"]);
        assert_eq!(one.len(), 2);
        assert_eq!(one, list(&["192.0.2.7/32", "10.0.0.0/8"]));
        assert_ne!(one.fingerprint(), list(&["192.0.2.7/32", "10.0.0.0/9"]).fingerprint());
        assert_ne!(list(&["0.0.0.0/0"]).fingerprint(), list(&["::/0"]).fingerprint());
        assert_eq!(serde_json::to_string(&one).expect("JSON"), r#"["10.0.0.0/8","192.0.2.7/32"]"#);
    }

    #[test]
    fn a_list_is_of_the_vips_family_and_not_too_long() {
        let vip: Vip = "192.0.2.10".parse().expect("a VIP");
        let mixed: AllowList = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect(text)).to_vec().into();
        let fault = mixed.check(vip).expect_err("IPv6");
        assert_eq!(
            fault.message,
            "the prefix 2001:db8::/32 can hold no client of the VIP 192.0.2.10, which is IPv4; allow IPv4 prefixes"
        );
        let long: Vec<_> = (0..=MAX_ALLOWED as u32)
            .map(|number| Prefix::new(IpAddr::V4(number.into()), 32).expect("a prefix"))
            .collect();
        assert!(AllowList::from(long[1..].to_vec()).check(vip).is_ok());
        assert!(AllowList::from(long).check(vip).is_err());
    }
}
