//! `drlb agent`: starts the parts, connects them, and stops them in order.
//!
//! | task | what it does | ends when |
//! |---|---|---|
//! | engine | a thread of its own, behind [`Engine`] | it is stopped |
//! | neighbours | [`netlink::follow`]; its views go to the engine | the engine ends, or netlink fails |
//! | roll call | [`roll_call::task::run`]: whether backends are still at their MACs | the engine ends |
//! | announcements | [`announce::task::run`]: VIPs on their segments, and who else has them | the engine ends, or events fail |
//! | health | threads of their own, [`health::task`]; its views go to the engine | the engine ends |
//! | API | [`server::serve`] | it is told to stop |
//!
//! The first of them to end, or a signal, ends the agent. Forwarding goes on in any case: the links and maps are
//! pinned.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::announce;
use crate::api::openstack::{self, Access, tcp};
use crate::api::{server, socket};
use crate::engine::{Engine, EngineConfig, Feeds, Program};
use crate::events::{EventKind, EventLog, News};
use crate::health;
use crate::heap;
use crate::model::{Fault, VipOwner};
use crate::neighbour::{NetworkView, Targets, netlink, roll_call};
use crate::octavia;
use crate::settings::Settings;

/// Where the agent keeps its things.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the store.
    pub state_dir: PathBuf,
    /// Folder of the pinned maps and links, on a BPF file system.
    pub pin_dir: PathBuf,
    /// The API's Unix socket.
    pub socket: PathBuf,
    /// Who answers for a VIP whose first listener does not say.
    pub vip_owner: VipOwner,
    /// What the configuration file says of the agent itself.
    pub settings: Settings,
    /// The configuration file, if there is one: the interfaces and listeners that it has are applied at the start, and on
    /// SIGHUP.
    pub file: Option<PathBuf>,
    /// False to run without a data plane.
    pub data_plane: bool,
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When a part of it cannot start, or fails.
pub fn run(config: Config) -> Result<(), Fault> {
    start_log();
    heap::keep_no_large_blocks();
    // The API and the neighbours are light; the engine has its own thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Fault::unavailable(format!("the system gives no threads to the agent: {error}")))?;
    runtime.block_on(run_parts(config))
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let log = log.with_ansi(io::stderr().is_terminal()).with_target(false);
    // The journal has its own clock. A log that is set already, by a test, stays.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() { log.without_time().try_init() } else { log.try_init() };
}

