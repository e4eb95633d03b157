//! Frames as they are on a wire, byte by byte, sent and received by a host.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::Host;
use crate::sys;

/// How long nothing may come before what was sent counts as come.
const QUIET: Duration = Duration::from_millis(300);
/// Room for frames that wait to be read, bytes.
const ROOM: usize = 256 << 20;

/// One interface of a host, for frames.
#[derive(Debug)]
pub struct Tap {
    socket: Socket,
}

impl Tap {
    /// Opens an interface of a host. Frames that come from then on are received.
    ///
    /// # Errors
    /// There is no such interface, or the socket cannot be made.
    pub fn open(host: &Host, interface: &str) -> Result<Self> {
        let index = host.ifindex(interface)?;
        let socket = host.enter(|| {
            let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all)).context("cannot make a packet socket")?;
            setsockopt(&socket, RcvBufForce, &ROOM)?;
            sys::want_tags(socket.as_raw_fd())?;
            sys::bind_to_interface(socket.as_raw_fd(), index)?;
            socket.set_read_timeout(Some(QUIET))?;
            Ok(socket)
        })?;
        Ok(Self { socket })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The kernel refuses it: it is longer than the MTU allows, or shorter than an Ethernet header.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let length =
            self.socket.send(frame).with_context(|| format!("cannot send a frame of {} bytes", frame.len()))?;
        ensure!(length == frame.len(), "a frame was cut short");
        Ok(())
    }

    /// The next frame that comes from elsewhere; `None` if for a while none does.
    ///
    /// # Errors
    /// Reading failed.
    pub fn next(&self) -> Result<Option<Vec<u8>>> {
        match sys::receive_frame(self.socket.as_raw_fd()) {
            Ok(received) => Ok((!received.sent).then_some(received.frame)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("cannot read from a packet socket"),
        }
    }

    /// The frames that came from elsewhere, until for a while none comes.
    ///
    /// # Errors
    /// Frames were lost for want of room, or reading failed.
    pub fn received(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        loop {
            match sys::receive_frame(self.socket.as_raw_fd()) {
                Ok(received) if received.sent => {}
                Ok(received) => frames.push(received.frame),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("cannot read from a packet socket"),
            }
        }
        let lost = sys::frames_lost(self.socket.as_raw_fd())?;
        ensure!(lost == 0, "{lost} frames were lost for want of room");
        Ok(frames)
    }
}

/// How often each frame is among these: the kernel hands frames of several queues on in any order.
#[must_use]
pub fn tally(frames: Vec<Vec<u8>>) -> BTreeMap<Vec<u8>, u32> {
    let mut tally = BTreeMap::new();
    for frame in frames {
        *tally.entry(frame).or_default() += 1;
    }
    tally
}
