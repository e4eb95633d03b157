//! Writes into an object what is known when it is loaded: addresses and numbers that its instructions have room for.
//!
//! The object leaves them open, as undefined symbols, and they are filled in here before aya reads it.
//!
//! - What packets are forwarded by is a map of one element, and so are the places of pins, and nearly always the counters of all
//!   CPUs: that needs no look-up, as the kernel has
//!   an instruction that loads an address in it (`BPF_PSEUDO_MAP_VALUE` of linux/bpf.h). aya uses that for global data only, which
//!   it writes anew whenever an object is loaded.
//! - Numbers need not be read from memory, as global data would have to be.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use aya::maps::MapData;
use lb_common::address::{MacAddr, RaisedMac};
use lb_common::backend::Backend;
use lb_common::counters::{self, Counters, MOST_IN_ONE};
use lb_common::forwarding::{self, Forwarding};
use lb_common::hash;
use lb_common::maps::{COUNTED_CPUS, COUNTERS, FORWARDING, HASH_KEY, HOME, INGRESS, OWN_MAC, PINS_ESTABLISHED};
use lb_common::track::place::{self, PinPlaces};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};

use super::fault::{map_fault, pin_fault};
use super::object::possible_cpus;
use super::specs::BPF_F_MMAPABLE;
use crate::model::Fault;
use crate::reconcile::Station;

/// What an instance of the program knows of the interface that it is for, and how it hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants {
    /// Our MAC on the interface.
    pub own_mac: MacAddr,
    /// The interface's index; 0 for an instance whose packets come in by none that backends are behind.
    pub ingress: u32,
    /// The untagged segment behind the interface, if there is one.
    pub home: Option<u16>,
    /// The key of the flow hash.
    pub hash_key: u64,
}

impl Constants {
    /// Those of an instance for an interface.
    #[must_use]
    pub const fn new(ingress: u32, Station { mac, home }: Station) -> Self {
        Self { own_mac: mac, ingress, home, hash_key: hash::DEFAULT_KEY }
    }

    /// The number that a symbol stands for.
    fn number(&self, symbol: &str) -> Option<u64> {
        match symbol {
            OWN_MAC => Some(RaisedMac::new(self.own_mac).0),
            INGRESS => Some(self.ingress.into()),
            HOME => Some(self.home.map_or(Backend::ON_NONE, Backend::on)),
            HASH_KEY => Some(self.hash_key),
            _ => None,
        }
    }
}

/// A map that the object's instructions name by addresses in its first element.
struct Piece {
    /// The map's name.
    map: &'static str,
    /// Bytes of an element.
    size: usize,
    /// Elements: nearly always one, as the kernel gives no address in others.
    elements: u32,
    /// The element's parts, by the symbol that stands for their address, and how many bytes behind the beginning they are.
    parts: &'static [(&'static str, usize)],
}

/// The maps, with that of the counters in such a shape.
fn pieces((size, elements): (usize, u32)) -> [Piece; 3] {
    let one = |map, size, parts| Piece { map, size, elements: 1, parts };
    [
        one(FORWARDING, size_of::<Forwarding>(), &forwarding::PARTS),
        one(PINS_ESTABLISHED, size_of::<PinPlaces>(), &[(place::SYMBOL, 0)]),
        Piece { map: COUNTERS, size, elements, parts: &[(counters::SYMBOL, 0)] },
    ]
}

/// Bytes of an element of the map of counters, and how many there are, on a host with so many CPUs.
pub(super) const fn shape_of_counters(cpus: usize) -> (usize, u32) {
    let size = size_of::<Counters>();
    if cpus > MOST_IN_ONE { (size, cpus as u32) } else { (size * cpus, 1) }
}

/// How many CPUs have their counters in one element of a map of that shape: all, or none.
const fn counted((size, elements): (usize, u32)) -> u64 {
    if elements == 1 { (size / size_of::<Counters>()) as u64 } else { 0 }
}

/// An object that all is written into. Its instructions name maps by their descriptors, which have to be open until they are
/// loaded.
#[derive(Debug)]
pub struct Bound {
    /// The object.
    pub object: Vec<u8>,
    /// The maps.
    pub maps: Vec<MapData>,
}

impl Bound {
    /// The object, bound to the maps that are pinned in a folder; those that are not there are made.
    ///
    /// # Errors
    /// The kernel refused a map, or it is no object of ours.
    pub fn new(object: &[u8], pins: &Path, constants: Constants) -> Result<Self, Fault> {
        Self::counting(shape_of_counters(possible_cpus()?), object, pins, constants)
    }

    /// The same with a map of counters that has such a shape.
    ///
    /// # Errors
    /// As [`Bound::new`].
    pub(super) fn counting(
        shape: (usize, u32),
        object: &[u8],
        pins: &Path,
        constants: Constants,
    ) -> Result<Self, Fault> {
        let mut maps = Vec::new();
        let mut addresses = BTreeMap::new();
        for piece in &pieces(shape) {
            let map = pinned(&pins.join(piece.map), piece)?;
            let descriptor = map.fd().as_fd().as_raw_fd();
            if piece.elements == 1 {
                addresses.extend(piece.parts.iter().map(|(symbol, part)| (*symbol, (descriptor, *part))));
            }
            maps.push(map);
        }
        // Where each CPU has an element, nobody goes by that address; the kernel wants one of something all the same.
        let anything = addresses.values().next().copied().unwrap_or_default();
        addresses.entry(counters::SYMBOL).or_insert(anything);
        let number = |symbol: &str| match symbol {
            COUNTED_CPUS => Some(counted(shape)),
            _ => constants.number(symbol),
        };
        let mut object = object.to_vec();
        let blanks = blanks(&object).map_err(|error| Fault::internal(format!("the object cannot be read: {error}")))?;
        for Blank { place, symbol } in blanks {
            let filled = object.get_mut(place..).and_then(<[u8]>::first_chunk_mut).and_then(|instruction| {
                match (addresses.get(symbol.as_str()), number(&symbol)) {
                    (Some((descriptor, part)), _) => set_address(instruction, *descriptor, *part),
                    (None, number) => set_number(instruction, number?),
                }
            });
            if filled.is_none() {
                return Err(Fault::internal(format!("{symbol}, at byte {place} of the object, cannot be filled in")));
            }
        }
        Ok(Self { object, maps })
    }
}

