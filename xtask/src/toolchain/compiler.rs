//! Compilers that can make BPF code: finding them, and their order.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{environment, sysroot};

/// The environment variable that names the cargo to build the XDP program with, before all that is looked for.
pub const CARGO_VARIABLE: &str = "DRLB_BPF_CARGO";

/// Where the compiler has `core` for BPF from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// It is in the sysroot, as Debian ships it.
    Prebuilt,
    /// Cargo builds it from `rust-src`.
    Source,
}

/// A release of Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1, for a long time to come.
    pub major: u32,
    /// The release.
    pub minor: u32,
}

impl Version {
    /// The oldest release that compiles the XDP program: the workspace's `rust-version`.
    #[must_use]
    pub fn minimum() -> Self {
        Self::parse(env!("CARGO_PKG_RUST_VERSION")).unwrap_or(Self { major: 1, minor: 0 })
    }

    /// Reads the first two numbers of a version such as `1.96.0-nightly`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-', '+', '~', ' ']);
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A compiler that can make BPF code, and its cargo.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// Its cargo.
    pub cargo: PathBuf,
    /// The compiler.
    pub rustc: PathBuf,
    /// The folder that it is installed in.
    pub sysroot: PathBuf,
    /// Its release.
    pub version: Version,
    /// True if it takes unstable features without being told to.
    pub nightly: bool,
    /// The major version of its LLVM: bpf-linker must read this one's bitcode.
    pub llvm: u32,
    /// Where it has `core` from.
    pub core: Core,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nightly = if self.nightly { " nightly" } else { "" };
        let core = match self.core {
            Core::Prebuilt => "with core for BPF",
            Core::Source => "with rust-src",
        };
        write!(f, "rustc {}{nightly} (LLVM {}) {core} in {}", self.version, self.llvm, self.sysroot.display())
    }
}

impl Compiler {
    /// Place in the order of the search; lower goes first.
    fn rank(&self) -> u8 {
        match (self.core, self.nightly) {
            (Core::Source, true) => 0,
            (Core::Prebuilt, _) => 1,
            (Core::Source, false) => 2,
        }
    }
}

/// What the machine has.
#[derive(Debug, Default)]
pub struct Search {
    /// Compilers that can make BPF code, best first.
    pub fit: Vec<Compiler>,
    /// Sysroots that were looked at and cannot, and why.
    pub refused: Vec<(PathBuf, String)>,
}

impl Search {
    /// Looks through what the environment names, rustup's toolchains, `PATH` and `/usr`.
    ///
    /// # Errors
    /// If [`CARGO_VARIABLE`] names a cargo that cannot be used: nothing else is tried then, for it was asked for.
    pub fn run() -> Result<Self> {
        if let Some(cargo) = env::var_os(CARGO_VARIABLE) {
            let cargo = PathBuf::from(cargo);
            let compiler = named(&cargo).with_context(|| {
                format!("the environment variable {CARGO_VARIABLE} names {}, which cannot be used", cargo.display())
            })?;
            return Ok(Self { fit: vec![compiler], refused: Vec::new() });
        }
        let mut search = Self::default();
        for (rustc, sysroot) in candidates() {
            match look_at(&rustc, &sysroot) {
                Ok(compiler) => search.fit.push(compiler),
                Err(reason) => search.refused.push((sysroot, format!("{reason:#}"))),
            }
        }
        search.fit.sort_by_key(Compiler::rank);
        Ok(search)
    }
}

/// The compiler beside the cargo that the user named.
fn named(cargo: &Path) -> Result<Compiler> {
    if !cargo.is_file() {
        bail!("there is no such file");
    }
    let rustc = cargo.with_file_name("rustc");
    let sysroot = sysroot_of(&rustc)?;
    Ok(Compiler { cargo: cargo.to_owned(), ..look_at(&rustc, &sysroot)? })
}

/// Every compiler on the machine with its sysroot, each sysroot once, in the order in which it is found.
fn candidates() -> Vec<(PathBuf, PathBuf)> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    let of_rustup = sysroot::rustup_home().map(|home| sysroot::of_rustup(&home)).unwrap_or_default();
    let rustup = of_rustup.into_iter().map(|sysroot| (sysroot.join("bin/rustc"), sysroot));
    let path = sysroot::in_path("rustc").into_iter().chain([PathBuf::from("/usr/bin/rustc")]);
    let path = path
        .filter(|rustc| rustc.is_file() && !sysroot::is_rustup_proxy(rustc))
        .filter_map(|rustc| sysroot_of(&rustc).ok().map(|sysroot| (rustc, sysroot)));
    for (rustc, sysroot) in rustup.chain(path) {
        let same = |other: &Path| other.canonicalize().ok() == sysroot.canonicalize().ok();
        if !found.iter().any(|(_, other)| same(other)) {
            found.push((rustc, sysroot));
        }
    }
    found
}

/// A compiler for BPF, or why this one is none.
fn look_at(rustc: &Path, sysroot: &Path) -> Result<Compiler> {
    let core = core_of(sysroot)?;
    judge(rustc, sysroot, core, &output(rustc, &["--version", "--verbose"])?)
}

