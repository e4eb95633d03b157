//! From the model to the API's objects: what the command line made or changed gets its objects, or changes them.

use std::collections::BTreeSet;
use std::ops::Deref;

use serde_json::{Value, json};

use super::catalogue::{Catalogue, Object};
use super::listeners::{OWN_PROTOCOL, takes};
use super::networks;
use super::project::{allowed_of, check_of, max_flows_of, name_of, persistence_of, serves_every_port, target_of};
use super::schema::Kind;
use super::value::Attributes;
use super::work::Settings;
use crate::model::{self, Backend, Desired, HealthCheck, Name, Persistence, Pool, Probe, Protocol};

/// A part of the model: what may have changed since the objects last said what the model says.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Listeners, those that are gone among them.
    pub listeners: &'a BTreeSet<Name>,
    /// Pools, those that are gone among them. Their listeners are looked at, too.
    pub pools: &'a BTreeSet<Name>,
}

/// Makes the objects say what the model says, of all of it or of a part. What already does is left, so that nothing changes
/// after the API's own changes.
pub fn adopt(
    catalogue: &mut Catalogue,
    desired: &Desired,
    settings: &Settings,
    now: u64,
    new_id: &dyn Fn() -> String,
    part: Option<Part<'_>>,
) {
    let mut adoption = Adoption { catalogue, desired, settings, now, new_id };
    let Some(Part { listeners, pools }) = part else {
        let known = |kind| {
            let objects = adoption.catalogue.all(kind);
            objects.filter_map(|(_, object)| object.name.clone()).collect::<BTreeSet<Name>>()
        };
        let (listeners, pools) = (known(Kind::Listener), known(Kind::Pool));
        adoption.forget(&listeners, &pools);
        desired.listeners.values().for_each(|listener| adoption.listener(listener));
        let all = adoption.catalogue.all(Kind::LoadBalancer).map(|(id, _)| id.to_owned()).collect();
        adoption.forget_followers(all);
        return;
    };
    let left = adoption.forget(listeners, pools);
    let served = pools.iter().flat_map(|pool| desired.listeners_of(pool)).map(|listener| &listener.name);
    let names: BTreeSet<&Name> = listeners.iter().chain(served).collect();
    for listener in names.into_iter().filter_map(|name| desired.listeners.get(name)) {
        adoption.listener(listener);
    }
    adoption.forget_followers(left);
}

struct Adoption<'a> {
    catalogue: &'a mut Catalogue,
    desired: &'a Desired,
    settings: &'a Settings,
    now: u64,
    new_id: &'a dyn Fn() -> String,
}

/// An object as it is to be: copied when something differs, which in most objects nothing does.
struct Draft<'a> {
    before: &'a Object,
    after: Option<Object>,
}

impl Deref for Draft<'_> {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.after.as_ref().unwrap_or(self.before)
    }
}

impl Draft<'_> {
    fn put(&mut self, name: &str, value: Value) {
        if self.attributes.get(name).unwrap_or(&Value::Null) != &value {
            self.after().attributes.put(name, value);
        }
    }

    fn remove(&mut self, name: &str) {
        if self.attributes.get(name).is_some() {
            self.after().attributes.remove(name);
        }
    }

    fn after(&mut self) -> &mut Object {
        self.after.get_or_insert_with(|| self.before.clone())
    }
}

