//! The one home of `unsafe` in the harness: what runs between fork and exec, and the three system calls that no safe
//! crate of ours has.
#![expect(unsafe_code, reason = "fork hooks and raw system calls, each with its reason; no other module has any")]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// The two namespaces that make a host.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// The network namespace.
    pub(crate) net: OwnedFd,
    /// The mount namespace.
    pub(crate) mounts: OwnedFd,
}

/// Makes `command` start in a network and a mount namespace of its own, with the mounts that a host has.
///
/// The mounts are private: `/sys` shows the new network namespace, `/sys/fs/bpf` is an empty BPF file system, and `/run`
/// and `/var/lib` are empty file systems in memory, so that the agent's default places are this host's own.
pub(crate) fn start_in_new_namespaces(command: &mut Command) {
    let prepare = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        let nothing = None::<&std::ffi::CStr>;
        mount(nothing, c"/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
        let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), plain, nothing)?;
        mount(Some(c"bpf"), c"/sys/fs/bpf", Some(c"bpf"), plain, nothing)?;
        mount(Some(c"tmpfs"), c"/run", Some(c"tmpfs"), plain, nothing)?;
        mount(Some(c"tmpfs"), c"/var/lib", Some(c"tmpfs"), plain, nothing)?;
        Ok(())
    };
    // SAFETY: the closure runs in the forked child and does nothing but system calls: no memory is allocated (the paths
    // are C strings already) and no lock is taken, so it is sound whatever the other threads of the parent held.
    unsafe { command.pre_exec(prepare) };
}

/// Makes `command` start in these namespaces.
pub(crate) fn start_in(command: &mut Command, namespaces: Arc<Namespaces>) {
    let enter = move || {
        setns(namespaces.net.as_fd(), CloneFlags::CLONE_NEWNET)?;
        setns(namespaces.mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
        Ok(())
    };
    // SAFETY: the closure runs in the forked child and makes two system calls on file descriptors that it keeps open
    // itself (the `Arc` moves into the command). Nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(enter) };
}

/// Makes `command` be killed when the *thread* that starts it ends, see `PR_SET_PDEATHSIG` in prctl(2).
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let tie = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before the line above; then no signal will come.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: the closure runs in the forked child and makes two system calls; nothing is allocated, no lock is taken.
    unsafe { command.pre_exec(tie) };
}

/// Switches the checksum offload for sending on an interface of the calling thread's network namespace, as
/// `ethtool -K INTERFACE tx on|off` does.
///
/// # Errors
/// What the kernel says: no such interface, or the interface cannot do it.
pub(crate) fn set_checksum_offload(interface: &str, on: bool) -> io::Result<()> {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    let mut value = EthtoolValue { command: ETHTOOL_STXCSUM, data: u32::from(on) };
    let name = CString::new(interface)?;
    let name = name.as_bytes_with_nul();
    // SAFETY: `ifreq` is a plain C structure for which all bits zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() > request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{interface}` is too long for an interface")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").or_else(|_| std::net::UdpSocket::bind("[::]:0"))?;
    // SAFETY: `request` names an interface in a string that ends in 0 and points to `value`, and both outlive the call;
    // the kernel reads 8 bytes there, which is what `EthtoolValue` has.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How many frames a packet socket has lost for want of room since this was last asked (packet(7), `PACKET_STATISTICS`).
///
/// # Errors
/// What the kernel says.
pub(crate) fn frames_lost(socket: RawFd) -> io::Result<u32> {
    #[repr(C)]
    #[derive(Default)]
    struct Statistics {
        packets: u32,
        drops: u32,
    }
    let mut statistics = Statistics::default();
    let mut length = size_of::<Statistics>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `statistics`, and both live until the call returns.
    let done = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(statistics.drops) }
}

