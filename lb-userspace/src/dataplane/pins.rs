//! The places of pins of flows at work, as the agent sees them: [`lb_common::track::place`] says how packets use them.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::Map;
use bytemuck::Zeroable as _;
use lb_common::hash;
use lb_common::limits::PIN_PLACES;
use lb_common::maps::PINS_ESTABLISHED;
use lb_common::track::pin::{Moment, Pin, PinKey, Timing};
use lb_common::track::place::{
    FREE, MOST_PROBES, PinPlace, Sought, WORDS, behind, has_rested, is_published, leads_to_more, next_used, withdrawn,
};

use super::mmap::Mapping;
use crate::model::Fault;

const REACH: usize = 1;

/// The map `PINS_ESTABLISHED`.
pub struct PinTable {
    words: Mapping<AtomicU32>,
    /// As far as was seen, a pin found no place.
    leads_to_more: bool,
}

impl PinTable {
    /// Maps the map `PINS_ESTABLISHED`.
    ///
    /// # Errors
    /// It is another map, or there is no memory.
    pub fn open(map: &Map) -> Result<Self, Fault> {
        let words = Mapping::of_array(map, PINS_ESTABLISHED, 0, PIN_PLACES as usize * size_of::<PinPlace>())?;
        Ok(Self { words, leads_to_more: false })
    }

    /// The pins in these places. Those that packets do not follow, as their flow has another one before them, are taken out, and
    /// places whose time is over that were withdrawn before are given back.
    pub fn look_through(&mut self, places: Range<u32>, now: Moment) -> Vec<(PinKey, Pin)> {
        let mut pins = Vec::new();
        let mut next = places.start;
        while let Some(at) = next_used(self.words.words(), next).filter(|at| *at < places.end) {
            next = at + 1;
            self.leads_to_more |= leads_to_more(self.word(at, REACH).load(Ordering::Acquire));
            let mark = self.mark(at).load(Ordering::Acquire);
            if has_rested(mark, now, Timing::GRACE) {
                self.mark(at).store(FREE, Ordering::Release);
            } else if is_published(mark) {
                let PinPlace { key, pin, .. } = self.place(at);
                if self.places_of(&key).next() == Some(at) {
                    pins.push((key, pin));
                } else {
                    self.withdraw(at, now);
                }
            }
        }
        pins
    }

    /// Takes the pin of a flow out.
    pub fn remove(&self, key: &PinKey, now: Moment) {
        // The one that packets follow goes last.
        let places: Vec<u32> = self.places_of(key).collect();
        places.into_iter().rev().for_each(|at| self.withdraw(at, now));
    }

    /// True if a pin of that flow stands in a place.
    #[must_use]
    pub fn has(&self, key: &PinKey) -> bool {
        self.places_of(key).next().is_some()
    }

    /// True if a pin ever found no place, as far as was seen when the places were looked through.
    #[must_use]
    pub const fn leads_to_more(&self) -> bool {
        self.leads_to_more
    }

    /// Writes a place, whatever stands there; its mark last.
    pub fn write(&self, at: u32, place: &PinPlace) {
        let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(place));
        for (index, word) in words.iter().enumerate().rev() {
            self.word(at, index).store(*word, Ordering::Release);
        }
    }

    /// What stands in a place.
    #[must_use]
    pub fn place(&self, at: u32) -> PinPlace {
        let mut place = PinPlace::zeroed();
        let words: &mut [u32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut place));
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.word(at, index).load(Ordering::Acquire);
        }
        place
    }

    /// All places that have a pin, and what stands there.
    pub fn published(&self) -> impl Iterator<Item = (u32, PinPlace)> {
        let next = |at: &u32| next_used(self.words.words(), at + 1);
        let used = std::iter::successors(next_used(self.words.words(), 0), next);
        used.map(|at| (at, self.place(at))).filter(|(_, place)| is_published(place.mark))
    }

    /// The places where a flow's pin stands, the one first that packets follow.
    pub fn places_of(&self, key: &PinKey) -> impl Iterator<Item = u32> {
        let sought = Sought::new(hash::flow(hash::DEFAULT_KEY, &key.flow()));
        let places = (0..MOST_PROBES).map(move |probe| behind(sought.home, probe));
        places.filter(move |at| self.mark(*at).load(Ordering::Acquire) == sought.mark && self.place(*at).key == *key)
    }

    fn withdraw(&self, at: u32, now: Moment) {
        self.mark(at).store(withdrawn(now), Ordering::Release);
    }

    fn mark(&self, at: u32) -> &AtomicU32 {
        self.word(at, 0)
    }

    fn word(&self, at: u32, index: usize) -> &AtomicU32 {
        &self.words.words()[at as usize * WORDS + index]
    }
}
