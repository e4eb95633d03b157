//! A host: a network and a mount namespace, and the processes in them.
//!
//! Nothing of a host outlives the process that made it, however that ends. The namespaces are held by a child (`cat`)
//! whose standard input is a pipe from us: when we end, also by SIGKILL, the kernel closes the pipe, `cat` ends, and with
//! the last process in them the namespaces go, and with these every interface, address, mount and pinned map. Nothing has
//! a name outside, so hosts of several tests can stand side by side.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sys::{self, Namespaces};
use crate::wait::{SOON, until};

/// A host of the segment. Clones are handles to the same host; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    namespaces: Arc<Namespaces>,
    holder: Mutex<Child>,
    pid: u32,
}

impl Host {
    /// A new host with nothing in it but a loopback interface that is up. `name` is for messages.
    ///
    /// # Errors
    /// The namespaces cannot be made, which needs root.
    pub fn new(name: &str) -> Result<Self> {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        sys::start_in_new_namespaces(&mut command);
        let holder = command.spawn().with_context(|| {
            format!("cannot make the namespaces of host `{name}`: run the tests as root, on a kernel with namespaces")
        })?;
        let pid = holder.id();
        let namespaces = Arc::new(Namespaces { net: namespace(pid, "net")?, mounts: namespace(pid, "mnt")? });
        let host =
            Self { inner: Arc::new(Inner { name: name.to_owned(), namespaces, holder: Mutex::new(holder), pid }) };
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The process that holds the namespaces: `nsenter --target PID --net --mount` leads into the host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.pid
    }

    /// A command that will run in this host, and be killed if the thread that started it ends.
    ///
    /// It starts with `/` as its folder, so paths given to it must be absolute.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        sys::start_in(&mut command, Arc::clone(&self.inner.namespaces));
        sys::die_with_parent(&mut command);
        command
    }

    /// Runs a command to its end and returns what it printed.
    ///
    /// # Errors
    /// It cannot be started, or ends with another status than 0; the message has what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.feed(program, arguments, "")
    }

    /// Runs a command with `input` as its standard input, to its end, and returns what it printed.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let what = || format!("`{program} {}` in host `{}`", arguments.join(" "), self.name());
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", what()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).with_context(|| format!("{} does not read its input", what()))?;
        }
        let output = child.wait_with_output().with_context(|| format!("cannot wait for {}", what()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed ({}): {}", what(), output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `ip` with these commands, one a line, all of them or none after the first that fails.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn ip(&self, batch: &str) -> Result<String> {
        self.feed("ip", &["-batch", "-"], batch)
    }

    /// Runs `work` on a thread of its own inside this host's network namespace, and waits for it. Sockets that it makes
    /// stay in the host, whoever uses them afterwards.
    ///
    /// # Errors
    /// The thread cannot enter the namespace, or `work` fails.
    ///
    /// # Panics
    /// If `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter_here()?;
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts `work` on a thread of its own inside this host's network namespace. Threads that it starts are inside, too.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let host = self.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                host.enter_here()?;
                // The thread must not keep the host alive: it is ended by its owner, or with the process.
                drop(host);
                work()
            })
            .with_context(|| format!("cannot start the thread `{name}`"))
    }

    fn enter_here(&self) -> Result<()> {
        setns(self.inner.namespaces.net.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network namespace of host `{}`", self.name()))
    }

    /// Starts a process that goes on until it is stopped, or dropped, or we end. This is about that process alone: if it
    /// started others, ending those is up to it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<Process> {
        let what = format!("{} {}", program.as_ref().display(), arguments.join(" "));
        let log = tempfile::tempfile().context("cannot make a file for a log")?;
        let mut command = self.command(program);
        // A process group of its own, so that Ctrl-C reaches us alone and we end things in their order.
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        // Opened anew for the process, so that it has a place in the file of its own.
        let writer = File::options().append(true).open(format!("/proc/self/fd/{}", log.as_raw_fd()))?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let child = spawn_from_lasting_thread(command)
            .with_context(|| format!("cannot start `{what}` in host `{}`", self.name()))?;
        Ok(Process { what, child, log })
    }

    /// Sets kernel parameters of this host's network namespace, named by their path below `/proc/sys/net`.
    ///
    /// # Errors
    /// There is no such parameter, or it does not take the value.
    pub fn sysctl(&self, parameters: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (name, value) in parameters {
                std::fs::write(format!("/proc/sys/net/{name}"), value)
                    .with_context(|| format!("cannot set net/{name} to {value} in host `{}`", self.name()))?;
            }
            Ok(())
        })
    }

    /// Attaches an XDP program to an interface of this host, in native mode, that passes everything. It is detached when
    /// the answer is dropped.
    ///
    /// # Errors
    /// There is no such interface, it has a program, or its driver cannot do it.
    pub fn attach_pass_program(&self, interface: &str) -> Result<OwnedFd> {
        let ifindex = self.ifindex(interface)?;
        self.enter(|| {
            sys::attach_pass_program(ifindex)
                .with_context(|| format!("cannot attach a program to `{interface}` of host `{}`", self.name()))
        })
    }

    /// The index of an interface of this host.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn ifindex(&self, interface: &str) -> Result<u32> {
        self.enter(|| {
            nix::net::if_::if_nametoindex(interface)
                .with_context(|| format!("host `{}` has no interface `{interface}`", self.name()))
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let holder = self.holder.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Ending it can only fail if it has ended already, which is what we want.
        let _ = holder.kill();
        let _ = holder.wait();
    }
}

fn namespace(pid: u32, kind: &str) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/{kind}");
    Ok(File::open(&path).with_context(|| format!("cannot open {path}"))?.into())
}

type SpawnRequest = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a process from a thread that lasts as long as we do, because `PR_SET_PDEATHSIG` is about the parent *thread*,
/// and the test's own thread may end before the process should.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<SpawnRequest>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<SpawnRequest>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                // The asker waits for the reply, so it is there to take it.
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let ended = || io::Error::other("the thread that starts processes has ended");
    let (reply, child) = mpsc::channel();
    let sent = spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply));
    sent.map_err(|_| ended())?;
    child.recv().map_err(|_| ended())?
}

/// A process in a host that goes on until it is stopped or dropped.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    log: File,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output and error.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = String::new();
        match (&self.log).rewind().and_then(|()| (&self.log).read_to_string(&mut text)) {
            Ok(_) => text,
            Err(error) => format!("(the log cannot be read: {error})"),
        }
    }

    /// The status that it ended with, if it has.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask for the state of `{}`", self.what))
    }

    /// Ends it at once, with SIGKILL, and waits until it has ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill `{}`", self.what))?;
        self.child.wait().with_context(|| format!("cannot wait for `{}`", self.what))?;
        Ok(())
    }

    /// Asks it to end, with SIGTERM, waits until it has ended, and returns its status.
    ///
    /// # Errors
    /// It has not ended in a minute.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGTERM).with_context(|| format!("cannot signal `{}`", self.what))?;
        self.wait()
    }

    /// Waits until it ends by itself, and returns its status.
    ///
    /// # Errors
    /// It has not ended in a minute.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        until("a process to end", SOON, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("`{}` is still running", self.what)),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It can only fail if it has ended already, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