/// Loads an XDP program that passes every frame, and attaches it to an interface of the calling thread's network
/// namespace in native mode. It is detached when the answer is dropped.
///
/// # Errors
/// What the kernel says: not permitted, the interface has a program already, or its driver cannot do XDP.
pub(crate) fn attach_pass_program(ifindex: u32) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_LINK_CREATE: libc::c_int = 28;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const BPF_XDP: u32 = 37;
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
    /// `union bpf_attr` for `BPF_PROG_LOAD`, up to `prog_flags` (include/uapi/linux/bpf.h).
    #[repr(C)]
    struct Load {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    /// `union bpf_attr` for `BPF_LINK_CREATE`, up to `flags`.
    #[repr(C)]
    struct Link {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
        // SAFETY: the kernel reads `size_of_val(attributes)` bytes of a structure that is laid out as it documents; the
        // pointers inside it, if any, are to data that the caller keeps alive during the call.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *const T, size_of_val(attributes)) };
        let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both commands answer with a new file descriptor (close-on-exec) that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
    // r0 = XDP_PASS (2); exit. Eight bytes an instruction, in the machine's byte order (all fields used are single bytes
    // or a 32-bit immediate).
    let mov_r0_pass = u64::from_ne_bytes([0xb7, 0, 0, 0, 2, 0, 0, 0]);
    let exit = u64::from_ne_bytes([0x95, 0, 0, 0, 0, 0, 0, 0]);
    let instructions = [mov_r0_pass, exit];
    let license = c"GPL";
    let program = bpf(
        BPF_PROG_LOAD,
        &Load {
            kind: BPF_PROG_TYPE_XDP,
            instruction_count: 2,
            instructions: instructions.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: BPF_F_XDP_HAS_FRAGS,
        },
    )?;
    bpf(
        BPF_LINK_CREATE,
        &Link {
            program: program.as_raw_fd().cast_unsigned(),
            ifindex,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        },
    )
}

/// What a packet socket received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The frame as it was on the wire.
    pub(crate) frame: Vec<u8>,
    /// True for a frame that this host sent itself.
    pub(crate) sent: bool,
}

/// Asks the kernel to tell a packet socket of the VLAN tags that it takes off (packet(7), `PACKET_AUXDATA`).
///
/// # Errors
/// What the kernel says.
pub(crate) fn want_tags(socket: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads an `int` at the address of one.
    let done = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The next frame of a packet socket that [`want_tags`], with the tag that the kernel took off put back.
///
/// # Errors
/// What the kernel says; `WouldBlock` if no frame comes in the socket's time.
pub(crate) fn receive_frame(socket: RawFd) -> io::Result<Received> {
    let mut frame = vec![0; 65_536];
    let mut control = [0_u64; 16];
    let mut vector = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
    // SAFETY: both are plain C structures for which all bits zero is a value.
    let (mut from, mut message) = unsafe { (zeroed::<libc::sockaddr_ll>(), zeroed::<libc::msghdr>()) };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: each pointer in `message` is to a buffer of the length beside it, and all live until the call returns.
    let length = unsafe { libc::recvmsg(socket, &raw mut message, 0) };
    let Ok(length) = usize::try_from(length) else {
        return Err(io::Error::last_os_error());
    };
    frame.truncate(length);
    // SAFETY: the kernel has filled `control` as far as `msg_controllen` says, with well-formed headers.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: the header is within `control`; data of this level and type is a `tpacket_auxdata`, perhaps unaligned.
        unsafe {
            if (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA {
                let data = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    let tag = [data.tp_vlan_tpid.to_be_bytes(), data.tp_vlan_tci.to_be_bytes()].concat();
                    frame.splice(12..12, tag);
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Received { frame, sent: from.sll_pkttype == libc::PACKET_OUTGOING })
}

/// Binds a packet socket to an interface, for frames of every protocol.
///
/// # Errors
/// What the kernel says.
pub(crate) fn bind_to_interface(socket: RawFd, ifindex: u32) -> io::Result<()> {
    // SAFETY: a plain C structure for which all bits zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = ifindex.cast_signed();
    // SAFETY: the kernel reads a `sockaddr_ll` at the address of one.
    let done =
        unsafe { libc::bind(socket, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a TAP interface of the calling thread's network namespace, without a header before its frames. Reading never waits. It
/// goes when the answer is dropped.
///
/// # Errors
/// What the kernel says: no such device, or the name is taken.
pub(crate) fn open_tap(name: &str) -> io::Result<OwnedFd> {
    let device = std::fs::File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is a plain C structure for which all bits zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the kernel reads and writes an `ifreq` at the address of one, which outlives the call.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(device.into()) }
}

/// Waits until there is something to read, or this time is over.
///
/// # Errors
/// What the kernel says.
pub(crate) fn wait_readable(fd: RawFd, limit: std::time::Duration) -> io::Result<()> {
    let mut wanted = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the kernel reads and writes one `pollfd` at the address of one.
    let done = unsafe { libc::poll(&raw mut wanted, 1, millis) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
