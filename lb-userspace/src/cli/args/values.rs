//! The values that options take: how each is read from text, and what the refusal says.

use std::collections::BTreeSet;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use lb_common::limits::MAX_WEIGHT;

use super::Output;
use crate::api::types::MOST_FLOWS;
use crate::backend_setup::Format;
use crate::events::{EventKind, MOST_EVENTS};
use crate::model::span::seconds as span;
use crate::model::{
    Algorithm, AttachMode, HttpMethod, HttpVersion, ProbeType, Protocol, SourceRate, Vip, VipOwner, WhenAllDown,
};

/// What `--persistence` says: what is left out is the agent's to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistenceArg {
    /// For how many seconds a session outlives the beginning of its last flow.
    pub timeout: Option<u32>,
    /// How many leading bits of a client's address make one session.
    pub prefix: Option<u8>,
}

/// What `--source-rate` says: what is left out is the agent's to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRateArg {
    /// New flows a second.
    pub rate: u32,
    /// New flows at once.
    pub burst: Option<u32>,
    /// How many leading bits of a client's address are one source.
    pub prefix: Option<u8>,
}

/// What one `--idle` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleArg {
    /// Which flows.
    pub kind: IdleKind,
    /// For how many seconds such a flow may be silent before it counts as ended.
    pub seconds: u32,
}

/// Flows that have an idle time of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleKind {
    /// Only the first packet was seen.
    Handshake,
    /// TCP and SCTP at work.
    Established,
    /// One side has said that it will send no more.
    Closing,
    /// UDP at work.
    Udp,
    /// Any other protocol.
    Other,
}

impl IdleKind {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Handshake, Self::Established, Self::Closing, Self::Udp, Self::Other];

    /// The name that the command line and JSON use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Udp => "udp",
            Self::Other => "other",
        }
    }
}

/// A set of VIPs from what was given, each once.
pub(in crate::cli) fn each_once(vips: Vec<Vip>) -> BTreeSet<Vip> {
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

pub(super) fn output() -> impl TypedValueParser<Value = Output> {
    choice(&[Output::Table, Output::Json], |output| match output {
        Output::Table => "table",
        Output::Json => "json",
    })
}

pub(super) fn mode() -> impl TypedValueParser<Value = AttachMode> {
    choice(AttachMode::ALL, AttachMode::name)
}

pub(super) fn vip_owner() -> impl TypedValueParser<Value = VipOwner> {
    choice(VipOwner::ALL, VipOwner::name)
}

pub(super) fn on_or_off() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["on", "off"]).map(|word| word == "on")
}

pub(super) fn protocol() -> impl TypedValueParser<Value = Protocol> {
    choice(Protocol::ALL, Protocol::name)
}

pub(super) fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    choice(Algorithm::ALL, Algorithm::name)
}

pub(super) fn probe_type() -> impl TypedValueParser<Value = ProbeType> {
    choice(ProbeType::ALL, ProbeType::name)
}

pub(super) fn when_all_down() -> impl TypedValueParser<Value = WhenAllDown> {
    choice(WhenAllDown::ALL, WhenAllDown::name)
}

pub(super) fn http_method() -> impl TypedValueParser<Value = HttpMethod> {
    choice(HttpMethod::ALL, HttpMethod::name)
}

pub(super) fn http_version() -> impl TypedValueParser<Value = HttpVersion> {
    choice(HttpVersion::ALL, HttpVersion::name)
}

pub(super) fn format() -> impl TypedValueParser<Value = Format> {
    choice(Format::ALL, Format::name)
}

pub(super) fn weight(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|&weight| weight <= MAX_WEIGHT)
        .ok_or_else(|| format!("a weight is a whole number from 0 to {MAX_WEIGHT}"))
}

pub(super) fn limit(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST_FLOWS).contains(limit))
        .ok_or_else(|| format!("a limit is a whole number from 1 to {MOST_FLOWS}"))
}

pub(super) fn event_limit(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST_EVENTS).contains(limit))
        .ok_or_else(|| format!("a limit is a whole number from 1 to {MOST_EVENTS}"))
}

pub(super) fn event_kind() -> impl TypedValueParser<Value = EventKind> {
    choice(EventKind::ALL, EventKind::code)
}

/// `source-ip[:TIME][/PREFIX]`
pub(super) fn persistence(text: &str) -> Result<PersistenceArg, String> {
    let (head, prefix) = match text.split_once('/') {
        Some((head, prefix)) => (head, Some(bits(prefix)?)),
        None => (text, None),
    };
    let (key, timeout) = match head.split_once(':') {
        Some((key, timeout)) => (key, Some(span(timeout)?)),
        None => (head, None),
    };
    if key != "source-ip" {
        return Err(format!("`{key}` makes no sessions; write source-ip, source-ip:TIME or source-ip:TIME/PREFIX"));
    }
    Ok(PersistenceArg { timeout, prefix })
}

