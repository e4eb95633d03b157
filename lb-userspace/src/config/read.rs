//! A file's text, read.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::wanted::{At, DEFAULT_MODE, Flaw, Place, Wanted, WantedBackend, WantedListener};
use crate::model::{
    Algorithm, AllowList, AttachMode, BackendAddr, Fault, HealthChange, HttpMethod, HttpVersion, Interface,
    MonitorTarget, Name, NewListener, Persistence, Prefix, ProbeType, Protocol, SourceRate, StatusCodes, Timeouts,
    TimeoutsChange, Vip, VipOwner, WhenAllDown, span,
};

/// Reads a file (TOML 1.0).
///
/// # Errors
/// Where it is not TOML, has a key or a value that there is not, or contradicts itself.
pub fn read(text: &str) -> Result<Wanted, Flaw> {
    let file: File = toml::from_str(text).map_err(|error| Flaw {
        place: Lines::of(text).place(error.span().map_or(text.len(), |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let reader = Reader { lines: Lines::of(text) };
    let interfaces = file.interfaces.into_iter().map(|table| reader.interface(table)).collect::<Vec<_>>();
    let listeners = file.listeners.into_iter().map(|table| reader.listener(table)).collect::<Result<Vec<_>, _>>()?;
    each_once(&interfaces, |interface| &interface.name, "interface")?;
    each_once(&listeners, |listener| &listener.new.name, "listener")?;
    for listener in &listeners {
        each_once(&listener.value.backends, |backend| &backend.address, "backend")?;
    }
    Ok(Wanted { interfaces, listeners })
}

/// The tables of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    interfaces: Vec<Spanned<InterfaceTable>>,
    #[serde(default)]
    listeners: Vec<Spanned<ListenerTable>>,
    // The agent's own settings, which it reads when it starts.
    #[serde(rename = "api")]
    _api: Option<IgnoredAny>,
    #[serde(rename = "projects")]
    _projects: Option<IgnoredAny>,
    #[serde(rename = "users")]
    _users: Option<IgnoredAny>,
    #[serde(rename = "networks")]
    _networks: Option<IgnoredAny>,
    #[serde(rename = "ports")]
    _ports: Option<IgnoredAny>,
    #[serde(rename = "tables")]
    _tables: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceTable {
    name: String,
    mode: Option<AttachMode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ListenerTable {
    name: Name,
    vip: Vip,
    protocol: Protocol,
    port: Option<u16>,
    algorithm: Option<Algorithm>,
    persistence: Option<PersistenceTable>,
    #[serde(default)]
    idle: IdleTable,
    slots: Option<u32>,
    vip_owner: Option<VipOwner>,
    source_rate: Option<SourceRateTable>,
    max_flows: Option<u32>,
    up: Option<bool>,
    #[serde(default)]
    allow: Vec<Prefix>,
    health: Option<Spanned<HealthTable>>,
    #[serde(default)]
    backends: Vec<Spanned<BackendTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PersistenceTable {
    #[serde(default, deserialize_with = "seconds")]
    timeout: Option<u32>,
    ipv4_prefix: Option<u8>,
    ipv6_prefix: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SourceRateTable {
    rate: u32,
    burst: Option<u32>,
    ipv4_prefix: Option<u8>,
    ipv6_prefix: Option<u8>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IdleTable {
    #[serde(deserialize_with = "seconds")]
    handshake: Option<u32>,
    #[serde(deserialize_with = "seconds")]
    established: Option<u32>,
    #[serde(deserialize_with = "seconds")]
    closing: Option<u32>,
    #[serde(deserialize_with = "seconds")]
    udp: Option<u32>,
    #[serde(deserialize_with = "seconds")]
    other: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HealthTable {
    #[serde(rename = "type")]
    kind: Option<ProbeType>,
    port: Option<u16>,
    #[serde(default, deserialize_with = "milliseconds")]
    delay: Option<u32>,
    #[serde(default, deserialize_with = "milliseconds")]
    timeout: Option<u32>,
    rise: Option<u8>,
    fall: Option<u8>,
    jitter: Option<u8>,
    when_all_down: Option<WhenAllDown>,
    method: Option<HttpMethod>,
    path: Option<String>,
    host: Option<String>,
    version: Option<HttpVersion>,
    expect: Option<StatusCodes>,
    verify: Option<bool>,
    sni: Option<String>,
    send: Option<String>,
    answer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct BackendTable {
    address: BackendAddr,
    weight: Option<u16>,
    up: Option<bool>,
    monitor_address: Option<BackendAddr>,
    monitor_port: Option<u16>,
    backup: Option<bool>,
}

/// A span of time as text, or a number of seconds.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a span of time, written as 90, \"90s\", \"5m\", \"2h\" or \"1d\"")]
enum SpanValue {
    Number(u32),
    Text(String),
}

fn seconds<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u32>, D::Error> {
    match SpanValue::deserialize(value)? {
        SpanValue::Number(seconds) => Ok(Some(seconds)),
        SpanValue::Text(text) => span::seconds(&text).map(Some).map_err(de::Error::custom),
    }
}

fn milliseconds<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u32>, D::Error> {
    match SpanValue::deserialize(value)? {
        SpanValue::Number(seconds) => seconds
            .checked_mul(1_000)
            .map(Some)
            .ok_or_else(|| de::Error::custom(format!("{seconds} seconds are more than can be waited"))),
        SpanValue::Text(text) => span::milliseconds(&text).map(Some).map_err(de::Error::custom),
    }
}

/// A text, and where its lines begin: looked for once, as all that is read has a place.
struct Lines<'a> {
    text: &'a str,
    begins: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let behind = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self { text, begins: std::iter::once(0).chain(behind).collect() }
    }

    /// The place of a byte.
    fn place(&self, byte: usize) -> Place {
        let byte = self.text.floor_char_boundary(byte);
        let line = self.begins.partition_point(|begin| *begin <= byte);
        let begin = line.checked_sub(1).map_or(0, |before| self.begins[before]);
        Place { line, column: self.text[begin..byte].chars().count() + 1 }
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
}

impl Reader<'_> {
    fn place<T>(&self, of: &Spanned<T>) -> Place {
        self.lines.place(of.span().start)
    }

    fn interface(&self, table: Spanned<InterfaceTable>) -> At<Interface> {
        let place = self.place(&table);
        let InterfaceTable { name, mode } = table.into_inner();
        At { value: Interface { name, mode: mode.unwrap_or(DEFAULT_MODE) }, place }
    }

    fn listener(&self, table: Spanned<ListenerTable>) -> Result<At<WantedListener>, Flaw> {
        let place = self.place(&table);
        let flaw = |fault: Fault| Flaw { place, message: fault.message };
        let ListenerTable {
            name,
            vip,
            protocol,
            port,
            algorithm,
            persistence,
            idle,
            slots,
            vip_owner,
            source_rate,
            max_flows,
            up,
            allow,
            health,
            backends,
        } = table.into_inner();
        let port = match (port, protocol) {
            (Some(port), _) => port,
            (None, Protocol::Ip) => 0,
            (None, protocol) => {
                return Err(Flaw {
                    place,
                    message: format!("listener `{name}` of {protocol} has no `port`; give one, or 0 for every port"),
                });
            }
        };
        let IdleTable { handshake, established, closing, udp, other } = idle;
        let idle = TimeoutsChange { handshake, established, closing, udp, other };
        let persistence = persistence.map(|PersistenceTable { timeout, ipv4_prefix, ipv6_prefix }| {
            let unless_set = Persistence::default();
            Persistence {
                timeout: timeout.unwrap_or(unless_set.timeout),
                ipv4_prefix: ipv4_prefix.unwrap_or(unless_set.ipv4_prefix),
                ipv6_prefix: ipv6_prefix.unwrap_or(unless_set.ipv6_prefix),
            }
        });
        let source_rate = source_rate.map(|SourceRateTable { rate, burst, ipv4_prefix, ipv6_prefix }| {
            let unless_set = SourceRate::new(rate, burst.unwrap_or(rate));
            SourceRate {
                ipv4_prefix: ipv4_prefix.unwrap_or(unless_set.ipv4_prefix),
                ipv6_prefix: ipv6_prefix.unwrap_or(unless_set.ipv6_prefix),
                ..unless_set
            }
        });
        let new = NewListener {
            name: name.clone(),
            vip,
            protocol,
            port,
            algorithm: algorithm.unwrap_or(Algorithm::SourceIpPort),
            persistence,
            timeouts: Timeouts::default().with(&idle),
            allowed: AllowList::from(allow),
            vip_owner,
            source_rate,
            max_flows,
            slots,
        };
        let health = match health {
            None => None,
            Some(table) => {
                let place = self.place(&table);
                let check = change_of(table.into_inner()).applied_to(None, &new.listener());
                Some(At { value: check.map_err(|fault| Flaw { place, ..flaw(fault) })?, place })
            }
        };
        let backends = backends.into_iter().map(|table| self.backend(table)).collect();
        Ok(At { value: WantedListener { new, up: up.unwrap_or(true), health, backends }, place })
    }

    fn backend(&self, table: Spanned<BackendTable>) -> At<WantedBackend> {
        let place = self.place(&table);
        let BackendTable { address, weight, up, monitor_address, monitor_port, backup } = table.into_inner();
        let monitor = MonitorTarget { address: monitor_address, port: monitor_port };
        let (weight, up, backup) = (weight.unwrap_or(1), up.unwrap_or(true), backup.unwrap_or(false));
        At { value: WantedBackend { address, weight, up, monitor, backup }, place }
    }
}

fn change_of(table: HealthTable) -> HealthChange {
    let HealthTable {
        kind,
        port,
        delay,
        timeout,
        rise,
        fall,
        jitter,
        when_all_down,
        method,
        path,
        host,
        version,
        expect,
        verify,
        sni,
        send,
        answer,
    } = table;
    HealthChange {
        kind,
        port,
        delay_ms: delay,
        timeout_ms: timeout,
        rise,
        fall,
        jitter,
        when_all_down,
        method,
        path,
        host,
        version,
        expect,
        verify,
        sni,
        send,
        answer,
    }
}

/// Refuses the second of two things of one name.
fn each_once<T, K: Ord + Display>(all: &[At<T>], key: impl Fn(&T) -> &K, what: &str) -> Result<(), Flaw> {
    let mut seen = BTreeSet::new();
    match all.iter().find(|at| !seen.insert(key(&at.value))) {
        None => Ok(()),
        Some(again) => Err(Flaw {
            place: again.place,
            message: format!("the {what} `{}` is there twice; leave one of them out", key(&again.value)),
        }),
    }
}
