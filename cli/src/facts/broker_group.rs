//! A broker group as its members and the name servers see it. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::{StreamExt, stream};
use rmq_client::protocol::ResponseCode;
use rmq_client::protocol::bodies::{GroupStatus, MemberRole, MemberStatus};
use rmq_client::protocol::member::MemberId;
use rmq_client::protocol::route::{ClusterInfo, MASTER_ID};

use super::limits::AT_ONCE;
use crate::cluster::Cluster;
use crate::when;

/// Members of one group that are asked: more than a group has.
const MEMBERS_MAX: usize = 64;

/// A broker group at one moment.
pub(crate) struct BrokerGroup {
    pub(crate) name: String,
    /// The cluster of RocketMQ.
    pub(crate) cluster: String,
    /// By slot, then by address.
    pub(crate) members: Vec<Member>,
    /// Name servers that know the group, with the address of the master that each of them names.
    pub(crate) masters: Vec<(String, Option<String>)>,
}

/// A member of a broker group.
pub(crate) struct Member {
    /// Its slot; `None` when nobody tells.
    pub(crate) slot: Option<MemberId>,
    /// Where clients reach it.
    pub(crate) address: String,
    /// Name servers that have it in their routes, with its broker id there.
    pub(crate) registered: Vec<(String, i64)>,
    pub(crate) said: Said,
}

/// The answer of a member.
pub(crate) enum Said {
    /// What it knows of its group, and its clock when it tells.
    Status(Box<GroupStatus>, Option<ClockGap>),
    /// It does not answer, and why.
    Nothing(String),
    /// It answers, and does not know of groups: a broker of another kind, or of an earlier version.
    Unsupported,
}

/// How far the clock of a member is ahead of the clock here, milliseconds: between these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockGap {
    pub(crate) at_least: i64,
    pub(crate) at_most: i64,
}

impl ClockGap {
    /// How far this clock is ahead of the other one at least, milliseconds; 0 when they may agree.
    pub(crate) fn ahead_of(self, other: Self) -> i64 {
        self.at_least.saturating_sub(other.at_most).max(0)
    }
}

impl Member {
    pub(crate) fn status(&self) -> Option<&GroupStatus> {
        match &self.said {
            Said::Status(status, _) => Some(status),
            Said::Nothing(_) | Said::Unsupported => None,
        }
    }

    /// Whether it says that it is the master.
    pub(crate) fn is_master(&self) -> bool {
        let own = self.status().and_then(|status| status.member(status.me));
        own.is_some_and(|own| own.role == MemberRole::Master)
    }

    /// As people name it: its slot, or its address.
    pub(crate) fn label(&self) -> String {
        match self.slot {
            Some(slot) => format!("member {slot}"),
            None => format!("member at {}", self.address),
        }
    }

    /// The clock, when it answers.
    pub(crate) fn clock(&self) -> Option<ClockGap> {
        match &self.said {
            Said::Status(_, clock) => *clock,
            Said::Nothing(_) | Said::Unsupported => None,
        }
    }
}

impl BrokerGroup {
    /// Asks all members of a group that name servers or other members know.
    pub(crate) async fn look(
        cluster: &Cluster,
        name: &str,
        views: &[(String, ClusterInfo)],
    ) -> Self {
        let mut registered: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
        let mut masters = Vec::new();
        let mut of_cluster = String::new();
        for (server, info) in views {
            let Some(data) = info.broker_addr_table.get(name) else {
                continue;
            };
            of_cluster.clone_from(&data.cluster);
            masters.push((server.clone(), data.master().map(str::to_owned)));
            for (id, address) in &data.broker_addrs {
                let at = registered.entry(address.clone()).or_default();
                at.push((server.clone(), *id));
            }
        }
        let mut asked: BTreeSet<String> = registered.keys().take(MEMBERS_MAX).cloned().collect();
        let mut answers = ask_all(cluster, name, asked.iter().cloned()).await;
        // Members that no name server has, as other members know them. Who has answered may have another address here than there.
        let told = answers.iter().filter_map(|(_, said)| match said {
            Said::Status(status, _) => Some(status),
            Said::Nothing(_) | Said::Unsupported => None,
        });
        let answered: BTreeSet<MemberId> = told.clone().map(|status| status.me).collect();
        let further: BTreeSet<String> = told
            .flat_map(|status| &status.members)
            .filter(|member| !answered.contains(&member.slot))
            .map(|member| member.client.clone())
            .filter(|address| !address.is_empty() && !asked.contains(address))
            .take(MEMBERS_MAX)
            .collect();
        answers.extend(ask_all(cluster, name, further.iter().cloned()).await);
        asked.extend(further);
        let members = answers.into_iter().map(|(address, said)| Member {
            slot: None,
            registered: registered.remove(&address).unwrap_or_default(),
            address,
            said,
        });
        let mut group = Self {
            name: name.to_owned(),
            cluster: of_cluster,
            members: members.collect(),
            masters,
        };
        group.add_lost();
        group.name_slots();
        group
    }

