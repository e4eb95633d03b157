//! The resources, each a function from a request to a [`Command`] or a part of the [`Status`].

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::UnixListener;

use super::respond::{Body, Failure, Json, OptionalBody, Parameters, Segments, TextBody, Toml, without_parameters};
use super::types::{
    Applied, BackendBody, BackendPatch, Backends, ConfigQuery, DrainBody, EventsQuery, FLOWS, FlowsQuery,
    InterfaceBody, Interfaces, ListenerBody, ListenerPatch, Listeners, MOST_FLOWS, NoParameters, Stats,
};
use crate::doctor::Report;
use crate::engine::status::{BackendStatus, InterfaceStatus, ListenerStatus};
use crate::engine::{Engine, Flows, Status};
use crate::events::{Events, Query};
use crate::model::{BackendAddr, BackendChange, Command, Fault, HealthChange, HealthCheck, Name};

/// The longest body that is read, in bytes: an allow-list of the most prefixes, each of the longest text.
pub(super) const LONGEST_BODY: usize = 4 << 20;

/// How long requests that have begun may take after the server was told to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// What the API is served from: the engine, or a stand-in in the API's own tests.
pub trait Balancer: Clone + Send + Sync + 'static {
    /// Does a command; see [`Engine::execute`].
    fn execute(&self, command: Command) -> impl Future<Output = Result<(), Fault>> + Send;
    /// A snapshot; see [`Engine::status`].
    fn status(&self) -> impl Future<Output = Result<Status, Fault>> + Send;
    /// Makes all as a file says; see [`Engine::apply`].
    fn apply(&self, text: String, dry_run: bool) -> impl Future<Output = Result<Vec<String>, Fault>> + Send;
    /// The desired state as a file; see [`Engine::export`].
    fn export(&self) -> impl Future<Output = Result<String, Fault>> + Send;
    /// What is remembered of flows; see [`Engine::flows`].
    fn flows(&self, listener: Option<Name>, limit: usize) -> impl Future<Output = Result<Flows, Fault>> + Send;
    /// Looks for what is wrong; see [`Engine::examine`].
    fn examine(&self) -> impl Future<Output = Result<Report, Fault>> + Send;
    /// What happened; see [`Engine::events`].
    fn events(&self, query: Query, patience: Duration) -> impl Future<Output = Events> + Send;
}

impl Balancer for Engine {
    fn execute(&self, command: Command) -> impl Future<Output = Result<(), Fault>> + Send {
        Engine::execute(self, command)
    }

    fn status(&self) -> impl Future<Output = Result<Status, Fault>> + Send {
        Engine::status(self)
    }

    fn apply(&self, text: String, dry_run: bool) -> impl Future<Output = Result<Vec<String>, Fault>> + Send {
        Engine::apply(self, text, dry_run)
    }

    fn export(&self) -> impl Future<Output = Result<String, Fault>> + Send {
        Engine::export(self)
    }

    fn flows(&self, listener: Option<Name>, limit: usize) -> impl Future<Output = Result<Flows, Fault>> + Send {
        Engine::flows(self, listener, limit)
    }

    fn examine(&self) -> impl Future<Output = Result<Report, Fault>> + Send {
        Engine::examine(self)
    }

    fn events(&self, query: Query, patience: Duration) -> impl Future<Output = Events> + Send {
        Engine::events(self, query, patience)
    }
}

/// Serves the API until `stop` completes, and then finishes the requests that have begun.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: UnixListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let stop = async {
        stop.await;
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(stop);
    tokio::select! {
        result = server.into_future() => result,
        // A client that keeps its connection open and says nothing must not keep the agent alive.
        () = async { let _ = stopped.await; tokio::time::sleep(LAST_REQUESTS).await } => Ok(()),
    }
}

/// The paths.
pub fn router<B: Balancer>(balancer: B) -> Router {
    Router::new()
        .route("/v1/status", get(status::<B>))
        .route("/v1/stats", get(stats::<B>))
        .route("/v1/doctor", post(doctor::<B>))
        .route("/v1/interfaces", get(interfaces::<B>).post(attach::<B>))
        .route("/v1/interfaces/{name}", get(interface::<B>).delete(detach::<B>))
        .route("/v1/listeners", get(listeners::<B>).post(add_listener::<B>))
        .route("/v1/listeners/{name}", get(listener::<B>).patch(set_listener::<B>).delete(remove_listener::<B>))
        .route("/v1/listeners/{name}/health", get(health::<B>).patch(set_health::<B>).delete(unset_health::<B>))
        .route("/v1/listeners/{name}/backends", get(backends::<B>).post(add_backend::<B>))
        .route(
            "/v1/listeners/{name}/backends/{address}",
            get(backend::<B>).patch(set_backend::<B>).delete(remove_backend::<B>),
        )
        .route("/v1/listeners/{name}/backends/{address}/drain", post(drain_backend::<B>))
        .route_layer(middleware::from_fn(without_parameters))
        // Below that layer stands what takes parameters.
        .route("/v1/flows", get(flows::<B>))
        .route("/v1/events", get(events::<B>))
        .route("/v1/config", get(export::<B>).put(apply::<B>))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(balancer)
}

