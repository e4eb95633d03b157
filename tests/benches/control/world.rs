//! An engine with many pools.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lb_common::address::MacAddr;
use lb_userspace::engine::{Engine, EngineConfig, Feeds, Program};
use lb_userspace::model::{
    Algorithm, AttachMode, BackendAddr, BackendChange, Command, Name, NewListener, Protocol, Tables, VipOwner,
};
use lb_userspace::neighbour::{Link, NetworkView, Reach};
use lb_userspace::octavia::query::Parameters;
use lb_userspace::octavia::{self, Area, Caller, Method, Role};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// The interface that all backends are behind.
const INTERFACE: &str = "v0";
/// How many different backends there are; pools share them.
const BACKENDS: u32 = 1_000;

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Listeners, each with a pool of its own.
    pub(crate) listeners: u32,
    /// Backends of each pool.
    pub(crate) backends: u32,
    /// Slots of each table.
    pub(crate) slots: u32,
}

/// Moves this thread, and all that it starts, into namespaces of its own: nothing is left when the process ends.
pub(crate) fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&Path>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), nothing)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing)?;
    let made = Process::new("ip").args(["link", "add", INTERFACE, "type", "veth", "peer", "name", "v1"]).status()?;
    ensure!(made.success(), "no veth can be made");
    Ok(())
}

/// A running engine. It ends with this.
pub(crate) struct World {
    size: Size,
    engine: Engine,
    runtime: Runtime,
    // Kept so that nobody finds the other end closed.
    _feeds: Feeds,
    _program: Option<Program>,
}

fn name(number: u32) -> Name {
    format!("pool-{number}").parse().expect("a name")
}

fn vip(number: u32) -> String {
    let [_, _, high, low] = number.to_be_bytes();
    format!("198.18.{high}.{low}")
}

fn backend(pool: u32, index: u32) -> BackendAddr {
    let [_, _, high, low] = ((pool * 7 + index) % BACKENDS + 256).to_be_bytes();
    format!("10.0.{high}.{low}").parse().expect("an address")
}

/// One that no pool has from the beginning.
fn another() -> BackendAddr {
    "10.0.200.1".parse().expect("an address")
}

impl World {
    /// An engine with all of that, in the maps.
    pub(crate) fn new(size: Size) -> Result<Self> {
        clear()?;
        let world = Self::start(size)?;
        world.execute(Command::Attach { interface: INTERFACE.to_owned(), mode: AttachMode::Native })?;
        let mut commands = Vec::new();
        for number in 0..size.listeners {
            commands.push(Command::AddListener(NewListener {
                name: name(number),
                vip: vip(number).parse()?,
                protocol: Protocol::Tcp,
                port: 80,
                algorithm: Algorithm::SourceIpPort,
                persistence: None,
                timeouts: Default::default(),
                allowed: Default::default(),
                vip_owner: None,
                source_rate: None,
                max_flows: None,
                slots: Some(size.slots),
            }));
            let backends = (0..size.backends).map(|index| backend(number, index));
            commands.extend(backends.map(|address| Command::AddBackend { listener: name(number), address, weight: 1 }));
        }
        world.execute(Command::All(commands))?;
        Ok(world)
    }

