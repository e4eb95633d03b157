//! `--keep` and `--end`: a demo that stands until it is ended.
//!
//! `--keep` starts the keeper, a process in the background that plays the story and then owns what stands. Its process id
//! is in a file that it keeps locked as long as it lives, so that a file that a killed keeper left behind is known for what
//! it is, and no other process is ever signalled.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use drlb_tests::agent::binary;
use drlb_tests::segment::{Family, vip};
use drlb_tests::wait::{SOON, has_given_up, until};
use drlb_tests::world::World;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{screen, signals, story};

/// Where the keeper's process id is.
fn state_file() -> PathBuf {
    std::env::var_os("DRLB_DEMO_STATE").map_or_else(|| "/run/drlb-demo.pid".into(), PathBuf::from)
}

/// The process id of the keeper that stands, if one does.
fn standing() -> Result<Option<Pid>> {
    let path = state_file();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => {
            let pid = text.trim().parse().with_context(|| format!("{} holds `{text}`", path.display()))?;
            Ok(Some(Pid::from_raw(pid)))
        }
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        // Nobody holds it: its keeper was killed, and what it kept went with it.
        Ok(_) => Ok(None),
    }
}

/// Starts a keeper, shows its story, and leaves it standing.
pub(crate) fn start() -> Result<ExitCode> {
    if let Some(pid) = standing()? {
        bail!("a demo is standing already (process {pid}); end it with `cargo xtask demo --end`");
    }
    signals::watch()?;
    let (mut story, writer) = pipe()?;
    let mut keeper = Command::new(std::env::current_exe()?)
        .arg("--keeper")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        // Out of the terminal's reach: Ctrl-C is for us, and we pass it on.
        .process_group(0)
        .spawn()
        .context("cannot start the keeper")?;
    let pid = Pid::from_raw(keeper.id().cast_signed());
    std::thread::spawn(move || {
        while !has_given_up() {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        // It can only fail if the keeper has ended, which is what is asked for.
        let _ = kill(pid, Signal::SIGTERM);
    });
    // The keeper closes its end when it has told all, or ends.
    std::io::copy(&mut story, &mut std::io::stdout()).context("cannot print the story")?;
    if standing()? == Some(pid) && !has_given_up() {
        return Ok(ExitCode::SUCCESS);
    }
    let status = keeper.wait().context("cannot wait for the keeper")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Plays the story, then keeps what stands until somebody asks for its end.
pub(crate) fn be_the_keeper() -> Result<ExitCode> {
    signals::watch()?;
    let world = story::play()?;
    let path = state_file();
    let mut file = File::options().create(true).truncate(true).write(true).open(&path)?;
    write!(file, "{}", std::process::id())?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {}: another demo came first", path.display()))?;
    tell_how_to_play(&world)?;
    // Whoever started us sees the end of the story, and goes.
    let nowhere = File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(&nowhere)?;
    nix::unistd::dup2_stderr(&nowhere)?;
    while !has_given_up() {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    drop(world);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

fn tell_how_to_play(world: &World) -> Result<()> {
    screen::heading("It stands: play with it");
    let enter = |pid: u32| format!("nsenter --target {pid} --net --mount");
    let client = world.client();
    screen::note("As root, in a shell:");
    screen::line("");
    screen::line(&format!("    alias drlb='{} {}'", enter(world.segment.balancer.pid()), binary()?.display()));
    screen::line(&format!("    alias client='{}'", enter(client.pid())));
    for backend in &world.segment.backends {
        screen::line(&format!("    alias {}='{}'", backend.host.name(), enter(backend.host.pid())));
    }
    screen::line("");
    screen::line("    drlb status");
    screen::line(&format!("    client curl http://{}/", vip(Family::V4, 0)));
    screen::line(&format!("    client curl 'http://[{}]/'", vip(Family::V6, 0)));
    screen::line(&format!("    drlb backend add web4 {}", world.segment.backends[0].address(Family::V4)));
    screen::line("    backend-2 ip address show lo");
    screen::line("");
    screen::note("To end it all, with nothing left: cargo xtask demo --end");
    Ok(())
}

/// Ends what stands.
pub(crate) fn end() -> Result<ExitCode> {
    let Some(pid) = standing()? else {
        // A killed keeper may have left its file.
        if fs::remove_file(state_file()).is_ok() {
            screen::note("The demo had been killed, and what it kept went with it. Nothing is left.");
        } else {
            screen::note("No demo is standing.");
        }
        return Ok(ExitCode::SUCCESS);
    };
    kill(pid, Signal::SIGTERM).with_context(|| format!("cannot end process {pid}"))?;
    until("the demo to end", SOON, || match standing() {
        Ok(None) => Ok(()),
        Ok(Some(pid)) => Err(format!("process {pid} is still there")),
        Err(error) => Err(format!("{error:#}")),
    })?;
    screen::note("The demo was ended; nothing is left.");
    Ok(ExitCode::SUCCESS)
}
