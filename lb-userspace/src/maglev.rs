//! Lookup tables by Maglev hashing with weights (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016, section 3.4).
//!
//! Each backend has its own order of preference over the slots, `(offset + j × skip) mod slots`, which only its address
//! decides. Backends take turns; in its turn a backend takes the first free slot of its order, until all are taken. So
//! the shares are even, and a backend that goes or comes moves few slots of the others.
//!
//! The paper has one turn a round for everyone. Here a backend of weight `w` has its `k`-th turn in round
//! `⌈(k − ½) × W / w⌉`, where `W` is the highest weight: the heaviest backends play every round, the others in
//! proportion, and the half centres the rounding, so that light backends are not late. Equal weights give the paper's
//! table. Within a round the order is that of the addresses, so that the table does not
//! depend on the order in which backends were added.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use lb_common::address::Address;
use lb_common::hash;
use lb_common::slot::NO_BACKEND;

// Keys of the two hashes of an address. Any two numbers serve; all balancers must have the same, so they never change.
const OFFSET_KEY: u64 = 0x6d61_676c_6576_2d6f;
const SKIP_KEY: u64 = 0x6d61_676c_6576_2d73;

/// How a backend walks over the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The first slot, below the number of slots.
    pub offset: u32,
    /// The step, above 0 and below the number of slots.
    pub skip: u32,
    /// How many turns it has, in proportion to the others; 0 for none.
    pub weight: u16,
}

impl Walk {
    /// The walk of a backend over `slots` slots.
    #[must_use]
    pub fn of(address: &Address, weight: u16, slots: u32) -> Self {
        let octets = address.octets();
        let below = |key, count: u32| (hash::bytes(key, &octets) % u64::from(count)) as u32;
        Self { offset: below(OFFSET_KEY, slots), skip: below(SKIP_KEY, slots - 1) + 1, weight }
    }
}

/// The lookup table of a pool: for each slot, the index in `backends` of the one that has it.
///
/// The same backends give the same table in whatever order they come, up to the indexes. Without a backend of a weight
/// above 0, all slots are [`NO_BACKEND`]. `slots` must be a prime, and the addresses must differ; both are checked
/// where a user gives them.
#[must_use]
pub fn table(backends: &[(Address, u16)], slots: u32) -> Vec<u16> {
    let mut order: Vec<usize> = (0..backends.len()).collect();
    order.sort_unstable_by_key(|&index| backends[index].0.octets());
    let walks: Vec<_> = order.iter().map(|&index| Walk::of(&backends[index].0, backends[index].1, slots)).collect();
    let mut table = fill(&walks, slots);
    for slot in &mut table {
        if *slot != NO_BACKEND {
            *slot = order[usize::from(*slot)] as u16;
        }
    }
    table
}

/// Fills a table by the walks of its backends, which take turns in the order given: for each slot, the index of the
/// walk that has it. See [`table`].
#[must_use]
pub fn fill(walks: &[Walk], slots: u32) -> Vec<u16> {
    let mut filling = Filling::new(slots);
    let heaviest = walks.iter().map(|walk| walk.weight).max().unwrap_or(0);
    let mut players: Vec<_> = (walks.iter().enumerate())
        .filter(|(_, walk)| walk.weight > 0)
        .map(|(index, walk)| Player { index: index as u16, next: walk.offset, turns: 0, walk: *walk })
        .collect();
    if players.iter().all(|player| player.walk.weight == heaviest) {
        // Everyone plays every round: there is no need to find out who is next.
        while filling.free > 0 && !players.is_empty() {
            players.iter_mut().take(filling.free as usize).for_each(|player| filling.play(player));
        }
        return filling.table;
    }
    // Who plays next: the round and the index, the smallest first. A heap, so that a light backend costs nothing in the
    // rounds that it sits out.
    let mut turns: BinaryHeap<_> =
        (players.iter_mut().enumerate()).map(|(index, player)| Reverse((player.next_round(heaviest), index))).collect();
    while filling.free > 0 {
        let Some(mut turn) = turns.peek_mut() else { break };
        let Reverse((round, index)) = &mut *turn;
        let player = &mut players[*index];
        filling.play(player);
        *round = player.next_round(heaviest);
        drop::<PeekMut<'_, _>>(turn);
    }
    filling.table
}

struct Player {
    /// Whose walk it is.
    index: u16,
    walk: Walk,
    /// The next slot of its walk.
    next: u32,
    /// Turns that have a round.
    turns: u64,
}

impl Player {
    /// The round of its next turn: of its `k`-th turn, `⌈(k − ½) × heaviest / weight⌉`.
    fn next_round(&mut self, heaviest: u16) -> u64 {
        self.turns += 1;
        ((2 * self.turns - 1) * u64::from(heaviest)).div_ceil(2 * u64::from(self.walk.weight))
    }
}

/// A table that is being filled.
struct Filling {
    table: Vec<u16>,
    /// A bit for each slot that is taken: most steps of a walk look at this alone, and it stays in the nearest cache.
    taken: Vec<u64>,
    /// How many slots are not.
    free: u32,
}

impl Filling {
    fn new(slots: u32) -> Self {
        let count = slots as usize;
        Self { table: vec![NO_BACKEND; count], taken: vec![0; count.div_ceil(64)], free: slots }
    }

    /// A player takes the first free slot of its walk. There is one: a walk over a prime number of slots meets them all.
    fn play(&mut self, player: &mut Player) {
        let slots = self.table.len() as u32;
        loop {
            let slot = player.next as usize;
            player.next += player.walk.skip;
            if player.next >= slots {
                player.next -= slots;
            }
            let (word, bit) = (&mut self.taken[slot / 64], 1 << (slot % 64));
            if *word & bit == 0 {
                *word |= bit;
                self.table[slot] = player.index;
                self.free -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "maglev_tests.rs"]
mod tests;