    /// Starts an engine, and returns when it has made all as it should be.
    fn start(size: Size) -> Result<Self> {
        let region = Tables::default().room / 64;
        let room = (size.listeners * size.slots.next_multiple_of(16)).div_ceil(region).clamp(64, Tables::MOST) + 1;
        let config = EngineConfig {
            state_dir: "/run/state".into(),
            pin_dir: "/sys/fs/bpf/drlb".into(),
            vip_owner: VipOwner::Xdp,
            tables: Tables::new(Some(room), None)?,
            openstack: octavia::Settings {
                project: "home".to_owned(),
                data_plane: true,
                networks: octavia::networks::Networks::default(),
            },
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (engine, feeds, program) = {
            let _inside = runtime.enter();
            Engine::start(config)?
        };
        engine.network_changed(Arc::new(network()?));
        let world = Self { size, engine, runtime, _feeds: feeds, _program: program };
        // What is answered after the picture of the network was taken finds all done.
        let refused = world.execute(Command::Detach { interface: "nothing".to_owned() });
        ensure!(refused.is_err(), "there is no such interface");
        Ok(world)
    }

    /// Ends the engine and starts another one, which finds the maps or none. Returns how long the start took.
    pub(crate) fn start_again(self, fresh: bool) -> Result<(Self, Duration)> {
        let Self { size, engine, runtime, _feeds, _program } = self;
        runtime.block_on(engine.stop());
        drop((_feeds, _program, runtime));
        if fresh {
            remove_pins()?;
        }
        let begin = Instant::now();
        let world = Self::start(size)?;
        Ok((world, begin.elapsed()))
    }

    fn execute(&self, command: Command) -> Result<()> {
        Ok(self.runtime.block_on(self.engine.execute(command))?)
    }

    /// Sets the weight of a backend of a pool.
    pub(crate) fn set_weight(&self, pool: u32, index: u32, weight: u16) -> Result<()> {
        let change = BackendChange { weight: Some(weight), ..BackendChange::default() };
        self.execute(Command::SetBackend { listener: name(pool), address: backend(pool, index), change })
    }

    /// Adds another backend to a pool, or removes it.
    pub(crate) fn come_or_go(&self, pool: u32, there: bool) -> Result<()> {
        let (listener, address) = (name(pool), another());
        self.execute(match there {
            true => Command::AddBackend { listener, address, weight: 1 },
            false => Command::RemoveBackend { listener, address },
        })
    }

    /// The path of a member of a pool in the OpenStack API.
    pub(crate) fn member(&self, pool: u32, index: u32) -> Result<Vec<String>> {
        let pools = self.openstack(Method::Get, &["pools"], &[("name", name(pool).as_str())], None)?;
        let id = pools["pools"][0]["id"].as_str().context("a pool")?.to_owned();
        let address = backend(pool, index).to_string();
        let members = self.openstack(Method::Get, &["pools", &id, "members"], &[("address", &address)], None)?;
        let member = members["members"][0]["id"].as_str().context("a member")?.to_owned();
        Ok(vec!["pools".to_owned(), id, "members".to_owned(), member])
    }

    /// Sets the weight of a member by the OpenStack API.
    pub(crate) fn set_weight_of(&self, member: &[String], weight: u16) -> Result<()> {
        let path: Vec<&str> = member.iter().map(String::as_str).collect();
        self.openstack(Method::Put, &path, &[], Some(json!({ "member": { "weight": weight } })))?;
        Ok(())
    }

    fn openstack(
        &self,
        method: Method,
        path: &[&str],
        parameters: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Value> {
        let texts = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = octavia::Request {
            area: Area::LoadBalancing,
            method,
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            parameters: Parameters(parameters.iter().map(texts).collect()),
            body,
            caller: Caller { project: "home".to_owned(), role: Role::Admin },
            here: String::new(),
        };
        let answered = self.runtime.block_on(self.engine.octavia(request));
        let reply = answered.map_err(|refusal| anyhow!("refused: {refusal:?}"))?;
        reply.body.context("a body")
    }

    /// How long the last change took from when it was written down to when the maps were so.
    pub(crate) fn took_for_the_maps(&self) -> Duration {
        self.engine.took().maps()
    }
}

/// Every backend has a MAC, behind the interface.
fn network() -> Result<NetworkView> {
    let mut view = NetworkView::default();
    let ifindex = nix::net::if_::if_nametoindex(INTERFACE).context("the interface is gone")?;
    let link = Link { ifindex, mac: MacAddr([2, 0, 0, 0, 0, 1]), up: true, xdp_program: None, vlan: None };
    view.links.insert(INTERFACE.to_owned(), link);
    for address in (0..BACKENDS).map(|index| backend(0, index)).chain([another()]) {
        let std::net::IpAddr::V4(v4) = address.ip() else { continue };
        let [a, b, c, d] = v4.octets();
        view.backends.insert(address, Reach::Resolved { mac: MacAddr([2, 0xbe, a, b, c, d]), ifindex });
    }
    Ok(view)
}

/// Removes what a world before left: its state, its maps and its links.
fn clear() -> Result<()> {
    remove_pins()?;
    if Path::new("/run/state").exists() {
        std::fs::remove_dir_all("/run/state")?;
    }
    Ok(())
}

fn remove_pins() -> Result<()> {
    let pins = Path::new("/sys/fs/bpf/drlb");
    if pins.exists() {
        std::fs::remove_dir_all(pins)?;
    }
    Ok(())
}

/// The same as a file of the agent's configuration.
pub(crate) fn configuration(size: Size) -> String {
    let mut text = format!("[[interfaces]]\nname = \"{INTERFACE}\"\n");
    for number in 0..size.listeners {
        let (name, vip, slots) = (name(number), vip(number), size.slots);
        let _ = write!(
            text,
            "[[listeners]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nport = 80\nslots = {slots}\n\
             backends = ["
        );
        for index in 0..size.backends {
            let _ = write!(text, "{{ address = \"{}\" }}, ", backend(number, index));
        }
        text.push_str("]\n");
    }
    text
}
