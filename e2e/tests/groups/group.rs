//! Name servers, etcd and groups of three brokers, each process on a machine of its own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rmq_client::{Client, TopicSpec};
use rmq_e2e::etcd::Etcd;
use rmq_e2e::foreign;
use rmq_e2e::java::{self, Java};
use rmq_e2e::net::{HERE, Machine, Network, Way};
use rmq_e2e::process::{Process, binary};
use rmq_protocol::bodies::{GroupStatus, HaRuntimeInfo};
use rmq_protocol::code::RequestCode;
use rustix::process::Signal;

use crate::faults;
use crate::load::{Load, QUEUES};
use crate::until;

/// Members of a group.
pub(crate) const MEMBERS: usize = 3;
/// Longest time until all members are there and in sync.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// What all groups share.
pub(crate) struct World {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) network: Network,
    folder: tempfile::TempDir,
    etcd: Etcd,
    _name_servers: Vec<Process>,
    /// What clients connect to.
    pub(crate) name_servers: String,
    java: Result<Arc<Java>, String>,
    groups: AtomicU8,
    times: Mutex<BTreeMap<String, Vec<Duration>>>,
}

impl World {
    pub(crate) fn start() -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let network = Network::new()?;
        let folder = tempfile::tempdir().map_err(failed)?;
        let mut name_servers = Vec::new();
        for (number, last) in [(1, 11), (2, 12)] {
            let machine = network.machine(&format!("names-{number}"), address(0, last))?;
            let program = binary("rmq-namesrv").display().to_string();
            let mut command = machine.command(&program);
            let listen = format!("{}:9876", machine.at());
            command.args(["--listen", &listen, "--management", ""]);
            let log = folder.path().join(format!("names-{number}.log"));
            name_servers.push(Process::run(&mut command, &log));
        }
        let addresses: Vec<&str> = name_servers.iter().map(Process::addr).collect();
        let addresses = addresses.join(";");
        let etcd = network.machine("etcd", address(0, 21))?;
        let etcd = Etcd::start(etcd, folder.path().join("etcd"))?;
        let built = std::env::var(java::BUILT).map_err(|_| "the Java program was not built")?;
        let java = Java::start(&built, &addresses, folder.path()).map(Arc::new);
        Ok(Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(failed)?,
            network,
            folder,
            etcd,
            _name_servers: name_servers,
            name_servers: addresses,
            java,
            groups: AtomicU8::new(1),
            times: Mutex::default(),
        })
    }

    /// The Java client, beside which a load runs.
    pub(crate) fn java(&self) -> Result<Arc<Java>, String> {
        self.java.clone()
    }

    /// A folder of this name, for what ends with the world.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(folder)
    }

    pub(crate) fn url(&self) -> String {
        format!("rmq://{}", self.name_servers.replace(';', ","))
    }

    /// So long it took until a write was acknowledged after this fault.
    pub(crate) fn took(&self, what: &str, time: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.entry(what.to_owned()).or_default().push(time);
    }

    /// The times of each fault.
    pub(crate) fn report(&self) -> String {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "time from the fault to the first acknowledged write, seconds\n  times  median   worst  fault\n",
        );
        for (what, times) in times.iter_mut() {
            times.sort_unstable();
            let seconds = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64);
            let median = seconds(times.get(times.len() / 2));
            let worst = seconds(times.last());
            let count = times.len();
            text.push_str(&format!("{count:7}{median:8.2}{worst:8.2}  {what}\n"));
        }
        text
    }

    /// Whether writes were not taken soon enough after the death of a master: 5 s in the median, 10 s at most.
    pub(crate) fn is_late(&self) -> bool {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(deaths) = times.get_mut(faults::KILL) else {
            return false;
        };
        deaths.sort_unstable();
        let is_beyond = |time: Option<&Duration>, seconds| {
            time.is_some_and(|time| *time > Duration::from_secs(seconds))
        };
        is_beyond(deaths.get(deaths.len() / 2), 5) || is_beyond(deaths.last(), 10)
    }
}

/// How a group gets its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    /// Slot 0 is the master.
    Fixed,
    /// Elected in the etcd of all groups.
    Elected,
    /// Elected in an etcd that only this group has.
    ElectedAlone,
}

