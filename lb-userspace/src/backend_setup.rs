//! What a server needs to be a direct-routing backend, in the form that fits how it is managed.
//!
//! Three things are needed, whatever the form:
//! 1. The server owns the VIP, with a full mask, on `lo`, so that it accepts what the balancer sends and answers with
//!    the VIP as the source.
//! 2. It never answers ARP for the VIP and never names it as the sender of an ARP request (`arp_ignore`,
//!    `arp_announce`; kernel, Documentation/networking/ip-sysctl.rst), or else it would draw the clients' packets to
//!    itself, past the balancer. IPv6 needs no such setting: Linux answers a neighbour solicitation only for an
//!    address of the interface that it came in by (`ndisc_recv_ns`, net/ipv6/ndisc.c).
//! 3. It never chooses the VIP as the source of connections that it opens itself: scope `host` for IPv4, a preferred
//!    lifetime of zero for IPv6 (RFC 6724 section 5, rule 3).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use crate::model::Vip;

/// A form of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A shell script, to be run as root. It lasts until the next boot and may be run again at any time.
    Shell,
    /// User data for cloud-init. It lasts.
    CloudInit,
    /// Files for systemd-networkd and systemd-sysctl. They last.
    Systemd,
}

impl Format {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Shell, Self::CloudInit, Self::Systemd];

    /// The name that the command line uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::CloudInit => "cloud-init",
            Self::Systemd => "systemd",
        }
    }
}

/// The text that makes a server a backend for these VIPs.
#[must_use]
pub fn render(format: Format, vips: &BTreeSet<Vip>) -> String {
    match format {
        Format::Shell => shell(vips),
        Format::CloudInit => cloud_init(vips),
        Format::Systemd => systemd(vips),
    }
}

/// What no setting of the server can do: the cloud's own filters, with the VIPs filled in.
fn cloud_note(vips: &BTreeSet<Vip>) -> String {
    let pairs: String = vips.iter().map(|vip| format!(" --allowed-address ip-address={vip}")).collect();
    format!(
        "\
In a cloud, this server is only half of it. OpenStack and its relatives check the source and destination of each
frame against the port's own addresses (\"source/destination check\", \"port security\"), and drop silently what does not
fit. Set these from outside, with the cloud's API:

- This server's port answers with the VIP as the source, so the VIP must be among its allowed address pairs:
    openstack port set{pairs} PORT_OF_THIS_SERVER
- The balancer's port passes on the clients' packets with the clients' addresses as the source, so any address must
  be allowed there:
    openstack port set --allowed-address ip-address=0.0.0.0/0 --allowed-address ip-address=::/0 PORT_OF_THE_BALANCER
- Packets arrive here with the client's address as the source, not the balancer's: this server's security group must
  admit the clients, not just the balancer.
- A port that is allowed any address puts any address into its security group. A rule that admits \"members of that
  group\" then admits everybody. Give the balancer's ports a group of their own, use it as the remote group of no
  rule, and filter by address where its traffic is to be admitted.
"
    )
}

/// Text as comment lines.
fn commented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "#\n".into() } else { format!("# {line}\n") }).collect()
}

/// Text with every line that is not empty moved to the right.
fn indented(text: &str, columns: usize) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("{:columns$}{line}\n", "") }).collect()
}

fn list(vips: &BTreeSet<Vip>) -> String {
    vips.iter().map(Vip::to_string).collect::<Vec<_>>().join(", ")
}

/// The VIP with a full mask: just that address.
fn host_route(vip: &Vip) -> String {
    match vip.ip() {
        IpAddr::V4(_) => format!("{vip}/32"),
        IpAddr::V6(_) => format!("{vip}/128"),
    }
}

fn has_v4(vips: &BTreeSet<Vip>) -> bool {
    vips.iter().any(|vip| vip.ip().is_ipv4())
}

/// Why the two ARP settings are as they are.
const ARP: &str = "\
# arp_ignore 1: answer ARP only for addresses of the interface that the request came in by, so never for the VIP on lo.
# arp_announce 2: name an address of the outgoing interface as the sender of ARP requests, so never the VIP.
";

