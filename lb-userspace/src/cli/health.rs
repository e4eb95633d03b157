//! `drlb health`.

use super::args::{HealthCommand, HealthSet};
use super::{Failure, Session};
use crate::model::{HealthChange, HealthCheck, HttpProbe, Name, Probe, TlsProbe, UdpProbe, WhenAllDown};

pub(super) async fn run(session: &Session, command: HealthCommand) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        HealthCommand::Set(set) => {
            let (listener, change) = change(*set);
            let answer = client.patch(&["listeners", listener.as_str(), "health"], &change).await?;
            session.print(&answer, |check: HealthCheck| format!("{listener} is checked by {}\n", describe(&check)))
        }
        HealthCommand::Unset { listener } => {
            client.delete(&["listeners", listener.as_str(), "health"]).await?;
            session.print_done(&format!("{listener} is not checked any more"))
        }
        HealthCommand::Show { listener } => {
            let answer = client.get(&["listeners", listener.as_str(), "health"]).await?;
            session.print(&answer, |check: HealthCheck| format!("{listener} is checked by {}\n", describe(&check)))
        }
    }
}

fn change(set: HealthSet) -> (Name, HealthChange) {
    let HealthSet { listener, kind, port, delay, timeout, rise, fall, jitter, when_all_down, .. } = set;
    let HealthSet { method, path, host, http_version, expect, verify, sni, send, answer, .. } = set;
    let change = HealthChange {
        kind,
        port,
        delay_ms: delay,
        timeout_ms: timeout,
        rise,
        fall,
        jitter,
        when_all_down,
        method,
        path,
        host,
        version: http_version,
        expect,
        verify,
        sni,
        send,
        answer,
    };
    (listener, change)
}

/// A health check in a line: `HTTP GET /healthz (200) every 2s, timeout 1s; down after 3 failures, up after 2 answers`.
pub(super) fn describe(check: &HealthCheck) -> String {
    let port = check.port.map_or_else(String::new, |port| format!(" on port {port}"));
    let all = match check.when_all_down {
        WhenAllDown::Drop => "",
        WhenAllDown::UseAll => "; all are used when all are down",
    };
    format!(
        "{}{port} every {} (±{}%), timeout {}; down after {}, up after {}{all}",
        describe_probe(&check.probe),
        time(check.delay_ms),
        check.jitter,
        time(check.timeout_ms),
        count(check.fall, "failure"),
        count(check.rise, "right answer"),
    )
}

fn describe_probe(probe: &Probe) -> String {
    match probe {
        Probe::Tcp => "a TCP connection".to_owned(),
        Probe::Http(http) => format!("HTTP {}", describe_http(http)),
        Probe::Https(https) => format!("HTTPS {}{}", describe_http(&https.http), describe_tls(&https.tls)),
        Probe::Tls(tls) => format!("a TLS handshake{}", describe_tls(tls)),
        Probe::Icmp => "ping".to_owned(),
        Probe::Udp(UdpProbe { answer: Some(answer), .. }) => format!("a datagram and the answer `{answer}`"),
        Probe::Udp(UdpProbe { answer: None, .. }) => "a datagram and ping".to_owned(),
    }
}

fn describe_http(http: &HttpProbe) -> String {
    let host = http.host.as_ref().map_or_else(String::new, |host| format!(" of {host}"));
    format!("{} {}{host} ({})", http.method, http.path, http.expect)
}

fn describe_tls(tls: &TlsProbe) -> String {
    let sni = tls.sni.as_ref().map_or_else(String::new, |name| format!(" as {name}"));
    let verified = if tls.verify { ", verified" } else { "" };
    format!("{sni}{verified}")
}

/// A time in milliseconds: `500ms`, `2s`, `1.5s`.
fn time(millis: u32) -> String {
    if millis < 1_000 { format!("{millis}ms") } else { format!("{}s", f64::from(millis) / 1_000.0) }
}

fn count(number: u8, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProbeType;

    #[test]
    fn a_check_is_told_in_a_line() {
        let cases = [
            (
                ProbeType::Tcp,
                "a TCP connection every 5s (±10%), timeout 2s; down after 3 failures, up after 2 right answers",
            ),
            (ProbeType::Http, "HTTP GET / (200) every 5s"),
            (ProbeType::Https, "HTTPS GET / (200) every"),
            (ProbeType::Tls, "a TLS handshake every"),
            (ProbeType::Icmp, "ping every"),
            (ProbeType::Udp, "a datagram and ping every"),
        ];
        for (kind, text) in cases {
            let told = describe(&HealthCheck::new(kind));
            assert!(told.starts_with(text), "{told}");
        }
        let check = HealthCheck {
            port: Some(81),
            delay_ms: 1_500,
            timeout_ms: 250,
            fall: 1,
            ..HealthCheck::new(ProbeType::Tcp)
        };
        let told = describe(&check);
        assert!(
            told.starts_with("a TCP connection on port 81 every 1.5s (±10%), timeout 250ms; down after 1 failure,"),
            "{told}"
        );
    }
}