async fn run_parts(config: Config) -> Result<(), Fault> {
    let mut signals = Signals::listen()?;
    let _lock = lock(&config.state_dir)?;
    let (listener, _socket) = socket::bind(&config.socket)?;
    let Config { state_dir, pin_dir, socket, settings, file, data_plane, vip_owner } = config;
    let Settings { api, directory, networks, tables } = settings;
    let port = tcp::bind(&api)?;
    let openstack = octavia::Settings { project: directory.home.id.clone(), data_plane, networks };
    let (engine, feeds, program) = Engine::start(EngineConfig { state_dir, pin_dir, openstack, vip_owner, tables })?;
    let Feeds { targets, owned, watched, checks, checked, events: log } = feeds;
    let plane = if data_plane { "" } else { ", without a data plane" };
    log.tell(News::new(EventKind::AgentStarted, format!("drlb {} started{plane}", env!("CARGO_PKG_VERSION"))));
    let (health_out, mut health) = watch::channel(Arc::default());
    let (events, checking) = match program {
        Some(Program { events, probes, asked }) => {
            (Some(events), Some(health::task::start(probes, checks, asked, health_out, checked)?))
        }
        None => (None, None),
    };
    let (views_out, mut views) = watch::channel(Arc::default());
    let mut caller = tokio::spawn({
        let (views, owned) = (views.clone(), owned.clone());
        async move {
            match data_plane {
                true => roll_call::task::run(views, owned).await,
                // Nobody's traffic depends on it.
                false => std::future::pending().await,
            }
        }
    });
    let told = log.clone();
    let mut announcer = tokio::spawn(async move {
        match events {
            Some(events) => announce::task::run(owned, events, watched, told).await,
            // Without a data plane, there is nothing to announce.
            None => std::future::pending().await,
        }
    });

    let mut neighbours = pin!(follow_neighbours(data_plane, targets, views_out));
    // The API opens when the network is known, so that the first command does not meet an engine that knows no links.
    if data_plane {
        tokio::select! {
            result = &mut neighbours => return Err(ended("following the neighbours", result)),
            _ = views.changed() => engine.network_changed(views.borrow_and_update().clone()),
        }
    }

    if let Some(file) = &file {
        apply(&engine, file, &log).await?;
    }

    let (stop_api, api_stopped) = watch::channel(());
    let stopped = || {
        let mut stopped = api_stopped.clone();
        async move {
            let _ = stopped.changed().await;
        }
    };
    let owner = Arc::new(Access::of_the_owner(directory.clone()));
    let local = server::router(engine.clone()).merge(openstack::router(engine.clone(), owner));
    let mut local = tokio::spawn(server::serve(listener, local, stopped()));
    let mut remote = tokio::spawn({
        let (engine, access, stopped) = (engine.clone(), Arc::new(Access::new(directory, api)), stopped());
        async move {
            match port {
                Some(port) => {
                    info!("the OpenStack API is on {}", port.address());
                    tcp::serve(port, openstack::whole(engine, access), stopped).await
                }
                None => {
                    stopped.await;
                    Ok(())
                }
            }
        }
    });
    heap::give_back();
    tell_service_manager("READY=1");
    info!("drlb {} is ready on {}{plane}", env!("CARGO_PKG_VERSION"), socket.display());

    let joined = |result: Result<io::Result<()>, tokio::task::JoinError>| {
        ended("serving the API", result.unwrap_or_else(|error| Err(io::Error::other(error))))
    };
    let end = loop {
        tokio::select! {
            Ok(()) = views.changed() => engine.network_changed(views.borrow_and_update().clone()),
            changed = health.changed(), if checking.is_some() => match changed {
                Ok(()) => engine.health_changed(health.borrow_and_update().clone()),
                Err(error) => break Err(ended("checking the backends' health", Err(io::Error::other(error)))),
            },
            result = &mut neighbours => break Err(ended("following the neighbours", result)),
            result = &mut caller => break Err(ended("asking for the backends", result.map_err(io::Error::other))),
            result = &mut announcer => break Err(ended("announcing the VIPs", result.unwrap_or_else(|e| Err(io::Error::other(e))))),
            result = &mut local => break Err(joined(result)),
            result = &mut remote => break Err(joined(result)),
            signal = signals.next() => match signal {
                Told::Reload => reload(&engine, file.as_deref(), &log).await,
                Told::Stop(signal) => {
                    info!("{signal}: the agent stops, and forwarding goes on where drlb is attached");
                    break Ok(());
                }
            },
        }
    };

    announcer.abort();
    caller.abort();
    log.close();
    tell_service_manager("STOPPING=1");
    let _ = stop_api.send(());
    for server in [local, remote] {
        if !server.is_finished() {
            let _ = server.await;
        }
    }
    if data_plane
        && engine.status().await.is_ok_and(|status| status.interfaces.is_empty())
        && let Err(error) = netlink::release_all().await
    {
        warn!("the kernel goes on asking for the backends' MACs: {error}");
    }
    engine.stop().await;
    // Nobody asks for checks any more, so that the thread ends.
    if let Some(checking) = checking {
        let _ = tokio::task::spawn_blocking(move || checking.join()).await;
    }
    end
}

/// Makes the interfaces and listeners what the configuration file says.
async fn apply(engine: &Engine, file: &Path, log: &EventLog) -> Result<(), Fault> {
    let shown = file.display();
    let applied = match std::fs::read_to_string(file) {
        Ok(text) => engine.apply(text, false).await,
        Err(error) => Err(Fault::unavailable(format!("it could not be read: {error}"))),
    };
    match applied {
        Ok(changes) => {
            for change in &changes {
                info!("{change}");
            }
            let text = format!("all is as {shown} says; {} changes were made", changes.len());
            log.tell(News::new(EventKind::ConfigurationApplied, text));
            Ok(())
        }
        Err(fault) => {
            let fault = Fault { message: format!("{shown}: {}", fault.message), ..fault };
            let text = format!("nothing was changed: {fault}");
            log.tell(News::new(EventKind::ConfigurationRefused, text));
            Err(fault)
        }
    }
}

