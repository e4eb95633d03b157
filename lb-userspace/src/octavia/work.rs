//! One request: who asks, for what, and the way to the function that does it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::catalogue::{ACTIVE, Catalogue, Object, PENDING_CREATE, PENDING_UPDATE};
use super::networks::Networks;
use super::query::{Parameters, chosen, page};
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::{Attributes, created};
use super::view::Viewer;
use super::{flavors, listeners, load_balancers, members, monitors, neutron, pools, quotas};
use crate::model::{BackendAddr, Desired, Name};

/// What a request does to what its path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Show or list.
    Get,
    /// Make.
    Post,
    /// Change.
    Put,
    /// Remove.
    Delete,
}

/// What a caller may do. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// See what is in its project.
    Reader,
    /// Change what is in its project.
    Member,
    /// All, in every project.
    Admin,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The project that its request is for.
    pub project: String,
    /// What it may do.
    pub role: Role,
}

/// Which service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Load balancing: paths below `/v2.0/lbaas`.
    LoadBalancing,
    /// Networks: paths below `/v2.0`.
    Networks,
}

/// A request, with its path below `/v2.0/lbaas` or `/v2/lbaas`.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which service is asked.
    pub area: Area,
    /// What to do.
    pub method: Method,
    /// The segments of the path.
    pub path: Vec<String>,
    /// The parameters.
    pub parameters: Parameters,
    /// The body, if it has one.
    pub body: Option<Value>,
    /// Who asks.
    pub caller: Caller,
    /// The address that the request was sent to, without parameters.
    pub here: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Option<Value>,
}

/// What the data plane knows of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: nobody checks it.
    #[default]
    Unknown,
    /// It is well.
    Up,
    /// It is not.
    Down,
    /// It is running empty, or has.
    Draining,
}

/// What a listener has been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Flows that there are now, as of the last sweep, where all are remembered; else 0. They are those of its pool.
    pub flows: u64,
    /// The number of its pool.
    pub pool: u32,
}

/// What the data plane does, as the API shows it.
pub trait Observed {
    /// True if it forwards anything: there is a data plane, and it is attached somewhere.
    fn forwards(&self) -> bool;
    /// How a backend of a pool is.
    fn member(&self, pool: &Name, address: BackendAddr) -> Seen;
    /// What a listener has been sent.
    fn traffic(&self, listener: &Name) -> Traffic;
}

/// What the API is told by the agent's configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The project that owns what the command line makes, and whose users name none.
    pub project: String,
    /// True if there is a data plane. Without one, any network is taken and VIPs may repeat.
    pub data_plane: bool,
    /// The networks that VIPs come from.
    pub networks: Networks,
}

/// What a request is answered by, beside the objects.
pub struct Context<'a> {
    /// The time in seconds since 1970.
    pub now: u64,
    /// Gives a new id, each time another.
    pub new_id: &'a dyn Fn() -> String,
    /// What is wanted of the data plane.
    pub desired: &'a Desired,
    /// What the data plane does.
    pub observed: &'a dyn Observed,
    /// The configuration.
    pub settings: &'a Settings,
}

/// A request at work.
pub(super) struct Work<'a> {
    pub(super) catalogue: &'a mut Catalogue,
    pub(super) context: &'a Context<'a>,
    pub(super) request: &'a Request,
    /// Load balancers that it changes.
    pub(super) touched: BTreeSet<String>,
}

