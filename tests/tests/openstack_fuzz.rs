//! The OpenStack API is fuzzed by schemathesis, by what `docs/openstack-api.json` says of it, with the hooks of
//! `tests/openstack/fuzz.py`. There is no data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use drlb_tests::control::{Agent, Client, key};
use drlb_tests::openstack::{clients, script};
use serde_json::Value;

/// What all that is made up is made up by.
const SEED: &str = "20261123";
/// How many requests are made up for each method of each path, beside those at the limits of what it takes.
const EXAMPLES: &str = "50";
/// What is checked of each answer: a status that the description has of that method, and no 5xx but 501.
const CHECKS: &str = "not_a_server_error,status_code_conformance";

/// Objects by their list and what they are found by.
type Objects = BTreeMap<(String, String), Value>;

fn fuzz(agent: &Agent, folder: &Path) -> Result<String> {
    let (hooks, settings) = (script("fuzz.py"), script("schemathesis.toml"));
    let description = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openstack-api.json");
    let mut command = Command::new(clients()?.join("st"));
    command.arg("--config-file").arg(settings).args(["run", description, "--url", &agent.url(), "--seed", SEED]);
    command.args(["--max-examples", EXAMPLES, "--phases", "coverage,fuzzing", "--checks", CHECKS]);
    command.args(["--suppress-health-check", "all", "--no-shrink", "--continue-on-failure", "--warnings", "off"]);
    command.env("SCHEMATHESIS_HOOKS", "fuzz").env("PYTHONPATH", hooks.parent().context("no folder")?);
    command.env("DRLB_FUZZ_SEED", SEED).env("DRLB_FUZZ_URL", agent.url()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("DRLB_FUZZ_JOURNAL", folder.join("journal")).env("HOME", folder).env("NO_PROXY", "127.0.0.1");
    let output = command.current_dir(folder).stdin(Stdio::null()).output().context("cannot start schemathesis")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "schemathesis found:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

/// The objects that are there after all changes that were acknowledged.
fn acknowledged(folder: &Path) -> Result<Objects> {
    let mut objects = Objects::new();
    for line in fs::read_to_string(folder.join("journal"))?.lines() {
        let mut change: Value = serde_json::from_str(line)?;
        let text = |name: &str| change[name].as_str().map(str::to_owned).context("no text");
        let place = (text("list")?, text("id")?);
        match change["object"].take() {
            Value::Null => objects.remove(&place),
            object => objects.insert(place, object),
        };
    }
    Ok(objects)
}

/// All that the API lists.
fn listed(client: &Client) -> Result<Objects> {
    let mut lists: Vec<String> = [
        "loadbalancers",
        "listeners",
        "pools",
        "healthmonitors",
        "flavors",
        "flavorprofiles",
        "availabilityzones",
        "availabilityzoneprofiles",
        "quotas",
    ]
    .map(str::to_owned)
    .to_vec();
    lists.extend(client.ids("pools")?.iter().map(|pool| format!("pools/{pool}/members")));
    let mut objects = Objects::new();
    for list in lists {
        for object in client.list(&list)? {
            objects.insert((list.clone(), key(&object)?.to_owned()), object);
        }
    }
    Ok(objects)
}

/// Everything acknowledged is listed with each attribute as it was answered, and nothing else is.
fn nothing_is_lost(acknowledged: &Objects, listed: &Objects) -> Result<()> {
    for (place, object) in acknowledged {
        let now = listed.get(place).with_context(|| format!("{place:?} is lost; it was {object}"))?;
        for (name, value) in object.as_object().context("no object")? {
            ensure!(now[name] == *value, "{name} of {place:?} is {}, and {value} was acknowledged", now[name]);
        }
    }
    // Quotas are of projects, and nobody makes or removes them.
    let others = listed.keys().filter(|place| place.0 != "quotas" && !acknowledged.contains_key(*place));
    let others: Vec<_> = others.collect();
    ensure!(others.is_empty(), "nobody made {others:?}, or they were removed");
    Ok(())
}

#[test]
fn nothing_that_the_description_allows_makes_the_api_fail_or_lose_anything() -> Result<()> {
    let mut agent = Agent::start()?;
    let folder = tempfile::tempdir()?;
    let said = fuzz(&agent, folder.path())?;
    let acknowledged = acknowledged(folder.path())?;
    // There is much to lose, of every kind.
    let kinds: BTreeSet<&str> = acknowledged.keys().filter_map(|(list, _)| list.rsplit('/').next()).collect();
    ensure!(kinds.len() == 9 && acknowledged.len() > 100, "only {} objects of {kinds:?}:\n{said}", acknowledged.len());
    let before = listed(&agent.client())?;
    nothing_is_lost(&acknowledged, &before)?;
    agent.kill_and_start_again()?;
    let after = listed(&agent.client())?;
    ensure!(before == after, "the next agent lists other than {before:?}: {after:?}");
    Ok(())
}