/// The commands that set a server up, without the heading.
fn commands(vips: &BTreeSet<Vip>) -> String {
    let mut text = String::from(
        "\
if [ \"$(id -u)\" -ne 0 ]; then
    echo \"This changes the network's settings: run it as root.\" >&2
    exit 1
fi
",
    );
    if has_v4(vips) {
        let _ = write!(
            text,
            "
# First the ARP settings, then the address, so that no ARP request for the VIP is ever answered here.
{ARP}for interface in all lo; do
    echo 1 >\"/proc/sys/net/ipv4/conf/$interface/arp_ignore\"
    echo 2 >\"/proc/sys/net/ipv4/conf/$interface/arp_announce\"
done
"
        );
    }
    text.push_str("\nip link set lo up\n");
    if has_v4(vips) {
        text.push_str(
            "\n# Scope host: the VIP answers clients, and is never chosen as the source of this server's own \
             connections.\n",
        );
    }
    for vip in vips.iter().filter(|vip| vip.ip().is_ipv4()) {
        let _ = writeln!(text, "ip address replace {} dev lo scope host", host_route(vip));
    }
    if vips.iter().any(|vip| vip.ip().is_ipv6()) {
        text.push_str(
            "\n# nodad: the other backends own the VIP too, and duplicate address detection must not take that for a \
             clash.\n# preferred_lft 0: as scope host for IPv4, a deprecated address answers but opens no connections \
             (RFC 6724).\n",
        );
    }
    for vip in vips.iter().filter(|vip| vip.ip().is_ipv6()) {
        let _ = writeln!(text, "ip address replace {} dev lo nodad preferred_lft 0", host_route(vip));
    }
    text
}

fn shell(vips: &BTreeSet<Vip>) -> String {
    format!(
        "\
#!/bin/sh
# Makes this server a direct-routing backend of drlb for {}.
# Run it as root. It may be run again at any time, and lasts until the next boot: run it at each, or use the
# cloud-init or systemd form.
#
{}set -eu

{}",
        list(vips),
        commented(&cloud_note(vips)),
        commands(vips)
    )
}

fn cloud_init(vips: &BTreeSet<Vip>) -> String {
    format!(
        "\
#cloud-config
# Makes a server a direct-routing backend of drlb for {vips}.
# It does so at the first boot and for good: a systemd unit runs the script below at each boot.
#
{note}write_files:
  - path: /usr/local/sbin/drlb-backend
    owner: root:root
    permissions: '0755'
    content: |
      #!/bin/sh
      # Makes this server a direct-routing backend of drlb for {vips}.
      set -eu

{script}
  - path: /etc/systemd/system/drlb-backend.service
    owner: root:root
    permissions: '0644'
    content: |
      [Unit]
      Description=Direct-routing backend of drlb
      # Before the network, so that the ARP settings are there before the first request can come in.
      DefaultDependencies=no
      After=local-fs.target systemd-sysctl.service
      Before=network-pre.target
      Wants=network-pre.target

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/usr/local/sbin/drlb-backend

      [Install]
      WantedBy=multi-user.target

runcmd:
  - [systemctl, daemon-reload]
  - [systemctl, enable, --now, drlb-backend.service]
",
        vips = list(vips),
        note = commented(&cloud_note(vips)),
        script = indented(&commands(vips), 6).trim_end(),
    )
}

fn systemd(vips: &BTreeSet<Vip>) -> String {
    let mut addresses = String::new();
    for vip in vips {
        let why_and_how = match vip.ip() {
            IpAddr::V4(_) => {
                "\
# Scope host: the VIP answers clients, and is never chosen as the source of this server's own connections.
Scope=host
"
            }
            IpAddr::V6(_) => {
                "\
# As scope host for IPv4: a deprecated address answers but opens no connections (RFC 6724).
PreferredLifetime=0
# The other backends own the VIP too, and duplicate address detection must not take that for a clash.
DuplicateAddressDetection=none
"
            }
        };
        let _ = write!(addresses, "\n[Address]\nAddress={}\n{why_and_how}", host_route(vip));
    }
    let sysctl = match has_v4(vips) {
        true => format!(
            "\
# ---- /etc/sysctl.d/90-drlb-backend.conf
{ARP}net.ipv4.conf.all.arp_ignore = 1
net.ipv4.conf.lo.arp_ignore = 1
net.ipv4.conf.all.arp_announce = 2
net.ipv4.conf.lo.arp_announce = 2

"
        ),
        false => String::new(),
    };
    format!(
        "\
# Makes a server with systemd-networkd a direct-routing backend of drlb for {vips}, for good.
# Put each part below into the file that its first line names, then run:
#     sysctl --system && systemctl enable --now systemd-networkd && networkctl reload && networkctl reconfigure lo
#
{note}
{sysctl}# ---- /etc/systemd/network/10-drlb-backend.network
[Match]
Name=lo
{addresses}",
        vips = list(vips),
        note = commented(&cloud_note(vips)),
    )
}

#[cfg(test)]
mod tests;
