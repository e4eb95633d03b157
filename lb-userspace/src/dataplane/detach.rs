//! Taking a program off its interface at once, for which aya has no call.
//!
//! Removing a link's pin detaches, too, but later: the kernel lets go of a pinned object after an RCU grace period
//! (`bpf_free_inode`, kernel/bpf/inode.c). A `drlb detach` that has been answered must have stopped forwarding, and a
//! `drlb attach` after it must not meet the old program.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

// Commands of bpf(2), include/uapi/linux/bpf.h.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The part of `union bpf_attr` that `BPF_OBJ_GET` reads.
#[repr(C)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_DETACH` reads.
#[repr(C)]
struct LinkDetach {
    link: u32,
}

/// Takes the program of a pinned link off its interface. The pin stays, and attaches nothing any more.
///
/// # Errors
/// There is no such pin, or the kernel refuses.
pub(super) fn detach_now(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = ObjectGet { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &get)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    bpf(BPF_LINK_DETACH, &LinkDetach { link: link.as_raw_fd().cast_unsigned() }).map(drop)
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    let attributes: *const T = attributes;
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a structure that lives until the call returns and is laid out as
    // the command wants it; the path in it, if any, is a C string that the caller keeps alive as long.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(answer).map_err(io::Error::other)
}
