//! The steps of a sweep.

use std::collections::HashSet;

use lb_common::session::{Session, SessionKey};
use lb_common::track::pin::{Moment, PinKey, Table};

use super::{Found, Step, Tracker};
use crate::model::Fault;
use crate::reconcile::{DataPlane, Held};

/// Where a sweep is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// First the young pins, then the established ones, the way that pins go.
    Pins(Table),
    Sessions,
    /// One pool after the other.
    Pools,
}

/// A sweep that is under way.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) began: Moment,
    stage: Stage,
    /// Where in the map the next batch begins.
    from: Option<u32>,
    /// Pools that were there when it began, and are to be finished.
    pools: Vec<u32>,
    pub(super) found: Found,
    /// Flows whose young pin it left.
    young: HashSet<PinKey>,
}

impl Sweep {
    pub(super) fn new(began: Moment, pools: Vec<u32>) -> Self {
        Self {
            began,
            stage: Stage::Pins(Table::Young),
            from: None,
            pools,
            found: Found::default(),
            young: HashSet::new(),
        }
    }

    /// Takes one step.
    pub(super) fn step(
        &mut self,
        tracker: &mut Tracker,
        plane: &mut dyn DataPlane,
        held: &Held,
        now: Moment,
    ) -> Result<Step, Fault> {
        match self.stage {
            Stage::Pins(table) => {
                self.pins(table, tracker, plane, now)?;
                if self.from.is_none() {
                    self.stage = if table == Table::Young { Stage::Pins(Table::Established) } else { Stage::Sessions };
                }
                Ok(Step::default())
            }
            Stage::Sessions => {
                self.sessions(tracker, plane, now)?;
                if self.from.is_none() {
                    self.stage = Stage::Pools;
                    tracker.judge_crowding(plane, self.found, now);
                }
                Ok(Step::default())
            }
            Stage::Pools => {
                let mut step = match self.pools.pop() {
                    Some(number) => tracker.finish(number, self.began, plane, held, now)?,
                    None => Step::default(),
                };
                step.last = self.pools.is_empty();
                Ok(step)
            }
        }
    }

    fn pins(
        &mut self,
        table: Table,
        tracker: &mut Tracker,
        plane: &mut dyn DataPlane,
        now: Moment,
    ) -> Result<(), Fault> {
        let (batch, next) = plane.pins(table, self.from)?;
        let mut done = Vec::new();
        let mut superseded = Vec::new();
        for (key, pin) in batch {
            let began = self.began;
            if table == Table::Established && self.young.remove(&key) {
                superseded.push(key);
            }
            // Of a pool that is gone nobody looks for pins.
            if tracker.pools.get_mut(&key.pool()).is_none_or(|pool| pool.judge(&key, &pin, began, now)) {
                done.push(key);
            } else {
                *self.found.of(table) += 1;
                if table == Table::Young {
                    self.young.insert(key);
                }
            }
        }
        // A young pin behind an established one goes first, so that it does not come to light when that one goes.
        self.found.young -= superseded.len() as u64;
        plane.remove_pins(Table::Young, &superseded)?;
        tracker.leftovers |= !done.is_empty();
        plane.remove_pins(table, &done)?;
        self.from = next;
        Ok(())
    }

    fn sessions(&mut self, tracker: &mut Tracker, plane: &mut dyn DataPlane, now: Moment) -> Result<(), Fault> {
        let (batch, next) = plane.sessions(self.from)?;
        let mut done = Vec::new();
        for (key, session) in batch {
            if is_over(tracker, &key, &session, now) {
                done.push(key);
            } else {
                self.found.sessions += 1;
            }
        }
        plane.remove_sessions(&done)?;
        self.from = next;
        Ok(())
    }
}

/// True if a session can be removed: its time is over, its pool has no persistence, or its backend is gone.
fn is_over(tracker: &mut Tracker, key: &SessionKey, session: &Session, now: Moment) -> bool {
    let Some(pool) = tracker.pools.get_mut(&key.pool) else { return true };
    let vacant = pool.vacant.contains_key(&session.backend);
    if vacant {
        pool.counts.entry(session.backend).or_default().named += 1;
    }
    vacant || pool.session.is_none_or(|lasts| now.since(session.seen) > lasts)
}
