//! The real XDP program, run on given bytes by `BPF_PROG_TEST_RUN`, with maps filled from [`HostTables`]: the same tables
//! that the host build of the pipeline uses, so that the two can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use lb_common::address::Address;
use lb_common::backend::Load;
use lb_common::event::Event;
use lb_common::flow::Flow;
use lb_common::fragment::{DatagramKey, Trail};
use lb_common::limits::PIN_PLACES;
use lb_common::maps;
use lb_common::outcome::{Counter, Outcome, Refused};
use lb_common::session::{Session, SessionKey};
use lb_common::slot::{Slot, SlotLine};
use lb_common::table::{Entry, ListenerEntry, MOST_PROBES, VipEntry, place};
use lb_common::track::pin::{Moment, Pin, PinKey, Table};
use lb_common::track::place::{FREE, PinPlace, Sought};
use lb_ebpf::finish::Verdict;
use lb_ebpf::host::{Counters, FlowMemory, HostTables};
use lb_userspace::dataplane::{Bound, Constants, CounterMap, ForwardingMap, MatchTable, PinTable};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The interface that packets of a test run come in by, unless told: the namespace's loopback.
pub const INGRESS: u32 = 1;

/// Longest packet that a test run takes in one linear piece: a page less the headroom and the tailroom that the kernel
/// keeps (`net/bpf/test_run.c`).
pub const LONGEST: usize = 3_500;

/// The program, loaded in a network and mount namespace of the calling thread's own.
pub struct Program {
    ebpf: Ebpf,
    forwarding: ForwardingMap,
    listeners: MatchTable<ListenerEntry>,
    vips: MatchTable<VipEntry>,
    counters: CounterMap,
    pins: PinTable,
    /// Which places of the tables that packets are matched in were written.
    listeners_written: BTreeSet<u32>,
    vips_written: BTreeSet<u32>,
    /// How many places there are, and ids of listeners.
    places: u32,
    ids: u32,
}

/// What the program made of a packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// `XDP_PASS`, `XDP_DROP`, `XDP_TX` or `XDP_REDIRECT`.
    pub verdict: Action,
    /// The packet after it.
    pub packet: Vec<u8>,
}

/// A verdict, as the kernel gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_PASS`.
    Pass,
    /// `XDP_DROP`.
    Drop,
    /// `XDP_TX`.
    Transmit,
    /// `XDP_REDIRECT`.
    Redirect,
}

impl From<Verdict> for Action {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::PASS => Self::Pass,
            Verdict::DROP => Self::Drop,
            Verdict::TRANSMIT => Self::Transmit,
            _ => Self::Redirect,
        }
    }
}

impl Program {
    /// Loads the program and fills its maps with what `tables` holds. Moves the calling thread into new namespaces, with
    /// a BPF file system of their own: nothing of this is left when the thread ends.
    ///
    /// # Errors
    /// Not root, or the kernel refuses the program.
    pub fn load(tables: &HostTables) -> Result<Self> {
        Self::load_object(lb_userspace::dataplane::OBJECT, tables)
    }

