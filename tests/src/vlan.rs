//! A VLAN interface for hosts whose kernel has none, and the number of a segment's VLAN for balancers whose kernel has none.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{Map, MapData};
use lb_common::address::MacAddr;
use lb_common::backend::Segment;
use lb_common::limits::MAX_SEGMENTS;
use lb_common::maps;
use lb_userspace::dataplane::ForwardingMap;

use crate::host::Host;
use crate::sys;
use crate::tap::Tap;

/// How often the threads look whether they are to end.
const LOOK: Duration = Duration::from_millis(50);

/// A VLAN interface of a host: what it sends by it leaves another host's interface with a tag, and what comes there with that tag
/// arrives at it. A thread each way does what the kernel's module would. It ends when it is dropped.
#[derive(Debug)]
pub struct VlanPort {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl VlanPort {
    /// Makes the interface `vlan` of a host, over an interface of another that is up, with this MAC, and switches it on.
    ///
    /// # Errors
    /// The kernel has no TAP interfaces (`/dev/net/tun`), or `ip` fails.
    pub fn new(host: &Host, mac: MacAddr, over: (&Host, &str), vlan: u16) -> Result<Self> {
        let tap = host.enter(|| sys::open_tap("vlan").context("cannot make a TAP interface"))?;
        host.ip(&format!("link set vlan address {mac} up\n"))?;
        let wire = Arc::new(Tap::open(over.0, over.1)?);
        let stop = Arc::new(AtomicBool::new(false));
        let tap = std::fs::File::from(tap);
        let tag = [[0x81, 0x00], vlan.to_be_bytes()].concat();
        let threads = vec![
            host.thread("vlan-in", {
                let (wire, stop, mut tap, tag) = (Arc::clone(&wire), Arc::clone(&stop), tap.try_clone()?, tag.clone());
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        if let Some(mut frame) = wire.next()?
                            && frame.get(12..16) == Some(&tag[..])
                        {
                            frame.drain(12..16);
                            tap.write_all(&frame).context("the interface takes no frame")?;
                        }
                    }
                    Ok(())
                }
            })?,
            host.thread("vlan-out", {
                let (stop, mut tap) = (Arc::clone(&stop), tap);
                move || {
                    let mut frame = vec![0; 65_536];
                    while !stop.load(Ordering::Relaxed) {
                        sys::wait_readable(tap.as_raw_fd(), LOOK)?;
                        match tap.read(&mut frame) {
                            Ok(length) => {
                                let mut tagged = frame[..length].to_vec();
                                tagged.splice(12..12, tag.iter().copied());
                                wire.send(&tagged)?;
                            }
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                            Err(error) => return Err(error).context("the interface gives no frame"),
                        }
                    }
                    Ok(())
                }
            })?,
        ];
        Ok(Self { stop, threads })
    }
}

impl Drop for VlanPort {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that failed was noticed by who wanted to speak by it.
            let _ = thread.join();
        }
    }
}

/// Says in which VLAN the hosts behind an interface of the balancer stand, as the agent reads it off a VLAN interface.
///
/// # Errors
/// drlb is not attached there.
pub fn set_segment(balancer: &Host, interface: &str, vlan: u16) -> Result<()> {
    let ifindex = balancer.ifindex(interface)?;
    // The map as the balancer's mount namespace has it.
    let pin = format!("/proc/{}/root/sys/fs/bpf/drlb/{}/{}", balancer.pid(), maps::LAYOUT, maps::FORWARDING);
    let map = Map::Array(MapData::from_pin(&pin).with_context(|| format!("cannot open {pin}"))?);
    let forwarding = ForwardingMap::open(&map)?;
    let held = (0..MAX_SEGMENTS as u16).find(|index| forwarding.segment(*index).ifindex == ifindex);
    let index = held.with_context(|| format!("{interface} is no segment"))?;
    forwarding.set_segment(index, Segment { vlan, ..forwarding.segment(index) });
    Ok(())
}
