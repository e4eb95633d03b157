//! What a Rust installation's folder tells of it: facts read from the file system, nothing run.

use std::env;
use std::path::{Path, PathBuf};

use super::TARGET;

/// True if the sysroot holds a prebuilt `core` for BPF.
pub(super) fn has_prebuilt_core(sysroot: &Path) -> bool {
    let folder = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

/// True if the sysroot holds the standard library's source, so that cargo can build `core` (`-Z build-std`).
pub(super) fn has_source(sysroot: &Path) -> bool {
    // The file that cargo itself looks for.
    sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
}

/// The toolchains that rustup keeps in its home, linked ones too, in the order of their names.
pub(super) fn of_rustup(rustup_home: &Path) -> Vec<PathBuf> {
    let Ok(entries) = rustup_home.join("toolchains").read_dir() else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join("bin/rustc").is_file()).collect();
    found.sort();
    found
}

/// Where rustup keeps its toolchains.
pub(super) fn rustup_home() -> Option<PathBuf> {
    env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".rustup")))
}

/// The folder that cargo installs programs into; none if there is no home.
#[must_use]
pub fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))?;
    Some(home.join("bin"))
}

/// The files of that name in the folders of `PATH`, in its order.
pub(super) fn in_path(name: &str) -> Vec<PathBuf> {
    let Some(path) = env::var_os("PATH") else { return Vec::new() };
    env::split_paths(&path).map(|folder| folder.join(name)).filter(|file| file.is_file()).collect()
}

/// True if the file is rustup's proxy: it stands for whatever toolchain rustup chooses, so it is not one itself.
pub(super) fn is_rustup_proxy(file: &Path) -> bool {
    let behind_links = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    behind_links.file_name().is_some_and(|name| name == "rustup") || file.with_file_name("rustup").is_file()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder can be made");
        fs::write(path, "").expect("a file can be written");
    }

    #[test]
    fn a_prebuilt_core_is_seen_by_its_rlib() {
        let sysroot = tempfile::tempdir().expect("a folder");
        let folder = sysroot.path().join("lib/rustlib/bpfel-unknown-none/lib");
        assert!(!has_prebuilt_core(sysroot.path()));
        touch(&folder.join("liballoc-1.rlib"));
        touch(&folder.join("libcore-1.rmeta"));
        assert!(!has_prebuilt_core(sysroot.path()), "metadata alone cannot be linked");
        touch(&folder.join("libcore-8056e5e5b270ef4d.rlib"));
        assert!(has_prebuilt_core(sysroot.path()));
    }

    #[test]
    fn rust_src_is_seen_by_the_lock_file_that_cargo_wants() {
        let sysroot = tempfile::tempdir().expect("a folder");
        touch(&sysroot.path().join("lib/rustlib/src/rust/library/core/src/lib.rs"));
        assert!(!has_source(sysroot.path()));
        touch(&sysroot.path().join("lib/rustlib/src/rust/library/Cargo.lock"));
        assert!(has_source(sysroot.path()));
    }

    #[test]
    fn rustups_toolchains_are_the_folders_that_have_a_compiler() {
        let home = tempfile::tempdir().expect("a folder");
        touch(&home.path().join("toolchains/stable/bin/rustc"));
        touch(&home.path().join("toolchains/nightly/bin/rustc"));
        touch(&home.path().join("toolchains/broken/bin/cargo"));
        let found = of_rustup(home.path());
        assert_eq!(found, ["nightly", "stable"].map(|name| home.path().join("toolchains").join(name)));
        assert!(of_rustup(&home.path().join("absent")).is_empty());
    }

    #[test]
    fn rustups_proxies_are_told_from_compilers() {
        let folder = tempfile::tempdir().expect("a folder");
        let (proxies, compilers) = (folder.path().join("proxies"), folder.path().join("compilers"));
        touch(&proxies.join("rustup"));
        touch(&proxies.join("rustc"));
        touch(&compilers.join("rustc"));
        assert!(is_rustup_proxy(&proxies.join("rustc")));
        assert!(!is_rustup_proxy(&compilers.join("rustc")));
    }
}