type Answer<T> = Result<Json<T>, Failure>;

async fn no_such_path(uri: Uri) -> Failure {
    Fault::not_found(format!("there is nothing at {}; docs/api.md lists the paths", uri.path())).into()
}

async fn no_such_method(method: Method, uri: Uri) -> Failure {
    let fault = Fault::invalid(format!("{} does not take {method}; docs/api.md lists what it takes", uri.path()));
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, fault)
}

async fn status<B: Balancer>(State(balancer): State<B>) -> Answer<Status> {
    let mut status = balancer.status().await?;
    status.listeners.iter_mut().for_each(without_list);
    Ok(Json(StatusCode::OK, status))
}

async fn stats<B: Balancer>(State(balancer): State<B>) -> Answer<Stats> {
    Ok(Json(StatusCode::OK, balancer.status().await?.into()))
}

async fn doctor<B: Balancer>(
    State(balancer): State<B>,
    OptionalBody(NoParameters {}): OptionalBody<NoParameters>,
) -> Answer<Report> {
    Ok(Json(StatusCode::OK, balancer.examine().await?))
}

async fn interfaces<B: Balancer>(State(balancer): State<B>) -> Answer<Interfaces> {
    Ok(Json(StatusCode::OK, Interfaces { interfaces: balancer.status().await?.interfaces }))
}

async fn interface<B: Balancer>(
    State(balancer): State<B>,
    Segments(name): Segments<String>,
) -> Answer<InterfaceStatus> {
    Ok(Json(StatusCode::OK, find_interface(balancer.status().await?, &name)?))
}

async fn attach<B: Balancer>(State(balancer): State<B>, Body(body): Body<InterfaceBody>) -> Answer<InterfaceStatus> {
    balancer.execute(Command::Attach { interface: body.name.clone(), mode: body.mode }).await?;
    Ok(Json(StatusCode::CREATED, find_interface(balancer.status().await?, &body.name)?))
}

