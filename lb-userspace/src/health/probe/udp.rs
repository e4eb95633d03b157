//! A datagram.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::{Failed, From, Pinger};
use crate::model::UdpProbe;

/// How long after the answer to a ping an ICMP error may come that refuses the datagram before it.
const REFUSAL: Duration = Duration::from_millis(200);

/// Sends a datagram. With an answer expected, that is waited for. Without, the backend must answer a ping that is sent
/// after it, and no ICMP error may come: silence alone could be that of a host that is gone.
///
/// # Errors
/// It is refused, or the answer is another one.
pub(super) async fn exchange(probe: &UdpProbe, to: SocketAddr, from: From, pinger: &Pinger) -> Result<(), Failed> {
    let says = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("port {} is closed (ICMP port unreachable)", to.port()),
        _ => format!("port {} cannot be reached: {error}", to.port()),
    };
    let fault = |error| Failed::of(error, says);
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let own =
        if from.address.is_unspecified() { SocketAddr::new(any, 0) } else { SocketAddr::new(from.address, from.port) };
    let socket = UdpSocket::bind(own).await.map_err(fault)?;
    socket.connect(to).await.map_err(fault)?;
    socket.send(&probe.sent()).await.map_err(fault)?;
    let mut answer = vec![0; 65_536];
    match probe.wanted() {
        Some(wanted) => {
            let length = socket.recv(&mut answer).await.map_err(fault)?;
            let answer = answer.get(..length).unwrap_or_default();
            let holds = wanted.is_empty() || answer.windows(wanted.len()).any(|part| part == wanted);
            let wrong = || format!("the answer, of {length} bytes, does not hold what is expected");
            if holds { Ok(()) } else { Err(Failed::There(wrong())) }
        }
        None => {
            let alive = async {
                pinger.ping(to.ip(), from.address, from.echo).await?;
                tokio::time::sleep(REFUSAL).await;
                Ok(())
            };
            tokio::select! {
                received = socket.recv(&mut answer) => received.map(drop).map_err(fault),
                result = alive => result,
            }
        }
    }
}