    /// As [`Program::load`], of another object than the one that drlb ships.
    ///
    /// # Errors
    /// As [`Program::load`].
    pub fn load_object(object: &[u8], tables: &HostTables) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .context("cannot make namespaces: run the tests as root")?;
        let nothing = None::<&Path>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
        mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), nothing)?;

        let pins = Path::new("/sys/fs/bpf");
        let constants = Constants {
            own_mac: tables.own_mac,
            ingress: tables.ingress_ifindex,
            home: tables.home_segment(),
            hash_key: tables.hash_key,
        };
        let bound = Bound::new(object, pins, constants)?;
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(pins)
            .load(&bound.object)
            .map_err(|error| anyhow::anyhow!("cannot load the BPF object: {error:#}"))?;
        program(&mut ebpf)?.load().map_err(|error| anyhow::anyhow!("the kernel refuses the program: {error:#}"))?;
        let places = u32::try_from(tables.backends.len())?;
        let ids = tables.listeners.values().map(|listener| listener.id + 1).max().unwrap_or(0);
        let forwarding = ebpf.take_map(maps::FORWARDING).context("the object has no map FORWARDING")?;
        let counters = ebpf.take_map(maps::COUNTERS).context("the object has no map COUNTERS")?;
        let established = ebpf.take_map(maps::PINS_ESTABLISHED).context("the object has no map PINS_ESTABLISHED")?;
        let mut loaded = Self {
            forwarding: ForwardingMap::open(&forwarding)?,
            listeners: ForwardingMap::listeners(&forwarding)?,
            vips: ForwardingMap::vips(&forwarding)?,
            counters: CounterMap::open(&counters)?,
            pins: PinTable::open(&established)?,
            ebpf,
            listeners_written: BTreeSet::new(),
            vips_written: BTreeSet::new(),
            places,
            ids,
        };
        loaded.fill(tables)?;
        Ok(loaded)
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))
    }

    /// Fills the maps with what `tables` holds: listeners, VIPs, slots, backends, segments and loads.
    ///
    /// # Errors
    /// A map cannot be written.
    pub fn fill(&mut self, tables: &HostTables) -> Result<()> {
        let vips = tables.vips.iter().map(|(address, vip)| VipEntry::new(*address, *vip));
        fill_table(&self.vips, &mut self.vips_written, vips)?;
        let listeners = tables.listeners.iter().map(|(key, listener)| ListenerEntry::new(*key, *listener));
        fill_table(&self.listeners, &mut self.listeners_written, listeners)?;
        let mut allowed = Array::<&mut MapData, u64>::try_from(self.map(maps::ALLOWED)?)?;
        for (index, word) in tables.allowed.iter().enumerate() {
            allowed.set(u32::try_from(index)?, word, 0)?;
        }
        let mut probes = HashMap::<&mut MapData, [u32; 5], [u64; 4]>::try_from(self.map(maps::PROBES)?)?;
        for (key, target) in &tables.probes {
            probes.insert(bytemuck::cast::<_, [u32; 5]>(*key), bytemuck::cast::<_, [u64; 4]>(*target), 0)?;
        }
        let mut probing = Array::<&mut MapData, u32>::try_from(self.map(maps::PROBING)?)?;
        probing.set(0, u32::from(!tables.probes.is_empty()), 0)?;
        let mut loads = Array::<&mut MapData, [u32; 2]>::try_from(self.map(maps::LOADS)?)?;
        for (place, load) in &tables.memory.borrow().loads {
            loads.set(*place, [load.flows, load.weight], 0)?;
        }
        let mut slots = Array::<&mut MapData, [u32; 16]>::try_from(self.map(maps::SLOTS)?)?;
        for (index, line) in tables.slots.chunks(16).enumerate() {
            let mut whole = SlotLine([Slot::EMPTY; 16]);
            whole.0[..line.len()].copy_from_slice(line);
            slots.set(u32::try_from(index)?, bytemuck::cast::<_, [u32; 16]>(whole), 0)?;
        }
        for (index, slot) in (0..).zip(&tables.slots) {
            self.forwarding.set_glance(index, *slot);
        }
        for (place, backend) in (0..).zip(&tables.backends) {
            self.forwarding.set_backend(place, *backend);
        }
        for (index, segment) in (0..).zip(&tables.segments) {
            self.forwarding.set_segment(index, *segment);
        }
        // A test run sends nothing: any interface that exists will do as the way out.
        let mut egress = aya::maps::DevMap::try_from(self.map(maps::EGRESS)?)?;
        for index in 0..u32::try_from(tables.segments.len())? {
            egress.set(index, INGRESS, None, 0)?;
        }
        let mut link = aya::maps::DevMap::try_from(self.map(maps::PROBE_LINK)?)?;
        link.set(0, INGRESS, None, 0)?;
        Ok(())
    }

    /// Runs the program on a packet.
    ///
    /// # Errors
    /// A packet shorter than an Ethernet header or longer than [`LONGEST`], or the run itself fails.
    pub fn run(&mut self, packet: &[u8]) -> Result<Answer> {
        run(program(&mut self.ebpf)?, packet)
    }

    /// Runs packets on two CPUs at the same time, as `packets` will: it is handed which of them it is, 0 or 1, and what runs a packet
    /// there. `meanwhile` is done over and over until both are through, and once more. With one CPU, the two take turns on that.
    ///
    /// # Panics
    /// If one of the threads does.
    pub fn on_two_cpus<R: Send>(
        &mut self,
        packets: impl Fn(usize, &dyn Fn(&[u8]) -> Result<Answer>) -> R + Sync,
        mut meanwhile: impl FnMut(&mut PinTable),
    ) -> Vec<R> {
        let program: &Xdp = program(&mut self.ebpf).expect("the program");
        let packets = &packets;
        let allowed = sched_getaffinity(Pid::from_raw(0)).expect("the CPUs of this thread");
        let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> = [0, 1]
                .into_iter()
                .map(|number: usize| {
                    let mut own = CpuSet::new();
                    own.set(cpus[number % cpus.len()]).expect("a CPU");
                    scope.spawn(move || {
                        sched_setaffinity(Pid::from_raw(0), &own).expect("the thread may choose its CPU");
                        packets(number, &|packet| run(program, packet))
                    })
                })
                .collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                meanwhile(&mut self.pins);
            }
            meanwhile(&mut self.pins);
            threads.into_iter().map(|thread| thread.join().expect("it is through")).collect()
        })
    }

    /// All counters that are not zero, summed over the CPUs.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn counters(&mut self) -> Result<Counters> {
        let (places, ids) = (self.places, self.ids);
        let outcomes = Outcome::ALL.iter().map(|outcome| (*outcome, self.counters.outcome(*outcome)));
        Ok(Counters {
            outcomes: outcomes.filter(|(_, counter)| *counter != Counter::default()).collect(),
            listeners: counted(ids, |id| self.counters.listener(id)),
            refused: self.refused(ids)?,
            backends: counted(places, |place| self.counters.backend(place)),
        })
    }

    /// What the program told since this was last asked, the oldest first.
    ///
    /// # Errors
    /// The ring cannot be read.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let mut ring = RingBuf::try_from(self.map(maps::EVENTS)?)?;
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(bytemuck::try_pod_read_unaligned(&item).map_err(|error| anyhow::anyhow!("an event: {error}"))?);
        }
        Ok(events)
    }

    /// What is remembered of flows and clients. All moments are zero: they are the kernel's own.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn memory(&mut self) -> Result<FlowMemory> {
        let pins = |map: &mut Map| -> Result<_> {
            let map = HashMap::<&mut MapData, [u32; 10], [u64; 2]>::try_from(map)?;
            map.iter()
                .map(|entry| {
                    let (key, pin) = entry?;
                    let pin = Pin { seen: Moment(0), ..bytemuck::cast(pin) };
                    Ok((bytemuck::cast::<_, PinKey>(key), pin))
                })
                .collect::<Result<_>>()
        };
        let young = pins(self.map(maps::PINS_YOUNG)?)?;
        let mut established: std::collections::HashMap<_, _> = pins(self.map(maps::PINS_MORE)?)?;
        for (_, place) in self.pins.published() {
            let pin = Pin { seen: Moment(0), ..place.pin };
            ensure!(established.insert(place.key, pin).is_none(), "a flow has two established pins");
        }
        let sessions = HashMap::<&mut MapData, [u32; 5], [u32; 2]>::try_from(self.map(maps::SESSIONS)?)?;
        let sessions = sessions
            .iter()
            .map(|entry| {
                let (key, session) = entry?;
                let session = Session { seen: Moment(0), ..bytemuck::cast(session) };
                Ok((bytemuck::cast::<_, SessionKey>(key), session))
            })
            .collect::<Result<_>>()?;
        let trails = HashMap::<&mut MapData, [u32; 10], [u64; 3]>::try_from(self.map(maps::FRAGMENTS)?)?;
        let trails = trails
            .iter()
            .map(|entry| {
                let (key, trail) = entry?;
                let trail = Trail { seen: Moment(0), ..bytemuck::cast(trail) };
                Ok((bytemuck::cast::<_, DatagramKey>(key), trail))
            })
            .collect::<Result<_>>()?;
        let places = self.places;
        let loads = Array::<&mut MapData, [u32; 2]>::try_from(self.map(maps::LOADS)?)?;
        let loads = (0..places)
            .map(|place| Ok((place, loads.get(&place, 0).map(|[flows, weight]| Load { flows, weight })?)))
            .filter(|entry: &Result<(u32, Load)>| entry.as_ref().map_or(true, |(_, load)| *load != Load::default()))
            .collect::<Result<_>>()?;
        let overflows = PerCpuArray::<&mut MapData, u64>::try_from(self.map(maps::PIN_OVERFLOWS)?)?;
        let overflows = overflows.get(&0, 0)?.iter().sum();
        Ok(FlowMemory { young, established, sessions, trails, loads, overflows, ..FlowMemory::default() })
    }

    /// Remembers where the first fragment of a datagram went.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn set_trail(&mut self, key: &DatagramKey, trail: &Trail) -> Result<()> {
        let mut trails = HashMap::<&mut MapData, [u32; 10], [u64; 3]>::try_from(self.map(maps::FRAGMENTS)?)?;
        Ok(trails.insert(bytemuck::cast::<_, [u32; 10]>(*key), bytemuck::cast::<_, [u64; 3]>(*trail), 0)?)
    }

    /// Makes all trails of first fragments as young as if these had come right now.
    ///
    /// # Errors
    /// The clock cannot be read, or the map not be written.
    pub fn renew_trails(&mut self) -> Result<()> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let seen = Moment::from_nanos(now.as_nanos() as u64);
        for (key, trail) in self.memory()?.trails {
            self.set_trail(&key, &Trail { seen, ..trail })?;
        }
        Ok(())
    }

    /// Takes a flow's pin out of a table, as a sweep does.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn forget_pin(&mut self, table: Table, key: &PinKey) -> Result<()> {
        let name = match table {
            Table::Young => maps::PINS_YOUNG,
            Table::Established => maps::PINS_MORE,
        };
        let mut pins = HashMap::<&mut MapData, [u32; 10], [u64; 2]>::try_from(self.map(name)?)?;
        let mut forgotten = pins.remove(&bytemuck::cast::<_, [u32; 10]>(*key)).is_ok();
        if table == Table::Established {
            let places: Vec<u32> = self.pins.places_of(key).collect();
            for at in places {
                self.pins.write(at, &PinPlace { mark: FREE, ..self.pins.place(at) });
                forgotten = true;
            }
        }
        ensure!(forgotten, "there is no such pin");
        Ok(())
    }

    /// Takes those places for pins that are free, for flows of a pool that nobody has, and gives the others back.
    pub fn crowd(&self, taken: impl Fn(u32) -> bool) {
        let nobody =
            PinKey::new(&Flow::without_ports(Address::from_v4_word(0), Address::from_v4_word(0), 47), u32::MAX);
        for (at, place) in (0..PIN_PLACES).map(|at| (at, self.pins.place(at))) {
            if taken(at) && place.mark == FREE {
                let Sought { mark, .. } = Sought::new(0);
                self.pins.write(at, &PinPlace { mark, key: nobody, pin: Pin::NONE, ..place });
            } else if !taken(at) && place.key == nobody {
                self.pins.write(at, &PinPlace { mark: FREE, ..place });
            }
        }
    }

    /// How many pins there are that found no place.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn spilt(&mut self) -> Result<usize> {
        let pins = HashMap::<&mut MapData, [u32; 10], [u64; 2]>::try_from(self.map(maps::PINS_MORE)?)?;
        Ok(pins.keys().collect::<Result<Vec<_>, _>>()?.len())
    }

    /// Forgets a client's session.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn forget_session(&mut self, key: &SessionKey) -> Result<()> {
        let mut sessions = HashMap::<&mut MapData, [u32; 5], [u32; 2]>::try_from(self.map(maps::SESSIONS)?)?;
        Ok(sessions.remove(&bytemuck::cast::<_, [u32; 5]>(*key))?)
    }

    fn refused(&mut self, listeners: u32) -> Result<std::collections::HashMap<u32, Refused>> {
        let counters = PerCpuArray::<&mut MapData, [u64; 3]>::try_from(self.map(maps::LISTENER_REFUSALS)?)?;
        let mut refused = std::collections::HashMap::new();
        for id in 0..listeners {
            let sum = counters.get(&id, 0)?.iter().fold(Refused::default(), |s, words| s.plus(bytemuck::cast(*words)));
            if sum != Refused::default() {
                refused.insert(id, sum);
            }
        }
        Ok(refused)
    }

    /// The program, to be called by others.
    ///
    /// # Errors
    /// It is not loaded, which cannot be.
    pub fn descriptor(&mut self) -> Result<&aya::programs::ProgramFd> {
        Ok(program(&mut self.ebpf)?.fd()?)
    }

    /// Runs the program on an interface of this thread's namespace, in native mode, until it is detached.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn attach(&mut self, interface: &str) -> Result<XdpLinkId> {
        Ok(program(&mut self.ebpf)?.attach(interface, XdpMode::Driver)?)
    }

    /// Takes the program off an interface.
    ///
    /// # Errors
    /// It is not attached there.
    pub fn detach(&mut self, link: XdpLinkId) -> Result<()> {
        Ok(program(&mut self.ebpf)?.detach(link)?)
    }

    /// Instructions that the kernel runs: the program as it is loaded, its subprograms among them.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn instructions(&mut self) -> Result<u32> {
        let bytes = program(&mut self.ebpf)?.info()?.size_translated().context("this kernel does not tell")?;
        Ok(bytes / 8)
    }

    /// Instructions that the verifier processed to accept the program.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn verified_instructions(&mut self) -> Result<u32> {
        program(&mut self.ebpf)?.info()?.verified_instruction_count().context("this kernel does not tell")
    }
}