fn address(group: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, group, last)
}

struct Member {
    machine: Machine,
    process: Option<Process>,
}

/// Three brokers.
pub(crate) struct Group {
    pub(crate) name: String,
    roles: Roles,
    members: Vec<Member>,
    /// The slots in the lists that members get with their next start.
    listed: Vec<usize>,
    own_etcd: Option<Etcd>,
    etcd: (String, Ipv4Addr),
    name_servers: String,
    folder: PathBuf,
    settings: Vec<String>,
}

impl Group {
    /// Starts it, with further settings of its brokers (`KEY=VALUE`), and gives it a topic of its name. `java`: the load has a Java client too.
    pub(crate) fn start(
        world: &World,
        name: &str,
        roles: Roles,
        settings: &[&str],
    ) -> Result<(Self, Load), String> {
        let group = Self::start_members(world, name, roles, settings)?;
        world
            .runtime
            .block_on(async {
                group.create_topic(&world.url()).await?;
                let load = Load::start(&world.url(), name, Some(world.java()?)).await?;
                Ok::<_, String>(load)
            })
            .and_then(|load| {
                load.goes_on(20)?;
                group.whole(world, &load)?;
                Ok((group, load))
            })
            .map_err(|error| format!("{name} does not begin: {error}"))
    }

    /// The brokers alone.
    pub(crate) fn start_members(
        world: &World,
        name: &str,
        roles: Roles,
        settings: &[&str],
    ) -> Result<Self, String> {
        let number = world.groups.fetch_add(1, Ordering::Relaxed);
        let folder = world.folder(name)?;
        let mut members = Vec::new();
        for last in 1..=3 {
            let machine = format!("{name}-{}", last - 1).replace('_', "-");
            members.push(Member {
                machine: world.network.machine(&machine, address(number, last))?,
                process: None,
            });
        }
        let own_etcd = match roles {
            Roles::ElectedAlone => {
                let machine = format!("{name}-etcd").replace('_', "-");
                let machine = world.network.machine(&machine, address(number, 9))?;
                Some(Etcd::start(machine, folder.join("etcd"))?)
            }
            _ => None,
        };
        let etcd = own_etcd.as_ref().unwrap_or(&world.etcd);
        let mut group = Self {
            name: name.to_owned(),
            roles,
            members,
            listed: (0..MEMBERS).collect(),
            etcd: (etcd.url(), etcd.machine().at()),
            own_etcd,
            name_servers: world.name_servers.clone(),
            folder,
            settings: settings.iter().map(|&one| one.to_owned()).collect(),
        };
        for slot in 0..MEMBERS {
            group.start_member(slot);
        }
        Ok(group)
    }