async fn detach<B: Balancer>(
    State(balancer): State<B>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, Failure> {
    balancer.execute(Command::Detach { interface: name }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn listeners<B: Balancer>(State(balancer): State<B>) -> Answer<Listeners> {
    let mut listeners = balancer.status().await?.listeners;
    listeners.iter_mut().for_each(without_list);
    Ok(Json(StatusCode::OK, Listeners { listeners }))
}

/// Allow-lists may be long: each is shown where its listener alone is asked for.
fn without_list(listener: &mut ListenerStatus) {
    listener.allowed_cidrs = None;
}

async fn listener<B: Balancer>(State(balancer): State<B>, Segments(name): Segments<String>) -> Answer<ListenerStatus> {
    let name = name.parse()?;
    Ok(Json(StatusCode::OK, find_listener(balancer.status().await?, &name)?))
}

async fn add_listener<B: Balancer>(
    State(balancer): State<B>,
    Body(body): Body<ListenerBody>,
) -> Answer<ListenerStatus> {
    let name = body.name.clone();
    balancer.execute(Command::AddListener(body.try_into()?)).await?;
    Ok(Json(StatusCode::CREATED, find_listener(balancer.status().await?, &name)?))
}

async fn set_listener<B: Balancer>(
    State(balancer): State<B>,
    Segments(name): Segments<String>,
    Body(body): Body<ListenerPatch>,
) -> Answer<ListenerStatus> {
    let name: Name = name.parse()?;
    balancer.execute(Command::SetListener { name: name.clone(), change: body.try_into()? }).await?;
    Ok(Json(StatusCode::OK, find_listener(balancer.status().await?, &name)?))
}

async fn remove_listener<B: Balancer>(
    State(balancer): State<B>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, Failure> {
    balancer.execute(Command::RemoveListener { name: name.parse()? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn health<B: Balancer>(State(balancer): State<B>, Segments(name): Segments<String>) -> Answer<HealthCheck> {
    let name = name.parse()?;
    Ok(Json(StatusCode::OK, find_health(balancer.status().await?, &name)?))
}

async fn set_health<B: Balancer>(
    State(balancer): State<B>,
    Segments(name): Segments<String>,
    OptionalBody(change): OptionalBody<HealthChange>,
) -> Answer<HealthCheck> {
    let listener: Name = name.parse()?;
    balancer.execute(Command::SetHealth { listener: listener.clone(), change }).await?;
    Ok(Json(StatusCode::OK, find_health(balancer.status().await?, &listener)?))
}

async fn unset_health<B: Balancer>(
    State(balancer): State<B>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, Failure> {
    balancer.execute(Command::UnsetHealth { listener: name.parse()? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn backends<B: Balancer>(State(balancer): State<B>, Segments(listener): Segments<String>) -> Answer<Backends> {
    let listener = listener.parse()?;
    Ok(Json(StatusCode::OK, Backends { backends: find_listener(balancer.status().await?, &listener)?.backends }))
}

async fn add_backend<B: Balancer>(
    State(balancer): State<B>,
    Segments(listener): Segments<String>,
    Body(body): Body<BackendBody>,
) -> Answer<BackendStatus> {
    let listener: Name = listener.parse()?;
    let BackendBody { address, weight, backup } = body;
    let add = Command::AddBackend { listener: listener.clone(), address, weight };
    let command = if backup {
        let change = BackendChange { backup: Some(true), ..BackendChange::default() };
        Command::All(vec![add, Command::SetBackend { listener: listener.clone(), address, change }])
    } else {
        add
    };
    balancer.execute(command).await?;
    Ok(Json(StatusCode::CREATED, find_backend(balancer.status().await?, &listener, address)?))
}

async fn backend<B: Balancer>(
    State(balancer): State<B>,
    Segments((listener, address)): Segments<(String, String)>,
) -> Answer<BackendStatus> {
    let (listener, address): (Name, BackendAddr) = (listener.parse()?, address.parse()?);
    Ok(Json(StatusCode::OK, find_backend(balancer.status().await?, &listener, address)?))
}

async fn set_backend<B: Balancer>(
    State(balancer): State<B>,
    Segments((listener, address)): Segments<(String, String)>,
    Body(body): Body<BackendPatch>,
) -> Answer<BackendStatus> {
    let (listener, address): (Name, BackendAddr) = (listener.parse()?, address.parse()?);
    let command = Command::SetBackend { listener: listener.clone(), address, change: body.try_into()? };
    balancer.execute(command).await?;
    Ok(Json(StatusCode::OK, find_backend(balancer.status().await?, &listener, address)?))
}

async fn drain_backend<B: Balancer>(
    State(balancer): State<B>,
    Segments((listener, address)): Segments<(String, String)>,
    OptionalBody(DrainBody { deadline }): OptionalBody<DrainBody>,
) -> Answer<BackendStatus> {
    let (listener, address): (Name, BackendAddr) = (listener.parse()?, address.parse()?);
    balancer.execute(Command::DrainBackend { listener: listener.clone(), address, deadline }).await?;
    Ok(Json(StatusCode::OK, find_backend(balancer.status().await?, &listener, address)?))
}

async fn remove_backend<B: Balancer>(
    State(balancer): State<B>,
    Segments((listener, address)): Segments<(String, String)>,
) -> Result<StatusCode, Failure> {
    balancer.execute(Command::RemoveBackend { listener: listener.parse()?, address: address.parse()? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn export<B: Balancer>(
    State(balancer): State<B>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Toml, Failure> {
    Ok(Toml(balancer.export().await?))
}

async fn apply<B: Balancer>(
    State(balancer): State<B>,
    Parameters(ConfigQuery { dry_run }): Parameters<ConfigQuery>,
    TextBody(text): TextBody,
) -> Answer<Applied> {
    let changes = balancer.apply(text, dry_run).await?;
    Ok(Json(StatusCode::OK, Applied { changes, dry_run }))
}

async fn flows<B: Balancer>(
    State(balancer): State<B>,
    Parameters(FlowsQuery { listener, limit }): Parameters<FlowsQuery>,
) -> Answer<Flows> {
    let limit = limit.unwrap_or(FLOWS);
    if !(1..=MOST_FLOWS).contains(&limit) {
        return Err(Fault::invalid(format!("`limit` cannot be {limit}; give 1 to {MOST_FLOWS}")).into());
    }
    Ok(Json(StatusCode::OK, balancer.flows(listener, limit).await?))
}

async fn events<B: Balancer>(State(balancer): State<B>, Parameters(query): Parameters<EventsQuery>) -> Answer<Events> {
    let (query, patience) = query.resolve()?;
    Ok(Json(StatusCode::OK, balancer.events(query, patience).await))
}

fn find_interface(status: Status, name: &str) -> Result<InterfaceStatus, Fault> {
    let found = status.interfaces.into_iter().find(|interface| interface.name == name);
    found.ok_or_else(|| Fault::not_found(format!("drlb is not attached to `{name}`; `drlb status` lists where it is")))
}

fn find_listener(status: Status, name: &Name) -> Result<ListenerStatus, Fault> {
    let found = status.listeners.into_iter().find(|listener| listener.name == *name);
    found.ok_or_else(|| {
        Fault::not_found(format!("there is no listener `{name}`; `drlb listener list` shows those that exist"))
    })
}

fn find_health(status: Status, listener: &Name) -> Result<HealthCheck, Fault> {
    find_listener(status, listener)?.health.ok_or_else(|| {
        Fault::not_found(format!(
            "the listener `{listener}` has no health check; set one with `drlb health set {listener}`"
        ))
    })
}

fn find_backend(status: Status, listener: &Name, address: BackendAddr) -> Result<BackendStatus, Fault> {
    let found = find_listener(status, listener)?.backends.into_iter().find(|backend| backend.address == address);
    found.ok_or_else(|| {
        Fault::not_found(format!(
            "the listener `{listener}` has no backend {address}; `drlb backend list {listener}` shows those that it has"
        ))
    })
}

#[cfg(test)]
mod tests;
