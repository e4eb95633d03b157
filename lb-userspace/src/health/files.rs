//! How many files the agent may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the agent needs: the sockets of probes, the API's, and what else it holds. Many systems allow a service 1,024 unless it
/// asks for more.
const FILES: u64 = 16_384;

/// Has the kernel allow that many. Where it doesn't, probes that find no file are not sent, and say so.
pub(super) fn allow_many() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = FILES.min(hard);
        if soft < wanted { setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::warn!("the limit of open files cannot be raised, and may be too low for health checks: {error}");
    }
}
