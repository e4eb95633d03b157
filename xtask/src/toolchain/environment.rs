//! The environment of a cargo that is run from within a cargo.

use std::env;
use std::process::Command;

/// Variables that have a meaning to rustup, cargo or rustc only for the user, and so are handed on.
const HANDED_ON: &[&str] = &["CARGO_HOME", "CARGO_MAKEFLAGS", "RUSTUP_HOME", "RUST_BACKTRACE"];

/// Prefixes of what the outer cargo sets for its build scripts, and of what configures its own build.
const CLEARED: &[&str] = &[
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CLIPPY_",
    "DEP_",
    "RUST",
];

/// Names of what the outer cargo sets for its build scripts.
const CLEARED_NAMES: &[&str] = &[
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_PRIMARY_PACKAGE",
    "DEBUG",
    "HOST",
    // Names the outer toolchain's libraries, which another toolchain must not load.
    "LD_LIBRARY_PATH",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "TARGET",
];

/// True for a variable that would make an inner cargo build something else than it is asked to.
fn misleads(name: &str) -> bool {
    !HANDED_ON.contains(&name)
        && (CLEARED_NAMES.contains(&name) || CLEARED.iter().any(|prefix| name.starts_with(prefix)))
}

/// Takes out of a command's environment what an outer cargo, or rustup's proxy, has put there. Where to find the
/// registry, the proxy and the certificates (`CARGO_HTTP_`, `CARGO_NET_`, `CARGO_REGISTRIES_`, …) stays.
pub(super) fn clear(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(misleads) {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_outer_cargo_says_of_its_own_build_is_taken_out() {
        for name in [
            "CARGO",
            "CARGO_CFG_TARGET_ARCH",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
            "LD_LIBRARY_PATH",
            "OUT_DIR",
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "TARGET",
        ] {
            assert!(misleads(name), "{name} would be handed on");
        }
    }

    #[test]
    fn what_the_user_says_of_the_machine_is_handed_on() {
        for name in [
            "CARGO_HOME",
            "CARGO_HTTP_CAINFO",
            "CARGO_MAKEFLAGS",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
            "HOME",
            "HTTPS_PROXY",
            "PATH",
            "RUSTUP_HOME",
            "SSL_CERT_FILE",
        ] {
            assert!(!misleads(name), "{name} would be taken out");
        }
    }
}