/// Where the compiler of a sysroot would have `core` for BPF from.
fn core_of(sysroot: &Path) -> Result<Core> {
    match (sysroot::has_prebuilt_core(sysroot), sysroot::has_source(sysroot)) {
        (true, _) => Ok(Core::Prebuilt),
        (false, true) => Ok(Core::Source),
        (false, false) => bail!("it has neither core for {} nor rust-src", super::TARGET),
    }
}

/// The same, once the compiler has said what it is.
fn judge(rustc: &Path, sysroot: &Path, core: Core, about: &str) -> Result<Compiler> {
    let About { version, nightly, llvm } =
        About::parse(about).with_context(|| format!("{} --version --verbose cannot be understood", rustc.display()))?;
    if version < Version::minimum() {
        bail!("it is rustc {version}, older than {}", Version::minimum());
    }
    let beside = rustc.with_file_name("cargo");
    let cargo = if beside.is_file() { beside } else { sysroot.join("bin/cargo") };
    if !cargo.is_file() {
        bail!("it has no cargo");
    }
    Ok(Compiler { cargo, rustc: rustc.to_owned(), sysroot: sysroot.to_owned(), version, nightly, llvm, core })
}

/// The folder that a compiler says it is installed in.
fn sysroot_of(rustc: &Path) -> Result<PathBuf> {
    Ok(PathBuf::from(output(rustc, &["--print", "sysroot"])?.trim_end()))
}

/// What a program prints.
fn output(program: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    environment::clear(&mut command);
    // A proxy must not fetch a toolchain while we only look.
    command.args(arguments).env("RUSTUP_AUTO_INSTALL", "0");
    let output = command.output().with_context(|| format!("{} cannot be run", program.display()))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed something that is not text"))
}

/// What `rustc --version --verbose` tells.
#[derive(Debug, PartialEq, Eq)]
struct About {
    version: Version,
    nightly: bool,
    llvm: u32,
}

impl About {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let release = field("release")?;
        Some(Self {
            version: Version::parse(release)?,
            nightly: release.contains("-nightly") || release.contains("-dev"),
            llvm: field("LLVM version")?.split('.').next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DEBIAN: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                          host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    /// A folder that looks like an installed toolchain.
    fn made_up(files: &[&str]) -> tempfile::TempDir {
        let sysroot = tempfile::tempdir().expect("a folder");
        for file in files.iter().chain(&["bin/cargo", "bin/rustc"]) {
            let path = sysroot.path().join(file);
            fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder can be made");
            fs::write(&path, "").expect("a file can be written");
        }
        sysroot
    }

    /// What is found in that folder if its rustc says that of itself.
    fn found(sysroot: &Path, about: &str) -> Result<Compiler> {
        judge(&sysroot.join("bin/rustc"), sysroot, core_of(sysroot)?, about)
    }

    const CORE: &str = "lib/rustlib/bpfel-unknown-none/lib/libcore-0.rlib";
    const SOURCE: &str = "lib/rustlib/src/rust/library/Cargo.lock";

    #[test]
    fn the_version_of_debians_compiler_is_understood() {
        let version = Version { major: 1, minor: 96 };
        assert_eq!(About::parse(DEBIAN), Some(About { version, nightly: false, llvm: 22 }));
        assert_eq!(About::parse("rustc 1.96.0"), None);
    }

    #[test]
    fn a_toolchain_with_a_prebuilt_core_is_fit() {
        let sysroot = made_up(&[CORE]);
        let compiler = found(sysroot.path(), DEBIAN).expect("it has a core for BPF");
        assert_eq!((compiler.core, compiler.llvm), (Core::Prebuilt, 22));
        assert_eq!(compiler.cargo, sysroot.path().join("bin/cargo"));
    }

    #[test]
    fn a_plain_stable_toolchain_is_not() {
        let reason = found(made_up(&[]).path(), DEBIAN).expect_err("it has no core for BPF");
        assert!(format!("{reason:#}").contains("neither core"), "{reason:#}");
    }

    #[test]
    fn a_toolchain_that_is_too_old_is_not() {
        let old = DEBIAN.replace("release: 1.96.0", "release: 1.63.0");
        let reason = found(made_up(&[CORE]).path(), &old).expect_err("1.63 is older than the workspace wants");
        assert!(format!("{reason:#}").contains("rustc 1.63, older than 1.95"), "{reason:#}");
    }

    #[test]
    fn nightly_with_source_goes_first_then_prebuilt_then_stable_with_source() {
        let nightly = DEBIAN.replace("release: 1.96.0", "release: 1.97.0-nightly");
        let machine = [(SOURCE, DEBIAN), (CORE, DEBIAN), (SOURCE, nightly.as_str())];
        let mut found = machine.map(|(file, about)| found(made_up(&[file]).path(), about).expect("all are fit"));
        found.sort_by_key(Compiler::rank);
        let order: Vec<_> = found.iter().map(|compiler| (compiler.core, compiler.nightly)).collect();
        assert_eq!(order, [(Core::Source, true), (Core::Prebuilt, false), (Core::Source, false)]);
    }

    #[test]
    fn a_named_cargo_must_be_there() {
        let reason = named(Path::new("/nowhere/cargo")).expect_err("there is no such file");
        assert!(format!("{reason:#}").contains("no such file"), "{reason:#}");
    }
}
