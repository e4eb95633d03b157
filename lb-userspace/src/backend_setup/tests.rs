use super::*;

fn vips(texts: &[&str]) -> BTreeSet<Vip> {
    texts.iter().map(|text| text.parse().expect("a VIP")).collect()
}

fn both() -> BTreeSet<Vip> {
    vips(&["192.0.2.10", "2001:db8::10"])
}

#[test]
fn every_form_owns_the_vip_and_keeps_quiet_about_it() {
    for &format in Format::ALL {
        let text = render(format, &both());
        for needed in ["192.0.2.10/32", "2001:db8::10/128", "arp_ignore", "arp_announce", "all", "lo"] {
            assert!(text.contains(needed), "{} lacks `{needed}`:\n{text}", format.name());
        }
    }
}

#[test]
fn every_form_tells_of_the_clouds_own_checks() {
    for &format in Format::ALL {
        let text = render(format, &both());
        for needed in [
            "--allowed-address ip-address=192.0.2.10 --allowed-address ip-address=2001:db8::10 PORT_OF_THIS_SERVER",
            "ip-address=0.0.0.0/0",
            "security group must",
            "group of their own",
        ] {
            assert!(text.contains(needed), "{} lacks `{needed}`:\n{text}", format.name());
        }
    }
}

#[test]
fn a_family_without_a_vip_is_not_mentioned() {
    let text = render(Format::Shell, &vips(&["192.0.2.10"]));
    assert!(text.contains("scope host") && !text.contains("nodad"), "{text}");
    let text = render(Format::Shell, &vips(&["2001:db8::10"]));
    assert!(text.contains("nodad") && !text.contains("dev lo scope host") && !text.contains("arp"), "{text}");
    let text = render(Format::Systemd, &vips(&["2001:db8::10"]));
    assert!(!text.contains("/etc/sysctl.d") && !text.contains("Scope=host"), "{text}");
}

#[test]
fn the_shell_form_sets_arp_before_it_adds_the_address() {
    let text = render(Format::Shell, &both());
    let arp = text.find("arp_announce\"\n").expect("the last ARP setting");
    let address = text.find("ip address replace").expect("the first address");
    assert!(arp < address, "{text}");
    assert!(text.starts_with("#!/bin/sh\n"));
}

#[test]
fn the_systemd_form_has_a_section_for_each_vip() {
    let text = render(Format::Systemd, &both());
    let (_, network) = text.split_once("# ---- /etc/systemd/network/10-drlb-backend.network\n").expect("the file");
    let settings: Vec<_> = network.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(
        settings,
        [
            "[Match]",
            "Name=lo",
            "[Address]",
            "Address=192.0.2.10/32",
            "Scope=host",
            "[Address]",
            "Address=2001:db8::10/128",
            "PreferredLifetime=0",
            "DuplicateAddressDetection=none",
        ]
    );
}

#[test]
fn the_cloud_init_form_is_yaml_that_holds_the_script_and_its_unit() {
    let text = render(Format::CloudInit, &both());
    assert!(text.starts_with("#cloud-config\n"), "cloud-init tells its format by the first line");
    let documents = yaml_rust2::YamlLoader::load_from_str(&text).expect("YAML");
    let [document] = documents.as_slice() else { panic!("{} documents", documents.len()) };
    let files = document["write_files"].as_vec().expect("a list of files");
    assert_eq!(files.len(), 2);
    assert_eq!(files[0]["path"].as_str(), Some("/usr/local/sbin/drlb-backend"));
    assert_eq!(files[0]["permissions"].as_str(), Some("0755"));
    let script = files[0]["content"].as_str().expect("the script");
    assert!(script.starts_with("#!/bin/sh\n"), "{script}");
    assert!(script.contains(&commands(&both())), "the script that the shell form has:\n{script}");
    let unit = files[1]["content"].as_str().expect("the unit");
    assert!(unit.contains("\nExecStart=/usr/local/sbin/drlb-backend\n"), "{unit}");
    let last = document["runcmd"].as_vec().expect("commands").last().and_then(|c| c.as_vec()).expect("a command");
    assert_eq!(
        last.iter().filter_map(|word| word.as_str()).collect::<Vec<_>>().join(" "),
        "systemctl enable --now drlb-backend.service"
    );
}
