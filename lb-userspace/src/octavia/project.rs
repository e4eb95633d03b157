//! From the API's objects to the model: what a load balancer's objects want of the data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::catalogue::{Catalogue, Key, Object};
use super::listeners::takes;
use super::load_balancers::text;
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::Attributes;
use crate::model::{
    Algorithm, AllowList, Backend, BackendAddr, Desired, Edit, Fault, HealthCheck, HttpProbe, HttpsProbe, Listener,
    MonitorTarget, Name, Persistence, Pool, PoolSettings, Prefix, Probe, StatusCodes, Tables, Timeouts, TlsProbe,
    UdpProbe, Vip, VipOwner, slots_region,
};

/// The edits of the model that make it what these load balancers' objects want, given what the objects were before.
///
/// # Errors
/// There is no room, or an object has no form in the model, which would be a bug.
pub fn project(
    catalogue: &Catalogue,
    desired: &Desired,
    load_balancers: &BTreeSet<String>,
    bounded: bool,
) -> Result<Vec<Edit>, Fault> {
    let mut wanted = Wanted::default();
    for id in load_balancers {
        if let Some(object) = catalogue.get(Kind::LoadBalancer, id) {
            wanted.load_balancer(catalogue, desired, id, object)?;
        }
    }
    // What the changed objects were in the model goes, unless it is still wanted. Where a listener is served by no pool
    // of the API, it has one of its own name.
    let mut gone: BTreeSet<(Kind, &Name)> = BTreeSet::new();
    for (key, before) in catalogue.before() {
        if let Some(name) = before.name.as_ref().filter(|_| matches!(key.kind, Kind::Listener | Kind::Pool)) {
            gone.insert((key.kind, name));
            gone.extend(desired.listeners.get(name).map(|listener| (Kind::Pool, &listener.pool)));
        }
    }
    let mut edits = Vec::new();
    // A listener whose pool of the same name is gone has an empty one of that name instead.
    let pools_gone = catalogue.before().filter(|(key, _)| key.kind == Kind::Pool && !is_there(catalogue, key));
    let emptied: BTreeSet<&Name> = pools_gone.filter_map(|(_, before)| before.name.as_ref()).collect();
    for (name, pool) in &wanted.pools {
        let pool = if pool.settings.is_none() && emptied.contains(name) { &WantedPool::emptied() } else { pool };
        pool.edits(name, desired, bounded, &mut edits)?;
    }
    for (name, listener) in &wanted.listeners {
        if desired.listeners.get(name) != Some(listener) {
            edits.push(Edit::PutListener(listener.clone()));
        }
    }
    let listeners_gone = gone.iter().filter(|(kind, name)| {
        *kind == Kind::Listener && !wanted.listeners.contains_key(*name) && desired.listeners.contains_key(*name)
    });
    let listeners_gone: BTreeSet<&Name> = listeners_gone.map(|(_, name)| *name).collect();
    edits.extend(listeners_gone.iter().map(|name| Edit::RemoveListener((*name).clone())));
    for (_, name) in gone.iter().filter(|(kind, _)| *kind == Kind::Pool) {
        let Some(pool) = desired.pools.get(*name).filter(|_| !wanted.pools.contains_key(*name)) else { continue };
        let others = desired.listeners_of(name).filter(|listener| !listeners_gone.contains(&listener.name));
        let served =
            others.filter(|listener| wanted.listeners.get(&listener.name).is_none_or(|new| new.pool == **name));
        if served.count() > 0 || catalogue.named(Kind::Pool, name).is_some() {
            continue;
        }
        edits.extend(pool.backends.keys().map(|address| Edit::RemoveBackend((*name).clone(), *address)));
        edits.push(Edit::RemovePool((*name).clone()));
    }
    Ok(edits)
}

#[derive(Default)]
struct Wanted {
    listeners: BTreeMap<Name, Listener>,
    pools: BTreeMap<Name, WantedPool>,
}

