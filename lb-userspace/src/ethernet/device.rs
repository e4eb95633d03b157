//! What a card and its driver do with frames, as `ethtool` shows and sets it: the kernel has it behind an `ioctl` only.
#![expect(unsafe_code, reason = "an ioctl that no safe crate of ours has")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// A feature that is switched by a command of its own (include/uapi/linux/ethtool.h).
#[derive(Clone, Copy, Debug)]
pub enum Feature {
    /// Checksums are left to the card when sending: `ETHTOOL_STXCSUM`.
    SendChecksums = 0x17,
    /// Frames are put together when receiving: `ETHTOOL_SGRO`. On a veth it also switches the queue on that redirected
    /// frames arrive by (`veth_set_features` in drivers/net/veth.c).
    ReceiveOffload = 0x2c,
}

// Commands that ask (include/uapi/linux/ethtool.h).
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// Of the flags: the card itself puts frames together (`ETH_FLAG_LRO`).
const LRO: u32 = 1 << 15;

/// Switches a feature of an interface in the calling thread's network namespace.
///
/// # Errors
/// What the kernel says.
pub fn switch(interface: &str, feature: Feature, on: bool) -> io::Result<()> {
    ethtool(interface, [feature as u32, u32::from(on)]).map(drop)
}

/// True if received frames are put together to larger ones, by the kernel (GRO) or by the card (LRO).
///
/// # Errors
/// What the kernel says: there is no such interface.
pub fn merges_received(interface: &str) -> io::Result<bool> {
    let [_, merges] = ethtool(interface, [ETHTOOL_GGRO, 0])?;
    // A driver without flags has no LRO.
    let flags = ethtool(interface, [ETHTOOL_GFLAGS, 0]).map_or(0, |[_, flags]| flags);
    Ok(merges != 0 || flags & LRO != 0)
}

/// How many queues an interface receives on; nothing if its driver does not tell.
#[must_use]
pub fn receive_queues(interface: &str) -> Option<u32> {
    // struct ethtool_channels: the command; the most of rx, tx, other and combined; and how many there are of each.
    let [_, _, _, _, _, receive, _, _, combined] =
        ethtool(interface, [ETHTOOL_GCHANNELS, 0, 0, 0, 0, 0, 0, 0, 0]).ok()?;
    Some(receive + combined)
}

/// Gives the driver a command, which is the first word, and returns the words as the kernel leaves them.
fn ethtool<const WORDS: usize>(interface: &str, mut words: [u32; WORDS]) -> io::Result<[u32; WORDS]> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: `ifreq` is a plain C structure for which all bits zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(interface.as_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    let socket = UdpSocket::bind("0.0.0.0:0").or_else(|_| UdpSocket::bind("[::]:0"))?;
    // SAFETY: `request` names an interface in a string that ends in 0 and points to `words`, and both outlive the call; each
    // caller gives as many words as the command's structure has, which is what the kernel reads and writes.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(words) }
}
