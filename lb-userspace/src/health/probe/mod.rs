//! One probe: what is sent, and whether the right answer comes.

mod failed;
mod http;
mod icmp;
mod tcp;
mod tls;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

pub(super) use failed::Failed;
pub(super) use icmp::Pinger;
pub(super) use tls::Trust;

use crate::model::{HealthCheck, Probe};

/// Where a probe is sent from, or nothing where the kernel is to choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    /// The address.
    pub(super) address: IpAddr,
    /// The port; of an echo request the identifier.
    pub(super) port: u16,
    /// The identifier of a UDP probe's echo request.
    pub(super) echo: u16,
}

/// What probes share.
#[derive(Clone)]
pub(super) struct Means {
    /// Sends echo requests.
    pub(super) pinger: Rc<Pinger>,
    /// Which certificates are valid.
    pub(super) trust: Rc<Trust>,
}

/// Sends a probe and waits for its answer.
///
/// # Errors
/// What went wrong, as people say it, and on which side.
pub(super) async fn run(check: &HealthCheck, to: SocketAddr, from: From, means: &Means) -> Result<(), Failed> {
    let probe = async {
        match &check.probe {
            Probe::Tcp => tcp::connect(to, from).await.map(drop),
            Probe::Http(http) => http::request(tcp::connect(to, from).await?, http, to.ip()).await,
            Probe::Https(https) => {
                let name = https.tls.sni.as_deref().or(https.http.host.as_deref());
                let stream =
                    tls::handshake(tcp::connect(to, from).await?, name, to.ip(), &https.tls, &means.trust).await?;
                http::request(stream, &https.http, to.ip()).await
            }
            Probe::Tls(tls) => {
                let stream = tcp::connect(to, from).await?;
                tls::handshake(stream, tls.sni.as_deref(), to.ip(), tls, &means.trust).await.map(drop)
            }
            Probe::Icmp => means.pinger.ping(to.ip(), from.address, from.port).await,
            Probe::Udp(udp) => udp::exchange(udp, to, from, &means.pinger).await,
        }
    };
    match timeout(check.timeout(), probe).await {
        Ok(result) => result,
        Err(_) => Err(Failed::There(format!("no answer within {}", span(check.timeout())))),
    }
}

/// A time as people say it: `500 ms`, `2 s`.
fn span(time: Duration) -> String {
    let millis = time.as_millis();
    if millis.is_multiple_of(1_000) { format!("{} s", millis / 1_000) } else { format!("{millis} ms") }
}