fn bits(text: &str) -> Result<u8, String> {
    text.parse().ok().filter(|bits| (1..=128).contains(bits)).ok_or_else(|| {
        format!("`{text}` is not a prefix; it is a number of bits, 1 to 32 for IPv4 and 1 to 128 for IPv6")
    })
}

/// `RATE[:BURST][/PREFIX]`
pub(super) fn source_rate(text: &str) -> Result<SourceRateArg, String> {
    let (head, prefix) = match text.split_once('/') {
        Some((head, prefix)) => (head, Some(bits(prefix)?)),
        None => (text, None),
    };
    let (rate, burst) = match head.split_once(':') {
        Some((rate, burst)) => (flows(rate)?, Some(flows(burst)?)),
        None => (flows(head)?, None),
    };
    Ok(SourceRateArg { rate, burst, prefix })
}

fn flows(text: &str) -> Result<u32, String> {
    let most = SourceRate::MOST;
    text.parse().ok().filter(|flows| (1..=most).contains(flows)).ok_or_else(|| {
        format!("`{text}` is not a number of flows from 1 to {most}; write RATE, RATE:BURST or RATE:BURST/PREFIX")
    })
}

/// `KIND=TIME`
pub(super) fn idle(text: &str) -> Result<IdleArg, String> {
    let names = || IdleKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    let (kind, seconds) = text
        .split_once('=')
        .ok_or_else(|| format!("write it as KIND=TIME, like udp=30s; the kinds are {}", names()))?;
    let known = IdleKind::ALL.iter().copied().find(|known| known.name() == kind);
    let kind = known.ok_or_else(|| format!("`{kind}` is not a kind of flow; the kinds are {}", names()))?;
    Ok(IdleArg { kind, seconds: span(seconds)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistence_is_by_source_ip_with_time_and_prefix_if_wanted() {
        let read = |text| persistence(text).map(|arg| (arg.timeout, arg.prefix));
        assert_eq!(read("source-ip"), Ok((None, None)));
        assert_eq!(read("source-ip:300"), Ok((Some(300), None)));
        assert_eq!(read("source-ip:1h/64"), Ok((Some(3_600), Some(64))));
        assert_eq!(read("source-ip/64"), Ok((None, Some(64))));
        for (text, part) in [
            ("", "`` makes no sessions"),
            ("cookie", "`cookie` makes no sessions; write source-ip"),
            ("source-ip:", "`` is not a span of time"),
            ("source-ip:0", "`0` is not a span of time"),
            ("source-ip/", "`` is not a prefix"),
            ("source-ip/0", "`0` is not a prefix"),
            ("source-ip/129", "`129` is not a prefix"),
            ("source-ip/64:300", "`64:300` is not a prefix"),
        ] {
            let refusal = read(text).expect_err(text);
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_source_rate_may_have_a_burst_and_a_prefix() {
        let read = |text| source_rate(text).map(|arg| (arg.rate, arg.burst, arg.prefix));
        assert_eq!(read("20"), Ok((20, None, None)));
        assert_eq!(read("20:100"), Ok((20, Some(100), None)));
        assert_eq!(read("20:100/24"), Ok((20, Some(100), Some(24))));
        assert_eq!(read("20/56"), Ok((20, None, Some(56))));
        for (text, part) in [
            ("", "`` is not a number of flows from 1 to 1000000"),
            ("0", "`0` is not a number of flows"),
            ("1000001", "`1000001` is not a number"),
            ("20:", "`` is not a number of flows"),
            ("20/129", "`129` is not a prefix"),
        ] {
            let refusal = read(text).expect_err(text);
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }

    #[test]
    fn idle_times_name_their_kind() {
        for &kind in IdleKind::ALL {
            assert_eq!(idle(&format!("{}=2m", kind.name())), Ok(IdleArg { kind, seconds: 120 }));
        }
        for (text, part) in [
            ("udp", "write it as KIND=TIME, like udp=30s; the kinds are handshake, established, closing, udp, other"),
            ("tcp=5", "`tcp` is not a kind of flow; the kinds are handshake"),
            ("udp=", "`` is not a span of time"),
            ("udp=never", "`never` is not a span of time"),
        ] {
            let refusal = idle(text).expect_err(text);
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }
}
