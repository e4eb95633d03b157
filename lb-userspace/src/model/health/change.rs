//! How a health check is set, and what is refused.

use serde::{Deserialize, Serialize};

use super::{HealthCheck, HttpProbe, HttpsProbe, Probe, ProbeType, StatusCodes, TlsProbe, UdpProbe};
use crate::model::choices::{HttpMethod, HttpVersion, WhenAllDown};
use crate::model::fault::Fault;
use crate::model::{Listener, Protocol};

/// What to set of a health check; `None` leaves it as it is, or as it is unless set. Where the type changes, what belongs
/// to a type is as it is unless set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthChange {
    /// The type; unless set it follows from the listener's protocol.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProbeType>,
    /// The port to probe; 0 for the listener's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Milliseconds from the beginning of a probe to that of the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u32>,
    /// Milliseconds that an answer may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    /// Right answers in a row that make a backend count as up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<u8>,
    /// Failures in a row that make a backend count as down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<u8>,
    /// By how many percent of the delay the time between two probes varies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<u8>,
    /// What becomes of the pool's traffic while all its backends are down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_all_down: Option<WhenAllDown>,
    /// The method of an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// The path of an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The `Host` header of an HTTP request; empty for the VIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The version of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<HttpVersion>,
    /// The status codes that are a right answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<StatusCodes>,
    /// Whether a certificate must be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// The server's name in TLS; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// What a datagram holds; empty for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// What a datagram's answer must hold; empty for no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

impl HealthChange {
    /// The change that makes any check exactly this one.
    #[must_use]
    pub fn exactly(check: &HealthCheck) -> Self {
        let HealthCheck { probe, port, delay_ms, timeout_ms, rise, fall, jitter, when_all_down } = check.clone();
        let (http, tls, udp) = match &probe {
            Probe::Http(http) => (Some(http), None, None),
            Probe::Https(HttpsProbe { http, tls }) => (Some(http), Some(tls), None),
            Probe::Tls(tls) => (None, Some(tls), None),
            Probe::Udp(udp) => (None, None, Some(udp)),
            Probe::Tcp | Probe::Icmp => (None, None, None),
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            kind: Some(probe.kind()),
            port: Some(port.unwrap_or(0)),
            delay_ms: Some(delay_ms),
            timeout_ms: Some(timeout_ms),
            rise: Some(rise),
            fall: Some(fall),
            jitter: Some(jitter),
            when_all_down: Some(when_all_down),
            method: http.map(|http| http.method),
            path: http.map(|http| http.path.clone()),
            host: http.map(|http| text(&http.host)),
            version: http.map(|http| http.version),
            expect: http.map(|http| http.expect.clone()),
            verify: tls.map(|tls| tls.verify),
            sni: tls.map(|tls| text(&tls.sni)),
            send: udp.map(|udp| text(&udp.send)),
            answer: udp.map(|udp| text(&udp.answer)),
        }
    }

    /// The check of a listener's pool with this set.
    ///
    /// # Errors
    /// Something is out of its range, or belongs to another type of check.
    pub fn applied_to(self, before: Option<&HealthCheck>, listener: &Listener) -> Result<HealthCheck, Fault> {
        let kind = self.kind.or(before.map(|before| before.probe.kind()));
        let kind = kind.unwrap_or_else(|| default_kind(listener.protocol, listener.port, self.port));
        let mut check = match before {
            Some(before) if before.probe.kind() == kind => before.clone(),
            Some(before) => HealthCheck { probe: default_probe(kind), ..before.clone() },
            None => HealthCheck::new(kind),
        };
        if let Some(port) = self.port {
            check.port = (port != 0).then_some(port);
        } else if !kind.has_port() {
            check.port = None;
        }
        check.delay_ms = self.delay_ms.unwrap_or(check.delay_ms);
        check.timeout_ms = self.timeout_ms.unwrap_or(check.timeout_ms);
        check.rise = self.rise.unwrap_or(check.rise);
        check.fall = self.fall.unwrap_or(check.fall);
        check.jitter = self.jitter.unwrap_or(check.jitter);
        check.when_all_down = self.when_all_down.unwrap_or(check.when_all_down);
        self.set_probe(&mut check.probe)?;
        check.check()?;
        check.fits(listener)?;
        Ok(check)
    }

