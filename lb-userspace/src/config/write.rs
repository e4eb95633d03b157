//! A state as a file's text.

use std::fmt::Write;

use super::wanted::{DEFAULT_MODE, Wanted, WantedBackend, WantedListener};
use crate::model::span::{show_milliseconds, show_seconds};
use crate::model::{Algorithm, AllowList, HealthChange, HealthCheck, Interface, Persistence, SourceRate, Timeouts};

/// Writes what [`read`](super::read()) reads as the same. What is as it is unless set is left out.
#[must_use]
pub fn write(wanted: &Wanted) -> String {
    let mut text = String::new();
    for at in &wanted.interfaces {
        let Interface { name, mode } = &at.value;
        let mut table = Table::new(&mut text, "[[interfaces]]");
        table.text("name", name);
        table.text_unless("mode", mode.name(), DEFAULT_MODE.name());
    }
    for at in &wanted.listeners {
        listener(&mut text, &at.value);
    }
    text
}

fn listener(text: &mut String, wanted: &WantedListener) {
    let new = &wanted.new;
    let mut table = Table::new(text, "[[listeners]]");
    table.text("name", new.name.as_str());
    table.text("vip", &new.vip.to_string());
    table.text("protocol", new.protocol.name());
    if new.protocol != crate::model::Protocol::Ip {
        table.value("port", new.port);
    }
    table.text_unless("algorithm", new.algorithm.name(), Algorithm::SourceIpPort.name());
    if let Some(Persistence { timeout, ipv4_prefix, ipv6_prefix }) = new.persistence {
        let unless_set = Persistence::default();
        let mut inline = Inline::default();
        inline.text("timeout", &show_seconds(timeout));
        inline.value_unless("ipv4-prefix", ipv4_prefix, unless_set.ipv4_prefix);
        inline.value_unless("ipv6-prefix", ipv6_prefix, unless_set.ipv6_prefix);
        table.value("persistence", inline.finish());
    }
    table.idle(&new.timeouts);
    if let Some(slots) = new.slots {
        table.value("slots", slots);
    }
    if let Some(owner) = new.vip_owner {
        table.text("vip-owner", owner.name());
    }
    if let Some(SourceRate { rate, burst, ipv6_prefix, ipv4_prefix }) = new.source_rate {
        let unless_set = SourceRate::new(rate, rate);
        let mut inline = Inline(vec![format!("rate = {rate}")]);
        inline.value_unless("burst", burst, unless_set.burst);
        inline.value_unless("ipv4-prefix", ipv4_prefix, unless_set.ipv4_prefix);
        inline.value_unless("ipv6-prefix", ipv6_prefix, unless_set.ipv6_prefix);
        table.value("source-rate", inline.finish());
    }
    if let Some(most) = new.max_flows {
        table.value("max-flows", most);
    }
    if !wanted.up {
        table.value("up", false);
    }
    table.allow(&new.allowed);
    if let Some(check) = &wanted.health {
        table.value("health", health(&check.value));
    }
    for at in &wanted.backends {
        let WantedBackend { address, weight, up, monitor, backup } = &at.value;
        let mut table = Table::new(text, "[[listeners.backends]]");
        table.text("address", &address.to_string());
        if *weight != 1 {
            table.value("weight", weight);
        }
        if !up {
            table.value("up", up);
        }
        if *backup {
            table.value("backup", backup);
        }
        if let Some(address) = monitor.address {
            table.text("monitor-address", &address.to_string());
        }
        if let Some(port) = monitor.port {
            table.value("monitor-port", port);
        }
    }
}

