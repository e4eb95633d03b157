//! The configuration as a file: applied under load, tried, exported, refused, and made of an IPVS user's.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::load::{Connections, Load, requests};
use drlb_tests::segment::{Family, vip};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, WEB, World, none_failed};

/// A file of a listener with these of the world's backends and weights.
fn file(world: &World, family: Family, backends: &[(usize, u16)]) -> String {
    let vip = vip(family, 0);
    let mut text = format!("[[listeners]]\nname = \"{WEB}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nport = {HTTP}\n");
    for (index, weight) in backends {
        let address = world.segment.backends[*index].address(family);
        text += &format!("\n[[listeners.backends]]\naddress = \"{address}\"\nweight = {weight}\n");
    }
    text
}

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    fn write(&self, text: &str) -> Result<String> {
        let path: PathBuf = self.folder.path().join("drlb.toml");
        fs::write(&path, text)?;
        path.to_str().map(str::to_owned).context("a path that is text")
    }
}

fn a_file_is_applied_tried_and_changed_under_load(world: &mut World, family: Family) -> Result<()> {
    let folder = Folder::new()?;
    let path = folder.write(&file(world, family, &[(0, 1), (1, 1)]))?;
    let added = world.agent.tell(&["apply", "-f", &path])?;
    ensure!(added.ends_with("3 changes made.\n"), "applied: {added}");
    ensure!(world.agent.tell(&["apply", "-f", &path])? == "Nothing to change.\n");
    world.agent.wait_until_serving(WEB)?;

    let to = std::net::SocketAddr::new(vip(family, 0), HTTP);
    none_failed(&requests(world.client(), to, 100)?)?;
    let load = Load::start(world.client(), to, 4, Connections::Fresh)?;
    world.agent.tell(&["apply", "-f", &folder.write(&file(world, family, &[(0, 1), (1, 3), (2, 1)]))?])?;
    world.agent.wait_until_serving(WEB)?;
    load.wait_for(200)?;
    none_failed(&load.stop()?)?;

    let path = folder.write(&file(world, family, &[(1, 1), (2, 1)]))?;
    let tried = world.agent.tell(&["apply", "-f", &path, "--dry-run"])?;
    let [gone, changed] = [0, 1].map(|index| world.segment.backends[index].address(family));
    let expected = format!(
        "- listener {WEB}: backend {gone}\n~ listener {WEB}: backend {changed}: weight 3 → 1\n2 changes would be made.\n"
    );
    ensure!(tried == expected, "{tried} is not {expected}");
    ensure!(world.agent.listener(WEB)?.backends.len() == 3, "--dry-run changed something");
    world.agent.tell(&["apply", "-f", &path])?;
    world.agent.wait_until_serving(WEB)?;
    let after = requests(world.client(), to, 100)?;
    none_failed(&after)?;
    ensure!(after.of("backend-1") == 0 && after.of("backend-3") > 0, "{:?}", after.by_backend);

    // What it exports makes the same: nothing to change, here and after all was removed.
    let exported = world.agent.tell(&["export"])?;
    let path = folder.write(&exported)?;
    ensure!(world.agent.tell(&["apply", "-f", &path])? == "Nothing to change.\n", "{exported}");
    world.agent.tell(&["listener", "remove", WEB])?;
    world.agent.tell(&["apply", "-f", &path])?;
    ensure!(world.agent.tell(&["export"])? == exported, "another state than {exported}");
    world.agent.wait_until_serving(WEB)?;
    none_failed(&requests(world.client(), to, 100)?)
}
at_two_corners!(a_file_is_applied_tried_and_changed_under_load);

fn a_wrong_file_is_refused_with_its_place_and_changes_nothing(world: &mut World, family: Family) -> Result<()> {
    let folder = Folder::new()?;
    let right = file(world, family, &[(0, 1), (1, 1)]);
    world.agent.tell(&["apply", "-f", &folder.write(&right)?])?;
    let before = world.agent.tell(&["export"])?;
    let lines = right.lines().count();
    for (wrong, place, why) in [
        (format!("{right}wieght = 2\n"), format!("line {}, column 1", lines + 1), "unknown field `wieght`"),
        (right.replace("weight = 1", "weight = 257"), "line 7, column 1".to_owned(), "a weight is 0 to 256"),
        (right.replace(&format!("port = {HTTP}"), "port = 65536"), "line 5, column 8".to_owned(), "65536"),
        (right.replace("\"tcp\"", "\"tcp"), "line 4, column 16".to_owned(), ""),
    ] {
        let path = folder.write(&wrong)?;
        let answer = world.agent.ask(&["apply", "-f", &path])?;
        ensure!(answer.code == Some(1), "{wrong}: {answer:?}");
        let expected = format!("error: {path}: {place}: ");
        ensure!(answer.stderr.starts_with(&expected) && answer.stderr.contains(why), "{expected}{why}: {answer:?}");
        ensure!(world.agent.tell(&["export"])? == before, "{wrong} changed something");
    }
    let answer = world.agent.ask(&["apply", "-f", "/nonexistent.toml"])?;
    ensure!(answer.stderr.starts_with("error: /nonexistent.toml could not be read: "), "{answer:?}");
    Ok(())
}
at_two_corners!(a_wrong_file_is_refused_with_its_place_and_changes_nothing);

