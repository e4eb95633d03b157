//! A TCP server on a thread of its own in a host, whatever it serves.

use std::future::Future;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::host::Host;

/// A server on every address of a host. It ends when it is dropped, connections and all.
#[derive(Debug)]
pub(crate) struct Listening {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Listening {
    /// Starts one, that does `work` with what listens on the port. It takes connections when this returns.
    ///
    /// # Errors
    /// The port is taken, or the thread cannot be made.
    pub(crate) fn start<W: Future<Output = Result<()>>>(
        host: &Host,
        what: &str,
        port: u16,
        work: impl FnOnce(TcpListener) -> W + Send + 'static,
    ) -> Result<Self> {
        let name = host.name().to_owned();
        let (stop, stopped) = oneshot::channel();
        let (ready, listening) = std::sync::mpsc::channel();
        let thread = host.thread(&format!("{what}-{name}"), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = match TcpListener::bind(("::", port)).await {
                    Ok(listener) => listener,
                    Err(error) => {
                        let error = anyhow!(error).context(format!("cannot listen on port {port} of `{name}`"));
                        // Whoever waits for this is still there: it cannot go on without an answer.
                        let _ = ready.send(Err(error));
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
