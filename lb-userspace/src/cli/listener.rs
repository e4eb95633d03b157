//! `drlb listener`.

use super::args::values::{IdleArg, IdleKind, PersistenceArg, SourceRateArg};
use super::args::{ListenerAdd, ListenerCommand, ListenerSet};
use super::table::{port as port_text, span, table};
use super::{Failure, Session, allow, backend, health, unix_now};
use crate::api::types::{ListenerBody, ListenerPatch, Listeners};
use crate::engine::status::{BackendState, ListenerStatus, SlotStates};
use crate::model::{AllowList, Persistence, Protocol, SourceRate, Timeouts, TimeoutsChange, Vip, VipOwner};

pub(super) async fn run(session: &Session, command: ListenerCommand) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        ListenerCommand::Add(add) => {
            let ListenerAdd {
                name,
                vip,
                protocol,
                port,
                algorithm,
                persistence: wanted,
                idle,
                allow,
                allow_file,
                vip_owner,
                source_rate: rate,
                max_flows,
                slots,
            } = add;
            let persistence = wanted.map(|wanted| persistence(wanted, vip));
            let timeouts = timeouts(&idle)?;
            let source_rate = rate.map(|rate| source_rate(rate, vip));
            let allowed_cidrs = allow::list(allow, allow_file.as_ref())?.unwrap_or_default();
            let body = ListenerBody {
                name,
                vip,
                protocol,
                port,
                algorithm,
                persistence,
                timeouts,
                allowed_cidrs,
                vip_owner,
                source_rate,
                max_flows,
                slots,
            };
            let answer = client.post(&["listeners"], &body).await?;
            session
                .print(&answer, |listener: ListenerStatus| format!("added listener {}", describe_settings(&listener)))
        }
        ListenerCommand::List => {
            let answer = client.get(&["listeners"]).await?;
            session.print(&answer, |listeners: Listeners| list(&listeners.listeners))
        }
        ListenerCommand::Show { name } => {
            let answer = client.get(&["listeners", name.as_str()]).await?;
            session.print(&answer, |listener: ListenerStatus| show(&listener, unix_now()))
        }
        ListenerCommand::Set(set) => self::set(session, set).await,
        ListenerCommand::Remove { name } => {
            client.delete(&["listeners", name.as_str()]).await?;
            session.print_done(&format!("removed listener {name}"))
        }
    }
}

async fn set(session: &Session, set: ListenerSet) -> Result<(), Failure> {
    let path = ["listeners", set.name.as_str()];
    let timeouts = timeouts(&set.idle)?;
    let persistence_prefix = set.persistence.is_some_and(|wanted| wanted.prefix.is_some());
    let rate_prefix = set.source_rate.is_some_and(|wanted| wanted.prefix.is_some());
    // Which family's prefix is meant is told by the VIP.
    let vip: Option<Vip> = if persistence_prefix || rate_prefix {
        let listener: ListenerStatus = session.client.get(&path).await?.parse()?;
        Some(listener.vip)
    } else {
        None
    };
    let persistence = match (set.persistence, vip) {
        (Some(wanted), Some(vip)) => Some(Some(persistence(wanted, vip))),
        (Some(wanted), None) => Some(Some(sessions(wanted.timeout))),
        (None, _) => set.no_persistence.then_some(None),
    };
    let source_rate = match (set.source_rate, vip) {
        (Some(wanted), Some(vip)) => Some(Some(source_rate(wanted, vip))),
        (Some(wanted), None) => Some(Some(SourceRate::new(wanted.rate, wanted.burst.unwrap_or(wanted.rate)))),
        (None, _) => set.no_source_rate.then_some(None),
    };
    let max_flows = set.max_flows.map(Some).or(set.no_max_flows.then_some(None));
    let allowed_cidrs =
        if set.allow_any { Some(AllowList::default()) } else { allow::list(set.allow, set.allow_file.as_ref())? };
    let (algorithm, vip_owner) = (set.algorithm, set.vip_owner);
    let admin_up = (set.up || set.down).then_some(set.up);
    let patch =
        ListenerPatch { algorithm, persistence, timeouts, allowed_cidrs, vip_owner, source_rate, max_flows, admin_up };
    let answer = session.client.patch(&path, &patch).await?;
    session.print(&answer, |listener: ListenerStatus| format!("changed listener {}", describe_settings(&listener)))
}

