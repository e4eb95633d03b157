//! What happened to links and neighbours, by comparing two pictures of the network.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::address::MacAddr;

use super::{EventKind, News};
use crate::model::{BackendAddr, Desired};
use crate::neighbour::{Link, NetworkView, Reach, Unresolved};

/// What happened between two pictures. Before the first one, what is wrong is news, and what is as it should be is not.
///
/// Links are told of that drlb is to run on, or that backends are behind; no others.
#[must_use]
pub fn changes(desired: &Desired, before: Option<&NetworkView>, after: &NetworkView) -> Vec<News> {
    let mut news = Vec::new();
    links(desired, before, after, &mut news);
    let missed = before.map_or(0, |view| view.missed.times);
    if after.missed.times > missed {
        let why = after.missed.why.as_deref().unwrap_or("something was missed");
        let text = format!("links, routes and neighbours were read anew: {why}");
        news.push(News::new(EventKind::NetlinkOverrun, text));
    }
    let moved: Vec<BackendAddr> = desired
        .backend_addresses()
        .into_iter()
        .filter(|address| before.and_then(|view| view.backends.get(address)) != after.backends.get(address))
        .collect();
    for address in &moved {
        let was = before.and_then(|view| view.backends.get(address));
        if let Some((kind, text)) = neighbour(*address, before.is_none(), was, after.backends.get(address), after) {
            let behind = after.backends.get(address).or(was).and_then(|reach| link_of(reach, after));
            let about = News::new(kind, text).of_backend(*address).of_listeners(listeners_of(desired, *address));
            news.push(match behind {
                Some(name) => about.on(name),
                None => about,
            });
        }
    }
    if !moved.is_empty() {
        duplicates(desired, before, after, &mut news);
    }
    news
}

/// The backends of one family that have one MAC, where that are two or more, by interface and MAC. A server may well have
/// an IPv4 and an IPv6 address.
#[must_use]
pub fn one_mac(view: &NetworkView) -> BTreeMap<(u32, MacAddr, bool), BTreeSet<BackendAddr>> {
    let mut owners: BTreeMap<_, BTreeSet<BackendAddr>> = BTreeMap::new();
    for (address, reach) in &view.backends {
        if let Reach::Resolved { mac, ifindex } = reach {
            owners.entry((*ifindex, *mac, address.ip().is_ipv4())).or_default().insert(*address);
        }
    }
    owners.retain(|_, same| same.len() > 1);
    owners
}

fn listeners_of(desired: &Desired, address: BackendAddr) -> impl Iterator<Item = &crate::model::Listener> {
    desired
        .listeners
        .values()
        .filter(move |listener| desired.pool_of(listener).is_some_and(|pool| pool.backends.contains_key(&address)))
}

fn link_of(reach: &Reach, view: &NetworkView) -> Option<String> {
    let named = view.links.iter().find(|(_, link)| reach.is_behind(link));
    named.map(|(name, _)| name.clone())
}

fn neighbour(
    address: BackendAddr,
    is_first: bool,
    was: Option<&Reach>,
    now: Option<&Reach>,
    view: &NetworkView,
) -> Option<(EventKind, String)> {
    let behind = |reach: &Reach| link_of(reach, view).unwrap_or_else(|| "an interface that is gone".to_owned());
    match (was, now?) {
        (Some(Reach::Resolved { mac: old, ifindex: from }), reach @ Reach::Resolved { mac, ifindex }) => {
            let text = if old == mac && from != ifindex {
                format!("backend {address} stands behind {} now, with the same MAC {mac}", behind(reach))
            } else {
                format!("backend {address} has the MAC {mac} now behind {}; it had {old}", behind(reach))
            };
            Some((EventKind::NeighbourMoved, text))
        }
        (_, Reach::Resolved { .. }) if is_first => None,
        (_, reach @ Reach::Resolved { mac, .. }) => {
            Some((EventKind::NeighbourLearnt, format!("backend {address} is at {mac} behind {}", behind(reach))))
        }
        // Asked for, and no answer yet: what comes of it is news.
        (_, Reach::Unresolved { why: Unresolved::Asking }) => None,
        (_, Reach::Unresolved { why }) => {
            Some((EventKind::NeighbourLost, format!("backend {address} takes no traffic: {why}")))
        }
    }
}

