//! A TCP connection.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use super::{Failed, From};

/// Connects. The connection ends with a reset when it is dropped: it leaves nothing behind, here or on the backend.
///
/// # Errors
/// It is refused, or nobody is there.
pub(super) async fn connect(to: SocketAddr, from: From) -> Result<TcpStream, Failed> {
    let says = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("port {} refuses connections", to.port()),
        _ => format!("no connection to port {}: {error}", to.port()),
    };
    let fault = |error| Failed::of(error, says);
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(fault)?;
    socket.set_zero_linger().map_err(fault)?;
    if !from.address.is_unspecified() {
        socket.set_reuseaddr(true).map_err(fault)?;
        socket.bind(SocketAddr::new(from.address, from.port)).map_err(fault)?;
    }
    socket.connect(to).await.map_err(fault)
}
