//! How keepalived checks real servers, as the one health check that a pool of drlb has.

use std::net::IpAddr;

use super::super::Imported;
use super::syntax::Statement;
use crate::model::{HealthChange, HealthCheck, Listener, ProbeType};

/// The checks of a virtual server's real servers, and what is set for all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks<'a> {
    /// `delay_loop`, in milliseconds.
    delay_ms: Option<u32>,
    common: Vec<&'a Statement>,
    checks: Vec<(&'a Statement, IpAddr)>,
}

impl<'a> Checks<'a> {
    /// True for the name of a check's block.
    pub(super) fn is_check(keyword: &str) -> bool {
        kind_of(keyword).is_some() || ["SMTP_CHECK", "MISC_CHECK", "DNS_CHECK", "BFD_CHECK"].contains(&keyword)
    }

    /// Takes up what is set for all servers.
    pub(super) fn set(&mut self, line: &'a Statement, imported: &mut Imported) {
        if !line.is("delay_loop") {
            self.common.push(line);
            return;
        }
        match milliseconds(line) {
            Some(delay) => self.delay_ms = Some(delay),
            None => imported.note(line.line, format!("`{}` was left out: no such time", line.words.join(" "))),
        }
    }

    /// Takes up a server's check.
    pub(super) fn add(&mut self, check: &'a Statement, server: IpAddr) {
        self.checks.push((check, server));
    }

    /// True if there is one that drlb has, too.
    pub(super) fn has_one(&self) -> bool {
        self.checks.iter().any(|(check, _)| kind_of(check.keyword()).is_some())
    }

    /// The check of a listener: the first that there is. Others that differ are noted.
    pub(super) fn health(&self, listener: &Listener, imported: &mut Imported) -> Option<HealthCheck> {
        let mut known = self.checks.iter().filter_map(|(check, _)| Some((check, kind_of(check.keyword())?)));
        for (check, server) in &self.checks {
            if kind_of(check.keyword()).is_none() {
                let name = check.keyword();
                imported.note(check.line, format!("`{name}` of server {server} was left out: drlb has no such check"));
            }
        }
        let (first, kind) = known.next()?;
        for (check, server) in &self.checks {
            if kind_of(check.keyword()).is_some() && !same(check, first) {
                let note = format!(
                    "server {server} is probed as the first one is (line {}), not by its own check",
                    first.line
                );
                imported.note(check.line, note);
            }
        }
        let mut change =
            HealthChange { kind: Some(kind), rise: Some(1), delay_ms: self.delay_ms, ..HealthChange::default() };
        for line in self.common.iter().copied().chain(first.block()) {
            if let Err(left_out) = take(line, kind, &mut change) {
                imported.note(left_out.line, format!("`{}` was left out", left_out.words.join(" ")));
            }
        }
        match change.applied_to(None, listener) {
            Ok(check) => Some(check),
            Err(fault) => {
                imported.note(first.line, format!("the check was left out: {}", fault.message));
                None
            }
        }
    }
}

fn kind_of(keyword: &str) -> Option<ProbeType> {
    Some(match keyword {
        "TCP_CHECK" => ProbeType::Tcp,
        "HTTP_GET" => ProbeType::Http,
        "SSL_GET" => ProbeType::Https,
        "UDP_CHECK" => ProbeType::Udp,
        "PING_CHECK" => ProbeType::Icmp,
        _ => return None,
    })
}

/// Takes up a line. The error is the line that cannot be.
fn take<'a>(line: &'a Statement, kind: ProbeType, change: &mut HealthChange) -> Result<(), &'a Statement> {
    let http = matches!(kind, ProbeType::Http | ProbeType::Https);
    match line.keyword() {
        "connect_timeout" => change.timeout_ms = Some(milliseconds(line).ok_or(line)?),
        "connect_port" if kind != ProbeType::Icmp => change.port = Some(line.number().ok_or(line)?),
        // A server fails when all tries have failed, the first one among them.
        "retry" | "nb_get_retry" => {
            let retries: u8 = line.number().ok_or(line)?;
            change.fall = Some(retries.saturating_add(1));
        }
        "virtualhost" if http => change.host = Some(line.value().ok_or(line)?.to_owned()),
        "http_protocol" if http => {
            change.version = Some(line.value().and_then(|version| version.parse().ok()).ok_or(line)?);
        }
        "url" if http => return line.block().iter().try_for_each(|inner| url(inner, change)),
        _ => return Err(line),
    }
    Ok(())
}

fn url<'a>(line: &'a Statement, change: &mut HealthChange) -> Result<(), &'a Statement> {
    match line.keyword() {
        "path" => change.path = Some(line.value().ok_or(line)?.to_owned()),
        "status_code" => change.expect = Some(line.words[1..].join(",").parse().map_err(|_| line)?),
        "virtualhost" => change.host = Some(line.value().ok_or(line)?.to_owned()),
        _ => return Err(line),
    }
    Ok(())
}

/// Seconds, with a fraction if there is one.
fn milliseconds(line: &Statement) -> Option<u32> {
    let seconds: f64 = line.number()?;
    (0.001..=86_400.0).contains(&seconds).then(|| (seconds * 1_000.0).round() as u32)
}

/// True if two statements say the same, wherever they stand.
fn same(one: &Statement, other: &Statement) -> bool {
    one.words == other.words
        && one.block().len() == other.block().len()
        && one.block().iter().zip(other.block()).all(|(one, other)| same(one, other))
}