    /// Adds the members that others know by their slot alone.
    fn add_lost(&mut self) {
        self.name_slots();
        let told = self.told().map(|status| status.members.as_slice());
        let known = |slot| self.members.iter().any(|one| one.slot == Some(slot));
        let lost: Vec<MemberId> = told
            .unwrap_or_default()
            .iter()
            .map(|member| member.slot)
            .filter(|slot| !known(*slot))
            .collect();
        self.members.extend(lost.into_iter().map(|slot| Member {
            slot: Some(slot),
            address: String::new(),
            registered: Vec::new(),
            said: Said::Nothing("it is in no route, and nobody knows its address".to_owned()),
        }));
    }

    /// Gives each member its slot: as it says itself, as others know its address, or as its broker id tells.
    fn name_slots(&mut self) {
        let known: BTreeMap<String, MemberId> = self
            .told()
            .into_iter()
            .flat_map(|status| &status.members)
            .map(|member| (member.client.clone(), member.slot))
            .collect();
        let is_static = self.told().is_none_or(|status| status.election == "static");
        for member in &mut self.members {
            let own = member.status().map(|status| status.me);
            let of_id = member.registered.first().and_then(|(_, id)| {
                let id = u64::try_from(*id).ok()?;
                match is_static {
                    true => Some(MemberId(id)),
                    // The id of an elected master does not tell its slot.
                    false => Some(MemberId(id.checked_sub(1)?)),
                }
            });
            member.slot = own
                .or_else(|| known.get(&member.address).copied())
                .or(of_id);
        }
        self.members.sort_by(|one, other| {
            let key = |member: &Member| (member.slot.is_none(), member.slot);
            (key(one), &one.address).cmp(&(key(other), &other.address))
        });
    }

    /// Whether any member tells of its group.
    pub(crate) fn is_told(&self) -> bool {
        self.told().is_some()
    }

    /// What is known best: what the master of the highest epoch says, or without a master the member that knows of the highest epoch.
    pub(crate) fn told(&self) -> Option<&GroupStatus> {
        let status = self.members.iter().filter_map(|member| {
            let status = member.status()?;
            Some((member.is_master(), status))
        });
        let best = status.max_by_key(|(is_master, status)| (*is_master, status.epoch, status.end));
        best.map(|(_, status)| status)
    }

    /// The member that is the master, by its own word, with what it says.
    pub(crate) fn master(&self) -> Option<(&Member, &GroupStatus)> {
        let masters = self.members.iter().filter(|member| member.is_master());
        let masters = masters.filter_map(|member| Some((member, member.status()?)));
        masters.max_by_key(|(_, status)| status.epoch)
    }

    /// Whether members are elected.
    pub(crate) fn is_elected(&self) -> bool {
        self.told()
            .is_some_and(|status| status.election != "static")
    }

    /// A member as the group knows it: its master's word, with what the member says of itself where the master tells nothing.
    pub(crate) fn view<'g>(&'g self, member: &'g Member) -> View<'g> {
        let slot = member.slot;
        let of = |status: &'g GroupStatus| slot.and_then(|slot| status.member(slot));
        View {
            by_master: self.master().and_then(|(_, status)| of(status)),
            by_told: self.told().and_then(of),
            own: member.status(),
        }
    }

    /// The members that can take over without loss: in the in-sync set, and not the master.
    pub(crate) fn in_sync(&self) -> Vec<&Member> {
        let told = self.told();
        let is_in = |member: &&Member| {
            let known = member.slot.zip(told);
            let known = known.and_then(|(slot, told)| Some((told.member(slot)?, told)));
            known.is_some_and(|(known, told)| known.in_sync && told.master != member.slot)
        };
        self.members.iter().filter(is_in).collect()
    }

    /// The member that a person names by its slot or its address.
    pub(crate) fn find(&self, text: &str) -> Option<&Member> {
        let slot = text.parse().ok().map(MemberId);
        self.members
            .iter()
            .find(|member| member.address == text || (slot.is_some() && member.slot == slot))
    }

