//! What the engine tells of to the log of events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::core::Core;
use crate::events::limits::Rising;
use crate::events::{EventKind, EventLog, News, health, network};
use crate::health::{CheckKey, HealthView, Standing};
use crate::model::{BackendAddr, Fault, Name};
use crate::neighbour::NetworkView;
use crate::octavia::catalogue::Catalogue;
use crate::octavia::schema::Kind;
use crate::reconcile::{Attached, LinkChange};

/// The log, and what is known so that only news are told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) log: EventLog,
    /// Interfaces that the program ran on and runs on no more, without anybody having asked for that.
    lost: BTreeSet<String>,
    /// Why interfaces could not be attached, as it was told last.
    failed: BTreeMap<String, String>,
    rising: Rising<Counted>,
}

/// A counter that should stand still.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    /// Pins that there was no room for.
    Pins,
    /// New flows that a listener refused because their sources began too many.
    NewFlows(Name),
    /// Flows that a listener refused because it has too many.
    Flows(Name),
}

impl Core {
    /// Tells what happened to links and neighbours.
    pub(super) fn tell_network(&self, before: Option<&NetworkView>, after: &NetworkView) {
        self.told.log.tell_all(network::changes(&self.desired, before, after));
    }

    /// Tells what happened to the backends by their health checks.
    pub(super) fn tell_standings(
        &self,
        stood: impl Fn(&CheckKey) -> Option<Standing>,
        before: &HealthView,
        after: &HealthView,
    ) {
        self.told.log.tell_all(health::changes(&self.desired, stood, before, after));
    }

    /// Tells what became of a change of where the program runs.
    pub(super) fn tell_link(&mut self, change: &LinkChange, done: Result<Option<&Attached>, &Fault>) {
        let name = change.interface();
        let attached = match done {
            Err(fault) => {
                // It is tried again and again; that is no news.
                if self.told.failed.get(name) != Some(&fault.message) {
                    self.told.failed.insert(name.to_owned(), fault.message.clone());
                    self.told.log.tell(News::new(EventKind::XdpFailed, &fault.message).on(name));
                }
                return;
            }
            Ok(attached) => attached,
        };
        self.told.failed.remove(name);
        let mode = attached.map_or("no", |attached| attached.mode.name());
        let (kind, text) = match change {
            LinkChange::Attach { .. } if self.told.lost.remove(name) => {
                (EventKind::XdpReattached, format!("the program is attached to {name} again, in {mode} mode"))
            }
            LinkChange::Attach { .. } => {
                (EventKind::XdpAttached, format!("the program is attached to {name}, in {mode} mode"))
            }
            LinkChange::Renew { .. } => {
                (EventKind::XdpRenewed, format!("the program on {name} was replaced in place by this agent's"))
            }
            LinkChange::Detach { .. } if self.desired.interfaces.contains_key(name) => {
                self.told.lost.insert(name.to_owned());
                (EventKind::XdpDetached, format!("the program is detached from what was {name}"))
            }
            LinkChange::Detach { .. } => (EventKind::XdpDetached, format!("the program is detached from {name}")),
        };
        self.told.log.tell(News::new(kind, text).on(name));
    }

    /// Tells on which interfaces the program does not run any more though nobody took it off: they are gone.
    pub(super) fn tell_gone(&mut self, before: &BTreeMap<String, Attached>) {
        for name in before.keys().filter(|name| !self.held.attached.contains_key(*name)) {
            let text = format!("the program runs on {name} no more: the interface is gone");
            self.told.log.tell(News::new(EventKind::XdpDetached, text).on(name));
            self.told.lost.insert(name.clone());
        }
    }

    /// Tells that a backend has drained.
    pub(super) fn tell_drained(&self, pool: &Name, address: BackendAddr) {
        let news = News::new(EventKind::BackendDrained, format!("backend {address} of `{pool}` has drained"));
        self.told.log.tell(news.of_backend(address).of_listeners(self.desired.listeners_of(pool)));
    }

    /// Tells which load balancers of the API went to ERROR, given those that were there before, or came back.
    pub(super) fn tell_errors(&self, before: &BTreeMap<String, String>) {
        let catalogue = &self.openstack.catalogue;
        let named = |id: &str| match catalogue.get(Kind::LoadBalancer, id).map(|object| object.text("name")) {
            Some(name) if !name.is_empty() => format!("load balancer {id} ({name})"),
            _ => format!("load balancer {id}"),
        };
        let tell = |kind, id: &str, text: String| {
            self.told.log.tell(News { object: Some(id.to_owned()), ..News::new(kind, text) });
        };
        for (id, reason) in catalogue.errors().iter().filter(|(id, reason)| before.get(*id) != Some(*reason)) {
            tell(EventKind::OpenstackError, id, format!("{} went to ERROR: {reason}", named(id)));
        }
        for id in before.keys().filter(|id| is_well(catalogue, id)) {
            tell(EventKind::OpenstackRecovered, id, format!("{} is ACTIVE again", named(id)));
        }
    }

    /// Looks whether flows were refused, or there was no room to remember them.
    pub(super) fn look_at_limits(&mut self, now: Duration) {
        // A counter that cannot be read says nothing; what is wrong with the maps, the next comparison tells.
        if let Ok(overflows) = self.plane.pin_overflows()
            && let Some(rise) = self.told.rising.look(&Counted::Pins, overflows, now)
        {
            let text =
                format!("{rise} flows at work could not be remembered for want of room; such may get another backend");
            self.told.log.tell(News::new(EventKind::PinsOverflow, text));
        }
        let is_limited = |name: &Name| {
            let listener = self.desired.listeners.get(name);
            listener.is_some_and(|listener| listener.source_rate.is_some() || listener.max_flows.is_some())
        };
        self.told.rising.retain(|counted| match counted {
            Counted::Pins => true,
            Counted::NewFlows(name) | Counted::Flows(name) => is_limited(name),
        });
        for listener in self.desired.listeners.values().filter(|listener| is_limited(&listener.name)) {
            let Some(held) = self.held.listeners.get(&listener.key()) else { continue };
            let Ok(refused) = self.plane.listener_refusals(held.id) else { continue };
            let name = &listener.name;
            let counters = [
                (Counted::NewFlows(name.clone()), refused.too_many_new_flows, "their sources began too many a second"),
                (Counted::Flows(name.clone()), refused.too_many_flows, "it has as many flows as it may have"),
            ];
            for (counted, count, why) in counters {
                if let Some(rise) = self.told.rising.look(&counted, count, now) {
                    let text = format!("listener `{name}` refused {rise} packets of new flows, as {why}");
                    self.told.log.tell(News::new(EventKind::LimitReached, text).of_listeners([listener]));
                }
            }
        }
    }
}

fn is_well(catalogue: &Catalogue, id: &str) -> bool {
    catalogue.get(Kind::LoadBalancer, id).is_some() && !catalogue.errors().contains_key(id)
}
