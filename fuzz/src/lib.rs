//! What must hold for any bytes that come in as a packet: the targets of fuzzing, over the host build of the XDP program's
//! own source.
//!
//! `cargo test` runs them over the seed corpora in `fuzz/corpus` and a bounded number of mutations of these. `cargo xtask fuzz`
//! hands them to libFuzzer, which looks for new ways through the code.
#![deny(unsafe_code)]

mod tables;

use lb_common::outcome::Outcome;
use lb_ebpf::finish::Verdict;
use lb_ebpf::host::HostTables;
use lb_ebpf::known::Known;
use lb_ebpf::packet::Packet;
use lb_ebpf::pipeline;

pub use tables::{OWN_MAC, VIP, VIP6, tables};

/// Room before a packet, as the kernel leaves it.
const HEADROOM: usize = 256;
/// Longest packet that makes sense: what an Ethernet frame of IPv4 can hold.
const LONGEST: usize = 65_549;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The verdict.
    pub verdict: Verdict,
    /// How it was counted.
    pub outcome: Outcome,
    /// The packet as it is now.
    pub packet: Vec<u8>,
}

/// Takes a packet through the pipeline.
///
/// # Panics
/// If it is not counted once, with its length.
#[must_use]
pub fn run(packet: &[u8], tables: &HostTables) -> Fate {
    *tables.counters.borrow_mut() = Default::default();
    let mut bytes = vec![0; HEADROOM];
    bytes.extend_from_slice(packet);
    let mut host = Packet::with_headroom(&mut bytes, HEADROOM);
    let verdict = pipeline::run(&mut host, &mut { Known::NOTHING }, tables);
    let counters = tables.counters.borrow();
    let counted: Vec<_> = counters.outcomes.iter().collect();
    let [(&outcome, counter)] = counted[..] else { panic!("one packet was counted as {counted:?}") };
    assert_eq!((counter.packets, counter.bytes), (1, packet.len() as u64), "{outcome:?}");
    Fate { verdict, outcome, packet: host.bytes().to_vec() }
}

/// The IP packet in a frame with up to two tags, found without the code that is tried: where it begins and whom it is for.
fn addressee(frame: &[u8]) -> Option<(usize, &[u8])> {
    let mut at = 12;
    for _ in 0..2 {
        if matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
            at += 4;
        }
    }
    match frame.get(at..at + 2)? {
        [0x08, 0x00] => Some((at + 2, frame.get(at + 18..at + 22)?)),
        [0x86, 0xdd] => Some((at + 2, frame.get(at + 26..at + 42)?)),
        _ => None,
    }
}

/// Any bytes as a frame: what is not for a VIP is left as it is, what is sent to a backend keeps everything from its IP
/// header on, and what is dropped is for a VIP.
///
/// # Panics
/// If that does not hold.
pub fn parse(frame: &[u8], tables: &HostTables) {
    if frame.len() > LONGEST {
        return;
    }
    let fate = run(frame, tables);
    let for_a_vip = addressee(frame).is_some_and(|(_, address)| address == VIP || address == VIP6);
    match fate.verdict {
        Verdict::PASS => assert_eq!(fate.packet, frame, "passed, and changed"),
        Verdict::DROP => {
            assert_eq!(fate.packet, frame, "dropped, and changed");
            assert!(for_a_vip, "dropped as {:?}, and for no VIP", fate.outcome);
        }
        Verdict::PROBE => panic!("there are no probes here"),
        Verdict::TRANSMIT if !matches!(fate.outcome, Outcome::Forwarded) => {
            assert_eq!(fate.packet.len(), frame.len(), "an answer of another length");
        }
        _ => {
            assert!(for_a_vip, "sent on, and for no VIP");
            let (before, after) = (addressee(frame), addressee(&fate.packet));
            let (Some((before, _)), Some((after, _))) = (before, after) else { panic!("sent on, and no IP") };
            assert_eq!(frame[before..], fate.packet[after..], "sent on, and changed from the IP header on");
        }
    }
}

/// Any bytes as the packet that an ICMP error quotes: the error goes where the flow of that packet goes, or nowhere.
///
/// # Panics
/// If that does not hold, or what holds for any frame.
pub fn quoted(packet: &[u8], tables: &HostTables) {
    if packet.len() > LONGEST - 62 {
        return;
    }
    for v4 in [true, false] {
        let error = tables::error(v4, packet);
        parse(&error, tables);
        let fate = run(&error, tables);
        assert_ne!(fate.outcome, Outcome::EchoReply, "an error was answered");
        let Some(flow) = tables::flow_of(v4, packet) else { continue };
        let expected = run(&flow, tables);
        assert_eq!(fate.verdict, expected.verdict, "the error and its flow");
        assert_eq!(fate.packet[..12], expected.packet[..12], "the error goes to another backend than its flow");
    }
}
