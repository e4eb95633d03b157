//! The ground that probes start from: a network namespace that belongs to one thread, and to nobody else.
//!
//! It has no name and is held by nothing but that thread, so that it ends with the agent, however that ends; and with it its
//! interfaces, addresses and routes, and the kernel's entry for it in the program's map. Nothing of it is seen on the host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::sched::{CloneFlags, unshare};

use super::ProbePlane;
use crate::ethernet::device::{self, Feature};
use crate::model::Fault;
use crate::neighbour::netlink::probe_link::{INNER, ProbeLink};

/// The ground, made and joined to the segments.
#[derive(Debug)]
pub struct Ground {
    link: ProbeLink,
}

impl Ground {
    /// Moves the calling thread into a new network namespace, for good, and joins that to the segments.
    ///
    /// # Errors
    /// A right is missing, or the kernel refuses something.
    pub async fn make(plane: &mut dyn ProbePlane) -> Result<Self, Fault> {
        let cannot = |what: &str, error: &dyn std::fmt::Display| {
            Fault::unavailable(format!("no health check can be sent: {what}: {error}"))
        };
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| {
            cannot("the agent may not make a network namespace for them, which needs CAP_SYS_ADMIN", &error)
        })?;
        let refused = |error| cannot("their interfaces cannot be made", &error);
        let link = ProbeLink::make().await.map_err(refused)?;
        // Frames must leave with their final size and checksum, as no card comes after; and those that are redirected here
        // must arrive.
        device::switch(INNER, Feature::SendChecksums, false).map_err(refused)?;
        device::switch(INNER, Feature::ReceiveOffload, true).map_err(refused)?;
        link.up().await.map_err(refused)?;
        plane.join(link.outer())?;
        Ok(Self { link })
    }

    /// Gives the ground these addresses of the balancer to send from.
    pub async fn set_sources(&mut self, sources: &BTreeSet<IpAddr>) {
        self.link.set_sources(sources).await;
    }
}