/// The limit of new flows for clients of a VIP, who speak its version of IP.
fn source_rate(wanted: SourceRateArg, vip: Vip) -> SourceRate {
    let mut rate = SourceRate::new(wanted.rate, wanted.burst.unwrap_or(wanted.rate));
    let prefix = if vip.ip().is_ipv4() { &mut rate.ipv4_prefix } else { &mut rate.ipv6_prefix };
    *prefix = wanted.prefix.unwrap_or(*prefix);
    rate
}

/// Sessions of the clients of a VIP, who speak its version of IP.
fn persistence(wanted: PersistenceArg, vip: Vip) -> Persistence {
    let mut persistence = sessions(wanted.timeout);
    let prefix = if vip.ip().is_ipv4() { &mut persistence.ipv4_prefix } else { &mut persistence.ipv6_prefix };
    *prefix = wanted.prefix.unwrap_or(*prefix);
    persistence
}

/// Sessions of single clients.
fn sessions(timeout: Option<u32>) -> Persistence {
    Persistence { timeout: timeout.unwrap_or(Persistence::DEFAULT_TIMEOUT), ..Persistence::default() }
}

fn timeouts(idle: &[IdleArg]) -> Result<TimeoutsChange, Failure> {
    let mut change = TimeoutsChange::default();
    for &IdleArg { kind, seconds } in idle {
        let field = match kind {
            IdleKind::Handshake => &mut change.handshake,
            IdleKind::Established => &mut change.established,
            IdleKind::Closing => &mut change.closing,
            IdleKind::Udp => &mut change.udp,
            IdleKind::Other => &mut change.other,
        };
        if field.replace(seconds).is_some() {
            return Err(Failure::Usage(format!("--idle {} is given twice; give each kind once", kind.name())));
        }
    }
    Ok(change)
}

/// A listener with all that can be set of it.
fn describe_settings(listener: &ListenerStatus) -> String {
    let guards = describe_guards(listener);
    let health = describe_health(listener);
    format!("{}: {}\n{guards}{health}{}", listener.name, describe(listener), describe_timeouts(&listener.timeouts))
}

/// Who answers for the VIP if the program does not, from where packets are taken, and what was refused. Nothing if there is
/// nothing to say.
fn describe_guards(listener: &ListenerStatus) -> String {
    let mut text = match listener.vip_owner {
        VipOwner::Xdp => String::new(),
        VipOwner::Host => format!("This host's kernel answers for {}.\n", listener.vip),
        VipOwner::None => format!("Nobody answers for {}: it is to be routed to this host.\n", listener.vip),
    };
    if !listener.admin_up {
        text.push_str(&format!("Out of service; put it back with `drlb listener set {} --up`.\n", listener.name));
    }
    if let Some(fault) = &listener.fault {
        text.push_str(&format!("Not carried out: {fault}.\n"));
    }
    let refused = listener.refused;
    if listener.allowed > 0 {
        let prefixes =
            if listener.allowed == 1 { "1 prefix".to_owned() } else { format!("{} prefixes", listener.allowed) };
        text.push_str(&format!("Takes packets from {prefixes} only; {} others were denied.\n", refused.denied));
    }
    if let Some(SourceRate { rate, burst, ipv6_prefix, ipv4_prefix }) = listener.source_rate {
        let prefix = if listener.vip.ip().is_ipv4() { ipv4_prefix } else { ipv6_prefix };
        let above = refused.too_many_new_flows;
        text.push_str(&format!(
            "Each /{prefix} may begin {rate} flows a second, {burst} at once; {above} above that were dropped.\n"
        ));
    }
    if let Some(most) = listener.max_flows {
        let (now, above) = (listener.flows.unwrap_or(0), refused.too_many_flows);
        text.push_str(&format!(
            "There may be {most} flows, and there are {now}; {above} packets of others were dropped.\n"
        ));
    }
    text
}

/// How its backends are checked. Nothing if they are not.
pub(super) fn describe_health(listener: &ListenerStatus) -> String {
    listener.health.as_ref().map_or_else(String::new, |check| format!("Checked by {}.\n", health::describe(check)))
}

