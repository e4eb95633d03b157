//! Features of an interface, as `ethtool -K` sets them: the kernel has them behind an `ioctl` only.
#![expect(unsafe_code, reason = "an ioctl that no safe crate of ours has")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// A feature that is switched by a command of its own (include/uapi/linux/ethtool.h).
#[derive(Clone, Copy, Debug)]
pub(super) enum Feature {
    /// Checksums are left to the card when sending: `ETHTOOL_STXCSUM`.
    SendChecksums = 0x17,
    /// Frames are put together when receiving: `ETHTOOL_SGRO`. On a veth it also switches the queue on that redirected
    /// frames arrive by (`veth_set_features` in drivers/net/veth.c).
    ReceiveOffload = 0x2c,
}

/// Switches a feature of an interface in the calling thread's network namespace.
///
/// # Errors
/// What the kernel says.
pub(super) fn switch(interface: &str, feature: Feature, on: bool) -> io::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    let mut value = EthtoolValue { command: feature as u32, data: u32::from(on) };
    // SAFETY: `ifreq` is a plain C structure for which all bits zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(interface.as_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = UdpSocket::bind("0.0.0.0:0").or_else(|_| UdpSocket::bind("[::]:0"))?;
    // SAFETY: `request` names an interface in a string that ends in 0 and points to `value`, and both outlive the call;
    // the kernel reads 8 bytes there, which is what `EthtoolValue` has.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
