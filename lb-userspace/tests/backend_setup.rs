//! The shell form of `drlb backend setup`, run for real in a network namespace of its own. Needs root.

use std::process::Command;

use lb_userspace::backend_setup::{Format, render};

/// Runs the script twice, as an impatient operator does, and then shows what came of it.
const RUN_AND_SHOW: &str = "
set -e
sh \"$1\"
sh \"$1\"
ip -oneline address show dev lo
cd /proc/sys/net/ipv4/conf
for setting in all/arp_ignore lo/arp_ignore all/arp_announce lo/arp_announce; do
    echo \"$setting=$(cat $setting)\"
done
ip route get from 192.0.2.10 192.0.2.10 | head -n 1
";

#[test]
fn the_shell_form_makes_a_backend_and_may_run_again() {
    let vips = ["192.0.2.10", "192.0.2.11", "2001:db8::10"];
    let script = render(Format::Shell, &vips.iter().map(|vip| vip.parse().expect("a VIP")).collect());
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("setup.sh");
    std::fs::write(&path, script).expect("the script is written");

    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", RUN_AND_SHOW, "sh"])
        .arg(&path)
        .output()
        .expect("util-linux's unshare is installed");
    let (shown, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}; this needs root");
    assert_eq!(errors, "");

    for (vip, marks) in [
        ("inet 192.0.2.10/32", "scope host"),
        ("inet 192.0.2.11/32", "scope host"),
        ("inet6 2001:db8::10/128", "deprecated"),
    ] {
        let lines: Vec<_> = shown.lines().filter(|line| line.contains(&format!("{vip} "))).collect();
        assert_eq!(lines.len(), 1, "{vip} stands there once: {shown}");
        assert!(lines[0].contains(marks), "{shown}");
        assert!(!lines[0].contains("tentative"), "{shown}");
    }
    for setting in ["all/arp_ignore=1", "lo/arp_ignore=1", "all/arp_announce=2", "lo/arp_announce=2"] {
        assert!(shown.contains(setting), "{setting} is missing: {shown}");
    }
    assert!(shown.contains("local 192.0.2.10 from 192.0.2.10 dev lo"), "the server takes the VIP as its own: {shown}");
}
