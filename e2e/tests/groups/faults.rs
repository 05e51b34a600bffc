//! What happens to a group, and what must be true afterwards.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rmq_e2e::net::Way;

use crate::group::{From, Group, MEMBERS, Roles, World};
use crate::load::Load;
use crate::{until, verdict};

/// How long a member stands still.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a cable is cut.
const CUT: Duration = Duration::from_secs(20);
/// How long etcd is away.
const ETCD_AWAY: Duration = Duration::from_secs(60);
/// Longest time until writes are taken again; what takes longer fails with what the members say.
const WRITES_WITHIN: Duration = Duration::from_secs(60);

/// What the figures are about.
pub(crate) const KILL: &str = "kill -9 of the master";

/// A group under load.
pub(crate) struct Under<'a> {
    pub(crate) world: &'a World,
    pub(crate) group: Group,
    pub(crate) load: Load,
}

impl<'a> Under<'a> {
    pub(crate) fn start(world: &'a World, name: &str, roles: Roles) -> Result<Self, String> {
        let (group, load) = Group::start(world, name, roles, &[])?;
        Ok(Self { world, group, load })
    }

    fn master(&self) -> Result<usize, String> {
        self.group.master(&self.load)
    }

    /// Waits for the first acknowledged write after a fault, and notes the time.
    fn writes_again(&self, fault: &str, since: Instant) -> Result<Duration, String> {
        let notes = &self.load.notes;
        let took = until(WRITES_WITHIN, || {
            let first = notes.first_ack_after(since);
            first.ok_or_else(|| format!("no write is acknowledged after: {fault}"))
        })
        .map_err(|error| format!("{error}\n{}\n{}", notes.words(), self.group.logs()))?;
        self.world.took(fault, took);
        Ok(took)
    }

    /// The same for the Java client, which asks name servers once a second.
    fn java_writes_again(&self, fault: &str, since: Instant) -> Result<(), String> {
        let notes = &self.load.notes;
        let took = until(WRITES_WITHIN, || {
            let first = notes.first_java_ack_after(since);
            first.ok_or_else(|| format!("the Java client sends nothing after: {fault}"))
        })
        .map_err(|error| format!("{error}\n{}", notes.words()))?;
        self.world.took(&format!("{fault} (Java client)"), took);
        Ok(())
    }

    fn whole(&self) -> Result<(), String> {
        self.group.whole(self.world, &self.load)?;
        self.load.goes_on(20)
    }

    /// All must be true now.
    pub(crate) fn end(self) -> Result<(), String> {
        verdict::of(self.world, self.group, self.load)
    }
}

/// SIGKILL of the master.
pub(crate) fn kill_master(under: &mut Under<'_>) -> Result<(), String> {
    let master = under.master()?;
    let began = Instant::now();
    under.group.kill(master);
    under.writes_again(KILL, began)?;
    under.java_writes_again(KILL, began)?;
    under.group.start_member(master);
    under.whole()
}

/// A person makes another member the master.
pub(crate) fn switch_over(under: &mut Under<'_>) -> Result<(), String> {
    let to = (under.master()? + 1) % MEMBERS;
    let began = Instant::now();
    under.group.switch_over(to)?;
    under.load.goes_on(20)?;
    let gap = under.load.notes.longest_gap(began, Instant::now());
    under.world.took("switchover: longest gap of writes", gap);
    match under.master()? == to {
        true => under.whole(),
        false => Err(format!(
            "member {to} is not the master\n{}",
            under.group.logs()
        )),
    }
}

/// SIGKILL of the master, which is started again at once: with fixed roles nobody else may write.
pub(crate) fn restart_master(under: &mut Under<'_>) -> Result<(), String> {
    let master = under.master()?;
    let began = Instant::now();
    under.group.kill(master);
    under.group.start_member(master);
    under.writes_again("fixed roles: kill -9 of the master and start", began)?;
    under.whole()
}

/// The master stands still, and continues when another one has written.
pub(crate) fn pause_master(under: &mut Under<'_>) -> Result<(), String> {
    let master = under.master()?;
    let began = Instant::now();
    under.group.pause(master);
    let again = under.writes_again("SIGSTOP of the master", began);
    sleep(PAUSE.saturating_sub(began.elapsed()));
    under.group.go_on(master);
    again?;
    under.whole()
}

/// Waits for a write while something is cut, and when there is none then for one after everything is mended.
fn writes_now_or_later(under: &mut Under<'_>, fault: &str, began: Instant) -> Result<(), String> {
    sleep(CUT.saturating_sub(began.elapsed()));
    let mended = Instant::now();
    under.group.mend()?;
    match under.load.notes.first_ack_after(began) {
        Some(took) if took < CUT => under.world.took(fault, took),
        _ => {
            let fault = format!("{fault}, after the cable is mended");
            under.writes_again(&fault, mended)?;
        }
    }
    under.whole()
}

/// The master loses its cable to somebody. Nobody else may become master, so writes may wait until the cable is mended.
fn cut_master(under: &mut Under<'_>, fault: &str, from: From, way: Way) -> Result<(), String> {
    let master = under.master()?;
    under.group.cut(master, from, way)?;
    let began = Instant::now();
    writes_now_or_later(under, fault, began)
}

pub(crate) fn cut_from_members(under: &mut Under<'_>) -> Result<(), String> {
    let fault = "the master is cut off from replicas";
    cut_master(under, fault, From::Members, Way::Both)
}