/// What the API's objects say of a pool; the rest is as it is.
#[derive(Default)]
struct WantedPool {
    /// `None` for the pool of a listener that no pool of the API serves.
    settings: Option<(Algorithm, Option<Persistence>, Option<HealthCheck>)>,
    /// Of its listeners: after how many milliseconds a silent flow counts as ended.
    idle: Option<u32>,
    /// Of its listeners: after how many milliseconds a connection that is not made counts as ended.
    handshake: Option<u32>,
    backends: BTreeMap<BackendAddr, Backend>,
}

fn damaged(kind: Kind, name: impl std::fmt::Display) -> Fault {
    Fault::internal(format!("the {} {name} has no form in the model", kind.title()))
}

impl Wanted {
    fn load_balancer(
        &mut self,
        catalogue: &Catalogue,
        desired: &Desired,
        id: &str,
        object: &Object,
    ) -> Result<(), Fault> {
        let vip: Vip = object.text("vip_address").parse()?;
        for (pool_id, pool) in catalogue.children(Kind::LoadBalancer, id, Kind::Pool) {
            let name = pool.name.clone().ok_or_else(|| damaged(Kind::Pool, pool_id))?;
            let wanted = wanted_pool(catalogue, id, pool_id, pool)?;
            self.pools.insert(name, wanted);
        }
        for (listener_id, listener) in catalogue.children(Kind::LoadBalancer, id, Kind::Listener) {
            let name = listener.name.clone().ok_or_else(|| damaged(Kind::Listener, listener_id))?;
            let pool = listener.some_text("default_pool_id").and_then(|pool| catalogue.get(Kind::Pool, pool));
            let pool = pool.and_then(|pool| pool.name.clone());
            let pool = pool.unwrap_or_else(|| {
                let own = own_pool(catalogue, desired, &name, listener_id);
                self.pools.insert(own.clone(), WantedPool::default());
                own
            });
            if let Some(pool) = self.pools.get_mut(&pool) {
                pool.idle = pool.idle.max(set_timeout(listener, "timeout_client_data", 50_000));
                pool.handshake = pool.handshake.max(set_timeout(listener, "timeout_member_connect", 5_000));
            }
            let (protocol, port) = takes(listener);
            let admin_up = listener.flag("admin_state_up") && object.flag("admin_state_up");
            let before = desired.listeners.get(&name).cloned();
            let (allowed, max_flows) = (allowed_of(listener)?, max_flows_of(listener));
            let wanted = match before {
                Some(before) => Listener { vip, protocol, port, pool, admin_up, allowed, max_flows, ..before },
                None => {
                    let vip_owner = owner_of(desired, vip);
                    let (name, source_rate) = (name.clone(), None);
                    Listener { name, vip, protocol, port, pool, admin_up, allowed, vip_owner, source_rate, max_flows }
                }
            };
            self.listeners.insert(name, wanted);
        }
        Ok(())
    }
}

/// The name of the pool of a listener that no pool of the API serves: the listener's own, unless a pool of the API has it.
fn own_pool(catalogue: &Catalogue, desired: &Desired, listener: &Name, id: &str) -> Name {
    let is_free = |name: &Name| catalogue.named(Kind::Pool, name).is_none();
    let was_free =
        |name: &Name| catalogue.before().all(|(key, was)| key.kind != Kind::Pool || was.name.as_ref() != Some(name));
    let now = desired.listeners.get(listener).map(|listener| &listener.pool);
    if let Some(now) = now.filter(|now| is_free(now) && was_free(now)) {
        return now.clone();
    }
    let by_id = id.parse::<Name>().ok();
    by_id.filter(|_| !is_free(listener)).unwrap_or_else(|| listener.clone())
}

/// Who answers for a VIP: whoever does so far, for all listeners alike.
fn owner_of(desired: &Desired, vip: Vip) -> VipOwner {
    let other = desired.listeners_of_vip(vip.ip()).next();
    other.map_or(desired.default_owner, |other| other.vip_owner)
}

/// The sources that a listener takes packets from.
pub(super) fn allowed_of(listener: &Object) -> Result<AllowList, Fault> {
    let ranges = listener.attributes.get("allowed_cidrs").and_then(Value::as_array);
    let ranges = ranges.into_iter().flatten().filter_map(Value::as_str);
    Ok(AllowList::from(ranges.map(str::parse).collect::<Result<Vec<Prefix>, Fault>>()?))
}