/// A health check on one line.
fn health(check: &HealthCheck) -> String {
    let unless_set = HealthChange::exactly(&HealthCheck::new(check.probe.kind()));
    let HealthChange {
        kind,
        port,
        delay_ms,
        timeout_ms,
        rise,
        fall,
        jitter,
        when_all_down,
        method,
        path,
        host,
        version,
        expect,
        verify,
        sni,
        send,
        answer,
    } = HealthChange::exactly(check);
    let mut inline = Inline::default();
    inline.text("type", kind.unwrap_or(check.probe.kind()).name());
    inline.some("port", port, unless_set.port);
    inline.text("delay", &show_milliseconds(delay_ms.unwrap_or(check.delay_ms)));
    inline.text("timeout", &show_milliseconds(timeout_ms.unwrap_or(check.timeout_ms)));
    inline.some("rise", rise, unless_set.rise);
    inline.some("fall", fall, unless_set.fall);
    inline.some("jitter", jitter, unless_set.jitter);
    inline.some_text("when-all-down", when_all_down, unless_set.when_all_down);
    inline.some_text("method", method, unless_set.method);
    inline.some_text("path", path, unless_set.path);
    inline.some_text("host", host, unless_set.host);
    inline.some_text("version", version, unless_set.version);
    inline.some_text("expect", expect, unless_set.expect);
    inline.some("verify", verify, unless_set.verify);
    inline.some_text("sni", sni, unless_set.sni);
    inline.some_text("send", send, unless_set.send);
    inline.some_text("answer", answer, unless_set.answer);
    inline.finish()
}

/// A text as a TOML string, with its marks.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A table that is being written, a key a line.
struct Table<'a>(&'a mut String);

impl<'a> Table<'a> {
    fn new(text: &'a mut String, header: &str) -> Self {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(header);
        text.push('\n');
        Self(text)
    }

    fn value(&mut self, key: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.value(key, quoted(text));
    }

    fn text_unless(&mut self, key: &str, text: &str, unless: &str) {
        if text != unless {
            self.text(key, text);
        }
    }

    fn idle(&mut self, timeouts: &Timeouts) {
        let unless_set = Timeouts::default();
        let Timeouts { handshake, established, closing, udp, other } = *timeouts;
        let mut inline = Inline::default();
        for (key, seconds, unless) in [
            ("handshake", handshake, unless_set.handshake),
            ("established", established, unless_set.established),
            ("closing", closing, unless_set.closing),
            ("udp", udp, unless_set.udp),
            ("other", other, unless_set.other),
        ] {
            if seconds != unless {
                inline.text(key, &show_seconds(seconds));
            }
        }
        if !inline.0.is_empty() {
            self.value("idle", inline.finish());
        }
    }

    fn allow(&mut self, allowed: &AllowList) {
        if !allowed.is_empty() {
            let prefixes = allowed.prefixes().iter();
            let lines: Vec<_> = prefixes.map(|prefix| format!("    {},\n", quoted(&prefix.to_string()))).collect();
            self.value("allow", format!("[\n{}]", lines.concat()));
        }
    }
}

/// An inline table that is being written.
#[derive(Default)]
struct Inline(Vec<String>);

impl Inline {
    fn text(&mut self, key: &str, text: &str) {
        self.0.push(format!("{key} = {}", quoted(text)));
    }

    fn value_unless<T: PartialEq + std::fmt::Display>(&mut self, key: &str, value: T, unless: T) {
        if value != unless {
            self.0.push(format!("{key} = {value}"));
        }
    }

    fn some<T: PartialEq + std::fmt::Display>(&mut self, key: &str, value: Option<T>, unless: Option<T>) {
        if let Some(value) = value.filter(|value| Some(value) != unless.as_ref()) {
            self.0.push(format!("{key} = {value}"));
        }
    }

    fn some_text<T: PartialEq + std::fmt::Display>(&mut self, key: &str, value: Option<T>, unless: Option<T>) {
        if let Some(value) = value.filter(|value| Some(value) != unless.as_ref()) {
            self.text(key, &value.to_string());
        }
    }

    fn finish(self) -> String {
        format!("{{ {} }}", self.0.join(", "))
    }
}