    pub(crate) async fn create_topic(&self, url: &str) -> Result<(), String> {
        let client = Client::connect(url)
            .await
            .map_err(|error| error.to_string())?;
        let spec = TopicSpec::new(&self.name)
            .queues(QUEUES)
            .brokers([self.name.as_str()]);
        let began = Instant::now();
        // The master may not be elected or registered yet, or has too few members in sync.
        while let Err(error) = client.admin().create_topic(&spec).await {
            if began.elapsed() > WHOLE_WITHIN {
                return Err(format!("no topic: {error}\n{}", self.logs()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        client.shutdown().await;
        Ok(())
    }

    fn data(&self, slot: usize) -> PathBuf {
        self.folder.join(format!("data-{slot}"))
    }

    fn log(&self, slot: usize) -> PathBuf {
        self.folder.join(format!("broker-{slot}.log"))
    }

    /// Starts a member on its machine.
    pub(crate) fn start_member(&mut self, slot: usize) {
        let (data, log) = (self.data(slot), self.log(slot));
        let members: Vec<String> = (self.listed.iter())
            .map(|slot| {
                let at = self.at(*slot);
                format!("{slot}={at}:10912/{at}:10911")
            })
            .collect();
        let member = &mut self.members[slot];
        assert!(member.process.is_none(), "{} {slot} runs", self.name);
        let program = binary("rmq-broker").display().to_string();
        let mut command = member.machine.command(&program);
        command
            .args(["--listen", &format!("{}:10911", member.machine.at())])
            .args(["--name-servers", &self.name_servers])
            .arg("--data")
            .arg(data);
        let mut settings = vec![
            format!("brokerName={}", self.name),
            format!("brokerId={slot}"),
            format!("segmentBytes={}", 16 << 20),
            "ackMode=inSync".to_owned(),
            "slaveReadEnable=true".to_owned(),
            "fastPort=false".to_owned(),
        ];
        if self.roles != Roles::Fixed {
            settings.extend([
                "election=etcd".to_owned(),
                format!("members={}", members.join(",")),
                format!("etcdEndpoints={}", self.etcd.0),
            ]);
        }
        for setting in settings.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        member.process = Some(Process::run(&mut command, &log));
    }

    /// The list of members that each one gets with its next start.
    pub(crate) fn list(&mut self, slots: &[usize]) {
        self.listed = slots.to_vec();
    }

    /// Waits until the record of the group has these members, and all of them are in sync.
    pub(crate) fn recorded(
        &self,
        world: &World,
        client: &Client,
        slots: &[usize],
    ) -> Result<(), String> {
        let code = RequestCode::GetGroupStatus.as_i32();
        let look = |slot: usize| {
            let remote = client.remote(&format!("{}:10911", self.at(slot)));
            let answer = world.runtime.block_on(remote.call_any(code, &(), b""));
            let answer = answer.and_then(rmq_client::Answer::success);
            let answer = answer.map_err(|error| error.to_string())?;
            let status = GroupStatus::from_json(answer.body());
            let status = status.map_err(|error| error.to_string())?;
            let in_sync = status.members.iter().filter(|member| member.in_sync);
            let found: Vec<u64> = in_sync.map(|member| member.slot.0).collect();
            let wanted: Vec<u64> = slots.iter().map(|slot| *slot as u64).collect();
            match found == wanted && status.members.len() == slots.len() {
                true => Ok(()),
                false => Err(format!("{wanted:?} are not the members: {status:?}")),
            }
        };
        until(WHOLE_WITHIN, || {
            slots.iter().try_for_each(|slot| look(*slot))
        })
        .map_err(|error| format!("{error}\n{}", self.logs()))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, slot: usize) {
        let process = self.members[slot].process.take();
        process.expect("the member runs").kill();
    }

    /// Makes a member the master, as a person does, and waits for the end of that.
    pub(crate) fn switch_over(&self, to: usize) -> Result<(), String> {
        let mut command = Command::new(binary("rmq-ctl"));
        command
            .args(["--nameserver", &self.name_servers, "broker", "switchover"])
            .args([&self.name, "--to", &to.to_string(), "--yes"])
            .env("XDG_CONFIG_HOME", &self.folder);
        foreign::build(&mut command).map_err(|error| format!("{error}\n{}", self.logs()))
    }

    /// SIGTERM, to its end.
    pub(crate) fn stop(&mut self, slot: usize) {
        let process = self.members[slot].process.take();
        let status = process.expect("the member runs").stop();
        assert!(status.success(), "{} {slot}: {status}", self.name);
    }

    /// SIGSTOP: it stands still and keeps its connections.
    pub(crate) fn pause(&self, slot: usize) {
        self.signal(slot, Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self, slot: usize) {
        self.signal(slot, Signal::CONT);
    }

    fn signal(&self, slot: usize, signal: Signal) {
        let process = self.members[slot].process.as_ref();
        process.expect("the member runs").signal(signal);
    }

    /// The disk of a member that does not run is lost.
    pub(crate) fn wipe(&self, slot: usize) -> Result<(), String> {
        std::fs::remove_dir_all(self.data(slot)).map_err(|error| error.to_string())
    }

    /// Cuts a member off from somebody.
    pub(crate) fn cut(&self, slot: usize, from: From, way: Way) -> Result<(), String> {
        let peers = match from {
            From::Members => (0..MEMBERS)
                .filter(|other| *other != slot)
                .map(|other| self.at(other))
                .collect(),
            From::Member(other) => vec![self.at(other)],
            From::Etcd => vec![self.etcd.1],
            From::Clients => vec![HERE],
        };
        self.members[slot].machine.cut(&peers, way)
    }

    /// Mends all cables.
    pub(crate) fn mend(&self) -> Result<(), String> {
        let mut machines = self.members.iter().map(|member| &member.machine);
        machines.try_for_each(Machine::mend)
    }

    /// The etcd that only this group has.
    pub(crate) fn own_etcd(&mut self) -> Result<&mut Etcd, String> {
        self.own_etcd.as_mut().ok_or_else(|| "no etcd".to_owned())
    }

    /// A member's address.
    pub(crate) fn at(&self, slot: usize) -> Ipv4Addr {
        self.members[slot].machine.at()
    }

    /// The member that acknowledged last.
    pub(crate) fn master(&self, load: &Load) -> Result<usize, String> {
        let last = load.notes.last_ack().ok_or("nothing was acknowledged")?;
        let found = (0..MEMBERS).find(|slot| self.at(*slot) == last.by);
        found.ok_or_else(|| format!("{} acknowledged, which is no member", last.by))
    }

    /// Waits until all members are there, in sync with the master, and lack at most so many bytes of its log.
    pub(crate) fn copied(
        &self,
        world: &World,
        client: &Client,
        master: usize,
        lag: i64,
    ) -> Result<(), String> {
        let remote = client.remote(&format!("{}:10911", self.at(master)));
        let code = RequestCode::GetBrokerHaStatus.as_i32();
        until(WHOLE_WITHIN, || {
            let answer = world.runtime.block_on(remote.call_any(code, &(), b""));
            let answer = answer.and_then(rmq_client::Answer::success);
            let answer = answer.map_err(|error| error.to_string())?;
            let info = HaRuntimeInfo::from_json(answer.body());
            let info = info.map_err(|error| error.to_string())?;
            let members = info.ha_connection_info.iter();
            let whole = members.filter(|member| member.in_sync && member.diff <= lag);
            match whole.count() == MEMBERS - 1 {
                true => Ok(()),
                false => Err(format!("not all members are in sync: {info:?}")),
            }
        })
    }

    /// Waits until all members are there and in sync under load.
    pub(crate) fn whole(&self, world: &World, load: &Load) -> Result<(), String> {
        self.copied(world, &load.client, self.master(load)?, i64::MAX)
            .map_err(|error| format!("{error}\n{}\n{}", load.notes.words(), self.logs()))
    }

    /// The end of each member's log.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for slot in 0..MEMBERS {
            let log = std::fs::read_to_string(self.log(slot)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(25)..];
            text.push_str(&format!("--- {} {slot}\n{}\n", self.name, last.join("\n")));
        }
        text
    }

    /// Ends all members, replicas first, and says how far their logs are the same: bytes of each segment up to where one has no more.
    pub(crate) fn compare_logs(&mut self, master: usize) -> Result<(), String> {
        let replicas = (0..MEMBERS).filter(|slot| *slot != master);
        for slot in replicas.chain([master]) {
            self.stop(slot);
        }
        for slot in (0..MEMBERS).filter(|slot| *slot != master) {
            same_logs(&self.data(master), &self.data(slot))
                .map_err(|error| format!("members {master} and {slot} differ: {error}"))?;
        }
        Ok(())
    }
}

/// From whom a member is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Members,
    Member(usize),
    Etcd,
    Clients,
}

/// Segments that both have are equal up to where one of them has only zeros left.
fn same_logs(one: &std::path::Path, other: &std::path::Path) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut compared = 0;
    for entry in std::fs::read_dir(one.join("log")).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        let theirs = other.join("log").join(name);
        if !theirs.exists() {
            continue;
        }
        let (mine, theirs) = (std::fs::read(&path), std::fs::read(&theirs));
        let (mine, theirs) = (mine.map_err(failed)?, theirs.map_err(failed)?);
        let same = mine.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        let ends = |bytes: &[u8]| bytes[same..].iter().all(|byte| *byte == 0);
        if !ends(&mine) && !ends(&theirs) {
            return Err(format!("segment {} from byte {same} on", name.display()));
        }
        compared += 1;
    }
    match compared {
        0 => Err("they have no segment in common".to_owned()),
        _ => Ok(()),
    }
}
