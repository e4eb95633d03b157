//! A TCP connection: each question and each answer is its length in four bytes, then its bytes.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Life, PACE, PATIENCE, question};

/// The longest message that is read.
const LONGEST: usize = 64 << 10;

/// A connection from its beginning until it is to end.
pub(super) async fn live(life: &Life<'_>) -> Result<()> {
    let shared = life.shared;
    let connect = async {
        let socket = if shared.to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if !shared.from.is_unspecified() {
            socket.bind(SocketAddr::new(shared.from, 0))?;
        }
        socket.connect(shared.to).await
    };
    let mut stream = timeout(PATIENCE, connect).await.context("no connection in time")?.context("no connection")?;
    stream.set_nodelay(true)?;
    let mut pace = Life::pace(PACE);
    let mut number = 0;
    loop {
        // Mostly a few bytes; now and then several segments.
        let length = if number % 8 == 7 { 6_000 } else { 40 + life.index % 200 };
        let question = question(life.index, number, length);
        let answer = timeout(PATIENCE, exchange(&mut stream, &question)).await.context("no answer in time")??;
        let split = answer.len().checked_sub(question.len()).context("an answer is too short")?;
        let (name, echoed) = answer.split_at(split);
        ensure!(echoed == question, "question {number} was answered with other data");
        number += 1;
        if !life.answered(std::str::from_utf8(name)?) {
            break;
        }
        pace.tick().await;
    }
    timeout(PATIENCE, close(stream)).await.context("the other side did not end in time")?
}

async fn exchange(stream: &mut TcpStream, question: &[u8]) -> Result<Vec<u8>> {
    write(stream, question).await.context("cannot ask")?;
    read(stream).await.context("no answer")?.context("the connection ended without being asked to")
}

async fn close(mut stream: TcpStream) -> Result<()> {
    stream.shutdown().await.context("cannot end")?;
    match read(&mut stream).await.context("no end")? {
        None => Ok(()),
        Some(more) => bail!("{} bytes came that nobody had asked for", more.len()),
    }
}

/// Sends a message.
pub(super) async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

/// The next message; none if the other side has ended.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read(&mut length).await? {
        0 => return Ok(None),
        some => stream.read_exact(&mut length[some..]).await?,
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::other("a message is too long"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}
