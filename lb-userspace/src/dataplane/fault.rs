//! What the kernel refuses, in sentences.

use std::error::Error;
use std::io;

use aya::programs::ProgramError;
use aya::programs::xdp::XdpError;
use aya::{EbpfError, maps::MapError};

use crate::model::{Fault, XdpMode};

/// An error and all its causes, in one line.
pub(super) fn chain(error: impl Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

/// A map that could not be read or written.
pub(super) fn map_fault(name: &str, what: &str) -> impl FnOnce(MapError) -> Fault {
    move |error| Fault::unavailable(format!("the BPF map {name} cannot be {what}: {}", chain(error)))
}

/// The object could not be loaded into the kernel.
pub(super) fn object_fault(error: EbpfError) -> Fault {
    let text = chain(error);
    Fault::unavailable(format!(
        "the kernel refused drlb's BPF maps: {text}; run the agent as root, with CAP_BPF and CAP_NET_ADMIN, and see that \
         the host has memory for them"
    ))
}

/// The program could not be loaded into the kernel.
pub(super) fn program_fault(error: ProgramError) -> Fault {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!("the verifier's log:\n{verifier_log}");
            let log = verifier_log.to_string();
            // The last lines but the statistics say what was wrong.
            let reason = log.lines().rev().find(|line| !line.is_empty() && !line.starts_with("processed "));
            Fault::unavailable(format!(
                "the kernel refused drlb's XDP program ({io_error}): {}; drlb needs Linux 6.0 or newer",
                reason.unwrap_or("it gave no reason")
            ))
        }
        other => Fault::unavailable(format!("drlb's XDP program cannot be loaded: {}", chain(other))),
    }
}

/// The number of the operating system's error behind an error of attaching.
pub(super) fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::XdpError(XdpError::NetlinkError(error)) | ProgramError::NetlinkError(error) => {
            error.raw_os_error()
        }
        ProgramError::IOError(error) => error.raw_os_error(),
        _ => None,
    }
}

/// The program could not be attached to an interface.
pub(super) fn attach_fault(name: &str, mode: XdpMode, error: ProgramError) -> Fault {
    match errno(&error) {
        Some(libc::EBUSY | libc::EEXIST) => Fault::conflict(format!(
            "another XDP program is attached to {name}; take it off first, with its own tool or with `ip link set dev \
             {name} xdp off`"
        )),
        Some(libc::EOPNOTSUPP) if mode == XdpMode::Native => {
            Fault::unavailable(format!("the driver of {name} has no native XDP; use --mode generic or --mode auto"))
        }
        Some(libc::ENODEV | libc::ENOENT) => Fault::not_found(format!("there is no interface {name} any more")),
        Some(libc::EPERM | libc::EACCES) => Fault::unavailable(format!(
            "attaching to {name} is not permitted; run the agent as root, or with CAP_BPF and CAP_NET_ADMIN"
        )),
        Some(libc::ERANGE | libc::ENOSPC | libc::EINVAL | libc::E2BIG) if mode == XdpMode::Native => {
            Fault::unavailable(format!(
                "the driver of {name} refused native XDP as the interface is set up now ({}); lower its MTU, give it \
                 more queues than its peer sends on, or use --mode generic",
                chain(error)
            ))
        }
        _ => Fault::unavailable(format!("drlb cannot be attached to {name} in {mode} mode: {}", chain(error))),
    }
}

/// A file or folder below the pin folder could not be made or removed.
pub(super) fn pin_fault(path: &std::path::Path, what: &str, error: &io::Error) -> Fault {
    let path = path.display();
    Fault::unavailable(format!(
        "{path} cannot be {what}: {error}; run the agent as root, and see that it is on a BPF file system"
    ))
}
