//! The pair of interfaces that probes of health checks are sent by, in a network namespace of the agent's own.
//!
//! ```text
//!   sockets ── probe ═══════ out ── XDP program ──▶ the balancer's interface
//!              addresses     no address
//!              default routes
//! ```
//!
//! Whatever a socket sends goes to `probe`, without asking for any neighbour, and arrives at `out`, whose program knows the
//! backend's MAC. Answers are sent into `out` and arrive at `probe`.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use lb_common::probe::PROBE_MAC;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

/// The end that sockets send by.
pub const INNER: &str = "probe";
/// The end that has the program.
pub const OUTER: &str = "out";

/// The pair, and what speaks to the kernel about it.
#[derive(Debug)]
pub struct ProbeLink {
    handle: Handle,
    driver: JoinHandle<()>,
    inner: u32,
    outer: u32,
    sources: BTreeSet<IpAddr>,
}

impl Drop for ProbeLink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl ProbeLink {
    /// Makes the pair in the calling thread's network namespace, switched off.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn make() -> io::Result<Self> {
        let (connection, handle, _unsolicited) = rtnetlink::new_connection()?;
        let driver = tokio::spawn(connection);
        let pair = LinkVeth::new(INNER, OUTER).address(PROBE_MAC.0.to_vec()).build();
        handle.link().add(pair).execute().await.map_err(io::Error::other)?;
        let (inner, outer) = (index(&handle, INNER).await?, index(&handle, OUTER).await?);
        Ok(Self { handle, driver, inner, outer, sources: BTreeSet::new() })
    }

    /// Index of the end that has the program.
    #[must_use]
    pub const fn outer(&self) -> u32 {
        self.outer
    }

    /// Switches the pair on, and leads everything to it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn up(&self) -> io::Result<()> {
        let outer = LinkUnspec::new_with_index(self.outer).arp(false).up().build();
        self.handle.link().set(outer).execute().await.map_err(io::Error::other)?;
        let inner = LinkUnspec::new_with_index(self.inner).arp(false).up().build();
        self.handle.link().set(inner).execute().await.map_err(io::Error::other)?;
        self.lead_v4().await.map_err(io::Error::other)?;
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(self.inner).build();
        if let Err(error) = self.handle.route().add(v6).execute().await {
            tracing::info!("health checks over IPv6 are not possible: {error}");
        }
        Ok(())
    }

    /// Leads all of IPv4 to the pair.
    async fn lead_v4(&self) -> Result<(), rtnetlink::Error> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(self.inner).scope(RouteScope::Link).build();
        self.handle.route().add(route).replace().execute().await
    }

    /// Gives the pair these addresses to send from, and takes the others away. Those that the kernel refuses are logged.
    pub async fn set_sources(&mut self, wanted: &BTreeSet<IpAddr>) {
        let had_v4 = self.sources.iter().any(IpAddr::is_ipv4);
        let gone: Vec<_> = self.sources.difference(wanted).copied().collect();
        let new: Vec<_> = wanted.difference(&self.sources).copied().collect();
        for source in new {
            match self.address(source).execute().await {
                Ok(()) => {
                    self.sources.insert(source);
                }
                Err(error) => tracing::warn!("no health check can be sent from {source}: {error}"),
            }
        }
        for source in gone {
            let message = self.address(source).message_mut().clone();
            if let Err(error) = self.handle.address().del(message).execute().await {
                tracing::debug!("the probes' address {source} cannot be taken away: {error}");
            }
            self.sources.remove(&source);
        }
        // With an interface's last IPv4 address the kernel takes its routes away (`fib_inetaddr_event` in
        // net/ipv4/fib_frontend.c).
        if !had_v4
            && self.sources.iter().any(IpAddr::is_ipv4)
            && let Err(error) = self.lead_v4().await
        {
            tracing::warn!("no health check can be sent over IPv4: {error}");
        }
    }

    fn address(&self, source: IpAddr) -> rtnetlink::AddressAddRequest {
        let whole = if source.is_ipv4() { 32 } else { 128 };
        let mut request = self.handle.address().add(self.inner, source, whole);
        // The balancer has made sure that it is the only one with that address; here there is nobody to ask.
        request.message_mut().header.flags = AddressHeaderFlags::Nodad;
        request
    }
}

async fn index(handle: &Handle, name: &str) -> io::Result<u32> {
    let mut links = std::pin::pin!(handle.link().get().match_name(name.to_owned()).execute());
    let link = links.try_next().await.map_err(io::Error::other)?;
    link.map(|link| link.header.index).ok_or_else(|| io::Error::other(format!("the kernel made no interface {name}")))
}
