//! What drlb asks of the kernel: links, neighbours, routes, and to keep a neighbour fresh.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::pin;

use futures_util::{Stream, StreamExt, TryStreamExt};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::Handle;
use tokio::task::JoinHandle;

use super::decode;
use crate::neighbour::picture::{LinkFacts, Neighbour, NeighbourKey, Route};

/// A request that the kernel did not grant, with what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed: {source}")]
pub(super) struct RequestError {
    what: String,
    source: io::Error,
}

impl RequestError {
    fn new(what: impl Into<String>, error: rtnetlink::Error) -> Self {
        let source = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other),
        };
        Self { what: what.into(), source }
    }

    fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// True if the connection to the kernel is broken, and not just this request refused.
    pub(super) fn is_broken_connection(&self) -> bool {
        self.errno().is_none()
    }
}

/// A connection to the kernel for requests. Dropping it ends the task that drives it.
pub(super) struct Kernel {
    handle: Handle,
    driver: JoinHandle<()>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Kernel {
    /// Connects to the kernel in this thread's network namespace.
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, _unsolicited) = rtnetlink::new_connection()?;
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }

    /// All links by index.
    pub(super) async fn links(&self) -> Result<BTreeMap<u32, LinkFacts>, RequestError> {
        self.handle
            .link()
            .get()
            .execute()
            .try_filter_map(|message| async move { Ok(decode::link(&message)) })
            .try_collect()
            .await
            .map_err(|error| RequestError::new("reading the links", error))
    }

    /// All IPv4 and IPv6 neighbours.
    pub(super) async fn neighbours(&self) -> Result<BTreeMap<NeighbourKey, Neighbour>, RequestError> {
        let mut all = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let entries: Vec<_> = self
                .handle
                .neighbours()
                .get()
                .set_address_family(family)
                .execute()
                .try_collect()
                .await
                .map_err(|error| RequestError::new("reading the neighbours", error))?;
            all.extend(entries.iter().filter_map(decode::neighbour));
        }
        Ok(all)
    }

    /// This host's own addresses by the index of their link, with the length of their network's prefix.
    pub(super) async fn addresses(&self) -> Result<BTreeMap<u32, Vec<(IpAddr, u8)>>, RequestError> {
        let mut all: BTreeMap<u32, Vec<(IpAddr, u8)>> = BTreeMap::new();
        let mut answers = pin!(self.handle.address().get().execute());
        let next = |error| RequestError::new("reading the addresses", error);
        while let Some(message) = answers.try_next().await.map_err(next)? {
            if let Some(own) = decode::own_address(&message) {
                all.entry(message.header.index).or_default().push(own);
            }
        }
        all.values_mut().for_each(|list| list.sort_unstable());
        Ok(all)
    }

    /// Where a packet to that address would go.
    pub(super) async fn route(&self, address: IpAddr) -> Result<Route, RequestError> {
        let mut request = RouteMessage::default();
        (request.header.address_family, request.header.destination_prefix_length) = match address {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        request.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
        let mut answer = pin!(self.handle.route().get(request).execute());
        let result = answer.try_next().await;
        match result.map_err(|error| RequestError::new(format!("looking up the route to {address}"), error)) {
            Ok(Some(message)) => Ok(decode::route(&message)),
            Ok(None) => Ok(Route::None),
            Err(error) if error.is_broken_connection() => Err(error),
            // ENETUNREACH, EHOSTUNREACH, EACCES (prohibited), EINVAL (black hole): all mean that nothing gets there.
            Err(error) => {
                tracing::debug!("{error}");
                Ok(Route::None)
            }
        }
    }

    /// One neighbour entry, if the kernel has it.
    pub(super) async fn neighbour(&self, key: NeighbourKey) -> Result<Option<Neighbour>, RequestError> {
        let what = || format!("reading the neighbour {}", key.address);
        let message = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(message(key)));
        let mut answers = pin!(self.request(message, NLM_F_REQUEST).map_err(|error| RequestError::new(what(), error))?);
        let mut found = None;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => {
                    found = decode::neighbour(&entry).map(|(_, entry)| entry);
                }
                NetlinkPayload::Error(error) if error.raw_code() == -libc::ENOENT => return Ok(None),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(RequestError::new(what(), rtnetlink::Error::NetlinkError(error)));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Makes the kernel resolve a new neighbour and keep it fresh. False if it knows that neighbour already, about
    /// which this changes nothing.
    pub(super) async fn manage_new(&self, key: NeighbourKey) -> Result<bool, RequestError> {
        match self.change(managed(key), NLM_F_CREATE | NLM_F_EXCL).await {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the kernel keep a neighbour fresh that it knows already. Does nothing if it is gone.
    ///
    /// A permanent entry would lose its permanence, so the caller must know that it is not one.
    pub(super) async fn manage_known(&self, key: NeighbourKey) -> Result<(), RequestError> {
        ignore_missing(self.change(managed(key), 0).await)
    }

    /// Makes the kernel treat a managed neighbour as any other: it ages when it is not used. Does nothing if it is
    /// gone.
    pub(super) async fn release(&self, key: NeighbourKey) -> Result<(), RequestError> {
        // Without the extended flag the kernel takes it away; with NTF_USE it leaves the entry's state as it is
        // (`neigh_update_flags` and `__neigh_update` in net/core/neighbour.c).
        let mut message = message(key);
        message.header.flags = NeighbourFlags::Use;
        ignore_missing(self.change(message, 0).await)
    }

    async fn change(&self, message: NeighbourMessage, flags: u16) -> Result<(), RequestError> {
        let what = format!("keeping the neighbour {:?} fresh", message.attributes.first());
        let message = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        let mut answers = pin!(
            self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags)
                .map_err(|error| RequestError::new(what.clone(), error))?
        );
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(RequestError::new(what, rtnetlink::Error::NetlinkError(error)));
            }
        }
        Ok(())
    }

    fn request(
        &self,
        mut message: NetlinkMessage<RouteNetlinkMessage>,
        flags: u16,
    ) -> Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, rtnetlink::Error> {
        message.header.flags = flags;
        self.handle.clone().request(message)
    }
}

fn ignore_missing(result: Result<(), RequestError>) -> Result<(), RequestError> {
    match result {
        // The entry, or its link, went away in the meantime; the kernel's event of that comes on its own.
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
        other => other,
    }
}

fn message(key: NeighbourKey) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match key.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = key.ifindex;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::from(key.address)));
    message
}

/// The request for a managed entry (Linux 5.16): the kernel asks for the MAC at once, and again whenever the entry
/// would grow stale or has failed.
fn managed(key: NeighbourKey) -> NeighbourMessage {
    let mut message = message(key);
    message.header.flags = NeighbourFlags::Use;
    message.attributes.push(NeighbourAttribute::Protocol(decode::PROTOCOL));
    message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    message
}