fn an_ipvs_users_file_is_taken_over(world: &mut World, family: Family) -> Result<()> {
    let folder = Folder::new()?;
    let to = std::net::SocketAddr::new(vip(family, 0), HTTP);
    let mut saved = format!("-A -t {to} -s wrr\n");
    for (backend, weight) in world.segment.backends.iter().zip([1, 1, 2]) {
        let server = std::net::SocketAddr::new(backend.address(family), HTTP);
        saved += &format!("-a -t {to} -r {server} -g -w {weight}\n");
    }
    saved += "-A -f 1 -s rr\n";
    let imported = world.agent.ask(&["import", "ipvsadm", &folder.write(&saved)?])?;
    ensure!(
        imported.code == Some(0) && imported.stderr.contains("line 5: the service of firewall mark 1"),
        "{imported:?}"
    );
    world.agent.tell(&["apply", "-f", &folder.write(&imported.stdout)?])?;
    let listener = &world.agent.status()?.listeners[0];
    world.agent.wait_until_serving(listener.name.as_str())?;
    let counts = requests(world.client(), to, 400)?;
    none_failed(&counts)?;
    ensure!(counts.by_backend.len() == 3, "{:?}", counts.by_backend);
    Ok(())
}
at_two_corners!(an_ipvs_users_file_is_taken_over);

fn the_agent_applies_its_file_at_its_start_and_on_sighup(world: &mut World, family: Family) -> Result<()> {
    let folder = Folder::new()?;
    let mut whole = file(world, family, &[(0, 1)]);
    for interface in world.segment.balancer_interfaces() {
        whole += &format!("\n[[interfaces]]\nname = \"{interface}\"\nmode = \"{}\"\n", world.segment.plan.mode.word());
    }
    let path = folder.write(&whole)?;
    let to = std::net::SocketAddr::new(vip(family, 0), HTTP);
    world.agent.stop()?;
    world.agent.start_again_with(&["--config", &path])?;
    world.agent.wait_until_serving(WEB)?;
    none_failed(&requests(world.client(), to, 50)?)?;

    folder.write(&file(world, family, &[(0, 1), (1, 1)]).replace("[[listeners]]", "[[listener]]"))?;
    let before = world.agent.tell(&["export"])?;
    world.agent.reload()?;
    until("the wrong file to be told", SOON, || match world.agent.log().contains("unknown field `listener`") {
        true => Ok(()),
        false => Err(world.agent.log()),
    })?;
    ensure!(world.agent.tell(&["export"])? == before, "a wrong file changed something");

    folder.write(&whole.replace("weight = 1", "weight = 7"))?;
    world.agent.reload()?;
    until("the file to be applied", SOON, || {
        let backends = world.agent.listener(WEB).map_err(|error| format!("{error:#}"))?.backends;
        if backends[0].weight == 7 { Ok(()) } else { Err(format!("{backends:?}")) }
    })?;

    // A wrong one at the start ends the agent with the place of the flaw, and forwarding goes on.
    world.agent.stop()?;
    folder.write("[[listener]]\n")?;
    let refusal = world.agent.start_again_with(&["--config", &path]).expect_err("it cannot start").to_string();
    ensure!(refusal.contains("drlb.toml") && refusal.contains("unknown field `listener`"), "{refusal}");
    none_failed(&requests(world.client(), to, 50)?)?;
    // An empty one takes back what the file made.
    folder.write("")?;
    world.agent.start_again_with(&["--config", &path])?;
    let status = world.agent.status()?;
    ensure!(status.listeners.is_empty() && status.interfaces.is_empty(), "{status:?}");
    Ok(())
}
at_two_corners!(the_agent_applies_its_file_at_its_start_and_on_sighup);
