//! A web server that can be made to fail in the ways in which real ones do.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::host::Host;
use crate::listening::{Listening, everywhere};

/// What a server does with a request.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers its name.
    Well,
    /// It answers "500 Internal Server Error".
    Fails,
    /// It takes the connection and says nothing.
    Hangs,
    /// It takes the connection and closes it.
    Closes,
}

const MOODS: [Mood; 4] = [Mood::Well, Mood::Fails, Mood::Hangs, Mood::Closes];

/// A connection that a server has taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// When.
    pub at: Instant,
    /// Who made it.
    pub from: IpAddr,
    /// The server's address that it was made to.
    pub to: IpAddr,
}

/// A server on every address of a host. It ends when it is dropped, connections and all.
#[derive(Debug)]
pub struct Moody {
    mood: Arc<AtomicU8>,
    taken: Arc<Mutex<Vec<Taken>>>,
    _listening: Listening,
}

impl Moody {
    /// Starts a server that is well. It takes connections when this returns.
    ///
    /// # Errors
    /// The port is taken, or the thread cannot be made.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let name = host.name().to_owned();
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (shared, seen) = (Arc::clone(&mood), Arc::clone(&taken));
        let listening = Listening::start(host, "moody", everywhere(port), async move |listener| {
            loop {
                let (stream, peer) = listener.accept().await.context("the server cannot take connections")?;
                // One that is reset already has no address of its own.
                if let Ok(own) = stream.local_addr() {
                    let (from, to) = (peer.ip().to_canonical(), own.ip().to_canonical());
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(Taken { at: Instant::now(), from, to });
                }
                let mood = MOODS[usize::from(shared.load(Ordering::Relaxed)) % MOODS.len()];
                tokio::spawn(serve(stream, mood, name.clone()));
            }
        })?;
        Ok(Self { mood, taken, _listening: listening })
    }

    /// Changes what it does with the connections that it takes from now on.
    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// The connections that it has taken since it started, in their order.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut stream: TcpStream, mood: Mood, name: String) {
    let answer = match mood {
        Mood::Well => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}", name.len()),
        Mood::Fails => {
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
        }
        Mood::Hangs => return std::future::pending().await,
        Mood::Closes => return,
    };
    let mut request = Vec::new();
    let mut part = [0; 1_024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(length) if length > 0 => request.extend_from_slice(&part[..length]),
            _ => return,
        }
    }
    // A client that has gone wants no answer.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