/// Answers a request. What it changes of the objects is for the caller to commit or to roll back; what it changes of the
/// model is for [`super::project`].
///
/// # Errors
/// Why it is refused; the objects may be half changed then.
pub(super) fn answer(work: &mut Work<'_>) -> Result<Reply, Refusal> {
    let request = work.request;
    if request.area == Area::Networks {
        return neutron::answer(work);
    }
    let path: Vec<&str> = request.path.iter().map(String::as_str).filter(|segment| !segment.is_empty()).collect();
    let (method, body) = (request.method, request.body.as_ref());
    match (method, path.as_slice()) {
        (Method::Get, ["pools", pool, "members"]) => members::list(work, pool),
        (Method::Post, ["pools", pool, "members"]) => members::create(work, pool),
        (Method::Put, ["pools", pool, "members"]) => members::replace(work, pool),
        (_, ["pools", pool, "members", member]) => members::one(work, method, pool, member),
        (Method::Get, ["loadbalancers", id, "status" | "statuses"]) => load_balancers::status(work, id),
        (Method::Get, ["loadbalancers", id, "stats"]) => load_balancers::stats(work, id),
        (Method::Put, ["loadbalancers", id, "failover"]) => load_balancers::failover(work, id),
        (Method::Get, ["listeners", id, "stats"]) => listeners::stats(work, id),
        (_, ["quotas", rest @ ..]) => quotas::answer(work, method, rest),
        (Method::Get, ["providers", rest @ ..]) => flavors::providers(work, rest),
        (_, ["l7policies", rest @ ..]) => l7_policies(work, method, rest),
        (_, [list, rest @ ..]) => {
            let kind = Kind::ALL
                .iter()
                .copied()
                .find(|kind| kind.path() == *list && !matches!(kind, Kind::Member | Kind::Port));
            let kind = kind.ok_or_else(nothing_here)?;
            match (method, rest) {
                (Method::Get, []) => list_all(work, kind),
                (Method::Get, [id]) => show(work, kind, id),
                (Method::Post, []) => create(work, kind, body),
                (Method::Put, [id]) => update(work, kind, id, body),
                (Method::Delete, [id]) => delete(work, kind, id),
                (_, [] | [_]) => Err(not_that_method()),
                _ => Err(nothing_here()),
            }
        }
        (_, []) => Err(nothing_here()),
    }
}

fn nothing_here() -> Refusal {
    Refusal::early(404, "The resource could not be found.")
}

pub(super) fn not_that_method() -> Refusal {
    Refusal::early(405, "The server could not comply with the request since it is not supported by this resource.")
}

fn create(work: &mut Work<'_>, kind: Kind, body: Option<&Value>) -> Result<Reply, Refusal> {
    let attributes = created(kind, body)?;
    let id = match kind {
        Kind::LoadBalancer => load_balancers::create(work, attributes)?,
        Kind::Listener => listeners::create(work, attributes)?,
        Kind::Pool => pools::create(work, attributes)?,
        Kind::Monitor => monitors::create(work, attributes)?,
        kind => flavors::create(work, kind, attributes)?,
    };
    work.shown(kind, &id, 201)
}

fn update(work: &mut Work<'_>, kind: Kind, id: &str, body: Option<&Value>) -> Result<Reply, Refusal> {
    let changes = super::value::updated(kind, body)?;
    match kind {
        Kind::LoadBalancer => load_balancers::update(work, id, changes)?,
        Kind::Listener => listeners::update(work, id, changes)?,
        Kind::Pool => pools::update(work, id, changes)?,
        Kind::Monitor => monitors::update(work, id, changes)?,
        kind => flavors::update(work, kind, id, changes)?,
    }
    work.shown(kind, id, 200)
}

fn delete(work: &mut Work<'_>, kind: Kind, id: &str) -> Result<Reply, Refusal> {
    match kind {
        Kind::LoadBalancer => load_balancers::delete(work, id)?,
        Kind::Listener => listeners::delete(work, id)?,
        Kind::Pool => pools::delete(work, id)?,
        Kind::Monitor => monitors::delete(work, id)?,
        kind => flavors::delete(work, kind, id)?,
    }
    Ok(Reply { status: 204, body: None })
}

fn list_all(work: &Work<'_>, kind: Kind) -> Result<Reply, Refusal> {
    let project = if kind.is_managed() { work.listed_project()? } else { None };
    let viewer = work.viewer();
    let mine = |object: &Object| !kind.is_managed() || project.is_none_or(|project| object.project == project);
    let objects = work.catalogue.all(kind).filter(|(_, object)| mine(object));
    let views = objects.map(|(id, object)| viewer.view(kind, id, object)).collect();
    let body = page(kind, views, &work.request.parameters, &work.request.here)?;
    Ok(Reply { status: 200, body: Some(body) })
}

