//! The `virtual_server` blocks of a keepalived.conf(5).

mod checks;
mod syntax;

use std::collections::BTreeMap;
use std::net::IpAddr;

use self::checks::Checks;
use self::syntax::{Statement, parse};
use super::Imported;
use super::ipvsadm::netmask;
use super::service::{Server, Service};
use crate::model::Protocol;

/// Reads it.
#[must_use]
pub fn keepalived(text: &str) -> Imported {
    let mut imported = Imported::default();
    let statements = parse(text, &mut imported);
    let groups: BTreeMap<&str, &Statement> = statements
        .iter()
        .filter(|statement| statement.is("virtual_server_group"))
        .filter_map(|group| Some((group.words.get(1)?.as_str(), group)))
        .collect();
    for statement in &statements {
        match statement.keyword() {
            "virtual_server" => virtual_server(statement, &groups, &mut imported),
            "virtual_server_group" => {}
            "vrrp_instance" | "vrrp_sync_group" | "vrrp_script" => imported.note(
                statement.line,
                format!("`{}` was left out: drlb moves no addresses between hosts", statement.words.join(" ")),
            ),
            _ => imported.note(statement.line, format!("`{}` was left out", statement.words.join(" "))),
        }
    }
    imported
}

/// What a virtual server's block says, but for whom it is.
struct Settings<'a> {
    scheduler: String,
    flags: Vec<String>,
    protocol: Protocol,
    persistence: Option<u32>,
    granularity: Option<u8>,
    servers: Vec<Server>,
    checks: Checks<'a>,
}

fn virtual_server(statement: &Statement, groups: &BTreeMap<&str, &Statement>, imported: &mut Imported) {
    let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
    let services = match words.as_slice() {
        [_, "fwmark", mark, ..] => Err(format!(
            "the virtual server of firewall mark {mark} was left out: name its VIPs and ports as listeners, or a VIP with \
             protocol ip"
        )),
        [_, "group", name, ..] => match groups.get(name) {
            Some(group) => Ok(members(group, imported)),
            None => Err(format!("the virtual server was left out: there is no virtual_server_group `{name}`")),
        },
        [_, address, port] => endpoint(address, port).map(|endpoint| vec![endpoint]),
        [_, address] => endpoint(address, "0").map(|endpoint| vec![endpoint]),
        _ => Err("the virtual server was left out: it has no address and port".to_owned()),
    };
    match services.and_then(|services| Ok((services, settings(statement, imported)?))) {
        Err(note) => imported.note(statement.line, note),
        Ok((services, settings)) => {
            for (vip, port) in services {
                let service = Service {
                    line: statement.line,
                    vip,
                    protocol: settings.protocol,
                    port,
                    scheduler: settings.scheduler.clone(),
                    flags: settings.flags.clone(),
                    persistence: settings.persistence,
                    granularity: settings.granularity,
                    servers: settings.servers.clone(),
                };
                imported.take(service, |listener, imported| settings.checks.health(listener, imported));
            }
        }
    }
}

/// The addresses and ports of a group; `192.0.2.10-12 80` is three.
fn members(group: &Statement, imported: &mut Imported) -> Vec<(IpAddr, u16)> {
    let mut members = Vec::new();
    for line in group.block() {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let found = match words.as_slice() {
            ["fwmark", mark, ..] => Err(format!("firewall mark {mark} of the group was left out")),
            [range, rest @ ..] => {
                let port = rest.first().copied().unwrap_or("0");
                let addresses = addresses(range);
                addresses.and_then(|all| all.into_iter().map(|address| endpoint(&address, port)).collect())
            }
            [] => Ok(vec![]),
        };
        match found {
            Ok(found) => members.extend::<Vec<_>>(found),
            Err(note) => imported.note(line.line, note),
        }
    }
    members
}

/// `192.0.2.10-12` as its addresses; anything else as it is.
fn addresses(range: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = range.split_once('-') else { return Ok(vec![range.to_owned()]) };
    let wrong = || format!("`{range}` is not a range of addresses; it was left out");
    let separator = if first.contains(':') { ':' } else { '.' };
    let (net, low) = first.rsplit_once(separator).ok_or_else(wrong)?;
    let radix = if separator == ':' { 16 } else { 10 };
    let number = |text| u16::from_str_radix(text, radix).map_err(|_| wrong());
    let (low, high) = (number(low)?, number(last)?);
    if low > high {
        return Err(wrong());
    }
    let show = |number: u16| match radix {
        16 => format!("{net}{separator}{number:x}"),
        _ => format!("{net}{separator}{number}"),
    };
    Ok((low..=high).map(show).collect())
}

