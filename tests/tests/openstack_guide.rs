//! What `docs/openstack.md` tells to type is typed as it stands there, and traffic goes through what that makes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use drlb_tests::agent::{Agent, binary};
use drlb_tests::control::Client;
use drlb_tests::host::Host;
use drlb_tests::load::requests;
use drlb_tests::openstack::{base64, clients};
use drlb_tests::segment::{Family, Legs, Mode, Plan, vip};
use drlb_tests::world::{HTTP, World, none_failed, spreads_like};

const GUIDE: &str = include_str!("../../docs/openstack.md");
const PASSWORD: &str = "correct horse";

/// The blocks of a language below a heading, down to the next one.
fn blocks(heading: &str, language: &str) -> Result<Vec<&'static str>> {
    let begin = format!("\n{heading}\n");
    let (_, text) = GUIDE.split_once(&begin).with_context(|| format!("no heading `{heading}`"))?;
    let end = ["\n## ", "\n### "].iter().filter_map(|next| text.find(next)).min().unwrap_or(text.len());
    let fence = format!("```{language}\n");
    let blocks: Vec<_> =
        text[..end].split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0)).collect();
    ensure!(!blocks.is_empty(), "nothing in {language} below `{heading}`");
    Ok(blocks)
}

/// Runs a script in a host, with the clients and `drlb` at hand.
fn run(host: &Host, folder: &Path, program: &str, script: &str) -> Result<String> {
    let (clients, drlb) = (clients()?, binary()?);
    let own = drlb.parent().context("a folder")?.display();
    let path = format!("{}:{own}:{}", clients.display(), std::env::var("PATH").unwrap_or_default());
    let file = folder.join("script");
    fs::write(&file, script)?;
    // A command in a host begins in `/`.
    let begin = format!("cd {} && exec {program} ./script", folder.display());
    let mut command = host.command("sh");
    command.args(["-c", &begin]).stdin(Stdio::null()).env("PATH", path).env("HOME", folder);
    let output = command.env("PYTHONWARNINGS", "ignore").output().context("cannot start it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script}\nfailed ({}): {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn each_clients_way_from_a_clouds_file_to_a_served_vip() -> Result<()> {
    World::play(Plan::new(Mode::Native, Legs::One), |world| {
        let folder = tempfile::tempdir()?;
        let drlb = binary()?;
        let hash = world.segment.balancer.feed(drlb.to_str().context("a path")?, &["hash-password"], PASSWORD)?;
        let configuration = blocks("## Configuration", "toml")?[0].replace("$argon2id$…", hash.trim());
        let file = folder.path().join("drlb.toml");
        fs::write(&file, configuration)?;
        fs::write(folder.path().join("clouds.yaml"), blocks("## From a `clouds.yaml` to a served VIP", "yaml")?[0])?;
        world.agent.stop()?;
        world.agent = Agent::start_with(&world.segment.balancer, &["--config", file.to_str().context("a path")?])?;
        let authorization = format!("Basic {}", base64(format!("ann:{PASSWORD}").as_bytes()));
        let api = Client::of("http://192.0.2.2:9876/v2.0/lbaas".to_owned()).with("authorization", &authorization);
        let to = SocketAddr::new(vip(Family::V4, 0), HTTP);
        for (heading, language, program) in [
            ("### openstack", "sh", "sh -eu"),
            ("### openstacksdk", "python", "python"),
            ("### neutron", "sh", "sh -eu"),
            ("### curl", "sh", "sh -eu"),
        ] {
            let script = blocks(heading, language)?.join("\n");
            run(world.client(), folder.path(), program, &script).context(heading)?;
            world.agent.wait_until_serving("all")?;
            world.introduce(to)?;
            let counts = requests(world.client(), to, 60)?;
            none_failed(&counts)?;
            spreads_like(&counts, &[1, 1]).context(heading)?;
            let listed = world.client().enter(|| api.ids("loadbalancers"))?;
            ensure!(listed.len() == 1, "{heading} left {listed:?}");
            for id in listed {
                let path = format!("loadbalancers/{id}?cascade=true");
                let removed = world.client().enter(|| api.ask("DELETE", &path, None))?;
                ensure!(removed.status == 204, "{heading}: {}", removed.body);
            }
        }
        Ok(())
    })
}

#[test]
fn it_can_be_tried_without_a_network() -> Result<()> {
    let (host, folder) = (Host::new("trying")?, tempfile::tempdir()?);
    let place = folder.path().to_str().context("a path")?;
    let blocks = blocks("## Trying it", "sh")?;
    let [agent, client] = blocks.as_slice() else { anyhow::bail!("{} blocks", blocks.len()) };
    // The agent ends with the script, and needs a moment to listen.
    let wait = "trap 'kill $!' EXIT\nuntil curl -so answer http://127.0.0.1:9876; do sleep 0.1; done";
    let listed = "openstack loadbalancer listener list -f value -c name -c protocol_port";
    let script = format!("{agent}\n{wait}\n{client}\n{listed}\n").replace("/tmp/drlb", &format!("{place}/drlb"));
    let said = run(&host, folder.path(), "sh -eu", &script)?;
    ensure!(said.lines().any(|line| line == "web 80"), "{said}");
    Ok(())
}
