//! The agent as an OpenStack cloud, and the real clients in front of it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use serde_json::Value;

use crate::agent::{self, Agent};
use crate::control::Client;
use crate::host::Host;
use crate::segment::{Family, Net, vip};
use crate::wait::{SOON, until};
use crate::world::World;

/// The port of the API.
const PORT: u16 = 9876;
/// The user's password.
const PASSWORD: &str = "correct horse";
/// The name of the subnet that VIPs come from.
pub const SUBNET: &str = "front-subnet";
/// Its id.
pub const SUBNET_ID: &str = "11111111-1111-4111-8111-111111111111";

/// The folder of the clients' programs: what `DRLB_OPENSTACK` names, or where `cargo xtask setup` made it.
///
/// # Errors
/// It is not there.
pub fn clients() -> Result<PathBuf> {
    let folder = match std::env::var_os("DRLB_OPENSTACK") {
        Some(folder) => std::path::absolute(folder)?,
        None => {
            // Tests are in target/PROFILE/deps.
            let own = std::env::current_exe().context("cannot tell where this program is")?;
            own.ancestors().nth(3).context("this program is in no target folder")?.join("openstack-clients/bin")
        }
    };
    ensure!(
        folder.join("openstack").exists(),
        "there are no OpenStack clients in {}: run `cargo xtask setup` first (`cargo xtask test` does), or name their \
         folder with DRLB_OPENSTACK",
        folder.display()
    );
    Ok(folder)
}

/// The file of a script among these tests.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("openstack").join(name)
}

/// An agent that serves the OpenStack API on the segment, and a client of it.
#[derive(Debug)]
pub struct Cloud {
    host: Host,
    url: String,
    folder: tempfile::TempDir,
}

impl Cloud {
    /// Starts the world's agent anew, with users, the API on its own address, and the first VIP as the only free one.
    ///
    /// # Errors
    /// The agent does not start.
    pub fn start(world: &mut World, family: Family) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let hash = world.segment.balancer.feed(path_of(&agent::binary()?)?, &["hash-password"], PASSWORD)?;
        let address = world.segment.balancer_address(Net::Front, family);
        let listen = SocketAddr::new(address, PORT);
        let (cidr, free) = match family {
            Family::V4 => (range(address, 24)?, vip(family, 0)),
            Family::V6 => (range(address, 64)?, vip(family, 0)),
        };
        let servers = world.segment.backends.iter().enumerate().map(|(index, backend)| {
            let address = backend.address(family);
            format!("[[ports]]\nname = \"server-{}\"\naddresses = [\"{address}\"]\n", index + 1)
        });
        let servers: String = servers.collect();
        let configuration = format!(
            "[api]\nlisten = \"{listen}\"\n[[projects]]\nname = \"shop\"\n[[users]]\nname = \"ann\"\nrole = \"admin\"\n\
             password_hash = \"{}\"\n[[networks]]\nname = \"front\"\n[[networks.subnets]]\nname = \"{SUBNET}\"\n\
             id = \"{SUBNET_ID}\"\ncidr = \"{cidr}\"\nvips = [\"{free}\"]\n{servers}",
            hash.trim()
        );
        let file = folder.path().join("drlb.toml");
        fs::write(&file, configuration)?;
        world.agent.stop()?;
        world.agent = Agent::start_with(&world.segment.balancer, &["--config", path_of(&file)?])?;
        Ok(Self { host: world.client().clone(), url: format!("http://{listen}"), folder })
    }

    /// The API's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The load balancing API, without a client program.
    #[must_use]
    pub fn api(&self) -> Api {
        let basic = base64(format!("ann:{PASSWORD}").as_bytes());
        let client = Client::of(format!("{}/v2.0/lbaas", self.url)).with("authorization", &format!("Basic {basic}"));
        Api { host: self.host.clone(), client }
    }

    /// Runs a client on the first client's host, signed in, and returns what it printed.
    ///
    /// # Errors
    /// It ends with another status than 0; the message has what it said.
    pub fn run(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Result<String> {
        let program = program.as_ref();
        let clients = clients()?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.host.command(program_in(&clients, program));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", clients.display())).env("HOME", self.folder.path());
        for (name, value) in [
            ("OS_AUTH_URL", format!("{}/v3", self.url).as_str()),
            ("OS_USERNAME", "ann"),
            ("OS_PASSWORD", PASSWORD),
            ("OS_PROJECT_NAME", "shop"),
            ("OS_USER_DOMAIN_NAME", "Default"),
            ("OS_PROJECT_DOMAIN_NAME", "Default"),
            ("OS_IDENTITY_API_VERSION", "3"),
            ("PYTHONWARNINGS", "ignore"),
        ] {
            command.env(name, value);
        }
        let shown = format!("{} {}", program.display(), arguments.join(" "));
        let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("`{shown}` failed ({}): {}", output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `openstack loadbalancer …` with these words.
    ///
    /// # Errors
    /// As [`Cloud::run`].
    pub fn openstack(&self, words: &str) -> Result<String> {
        let words: Vec<&str> = ["loadbalancer"].into_iter().chain(words.split_whitespace()).collect();
        self.run("openstack", &words)
    }
}

/// The load balancing API, asked from the first client's host.
#[derive(Clone, Debug)]
pub struct Api {
    host: Host,
    client: Client,
}

impl Api {
    /// Makes an object and returns its id.
    ///
    /// # Errors
    /// It is refused.
    pub fn make(&self, path: &str, body: &Value) -> Result<String> {
        self.host.enter(|| self.client.make(path, body))
    }

    /// Changes something.
    ///
    /// # Errors
    /// It is refused.
    pub fn put(&self, path: &str, body: &Value) -> Result<()> {
        self.done("PUT", path, Some(body))
    }

    /// Removes something.
    ///
    /// # Errors
    /// It is refused.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.done("DELETE", path, None)
    }

    fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Result<()> {
        let answer = self.host.enter(|| self.client.ask(method, path, body))?;
        ensure!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.body);
        Ok(())
    }

    /// What is at a path: the object itself.
    ///
    /// # Errors
    /// It is refused.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.host.enter(|| self.client.ask("GET", path, None))?;
        ensure!(answer.status == 200, "GET {path}: {} {}", answer.status, answer.body);
        answer.body.as_object().and_then(|body| body.values().next().cloned()).context("no object")
    }

    /// Waits until an attribute of what is at a path has a value.
    ///
    /// # Errors
    /// It does not come to have it, in a minute.
    pub fn wait_for(&self, path: &str, attribute: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        until(&format!("{attribute} of {path} to be {value}"), SOON, || {
            let object = self.get(path).map_err(|error| format!("{error:#}"))?;
            if object[attribute] == value { Ok(()) } else { Err(format!("it is {}", object[attribute])) }
        })
    }
}

/// Base64 (RFC 4648 section 4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

fn program_in(clients: &Path, program: &Path) -> PathBuf {
    let own = clients.join(program);
    if own.exists() { own } else { program.to_owned() }
}

fn path_of(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// The range of an address with this length.
fn range(address: IpAddr, length: u32) -> Result<String> {
    Ok(match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - length).context("a length")?;
            format!("{}/{length}", std::net::Ipv4Addr::from(u32::from(address) & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - length).context("a length")?;
            format!("{}/{length}", std::net::Ipv6Addr::from(u128::from(address) & mask))
        }
    })
}
