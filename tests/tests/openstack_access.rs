//! Who may use the OpenStack API: every way to sign in with the clients that have it, and what the others are told. There is no
//! data plane.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use drlb_tests::agent::binary;
use drlb_tests::control::{Agent, Client, SUBNET};
use drlb_tests::openstack::{base64, clients};
use drlb_tests::particular::Authority;
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse";

fn hash() -> Result<String> {
    let mut command = Command::new(binary()?);
    let mut process = command.arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    process.stdin.take().context("its input")?.write_all(PASSWORD.as_bytes())?;
    Ok(String::from_utf8(process.wait_with_output()?.stdout)?.trim().to_owned())
}

/// Two projects, and users of each role.
fn configuration() -> Result<String> {
    let hash = hash()?;
    let user = |name: &str, project: &str, role: &str| {
        format!(
            "[[users]]\nname = \"{name}\"\nproject = \"{project}\"\nrole = \"{role}\"\npassword_hash = \"{hash}\"\n"
        )
    };
    let users = [
        user("ann", "shop", "member"),
        user("rea", "shop", "reader"),
        user("adm", "shop", "admin"),
        user("bob", "bank", "member"),
    ];
    let projects = "[[projects]]\nname = \"shop\"\n[[projects]]\nname = \"bank\"\n";
    Ok(format!("[api]\nadmin_token_hash = \"{hash}\"\n{projects}{}", users.concat()))
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{name}:{password}").as_bytes()))
}

fn signed(agent: &Agent, name: &str) -> Client {
    agent.client().with("authorization", &basic(name, PASSWORD))
}

/// A client of what is at the root.
fn root(agent: &Agent) -> Client {
    Client::of(format!("http://{}", agent.address()))
}

fn sign_in(name: &str, password: &str, project: &str) -> Value {
    let user = json!({ "name": name, "password": password, "domain": { "name": "Default" } });
    json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": user } },
        "scope": { "project": { "name": project, "domain": { "name": "Default" } } },
    } })
}

#[test]
fn who_has_not_signed_in_is_told_how_to() -> Result<()> {
    let agent = Agent::start_with(&configuration()?)?;
    let nobody = root(&agent);
    // What keystoneauth asks before it signs in.
    for path in ["", "v2", "v2.0", "v2.0/", "v3", "v3/"] {
        let answer = nobody.ask("GET", path, None)?;
        ensure!(answer.status == 200, "/{path}: {} {}", answer.status, answer.body);
    }
    let ways = [format!("Keystone uri=\"http://{}/v3\"", agent.address()), "Basic realm=\"drlb\"".to_owned()];
    let strangers = [
        nobody.clone(),
        nobody.clone().with("authorization", &basic("ann", "wrong")),
        nobody.clone().with("authorization", &basic("nobody", PASSWORD)),
        nobody.clone().with("authorization", "Bearer x"),
        nobody.clone().with("x-auth-token", "none of ours"),
    ];
    for stranger in &strangers {
        for (method, path) in [
            ("GET", "v2.0/lbaas/loadbalancers"),
            ("GET", "v2/lbaas/nonsense"),
            ("DELETE", "v2.0/lbaas/pools/x/members/y"),
            ("GET", "v2.0/octavia/amphorae"),
            ("GET", "v2.0/networks"),
            ("GET", "v3/projects"),
            ("GET", "v3/auth/tokens"),
        ] {
            let answer = stranger.ask(method, path, None)?;
            ensure!(answer.status == 401, "{method} {path}: {} {}", answer.status, answer.body);
            ensure!(answer.all("www-authenticate") == ways, "{:?}", answer.headers);
            ensure!(answer.body["error"]["code"] == 401, "{}", answer.body);
        }
    }
    for (name, password, project) in [("ann", "wrong", "shop"), ("nobody", PASSWORD, "shop"), ("ann", PASSWORD, "bank")]
    {
        let answer = nobody.ask("POST", "v3/auth/tokens", Some(&sign_in(name, password, project)))?;
        ensure!(answer.status == 401 && answer.body["error"]["title"] == "Unauthorized", "{name}: {}", answer.body);
    }
    Ok(())
}