    fn set_probe(self, probe: &mut Probe) -> Result<(), Fault> {
        let kind = probe.kind();
        let foreign = [
            ("method", self.method.is_some(), has_http(kind)),
            ("path", self.path.is_some(), has_http(kind)),
            ("host", self.host.is_some(), has_http(kind)),
            ("version", self.version.is_some(), has_http(kind)),
            ("expect", self.expect.is_some(), has_http(kind)),
            ("verify", self.verify.is_some(), has_tls(kind)),
            ("sni", self.sni.is_some(), has_tls(kind)),
            ("send", self.send.is_some(), kind == ProbeType::Udp),
            ("answer", self.answer.is_some(), kind == ProbeType::Udp),
        ];
        if let Some((what, ..)) = foreign.into_iter().find(|(_, given, belongs)| *given && !belongs) {
            return Err(Fault::invalid(format!(
                "a health check of type {} has no `{what}`; leave it out, or choose a type that has it",
                kind.name()
            )));
        }
        let (http, tls, udp) = match probe {
            Probe::Http(http) => (Some(http), None, None),
            Probe::Https(HttpsProbe { http, tls }) => (Some(http), Some(tls), None),
            Probe::Tls(tls) => (None, Some(tls), None),
            Probe::Udp(udp) => (None, None, Some(udp)),
            Probe::Tcp | Probe::Icmp => (None, None, None),
        };
        let text = |text: String| (!text.is_empty()).then_some(text);
        if let Some(http) = http {
            http.method = self.method.unwrap_or(http.method);
            http.version = self.version.unwrap_or(http.version);
            http.path = self.path.unwrap_or_else(|| http.path.clone());
            http.host = self.host.map_or_else(|| http.host.clone(), text);
            http.expect = self.expect.unwrap_or_else(|| http.expect.clone());
        }
        if let Some(tls) = tls {
            tls.verify = self.verify.unwrap_or(tls.verify);
            tls.sni = self.sni.map_or_else(|| tls.sni.clone(), text);
        }
        if let Some(udp) = udp {
            udp.send = self.send.map_or_else(|| udp.send.clone(), text);
            udp.answer = self.answer.map_or_else(|| udp.answer.clone(), text);
        }
        Ok(())
    }
}

/// The type unless set; a port that was given makes a TCP or UDP check of what would have been a ping.
fn default_kind(protocol: Protocol, listens: u16, given: Option<u16>) -> ProbeType {
    match (protocol, given.filter(|port| *port != 0)) {
        (Protocol::Tcp | Protocol::Ip | Protocol::Sctp, Some(_)) => ProbeType::Tcp,
        (Protocol::Udp, Some(_)) => ProbeType::Udp,
        (_, None) => ProbeType::default_for(protocol, listens),
    }
}

/// A probe of that type, as it is unless set.
pub(super) fn default_probe(kind: ProbeType) -> Probe {
    let http = || HttpProbe {
        method: HttpMethod::Get,
        path: "/".to_owned(),
        host: None,
        version: HttpVersion::Http11,
        expect: StatusCodes::default(),
    };
    match kind {
        ProbeType::Tcp => Probe::Tcp,
        ProbeType::Http => Probe::Http(http()),
        ProbeType::Https => Probe::Https(HttpsProbe { http: http(), tls: TlsProbe::default() }),
        ProbeType::Tls => Probe::Tls(TlsProbe::default()),
        ProbeType::Icmp => Probe::Icmp,
        ProbeType::Udp => Probe::Udp(UdpProbe::default()),
    }
}

const fn has_http(kind: ProbeType) -> bool {
    matches!(kind, ProbeType::Http | ProbeType::Https)
}