impl Adoption<'_> {
    /// Removes the objects of these listeners and pools, and of their backends, that are gone. Returns the load balancers that
    /// they belonged to.
    fn forget(&mut self, listeners: &BTreeSet<Name>, pools: &BTreeSet<Name>) -> BTreeSet<String> {
        let mut owners = BTreeSet::new();
        for name in listeners.iter().filter(|name| !self.desired.listeners.contains_key(*name)) {
            if let Some(id) = self.catalogue.named(Kind::Listener, name).map(str::to_owned) {
                owners.extend(self.catalogue.load_balancer_of(Kind::Listener, &id));
                self.catalogue.remove(Kind::Listener, &id);
            }
        }
        for name in pools.iter().filter(|name| !self.desired.pools.contains_key(*name)) {
            let Some(pool) = self.catalogue.named(Kind::Pool, name).map(str::to_owned) else { continue };
            for kind in [Kind::Member, Kind::Monitor] {
                for id in self.children(Kind::Pool, &pool, kind) {
                    self.catalogue.remove(kind, &id);
                }
            }
            let owner = self.catalogue.get(Kind::Pool, &pool).map(|pool| pool.text("loadbalancer_id").to_owned());
            let listeners = owner.as_ref().map(|owner| self.children(Kind::LoadBalancer, owner, Kind::Listener));
            for id in listeners.unwrap_or_default() {
                self.set(Kind::Listener, &id, |listener| {
                    if listener.text("default_pool_id") == pool {
                        listener.put("default_pool_id", Value::Null);
                    }
                });
            }
            owners.extend(owner);
            self.catalogue.remove(Kind::Pool, &pool);
        }
        owners
    }

    /// Removes those of these load balancers that stood for VIPs of the command line and have nothing any more.
    fn forget_followers(&mut self, load_balancers: BTreeSet<String>) {
        let follows = |id: &String| self.catalogue.get(Kind::LoadBalancer, id).is_some_and(|object| object.follows);
        let followers: Vec<String> = load_balancers.into_iter().filter(follows).collect();
        for id in followers {
            let has = |kind| !self.catalogue.children(Kind::LoadBalancer, &id, kind).is_empty();
            if !has(Kind::Listener) && !has(Kind::Pool) {
                self.catalogue.remove(Kind::LoadBalancer, &id);
            }
        }
    }

    fn children(&self, parent: Kind, id: &str, kind: Kind) -> Vec<String> {
        self.catalogue.children(parent, id, kind).into_iter().map(|(id, _)| id.to_owned()).collect()
    }

    /// Changes an object, if that makes a difference.
    fn set(&mut self, kind: Kind, id: &str, change: impl FnOnce(&mut Draft<'_>)) {
        let Some(before) = self.catalogue.get(kind, id) else { return };
        let mut draft = Draft { before, after: None };
        change(&mut draft);
        let Some(mut after) = draft.after else { return };
        after.attributes.settle(kind);
        if after != *before {
            after.updated = Some(self.now);
            self.catalogue.put(kind, id, after);
        }
    }

    fn add(&mut self, kind: Kind, project: &str, name: Option<Name>, given: Attributes) -> String {
        let mut attributes = Attributes::new();
        for field in kind.fields().iter().filter(|field| field.kept) {
            attributes.insert(field.name.to_owned(), field.otherwise.value());
        }
        attributes.extend(given);
        let id = (self.new_id)();
        let follows = kind == Kind::LoadBalancer;
        let project = project.to_owned();
        let attributes = attributes.into();
        let object = Object { project, created: self.now, updated: None, name, follows, attributes };
        self.catalogue.put(kind, &id, object);
        id
    }

    fn load_balancer(&mut self, listener: &model::Listener) -> String {
        let vip = listener.vip.to_string();
        if let Some(id) = self.catalogue.load_balancer_at(&vip) {
            return id.to_owned();
        }
        let mut attributes = Attributes::new();
        attributes.insert("name".to_owned(), json!(vip));
        attributes.insert("vip_address".to_owned(), json!(vip));
        let project = self.settings.project.clone();
        let id = self.add(Kind::LoadBalancer, &project, None, attributes);
        let place = networks::place_of(self.settings, listener.vip.ip());
        self.set(Kind::LoadBalancer, &id, |object| {
            let port = networks::vip_port_id(&id);
            object.put("vip_port_id", json!(port));
            if let Some((network, subnet)) = place {
                object.put("vip_network_id", json!(network));
                object.put("vip_subnet_id", json!(subnet));
            }
        });
        id
    }

    fn listener(&mut self, listener: &model::Listener) {
        let id = match self.catalogue.named(Kind::Listener, &listener.name) {
            Some(id) => id.to_owned(),
            None => {
                let owner = self.load_balancer(listener);
                let project = self.project_of(Kind::LoadBalancer, &owner);
                let mut attributes = Attributes::new();
                attributes.insert("name".to_owned(), json!(listener.name.as_str()));
                attributes.insert("loadbalancer_id".to_owned(), json!(owner));
                self.add(Kind::Listener, &project, Some(listener.name.clone()), attributes)
            }
        };
        let Some(object) = self.catalogue.get(Kind::Listener, &id) else { return };
        let owner = object.text("loadbalancer_id").to_owned();
        let up = self.catalogue.get(Kind::LoadBalancer, &owner).is_none_or(|owner| owner.flag("admin_state_up"));
        let pool = self.pool_of(listener, &owner);
        self.set(Kind::Listener, &id, |object| {
            if takes(object) != (listener.protocol, listener.port) || object.text("protocol").is_empty() {
                takes_what(object, listener);
            }
            // Below a load balancer that is out of service, listeners keep what was said of them.
            if up && object.flag("admin_state_up") != listener.admin_up {
                object.put("admin_state_up", json!(listener.admin_up));
            }
            if allowed_of(object).as_ref() != Ok(&listener.allowed) {
                let ranges: Vec<String> = listener.allowed.prefixes().iter().map(ToString::to_string).collect();
                let ranges = if ranges.is_empty() { Value::Null } else { json!(ranges) };
                object.put("allowed_cidrs", ranges);
            }
            if max_flows_of(object) != listener.max_flows {
                let limit = listener.max_flows.map_or(-1, i64::from);
                object.put("connection_limit", json!(limit));
            }
            object.put("default_pool_id", pool.clone().map_or(Value::Null, Value::String));
        });
        // What the members are probed at depends on the listeners, so they are looked at last.
        if let Some(pool) = pool {
            self.pool(&owner, &pool, listener);
        }
    }

    fn project_of(&self, kind: Kind, id: &str) -> String {
        self.catalogue.get(kind, id).map(|object| object.project.clone()).unwrap_or_default()
    }

    /// The object of a listener's pool; none for the empty one that a listener has of its own.
    fn pool_of(&mut self, listener: &model::Listener, owner: &str) -> Option<String> {
        if let Some(id) = self.catalogue.named(Kind::Pool, &listener.pool) {
            return Some(id.to_owned());
        }
        let pool = self.desired.pools.get(&listener.pool)?;
        // The API's listeners begin without a pool; the command line's have one from the start.
        let of_the_api = self.catalogue.named(Kind::Listener, &listener.name);
        let of_the_api = of_the_api.and_then(|id| self.catalogue.get(Kind::Listener, id));
        let untouched = of_the_api.is_some_and(|object| !object.text("protocol").is_empty());
        if untouched && pool.backends.is_empty() {
            return None;
        }
        let protocol = match listener.protocol {
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
            _ => "TCP",
        };
        let mut attributes = Attributes::new();
        attributes.insert("name".to_owned(), json!(listener.pool.as_str()));
        attributes.insert("protocol".to_owned(), json!(protocol));
        attributes.insert("loadbalancer_id".to_owned(), json!(owner));
        let project = self.project_of(Kind::LoadBalancer, owner);
        Some(self.add(Kind::Pool, &project, Some(listener.pool.clone()), attributes))
    }

    fn pool(&mut self, owner: &str, id: &str, listener: &model::Listener) {
        let Some(pool) = self.desired.pools.get(&listener.pool) else { return };
        let pool_up = pool.backends.is_empty() || pool.backends.values().any(|backend| backend.admin_up);
        self.set(Kind::Pool, id, |object| {
            object.put("lb_algorithm", json!(name_of(pool.algorithm)));
            let known = object.attributes.get("session_persistence").and_then(Value::as_object);
            let known = known.and_then(|known| persistence_of(known).ok());
            if known != pool.persistence {
                let shown =
                    pool.persistence.map_or(Value::Null, |persistence| shown_persistence(persistence, listener));
                object.put("session_persistence", shown);
            }
            if pool_up && !pool.backends.is_empty() && !object.flag("admin_state_up") {
                object.put("admin_state_up", json!(true));
            }
        });
        self.members(owner, id, pool, listener);
        self.monitor(id, pool);
    }

    fn members(&mut self, owner: &str, id: &str, pool: &Pool, listener: &model::Listener) {
        let every_port = serves_every_port(self.catalogue, owner, id);
        let pool_up = self.catalogue.get(Kind::Pool, id).is_none_or(|pool| pool.flag("admin_state_up"));
        let mut seen = BTreeSet::new();
        for member in self.children(Kind::Pool, id, Kind::Member) {
            let Some(object) = self.catalogue.get(Kind::Member, &member) else { continue };
            let backend = object.text("address").parse().ok().and_then(|address| pool.backends.get(&address));
            let Some(backend) = backend else {
                self.catalogue.remove(Kind::Member, &member);
                continue;
            };
            seen.insert(backend.address);
            self.set(Kind::Member, &member, |object| {
                object.put("weight", json!(backend.weight));
                if object.flag("backup") != backend.backup {
                    object.put("backup", json!(backend.backup));
                }
                if pool_up && object.flag("admin_state_up") != backend.admin_up {
                    object.put("admin_state_up", json!(backend.admin_up));
                }
                if target_of(object, every_port).ok() != Some(backend.monitor) {
                    show_target(object, backend);
                }
            });
        }
        let project = self.project_of(Kind::Pool, id);
        for backend in pool.backends.values().filter(|backend| !seen.contains(&backend.address)) {
            let mut attributes = Attributes::new();
            attributes.insert("address".to_owned(), json!(backend.address.to_string()));
            attributes.insert("protocol_port".to_owned(), json!(listener.port));
            attributes.insert("weight".to_owned(), json!(backend.weight));
            attributes.insert("admin_state_up".to_owned(), json!(backend.admin_up));
            attributes.insert("backup".to_owned(), json!(backend.backup));
            attributes.insert("pool_id".to_owned(), json!(id));
            let member = self.add(Kind::Member, &project, None, attributes);
            self.set(Kind::Member, &member, |object| {
                show_target(object, backend);
            });
        }
    }

    fn monitor(&mut self, pool_id: &str, pool: &Pool) {
        let known = self.children(Kind::Pool, pool_id, Kind::Monitor).into_iter().next();
        let object = known.as_deref().and_then(|id| self.catalogue.get(Kind::Monitor, id));
        match (&pool.health, known.clone()) {
            (None, None) => {}
            (None, Some(id)) => {
                if object.is_some_and(|object| object.flag("admin_state_up")) {
                    self.catalogue.remove(Kind::Monitor, &id);
                }
            }
            (Some(check), Some(id)) => {
                let same = object.is_some_and(|object| {
                    object.flag("admin_state_up")
                        && check_of(object.text("type"), &object.attributes.to_attributes()).as_ref() == Ok(check)
                });
                if !same {
                    self.set(Kind::Monitor, &id, |object| {
                        shown_check(check).into_iter().for_each(|(name, value)| object.put(&name, value));
                    });
                }
            }
            (Some(check), None) => {
                let mut attributes = shown_check(check);
                attributes.insert("pool_id".to_owned(), json!(pool_id));
                let project = self.project_of(Kind::Pool, pool_id);
                self.add(Kind::Monitor, &project, None, attributes);
            }
        }
    }
}

