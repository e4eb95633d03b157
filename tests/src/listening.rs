//! A TCP server on a thread of its own in a host, whatever it serves.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::host::Host;

/// Connections that may wait to be taken.
const BACKLOG: i32 = 4_096;

/// A server in a host. It ends when it is dropped, connections and all, and its port is free then.
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
                let (listener, socket) = match listen(at) {
                    Ok(both) => both,
                    Err(error) => {
                        // Whoever waits for this is still there: it cannot go on without an answer.
                        let _ = ready.send(Err(error.context(format!("cannot listen at {at} of `{name}`"))));
                        return Ok(());
                    }
                };
                let _ = ready.send(Ok(()));
                let done = tokio::select! {
                    done = work(listener) => done,
                    _ = stopped => Ok(()),
                };
                // Closing it would not do: a process that another thread is about to start has a copy until it runs its
                // own program, and the port would be taken for that long.
                socket.shutdown(Shutdown::Both)?;
                done
            })
        })?;
        listening.recv().context("the server's thread ended before it listened")??;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

/// What takes the connections, and the socket itself, by which that can be ended.
fn listen(at: SocketAddr) -> Result<(TcpListener, Socket)> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok((TcpListener::from_std(socket.try_clone()?.into())?, socket))
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn the_port_is_free_when_a_server_is_gone_even_if_its_socket_is_not() -> Result<()> {
        let host = Host::new("server")?;
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80);
        let (held, copy) = std::sync::mpsc::channel();
        let server = Listening::start(&host, "held", at, async move |listener| {
            held.send(listener.as_fd().try_clone_to_owned()?)?;
            std::future::pending().await
        })?;
        let _copy = copy.recv()?;
        drop(server);
        drop(Listening::start(&host, "next", at, async |_| std::future::pending().await)?);
        Ok(())
    }
}