fn duplicates(desired: &Desired, before: Option<&NetworkView>, after: &NetworkView, news: &mut Vec<News>) {
    let known = before.map(one_mac).unwrap_or_default();
    for (key, same) in one_mac(after) {
        if known.get(&key).is_some_and(|known| same.is_subset(known)) {
            continue;
        }
        let names: Vec<String> = same.iter().map(ToString::to_string).collect();
        let text = format!(
            "backends {} have one MAC, {}: they are one server, or two with the same MAC",
            names.join(" and "),
            key.1
        );
        let mut about = News::new(EventKind::NeighbourDuplicate, text);
        for address in &same {
            about = about.of_backend(*address).of_listeners(listeners_of(desired, *address));
        }
        let link = after.links.iter().find(|(_, link)| link.ifindex == key.0);
        about.interface = link.map(|(name, _)| name.clone());
        news.push(about);
    }
}

/// The names of the links that matter.
fn of_interest<'a>(desired: &'a Desired, view: &'a NetworkView, names: &mut BTreeSet<&'a str>) {
    names.extend(desired.interfaces.keys().map(String::as_str));
    let behind: BTreeSet<u32> = view
        .backends
        .values()
        .filter_map(|reach| match reach {
            Reach::Resolved { ifindex, .. } => Some(*ifindex),
            Reach::Unresolved { .. } => None,
        })
        .collect();
    names.extend(view.links.iter().filter(|(_, link)| behind.contains(&link.ifindex)).map(|(name, _)| name.as_str()));
}

fn links(desired: &Desired, before: Option<&NetworkView>, after: &NetworkView, news: &mut Vec<News>) {
    let mut names = BTreeSet::new();
    of_interest(desired, after, &mut names);
    if let Some(before) = before {
        of_interest(desired, before, &mut names);
    }
    let none = BTreeMap::new();
    let old_links = before.map_or(&none, |view| &view.links);
    let mut told = BTreeSet::new();
    for name in names {
        let (old, new) = (old_links.get(name), after.links.get(name));
        for (kind, text) in link(name, before.is_none(), old, new, old_links, &after.links) {
            // A renamed link may matter by both its names.
            if told.insert((kind, text.clone())) {
                news.push(News::new(kind, text).on(name));
            }
        }
    }
}

fn link(
    name: &str,
    is_first: bool,
    old: Option<&Link>,
    new: Option<&Link>,
    old_links: &BTreeMap<String, Link>,
    new_links: &BTreeMap<String, Link>,
) -> Vec<(EventKind, String)> {
    let called = |links: &BTreeMap<String, Link>, ifindex: u32| {
        links.iter().find(|(_, link)| link.ifindex == ifindex).map(|(name, _)| name.clone())
    };
    let renamed = |from: &str, to: &str| (EventKind::LinkRenamed, format!("link {from} is called {to} now"));
    let mut found = Vec::new();
    match (old, new) {
        (Some(old), Some(new)) if old.ifindex == new.ifindex => {
            if old.up != new.up {
                found.push(up_or_down(name, new.up));
            }
            return found;
        }
        (Some(old), Some(new)) => {
            if let Some(to) = called(new_links, old.ifindex) {
                found.push(renamed(name, &to));
            }
            let text = format!("another link is called {name} now: index {}, before {}", new.ifindex, old.ifindex);
            found.push((EventKind::LinkReplaced, text));
        }
        (Some(old), None) => found.push(match called(new_links, old.ifindex) {
            Some(to) => renamed(name, &to),
            None => (EventKind::LinkGone, format!("link {name} is gone")),
        }),
        (None, Some(_)) if is_first => {}
        (None, Some(new)) => found.push(match called(old_links, new.ifindex) {
            Some(from) => renamed(&from, name),
            None => (EventKind::LinkAppeared, format!("there is a link {name} now, with the index {}", new.ifindex)),
        }),
        (None, None) if is_first => found.push((EventKind::LinkGone, format!("there is no link {name}"))),
        (None, None) => {}
    }
    if let Some(new) = new
        && !new.up
    {
        found.push(up_or_down(name, false));
    }
    found
}

fn up_or_down(name: &str, up: bool) -> (EventKind, String) {
    if up {
        (EventKind::LinkUp, format!("link {name} is up"))
    } else {
        (EventKind::LinkDown, format!("link {name} is down: switched off, or without a carrier"))
    }
}

#[cfg(test)]
mod tests;