/// Says what a listener takes, in the API's words.
fn takes_what(object: &mut Draft<'_>, listener: &model::Listener) {
    let protocol = match listener.protocol {
        Protocol::Tcp | Protocol::Ip => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    };
    object.put("protocol", json!(protocol));
    object.put("protocol_port", json!(listener.port));
    object.remove(OWN_PROTOCOL);
    if takes(object) != (listener.protocol, listener.port) {
        // Every port of TCP alone has no words in the API.
        object.put(OWN_PROTOCOL, json!(listener.protocol.name()));
    }
}

fn shown_persistence(persistence: Persistence, listener: &model::Listener) -> Value {
    let usual = Persistence::default();
    let timeout = (persistence.timeout != usual.timeout).then_some(persistence.timeout);
    let mask = if listener.vip.ip().is_ipv4() {
        let bits = u32::from(persistence.ipv4_prefix.min(32));
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        (bits < 32).then(|| std::net::Ipv4Addr::from(mask).to_string())
    } else {
        let bits = u32::from(persistence.ipv6_prefix.min(128));
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        (bits < 128).then(|| std::net::Ipv6Addr::from(mask).to_string())
    };
    json!({
        "type": "SOURCE_IP",
        "cookie_name": null,
        "persistence_timeout": timeout,
        "persistence_granularity": mask,
    })
}

