//! The API without HTTP, over a model that is changed as the engine would.

mod errors;
mod life;
mod rights;
mod two_views;

use std::cell::Cell;

use serde_json::{Value, json};

use super::adopt::adopt;
use super::catalogue::Catalogue;
use super::networks::{Network, Networks, Range, Subnet};
use super::project::project;
use super::query::Parameters;
use super::{Area, Caller, Context, Method, Observed, Refusal, Reply, Request, Role, Seen, Settings, Traffic, answer};
use crate::model::{BackendAddr, Command, Desired, Name};

const SUBNET: &str = "11111111-1111-4111-8111-111111111111";
const NETWORK: &str = "22222222-2222-4222-8222-222222222222";

/// A data plane that does whatever a test says.
struct Plane {
    forwards: bool,
    seen: Seen,
}

impl Observed for Plane {
    fn forwards(&self) -> bool {
        self.forwards
    }

    fn member(&self, _pool: &Name, _address: BackendAddr) -> Seen {
        self.seen
    }

    fn traffic(&self, _listener: &Name) -> Traffic {
        Traffic { bytes_in: 7, flows: 2, pool: 1 }
    }
}

/// An engine of its own: the objects, the model, and what leads from the one to the other.
struct World {
    catalogue: Catalogue,
    desired: Desired,
    settings: Settings,
    plane: Plane,
    caller: Caller,
    now: u64,
    ids: Cell<u32>,
    /// False to leave what a request began as it is.
    settles: bool,
}

impl World {
    fn new() -> Self {
        let range = Range::parse("192.0.2.0/24").expect("a range");
        let free = vec![("192.0.2.10".parse().expect("first"), "192.0.2.19".parse().expect("last"))];
        let subnet = Subnet { id: SUBNET.to_owned(), name: "front".to_owned(), range, gateway: None, free };
        let networks = vec![Network { id: NETWORK.to_owned(), name: "net".to_owned(), subnets: vec![subnet] }];
        Self {
            catalogue: Catalogue::default(),
            desired: Desired::default(),
            settings: Settings {
                project: "home".to_owned(),
                data_plane: true,
                networks: Networks { networks, ports: vec![] },
            },
            plane: Plane { forwards: true, seen: Seen::Unknown },
            caller: Caller { project: "home".to_owned(), role: Role::Admin },
            now: 1_000_000,
            ids: Cell::new(0),
            settles: true,
        }
    }

    fn ask(&mut self, method: Method, target: &str, body: Option<Value>) -> Result<Reply, Refusal> {
        self.ask_of(Area::LoadBalancing, method, target, body)
    }

    fn ask_of(&mut self, area: Area, method: Method, target: &str, body: Option<Value>) -> Result<Reply, Refusal> {
        self.now += 1;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let parameters = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let request = Request {
            area,
            method,
            path: path.split('/').map(str::to_owned).collect(),
            parameters: Parameters(parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            body,
            caller: self.caller.clone(),
            here: format!("http://lb/v2.0/lbaas/{path}"),
        };
        let new_id = || id(&self.ids);
        let context = Context {
            now: self.now,
            new_id: &new_id,
            desired: &self.desired,
            observed: &self.plane,
            settings: &self.settings,
        };
        let (reply, touched) = match answer(&mut self.catalogue, &context, &request) {
            Ok(answered) => answered,
            Err(refusal) => {
                self.catalogue.roll_back();
                return Err(refusal);
            }
        };
        let bounded = self.settings.data_plane;
        let edits = project(&self.catalogue, &self.desired, &touched, bounded).expect("the model's edits");
        self.desired.edit_all(edits);
        self.catalogue.commit();
        if self.settles {
            self.catalogue.settle();
        }
        self.check();
        Ok(reply)
    }

    /// Nothing of the model is unknown to the objects, or said otherwise by them.
    fn check(&mut self) {
        self.adopt();
        let changed: Vec<_> = self.catalogue.changes().map(|(key, object)| (key.clone(), object.cloned())).collect();
        assert!(changed.is_empty(), "the objects do not say what the model says: {changed:#?}");
        for listener in self.desired.listeners.values() {
            assert!(self.desired.pool_of(listener).is_some(), "{} has no pool", listener.name);
        }
    }

    fn adopt(&mut self) {
        let new_id = || id(&self.ids);
        adopt(&mut self.catalogue, &self.desired, &self.settings, self.now, &new_id, None);
    }

    /// Does a command as the command line would.
    fn command(&mut self, command: &Command) {
        let edits = self.desired.check(command, self.now).expect("the command can be done");
        self.desired.edit_all(edits);
        self.adopt();
        self.catalogue.commit();
        self.check();
    }

    fn make(&mut self, path: &str, body: Value) -> Value {
        let reply = self.ask(Method::Post, path, Some(body.clone()));
        let reply = reply.unwrap_or_else(|refusal| panic!("POST {path} {body}: {refusal:?}"));
        assert_eq!(reply.status, 201);
        let body = reply.body.expect("a body");
        body.as_object().and_then(|body| body.values().next()).expect("an object").clone()
    }

    fn get(&mut self, path: &str) -> Value {
        let reply = self.ask(Method::Get, path, None).unwrap_or_else(|refusal| panic!("GET {path}: {refusal:?}"));
        assert_eq!(reply.status, 200);
        reply.body.expect("a body")
    }

    fn put(&mut self, path: &str, body: Value) -> Value {
        let reply = self.ask(Method::Put, path, Some(body.clone()));
        let reply = reply.unwrap_or_else(|refusal| panic!("PUT {path} {body}: {refusal:?}"));
        reply.body.unwrap_or_default()
    }

    fn delete(&mut self, path: &str) {
        let reply = self.ask(Method::Delete, path, None).unwrap_or_else(|refusal| panic!("DELETE {path}: {refusal:?}"));
        assert_eq!(reply, Reply { status: 204, body: None });
    }

    #[track_caller]
    fn refused(&mut self, method: Method, path: &str, body: Value, status: u16, text: &str) {
        let before = format!("{:?}", self.desired);
        let body = Some(body).filter(|body| !body.is_null());
        let refusal = self.ask(method, path, body.clone()).expect_err("to be refused");
        assert_eq!((refusal.status, refusal.text.as_str()), (status, text), "{path} {body:?}");
        assert_eq!(format!("{:?}", self.desired), before, "a refused request changed something");
        assert!(!self.catalogue.is_pending() || !self.settles, "a refused request left something pending");
    }

    /// A load balancer's id.
    fn load_balancer(&mut self) -> String {
        id_of(&self.make("loadbalancers", json!({ "loadbalancer": { "name": "lb", "vip_subnet_id": SUBNET } })))
    }

    fn listener(&mut self, owner: &str, port: Value) -> String {
        let listener = json!({ "loadbalancer_id": owner, "protocol": "TCP", "protocol_port": port, "name": "l" });
        id_of(&self.make("listeners", json!({ "listener": listener })))
    }

    fn pool(&mut self, listener: &str) -> String {
        let pool = json!({ "listener_id": listener, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "name": "p" });
        id_of(&self.make("pools", json!({ "pool": pool })))
    }

    fn member(&mut self, pool: &str, address: &str, port: u16) -> String {
        let member = json!({ "member": { "address": address, "protocol_port": port } });
        id_of(&self.make(&format!("pools/{pool}/members"), member))
    }
}

fn id(ids: &Cell<u32>) -> String {
    ids.set(ids.get() + 1);
    format!("{:08x}-0000-4000-8000-000000000000", ids.get())
}

fn id_of(object: &Value) -> String {
    object["id"].as_str().expect("an id").to_owned()
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}