/// How many connections a listener takes at once; -1 says any number.
pub(super) fn max_flows_of(listener: &Object) -> Option<u32> {
    let limit = listener.attributes.get("connection_limit").and_then(Value::as_i64);
    limit.filter(|limit| *limit > 0).and_then(|limit| u32::try_from(limit).ok())
}

/// A timeout of a listener in milliseconds, if it is another than it is unless set.
fn set_timeout(listener: &Object, name: &str, default: i64) -> Option<u32> {
    let set = listener.attributes.get(name).and_then(Value::as_i64).unwrap_or(default);
    (set != default).then(|| u32::try_from(set).unwrap_or(u32::MAX))
}

fn wanted_pool(catalogue: &Catalogue, owner: &str, id: &str, pool: &Object) -> Result<WantedPool, Fault> {
    let algorithm = algorithm_of(pool.text("lb_algorithm")).ok_or_else(|| damaged(Kind::Pool, id))?;
    let no_form = |_refusal: Refusal| damaged(Kind::Pool, id);
    let persistence = pool.attributes.get("session_persistence").and_then(Value::as_object);
    let persistence = persistence.map(persistence_of).transpose().map_err(no_form)?;
    let monitor = catalogue.children(Kind::Pool, id, Kind::Monitor).into_iter().next();
    let monitor = monitor.filter(|(_, monitor)| monitor.flag("admin_state_up"));
    let health = monitor.map(|(_, monitor)| check_of(monitor.text("type"), &monitor.attributes.to_attributes()));
    let health = health.transpose().map_err(no_form)?;
    let every_port = serves_every_port(catalogue, owner, id);
    let mut backends = BTreeMap::new();
    for (_, member) in catalogue.children(Kind::Pool, id, Kind::Member) {
        let address: BackendAddr = member.text("address").parse()?;
        let weight = u16::try_from(member.number("weight")).unwrap_or(0);
        let mut backend = Backend::new(address, weight);
        backend.admin_up = member.flag("admin_state_up") && pool.flag("admin_state_up");
        backend.monitor = target_of(member, every_port)?;
        backend.backup = member.flag("backup");
        backends.insert(address, backend);
    }
    Ok(WantedPool { settings: Some((algorithm, persistence, health)), idle: None, handshake: None, backends })
}

/// True if a pool serves a listener of every port, whose own port a probe cannot go to.
pub(super) fn serves_every_port(catalogue: &Catalogue, owner: &str, pool: &str) -> bool {
    let listeners = catalogue.children(Kind::LoadBalancer, owner, Kind::Listener);
    listeners.into_iter().any(|(_, listener)| listener.text("default_pool_id") == pool && takes(listener).1 == 0)
}

/// Where a member is probed. Below a listener of every port, that is its own port.
pub(super) fn target_of(member: &Object, every_port: bool) -> Result<MonitorTarget, Fault> {
    let address = member.some_text("monitor_address").map(str::parse).transpose()?;
    let port = |name: &str| u16::try_from(member.number(name)).ok().filter(|port| *port != 0);
    let own = if every_port { port("protocol_port") } else { None };
    Ok(MonitorTarget { address, port: port("monitor_port").or(own) })
}

fn is_there(catalogue: &Catalogue, key: &Key) -> bool {
    catalogue.get(key.kind, &key.id).is_some()
}

impl WantedPool {
    /// A pool as it is at first.
    fn emptied() -> Self {
        Self { settings: Some((Algorithm::SourceIpPort, None, None)), ..Self::default() }
    }

