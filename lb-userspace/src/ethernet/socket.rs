//! The one home of raw sockets: frames go out of an interface as they are, and come in (packet(7)). It takes `CAP_NET_RAW`.
#![expect(unsafe_code, reason = "a frame's destination is an interface, which no safe wrapper can name")]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

/// What goes out is not received (Linux 4.20, include/uapi/linux/if_packet.h).
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// What is queued of answers, in bytes: those of some hundred milliseconds in which nobody has time to read.
const ANSWERS: libc::c_int = 1024 * 1024;

// Where, in a frame, stands what neighbours' answers are known by, and what stands there: an ARP packet's operation (RFC 826);
// an IPv6 header's next header, and the message's type after it (RFC 4861 section 4.4). The kernel has taken tags away.
const ARP_OPERATION: u32 = 20;
const ARP_REPLY: u32 = 2;
const NEXT_HEADER: u32 = 20;
const ICMPV6: u32 = 58;
const ICMPV6_TYPE: u32 = 54;
const ADVERTISEMENT: u32 = 136;

// Of the language of socket filters (include/uapi/linux/bpf_common.h): a half word, or a byte, of the frame.
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;

/// How hosts say who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcing {
    /// By ARP: IPv4.
    Arp,
    /// By neighbour discovery: IPv6.
    Discovery,
}

/// A socket that frames are sent by.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

/// A frame that came in.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Index of the interface that it came in by.
    pub ifindex: u32,
    /// The frame, from its Ethernet header on, as far as there was room for it.
    pub frame: &'a [u8],
    /// True if the sender left its checksum to a card that it never passed, as virtual interfaces do.
    pub unfinished: bool,
}

impl PacketSocket {
    /// Opens it in this network namespace.
    ///
    /// # Errors
    /// The kernel's: without `CAP_NET_RAW` it is not permitted.
    pub fn open() -> io::Result<Self> {
        // Protocol 0: nothing is delivered to it.
        Self::of_protocol(0)
    }

    /// Opens one that also receives all frames that come in to this network namespace, but for those that the XDP program
    /// keeps to itself.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn listen() -> io::Result<Self> {
        let opened = Self::of_protocol((libc::ETH_P_ALL as u16).to_be())?;
        let on: libc::c_int = 1;
        opened.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)?;
        opened.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &on)?;
        Ok(opened)
    }

    /// Opens one that also receives what says who has an address, and nothing else: ARP replies, or the neighbour
    /// advertisements of IPv6. The kernel sorts out all others before it copies them.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn listen_to_neighbours(kind: Announcing) -> io::Result<Self> {
        let (protocol, mut filter) = match kind {
            Announcing::Arp => (libc::ETH_P_ARP, only_if(&[(LOAD_HALF, ARP_OPERATION, ARP_REPLY)])),
            Announcing::Discovery => (
                libc::ETH_P_IPV6,
                only_if(&[(LOAD_BYTE, NEXT_HEADER, ICMPV6), (LOAD_BYTE, ICMPV6_TYPE, ADVERTISEMENT)]),
            ),
        };
        let opened = Self::open()?;
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        opened.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        // Beyond the machine's usual limit, which CAP_NET_ADMIN allows; without it, less fits.
        let _ = opened.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &ANSWERS);
        // Only now, so that nothing comes in unsorted.
        let mut place = no_place();
        place.sll_protocol = (protocol as u16).to_be();
        // SAFETY: the address is valid for as many bytes as is said, and is only read.
        let done = unsafe {
            let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            libc::bind(opened.socket.as_raw_fd(), (&raw const place).cast(), length)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(opened) }
    }

    /// Sets an option of the socket.
    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is valid for the bytes that are said, and is only read.
        let done = unsafe {
            libc::setsockopt(self.socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn of_protocol(protocol: u16) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a system call with three numbers.
        let socket = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave this descriptor, and nobody else has it.
        Ok(Self { socket: unsafe { OwnedFd::from_raw_fd(socket) } })
    }

    /// Sends a frame, from its Ethernet header on, out of an interface.
    ///
    /// # Errors
    /// The kernel's: there is no such interface, it is down, or its queue is full.
    pub fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let mut to = no_place();
        to.sll_ifindex = ifindex.cast_signed();
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the frame and the address are valid for as many bytes as is said, and are only read.
        let sent = unsafe {
            let (bytes, to) = (frame.as_ptr().cast(), (&raw const to).cast());
            libc::sendto(self.socket.as_raw_fd(), bytes, frame.len(), 0, to, length)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes a frame that has come in; `None` if there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive<'a>(&self, room: &'a mut [u8]) -> io::Result<Option<Received<'a>>> {
        // SAFETY: both are plain C structures for which all bits zero is a value.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { std::mem::zeroed() };
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: `message` points to the address, the frame's room and the control data's, each as long as is said; all
        // outlive the call.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        };
        let mut unfinished = false;
        // SAFETY: the kernel has filled in `message`, whose control data is alive; the macros stay within it.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(&raw const message);
            while !header.is_null() {
                if (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA {
                    let about: libc::tpacket_auxdata = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                    unfinished = about.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0;
                }
                header = libc::CMSG_NXTHDR(&raw const message, header);
            }
        }
        let frame = room.get(..length.min(room.len())).unwrap_or_default();
        Ok(Some(Received { ifindex: from.sll_ifindex.cast_unsigned(), frame, unfinished }))
    }

    /// Waits until a frame has come in, or the time is over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, time: Duration) -> io::Result<()> {
        let mut asked = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let time = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one `pollfd`, which outlives the call.
        let done = unsafe { libc::poll(&raw mut asked, 1, time) };
        let error = io::Error::last_os_error();
        if done < 0 && error.kind() != io::ErrorKind::Interrupted { Err(error) } else { Ok(()) }
    }
}

/// An address of a packet socket, without interface and protocol.
fn no_place() -> libc::sockaddr_ll {
    // SAFETY: `sockaddr_ll` is a plain C structure for which all bits zero is a value.
    let mut place: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    place.sll_family = libc::AF_PACKET as u16;
    place
}

/// The filter that takes frames in which each of these stands: how it is loaded, where, and its value.
fn only_if(wanted: &[(u32, u32, u32)]) -> Vec<libc::sock_filter> {
    let step = |code: u32, jf: usize, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: jf as u8, k };
    let mut program = Vec::new();
    for (index, (load, at, value)) in wanted.iter().enumerate() {
        program.push(step(*load, 0, *at));
        // If it is another one, over the steps of those that are left, and over the one that takes the frame.
        let skipped = 2 * (wanted.len() - index - 1) + 1;
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, skipped, *value));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX));
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, 0));
    program
}
