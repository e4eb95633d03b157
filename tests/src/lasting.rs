//! Two listeners for lasting flows, TCP and UDP, over the same backends: where the scenarios of tracking begin.

use std::net::SocketAddr;
use std::ops::Range;
use std::thread;

use anyhow::{Result, anyhow, ensure};
use lb_userspace::engine::status::{BackendState, SlotStates};

use crate::flows::{Flows, Kind, Servers};
use crate::segment::{Family, vip};
use crate::wait::{SOON, until};
use crate::world::World;

/// The port of both listeners.
pub const PORT: u16 = 7_000;
/// The name of the TCP listener.
pub const TCP: &str = "lasting";
/// The name of the UDP listener.
pub const UDP: &str = "datagrams";
/// Both.
pub const BOTH: [&str; 2] = [TCP, UDP];

/// Idle times that let a scenario see the end of a change, in seconds. Lasting flows ask much more often, so they are never
/// silent for that long, even when the machine is busy.
pub const IDLE: &[&str] = &["handshake=4", "established=6", "closing=1", "udp=4", "other=4"];

/// The two listeners, and the servers behind them.
#[derive(Debug)]
pub struct Lasting<'a> {
    /// Where they are.
    pub world: &'a mut World,
    /// The family of the VIP.
    pub family: Family,
    /// Their address.
    pub to: SocketAddr,
    _servers: Vec<Servers>,
}

impl<'a> Lasting<'a> {
    /// Adds both listeners with these further options, a server on every backend, and the backends that have a weight,
    /// first backend first; waits until these serve.
    ///
    /// # Errors
    /// `drlb` refuses, or a backend does not come to serve.
    pub fn new(world: &'a mut World, family: Family, options: &[&str], weights: &[u16]) -> Result<Self> {
        let to = SocketAddr::new(vip(family, 0), PORT);
        let backends = &world.segment.backends;
        let servers =
            backends.iter().map(|backend| Servers::start(&backend.host, to.ip(), PORT)).collect::<Result<_>>()?;
        let lasting = Self { world, family, to, _servers: servers };
        let (vip, port) = (to.ip().to_string(), PORT.to_string());
        for (name, protocol) in [(TCP, "tcp"), (UDP, "udp")] {
            let mut arguments = vec!["listener", "add", name, "--vip", &vip, "--protocol", protocol, "--port", &port];
            arguments.extend(IDLE.iter().flat_map(|idle| ["--idle", idle]));
            arguments.extend(options);
            lasting.world.agent.tell(&arguments)?;
        }
        for (index, weight) in weights.iter().enumerate() {
            lasting.add(index, *weight)?;
        }
        // Nothing tells the first datagram of a flow. One that comes while a slot is moving may belong to a flow from
        // before, and stays with the backend of that time: all would be with the first.
        lasting.wait_until_nothing_moves(&BOTH)?;
        Ok(lasting)
    }

    /// Opens flows from the first client.
    ///
    /// # Errors
    /// As [`Flows::start`].
    pub fn open(&self, kind: Kind, count: usize) -> Result<Flows> {
        Flows::start(self.world.client(), kind, self.to, count)
    }

    /// A backend's address.
    #[must_use]
    pub fn address(&self, index: usize) -> String {
        self.world.segment.backends[index].address(self.family).to_string()
    }

    /// A backend's name.
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        self.world.segment.backends[index].host.name()
    }

    /// Adds a backend to both listeners and waits until it serves.
    ///
    /// # Errors
    /// `drlb` refuses, or it does not come to serve.
    pub fn add(&self, index: usize, weight: u16) -> Result<()> {
        let address = self.world.segment.backends[index].address(self.family);
        for listener in BOTH {
            self.world.add_backend(listener, address, weight)?;
        }
        BOTH.iter().try_for_each(|listener| self.world.agent.wait_for_backend(listener, address, BackendState::Serving))
    }

    /// Runs `drlb backend VERB LISTENER ADDRESS OPTIONS` for both listeners, at the same time.
    ///
    /// # Errors
    /// `drlb` refuses.
    pub fn backend(&self, verb: &str, index: usize, options: &[&str]) -> Result<()> {
        let address = self.address(index);
        let tell = |listener: &str| {
            let arguments = [&["backend", verb, listener, &address], options].concat();
            self.world.agent.tell(&arguments).map(drop)
        };
        thread::scope(|scope| {
            let told = BOTH.map(|listener| scope.spawn(move || tell(listener)));
            told.into_iter().try_for_each(|told| told.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    }

    /// Changes both listeners.
    ///
    /// # Errors
    /// `drlb` refuses.
    pub fn set(&self, options: &[&str]) -> Result<()> {
        BOTH.iter().try_for_each(|listener| {
            self.world.agent.tell(&[&["listener", "set", listener], options].concat()).map(drop)
        })
    }

    /// Drains a backend while the flows that it has end, and waits until it is drained and the last has left it.
    ///
    /// # Errors
    /// `drlb` refuses, or it takes longer than a minute.
    pub fn drain(&self, index: usize, tcp: &Flows, udp: &Flows) -> Result<()> {
        self.drain_all(index..index + 1, tcp, udp)
    }

    /// As [`Lasting::drain`], for several backends at the same time.
    ///
    /// # Errors
    /// As [`Lasting::drain`].
    pub fn drain_all(&self, indexes: Range<usize>, tcp: &Flows, udp: &Flows) -> Result<()> {
        for index in indexes.clone() {
            self.backend("drain", index, &[])?;
            // No connection may come to it from now on. A datagram of a new flow may until that can be told from those of
            // flows that were silent for a while.
            tcp.leave(self.name(index));
        }
        self.wait_until_nothing_moves(&[UDP])?;
        indexes.clone().for_each(|index| udp.leave(self.name(index)));
        for index in indexes {
            self.backend("drain", index, &["--wait"])?;
            let name = self.name(index);
            let left = tcp.at(name) + udp.at(name);
            ensure!(left == 0, "{name} is said to be drained, and {left} flows are at it");
        }
        Ok(())
    }

    /// Waits until no slot of these listeners is moving.
    ///
    /// # Errors
    /// One is, after a minute.
    pub fn wait_until_nothing_moves(&self, listeners: &[&str]) -> Result<()> {
        listeners.iter().try_for_each(|name| self.world.agent.wait_until_nothing_moves(name))
    }

    /// Waits until nothing is remembered of any flow, and every slot is steady.
    ///
    /// # Errors
    /// Something is, after a minute.
    pub fn wait_until_nothing_is_remembered(&self) -> Result<()> {
        until("nothing to be remembered", SOON, || {
            let status = self.world.agent.status().map_err(|error| format!("{error:#}"))?;
            let known = status.tracking;
            let states: Vec<_> = status.listeners.iter().map(|listener| listener.slot_states).collect();
            let steady = |states: &SlotStates| states.moving == 0 && states.settling == 0;
            let nothing = known.pins_young == 0 && known.pins_established == 0 && known.unsteady_slots == 0;
            if nothing && states.iter().all(steady) { Ok(()) } else { Err(format!("{known:?}, {states:?}")) }
        })
    }
}
