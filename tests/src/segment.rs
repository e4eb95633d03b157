//! The segment that direct routing needs: clients, a balancer and backends on one Ethernet, or on two.
//!
//! ```text
//!  one leg                                  two legs
//!  client   balancer   backends             client   balancer   backends
//!     │         │        │ │ │                 │      │    │      │ │ │
//!     └────── front ─────┴─┴─┘                 └─ front    back ──┴─┴─┘
//!                                                     │    │
//!                                                     router   (backends' way to the client)
//! ```
//!
//! A Linux bridge in a host of its own (`switch`) is the Ethernet, with one veth pair for each leg of a host. Addresses are
//! fixed, since every segment has its namespaces to itself: number `N` is 192.0.2.N and 2001:db8:1::N on the front,
//! 198.51.100.N and 2001:db8:2::N on the back (RFC 5737, RFC 3849), and its MAC ends in the same `N` (read as hexadecimal
//! digits, so 192.0.2.21 is at `02:00:00:00:01:21`). The router is 1, the balancer 2, VIPs are 10 to 19 (always on the
//! front), backends 21 and up, clients 200 and up.
//!
//! With two legs the backends reach the client through a router, as in a data centre where servers have a default gateway:
//! a reply's source is the VIP, so the router must not check sources (`rp_filter`), and nothing leads back to the balancer.
//!
//! XDP in native mode on a veth interface has needs that hardware has not; see [`Segment::new`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use lb_common::address::MacAddr;

use crate::host::Host;
use crate::sys;

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's stack, for any driver.
    Generic,
}

impl Mode {
    /// The word that the command line uses.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// How many networks the balancer stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legs {
    /// Clients, balancer and backends on one network.
    One,
    /// Clients on one network, backends on another, the balancer on both.
    Two,
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How the program will be attached.
    pub mode: Mode,
    /// How many networks the balancer stands on.
    pub legs: Legs,
    /// How many clients.
    pub clients: u8,
    /// How many backends.
    pub backends: u8,
}

impl Plan {
    /// One client, three backends.
    #[must_use]
    pub fn new(mode: Mode, legs: Legs) -> Self {
        Self { mode, legs, clients: 1, backends: 3 }
    }
}

/// One of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// Where the clients are, and the VIPs.
    Front,
    /// Where the backends are when the balancer has two legs.
    Back,
}

impl Net {
    const ALL: [Self; 2] = [Self::Front, Self::Back];

    fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }

    /// The address of `number` on this network.
    #[must_use]
    pub fn address(self, family: Family, number: u8) -> IpAddr {
        match (family, self) {
            (Family::V4, Self::Front) => Ipv4Addr::new(192, 0, 2, number).into(),
            (Family::V4, Self::Back) => Ipv4Addr::new(198, 51, 100, number).into(),
            (Family::V6, _) => {
                let net = if self == Self::Front { 1 } else { 2 };
                Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, digits_as_hexadecimal(number)).into()
            }
        }
    }

    /// The MAC of `number` on this network.
    #[must_use]
    pub fn mac(self, number: u8) -> MacAddr {
        let [high, low] = digits_as_hexadecimal(number).to_be_bytes();
        MacAddr([0x02, 0, 0, if self == Self::Front { 1 } else { 2 }, high, low])
    }
}

/// 21 becomes 0x21, so that an IPv6 address or a MAC shows the number that people know from the IPv4 address.
fn digits_as_hexadecimal(number: u8) -> u16 {
    let number = u16::from(number);
    (number / 100) << 8 | (number / 10 % 10) << 4 | (number % 10)
}

/// The VIP with this index (0 to 9).
#[must_use]
pub fn vip(family: Family, index: u8) -> IpAddr {
    Net::Front.address(family, 10 + index)
}

const ROUTER: u8 = 1;
const BALANCER: u8 = 2;
const FIRST_BACKEND: u8 = 21;
const FIRST_CLIENT: u8 = 200;

