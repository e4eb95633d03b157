//! The neighbour task against the real kernel, in network namespaces of its own. Needs root.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::Read;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::address::MacAddr;
use lb_userspace::neighbour::netlink::{follow, release_all};
use lb_userspace::neighbour::{NetworkView, Reach, Targets, Unresolved};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::watch;

/// How long a condition may take to come true. The kernel gives a neighbour up after 3 seconds.
const DEADLINE: Duration = Duration::from_secs(15);

const SERVER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x21]);

/// A namespace held by a process that ends when this one does, however that happens: it reads from our pipe.
struct Server(Child);

impl Server {
    fn start() -> Self {
        let script = "echo ready; exec cat";
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux's unshare is installed");
        let mut ready = [0; 6];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("the namespace is made; this needs root");
        Self(child)
    }

    fn run(&self, command: &str) {
        let namespace = format!("--net=/proc/{}/ns/net", self.0.id());
        run_program("nsenter", &[&namespace, "sh", "-ec", command]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn run_program(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip(arguments: &str) -> String {
    run_program("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// Runs a test in a fresh namespace that has a link `lb` with 192.0.2.1 and 2001:db8::1, on which a server has
/// 192.0.2.21 and 2001:db8::21.
fn on_a_segment<F: Future<Output = ()>>(test: impl FnOnce(Rc<Server>) -> F + Send + 'static) {
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace can be made; this needs root");
        let server = Rc::new(Server::start());
        // Without duplicate address detection, which keeps a new link from asking for IPv6 neighbours for a second.
        let no_detection = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad";
        run_program("sh", &["-c", no_detection]);
        server.run(no_detection);
        ip("link set lo up");
        ip(&format!("link add lb type veth peer name srv netns {}", server.0.id()));
        ip("address add 192.0.2.1/24 brd 192.0.2.255 dev lb");
        ip("address add 2001:db8::1/64 dev lb nodad");
        ip("link set lb up");
        server.run(
            "ip link set srv address 02:00:00:00:00:21 up
             ip address add 192.0.2.21/24 dev srv
             ip address add 2001:db8::21/64 dev srv nodad",
        );
        // IPv6 neighbours are asked for from the link-local address, which comes when the other end is up.
        let deadline = Instant::now() + DEADLINE;
        while ip("-6 -oneline address show dev lb scope link -tentative").is_empty() {
            assert!(Instant::now() < deadline, "the link got no link-local address");
            std::thread::sleep(Duration::from_millis(5));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test(Rc::clone(&server)));
    };
    std::thread::spawn(body).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// The task, with both ends in the test's hand.
struct Following {
    targets: watch::Sender<Arc<Targets>>,
    views: watch::Receiver<Arc<NetworkView>>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Following {
    fn start(targets: &[&str]) -> Self {
        let (targets, targets_in) = watch::channel(set(targets));
        let (views_out, views) = watch::channel(Arc::default());
        Self { targets, views, task: tokio::spawn(follow(targets_in, views_out)) }
    }

    async fn wait_for(&mut self, what: &str, condition: impl FnMut(&Arc<NetworkView>) -> bool) {
        let outcome = tokio::time::timeout(DEADLINE, self.views.wait_for(condition)).await.map(|view| view.is_ok());
        match outcome {
            Ok(true) => return,
            Ok(false) => {}
            Err(_) => panic!("{what} did not happen; the last view is {:#?}", self.views.borrow()),
        }
        let end = (&mut self.task).await;
        panic!("the task ended while waiting for {what}: {end:?}");
    }

    async fn wait_for_mac(&mut self, backend: &str, mac: MacAddr) {
        let key = backend.parse().expect("an address");
        self.wait_for(
            &format!("{backend} at {mac}"),
            |view| matches!(view.backends.get(&key), Some(Reach::Resolved { mac: found, .. }) if *found == mac),
        )
        .await;
    }

    async fn wait_for_why(&mut self, backend: &str, why: Unresolved) {
        let key = backend.parse().expect("an address");
        let expected = Reach::Unresolved { why };
        self.wait_for(&format!("{backend}: {expected:?}"), |view| view.backends.get(&key) == Some(&expected)).await;
    }

    /// Ends the task as the agent does: by dropping it.
    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn set(targets: &[&str]) -> Arc<Targets> {
    let backends: BTreeSet<_> = targets.iter().map(|text| text.parse().expect("an address")).collect();
    Arc::new(Targets { backends })
}

/// What `ip neighbour` shows of an address.
fn entry(address: &str) -> String {
    ip(&format!("neighbour show to {address}"))
}

async fn wait_for_entry(address: &str, what: &str, condition: impl Fn(&str) -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let now = entry(address);
        if condition(&now) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not happen; the entry is: {now}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn backends_on_the_link_are_resolved_and_kept_fresh_by_the_kernel() {
    on_a_segment(|_server| async {
        let mut following = Following::start(&["192.0.2.21", "2001:db8::21"]);
        following.wait_for_mac("192.0.2.21", SERVER_MAC).await;
        following.wait_for_mac("2001:db8::21", SERVER_MAC).await;
        for address in ["192.0.2.21", "2001:db8::21"] {
            assert!(entry(address).contains("managed"), "{}", entry(address));
        }
        let view = following.views.borrow().clone();
        let link = &view.links["lb"];
        assert!(link.up && link.xdp_program.is_none() && !view.links.contains_key("lo"), "{view:#?}");
        assert!(
            view.backends
                .values()
                .all(|reach| matches!(reach, Reach::Resolved { ifindex, .. } if *ifindex == link.ifindex))
        );
    });
}

#[test]
fn a_backend_that_cannot_be_reached_says_why() {
    on_a_segment(|_server| async {
        ip("route add 198.51.100.0/24 via 192.0.2.254");
        ip("-6 route add 2001:db8:1::/48 via 2001:db8::fe");
        ip("route add blackhole 203.0.113.128/25");
        let cases = [
            ("198.51.100.1", Unresolved::BehindRouter(IpAddr::from([192, 0, 2, 254]))),
            ("2001:db8:1::1", Unresolved::BehindRouter("2001:db8::fe".parse().expect("an address"))),
            ("203.0.113.1", Unresolved::NoRoute),
            ("203.0.113.129", Unresolved::NoRoute),
            ("2001:db8:2::1", Unresolved::NoRoute),
            ("192.0.2.1", Unresolved::OwnAddress),
            ("2001:db8::1", Unresolved::OwnAddress),
            ("192.0.2.255", Unresolved::NotAHost),
            ("192.0.2.99", Unresolved::NoAnswer),
            ("2001:db8::99", Unresolved::NoAnswer),
        ];
        let mut following = Following::start(&cases.clone().map(|(address, _)| address));
        for (address, why) in cases {
            following.wait_for_why(address, why).await;
        }
    });
}

#[test]
fn a_changed_mac_and_a_late_server_are_noticed() {
    on_a_segment(|server| async move {
        let mut following = Following::start(&["192.0.2.21", "192.0.2.22"]);
        following.wait_for_mac("192.0.2.21", SERVER_MAC).await;
        following.wait_for_why("192.0.2.22", Unresolved::NoAnswer).await;
        // The server announces itself by asking for us, as it does when it comes up.
        server.run("ip address add 192.0.2.22/24 dev srv");
        following.wait_for_mac("192.0.2.22", SERVER_MAC).await;
        server.run(
            "ip link set srv address 02:00:00:00:00:99
             ip neighbour flush all
             bash -c 'echo >/dev/udp/192.0.2.1/9'",
        );
        following.wait_for_mac("192.0.2.21", MacAddr([0x02, 0, 0, 0, 0, 0x99])).await;
    });
}

#[test]
fn a_link_that_goes_down_takes_its_backends_along_until_it_is_up_again() {
    on_a_segment(|_server| async {
        let mut following = Following::start(&["192.0.2.21"]);
        following.wait_for_mac("192.0.2.21", SERVER_MAC).await;
        ip("link set lb down");
        following.wait_for_why("192.0.2.21", Unresolved::NoRoute).await;
        following.wait_for("the link is down", |view| !view.links["lb"].up).await;
        ip("link set lb up");
        following.wait_for_mac("192.0.2.21", SERVER_MAC).await;
        ip("link delete lb");
        following.wait_for("the link is gone", |view| view.links.is_empty()).await;
        following.wait_for_why("192.0.2.21", Unresolved::NoRoute).await;
    });
}

#[test]
fn a_flushed_entry_is_asked_for_again_and_its_backend_stays() {
    on_a_segment(|_server| async {
        let mut following = Following::start(&["192.0.2.21"]);
        following.wait_for_mac("192.0.2.21", SERVER_MAC).await;
        let _ = following.views.borrow_and_update();
        ip("neighbour delete 192.0.2.21 dev lb");
        wait_for_entry("192.0.2.21", "managed again", |entry| entry.contains("managed")).await;
        wait_for_entry("192.0.2.21", "resolved again", |entry| entry.contains("REACHABLE")).await;
        assert!(!following.views.has_changed().expect("the task runs"), "{:#?}", following.views.borrow());
    });
}

#[test]
fn the_first_view_waits_for_backends_that_answer_and_not_for_long() {
    on_a_segment(|_server| async {
        let mut following = Following::start(&["192.0.2.21", "2001:db8::21", "192.0.2.99"]);
        following.views.changed().await.expect("the task runs");
        let view = following.views.borrow_and_update().clone();
        let resolved = view.backends.values().filter(|reach| matches!(reach, Reach::Resolved { .. })).count();
        assert_eq!(resolved, 2, "{view:#?}");
        following.wait_for_why("192.0.2.99", Unresolved::NoAnswer).await;
    });
}

#[test]
fn a_backend_that_is_no_target_any_more_is_let_go_and_the_next_run_takes_over() {
    on_a_segment(|_server| async {
        let mut first = Following::start(&["192.0.2.21", "2001:db8::21"]);
        first.wait_for_mac("192.0.2.21", SERVER_MAC).await;
        first.wait_for_mac("2001:db8::21", SERVER_MAC).await;
        first.targets.send(set(&["192.0.2.21"])).expect("the task runs");
        wait_for_entry("2001:db8::21", "released", |entry| !entry.contains("managed")).await;

        first.stop().await;
        assert!(entry("192.0.2.21").contains("managed"), "a stopped agent leaves its entries: {}", entry("192.0.2.21"));
        let mut second = Following::start(&["2001:db8::21"]);
        second.wait_for_mac("2001:db8::21", SERVER_MAC).await;
        wait_for_entry("192.0.2.21", "released", |entry| !entry.contains("managed")).await;

        second.stop().await;
        release_all().await.expect("the kernel lets go");
        assert!(!entry("2001:db8::21").contains("managed"), "{}", entry("2001:db8::21"));
    });
}

/// Messages that the kernel dropped because this namespace's netlink sockets were not read in time.
fn dropped_messages() -> u64 {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").expect("proc is mounted");
    let drops = |line: &str| line.split_whitespace().nth(8).and_then(|column| column.parse::<u64>().ok());
    sockets.lines().filter_map(drops).sum()
}

#[test]
fn a_flood_of_changes_that_overruns_the_socket_is_made_up_for() {
    on_a_segment(|_server| async {
        let mut following = Following::start(&["192.0.2.21", "192.0.2.50"]);
        following.wait_for_mac("192.0.2.21", SERVER_MAC).await;
        following.wait_for_why("192.0.2.50", Unresolved::NoAnswer).await;
        // This thread drives the task, so nothing is read while it waits for the commands.
        run_program(
            "sh",
            &[
                "-c",
                "for i in $(seq 20000); do
                     echo neighbour replace 10.9.$((i / 250)).$((i % 250)) lladdr 02:00:00:00:00:99 dev lb
                 done | ip -batch -
                 ip neighbour replace 192.0.2.50 lladdr 02:00:00:00:00:50 dev lb nud permanent",
            ],
        );
        assert!(dropped_messages() > 0, "the flood was too small for the socket's queue");
        following.wait_for_mac("192.0.2.50", MacAddr([0x02, 0, 0, 0, 0, 0x50])).await;
    });
}

#[test]
fn the_operators_permanent_entry_is_used_and_left_alone() {
    on_a_segment(|_server| async {
        ip("neighbour add 192.0.2.50 lladdr 02:00:00:00:00:50 dev lb nud permanent");
        let mut following = Following::start(&["192.0.2.50"]);
        following.wait_for_mac("192.0.2.50", MacAddr([0x02, 0, 0, 0, 0, 0x50])).await;
        assert!(entry("192.0.2.50").contains("PERMANENT"), "{}", entry("192.0.2.50"));
        following.targets.send(set(&[])).expect("the task runs");
        following.wait_for("no target", |view| view.backends.is_empty()).await;
        assert!(entry("192.0.2.50").contains("PERMANENT"), "{}", entry("192.0.2.50"));
    });
}

#[test]
fn the_task_ends_when_nobody_names_targets_any_more() {
    on_a_segment(|_server| async {
        let Following { targets, task, .. } = Following::start(&["192.0.2.21"]);
        drop(targets);
        tokio::time::timeout(DEADLINE, task).await.expect("in time").expect("no panic").expect("no error");
    });
}
