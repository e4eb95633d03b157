//! Where the program runs: BPF links, pinned so that they outlive the agent.
//!
//! Each interface has a pin of its name in the folder `links`. An interface that runs in generic mode also has an empty
//! folder of its name in `generic`, because the kernel does not tell the mode of a link.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode as AyaMode};

use super::bind::Constants;
use super::detach::detach_now;
use super::fault::{attach_fault, chain, errno, pin_fault, program_fault};
use super::object::Instance;
use crate::model::{AttachMode, Fault, XdpMode};
use crate::reconcile::{Attached, Station};

/// The links of a data plane.
#[derive(Debug)]
pub(super) struct Links {
    /// The folder with the pinned maps; the links are in folders in it.
    maps: PathBuf,
    links: PathBuf,
    generic: PathBuf,
    /// What the programs that this agent has loaded are for, by the interface's name.
    stations: BTreeMap<String, Station>,
    /// A program that is loaded and not attached yet, and what it is loaded for.
    pub(super) kept: Option<(Constants, Instance)>,
}

/// The name of an interface as the name of a file: the BPF file system takes no dots, and VLAN interfaces have one.
fn file_name(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2e")
}

fn interface_name(file: &str) -> String {
    file.replace("%2e", ".").replace("%25", "%")
}

/// The folders of the links and of the marks, below the folder of the maps.
pub(super) fn folders(maps: &Path) -> [PathBuf; 2] {
    [maps.join("links"), maps.join("generic")]
}

impl Links {
    /// The links that are pinned below the folder of the maps.
    pub(super) fn open(maps: &Path) -> Result<Self, Fault> {
        let [links, generic] = folders(maps);
        for folder in [&links, &generic] {
            fs::create_dir_all(folder).map_err(|error| pin_fault(folder, "made", &error))?;
        }
        Ok(Self { maps: maps.to_owned(), links, generic, stations: BTreeMap::new(), kept: None })
    }

    /// Keeps a program until the interface that it is for needs one.
    pub(super) fn keep(&mut self, constants: Constants, instance: Instance) {
        self.kept = Some((constants, instance));
    }

    /// A program for an interface: the one that is kept, or one that is loaded now.
    fn program_for(&mut self, ifindex: u32, station: Station) -> Result<Instance, Fault> {
        let constants = Constants::new(ifindex, station);
        match self.kept.take_if(|(known, _)| *known == constants) {
            Some((_, instance)) => Ok(instance),
            None => Instance::load(&self.maps, constants),
        }
    }

    /// The interfaces that the program is attached to. The pin of an interface that is gone is removed: its link
    /// attaches nothing any more.
    pub(super) fn read(&mut self) -> Result<BTreeMap<String, Attached>, Fault> {
        let mut attached = BTreeMap::new();
        let files = fs::read_dir(&self.links).map_err(|error| pin_fault(&self.links, "read", &error))?;
        for file in files {
            let file = file.map_err(|error| pin_fault(&self.links, "read", &error))?;
            let name = interface_name(&file.file_name().to_string_lossy());
            match self.attached_to(&name)? {
                Some(link) => {
                    attached.insert(name, link);
                }
                None => self.unpin(&name)?,
            }
        }
        Ok(attached)
    }

    fn attached_to(&self, name: &str) -> Result<Option<Attached>, Fault> {
        let path = self.links.join(file_name(name));
        let link_fault =
            |error| Fault::unavailable(format!("the link {} cannot be read: {}", path.display(), chain(error)));
        let link: FdLink = PinnedLink::from_pin(&path).map_err(link_fault)?.into();
        let id = link.info().map_err(link_fault)?.id();
        let ifindex = ifindex_of(id).map_err(|error| pin_fault(&path, "examined", &error))?;
        let mode = if self.generic.join(file_name(name)).exists() { XdpMode::Generic } else { XdpMode::Native };
        let station = self.stations.get(name).copied();
        Ok((ifindex != 0).then_some(Attached { ifindex, station, mode }))
    }

    /// Loads the program for an interface and attaches it.
    pub(super) fn attach(
        &mut self,
        name: &str,
        ifindex: u32,
        station: Station,
        mode: AttachMode,
    ) -> Result<Attached, Fault> {
        let mut instance = self.program_for(ifindex, station)?;
        let first = if mode == AttachMode::Generic { XdpMode::Generic } else { XdpMode::Native };
        let (link, mode) = match create(&mut instance, name, ifindex, first) {
            Err((_, Some(libc::EOPNOTSUPP))) if mode == AttachMode::Auto => {
                tracing::info!("the driver of {name} has no native XDP; attaching in generic mode");
                (create(&mut instance, name, ifindex, XdpMode::Generic), XdpMode::Generic)
            }
            created => (created, first),
        };
        let link = link.map_err(|(fault, _)| fault)?;
        // The interface had no program, so whatever is pinned by its name attaches nothing.
        self.unpin(name)?;
        if mode == XdpMode::Generic {
            let mark = self.generic.join(file_name(name));
            fs::create_dir_all(&mark).map_err(|error| pin_fault(&mark, "made", &error))?;
        }
        let path = self.links.join(file_name(name));
        // If this fails, the link is dropped, which detaches the program.
        link.pin(&path).map_err(|error| {
            Fault::unavailable(format!("the link {} cannot be pinned: {}", path.display(), chain(error)))
        })?;
        self.stations.insert(name.to_owned(), station);
        Ok(Attached { ifindex, station: Some(station), mode })
    }

