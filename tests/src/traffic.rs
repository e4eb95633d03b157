//! Traffic that is not HTTP: UDP, protocols that are neither TCP nor UDP, and echo requests.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::Host;

/// GRE (RFC 2784).
pub const GRE: u8 = 47;
/// SCTP (RFC 9260).
pub const SCTP: u8 = 132;
/// ESP (RFC 4303).
pub const ESP: u8 = 50;

/// How long a server waits for a packet before it looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a client waits for an answer before it asks again.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a client asks. Nothing is lost on these wires, but a request can come while the VIP's MAC is being learned.
const TRIES: u32 = 10;

/// Longest datagram or packet that is sent or answered.
const LONGEST: usize = 65_535;

/// A server on a thread of a host: answers each datagram or packet with its host's name, a space, and what was sent. It
/// ends when it is dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Echo {
    /// Answers UDP to this address and port, from this address and port.
    ///
    /// # Errors
    /// The address is not the host's, or the port is taken.
    pub fn udp(host: &Host, address: IpAddr, port: u16) -> Result<Self> {
        Self::datagrams(host, SocketAddr::new(address, port), answer)
    }

    /// Answers DNS queries (RFC 1035) to this address: whatever the name, its TXT record is the host's name.
    ///
    /// # Errors
    /// As [`Echo::udp`].
    pub fn dns(host: &Host, address: IpAddr) -> Result<Self> {
        Self::datagrams(host, SocketAddr::new(address, 53), dns_answer)
    }

    fn datagrams(host: &Host, at: SocketAddr, answer: fn(&str, &[u8]) -> Vec<u8>) -> Result<Self> {
        let socket = host.enter(|| {
            let socket =
                UdpSocket::bind(at).with_context(|| format!("host `{}` cannot take UDP at {at}", host.name()))?;
            socket.set_read_timeout(Some(GLANCE))?;
            Ok(socket)
        })?;
        Self::start(host, move |name| {
            let mut bytes = [0; LONGEST];
            let (length, from) = socket.recv_from(&mut bytes)?;
            socket.send_to(&answer(name, &bytes[..length]), from)?;
            Ok(())
        })
    }

    /// Answers packets of an IP protocol to this address, from this address.
    ///
    /// # Errors
    /// The address is not the host's.
    pub fn ip(host: &Host, address: IpAddr, protocol: u8) -> Result<Self> {
        let socket = host.enter(|| raw_socket(address, protocol, GLANCE))?;
        Self::start(host, move |name| {
            let (payload, from) = receive(&socket)?;
            socket.send_to(&answer(name, &payload), &SocketAddr::new(from, 0).into())?;
            Ok(())
        })
    }

    fn start(host: &Host, mut serve_one: impl FnMut(&str) -> std::io::Result<()> + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let name = host.name().to_owned();
        let thread = host.thread(&format!("echo-{name}"), move || {
            while !told.load(Ordering::Relaxed) {
                match serve_one(&name) {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
                    Err(error) => return Err(error).context("an echo server failed"),
                }
            }
            Ok(())
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that failed was noticed by its clients.
            let _ = thread.join();
        }
    }
}

fn answer(name: &str, to: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b" ", to].concat()
}

/// A response with one TXT record; nothing to what is no query of one question.
fn dns_answer(name: &str, query: &[u8]) -> Vec<u8> {
    const HEADER: usize = 12;
    let labels = query.get(HEADER..).unwrap_or_default();
    // The name ends with an empty label; its type and class follow.
    let Some(end) = labels.iter().position(|byte| *byte == 0).filter(|end| labels.len() >= end + 5) else {
        return Vec::new();
    };
    let mut response = query[..HEADER].to_vec();
    // A response, recursion available, no error; one question, one answer.
    response[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    response.extend(&labels[..end + 5]);
    // The name of the question, TXT, IN, not to be kept; the record is one string.
    response.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 0, 0, name.len() as u8 + 1, name.len() as u8]);
    response.extend(name.as_bytes());
    response
}

fn raw_socket(address: IpAddr, protocol: u8, patience: Duration) -> Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))
        .with_context(|| format!("cannot make a raw socket for protocol {protocol}"))?;
    socket.bind(&SocketAddr::new(address, 0).into()).with_context(|| format!("cannot take packets at {address}"))?;
    socket.set_read_timeout(Some(patience))?;
    Ok(socket)
}

/// The payload of the next packet, and its source.
fn receive(socket: &Socket) -> std::io::Result<(Vec<u8>, IpAddr)> {
    let mut bytes = vec![0; LONGEST];
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut bytes)?;
    bytes.truncate(length);
    let from = from.ok_or(ErrorKind::InvalidData)?;
    if let Some(v4) = from.as_sockaddr_in() {
        // An IPv4 raw socket gives the header, too; an IPv6 one does not (raw(7), RFC 3542).
        let header = usize::from(bytes.first().map_or(0, |first| first & 0xf)) * 4;
        return Ok((bytes.split_off(header.min(length)), v4.ip().into()));
    }
    let v6 = from.as_sockaddr_in6().ok_or(ErrorKind::InvalidData)?;
    Ok((bytes, v6.ip().into()))
}