    /// All members for a message: slot and address.
    pub(crate) fn names(&self) -> String {
        let names = self.members.iter().map(|member| match member.slot {
            Some(slot) => format!("{slot} ({})", member.address),
            None => member.address.clone(),
        });
        names.collect::<Vec<_>>().join(", ")
    }

    /// `master`, `replica` or `?`: by the member's own word, else by the master's, else by the routes.
    pub(crate) fn role(&self, member: &Member) -> &'static str {
        match self.view(member).role() {
            Some(MemberRole::Master) => "master",
            Some(MemberRole::Replica) => "replica",
            Some(MemberRole::Other) => "?",
            None => match member.registered.first() {
                Some((_, MASTER_ID)) => "master",
                Some(_) => "replica",
                None => "?",
            },
        }
    }
}

/// What is said of a member.
#[derive(Clone, Copy)]
pub(crate) struct View<'g> {
    by_master: Option<&'g MemberStatus>,
    by_told: Option<&'g MemberStatus>,
    own: Option<&'g GroupStatus>,
}

impl<'g> View<'g> {
    fn any<T>(self, of: impl Fn(&'g MemberStatus) -> Option<T>) -> Option<T> {
        let own = self.own.and_then(|status| status.member(status.me));
        let all = [self.by_master, own, self.by_told];
        all.into_iter().flatten().find_map(of)
    }

    /// Whether its master has a connection to it; `None` without a master.
    pub(crate) fn is_connected(self) -> Option<bool> {
        self.by_master.map(|member| member.connected)
    }

    /// Whether it is in the in-sync set.
    pub(crate) fn in_sync(self) -> Option<bool> {
        let told = self.by_master.or(self.by_told);
        told.map(|member| member.in_sync)
    }

    pub(crate) fn is_partial(self) -> bool {
        self.any(|member| member.partial.then_some(())).is_some()
    }

    pub(crate) fn role(self) -> Option<MemberRole> {
        // What it says of itself is newer than what others know.
        let own = self.own.and_then(|status| status.member(status.me));
        own.or(self.by_master)
            .or(self.by_told)
            .map(|member| member.role)
    }

    pub(crate) fn received(self) -> Option<u64> {
        self.any(|member| member.received)
    }

    pub(crate) fn flushed(self) -> Option<u64> {
        self.any(|member| member.flushed)
    }

    pub(crate) fn lag_bytes(self) -> Option<u64> {
        self.any(|member| member.lag_bytes)
    }

    pub(crate) fn lag_ms(self) -> Option<u64> {
        self.any(|member| member.lag_ms)
    }

    pub(crate) fn incarnation(self) -> Option<String> {
        self.any(|member| member.incarnation)
            .map(|data| data.to_string())
    }

    pub(crate) fn replication(self) -> Option<&'g str> {
        let known = |member: &'g MemberStatus| Some(member.replication.as_str());
        self.any(|member| known(member).filter(|address| !address.is_empty()))
    }
}

async fn ask_all(
    cluster: &Cluster,
    name: &str,
    addresses: impl Iterator<Item = String>,
) -> Vec<(String, Said)> {
    let asked = stream::iter(addresses).map(|address| async move {
        let said = ask(cluster, name, &address).await;
        (address, said)
    });
    asked.buffered(AT_ONCE).collect().await
}

/// Asks one member.
pub(crate) async fn ask(cluster: &Cluster, name: &str, address: &str) -> Said {
    let (began, now) = (Instant::now(), when::now_ms());
    let status = cluster.client.admin().group_status(address).await;
    let took = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    match status {
        Ok(status) if status.broker_name != name => Said::Nothing(format!(
            "a broker of group \"{}\" answers there",
            status.broker_name
        )),
        Ok(status) => {
            // The clock was read between the request and the answer.
            let clock = (status.now_ms > 0).then(|| {
                let gap = status.now_ms.saturating_sub(now);
                ClockGap {
                    at_least: gap.saturating_sub(took).saturating_sub(1),
                    at_most: gap.saturating_add(1),
                }
            });
            Said::Status(Box::new(status), clock)
        }
        Err(error)
            if error.broker_code() == Some(ResponseCode::RequestCodeNotSupported.as_i32()) =>
        {
            Said::Unsupported
        }
        Err(error) => Said::Nothing(error.to_string()),
    }
}