const fn has_tls(kind: ProbeType) -> bool {
    matches!(kind, ProbeType::Https | ProbeType::Tls)
}

/// The longest path, name or payload, in bytes: within one packet.
const LONGEST: usize = 1_024;

/// Checks the ranges and the texts of a check.
pub(super) fn check(check: &HealthCheck) -> Result<(), Fault> {
    type C = HealthCheck;
    let ranges = [
        ("delay", check.delay_ms, C::MIN_DELAY_MS, C::MAX_DELAY_MS, " ms"),
        ("timeout", check.timeout_ms, C::MIN_TIMEOUT_MS, C::MAX_DELAY_MS, " ms"),
        ("rise", check.rise.into(), 1, C::MAX_RISE.into(), ""),
        ("fall", check.fall.into(), 1, C::MAX_RISE.into(), ""),
        ("jitter", check.jitter.into(), 0, C::MAX_JITTER.into(), " percent"),
    ];
    for (what, value, min, max, unit) in ranges {
        if !(min..=max).contains(&value) {
            return Err(Fault::invalid(format!(
                "the {what} of a health check cannot be {value}{unit}; give {min} to {max}"
            )));
        }
    }
    if check.port == Some(0) || check.port.is_some() && !check.probe.kind().has_port() {
        return Err(Fault::invalid(format!(
            "a health check of type {} has no port {}; leave it out, or choose another type",
            check.probe.type_name(),
            check.port.unwrap_or(0)
        )));
    }
    match &check.probe {
        Probe::Http(http) => check_http(http),
        Probe::Https(HttpsProbe { http, tls }) => check_http(http).and_then(|()| check_tls(tls)),
        Probe::Tls(tls) => check_tls(tls),
        Probe::Udp(udp) => [&udp.send, &udp.answer].into_iter().flatten().try_for_each(|text| payload(text).map(drop)),
        Probe::Tcp | Probe::Icmp => Ok(()),
    }
}

fn check_http(http: &HttpProbe) -> Result<(), Fault> {
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !http.path.starts_with('/') || !visible(&http.path) || http.path.len() > LONGEST {
        return Err(Fault::invalid(format!(
            "`{}` is not the path of a request; it begins with `/`, has at most {LONGEST} characters, and others than \
             ASCII and blanks are written as %20",
            http.path
        )));
    }
    match &http.host {
        Some(host) if host.is_empty() || !visible(host) || host.len() > 255 => Err(Fault::invalid(format!(
            "`{host}` is not a host's name; write it as www.example.com or 192.0.2.10:8080"
        ))),
        _ => Ok(()),
    }
}

fn check_tls(tls: &TlsProbe) -> Result<(), Fault> {
    let is_name = |name: &str| {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
    };
    match &tls.sni {
        Some(name) if !is_name(name) => {
            Err(Fault::invalid(format!("`{name}` is not a server's name; write it as www.example.com")))
        }
        _ => Ok(()),
    }
}

impl UdpProbe {
    /// The bytes of what is sent.
    #[must_use]
    pub fn sent(&self) -> Vec<u8> {
        self.send.as_deref().and_then(|text| payload(text).ok()).unwrap_or_default()
    }

    /// The bytes that an answer must hold; `None` if there need not be one.
    #[must_use]
    pub fn wanted(&self) -> Option<Vec<u8>> {
        self.answer.as_deref().and_then(|text| payload(text).ok())
    }
}

/// The bytes that a text stands for.
fn payload(text: &str) -> Result<Vec<u8>, Fault> {
    let bytes = match text.strip_prefix("hex:") {
        None => Some(text.as_bytes().to_vec()),
        Some(digits) => from_hex(digits),
    };
    bytes.filter(|bytes| bytes.len() <= LONGEST).ok_or_else(|| {
        Fault::invalid(format!(
            "`{text}` is not what a datagram can hold; write at most {LONGEST} bytes, as text or as hex:0a0b0c"
        ))
    })
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