/// A client or a backend: a host with one leg, `eth0`.
#[derive(Clone, Debug)]
pub struct Node {
    /// The host.
    pub host: Host,
    /// The network that it stands on.
    pub net: Net,
    /// Its number on that network.
    pub number: u8,
}

impl Node {
    /// Its address.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        self.net.address(family, self.number)
    }

    /// The MAC of its `eth0`.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.net.mac(self.number)
    }
}

/// The whole segment. It ends when it is dropped.
#[derive(Debug)]
pub struct Segment {
    /// What it was built from.
    pub plan: Plan,
    /// The host with the bridges; the port of a leg is named after its host and the network's first letter: `backend-1.f`.
    pub switch: Host,
    /// The clients, on the front.
    pub clients: Vec<Node>,
    /// The balancer: `eth0` on the front and, with two legs, `eth1` on the back.
    pub balancer: Host,
    /// The backends, on the front, or on the back when the balancer has two legs.
    pub backends: Vec<Node>,
    /// The backends' way to the clients when the balancer has two legs.
    pub router: Option<Host>,
    /// Programs on the switch's side of the balancer's legs.
    peers: Vec<OwnedFd>,
}

impl Segment {
    /// Builds the segment and waits until its links are up.
    ///
    /// The switch's side of the balancer's legs is made to behave like a wire, as far as the mode needs that. Every veth has
    /// one queue each way, so that queue counts match.
    ///
    /// - Native mode, and generic mode on two legs: frames have their final size and checksum when they enter the leg
    ///   (`tx off`). A veth pair otherwise hands over frames of up to 64 kB and leaves the checksum to a card that is not
    ///   there. Native XDP hands on an unfinished checksum as it is; in generic mode the kernel redirects no frame that is
    ///   larger than the other leg's MTU (`xdp_ok_fwd_dev`, include/linux/filter.h), as happens with a real card, too, when it
    ///   merges what it receives (`ethtool -K eth0 gro off`).
    /// - Native mode: the leg's other side runs an XDP program that passes everything. Without one the kernel neither
    ///   delivers what our program sends out of the same interface nor what it redirects to another.
    ///
    /// # Errors
    /// Namespaces, links or addresses cannot be made; the message says which.
    pub fn new(plan: Plan) -> Result<Self> {
        ensure!(
            FIRST_BACKEND + plan.backends <= FIRST_CLIENT && plan.clients <= 50,
            "the plan has more hosts than the numbers allow"
        );
        let backend_net = if plan.legs == Legs::Two { Net::Back } else { Net::Front };
        let node = |kind: &str, index: u8, net: Net, number: u8| -> Result<Node> {
            Ok(Node { host: Host::new(&format!("{kind}-{}", index + 1))?, net, number })
        };
        let mut segment = Self {
            plan,
            switch: Host::new("switch")?,
            clients: (0..plan.clients)
                .map(|i| node("client", i, Net::Front, FIRST_CLIENT + i))
                .collect::<Result<_>>()?,
            balancer: Host::new("balancer")?,
            backends: (0..plan.backends)
                .map(|i| node("backend", i, backend_net, FIRST_BACKEND + i))
                .collect::<Result<_>>()?,
            router: match plan.legs {
                Legs::One => None,
                Legs::Two => Some(Host::new("router")?),
            },
            peers: Vec::new(),
        };
        segment.connect()?;
        let native = plan.mode == Mode::Native;
        for port in segment.balancer_ports() {
            if native || plan.legs == Legs::Two {
                segment.finish_frames_before(&port)?;
            }
            if native {
                segment.peers.push(segment.switch.attach_pass_program(&port)?);
            }
        }
        Ok(segment)
    }

    /// Every leg: host, interface, network, number.
    fn legs(&self) -> Vec<(&Host, &'static str, Net, u8)> {
        let nodes = self.clients.iter().chain(&self.backends);
        let mut legs: Vec<_> = nodes.map(|node| (&node.host, "eth0", node.net, node.number)).collect();
        legs.push((&self.balancer, "eth0", Net::Front, BALANCER));
        if let Some(router) = &self.router {
            legs.push((&self.balancer, "eth1", Net::Back, BALANCER));
            legs.push((router, "eth0", Net::Front, ROUTER));
            legs.push((router, "eth1", Net::Back, ROUTER));
        }
        legs
    }

