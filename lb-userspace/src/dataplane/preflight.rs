//! Whether this host can run the data plane.

use std::fs;
use std::path::{Path, PathBuf};

use aya::util::KernelVersion;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::sys::utsname::uname;

use crate::model::Fault;

/// The first kernel with all that is needed: elements of arrays that are larger than 4 MiB. XDP for frames of several buffers is
/// older (5.18), and so are BPF links for XDP (5.9) and the accounting of map memory by cgroup instead of `RLIMIT_MEMLOCK`
/// (5.11).
const OLDEST: KernelVersion = KernelVersion::new(6, 0, 0);
/// Where the BPF file system usually is.
const BPFFS: &str = "/sys/fs/bpf";

// Bits of a capability set, see linux/capability.h.
const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_BPF: u64 = 1 << 39;

/// Checks the kernel and this process's rights.
///
/// # Errors
/// What is missing.
pub(super) fn check() -> Result<(), Fault> {
    let release =
        uname().map_err(|error| Fault::unavailable(format!("the kernel's version cannot be read: {error}")))?;
    let release = release.release().to_string_lossy();
    let version = version_of(&release)
        .ok_or_else(|| Fault::unavailable(format!("the kernel calls itself `{release}`, which is not a version")))?;
    check_version(version)?;
    check_capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// The version in what `uname -r` prints, such as `6.12.0-1-amd64`. `KernelVersion::current` would rather take what a
/// distribution says elsewhere of the patches that it has in, which is more than is asked here.
fn version_of(release: &str) -> Option<KernelVersion> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    let patch = numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    Some(KernelVersion::new(major, minor, patch))
}

fn check_version(version: KernelVersion) -> Result<(), Fault> {
    if version < OLDEST {
        return Err(Fault::unavailable(format!("drlb needs Linux 6.0 or newer; this host runs {version}")));
    }
    Ok(())
}

/// Checks the effective capabilities, from the text of `/proc/self/status`. Without that line the kernel decides.
fn check_capabilities(status: &str) -> Result<(), Fault> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(held) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else { return Ok(()) };
    let missing: Vec<_> = [("CAP_BPF", CAP_BPF), ("CAP_NET_ADMIN", CAP_NET_ADMIN)]
        .into_iter()
        .filter(|(_, bit)| held & (bit | CAP_SYS_ADMIN) == 0)
        .map(|(name, _)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Fault::unavailable(format!(
        "the agent lacks {}; run it as root, or give it these capabilities",
        missing.join(" and ")
    )))
}

/// Makes sure that a folder is on a BPF file system, and makes the folder. Mounts a BPF file system at its usual place
/// if nothing is mounted there.
///
/// # Errors
/// The folder is elsewhere, or something could not be made.
pub(super) fn pin_folder(folder: &Path) -> Result<(), Fault> {
    if !on_bpffs(folder) && folder.starts_with(BPFFS) {
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700")).map_err(|error| {
            Fault::unavailable(format!(
                "no BPF file system is mounted at {BPFFS} and it cannot be mounted there: {error}; run the agent as root"
            ))
        })?;
        tracing::info!("mounted a BPF file system at {BPFFS}, for the maps and links that outlive the agent");
    }
    if !on_bpffs(folder) {
        let folder = folder.display();
        return Err(Fault::unavailable(format!(
            "the pin folder {folder} is not on a BPF file system; leave out --pin-dir, or mount one there with `mount -t \
             bpf bpf FOLDER`"
        )));
    }
    fs::create_dir_all(folder).map_err(|error| super::fault::pin_fault(folder, "made", &error))
}

/// True if a folder, or the nearest one above it that exists, is on a BPF file system.
fn on_bpffs(folder: &Path) -> bool {
    let mut existing = PathBuf::from(folder);
    while !existing.exists() && existing.pop() {}
    statfs(&existing).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_too_old_is_refused() {
        assert_eq!(check_version(KernelVersion::new(6, 1, 0)), Ok(()));
        assert_eq!(check_version(KernelVersion::new(6, 0, 0)), Ok(()));
        let fault = check_version(KernelVersion::new(5, 19, 7)).expect_err("too old");
        assert_eq!(fault.message, "drlb needs Linux 6.0 or newer; this host runs 5.19.7");
    }

    #[test]
    fn the_version_is_read_from_any_release() {
        for (release, version) in [
            ("6.12.0-1-amd64", KernelVersion::new(6, 12, 0)),
            ("5.15.0-91-generic", KernelVersion::new(5, 15, 0)),
            ("6.18.44-fc-v769", KernelVersion::new(6, 18, 44)),
            ("7.0-rc1", KernelVersion::new(7, 0, 0)),
        ] {
            assert_eq!(version_of(release), Some(version), "{release}");
        }
        assert_eq!(version_of("linux"), None);
    }

    #[test]
    fn missing_capabilities_are_named() {
        for enough in ["CapEff:\t000001fffeffffff\n", "CapEff:\t0000008000001000\n", "CapEff:\t0000000000200000\n", ""]
        {
            assert_eq!(check_capabilities(enough), Ok(()), "{enough}");
        }
        let fault = check_capabilities("Name:\tdrlb\nCapEff:\t0000000000000000\n").expect_err("no rights");
        assert!(fault.message.starts_with("the agent lacks CAP_BPF and CAP_NET_ADMIN;"), "{}", fault.message);
        let fault = check_capabilities("CapEff:\t0000008000000000").expect_err("one is missing");
        assert!(fault.message.starts_with("the agent lacks CAP_NET_ADMIN;"), "{}", fault.message);
    }

    #[test]
    fn a_folder_that_is_not_on_a_bpf_file_system_is_refused() {
        let fault = pin_folder(Path::new("/proc/drlb")).expect_err("no BPF file system");
        assert!(fault.message.contains("is not on a BPF file system"), "{}", fault.message);
    }
}