/// An answer as it came.
fn raw(agent: &Agent, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(agent.address())?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn scripts_find_the_token_by_its_headers_name_as_it_is_published() -> Result<()> {
    let agent = Agent::start_with(&configuration()?)?;
    let body = sign_in("ann", PASSWORD, "shop").to_string();
    let request = format!(
        "POST /v3/auth/tokens HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        agent.address(),
        body.len()
    );
    let answer = raw(&agent, &request)?;
    // awk '/X-Subject-Token/ {print $2}'
    let line = answer.lines().find(|line| line.contains("X-Subject-Token")).with_context(|| answer.clone())?;
    let token = line.split_whitespace().nth(1).context("no token")?;
    let ours = root(&agent).with("x-auth-token", token);
    ensure!(ours.get("v2.0/lbaas/loadbalancers")?.0 == 200);
    // It gives another one, and ends when it is told to.
    let again = json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": token } } } });
    ensure!(ours.ask("POST", "v3/auth/tokens", Some(&again))?.status == 201);
    let subject = ours.clone().with("x-subject-token", token);
    ensure!(subject.ask("GET", "v3/auth/tokens", None)?.body["token"]["user"]["name"] == "ann");
    ensure!(subject.ask("DELETE", "v3/auth/tokens", None)?.status == 204);
    ensure!(ours.get("v2.0/lbaas/loadbalancers")?.0 == 401);
    Ok(())
}

#[test]
fn roles_and_projects_keep_to_what_is_theirs() -> Result<()> {
    let agent = Agent::start_with(&configuration()?)?;
    let [ann, rea, adm, bob] = ["ann", "rea", "adm", "bob"].map(|name| signed(&agent, name));
    let owner = agent.client().with("x-auth-token", PASSWORD);
    let lb = ann.make("loadbalancers", &json!({ "loadbalancer": { "name": "ann's", "vip_subnet_id": SUBNET } }))?;
    let one = format!("loadbalancers/{lb}");
    let new = json!({ "loadbalancer": { "vip_subnet_id": SUBNET } });
    let named = json!({ "loadbalancer": { "name": "mine" } });
    let listener = json!({ "listener": { "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80 } });
    let profile = json!({ "flavorprofile": { "name": "p", "provider_name": "drlb", "flavor_data": "{}" } });
    let quota = json!({ "quota": { "pool": 5 } });
    let project = ann.get(&one)?.1["loadbalancer"]["project_id"].as_str().context("a project")?.to_owned();
    let quotas = format!("quotas/{project}");
    let failover = format!("{one}/failover");
    for (who, client, method, path, body, status) in [
        ("a reader", &rea, "GET", one.as_str(), None, 200),
        ("a reader", &rea, "GET", "providers", None, 200),
        ("a reader", &rea, "GET", quotas.as_str(), None, 200),
        ("a reader", &rea, "POST", "loadbalancers", Some(&new), 403),
        ("a reader", &rea, "PUT", &one, Some(&named), 403),
        ("a reader", &rea, "POST", "listeners", Some(&listener), 403),
        ("a reader", &rea, "DELETE", &one, None, 403),
        ("a member", &ann, "PUT", &one, Some(&named), 200),
        ("a member", &ann, "PUT", &failover, None, 403),
        ("a member", &ann, "PUT", &quotas, Some(&quota), 403),
        ("a member", &ann, "POST", "flavorprofiles", Some(&profile), 403),
        ("a member", &ann, "GET", "providers/drlb/flavor_capabilities", None, 403),
        ("a stranger", &bob, "GET", &one, None, 403),
        ("a stranger", &bob, "GET", &quotas, None, 403),
        ("a stranger", &bob, "PUT", &one, Some(&named), 403),
        ("a stranger", &bob, "POST", "listeners", Some(&listener), 403),
        ("a stranger", &bob, "DELETE", &one, None, 403),
        ("an administrator", &adm, "PUT", &failover, None, 202),
        ("an administrator", &adm, "PUT", &quotas, Some(&quota), 202),
        ("an administrator", &adm, "POST", "flavorprofiles", Some(&profile), 201),
        ("an administrator", &adm, "GET", "providers/drlb/flavor_capabilities", None, 200),
        ("the token's owner", &owner, "GET", &one, None, 200),
        ("the token's owner", &owner, "POST", "listeners", Some(&listener), 201),
        ("an administrator", &adm, "DELETE", &format!("{one}?cascade=true"), None, 204),
    ] {
        let answer = client.ask(method, path, body)?;
        ensure!(answer.status == status, "{who}: {method} {path}: {} {}", answer.status, answer.body);
        let text = "Policy does not allow this request to be performed.";
        ensure!(status != 403 || answer.body["faultstring"] == text, "{}", answer.body);
    }
    bob.make("loadbalancers", &new)?;
    let lists = [("ann", &ann, 0), ("rea", &rea, 0), ("bob", &bob, 1), ("adm", &adm, 1)];
    for (who, client, count) in lists {
        ensure!(client.ids("loadbalancers")?.len() == count, "{who} sees others");
        let (status, asked) = client.get(&format!("loadbalancers?project_id={project}"))?;
        let none = status == 200 && asked["loadbalancers"].as_array().map(Vec::len) == Some(0);
        ensure!(if who == "bob" { status == 403 } else { none }, "{who} sees {status} {asked}");
    }
    let quota = json!({ "quota": { "load_balancer": 1 } });
    ensure!(adm.put(&quotas, &quota)?.0 == 202);
    ann.make("loadbalancers", &new)?;
    let (status, body) = ann.post("loadbalancers", &new)?;
    ensure!(status == 403 && body["faultstring"] == "Quota has been met for resources: Load Balancer", "{body}");
    let text = ann.clone().with("accept", "text/html").ask("GET", "loadbalancers", None)?;
    ensure!(text.status == 406 && text.body["title"] == "Not Acceptable", "{} {}", text.status, text.body);
    Ok(())
}

/// Runs a client, with `NAME=VALUE` before it in its environment, and returns what it printed, or that it failed and what it
/// said.
fn run(folder: &Path, words: &[&str]) -> Result<String> {
    let programs = clients()?;
    let named = words.iter().map_while(|word| word.starts_with("OS_").then(|| word.split_once('=')).flatten());
    let variables: Vec<_> = named.collect();
    let (program, arguments) = words[variables.len()..].split_first().context("a program")?;
    let mut command = Command::new(programs.join(program));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env_clear();
    command.env("HOME", folder).env("PATH", &programs).env("PYTHONWARNINGS", "ignore").envs(variables);
    let output = command.output().with_context(|| format!("cannot start `{}`", words.join(" ")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("{}", text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

const SDK_BY_FILE: &str = "
import openstack
assert [lb.name for lb in openstack.connect(cloud='drlb').load_balancer.load_balancers()] == ['ours']
";

const SDK: &str = "
import sys, openstack
base, token, password = sys.argv[1:4]
auth = dict(auth_url=base + '/v3', project_name='shop', project_domain_name='Default')
for connection in [
    openstack.connect(auth_type='http_basic', load_balancer_endpoint_override=base,
                      auth=dict(endpoint=base, username='ann', password=password)),
    openstack.connect(auth_type='admin_token', load_balancer_endpoint_override=base, token=password,
                      auth=dict(endpoint=base, token=password)),
    openstack.connect(auth_type='password', auth=dict(username='ann', user_domain_name='Default', password=password, **auth)),
    openstack.connect(auth_type='v3token', auth=dict(token=token, **auth)),
]:
    assert [lb.name for lb in connection.load_balancer.load_balancers()] == ['ours']
";

#[test]
fn every_way_of_signing_in_works_with_the_clients_that_have_it() -> Result<()> {
    let (agent, open) = (Agent::start_with(&configuration()?)?, Agent::start()?);
    for client in [signed(&agent, "ann"), open.client()] {
        client.make("loadbalancers", &json!({ "loadbalancer": { "name": "ours", "vip_subnet_id": SUBNET } }))?;
    }
    let (base, free) = (format!("http://{}", agent.address()), format!("http://{}", open.address()));
    let keystone = format!("{base}/v3");
    let given = root(&agent).ask("POST", "v3/auth/tokens", Some(&sign_in("ann", PASSWORD, "shop")))?;
    let token = *given.all("x-subject-token").first().context("a token")?;
    // With one cloud in its folder, a client takes that one whatever else it is told.
    let (folder, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let clouds = format!(
        "clouds:\n  drlb:\n    auth:\n      auth_url: {keystone}\n      username: ann\n      password: {PASSWORD}\n      \
         project_name: shop\n      user_domain_name: Default\n      project_domain_name: Default\n    region_name: RegionOne\n"
    );
    std::fs::write(folder.path().join("clouds.yaml"), clouds)?;
    let list = ["loadbalancer", "list", "-f", "value", "-c", "name"];
    let old = ["lbaas-loadbalancer-list", "-f", "value", "-c", "name"];
    let project = ["--os-project-name", "shop", "--os-project-domain-name", "Default"];
    let by_basic = ["--os-auth-type", "http_basic", "--os-endpoint", &base, "--os-username", "ann", "--os-password"];
    let by_token = ["--os-auth-type", "admin_token", "--os-endpoint", &base, "--os-token", PASSWORD];
    let (at_base, at_free) = (format!("OS_ENDPOINT={base}"), format!("OS_ENDPOINT={free}"));
    let with_token = format!("OS_TOKEN={PASSWORD}");
    let by_v3 = ["--os-auth-type", "v3token", "--os-auth-url", &keystone, "--os-token", token];
    let wrong =
        ["--os-auth-url", &keystone, "--os-username", "ann", "--os-user-domain-name", "Default", "--os-password"];
    let ways: Vec<(Vec<&str>, &str)> = vec![
        ([&["openstack", "--os-auth-type", "none", "--os-endpoint", &free][..], &list].concat(), "ours"),
        ([&["openstack"], &by_basic[..], &[PASSWORD], &list].concat(), "ours"),
        ([&["openstack"], &by_token[..], &list].concat(), "ours"),
        ([&["openstack"], &by_v3[..], &project, &list].concat(), "ours"),
        ([&["openstack", "--os-cloud", "drlb"], &list[..]].concat(), "ours"),
        ([&["neutron", "--os-cloud", "drlb"], &old[..]].concat(), "ours"),
        ([&["OS_AUTH_TYPE=admin_token", &at_base, &with_token, "neutron"][..], &old].concat(), "ours"),
        ([&["OS_AUTH_TYPE=none", &at_free, "neutron"][..], &old].concat(), "ours"),
        (vec!["python", "-c", SDK, &base, token, PASSWORD], ""),
        (vec!["python", "-c", SDK_BY_FILE], ""),
        ([&["openstack"], &wrong[..], &["wrong"], &project, &list].concat(), "requires authentication. (HTTP 401)"),
        ([&["openstack"], &by_basic[..], &["wrong"], &list].concat(), "HTTP 401"),
    ];
    // Each takes its second or two, most of it for itself.
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running = ways
            .iter()
            .map(|(words, _)| {
                let by_file = words.contains(&"drlb") || words.contains(&SDK_BY_FILE);
                let place = if by_file { folder.path() } else { other.path() };
                scope.spawn(move || run(place, words))
            })
            .collect::<Vec<_>>();
        running.into_iter().map(|run| run.join().expect("a client does not panic")).collect()
    });
    for ((words, wanted), outcome) in ways.iter().zip(outcomes) {
        match outcome {
            Ok(printed) => ensure!(printed == *wanted, "{words:?} printed {printed:?}"),
            Err(said) => ensure!(wanted.contains("401") && format!("{said:#}").contains(wanted), "{words:?}: {said:#}"),
        }
    }
    Ok(())
}

#[test]
fn over_tls_who_trusts_the_authority_is_served_and_others_are_told_why_not() -> Result<()> {
    let (folder, wrong) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (authority, other) = (Authority::new("ours")?, Authority::new("another")?);
    let (certificate, key) = authority.certify_in_pem("127.0.0.1")?;
    let write = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_str().context("a path")?.to_owned())
    };
    let (certificate, key) = (write("api.pem", &certificate)?, write("api.key", &key)?);
    let (trusted, others) = (write("ca.pem", &authority.pem())?, write("other.pem", &other.pem())?);
    let tls = format!("[api]\ntls_certificate = \"{certificate}\"\ntls_key = \"{key}\"\n");
    let agent = Agent::start_with(&configuration()?.replace("[api]\n", &tls))?;
    let clouds = |scheme: &str, authority: &str| {
        format!(
            "clouds:\n  drlb:\n    auth:\n      auth_url: {scheme}://{}/v3\n      username: ann\n      \
             password: {PASSWORD}\n      project_name: shop\n      user_domain_name: Default\n      \
             project_domain_name: Default\n    region_name: RegionOne\n    cacert: {authority}\n",
            agent.address()
        )
    };
    std::fs::write(folder.path().join("clouds.yaml"), clouds("https", &trusted))?;
    std::fs::write(wrong.path().join("clouds.yaml"), clouds("https", &others))?;
    let plain = tempfile::tempdir()?;
    std::fs::write(plain.path().join("clouds.yaml"), clouds("http", &trusted))?;
    let create = ["openstack", "--os-cloud", "drlb", "loadbalancer", "create", "--name", "ours", "--vip-subnet-id"];
    let create = [&create[..], &[SUBNET, "--wait", "-f", "value", "-c", "provisioning_status"]].concat();
    ensure!(run(folder.path(), &create)? == "ACTIVE", "it is not made");
    let list = ["openstack", "--os-cloud", "drlb", "loadbalancer", "list", "-f", "value", "-c", "name"];
    let sdk = ["python", "-c", SDK_BY_FILE];
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running = [(&folder, &list[..]), (&folder, &sdk[..]), (&wrong, &list[..]), (&plain, &list[..])]
            .map(|(place, words)| scope.spawn(move || run(place.path(), words)));
        running.into_iter().map(|run| run.join().expect("a client does not panic")).collect()
    });
    let [listed, by_sdk, untrusted, unencrypted] = outcomes.as_slice() else { bail!("four clients") };
    ensure!(matches!(listed, Ok(names) if names == "ours"), "{listed:?}");
    ensure!(by_sdk.is_ok(), "{by_sdk:?}");
    let refused =
        |outcome: &Result<String>, why: &str| matches!(outcome, Err(said) if format!("{said:#}").contains(why));
    ensure!(refused(untrusted, "certificate verify failed"), "{untrusted:?}");
    ensure!(
        refused(unencrypted, "This port speaks HTTPS: give an address that begins with https://"),
        "{unencrypted:?}"
    );
    Ok(())
}