    fn connect(&self) -> Result<()> {
        for host in self.hosts() {
            host.sysctl(COMMON_PARAMETERS)?;
        }
        self.switch.sysctl(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])?;
        if let Some(router) = &self.router {
            router.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        }
        let mut switch = String::new();
        for net in Net::ALL {
            let bridge = net.name();
            switch += &format!("link add {bridge} up type bridge forward_delay 0 mcast_snooping 0\n");
        }
        for (host, interface, net, number) in self.legs() {
            let port = port(host, net);
            let (pid, mac, bridge) = (host.pid(), net.mac(number), net.name());
            switch += &format!(
                "link add {port} numtxqueues 1 numrxqueues 1 type veth \
                 peer name {interface} numtxqueues 1 numrxqueues 1 address {mac} netns {pid}\n\
                 link set {port} master {bridge} up\n"
            );
        }
        self.switch.ip(&switch).context("cannot make the switch")?;
        for (host, interface, net, number) in self.legs() {
            let (v4, v6) = (net.address(Family::V4, number), net.address(Family::V6, number));
            host.ip(&format!(
                "address add {v4}/24 dev {interface}\naddress add {v6}/64 dev {interface} nodad\nlink set {interface} up\n"
            ))?;
        }
        if self.plan.legs == Legs::Two {
            let (v4, v6) = (Net::Back.address(Family::V4, ROUTER), Net::Back.address(Family::V6, ROUTER));
            for backend in &self.backends {
                backend.host.ip(&format!("route add default via {v4}\nroute add ::/0 via {v6}\n"))?;
            }
        }
        Ok(())
    }

    fn finish_frames_before(&self, port: &str) -> Result<()> {
        self.switch.enter(|| {
            sys::set_checksum_offload(port, false)
                .with_context(|| format!("cannot switch off the checksum offload of port `{port}`"))
        })
    }

    /// Every host of the segment.
    #[must_use]
    pub fn hosts(&self) -> Vec<&Host> {
        let nodes = self.clients.iter().chain(&self.backends).map(|node| &node.host);
        [&self.switch, &self.balancer].into_iter().chain(&self.router).chain(nodes).collect()
    }

    /// Sets how large a frame's payload may be, everywhere.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn set_mtu(&self, bytes: u16) -> Result<()> {
        let legs = self.legs();
        let mut switch = String::new();
        for (host, _, net, _) in &legs {
            switch += &format!("link set {} mtu {bytes}\n", port(host, *net));
        }
        self.switch.ip(&switch)?;
        legs.iter()
            .try_for_each(|(host, interface, ..)| host.ip(&format!("link set {interface} mtu {bytes}\n")).map(drop))
    }

    /// Plugs another host into the front, as `eth0` with that number.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn plug_in(&self, host: &Host, number: u8) -> Result<()> {
        host.sysctl(COMMON_PARAMETERS)?;
        let (name, mac, pid, net) = (port(host, Net::Front), Net::Front.mac(number), host.pid(), Net::Front);
        let (v4, v6) = (net.address(Family::V4, number), net.address(Family::V6, number));
        self.switch.ip(&format!(
            "link add {name} type veth peer name eth0 address {mac} netns {pid}\nlink set {name} master {} up\n",
            net.name()
        ))?;
        host.ip(&format!("address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\nlink set eth0 up\n"))
            .map(drop)
    }

    /// Plugs a node's cable into the switch, or pulls it out.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn plug(&self, node: &Node, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        self.switch.ip(&format!("link set {} {state}\n", port(&node.host, node.net))).map(drop)
    }

    /// Takes the balancer's first leg away and plugs in another of the same name, MAC and addresses, whose other end sends on so
    /// many queues.
    ///
    /// # Errors
    /// `ip` fails, or the program at the other end cannot be attached.
    pub fn replace_front_leg(&mut self, queues: u32) -> Result<()> {
        self.remove_front_leg()?;
        self.plug_in_front_leg(queues)
    }

    /// Takes the balancer's first leg away.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn remove_front_leg(&self) -> Result<()> {
        self.switch.ip(&format!("link delete {}\n", port(&self.balancer, Net::Front))).map(drop)
    }

    /// Plugs in a first leg for the balancer, whose other end sends on so many queues.
    ///
    /// # Errors
    /// `ip` fails, or the program at the other end cannot be attached.
    pub fn plug_in_front_leg(&mut self, queues: u32) -> Result<()> {
        let (net, port) = (Net::Front, port(&self.balancer, Net::Front));
        let (mac, pid, bridge) = (net.mac(BALANCER), self.balancer.pid(), net.name());
        let (v4, v6) = (net.address(Family::V4, BALANCER), net.address(Family::V6, BALANCER));
        self.switch.ip(&format!(
            "link add {port} numtxqueues {queues} numrxqueues {queues} type veth \
             peer name eth0 numtxqueues 1 numrxqueues 1 address {mac} netns {pid}\nlink set {port} master {bridge} up\n"
        ))?;
        if self.plan.mode == Mode::Native || self.plan.legs == Legs::Two {
            self.finish_frames_before(&port)?;
        }
        if self.plan.mode == Mode::Native {
            self.peers.push(self.switch.attach_pass_program(&port)?);
        }
        self.balancer
            .ip(&format!("address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\nlink set eth0 up\n"))
            .map(drop)
    }

    /// Takes the programs off the switch's side of the balancer's legs, without which native mode does not work on a veth.
    pub fn take_programs_off(&mut self) {
        self.peers.clear();
    }

    /// The interfaces of the balancer.
    #[must_use]
    pub fn balancer_interfaces(&self) -> &'static [&'static str] {
        match self.plan.legs {
            Legs::One => &["eth0"],
            Legs::Two => &["eth0", "eth1"],
        }
    }

    /// The switch's ports that the balancer is plugged into.
    #[must_use]
    pub fn balancer_ports(&self) -> Vec<String> {
        Net::ALL.into_iter().take(self.balancer_interfaces().len()).map(|net| port(&self.balancer, net)).collect()
    }

    /// The MACs of the balancer.
    #[must_use]
    pub fn balancer_macs(&self) -> Vec<MacAddr> {
        Net::ALL.into_iter().take(self.balancer_interfaces().len()).map(|net| net.mac(BALANCER)).collect()
    }

    /// The switch's ports that the backends are plugged into.
    #[must_use]
    pub fn backend_ports(&self) -> Vec<String> {
        self.backends.iter().map(|backend| port(&backend.host, backend.net)).collect()
    }

    /// The address of the balancer itself on a network that it stands on.
    #[must_use]
    pub fn balancer_address(&self, net: Net, family: Family) -> IpAddr {
        net.address(family, BALANCER)
    }

    /// The MACs that a reply may reach the client from: the backends', or the router's with two legs.
    #[must_use]
    pub fn macs_that_answer_clients(&self) -> Vec<MacAddr> {
        match self.plan.legs {
            Legs::One => self.backends.iter().map(Node::mac).collect(),
            Legs::Two => vec![Net::Front.mac(ROUTER)],
        }
    }
}

/// The switch's port of a leg.
fn port(host: &Host, net: Net) -> String {
    format!("{}.{}", host.name(), &net.name()[..1])
}

/// Kernel parameters of every host, from before its interfaces exist. Some kernels hand on what the machine has set.
const COMMON_PARAMETERS: &[(&str, &str)] = &[
    // Addresses are known to be unique: usable at once.
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    // A reply's source is the VIP, which comes from where its network is not (two legs).
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/ip_forward", "0"),
    // Thousands of short connections from one address to one VIP.
    ("ipv4/ip_local_port_range", "10000 60999"),
];