    fn edits(&self, name: &Name, desired: &Desired, bounded: bool, edits: &mut Vec<Edit>) -> Result<(), Fault> {
        let before = desired.pools.get(name);
        let mut settings = match before {
            Some(pool) => pool.settings(),
            None => PoolSettings {
                name: name.clone(),
                algorithm: Algorithm::SourceIpPort,
                persistence: None,
                timeouts: Timeouts::default(),
                slots: slots_for(desired, self.settings.is_some(), bounded, edits)?,
                health: None,
            },
        };
        if let Some((algorithm, persistence, health)) = &self.settings {
            (settings.algorithm, settings.persistence) = (*algorithm, *persistence);
            settings.health = health.clone();
            // Milliseconds become seconds, and no flow ends before its time.
            let seconds = |set: u32| set.div_ceil(1_000).clamp(1, Timeouts::MAX);
            let usual = Timeouts::default();
            settings.timeouts.established = self.idle.map_or(usual.established, seconds);
            settings.timeouts.udp = self.idle.map_or(usual.udp, seconds);
            settings.timeouts.handshake = self.handshake.map_or(usual.handshake, seconds);
        }
        if before.map(Pool::settings).as_ref() != Some(&settings) {
            edits.push(Edit::PutPool(settings));
        }
        let held = before.map(|pool| &pool.backends);
        // The command line's backends of a listener that the API knows no pool of are no business of the API's.
        if self.settings.is_none() {
            return Ok(());
        }
        for (address, backend) in &self.backends {
            let before = held.and_then(|held| held.get(address));
            let mut after = backend.clone();
            // Draining goes on until somebody puts the backend in service again.
            let revived = before.is_some_and(|before| !before.admin_up && after.admin_up);
            after.drain = before.and_then(|before| before.drain).filter(|_| !revived);
            if before != Some(&after) {
                edits.push(Edit::PutBackend(name.clone(), after));
            }
        }
        let gone = held.into_iter().flat_map(|held| held.keys()).filter(|address| !self.backends.contains_key(address));
        edits.extend(gone.map(|address| Edit::RemoveBackend(name.clone(), *address)));
        Ok(())
    }
}

/// The sizes of lookup tables below the usual one, and up to which part of all slots (in sixteenths) tables of that size are
/// given. The usual one is given for the first half.
const SMALLER: &[(u32, u64)] = &[(16_381, 12), (4_093, 14), (1_021, 15), (251, 16)];

/// The slots of a new pool's table: the more there is taken, the fewer, so that there is room for many.
fn slots_for(desired: &Desired, serves: bool, bounded: bool, edits: &[Edit]) -> Result<u32, Fault> {
    let Tables { room, slots: usual } = desired.tables;
    let smaller: Vec<_> = SMALLER.iter().copied().filter(|(slots, _)| *slots < usual).collect();
    // All that there is, if there is nothing smaller.
    let share = if smaller.is_empty() { 16 } else { 8 };
    let sizes = [&[(usual, share)], smaller.as_slice()].concat();
    let last = &sizes[sizes.len() - 1..];
    if !bounded {
        return Ok(if serves { usual } else { last[0].0 });
    }
    let new = edits.iter().filter_map(|edit| match edit {
        Edit::PutPool(pool) if !desired.pools.contains_key(&pool.name) => Some(pool.slots),
        _ => None,
    });
    let taken = desired.slots_taken() + new.map(|slots| u64::from(slots_region(slots))).sum::<u64>();
    let fits = |(slots, sixteenths): &&(u32, u64)| {
        taken + u64::from(slots_region(*slots)) <= u64::from(room) * sixteenths / 16
    };
    let candidates = if serves { sizes.as_slice() } else { last };
    candidates.iter().find(fits).map(|(slots, _)| *slots).ok_or_else(|| {
        Fault::unavailable(format!(
            "there is no room for the lookup table of another pool beside {}; remove some, or make more with `room` in \
             [tables] of the agent's configuration",
            desired.pools.len()
        ))
    })
}

/// The algorithms by their names in the API.
const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("ROUND_ROBIN", Algorithm::RoundRobin),
    ("LEAST_CONNECTIONS", Algorithm::LeastConnections),
    ("SOURCE_IP", Algorithm::SourceIp),
    ("SOURCE_IP_PORT", Algorithm::SourceIpPort),
];

fn algorithm_of(name: &str) -> Option<Algorithm> {
    ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
}

/// An algorithm's name in the API.
pub(super) fn name_of(algorithm: Algorithm) -> &'static str {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("SOURCE_IP_PORT", |(name, _)| name)
}

