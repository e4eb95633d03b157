//! Ctrl-C and its relatives: the first asks the story to end, the second ends the process at once.

use std::thread;

use anyhow::{Context, Result};
use drlb_tests::wait::{give_up, has_given_up};
use tokio::signal::unix::{SignalKind, signal};

use crate::INTERRUPTED;

/// Starts to listen to SIGINT, SIGTERM and SIGHUP.
pub(crate) fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hangup) = runtime.block_on(async {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        anyhow::Ok((listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?))
    })?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                let came = tokio::select! {
                    came = interrupt.recv() => came,
                    came = terminate.recv() => came,
                    came = hangup.recv() => came,
                };
                if came.is_none() {
                    return;
                }
                if has_given_up() {
                    // Also in this haste nothing is left: the hosts end with us.
                    std::process::exit(INTERRUPTED.into());
                }
                give_up();
            }
        });
    })?;
    Ok(())
}