    /// Loads the program for an interface anew, and puts it in the place of the one that runs there, in one step.
    pub(super) fn renew(&mut self, name: &str, station: Station) -> Result<Option<Attached>, Fault> {
        let Some(attached) = self.attached_to(name)? else { return Ok(None) };
        let mut instance = self.program_for(attached.ifindex, station)?;
        let path = self.links.join(file_name(name));
        let link_fault =
            |error| Fault::unavailable(format!("the link {} cannot be opened: {}", path.display(), chain(error)));
        let link: FdLink = PinnedLink::from_pin(&path).map_err(link_fault)?.into();
        let link = XdpLink::try_from(link).map_err(link_fault)?;
        instance.program()?.attach_to_link(link).map_err(|error| {
            Fault::unavailable(format!("the program on {name} cannot be replaced by this version's: {}", chain(error)))
        })?;
        self.stations.insert(name.to_owned(), station);
        Ok(Some(Attached { station: Some(station), ..attached }))
    }

    /// Takes the program off an interface.
    pub(super) fn detach(&mut self, name: &str) -> Result<(), Fault> {
        self.stations.remove(name);
        let path = self.links.join(file_name(name));
        match detach_now(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(pin_fault(&path, "detached", &error)),
            _ => self.unpin(name),
        }
    }

    /// Removes the pin of a link, which was all that kept it.
    fn unpin(&self, name: &str) -> Result<(), Fault> {
        let (link, mark) = (self.links.join(file_name(name)), self.generic.join(file_name(name)));
        let removed = |result: io::Result<()>, path: &Path| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(pin_fault(path, "removed", &error)),
            _ => Ok(()),
        };
        removed(fs::remove_file(&link), &link)?;
        removed(fs::remove_dir(&mark), &mark)
    }
}

/// Attaches the program by a BPF link. With the fault comes the number of the kernel's error.
fn create(instance: &mut Instance, name: &str, ifindex: u32, mode: XdpMode) -> Result<FdLink, (Fault, Option<i32>)> {
    let other = |fault| (fault, None);
    let program = instance.program().map_err(other)?;
    let aya_mode = match mode {
        XdpMode::Native => AyaMode::Driver,
        XdpMode::Generic => AyaMode::Skb,
    };
    let created = program.attach_to_if_index(ifindex, aya_mode);
    let id = created.map_err(|error| {
        let number = errno(&error);
        (attach_fault(name, mode, error), number)
    })?;
    // When the kernel refuses a link with EINVAL, aya attaches without one. That cannot be pinned, so that it would end
    // with the agent; and once it is taken out of the program, aya does not detach it any more.
    let program_id = program.info().map_err(|error| other(program_fault(error)))?.id();
    let links = link_infos().map_err(|error| {
        other(Fault::unavailable(format!("the links of this process cannot be read from /proc/self/fdinfo: {error}")))
    })?;
    if !links.iter().any(|info| value_of(info, "prog_id") == Some(program_id)) {
        let fault = Fault::unavailable(format!(
            "the kernel has no BPF link for {name} in {mode} mode, so the program could not outlive the agent; use --mode \
             generic"
        ));
        program.detach(id).map_err(|error| other(program_fault(error)))?;
        return Err(other(fault));
    }
    let link = program.take_link(id).map_err(|error| other(program_fault(error)))?;
    link.try_into()
        .map_err(|error| other(Fault::unavailable(format!("the link on {name} cannot be kept: {}", chain(error)))))
}

/// The index of the interface that a link of this process is attached to; 0 if that interface is gone.
///
fn ifindex_of(link: u32) -> io::Result<u32> {
    let infos = link_infos()?;
    let info = infos.iter().find(|info| value_of(info, "link_id") == Some(link));
    Ok(info.and_then(|info| value_of(info, "ifindex")).unwrap_or(0))
}

/// What the kernel tells of the links that this process has open, in `/proc/self/fdinfo` (`bpf_link_show_fdinfo` in
/// kernel/bpf/syscall.c, `bpf_xdp_link_show_fdinfo` in net/core/dev.c). It needs no right; walking all links of the host
/// would need CAP_SYS_ADMIN.
fn link_infos() -> io::Result<Vec<String>> {
    let mut infos = Vec::new();
    for file in fs::read_dir("/proc/self/fdinfo")? {
        // Other threads close files meanwhile.
        let Ok(text) = fs::read_to_string(file?.path()) else { continue };
        if value_of(&text, "link_id").is_some() {
            infos.push(text);
        }
    }
    Ok(infos)
}

fn value_of(fdinfo: &str, key: &str) -> Option<u32> {
    fdinfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_interface_name_has_a_file_name_without_dots() {
        for name in ["eth0", "eth0.100", "a%2eb", "%.%"] {
            let file = file_name(name);
            assert!(!file.contains('.'), "{file}");
            assert_eq!(interface_name(&file), name);
        }
    }

    #[test]
    fn fdinfo_tells_the_interface() {
        let text = "pos:\t0\nflags:\t02000000\nlink_type:\txdp\nlink_id:\t41\nprog_id:\t75\nifindex:\t3\n";
        assert_eq!((value_of(text, "link_id"), value_of(text, "ifindex")), (Some(41), Some(3)));
        assert_eq!(value_of("pos:\t0\n", "link_id"), None);
    }
}