/// Persistence by source address, with a timeout in seconds and a mask as granularity.
///
/// # Errors
/// The mask is none, or the timeout is too long.
pub(super) fn persistence_of(attributes: &Attributes) -> Result<Persistence, Refusal> {
    let mut persistence = Persistence::default();
    let timeout = attributes.get("persistence_timeout").and_then(Value::as_u64).filter(|timeout| *timeout > 0);
    if let Some(timeout) = timeout {
        let longest = Persistence::MAX_TIMEOUT;
        let usable = u32::try_from(timeout).ok().filter(|timeout| *timeout <= longest);
        persistence.timeout = usable
            .ok_or_else(|| Refusal::unsupported(format!("a persistence_timeout of more than {longest} seconds")))?;
    }
    let Some(mask) = text(attributes, "persistence_granularity") else { return Ok(persistence) };
    let prefix = match mask.parse() {
        Ok(IpAddr::V4(mask)) => leading_ones(u128::from(u32::from(mask)), 32).map(|bits| (bits, true)),
        Ok(IpAddr::V6(mask)) => leading_ones(u128::from(mask), 128).map(|bits| (bits, false)),
        Err(_) => None,
    };
    match prefix {
        Some((bits, true)) => persistence.ipv4_prefix = bits,
        Some((bits, false)) => persistence.ipv6_prefix = bits,
        None => {
            return Err(Refusal::validation(format!("The persistence_granularity {mask} is not a network mask.")));
        }
    }
    Ok(persistence)
}

/// How many bits lead a mask of that width, if it is one: ones and then zeros, and at least a one.
fn leading_ones(mask: u128, width: u32) -> Option<u8> {
    let ones = mask.count_ones();
    let whole = u128::MAX.checked_shl(128 - ones).unwrap_or(0) >> (128 - width);
    (ones > 0 && mask == whole).then(|| u8::try_from(ones).ok())?
}

/// # Errors
/// A monitor of that type with these attributes is none that backends can be checked by.
pub(super) fn must_check(kind: &str, attributes: &Attributes) -> Result<(), Refusal> {
    check_of(kind, attributes).map(|_check| ())
}

/// A monitor as a health check.
///
/// # Errors
/// Backends cannot be checked so.
pub(super) fn check_of(kind: &str, attributes: &Attributes) -> Result<HealthCheck, Refusal> {
    use crate::model::{HttpVersion, ProbeType};
    let number = |name: &str| attributes.get(name).and_then(Value::as_u64).unwrap_or(0);
    let refused = |fault: Fault| Refusal::validation(fault.message);
    let http = || -> Result<HttpProbe, Refusal> {
        let version = attributes.get("http_version").and_then(Value::as_f64);
        Ok(HttpProbe {
            method: text(attributes, "http_method").unwrap_or("GET").parse().map_err(refused)?,
            path: text(attributes, "url_path").unwrap_or("/").to_owned(),
            host: text(attributes, "domain_name").map(str::to_owned),
            version: if version == Some(1.1) { HttpVersion::Http11 } else { HttpVersion::Http10 },
            expect: text(attributes, "expected_codes").unwrap_or("200").parse::<StatusCodes>().map_err(refused)?,
        })
    };
    let probe = match kind {
        "TCP" => Probe::Tcp,
        "HTTP" => Probe::Http(http()?),
        "HTTPS" => Probe::Https(HttpsProbe { http: http()?, tls: TlsProbe::default() }),
        "TLS-HELLO" => Probe::Tls(TlsProbe::default()),
        "PING" => Probe::Icmp,
        "UDP-CONNECT" => Probe::Udp(UdpProbe::default()),
        _ => return Err(Refusal::unsupported(format!("a health monitor of type {kind}; use TCP or PING"))),
    };
    let milliseconds = |name: &str, least: u32| {
        let milliseconds = number(name).saturating_mul(1_000).max(least.into());
        u32::try_from(milliseconds).unwrap_or(u32::MAX)
    };
    let usual = HealthCheck::new(ProbeType::Tcp);
    let times = |name: &str| u8::try_from(number(name)).unwrap_or(u8::MAX);
    let check = HealthCheck {
        probe,
        delay_ms: milliseconds("delay", HealthCheck::MIN_DELAY_MS),
        timeout_ms: milliseconds("timeout", HealthCheck::MIN_TIMEOUT_MS),
        rise: times("max_retries"),
        fall: times("max_retries_down"),
        ..usual
    };
    check.check().map_err(refused)?;
    Ok(check)
}
