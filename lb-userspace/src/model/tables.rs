//! How large lookup tables are, and how much room there is for them.

use lb_common::limits;
use lb_common::slot::Slot;

use super::check::slots_region;
use super::fault::Fault;
use super::primes::{is_prime, nearest_prime};

/// Sizes of lookup tables: settings of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Slots of all lookup tables together. They take 4 bytes each of the kernel's memory, used or not.
    pub room: u32,
    /// Slots of the table of a listener that does not say: a prime.
    pub slots: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self { room: limits::MAX_SLOTS, slots: limits::DEFAULT_SLOTS }
    }
}

impl Tables {
    /// Bytes of a slot in the kernel's memory.
    const BYTES_OF_SLOT: u32 = size_of::<Slot>() as u32;

    /// Room for at most so many tables of the default size: 1.1 GB.
    pub const MOST: u32 = 4_096;

    /// Room for so many tables of the default size, and tables of so many slots; as it is by default where it is not set.
    ///
    /// # Errors
    /// There cannot be so many, or no table of that size.
    pub fn new(room: Option<u32>, slots: Option<u32>) -> Result<Self, Fault> {
        let mut tables = Self::default();
        if let Some(room) = room {
            if !(1..=Self::MOST).contains(&room) {
                return Err(Fault::invalid(format!(
                    "there cannot be room for {room} lookup tables; give 1 to {}, of {} bytes each",
                    Self::MOST,
                    slots_region(limits::DEFAULT_SLOTS) * Self::BYTES_OF_SLOT
                )));
            }
            tables.room = room * slots_region(limits::DEFAULT_SLOTS);
        }
        if let Some(slots) = slots {
            let nearest = nearest_prime(slots, limits::LARGEST_SLOTS);
            if slots > limits::LARGEST_SLOTS || !is_prime(slots) {
                return Err(Fault::invalid(format!(
                    "a lookup table cannot have {slots} slots: its size is a prime, at most {}; the nearest is {nearest}",
                    nearest_prime(limits::LARGEST_SLOTS, limits::LARGEST_SLOTS)
                )));
            }
            tables.slots = slots;
        }
        Ok(tables)
    }
}