/// What it listens on and how it chooses, in a line.
pub(super) fn describe(listener: &ListenerStatus) -> String {
    let what = match (listener.protocol, listener.port) {
        (Protocol::Ip, _) => format!("every protocol of {}", listener.vip),
        (protocol, 0) => format!("every {protocol} port of {}", listener.vip),
        (protocol, port) => format!("{protocol} port {port} of {}", listener.vip),
    };
    let sessions = match listener.persistence {
        None => String::new(),
        Some(persistence) => format!(", {}", describe_sessions(persistence, listener.vip)),
    };
    format!("{what}, by {}{sessions}", listener.algorithm)
}

/// Sessions, as far as they differ from single clients: `sessions of 1h 0m for each /24`.
fn describe_sessions(persistence: Persistence, vip: Vip) -> String {
    let (prefix, all) = if vip.ip().is_ipv4() { (persistence.ipv4_prefix, 32) } else { (persistence.ipv6_prefix, 128) };
    let whose = if prefix == all { "each client".into() } else { format!("each /{prefix}") };
    format!("sessions of {} for {whose}", span(persistence.timeout.into()))
}

/// The idle times that are not the defaults: `idle times: udp 30s`. Nothing if there is none.
fn describe_timeouts(timeouts: &Timeouts) -> String {
    let Timeouts { handshake, established, closing, udp, other } = *timeouts;
    let default = Timeouts::default();
    let set: Vec<_> = [
        (IdleKind::Handshake, handshake, default.handshake),
        (IdleKind::Established, established, default.established),
        (IdleKind::Closing, closing, default.closing),
        (IdleKind::Udp, udp, default.udp),
        (IdleKind::Other, other, default.other),
    ]
    .into_iter()
    .filter(|(_, seconds, default)| seconds != default)
    .map(|(kind, seconds, _)| format!("{} {}", kind.name(), span(seconds.into())))
    .collect();
    if set.is_empty() {
        String::new()
    } else {
        format!("Idle times: {}; the others are the defaults.\n", set.join(", "))
    }
}

/// What a change has left to be done. Nothing if that is over.
fn describe_change(states: SlotStates) -> String {
    let SlotStates { steady, moving, settling } = states;
    let all = steady + moving + settling;
    match (moving, settling) {
        (0, 0) => String::new(),
        (moving, 0) => format!("A change is under way: {moving} of {all} slots are moving.\n"),
        (0, settling) => format!("A change is under way: {settling} of {all} slots are settling.\n"),
        _ => format!("A change is under way: {moving} of {all} slots are moving, {settling} settling.\n"),
    }
}

/// A listener with its backends, and what keeps them from taking traffic. `now` is in seconds of the Unix epoch.
pub(super) fn show(listener: &ListenerStatus, now: u64) -> String {
    let mut text = format!("{}: {}, {} slots\n", listener.name, describe(listener), listener.slots);
    text.push_str(&describe_guards(listener));
    text.push_str(&describe_health(listener));
    text.push_str(&describe_timeouts(&listener.timeouts));
    text.push_str(&describe_change(listener.slot_states));
    if listener.backends.is_empty() {
        text.push_str(&format!(
            "It has no backend, so its packets are dropped; add one with `drlb backend add {} ADDRESS`.\n",
            listener.name
        ));
    } else {
        text.push_str(&backend::list(listener.slots, &listener.backends, now));
    }
    text
}

fn list(listeners: &[ListenerStatus]) -> String {
    let serving = |listener: &ListenerStatus| {
        listener.backends.iter().filter(|backend| backend.state == BackendState::Serving).count()
    };
    let rows = listeners.iter().map(|listener| {
        [
            listener.name.to_string(),
            listener.vip.to_string(),
            listener.protocol.to_string(),
            port_text(listener.port),
            listener.algorithm.to_string(),
            format!("{} of {}", serving(listener), listener.backends.len()),
            listener.counters.packets.to_string(),
            listener.counters.bytes.to_string(),
        ]
    });
    let heading = ["NAME", "VIP", "PROTOCOL", "PORT", "ALGORITHM", "SERVING", "PACKETS", "BYTES"];
    table(heading, &["PACKETS", "BYTES"], rows)
}
