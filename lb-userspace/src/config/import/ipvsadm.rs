//! What `ipvsadm-save -n` prints (`ipvsadm -S -n`): a command line of ipvsadm(8) for each service and each server.

use std::net::{IpAddr, Ipv4Addr};

use super::Imported;
use super::service::{Server, Service};
use crate::model::Protocol;

/// Reads it.
#[must_use]
pub fn ipvsadm(text: &str) -> Imported {
    let mut imported = Imported::default();
    let mut services: Vec<Service> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let words: Vec<&str> = line.split_whitespace().collect();
        let result = match words.split_first() {
            None => Ok(()),
            Some((first, _)) if first.starts_with('#') => Ok(()),
            Some((&("-A" | "--add-service"), options)) => service(number, options, &mut services, &mut imported),
            Some((&("-a" | "--add-server"), options)) => server(number, options, &mut services, &mut imported),
            Some((first, _)) => Err(format!("`{first}` is none of ipvsadm's commands that add something; left out")),
        };
        if let Err(note) = result {
            imported.note(number, note);
        }
    }
    for service in services {
        imported.take(service, |_, _| None);
    }
    imported
}

/// The options of one line, with their values.
struct Options<'a> {
    words: std::slice::Iter<'a, &'a str>,
}

impl<'a> Options<'a> {
    fn value(&mut self, option: &str) -> Result<&'a str, String> {
        self.words.next().copied().ok_or_else(|| format!("`{option}` has no value; the line was left out"))
    }

    fn number<T: std::str::FromStr>(&mut self, option: &str) -> Result<T, String> {
        let text = self.value(option)?;
        text.parse().map_err(|_| format!("`{option} {text}` is not a number that can be; the line was left out"))
    }
}

/// What a line names a service by.
type Key = (Protocol, IpAddr, u16);

/// The service that an option names; `None` if it is another option.
fn key(option: &str, options: &mut Options<'_>) -> Result<Option<Key>, String> {
    let protocol = match option {
        "-t" | "--tcp-service" => Protocol::Tcp,
        "-u" | "--udp-service" => Protocol::Udp,
        "--sctp-service" => Protocol::Sctp,
        "-f" | "--fwmark-service" => {
            let mark = options.value(option)?;
            return Err(format!(
                "the service of firewall mark {mark} was left out: name its VIPs and ports as listeners, or a VIP with \
                 protocol ip"
            ));
        }
        _ => return Ok(None),
    };
    let (address, port) = endpoint(options.value(option)?)?;
    Ok(Some((protocol, address, port)))
}

fn service(line: usize, words: &[&str], services: &mut Vec<Service>, imported: &mut Imported) -> Result<(), String> {
    let mut options = Options { words: words.iter() };
    let mut named = None;
    let (mut scheduler, mut flags, mut persistence, mut granularity) = ("wlc".to_owned(), vec![], None, None);
    while let Some(option) = options.words.next() {
        if let Some(key) = key(option, &mut options)? {
            named = Some(key);
            continue;
        }
        match *option {
            "-s" | "--scheduler" => scheduler = options.value(option)?.to_owned(),
            // The seconds may be left out, and are 360 then.
            "-p" | "--persistent" => match options.words.clone().next().and_then(|next| next.parse().ok()) {
                Some(seconds) => {
                    options.words.next();
                    persistence = Some(seconds);
                }
                None => persistence = Some(360),
            },
            "-M" | "--netmask" => granularity = Some(netmask(options.value(option)?)?),
            "-b" | "--sched-flags" => {
                flags.extend(options.value(option)?.split(',').map(str::to_owned));
            }
            "--pe" => {
                let engine = options.value(option)?;
                imported.note(line, format!("the persistence engine `{engine}` was left out"));
            }
            "-o" | "--ops" => imported.note(line, "one-packet scheduling was left out: a flow stays with its server"),
            other => imported.note(line, format!("`{other}` was left out")),
        }
    }
    let (protocol, vip, port) = named.ok_or("the line names no service; it was left out")?;
    let servers = Vec::new();
    services.push(Service { line, vip, protocol, port, scheduler, flags, persistence, granularity, servers });
    Ok(())
}

fn server(line: usize, words: &[&str], services: &mut [Service], imported: &mut Imported) -> Result<(), String> {
    let mut options = Options { words: words.iter() };
    let (mut named, mut server, mut weight, mut kind) = (None, None, 1, "-g");
    while let Some(option) = options.words.next() {
        if let Some(key) = key(option, &mut options)? {
            named = Some(key);
            continue;
        }
        match *option {
            "-r" | "--real-server" => server = Some(endpoint(options.value(option)?)?),
            "-w" | "--weight" => weight = options.number(option)?,
            "-g" | "--gatewaying" => kind = "-g",
            "-m" | "--masquerading" => kind = "-m",
            "-i" | "--ipip" => kind = "-i",
            "-x" | "--u-threshold" | "-y" | "--l-threshold" => {
                let threshold: u32 = options.number(option)?;
                if threshold != 0 {
                    imported.note(line, format!("the server's limit of connections, {threshold}, was left out"));
                }
            }
            "--tun-type" | "--tun-port" => {
                options.value(option)?;
            }
            "--tun-nocsum" | "--tun-csum" | "--tun-remcsum" => {}
            other => imported.note(line, format!("`{other}` was left out")),
        }
    }
    let (address, port) = server.ok_or("the line names no server; it was left out")?;
    let key = named.ok_or("the line names no service; it was left out")?;
    let service = services.iter_mut().rev().find(|service| (service.protocol, service.vip, service.port) == key);
    let service = service.ok_or("no line before this one adds its service; it was left out")?;
    let how = match kind {
        "-m" => "network address translation",
        "-i" => "a tunnel",
        _ => {
            service.servers.push(Server { line, address, port, weight, backup: false });
            return Ok(());
        }
    };
    Err(format!(
        "server {address} was left out: it is reached by {how}, and drlb's are by direct routing; when it holds the VIP \
         (`drlb backend setup`), add it with `drlb backend add`"
    ))
}

/// `192.0.2.10:80`, `[2001:db8::10]:80`
fn endpoint(text: &str) -> Result<(IpAddr, u16), String> {
    let wrong =
        || format!("`{text}` is not an address and port in numbers; it was left out. Save with `ipvsadm-save -n`");
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    Ok((address.parse().map_err(|_| wrong())?, port.parse().map_err(|_| wrong())?))
}

/// `255.255.255.0`, or a number of bits as IPv6 has it.
pub(super) fn netmask(text: &str) -> Result<u8, String> {
    let wrong = || format!("`{text}` is not a netmask; the line was left out");
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        let bits = mask.to_bits();
        return if bits.leading_ones() == bits.count_ones() { Ok(bits.leading_ones() as u8) } else { Err(wrong()) };
    }
    text.parse().ok().filter(|bits| *bits <= 128).ok_or_else(wrong)
}
