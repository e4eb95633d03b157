//! A TCP server on a thread of its own in a host, whatever it serves.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

use crate::host::Host;

/// Connections that may wait to be taken.
const BACKLOG: u32 = 4_096;

/// A server in a host. It ends when it is dropped, connections and all.
#[derive(Debug)]
pub(crate) struct Listening {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Listening {
    /// Starts one, that does `work` with what listens there. It takes connections when this returns.
    ///
    /// # Errors
    /// The address is not the host's, the port is taken, or the thread cannot be made.
    pub(crate) fn start<W: Future<Output = Result<()>>>(
        host: &Host,
        what: &str,
        at: SocketAddr,
        work: impl FnOnce(TcpListener) -> W + Send + 'static,
    ) -> Result<Self> {
        let name = host.name().to_owned();
        let (stop, stopped) = oneshot::channel();
        let (ready, listening) = std::sync::mpsc::channel();
        let thread = host.thread(&format!("{what}-{name}"), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = match listen(at) {
                    Ok(listener) => listener,
                    Err(error) => {
                        // Whoever waits for this is still there: it cannot go on without an answer.
                        let _ = ready.send(Err(error.context(format!("cannot listen at {at} of `{name}`"))));
                        return Ok(());
                    }
                };
                let _ = ready.send(Ok(()));
                tokio::select! {
                    done = work(listener) => done,
                    _ = stopped => Ok(()),
                }
            })
        })?;
        listening.recv().context("the server's thread ended before it listened")??;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

fn listen(at: SocketAddr) -> Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    Ok(socket.listen(BACKLOG)?)
}

/// Every address of a host, of both families.
pub(crate) const fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It can only fail if the server has ended, which is what we want.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A server that failed was noticed by its clients.
            let _ = thread.join();
        }
    }
}
