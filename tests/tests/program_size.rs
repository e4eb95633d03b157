//! How large the XDP program is, and what the kernel's verifier goes through to accept it, against the committed
//! `docs/program-size.json`: who changes the one sees the other change in the same commit.

use std::fs;

use drlb_tests::program::Program;
use drlb_tests::sample;
use serde::{Deserialize, Serialize};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/program-size.json");
/// What an object's debug information says of the compiler begins so.
const COMPILER: &[u8] = b"rustc version ";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Size {
    /// The program's instructions, with those of its subprograms.
    instructions: u32,
    /// Instructions that the verifier processed.
    verified: u32,
    /// What made the program.
    compiler: String,
    /// What verified it: the kernel's version, without what its distribution adds.
    kernel: String,
}

/// The compiler's version, as `1.96.0`.
fn compiler(object: &[u8]) -> String {
    let at = object.windows(COMPILER.len()).position(|bytes| bytes == COMPILER).expect("the object names its compiler");
    let version = object[at + COMPILER.len()..].iter().take_while(|byte| !matches!(byte, b' ' | b')' | 0));
    String::from_utf8(version.copied().collect()).expect("a version")
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's version");
    release.trim().split('-').next().unwrap_or_default().to_owned()
}

/// Half of the instructions that the kernel's verifier goes through before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS` in its
/// include/linux/bpf.h).
const ROOM: u32 = 500_000;

/// To write it anew: `DRLB_WRITE_SIZE=1 cargo xtask test size_is_what`.
#[test]
fn the_programs_size_is_what_the_committed_file_says() {
    let mut program = Program::load(&sample::tables()).expect("the program loads");
    let size = Size {
        instructions: program.instructions().expect("its instructions"),
        verified: program.verified_instructions().expect("its verified instructions"),
        compiler: compiler(lb_userspace::dataplane::OBJECT),
        kernel: kernel(),
    };
    if std::env::var_os("DRLB_WRITE_SIZE").is_some() {
        let text = serde_json::to_string_pretty(&size).expect("JSON");
        fs::write(FILE, text + "\n").expect("docs/program-size.json can be written");
    }
    let committed = fs::read_to_string(FILE).expect("docs/program-size.json is there");
    let committed: Size = serde_json::from_str(&committed).expect("docs/program-size.json is such a size");
    // Another compiler makes another program, and another kernel proves it in another way: there is room for both.
    assert!(size.verified < ROOM, "{size:?} leaves little room for other compilers and kernels");
    if size.compiler == committed.compiler {
        assert_eq!(size.instructions, committed.instructions, "write docs/program-size.json anew: {size:?}");
    }
    if size.compiler == committed.compiler && size.kernel == committed.kernel {
        assert_eq!(size.verified, committed.verified, "write docs/program-size.json anew: {size:?}");
    }
}