/// The map that is pinned there, or a new one.
fn pinned(path: &Path, piece: &Piece) -> Result<MapData, Fault> {
    if path.exists() {
        return MapData::from_pin(path).map_err(map_fault(piece.map, "opened"));
    }
    let array = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    let (key, value) = (size_of::<u32>() as u32, piece.size as u32);
    let map = aya_obj::Map::new_from_params(array, key, value, piece.elements, BPF_F_MMAPABLE);
    let map = MapData::create(map, piece.map, None).map_err(map_fault(piece.map, "made"))?;
    map.pin(path).map_err(|error| pin_fault(path, "made", &std::io::Error::other(error)))?;
    Ok(map)
}

/// An instruction that loads an address or a number that the object leaves open.
struct Blank {
    /// Where it begins in the object.
    place: usize,
    /// What stands for it.
    symbol: String,
}

/// What the object leaves open.
fn blanks(object: &[u8]) -> Result<Vec<Blank>, object::Error> {
    let file = object::File::parse(object)?;
    let mut blanks = Vec::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let start = section.file_range().map_or(0, |(start, _)| start);
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(index)?;
            if symbol.is_undefined() {
                blanks.push(Blank { place: (start + offset) as usize, symbol: symbol.name()?.to_owned() });
            }
        }
    }
    Ok(blanks)
}

/// `BPF_LD | BPF_IMM | BPF_DW` of linux/bpf.h: a load of 64 bits. It is two instructions of 8 bytes: operation, registers, offset,
/// and the lower half; then the upper one.
const LOAD: u8 = 0x18;

/// Makes a load one of an address in the element of a map. Its lower half was the place in the part that begins there. `None` if it
/// is no load.
fn set_address(instruction: &mut [u8; 16], descriptor: i32, part: usize) -> Option<()> {
    const BPF_PSEUDO_MAP_VALUE: u8 = 2;
    let [operation, registers, _, _, lower @ .., _, _, _, _, _, _, _, _] = *instruction;
    let place = i32::try_from(part).ok()?.checked_add(i32::from_le_bytes(lower))?;
    if operation != LOAD {
        return None;
    }
    instruction[1] = registers & 0x0f | BPF_PSEUDO_MAP_VALUE << 4;
    instruction[4..8].copy_from_slice(&descriptor.to_le_bytes());
    instruction[12..].copy_from_slice(&place.to_le_bytes());
    Some(())
}

/// Makes a load one of a number. `None` if it is no load, or one of something beside the number.
fn set_number(instruction: &mut [u8; 16], number: u64) -> Option<()> {
    if instruction[0] != LOAD || instruction[4..8] != [0; 4] {
        return None;
    }
    let number = number.to_le_bytes();
    instruction[4..8].copy_from_slice(&number[..4]);
    instruction[12..].copy_from_slice(&number[4..]);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dataplane::OBJECT;

    #[test]
    fn an_address_in_the_element_is_a_map_and_a_place() {
        let mut instruction = [0x18, 0x07, 0, 0, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0];
        set_address(&mut instruction, 9, 0x0100_0000).expect("a load");
        assert_eq!(instruction, [0x18, 0x27, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x13]);
        assert!(set_address(&mut [0x07; 16], 9, 0).is_none(), "that is an addition");
    }

    #[test]
    fn a_number_is_two_halves() {
        let mut instruction = [0x18, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set_number(&mut instruction, 0x0807_0605_0403_0201).expect("a load");
        assert_eq!(instruction, [0x18, 0x07, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8]);
        assert!(set_number(&mut instruction, 1).is_none(), "that is set");
        assert!(set_number(&mut [0x07; 16], 1).is_none(), "that is an addition");
    }

    #[test]
    fn all_cpus_are_counted_in_one_element_or_each_in_its_own() {
        let size = size_of::<Counters>();
        for (cpus, shape, in_one) in [
            (1, (size, 1), 1),
            (MOST_IN_ONE, (MOST_IN_ONE * size, 1), MOST_IN_ONE),
            (MOST_IN_ONE + 1, (size, MOST_IN_ONE as u32 + 1), 0),
        ] {
            assert_eq!(shape_of_counters(cpus), shape);
            assert_eq!(counted(shape), in_one as u64);
        }
    }

    #[test]
    fn what_the_object_leaves_open_is_all_known_and_all_used() {
        let constants = Constants::new(7, Station { mac: MacAddr([2, 0, 0, 0, 0, 1]), home: Some(3) });
        let open: BTreeSet<String> =
            blanks(OBJECT).expect("the object").into_iter().map(|blank| blank.symbol).collect();
        let parts: BTreeSet<&str> =
            pieces(shape_of_counters(2)).iter().flat_map(|piece| piece.parts).map(|part| part.0).collect();
        let is_number = |symbol: &str| symbol == COUNTED_CPUS || constants.number(symbol).is_some();
        assert!(open.iter().all(|symbol| parts.contains(symbol.as_str()) || is_number(symbol)), "{open:?}");
        assert_eq!(open.len(), parts.len() + 5, "{open:?}");
        assert!(blanks(b"not an object").is_err());
    }
}
