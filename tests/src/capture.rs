//! Captures: which frames came by in a host, from whom and to whom.
//!
//! A capture counts; it keeps no frame. It sees what the kernel's packet sockets see (packet(7)): everything that a host's
//! interfaces send, and what they receive after XDP in native mode. So frames that the balancer's program turns round are
//! not seen in the balancer itself, and captures on the switch's ports are what proves things about it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lb_common::address::MacAddr;
use lb_common::protocol;
use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::Host;
use crate::sys;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Index of the interface.
    pub ifindex: u32,
    /// True for a frame that the host sent, false for one that it received.
    pub sent: bool,
    /// Source MAC.
    pub source_mac: MacAddr,
    /// Destination MAC.
    pub destination_mac: MacAddr,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The IPv4 protocol, or the IPv6 next header.
    pub protocol: u8,
}

impl Kind {
    /// True unless it is ICMP of either family: the balancer answers echo and neighbour solicitations for a VIP itself.
    #[must_use]
    pub fn is_service(&self) -> bool {
        !matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.sent { "sent on" } else { "received on" };
        write!(
            f,
            "{way} interface {}: {} > {}, {} > {}, protocol {}",
            self.ifindex, self.source_mac, self.destination_mac, self.source, self.destination, self.protocol
        )
    }
}

/// How many frames of each kind were seen. Frames that are not IP are not in it.
#[derive(Clone, Debug, Default)]
pub struct Seen(pub BTreeMap<Kind, u64>);

impl Seen {
    /// How many frames were of a kind that `wanted` accepts.
    pub fn count(&self, wanted: impl Fn(&Kind) -> bool) -> u64 {
        self.0.iter().filter(|(kind, _)| wanted(kind)).map(|(_, frames)| frames).sum()
    }

    /// The source MACs of frames that `wanted` accepts, with how many frames each had.
    pub fn source_macs(&self, wanted: impl Fn(&Kind) -> bool) -> BTreeMap<MacAddr, u64> {
        let mut macs = BTreeMap::new();
        for (kind, frames) in self.0.iter().filter(|(kind, _)| wanted(kind)) {
            *macs.entry(kind.source_mac).or_default() += frames;
        }
        macs
    }

    /// Fails if a frame was seen that `unwanted` accepts, and says which.
    ///
    /// # Errors
    /// There was one; `why` says why there may be none.
    pub fn none(&self, why: &str, unwanted: impl Fn(&Kind) -> bool) -> Result<()> {
        match self.0.iter().find(|(kind, _)| unwanted(kind)) {
            Some((kind, frames)) => Err(anyhow!("{why}, but {frames} frames were {kind}")),
            None => Ok(()),
        }
    }
}

/// A capture that is running. It ends when it is finished or dropped.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Seen>>>,
}

/// How long the capturing thread waits for a frame before it looks whether it should stop.
const PATIENCE: Duration = Duration::from_millis(20);
/// Room for frames that wait to be counted, bytes. A small frame takes about 1 kB of it.
const ROOM: usize = 256 << 20;
/// Frames still taken after the stop, if they keep coming: more than fit in the room.
const LAST_FRAMES: u32 = 1_000_000;

impl Capture {
    /// Starts to count what all interfaces of a host send and receive. Every frame after the return is in it.
    ///
    /// # Errors
    /// The packet socket cannot be made, which needs root.
    pub fn start(host: &Host) -> Result<Self> {
        let socket = host.enter(|| {
            let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all)).context("cannot make a packet socket")?;
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &ROOM)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name(format!("capture-{}", host.name()))
            .spawn(move || count(&socket, &told))
            .context("cannot start a capture")?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops and returns what was seen until now.
    ///
    /// # Errors
    /// Frames were lost for want of room, so that nothing could be concluded; or reading failed.
    pub fn finish(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("the capture has ended already")?;
        thread.join().map_err(|_| anyhow!("the capturing thread panicked"))?
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn count(socket: &Socket, stop: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut last = 0;
    // Enough for two VLAN tags and an IPv6 header; the rest of the frame is cut off.
    let mut frame = [0; 64];
    loop {
        let stopping = stop.load(Ordering::Acquire);
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
            Ok((length, from)) => {
                if let Some(kind) = from.and_then(|from| kind_of(&from, &frame[..length.min(64)])) {
                    *seen.0.entry(kind).or_default() += 1;
                }
                last += u32::from(stopping);
            }
            Err(error) => {
                let error = std::io::Error::from(error);
                match error.kind() {
                    ErrorKind::WouldBlock if stopping => break,
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                    // An interface went down: what it has yet to say will come all the same.
                    _ if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                    _ => return Err(error).context("cannot read from the packet socket"),
                }
            }
        }
        if last > LAST_FRAMES {
            break;
        }
    }
    let lost = sys::frames_lost(socket.as_raw_fd()).context("cannot ask a capture what it lost")?;
    ensure!(lost == 0, "the capture lost {lost} frames for want of room, so it proves nothing");
    Ok(seen)
}

fn kind_of(from: &LinkAddr, frame: &[u8]) -> Option<Kind> {
    let mac = |bytes: &[u8]| bytes.try_into().ok().map(MacAddr);
    let (source, destination, protocol) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let source: [u8; 4] = frame.get(26..30)?.try_into().ok()?;
            let destination: [u8; 4] = frame.get(30..34)?.try_into().ok()?;
            (Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into(), *frame.get(23)?)
        }
        [0x86, 0xdd] => {
            let source: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
            let destination: [u8; 16] = frame.get(38..54)?.try_into().ok()?;
            (Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into(), *frame.get(20)?)
        }
        _ => return None,
    };
    Some(Kind {
        ifindex: u32::try_from(from.ifindex()).ok()?,
        sent: from.pkttype() == libc::PACKET_OUTGOING,
        source_mac: mac(frame.get(6..12)?)?,
        destination_mac: mac(frame.get(0..6)?)?,
        source,
        destination,
        protocol,
    })
}