fn show_target(object: &mut Draft<'_>, backend: &Backend) {
    let address = backend.monitor.address.map(|address| address.to_string());
    object.put("monitor_address", json!(address));
    object.put("monitor_port", json!(backend.monitor.port));
}

fn shown_check(check: &HealthCheck) -> Attributes {
    let (kind, http) = match &check.probe {
        Probe::Tcp => ("TCP", None),
        Probe::Http(http) => ("HTTP", Some(http)),
        Probe::Https(https) => ("HTTPS", Some(&https.http)),
        Probe::Tls(_) => ("TLS-HELLO", None),
        Probe::Icmp => ("PING", None),
        Probe::Udp(_) => ("UDP-CONNECT", None),
    };
    let seconds = |milliseconds: u32| json!(milliseconds.div_ceil(1_000));
    let mut shown = Attributes::new();
    shown.insert("type".to_owned(), json!(kind));
    shown.insert("delay".to_owned(), seconds(check.delay_ms));
    shown.insert("timeout".to_owned(), seconds(check.timeout_ms));
    shown.insert("max_retries".to_owned(), json!(check.rise));
    shown.insert("max_retries_down".to_owned(), json!(check.fall));
    shown.insert("admin_state_up".to_owned(), json!(true));
    shown.insert("http_method".to_owned(), json!(http.map(|http| http.method.name())));
    shown.insert("url_path".to_owned(), json!(http.map(|http| &http.path)));
    shown.insert("expected_codes".to_owned(), json!(http.map(|http| http.expect.to_string())));
    let version = http.and_then(|http| http.version.name().parse::<f64>().ok());
    shown.insert("http_version".to_owned(), json!(version));
    shown.insert("domain_name".to_owned(), json!(http.and_then(|http| http.host.as_deref())));
    shown
}
