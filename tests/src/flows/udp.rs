//! A UDP flow: each question is a datagram, and so is its answer.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::net::UdpSocket;
use tokio::time::{Duration, timeout};

use super::{Life, UDP_PACE, question};

/// How long an answer may take before the question is asked again.
const WAIT: Duration = Duration::from_secs(1);
/// How often a question is asked before the flow counts as broken. A socket buffer can overflow when the machine is busy.
const TRIES: u32 = 60;

/// A flow from its beginning until it is to end. Its socket goes to the `worn` ones, so that no other flow gets its port: to
/// a balancer that would be the same flow, as nothing tells the first datagram of one.
pub(super) async fn live(life: &Life<'_>, worn: &mut Vec<UdpSocket>) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(life.shared.from, 0)).await?;
    // Connected, so that only an answer from the VIP itself counts.
    socket.connect(life.shared.to).await?;
    let mut pace = Life::pace(UDP_PACE);
    for number in 0.. {
        let question = question(life.index, number, 40 + life.index % 200);
        let name = ask(life, &socket, &question).await.with_context(|| format!("question {number}"))?;
        if !life.answered(&name) {
            break;
        }
        pace.tick().await;
    }
    worn.push(socket);
    Ok(())
}

/// The name of who answered.
async fn ask(life: &Life<'_>, socket: &UdpSocket, question: &[u8]) -> Result<String> {
    let mut bytes = [0; 2048];
    for number in 0..TRIES {
        if number > 0 {
            life.asked_again();
        }
        socket.send(question).await.context("cannot ask")?;
        while let Ok(received) = timeout(WAIT, socket.recv(&mut bytes)).await {
            let answer = &bytes[..received.context("no answer")?];
            // Another answer is the late one of an earlier question that was asked again.
            if let Some(name) = answer.strip_suffix(question) {
                return Ok(std::str::from_utf8(name)?.trim_end().to_owned());
            }
        }
    }
    bail!("no answer to {TRIES} questions")
}
