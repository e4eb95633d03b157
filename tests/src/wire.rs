//! Whole frames at a host's interface: sent as they are, and waited for.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_common::address::MacAddr;
use lb_userspace::ethernet::socket::PacketSocket;
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::Host;
use crate::wait::{SOON, until};

/// How long one look for a frame takes.
const GLANCE: Duration = Duration::from_millis(50);
/// Longer frames are cut off.
const LONGEST: usize = 2_048;

/// An interface of a host, as its driver sees it.
#[derive(Debug)]
pub struct Wire {
    sender: PacketSocket,
    receiver: Socket,
    ifindex: u32,
}

impl Wire {
    /// Opens an interface. Every frame that comes in after the return can be waited for.
    ///
    /// # Errors
    /// There is no such interface, or the sockets cannot be made, which needs root.
    pub fn open(host: &Host, interface: &str) -> Result<Self> {
        let ifindex = host.ifindex(interface)?;
        host.enter(|| {
            let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
            let receiver = Socket::new(Domain::PACKET, Type::RAW, Some(all)).context("cannot make a packet socket")?;
            receiver.set_read_timeout(Some(GLANCE))?;
            let sender = PacketSocket::open().context("cannot make a packet socket")?;
            Ok(Self { sender, receiver, ifindex })
        })
    }

    /// Sends a frame, from its Ethernet header on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.sender.send(self.ifindex, frame).context("a frame cannot be sent")
    }

    /// Waits for a frame from a MAC that is one of those wanted, and returns it.
    ///
    /// # Errors
    /// There is none in a minute.
    pub fn wait_for(&self, what: &str, from: MacAddr, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        self.wait_so_long_for(SOON, what, from, wanted)
    }

    /// The same with another deadline.
    ///
    /// # Errors
    /// There is none until then.
    pub fn wait_so_long_for(
        &self,
        limit: Duration,
        what: &str,
        from: MacAddr,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        until(what, limit, || {
            let mut bytes = [0; LONGEST];
            loop {
                match recvfrom::<LinkAddr>(self.receiver.as_raw_fd(), &mut bytes) {
                    Ok((length, _)) => {
                        let frame = &bytes[..length.min(LONGEST)];
                        if frame.get(6..12) == Some(&from.0[..]) && wanted(frame) {
                            return Ok(frame.to_vec());
                        }
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => return Err("nothing like it came".to_owned()),
                    Err(error) => return Err(error.to_string()),
                }
            }
        })
    }
}