/// Sends `message` by UDP from a new port of a host, and returns which server answered.
///
/// # Errors
/// Nobody answered, or not what was sent.
pub fn ask_udp(from: &Host, to: SocketAddr, message: &str) -> Result<String> {
    from.enter(|| {
        let any: IpAddr = unspecified_like(to.ip());
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        // Connected, so that only an answer from the VIP itself counts.
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        ask(
            &format!("UDP {to}"),
            message,
            || socket.send(message.as_bytes()).map(drop),
            || {
                let mut bytes = vec![0; LONGEST];
                let length = socket.recv(&mut bytes)?;
                bytes.truncate(length);
                Ok(bytes)
            },
        )
    })
}

/// Sends a packet of an IP protocol with `message` as its payload from a host, and returns which server answered.
///
/// # Errors
/// Nobody answered, or not what was sent.
pub fn ask_ip(from: &Host, to: IpAddr, protocol: u8, message: &str) -> Result<String> {
    from.enter(|| {
        let socket = raw_socket(unspecified_like(to), protocol, PATIENCE)?;
        let send = || socket.send_to(message.as_bytes(), &SocketAddr::new(to, 0).into()).map(drop);
        ask(&format!("protocol {protocol} to {to}"), message, send, || {
            let (payload, source) = receive(&socket)?;
            if source == to { Ok(payload) } else { Err(ErrorKind::WouldBlock.into()) }
        })
    })
}

fn ask(
    what: &str,
    message: &str,
    send: impl Fn() -> std::io::Result<()>,
    receive: impl Fn() -> std::io::Result<Vec<u8>>,
) -> Result<String> {
    let mut last = None;
    for _ in 0..TRIES {
        match send().and_then(|()| receive()) {
            Ok(reply) => {
                let reply = String::from_utf8_lossy(&reply).into_owned();
                let (name, echoed) = reply.split_once(' ').with_context(|| format!("{what}: answered `{reply}`"))?;
                ensure!(echoed == message, "{what}: `{message}` was answered with `{echoed}`");
                return Ok(name.to_owned());
            }
            Err(error) => last = Some(error),
        }
    }
    let last = last.map_or_else(String::new, |error| format!(" ({error})"));
    anyhow::bail!("{what}: no answer to {TRIES} requests{last}")
}

fn unspecified_like(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { std::net::Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() }
}

/// Sends an ICMP or ICMPv6 echo request with `payload` from a host, and returns the time that the answer took.
///
/// # Errors
/// Nobody answered, or not what was sent.
pub fn ping(from: &Host, to: IpAddr, payload: &[u8]) -> Result<Duration> {
    echo(from, to, payload, TRIES)?
        .with_context(|| format!("{to} did not answer {TRIES} echo requests from host `{}`", from.name()))
}

/// True if nobody answers three echo requests with `payload` from a host, half a second each.
///
/// # Errors
/// They cannot be sent.
pub fn is_silent(from: &Host, to: IpAddr, payload: &[u8]) -> Result<bool> {
    Ok(echo(from, to, payload, 3)?.is_none())
}

/// Who answers an echo request that may pass so many routers less one: as `traceroute -I` asks.
///
/// # Errors
/// Nobody answered.
pub fn hop(from: &Host, to: IpAddr, hops: u32) -> Result<IpAddr> {
    let (protocol, request, answers) = if to.is_ipv4() { (1, 8, [0, 11]) } else { (58, 128, [129, 3]) };
    from.enter(|| {
        let socket = raw_socket(unspecified_like(to), protocol, PATIENCE)?;
        if to.is_ipv4() {
            socket.set_ttl_v4(hops)?
        } else {
            socket.set_unicast_hops_v6(hops)?
        };
        let mut message = vec![request, 0, 0, 0, 0x1d, 0xea, 0, hops as u8];
        if to.is_ipv4() {
            let checksum = internet_checksum(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        for _ in 0..TRIES {
            let begun = Instant::now();
            socket.send_to(&message, &SocketAddr::new(to, 0).into())?;
            while begun.elapsed() < PATIENCE {
                let Ok((answer, source)) = receive(&socket) else { break };
                if answer.first().is_some_and(|kind| answers.contains(kind)) {
                    return Ok(source);
                }
            }
        }
        anyhow::bail!("nobody answered an echo request to {to} over {hops} hops")
    })
}

fn echo(from: &Host, to: IpAddr, payload: &[u8], tries: u32) -> Result<Option<Duration>> {
    let (protocol, request, reply) = if to.is_ipv4() { (1, 8, 0) } else { (58, 128, 129) };
    let identifier = (std::process::id() as u16).to_be_bytes();
    from.enter(|| {
        let socket = raw_socket(unspecified_like(to), protocol, PATIENCE)?;
        for try_number in 0..tries {
            let mut message = vec![request, 0, 0, 0];
            message.extend(identifier);
            message.extend((try_number as u16).to_be_bytes());
            message.extend(payload);
            if to.is_ipv4() {
                // The kernel does the checksum of ICMPv6 (RFC 3542), but not this one.
                let checksum = internet_checksum(&message);
                message[2..4].copy_from_slice(&checksum.to_be_bytes());
            }
            let begun = Instant::now();
            socket.send_to(&message, &SocketAddr::new(to, 0).into()).with_context(|| format!("cannot ping {to}"))?;
            while begun.elapsed() < PATIENCE {
                let Ok((answer, source)) = receive(&socket) else { break };
                let is_ours = source == to && answer.first() == Some(&reply) && answer.get(4..8) == message.get(4..8);
                if is_ours {
                    let took = begun.elapsed();
                    ensure!(answer.get(8..) == Some(payload), "the echo from {to} is not what was sent");
                    return Ok(Some(took));
                }
            }
        }
        Ok(None)
    })
}

/// The checksum of RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
