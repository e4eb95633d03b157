use super::*;
use crate::config::{plan, read, write};
use crate::model::Desired;

/// What an import asks for, as a file's text; which applies, and is read as the same.
fn text_of(imported: &Imported) -> String {
    let text = write(&imported.wanted);
    let again = read(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
    assert_eq!(write(&again), text);
    plan(&again, &Desired::default(), 0).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
    text
}

#[test]
fn services_of_ipvs_become_listeners() {
    let imported = ipvsadm(
        "-A -t 192.0.2.10:80 -s wrr\n\
         -a -t 192.0.2.10:80 -r 192.0.2.21:80 -g -w 1\n\
         -a -t 192.0.2.10:80 -r 192.0.2.22:80 -g -w 3\n\
         -A -u [2001:db8::10]:53 -s mh -b mh-port,mh-fallback\n\
         -a -u [2001:db8::10]:53 -r [2001:db8::21]:53 -g -w 0\n\
         -A -t 192.0.2.11:0 -s sh -p 300 -M 255.255.255.0\n\
         -a -t 192.0.2.11:0 -r 192.0.2.21:0 -g -w 1\n",
    );
    assert_eq!(imported.notes, [""; 0]);
    assert_eq!(
        text_of(&imported),
        r#"[[listeners]]
name = "tcp-192.0.2.10-80"
vip = "192.0.2.10"
protocol = "tcp"
port = 80
algorithm = "round-robin"

[[listeners.backends]]
address = "192.0.2.21"

[[listeners.backends]]
address = "192.0.2.22"
weight = 3

[[listeners]]
name = "udp-2001.db8..10-53"
vip = "2001:db8::10"
protocol = "udp"
port = 53

[[listeners.backends]]
address = "2001:db8::21"
weight = 0

[[listeners]]
name = "tcp-192.0.2.11-all"
vip = "192.0.2.11"
protocol = "tcp"
port = 0
algorithm = "source-ip"
persistence = { timeout = "5m", ipv4-prefix = 24, ipv6-prefix = 24 }

[[listeners.backends]]
address = "192.0.2.21"
"#
    );
}

#[test]
fn what_of_ipvs_cannot_be_carried_over_is_told_line_by_line() {
    let imported = ipvsadm(
        "-A -t 192.0.2.10:80 -s sed -p -o\n\
         -a -t 192.0.2.10:80 -r 192.0.2.21:8080 -g -w 1000 -x 50 -y 0\n\
         -a -t 192.0.2.10:80 -r 192.0.2.22:80 -m -w 1\n\
         -a -t 192.0.2.10:80 -r 192.0.2.23:80 -i -w 1\n\
         -a -t 192.0.2.10:80 -r 192.0.2.24:80 -g -w 500\n\
         -A -f 7 -s rr\n\
         -a -t 192.0.2.99:80 -r 192.0.2.21:80 -g -w 1\n\
         -A -t www.example.com:http -s rr\n\
         -C\n",
    );
    let told = [
        "line 3: server 192.0.2.22 was left out: it is reached by network address translation",
        "line 4: server 192.0.2.23 was left out: it is reached by a tunnel",
        "line 6: the service of firewall mark 7 was left out",
        "line 7: no line before this one adds its service",
        "line 8: `www.example.com:http` is not an address and port in numbers",
        "line 9: `-C` is none of ipvsadm's commands that add something",
        "line 1: one-packet scheduling was left out",
        "line 2: the server's limit of connections, 50, was left out",
        "line 1: drlb has no scheduler `sed`; least-connections takes its place",
        "line 2: server 192.0.2.21 is reached at port 80 of the VIP, not at its port 8080",
        "line 2: the weight 1000 of server 192.0.2.21 became 256",
        "line 5: the weight 500 of server 192.0.2.24 became 128",
    ];
    for part in told {
        assert!(imported.notes.iter().any(|note| note.starts_with(part)), "{part}\n{:#?}", imported.notes);
    }
    assert_eq!(imported.notes.len(), told.len(), "{:#?}", imported.notes);
    assert!(text_of(&imported).contains("persistence = { timeout = \"6m\" }"));
}

const KEEPALIVED: &str = r#"
! Two balancers
global_defs {
    router_id LB1
}
vrrp_instance VI_1 {
    state MASTER
    virtual_ipaddress {
        192.0.2.10
    }
}
virtual_server 192.0.2.10 80 {
    delay_loop 6
    lb_algo wrr
    lb_kind DR
    persistence_timeout 50
    protocol TCP
    sorry_server 192.0.2.200 80
    real_server 192.0.2.21 80 {
        weight 2
        HTTP_GET {
            url {
                path /healthz
                status_code 200 204
            }
            connect_timeout 3
            retry 2
            delay_before_retry 3
        }
    }
    real_server 192.0.2.22 80 {
        weight 1
        TCP_CHECK {
            connect_timeout 3
        }
    }
}
virtual_server_group DNS {
    192.0.2.12-13 53
    2001:db8::10 53
    fwmark 9
}
virtual_server group DNS
{
    lvs_sched mh   # by source
    lvs_method DR
    protocol UDP
    real_server 192.0.2.31 53 {
        MISC_CHECK {
            misc_path "/usr/bin/dig-it now"
        }
    }
}
virtual_server 192.0.2.14 443 {
    lb_algo rr
    lb_kind NAT
    real_server 192.0.2.21 443 {
    }
}
"#;

#[test]
fn virtual_servers_of_keepalived_become_listeners() {
    let imported = keepalived(KEEPALIVED);
    let text = text_of(&imported);
    let web = r#"[[listeners]]
name = "tcp-192.0.2.10-80"
vip = "192.0.2.10"
protocol = "tcp"
port = 80
algorithm = "round-robin"
persistence = { timeout = "50s" }
health = { type = "http", delay = "6s", timeout = "3s", rise = 1, path = "/healthz", expect = "200,204" }

[[listeners.backends]]
address = "192.0.2.21"
weight = 2

[[listeners.backends]]
address = "192.0.2.22"

[[listeners.backends]]
address = "192.0.2.200"
backup = true
"#;
    assert!(text.starts_with(web), "{text}");
    for vip in ["192.0.2.12", "192.0.2.13", "2001:db8::10"] {
        assert!(text.contains(&format!("vip = \"{vip}\"\nprotocol = \"udp\"\nport = 53\nalgorithm = \"source-ip\"\n")));
    }
    let told = [
        "line 3: `global_defs` was left out",
        "line 6: `vrrp_instance VI_1` was left out: drlb moves no addresses between hosts",
        "line 18: the sorry server 192.0.2.200 became a backup, which is probed as the others are",
        "line 28: `delay_before_retry 3` was left out",
        "line 33: server 192.0.2.22 is probed as the first one is (line 21), not by its own check",
        "line 41: firewall mark 9 of the group was left out",
        "line 49: `MISC_CHECK` of server 192.0.2.31 was left out: drlb has no such check",
        "line 49: `MISC_CHECK` of server 192.0.2.31 was left out: drlb has no such check",
        "line 49: `MISC_CHECK` of server 192.0.2.31 was left out: drlb has no such check",
        "line 48: server 192.0.2.31 was left out: direct routing does not translate to 2001:db8::10",
        "line 57: server 192.0.2.21 was left out: it is of kind NAT",
    ];
    for part in told {
        assert!(imported.notes.iter().any(|note| note.starts_with(part)), "{part}\n{:#?}", imported.notes);
    }
    assert_eq!(imported.notes.len(), told.len(), "{:#?}", imported.notes);
}

#[test]
fn a_sorry_server_becomes_a_backup_if_it_is_reached_by_direct_routing() {
    let block = |lines: &str| {
        let head = "virtual_server 192.0.2.10 80 {\n lb_kind DR\n real_server 192.0.2.21 80 {\n weight 300\n }\n";
        keepalived(&format!("{head}{lines}}}\n"))
    };
    let backups = |imported: &Imported| {
        let backends = &imported.wanted.listeners[0].value.backends;
        let backups = backends.iter().filter(|at| at.value.backup);
        backups.map(|at| (at.value.address.to_string(), at.value.weight)).collect::<Vec<_>>()
    };
    // Without a check there is nothing to tell; the weights of the others are no matter of its.
    let imported = block(" sorry_server 192.0.2.200 80\n");
    assert_eq!(backups(&imported), [("192.0.2.200".to_owned(), 1)]);
    assert_eq!(imported.notes, ["line 3: the weight 300 of server 192.0.2.21 became 256"]);
    assert!(text_of(&imported).ends_with("address = \"192.0.2.200\"\nbackup = true\n"));

    let told = |lines: &str, part: &str, left: &[&str]| {
        let imported = block(lines);
        assert!(imported.notes.iter().any(|note| note.starts_with(part)), "{part}\n{:#?}", imported.notes);
        assert_eq!(backups(&imported).into_iter().map(|(address, _)| address).collect::<Vec<_>>(), left, "{lines}");
    };
    let nat = " sorry_server 192.0.2.200 80\n sorry_server_lvs_method NAT\n";
    told(nat, "line 6: server 192.0.2.200 was left out: it is of kind NAT", &[]);
    told(" sorry_server 192.0.2.21 80\n", "line 6: server 192.0.2.21 is there twice", &[]);
    told(" sorry_server 192.0.2.200 81\n", "line 6: server 192.0.2.200 is reached at port 80", &["192.0.2.200"]);
    told(" sorry_server 2001:db8::1 80\n", "line 6: server 2001:db8::1 was left out", &[]);
    told(" sorry_server www 80\n", "line 6: `www` is not an address in numbers", &[]);
    let two = " sorry_server 192.0.2.200\n sorry_server 192.0.2.201\n sorry_server_inhibit\n";
    told(two, "line 6: `sorry_server 192.0.2.200` was left out: a later one takes its place", &["192.0.2.201"]);
    told(two, "line 8: `sorry_server_inhibit` was left out", &["192.0.2.201"]);

    // Of a virtual server of another kind it is taken, too, if it says that it is reached so.
    let other = keepalived(
        "virtual_server 192.0.2.10 80 {\n lb_kind NAT\n sorry_server 192.0.2.200 80\n sorry_server_lvs_method DR\n}\n",
    );
    assert_eq!((backups(&other), other.notes.len()), (vec![("192.0.2.200".to_owned(), 1)], 0));
}

#[test]
fn braces_that_do_not_match_are_told() {
    let imported = keepalived("virtual_server 192.0.2.10 80 {\n lb_kind DR\n real_server 192.0.2.21 80 {\n");
    assert_eq!(
        imported.notes,
        [
            "line 3: `real_server 192.0.2.21 80` is not closed by a `}`",
            "line 1: `virtual_server 192.0.2.10 80` is not closed by a `}`"
        ]
    );
    assert_eq!(imported.wanted.listeners.len(), 1);
    assert_eq!(keepalived("}\n").notes, ["line 1: a `}` that closes nothing was passed over"]);
}
