//! The targets of fuzzing over the seed corpora, and over a bounded number of mutations of these. libFuzzer finds more
//! (`cargo xtask fuzz`); this shows in seconds, with the stable compiler, that nothing that is known comes back.

use std::fs;
use std::path::Path;

use drlb_fuzz::{parse, quoted, tables};
use lb_ebpf::host::HostTables;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestRunner};

const MUTATIONS: u32 = 50_000;
const SEED: u64 = 0x6675_7a7a;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).expect("the corpus is there");
    let mut seeds: Vec<_> = files.map(|file| fs::read(file.expect("a file").path()).expect("its bytes")).collect();
    seeds.sort();
    assert!(seeds.len() >= 10, "{} has {} seeds", folder.display(), seeds.len());
    seeds
}

/// A change of some bytes, as a fuzzer makes them.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Double(Index, Index),
    Insert(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![any::<u8>(), select(vec![0, 1, 4, 6, 17, 44, 58, 60, 132, 255_u8])];
    prop_oneof![
        4 => (any::<Index>(), byte).prop_map(|(at, byte)| Change::Set(at, byte)),
        3 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Double(from, to)),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, new)| Change::Insert(at, new)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match change {
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Double(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, piece);
            }
            Change::Insert(at, new) => {
                let at = at.index(length);
                bytes.splice(at..at, new.iter().copied());
            }
        }
    }
    bytes
}

fn try_out(target: &str, run: impl Fn(&[u8], &HostTables)) {
    let seeds = corpus(target);
    let tables = tables();
    for seed in &seeds {
        run(seed, &tables);
    }
    let config =
        Config { cases: MUTATIONS, rng_seed: RngSeed::Fixed(SEED), failure_persistence: None, ..Config::default() };
    let input =
        (select(seeds), prop::collection::vec(change(), 1..6)).prop_map(|(seed, changes)| changed(seed, &changes));
    let outcome = TestRunner::new(config).run(&input, |bytes| {
        run(&bytes, &tables);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn any_bytes_as_a_frame() {
    try_out("parse", parse);
}

#[test]
fn any_bytes_as_a_quoted_packet() {
    try_out("quoted", quoted);
}