fn show(work: &Work<'_>, kind: Kind, id: &str) -> Result<Reply, Refusal> {
    let object = work.catalogue.find(kind, id)?;
    if kind.is_managed() {
        work.may_see(&object.project)?;
    }
    work.shown(kind, id, 200)
}

fn l7_policies(work: &Work<'_>, method: Method, rest: &[&str]) -> Result<Reply, Refusal> {
    match (method, rest) {
        (Method::Get, []) => Ok(Reply { status: 200, body: Some(json!({ "l7policies": [], "l7policies_links": [] })) }),
        (Method::Post, [] | [_, "rules"]) => {
            work.may_change(&work.request.caller.project)?;
            Err(Refusal::not_implemented("L7 policies, as direct routing does not look into connections"))
        }
        (_, [id, ..]) => Err(Refusal::not_found("L7Policy", id)),
        _ => Err(not_that_method()),
    }
}

impl Work<'_> {
    /// Shows objects as they are now.
    pub(super) fn viewer(&self) -> Viewer<'_> {
        Viewer { catalogue: self.catalogue, observed: self.context.observed }
    }

    /// The answer that shows an object.
    pub(super) fn shown(&self, kind: Kind, id: &str, status: u16) -> Result<Reply, Refusal> {
        let object = self.catalogue.find(kind, id)?;
        let view = self.viewer().view(kind, id, object);
        let view = if status == 200 { chosen(view, &self.request.parameters) } else { view };
        Ok(Reply { status, body: Some(json!({ kind.singular(): view })) })
    }

    /// The project that a list is of; none for all of them.
    ///
    /// # Errors
    /// It is one that the caller may not see.
    fn listed_project(&self) -> Result<Option<&str>, Refusal> {
        let parameters = &self.request.parameters;
        let asked = parameters.get("project_id").or_else(|| parameters.get("tenant_id"));
        match self.request.caller.role {
            Role::Admin => Ok(asked),
            _ => {
                let project = asked.unwrap_or(&self.request.caller.project);
                self.may_see(project).map(|()| Some(project))
            }
        }
    }

    /// # Errors
    /// The caller may not see what this project has.
    pub(super) fn may_see(&self, project: &str) -> Result<(), Refusal> {
        let Caller { project: own, role } = &self.request.caller;
        if *role == Role::Admin || own == project { Ok(()) } else { Err(Refusal::forbidden()) }
    }

    /// # Errors
    /// The caller may not change what this project has.
    pub(super) fn may_change(&self, project: &str) -> Result<(), Refusal> {
        if self.request.caller.role < Role::Member {
            return Err(Refusal::forbidden());
        }
        self.may_see(project)
    }

    /// # Errors
    /// The caller is no administrator.
    pub(super) fn must_be_admin(&self) -> Result<(), Refusal> {
        if self.request.caller.role == Role::Admin { Ok(()) } else { Err(Refusal::forbidden()) }
    }

    /// # Errors
    /// The project has as many of a kind as it may have, less `more`.
    pub(super) fn quota(&self, kind: Kind, project: &str, more: usize) -> Result<(), Refusal> {
        let limit = quotas::limit(self.catalogue, project, kind);
        let Ok(limit) = usize::try_from(limit) else { return Ok(()) };
        let held = self.catalogue.all(kind).filter(|(_, object)| object.project == project).count();
        if held + more > limit { Err(Refusal::quota(kind.title())) } else { Ok(()) }
    }

    /// # Errors
    /// A load balancer is being changed, so what belongs to it cannot be.
    pub(super) fn must_be_at_rest(&self, load_balancer: &str) -> Result<(), Refusal> {
        match self.catalogue.provisioning(Kind::LoadBalancer, load_balancer) {
            ACTIVE => Ok(()),
            // What is being made by this very request is its own.
            _ if self.touched.contains(load_balancer) => Ok(()),
            _ => Err(Refusal::immutable(Kind::LoadBalancer.title(), load_balancer)),
        }
    }

    /// Adds an object, being made.
    pub(super) fn add(&mut self, kind: Kind, id: &str, project: &str, name: Option<Name>, mut attributes: Attributes) {
        let parent = kind.parent().map(|(attribute, _)| attribute);
        let is_kept = |name: &str| kind.fields().iter().any(|field| field.kept && field.name == name);
        attributes.retain(|name, _| is_kept(name) || parent == Some(name.as_str()));
        let object = Object {
            project: project.to_owned(),
            created: self.context.now,
            updated: None,
            name,
            follows: false,
            attributes: attributes.into(),
        };
        self.catalogue.put(kind, id, object);
        if kind.is_managed() {
            self.catalogue.begin(kind, id, PENDING_CREATE);
        }
    }

    /// Changes an object.
    pub(super) fn change(&mut self, kind: Kind, id: &str, changes: Attributes) -> Result<(), Refusal> {
        let mut object = self.catalogue.find(kind, id)?.clone();
        object.attributes.extend(changes);
        object.updated = Some(self.context.now);
        self.catalogue.put(kind, id, object);
        if kind.is_managed() {
            self.catalogue.begin(kind, id, PENDING_UPDATE);
        }
        Ok(())
    }

    /// Marks a load balancer as changed, and those of its listeners that a pool serves, and the pool.
    pub(super) fn touch(&mut self, load_balancer: &str, pool: Option<&str>) {
        self.touched.insert(load_balancer.to_owned());
        // What the API has changed is its own from then on.
        let follower = self.catalogue.get(Kind::LoadBalancer, load_balancer).filter(|object| object.follows);
        if let Some(mut object) = follower.cloned() {
            object.follows = false;
            self.catalogue.put(Kind::LoadBalancer, load_balancer, object);
        }
        self.catalogue.begin(Kind::LoadBalancer, load_balancer, PENDING_UPDATE);
        let Some(pool) = pool else { return };
        self.catalogue.begin(Kind::Pool, pool, PENDING_UPDATE);
        for listener in self.served_by(load_balancer, pool) {
            self.catalogue.begin(Kind::Listener, &listener, PENDING_UPDATE);
        }
    }

    /// The listeners that a pool serves.
    pub(super) fn served_by(&self, load_balancer: &str, pool: &str) -> Vec<String> {
        let listeners = self.catalogue.children(Kind::LoadBalancer, load_balancer, Kind::Listener);
        let served = listeners.into_iter().filter(|(_, listener)| listener.text("default_pool_id") == pool);
        served.map(|(id, _)| id.to_owned()).collect()
    }

    /// A name for a listener or a pool in the model: the given one if it can be and is free, else one made unique by
    /// the id.
    pub(super) fn name_for(&self, kind: Kind, given: &str, id: &str) -> Result<Name, Refusal> {
        let desired = self.context.desired;
        let taken = |name: &Name| {
            desired.listeners.contains_key(name)
                || desired.pools.contains_key(name)
                || self.catalogue.named(Kind::Listener, name).is_some()
                || self.catalogue.named(Kind::Pool, name).is_some()
        };
        let base: String = if given.parse::<Name>().is_ok() { given.chars().take(40).collect() } else { String::new() };
        let base = if base.is_empty() { kind.singular().to_owned() } else { base };
        let short = id.get(..8).unwrap_or(id);
        let candidates = [given.to_owned(), format!("{base}-{short}"), id.to_owned()];
        let mut names = candidates.iter().filter_map(|name| name.parse::<Name>().ok());
        let last = names.clone().next_back();
        // An id is a name, and nobody else has it.
        let found = names.find(|name| !taken(name)).or(last);
        found.ok_or_else(|| Refusal::new(500, format!("the id {id} is no name")))
    }
}
