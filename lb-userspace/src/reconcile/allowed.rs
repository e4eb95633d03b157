//! The regions of allow-lists: which are held, which are free, and where a listener's list goes.
//!
//! A list is never changed in place. The new one is written into a region that no listener has, and then the listener goes
//! over to it in one update, so that a packet sees the old list or the new one. The old region is given to nobody before the
//! packets are through that may still read it.

use std::collections::BTreeMap;

use lb_common::allow::HEADER;
use lb_common::listener::Listener;
use lb_common::track::pin::{Moment, Timing};

use super::change::Change;
use super::held::Held;
use super::listeners::{ALLOWED_ALIGN, allowed_region};
use super::regions::{Overlay, Regions};
use crate::allow::{PrefixBits, Trie, build};
use crate::model::{self, AllowList, Fault, fingerprint};

/// What is known of the map of allow-lists.
#[derive(Clone, Debug, Default)]
pub struct AllowLists {
    /// The lists' fingerprints, by the first words of their regions. A damaged one is not among them.
    intact: BTreeMap<u32, u64>,
    /// Regions that listeners left: first word, length, and since when.
    left: Vec<(u32, u32, Moment)>,
    now: Moment,
}

impl AllowLists {
    /// Hears what time it is. Regions that were left long enough ago are free.
    pub(super) fn tell_time(&mut self, now: Moment) {
        self.now = now;
        self.left.retain(|(_, _, since)| now.since(*since) <= Timing::GRACE);
    }

    /// Hears what stands in a region: all of it, or its beginning.
    pub(super) fn saw(&mut self, base: u32, words: &[u64]) {
        match words {
            [list, sum, trie @ ..] if *sum == fingerprint(trie.iter().copied()) => self.intact.insert(base, *list),
            _ => self.intact.remove(&base),
        };
    }

    /// Hears that a listener has another value, or none.
    pub(super) fn listener_changed(&mut self, before: Option<&Listener>, after: Option<&Listener>) {
        let region =
            |listener: &Listener| (listener.allow_len > 0).then_some((listener.allow_base, listener.allow_len));
        let (before, after) = (before.and_then(region), after.and_then(region));
        if let Some((base, len)) = before
            && before != after
        {
            self.intact.remove(&base);
            self.left.push((base, len, self.now));
        }
    }

    /// Regions that packets may still read though no listener has them.
    pub(super) fn left(&self) -> impl Iterator<Item = (u32, u32)> {
        self.left.iter().map(|(base, len, _)| (*base, *len))
    }

    /// Takes over what does not stand in the maps.
    pub(super) fn remember(&mut self, older: &Self) {
        self.left.clone_from(&older.left);
        self.now = older.now;
    }
}

/// A region and what the listener says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Guard {
    base: u32,
    len: u32,
    from: u8,
    bits: u8,
}

impl Guard {
    /// A listener with this list.
    pub(super) const fn of(self, listener: Listener) -> Listener {
        let Self { base, len, from, bits } = self;
        let allow = if len > 0 { Listener::GUARD_ALLOW } else { 0 };
        let guards = listener.guards & !Listener::GUARD_ALLOW | allow;
        Listener { guards, allow_base: base, allow_len: len, allow_from: from, allow_bits: bits, ..listener }
    }
}

/// Plans the lists of one listener after the other, and hands out regions.
pub(super) struct AllowPlanner<'a> {
    held: &'a Held,
    /// Regions that a listener of this plan keeps: no two may claim the same.
    kept: Regions,
    /// Regions that are taken, before or by this plan; made when first needed.
    taken: Option<Overlay<'a>>,
}

impl<'a> AllowPlanner<'a> {
    pub(super) fn new(held: &'a Held) -> Self {
        Self { held, kept: Regions::new(held.sizes.allowed), taken: None }
    }

    /// Where a listener's list is, and what to write for that first.
    pub(super) fn plan(&mut self, listener: &model::Listener) -> Result<(Guard, Option<Change>), Fault> {
        let list = &listener.allowed;
        if list.is_empty() {
            return Ok((Guard::default(), None));
        }
        let held = self.held.listeners.get(&listener.key());
        let is_there = |held: &&Listener| self.held.allowed.intact.get(&held.allow_base) == Some(&list.fingerprint());
        if let Some(held) = held.filter(|held| held.allow_len > 0).filter(is_there)
            && self.kept.claim(held.allow_base, held.allow_len)
        {
            let Listener { allow_base: base, allow_len: len, allow_from: from, allow_bits: bits, .. } = *held;
            return Ok((Guard { base, len, from, bits }, None));
        }
        let Trie { from, bits, mut words } = trie_of(list);
        words[0] = list.fingerprint();
        words[1] = fingerprint(words[HEADER as usize..].iter().copied());
        let len = words.len() as u32;
        let held = self.held;
        let taken = self.taken.get_or_insert_with(|| taken(held));
        let base = taken.allocate(allowed_region(len), ALLOWED_ALIGN).ok_or_else(|| {
            Fault::unavailable(format!(
                "there is no room of one piece for the allow-list of listener `{}`, which takes {len} words of {}; shorten \
                 allow-lists, or try again in some seconds if one was replaced just now",
                listener.name, self.held.sizes.allowed
            ))
        })?;
        Ok((Guard { base, len, from, bits }, Some(Change::WriteAllowed { base, words })))
    }
}

fn taken(held: &Held) -> Overlay<'_> {
    let mut taken = held.listeners.allowed();
    for (base, len) in held.allowed.left() {
        taken.cover(base, allowed_region(len));
    }
    taken
}

fn trie_of(list: &AllowList) -> Trie {
    let prefix = |prefix: &model::Prefix| {
        let bits = lb_common::allow::Bits::of(&prefix.address().into());
        PrefixBits { bits, length: prefix.length() }
    };
    build(list.prefixes().iter().map(prefix).collect())
}
