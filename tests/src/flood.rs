//! A SYN flood: first packets of connections that nobody means, from addresses that nobody has.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::Host;
use crate::packet::{Frame, tcp};
use crate::wait::{SOON, until};

/// With this protocol a raw socket takes packets with their IP header, whatever source that has (raw(7)).
const WITH_HEADER: i32 = 255;
/// SYNs that are sent without a break.
const BURST: u32 = 100;
/// The break after a burst: 10,000 SYNs a second at the most.
const BREAK: Duration = Duration::from_millis(10);

/// A flood that is running. It ends by itself after as many SYNs as it was told, and when it is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Starts to send up to `count` SYNs, each of another flow, from a host.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(from: &Host, to: SocketAddr, count: u32) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU32::new(0));
        let (told, counter) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = from.thread("flood", move || {
            let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(WITH_HEADER)))
                .context("cannot make a raw socket")?;
            let at = SocketAddr::new(to.ip(), 0).into();
            for number in 0..count {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                socket.send_to(&syn(number, to), &at).context("cannot send a SYN")?;
                counter.store(number + 1, Ordering::Relaxed);
                if number % BURST == BURST - 1 {
                    sleep(BREAK);
                }
            }
            Ok(())
        })?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// How many were sent.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until so many were sent in all.
    ///
    /// # Errors
    /// They were not, in a minute.
    pub fn wait_for(&self, count: u32) -> Result<()> {
        until("SYNs to be sent", SOON, || match self.sent() {
            sent if sent >= count => Ok(()),
            sent => Err(format!("{sent} of {count} were sent")),
        })
    }

    /// Ends it and says how many SYNs it sent.
    ///
    /// # Errors
    /// It could not send.
    pub fn stop(mut self) -> Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("the flood's thread panicked"))??;
        }
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Who drops a flood does not care what became of it.
            let _ = thread.join();
        }
    }
}

/// The SYN with that number, from the IP header on. The sources are documentation's (RFC 5737, RFC 3849).
fn syn(number: u32, to: SocketAddr) -> Vec<u8> {
    let [.., third, low] = number.to_be_bytes();
    let source = match to.ip() {
        IpAddr::V4(_) => format!("203.0.113.{low}"),
        IpAddr::V6(_) => format!("2001:db8:f::{third:x}:{low:x}"),
    };
    // Another port for each time that the addresses are used up.
    let port = 1_024 + (number >> 8) as u16;
    let segment = tcp(port, to.port()).syn();
    Frame::to([0; 6]).ip(&source, &to.ip().to_string()).carry(segment).network()
}
