//! The agent as an OpenStack cloud, and the real clients in front of it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::agent::{self, Agent};
use crate::host::Host;
use crate::segment::{Family, Net, vip};
use crate::world::World;

/// The port of the API.
const PORT: u16 = 9876;
/// The user's password.
const PASSWORD: &str = "correct horse";
/// The name of the subnet that VIPs come from.
pub const SUBNET: &str = "front-subnet";

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
             cidr = \"{cidr}\"\nvips = [\"{free}\"]\n{servers}",
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
