//! Lines as users type them, right and wrong.

use clap::CommandFactory;

use super::*;
use crate::model::Timeouts;

fn parse(line: &str) -> Result<Cli, String> {
    Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_port_goes_with_the_protocols_that_have_ports() {
    let add = "drlb listener add web --vip 192.0.2.10 --protocol";
    assert!(parse(&format!("{add} tcp --port 80")).is_ok());
    assert!(parse(&format!("{add} ip")).is_ok());
    let refusal = parse(&format!("{add} sctp")).expect_err("no port");
    assert!(refusal.contains("--port <PORT>"), "{refusal}");
}

#[test]
fn wrong_values_are_refused_with_what_is_right() {
    for (line, expected) in [
        ("drlb listener add web --vip here --protocol ip", "VIP `here` is not an IP address; write it as 192.0.2.10"),
        ("drlb listener add web --vip 192.0.2.10 --protocol gre", "[possible values: tcp, udp, sctp, ip]"),
        ("drlb listener add web --vip 192.0.2.10 --protocol tcp --port 65536", "65536 is not in 0..=65535"),
        ("drlb listener show a/b", "the name `a/b` contains '/'"),
        ("drlb backend add web 192.0.2.21 --weight 257", "a weight is a whole number from 0 to 256"),
        ("drlb backend add web 192.0.2.21 --weight=-1", "a weight is a whole number from 0 to 256"),
        ("drlb backend add web ff02::1", "backend ff02::1 is a multicast address"),
        ("drlb backend set web 192.0.2.21", "<--weight <WEIGHT>|--up|--down|--monitor-address <IP>"),
        ("drlb backend set web 192.0.2.21 --up --down", "'--up' cannot be used with '--down'"),
        ("drlb backend set web 192.0.2.21 --backup --no-backup", "cannot be used with '--no-backup'"),
        ("drlb listener set web", "<--algorithm <ALGORITHM>|--persistence <source-ip[:TIME][/PREFIX]>|"),
        ("drlb listener set web --persistence source-ip --no-persistence", "cannot be used with '--no-persistence'"),
        (
            "drlb listener set web --algorithm fair",
            "[possible values: source-ip-port, source-ip, round-robin, least-connections]",
        ),
        ("drlb listener set web --persistence cookie", "`cookie` makes no sessions; write source-ip"),
        ("drlb listener set web --idle udp", "write it as KIND=TIME, like udp=30s"),
        (
            "drlb backend drain web 192.0.2.21 --deadline 0",
            "`0` is not a span of time; write it as 90, 90s, 5m, 2h or 1d",
        ),
        ("drlb backend drain web", "<ADDRESS>"),
        ("drlb flows --limit many", "a limit is a whole number from 1 to 10000"),
        ("drlb flows --limit 10001", "a limit is a whole number from 1 to 10000"),
        ("drlb backend setup", "--vip <IP>"),
        ("drlb status -o yaml", "[possible values: table, json]"),
        ("drlb attach eth1 --mode fast", "[possible values: native, generic, auto]"),
    ] {
        let refusal = parse(line).map(|_| ()).expect_err(line);
        assert!(refusal.contains(expected), "{line}: {refusal}");
    }
}

#[test]
fn the_common_options_stand_anywhere() {
    for line in ["drlb --socket /s -o json backend list web", "drlb backend list web -o json --socket /s"] {
        let cli = parse(line).expect(line);
        assert_eq!((cli.socket, cli.output), (PathBuf::from("/s"), Output::Json));
    }
}

#[test]
fn the_help_tells_the_idle_times_that_hold_unless_set() {
    let help = parse("drlb listener add --help").map(|_| ()).expect_err("the help");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let Timeouts { handshake, established, closing, udp, other } = Timeouts::default();
    let time = |seconds: u32| match seconds % 60 {
        0 if seconds > 60 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    };
    for expected in [
        format!("seen; {} unless set", time(handshake)),
        format!("at work; {})", time(established)),
        format!("or RST; {})", time(closing)),
        format!("udp ({})", time(udp)),
        format!("other ({})", time(other)),
    ] {
        assert!(help.contains(&expected), "no `{expected}` in: {help}");
    }
}
