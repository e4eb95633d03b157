//! No data plane: what `drlb agent --data-plane off` runs on. Nothing is forwarded, and nothing is asked of the kernel.

use std::collections::BTreeMap;

use lb_common::outcome::{Counter, Outcome, Refused};
use lb_common::session::{Session, SessionKey};
use lb_common::track::pin::{Moment, Pin, PinKey, Table};

use crate::model::Fault;
use crate::reconcile::{Attached, Batch, Change, DataPlane, Held, LinkChange, Sizes};

/// A data plane that has no maps and is attached nowhere.
pub(super) struct Idle;

fn off() -> Fault {
    Fault::unavailable("this agent runs without a data plane; start it without `--data-plane off` to forward packets")
}

impl DataPlane for Idle {
    fn read(&mut self) -> Result<Held, Fault> {
        Ok(Held::empty(Sizes { slots: 0, places: 0, listeners: 0, segments: 0, allowed: 0 }))
    }

    fn attached(&mut self) -> Result<BTreeMap<String, Attached>, Fault> {
        Ok(BTreeMap::new())
    }

    fn change(&mut self, _change: &Change) -> Result<(), Fault> {
        Err(off())
    }

    fn link(&mut self, _change: &LinkChange) -> Result<Option<Attached>, Fault> {
        Err(off())
    }

    fn interface_exists(&self, _name: &str) -> bool {
        false
    }

    fn listener_counter(&self, _id: u32) -> Result<Counter, Fault> {
        Ok(Counter::default())
    }

    fn listener_refusals(&self, _id: u32) -> Result<Refused, Fault> {
        Ok(Refused::default())
    }

    fn backend_counter(&self, _place: u32) -> Result<Counter, Fault> {
        Ok(Counter::default())
    }

    fn outcome_counter(&self, _outcome: Outcome) -> Result<Counter, Fault> {
        Ok(Counter::default())
    }

    fn now(&self) -> Moment {
        Moment::default()
    }

    fn pins(&mut self, _table: Table, _from: Option<u32>) -> Result<Batch<PinKey, Pin>, Fault> {
        Ok((Vec::new(), None))
    }

    fn remove_pins(&mut self, _table: Table, _keys: &[PinKey]) -> Result<(), Fault> {
        Ok(())
    }

    fn sessions(&mut self, _from: Option<u32>) -> Result<Batch<SessionKey, Session>, Fault> {
        Ok((Vec::new(), None))
    }

    fn remove_sessions(&mut self, _keys: &[SessionKey]) -> Result<(), Fault> {
        Ok(())
    }

    fn set_flows(&mut self, _place: u32, _flows: u32) {}

    fn set_listener_flows(&mut self, _id: u32, _flows: u64) {}

    fn listener_flows(&self, _id: u32) -> u64 {
        0
    }

    fn pin_overflows(&self) -> Result<u64, Fault> {
        Ok(0)
    }

    fn pins_are_crowded(&self) -> bool {
        false
    }

    fn mark_pins_crowded(&mut self, _crowded: bool) {}

    fn remove_maps(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
