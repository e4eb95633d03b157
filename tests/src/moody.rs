//! A web server that can be made to fail in the ways in which real ones do.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::host::Host;

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
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Moody {
    /// Starts a server that is well. It takes connections when this returns.
    ///
    /// # Errors
    /// The port is taken, or the thread cannot be made.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let name = host.name().to_owned();
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        let (stop, mut stopped) = oneshot::channel();
        let (ready, listening) = std::sync::mpsc::channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (shared, seen) = (Arc::clone(&mood), Arc::clone(&taken));
        let thread = host.thread(&format!("moody-{name}"), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = match TcpListener::bind(("::", port)).await {
                    Ok(listener) => listener,
                    Err(error) => {
                        // Whoever waits for this is still there: it cannot go on without an answer.
                        let _ = ready.send(Err(anyhow!(error).context(format!("cannot listen on port {port}"))));
                        return Ok(());
                    }
                };
                let _ = ready.send(Ok(()));
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (stream, peer) = accepted.context("the server cannot take connections")?;
                            // One that is reset already has no address of its own.
                            if let Ok(own) = stream.local_addr() {
                                let (from, to) = (peer.ip().to_canonical(), own.ip().to_canonical());
                                seen.lock().unwrap_or_else(PoisonError::into_inner).push(Taken { at: Instant::now(), from, to });
                            }
                            let mood = MOODS[usize::from(shared.load(Ordering::Relaxed)) % MOODS.len()];
                            tokio::spawn(serve(stream, mood, name.clone()));
                        }
                        _ = &mut stopped => return Ok(()),
                    }
                }
            })
        })?;
        listening.recv().context("the server's thread ended before it listened")??;
        Ok(Self { mood, taken, stop: Some(stop), thread: Some(thread) })
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

impl Drop for Moody {
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