/// The counters that are not zero, of so many.
fn counted(count: u32, counter: impl Fn(u32) -> Counter) -> std::collections::HashMap<u32, Counter> {
    (0..count).map(|index| (index, counter(index))).filter(|(_, counter)| *counter != Counter::default()).collect()
}

/// Writes a table anew: with these entries, and no others of those that were written before.
fn fill_table<E: Entry>(
    table: &MatchTable<E>,
    written: &mut BTreeSet<u32>,
    entries: impl Iterator<Item = E>,
) -> Result<()> {
    let mut places: BTreeMap<u32, E> = BTreeMap::new();
    for entry in entries {
        let (key, _) = entry.get().context("an entry that is not published")?;
        let mut search = (0..MOST_PROBES).map(|probe| place(E::home(&key), probe));
        let free = search.find(|at| !places.contains_key(at)).context("the table is crowded")?;
        places.insert(free, entry);
    }
    let used = places.keys().copied().collect();
    for unused in std::mem::replace(written, used) {
        places.entry(unused).or_insert_with(E::zeroed);
    }
    for (at, entry) in places {
        table.write(at, &entry);
    }
    Ok(())
}

fn run(program: &Xdp, packet: &[u8]) -> Result<Answer> {
    ensure!((14..=LONGEST).contains(&packet.len()), "a test run takes 14 to {LONGEST} bytes, not {}", packet.len());
    let mut out = vec![0; packet.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(packet);
    options.data_out = Some(&mut out);
    let result = program.test_run(options)?;
    out.truncate(result.data_size_out as usize);
    let verdict = match result.return_value {
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Transmit,
        4 => Action::Redirect,
        other => bail!("the program answered {other}, which is no verdict of ours"),
    };
    Ok(Answer { verdict, packet: out })
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut(maps::PROGRAM).context("the object has no program of ours")?.try_into()?)
}