fn settings<'a>(statement: &'a Statement, imported: &mut Imported) -> Result<Settings<'a>, String> {
    let mut settings = Settings {
        scheduler: "wlc".to_owned(),
        flags: Vec::new(),
        protocol: Protocol::Tcp,
        persistence: None,
        granularity: None,
        servers: Vec::new(),
        checks: Checks::default(),
    };
    // keepalived's own default.
    let mut kind = "NAT";
    let block = statement.block();
    if let Some(given) = block.iter().rev().find(|line| line.is("lb_kind") || line.is("lvs_method")) {
        kind = given.value().unwrap_or(kind);
    }
    for line in block {
        let note = |imported: &mut Imported, what: String| imported.note(line.line, what);
        match line.keyword() {
            "lb_kind" | "lvs_method" => {}
            "lb_algo" | "lvs_sched" => settings.scheduler = line.value().unwrap_or("wlc").to_owned(),
            "sh-port" | "mh-port" | "sh-fallback" | "mh-fallback" => settings.flags.push(line.keyword().to_owned()),
            "protocol" => {
                let name = line.value().unwrap_or("TCP").to_lowercase();
                let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
                settings.protocol = known
                    .into_iter()
                    .find(|protocol| protocol.name() == name)
                    .ok_or_else(|| format!("the virtual server was left out: `{name}` is no protocol with ports"))?;
            }
            "persistence_timeout" => match line.number() {
                Some(seconds) => settings.persistence = Some(seconds),
                None if line.value().is_none() => settings.persistence = Some(360),
                None => note(imported, not_a_number(line)),
            },
            "persistence_granularity" => match netmask(line.value().unwrap_or("")) {
                Ok(bits) => settings.granularity = Some(bits),
                Err(wrong) => note(imported, wrong),
            },
            "delay_loop" | "retry" | "delay_before_retry" | "virtualhost" | "connect_timeout" | "connect_port" => {
                settings.checks.set(line, imported);
            }
            "real_server" => real_server(line, kind, &mut settings, imported),
            // Taken up below: of several, the last counts.
            "sorry_server" | "sorry_server_lvs_method" => {
                if block.iter().rev().find(|other| other.is(line.keyword())).is_some_and(|last| last.line != line.line)
                {
                    note(imported, format!("`{}` was left out: a later one takes its place", line.words.join(" ")));
                }
            }
            _ => note(imported, format!("`{}` was left out", line.words.join(" "))),
        }
    }
    let last = |keyword: &str| block.iter().rev().find(|line| line.is(keyword));
    if let Some(line) = last("sorry_server") {
        let kind = last("sorry_server_lvs_method").and_then(Statement::value).unwrap_or(kind);
        sorry_server(line, kind, &mut settings, imported);
    }
    if settings.servers.is_empty() && kind != "DR" && !block.iter().any(|line| line.is("real_server")) {
        return Err(format!("the virtual server was left out: it is of kind {kind}, and has no servers"));
    }
    Ok(settings)
}

/// The server that is for when all others are down: a backup. keepalived does not probe it.
fn sorry_server(line: &Statement, kind: &str, settings: &mut Settings<'_>, imported: &mut Imported) {
    match server(line, kind) {
        Ok((address, port)) => {
            if settings.checks.has_one() {
                imported.note(
                    line.line,
                    format!(
                        "the sorry server {address} became a backup, which is probed as the others are: let it answer their check, or                          probe it elsewhere (`drlb backend set --monitor-port`)"
                    ),
                );
            }
            settings.servers.push(Server { line: line.line, address, port, weight: 1, backup: true });
        }
        Err(note) => imported.note(line.line, note),
    }
}

/// The address and port of a server of that kind. The error says why it is left out.
fn server(line: &Statement, kind: &str) -> Result<(IpAddr, u16), String> {
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let (address, port) = match words.as_slice() {
        [_, address, port] => endpoint(address, port)?,
        [_, address] => endpoint(address, "0")?,
        _ => return Err("the server was left out: it has no address and port".to_owned()),
    };
    if kind != "DR" {
        return Err(format!(
            "server {address} was left out: it is of kind {kind}, and drlb's are by direct routing; when it holds the VIP (`drlb \
             backend setup`), add it with `drlb backend add`"
        ));
    }
    Ok((address, port))
}

fn real_server<'a>(line: &'a Statement, kind: &str, settings: &mut Settings<'a>, imported: &mut Imported) {
    let own_kind = line.block().iter().rev().find(|line| line.is("lvs_method") || line.is("lb_kind"));
    let kind = own_kind.and_then(Statement::value).unwrap_or(kind);
    let (address, port) = match server(line, kind) {
        Ok(found) => found,
        Err(note) => return imported.note(line.line, note),
    };
    let mut weight = 1;
    for inner in line.block() {
        match inner.keyword() {
            "lvs_method" | "lb_kind" => {}
            "weight" => match inner.number() {
                Some(number) => weight = number,
                None => imported.note(inner.line, not_a_number(inner)),
            },
            keyword if Checks::is_check(keyword) => settings.checks.add(inner, address),
            _ => imported.note(inner.line, format!("`{}` was left out", inner.words.join(" "))),
        }
    }
    settings.servers.push(Server { line: line.line, address, port, weight, backup: false });
}

fn not_a_number(line: &Statement) -> String {
    format!("`{}` was left out: its value is not a number that can be", line.words.join(" "))
}

fn endpoint(address: &str, port: &str) -> Result<(IpAddr, u16), String> {
    let wrong = |what: &str, text: &str| format!("`{text}` is not {what} in numbers; it was left out");
    let ip = address.parse().map_err(|_| wrong("an address", address))?;
    Ok((ip, port.parse().map_err(|_| wrong("a port", port))?))
}
