//! What the kernel tells of single interfaces when it is asked: for the doctor.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::pin;

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

use crate::neighbour::{Device, Peer};

/// Asks for interfaces by their names. One that is not there is not in the answer.
///
/// # Errors
/// The kernel cannot be asked.
pub async fn devices(names: &BTreeSet<String>) -> io::Result<BTreeMap<String, Device>> {
    let (connection, handle, _unsolicited) = rtnetlink::new_connection()?;
    let driver = tokio::spawn(connection);
    let mut found = BTreeMap::new();
    for name in names {
        if let Some(message) =
            one(&handle, LinkMessageBuilder::<LinkUnspec>::default().name(name.clone()).build()).await
        {
            found.insert(name.clone(), device(&handle, &message).await);
        }
    }
    driver.abort();
    Ok(found)
}

async fn device(handle: &Handle, message: &LinkMessage) -> Device {
    let is_veth = message.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Veth)))
    });
    let peer = if is_veth { peer(handle, message).await } else { None };
    Device { mtu: mtu(message), is_veth, peer }
}

/// The other end of a pair. It may be in another network namespace, which the kernel looks into if we have the right there.
async fn peer(handle: &Handle, message: &LinkMessage) -> Option<Peer> {
    let index = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })?;
    let namespace = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkNetNsId(id) => Some(*id),
        _ => None,
    });
    let mut question = LinkMessageBuilder::<LinkUnspec>::default().index(index).build();
    question.attributes.extend(namespace.map(LinkAttribute::IfNetnsId));
    let answer = one(handle, question).await?;
    let has_program = answer.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::Xdp(xdp)
            if xdp.iter().any(|nla| matches!(nla, LinkXdp::DrvProgId(id) | LinkXdp::ProgId(id) if *id != 0)))
    });
    let transmit_queues = answer.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::NumTxQueues(count) => Some(*count),
        _ => None,
    });
    Some(Peer { mtu: mtu(&answer), has_program, transmit_queues: transmit_queues.unwrap_or(1) })
}

fn mtu(message: &LinkMessage) -> u32 {
    let mtu = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.unwrap_or(0)
}

async fn one(handle: &Handle, question: LinkMessage) -> Option<LinkMessage> {
    // Any index but 0 makes it a question for one; the message has its own.
    let mut request = handle.link().get().match_index(question.header.index);
    *request.message_mut() = question;
    let mut answers = pin!(request.execute());
    match answers.try_next().await {
        Ok(message) => message,
        Err(error) => {
            tracing::debug!("an interface cannot be asked for: {error}");
            None
        }
    }
}