/// The same on SIGHUP, where a file that is wrong is no reason to end: it is in the log.
async fn reload(engine: &Engine, file: Option<&Path>, log: &EventLog) {
    match file {
        None => warn!("SIGHUP: there is no configuration file to read; give one with --config"),
        Some(file) => {
            let _ = apply(engine, file, log).await;
        }
    }
}

/// Follows the neighbours; where there is no data plane, there is nobody to follow.
async fn follow_neighbours(
    data_plane: bool,
    targets: watch::Receiver<Arc<Targets>>,
    views: watch::Sender<Arc<NetworkView>>,
) -> io::Result<()> {
    if data_plane {
        return netlink::follow(targets, views).await;
    }
    let _open = (targets, views);
    std::future::pending().await
}

/// A part that should have gone on for ever.
fn ended(what: &str, result: io::Result<()>) -> Fault {
    match result {
        Ok(()) => Fault::internal(format!("{what} ended by itself; the log says more, and forwarding goes on")),
        Err(error) => Fault::unavailable(format!("{what} failed: {error}; forwarding goes on, start the agent again")),
    }
}

/// Takes the state folder for this process, and makes it if it is not there. The lock ends with the process.
fn lock(state_dir: &Path) -> Result<Flock<File>, Fault> {
    let shown = state_dir.display();
    let unusable = |error: &dyn std::fmt::Display| {
        Fault::unavailable(format!(
            "the state folder {shown} cannot be used: {error}; run the agent as root, or name another folder with \
             --state-dir"
        ))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(|error| unusable(&error))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(state_dir.join("lock"))
        .map_err(|error| unusable(&error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => Fault::conflict(format!(
            "another agent uses the state folder {shown}; stop it first, or give this one another --state-dir, \
             --pin-dir and --socket"
        )),
        errno => unusable(&errno),
    })
}

/// The signals that end the agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Fault> {
        let listen =
            |kind| signal(kind).map_err(|error| Fault::unavailable(format!("signals cannot be received: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// What the next one says.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

/// What a signal says.
enum Told {
    /// End, by the signal of that name.
    Stop(&'static str),
    /// Read the configuration file again.
    Reload,
}

/// Tells systemd how far the agent is, if it asked to be told.
fn tell_service_manager(state: &str) {
    if let Some(place) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = notify(&place, state)
    {
        warn!("the service manager could not be told `{state}`: {error}");
    }
}

/// Sends a state to a socket: a path, or an abstract name after an `@` (sd_notify(3)).
fn notify(place: &OsStr, state: &str) -> io::Result<()> {
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(place),
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address?).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_agents_never_share_a_state_folder() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let state = folder.path().join("made/by/the/agent");
        let first = lock(&state).expect("free");
        let fault = lock(&state).expect_err("taken");
        assert!(fault.message.starts_with("another agent uses the state folder"), "{fault}");
        drop(first);
        lock(&state).expect("free again");
    }

    #[test]
    fn a_state_folder_that_cannot_be_made_is_named() {
        let fault = lock(Path::new("/proc/drlb")).expect_err("nothing can be made there");
        assert!(fault.message.starts_with("the state folder /proc/drlb cannot be used: "), "{fault}");
    }

    #[test]
    fn the_service_manager_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("notify");
        let name = format!("drlb-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        let cases = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).expect("a socket")),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&abstract_name).expect("a socket")),
        ];
        for (place, receiver) in cases {
            notify(&place, "READY=1").expect("somebody listens");
            let mut heard = [0; 16];
            let length = receiver.recv(&mut heard).expect("a message");
            assert_eq!(&heard[..length], b"READY=1");
        }
        notify(OsStr::new("/nonexistent/notify"), "READY=1").expect_err("nobody listens");
    }
}