pub(crate) fn cut_from_members_in(under: &mut Under<'_>) -> Result<(), String> {
    let fault = "the master hears no replica";
    cut_master(under, fault, From::Members, Way::In)
}

pub(crate) fn cut_from_members_out(under: &mut Under<'_>) -> Result<(), String> {
    let fault = "no replica hears the master";
    cut_master(under, fault, From::Members, Way::Out)
}

pub(crate) fn cut_from_clients(under: &mut Under<'_>) -> Result<(), String> {
    let fault = "the master is cut off from clients";
    cut_master(under, fault, From::Clients, Way::Both)
}

/// Without etcd the master must give way to another member, or show that it need not.
pub(crate) fn cut_from_etcd(under: &mut Under<'_>) -> Result<(), String> {
    let master = under.master()?;
    under.group.cut(master, From::Etcd, Way::Both)?;
    let began = Instant::now();
    let again = under.writes_again("the master is cut off from etcd", began);
    sleep(CUT.saturating_sub(began.elapsed()));
    let gap = under.load.notes.longest_gap(began, Instant::now());
    let fault = "the master is cut off from etcd: longest gap of writes";
    under.world.took(fault, gap);
    under.group.mend()?;
    again?;
    under.whole()
}

/// The master and one replica are cut off from the other replica and from etcd, and clients still reach all: what the two have in common
/// may not count without the third (apache/rocketmq #6662, #7017).
pub(crate) fn cut_off_in_pairs(under: &mut Under<'_>) -> Result<(), String> {
    let master = under.master()?;
    let (with, alone) = ((master + 1) % MEMBERS, (master + 2) % MEMBERS);
    for slot in [master, with] {
        under.group.cut(slot, From::Etcd, Way::Both)?;
        under.group.cut(slot, From::Member(alone), Way::Both)?;
    }
    let began = Instant::now();
    let fault = "the master and a replica are cut off together";
    writes_now_or_later(under, fault, began)
}

/// A replica leaves the group, and comes back on an empty disk: each time every member gets the new list with a restart, replicas first.
pub(crate) fn change_members(under: &mut Under<'_>) -> Result<(), String> {
    let all: Vec<usize> = (0..MEMBERS).collect();
    let master = under.master()?;
    let (leaves, stays) = ((master + 1) % MEMBERS, (master + 2) % MEMBERS);
    let mut left = vec![master, stays];
    left.sort_unstable();
    let began = Instant::now();
    under.group.stop(leaves);
    under.group.list(&left);
    give_list(under, stays, master, &left)?;
    under.load.goes_on(20)?;
    under.group.wipe(leaves)?;
    under.group.list(&all);
    under.group.start_member(leaves);
    give_list(under, master, stays, &all)?;
    let gap = under.load.notes.longest_gap(began, Instant::now());
    let fault = "a member leaves and another one comes: longest gap of writes";
    under.world.took(fault, gap);
    under.whole()
}

/// Restarts the replica and then the master, which hands over to it.
fn give_list(
    under: &mut Under<'_>,
    replica: usize,
    master: usize,
    members: &[usize],
) -> Result<(), String> {
    under.group.stop(replica);
    under.group.start_member(replica);
    let is_ready = || under.group.switch_over(replica);
    until(WRITES_WITHIN, is_ready)?;
    under.group.stop(master);
    under.group.start_member(master);
    under
        .group
        .recorded(under.world, &under.load.client, members)
}

/// A replica loses its disk.
pub(crate) fn wipe_replica(under: &mut Under<'_>) -> Result<(), String> {
    let slot = (under.master()? + 1) % MEMBERS;
    let began = Instant::now();
    under.group.kill(slot);
    under.group.wipe(slot)?;
    under.writes_again("a replica is killed and its disk lost", began)?;
    under.group.start_member(slot);
    under.whole()
}

/// The master loses its disk.
pub(crate) fn wipe_master(under: &mut Under<'_>) -> Result<(), String> {
    let master = under.master()?;
    let began = Instant::now();
    under.group.kill(master);
    under.group.wipe(master)?;
    under.writes_again("the master is killed and its disk lost", began)?;
    under.group.start_member(master);
    under.whole()
}

/// All members are killed at once.
pub(crate) fn kill_all(under: &mut Under<'_>) -> Result<(), String> {
    (0..MEMBERS).for_each(|slot| under.group.kill(slot));
    let began = Instant::now();
    (0..MEMBERS).for_each(|slot| under.group.start_member(slot));
    under.writes_again("kill -9 of all members, after their start", began)?;
    under.whole()
}

/// etcd is away; then the master dies.
pub(crate) fn etcd_away(under: &mut Under<'_>) -> Result<(), String> {
    let began = Instant::now();
    under.group.own_etcd()?.kill();
    sleep(ETCD_AWAY);
    let gap = under.load.notes.longest_gap(began, Instant::now());
    under
        .world
        .took("etcd is away for 60 s: longest gap of writes", gap);
    under.group.own_etcd()?.start_again()?;
    if gap > Duration::from_secs(5) {
        return Err(format!(
            "without etcd no write was acknowledged for {gap:?}\n{}",
            under.group.logs()
        ));
    }
    under.whole()?;
    let master = under.master()?;
    let began = Instant::now();
    under.group.kill(master);
    under.writes_again("kill -9 of the master after etcd is back", began)?;
    under.group.start_member(master);
    under.whole()
}
