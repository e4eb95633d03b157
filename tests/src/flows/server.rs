//! The other ends: a server on a backend that answers each question with the backend's name and what was asked.

use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::allow_many_files;
use super::tcp::{read, write};
use crate::host::Host;
use crate::traffic::Echo;

/// Connections that may wait to be taken.
const BACKLOG: u32 = 4_096;

/// Servers of lasting flows on a backend, for TCP and UDP. They end when they are dropped, connections and all.
#[derive(Debug)]
pub struct Servers {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
    _udp: Echo,
}

impl Servers {
    /// Starts them at this address and port of a backend. They take flows when this returns.
    ///
    /// # Errors
    /// The address is not the host's, or the port is taken.
    pub fn start(host: &Host, address: IpAddr, port: u16) -> Result<Self> {
        allow_many_files(host)?;
        let udp = Echo::udp(host, address, port)?;
        let at = SocketAddr::new(address, port);
        let name = host.name().to_owned();
        let (stop, stopped) = oneshot::channel();
        let (ready, listening) = std::sync::mpsc::channel();
        let thread = host.thread(&format!("flows-{name}"), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                match listen(at) {
                    Ok(listener) => {
                        // Whoever waits for this is still there: it cannot go on without an answer.
                        let _ = ready.send(Ok(()));
                        tokio::select! {
                            served = serve(listener, &name) => served,
                            _ = stopped => Ok(()),
                        }
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error.context(format!("cannot listen at {at} of `{name}`"))));
                        Ok(())
                    }
                }
            })
        })?;
        listening.recv().context("the server's thread ended before it listened")??;
        Ok(Self { stop: Some(stop), thread: Some(thread), _udp: udp })
    }
}

fn listen(at: SocketAddr) -> Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    Ok(socket.listen(BACKLOG)?)
}

async fn serve(listener: TcpListener, name: &str) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("the server cannot take a connection")?;
        stream.set_nodelay(true)?;
        let name = name.to_owned();
        tokio::spawn(async move {
            // What goes wrong here is seen by the client, who counts it.
            let _ = answer(stream, &name).await;
        });
    }
}

async fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    while let Some(question) = read(&mut stream).await? {
        write(&mut stream, &[name.as_bytes(), &question].concat()).await?;
    }
    Ok(())
}

impl Drop for Servers {
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
