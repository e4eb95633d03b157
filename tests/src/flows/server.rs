//! The other ends: a server on a backend that answers each question with the backend's name and what was asked.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};

use super::allow_many_files;
use super::tcp::{read, write};
use crate::host::Host;
use crate::listening::Listening;
use crate::traffic::Echo;

/// Servers of lasting flows on a backend, for TCP and UDP. They end when they are dropped, connections and all.
#[derive(Debug)]
pub struct Servers {
    _tcp: Listening,
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
        let name = host.name().to_owned();
        let at = SocketAddr::new(address, port);
        let tcp = Listening::start(host, "flows", at, async move |listener| serve(listener, &name).await)?;
        Ok(Self { _tcp: tcp, _udp: udp })
    }
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
