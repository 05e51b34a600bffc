//! The checks of the members of a broker group. docs/operate/failover.md has a section for each id.

use std::collections::{BTreeMap, BTreeSet};

use rmq_client::protocol::bodies::{FindingSeverity, GroupStatus, MemberRole};

use crate::facts::broker_group::{BrokerGroup, Member, Said};
use crate::facts::check::Check;
use crate::numbers;

/// Clocks that differ by more are a problem, milliseconds: messages carry times, and delays and retention follow the clock of the master.
const CLOCK_GAP_MS_MAX: i64 = 1_000;

/// All checks of a group; none of a broker that is alone and whose role is fixed.
pub(crate) fn checks(group: &BrokerGroup) -> Vec<Check> {
    let Some(told) = group.told() else {
        return Vec::new();
    };
    let of = Of { group, told };
    let mut checks = Vec::new();
    checks.extend(of.name_servers_agree());
    let is_alone = group.members.len() < 2 && !group.is_elected();
    if is_alone && group.master().is_some() && told.writes_closed.is_none() {
        return checks;
    }
    checks.push(of.has_master());
    checks.extend(of.masters());
    checks.extend(of.minimum());
    checks.extend(of.place());
    checks.extend(of.clocks());
    for member in &group.members {
        checks.extend(of.member(member));
    }
    checks.extend(of.other_findings());
    checks
}

/// The ids of these checks.
#[cfg(test)]
pub(crate) const IDS: &[&str] = &[
    "broker-clocks",
    "broker-has-master",
    "broker-loss",
    "broker-minimum",
    "broker-one-master",
    "broker-place",
    "broker-record",
    "broker-switchover",
    "member-answers",
    "member-copies",
    "member-crashed",
    "member-damage",
    "member-data",
    "member-finding",
    "member-in-sync",
    "member-known",
    "member-parted",
    "member-registered",
    "member-state",
];

/// A group, and what is known best of it.
struct Of<'g> {
    group: &'g BrokerGroup,
    told: &'g GroupStatus,
}

/// What members say by a code that a check here covers.
const COVERED: &[&str] = &[
    "becameMaster",
    "belowMinimum",
    "diverged",
    "failsafe",
    "fenced",
    "needsSnapshot",
    "noMaster",
    "outOfSet",
    "placeAway",
];

/// What members say by other codes: the id of the check, and the command that helps.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "otherIncarnation",
        "member-data",
        "rmq-ctl broker replication {}",
    ),
    (
        "dirty",
        "member-crashed",
        "rmq-ctl broker replication {} --watch",
    ),
    ("damaged", "member-damage", "rmq-ctl broker replication {}"),
    ("parted", "member-parted", "rmq-ctl broker replication {}"),
    ("diskFailed", "member-state", "rmq-ctl describe broker {}"),
    (
        "notAMember",
        "member-known",
        "rmq-ctl get config-keys --broker {}",
    ),
    (
        "recordGone",
        "broker-record",
        "rmq-ctl broker replication {}",
    ),
    (
        "dataLossPossible",
        "broker-loss",
        "rmq-ctl broker replication {}",
    ),
    (
        "switchoverTakenBack",
        "broker-switchover",
        "rmq-ctl broker replication {}",
    ),
];

impl Of<'_> {
    fn subject(&self) -> String {
        format!("broker/{}", self.group.name)
    }

    fn of_member(&self, member: &Member) -> String {
        match member.slot {
            Some(slot) => format!("broker/{}/{slot}", self.group.name),
            None => format!("broker/{}/{}", self.group.name, member.address),
        }
    }

    fn look(&self) -> String {
        format!("rmq-ctl broker replication {}", self.group.name)
    }

    fn has_master(&self) -> Check {
        let subject = self.subject();
        if let Some((master, status)) = self.group.master() {
            let in_sync = self.told.members.iter().filter(|one| one.in_sync).count();
            let says = format!(
                "{} is the master of epoch {}; {in_sync} of {} members are in sync",
                master.label(),
                status.epoch,
                self.group.members.len()
            );
            return Check::new("broker-has-master", subject, true, says);
        }
        let mut why = BTreeSet::new();
        for member in &self.group.members {
            let said = member
                .status()
                .into_iter()
                .flat_map(|status| &status.findings);
            let said = said.filter(|finding| finding.code == "noMaster");
            why.extend(said.map(|finding| format!("{}: {}", member.label(), finding.text)));
            if let Said::Nothing(error) = &member.said {
                why.insert(format!("{} does not answer: {error}", member.label()));
            }
        }
        let why: Vec<String> = why.into_iter().collect();
        let next = match self.group.is_elected() {
            true => format!(
                "the members elect one as soon as a member of the in-sync set is back; if none comes back: rmq-ctl broker promote {} MEMBER --accept-loss",
                self.group.name
            ),
            false => "the roles are fixed: start the broker with brokerId 0".to_owned(),
        };
        let says = format!(
            "no member is the master (phase {}, epoch {}), so nobody can send to this group: {}; {next} ({})",
            self.told.phase,
            self.told.epoch,
            why.join("; "),
            self.look()
        );
        Check::new("broker-has-master", subject, false, says)
    }

    /// Whether all name servers name the same master.
    fn name_servers_agree(&self) -> Option<Check> {
        let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (server, master) in &self.group.masters {
            if let Some(master) = master {
                named.entry(master).or_default().push(server);
            }
        }
        if named.len() < 2 {
            return None;
        }
        let says: Vec<String> = named
            .iter()
            .map(|(master, servers)| format!("{master} at {}", servers.join(", ")))
            .collect();
        let says = format!(
            "name servers name different masters: {}; clients that ask some of them send to a member that refuses. A new master registers with all of them within seconds; if this stays, look at the log of the name server that names the old one ({})",
            says.join("; "),
            self.look()
        );
        Some(Check::new("broker-one-master", self.subject(), false, says))
    }

    /// Whether one member at most says that it is the master.
    fn masters(&self) -> Option<Check> {
        let masters = self
            .group
            .members
            .iter()
            .filter(|member| member.is_master());
        let masters: Vec<String> = masters
            .filter_map(|member| {
                let epoch = member.status()?.epoch;
                Some(format!("{} of epoch {epoch}", member.label()))
            })
            .collect();
        if masters.len() < 2 {
            return None;
        }
        let says = format!(
            "several members say that they are the master: {}; only the one with the highest epoch acknowledges. With elections the other one ends within a lease; with fixed roles stop it, and give it another brokerId ({})",
            masters.join(", "),
            self.look()
        );
        Some(Check::new("broker-one-master", self.subject(), false, says))
    }

    /// Whether the master takes messages, as far as its members are the reason.
    fn minimum(&self) -> Option<Check> {
        let (master, status) = self.group.master()?;
        let closed = status.writes_closed.as_ref()?;
        if status.switchover.is_some() {
            let says = format!("takes no messages for a moment: {closed}");
            return Some(Check::note("broker-minimum", self.subject(), says));
        }
        let in_sync = status.members.iter().filter(|one| one.in_sync).count();
        let says = format!(
            "{} takes no messages: {closed}; {in_sync} members are in sync, and minInSync is {}. Bring a member back, or lower minInSync where messages may be acknowledged with fewer copies ({})",
            master.label(),
            status.min_in_sync,
            self.look()
        );
        Some(Check::new("broker-minimum", self.subject(), false, says))
    }

    fn place(&self) -> Option<Check> {
        let away = self
            .group
            .members
            .iter()
            .filter(|member| member.status().is_some_and(|status| status.place_away));
        let away: Vec<String> = away.map(Member::label).collect();
        if away.is_empty() {
            return None;
        }
        let failsafe = self.group.members.iter().any(|member| {
            let mut said = member
                .status()
                .into_iter()
                .flat_map(|status| &status.findings);
            said.any(|finding| finding.code == "failsafe")
        });
        let effect = match failsafe {
            true => {
                "The master serves because all members in sync have promised to wait (failsafe): when one more member is lost, the group takes no messages"
            }
            false => "Those members can neither be elected nor change the in-sync set",
        };
        let says = format!(
            "{} cannot reach the place of the election ({}). {effect}. Look at {} and at the way to it ({})",
            away.join(", "),
            self.told.place,
            self.told.election,
            self.look()
        );
        Some(Check::new("broker-place", self.subject(), false, says))
    }

    fn clocks(&self) -> Option<Check> {
        let clocks: Vec<_> = self
            .group
            .members
            .iter()
            .filter_map(|member| Some((member, member.clock()?)))
            .collect();
        let pairs = clocks.iter().flat_map(|one| {
            clocks
                .iter()
                .map(move |other| (one.1.ahead_of(other.1), one.0, other.0))
        });
        let (ms, ahead, behind) = pairs.max_by_key(|(ms, _, _)| *ms)?;
        if ms <= CLOCK_GAP_MS_MAX {
            return None;
        }
        let says = format!(
            "the clock of {} is {} ahead of the clock of {}: no message is lost by that, but after a failover delayed messages come early or late and times of messages jump. Look at the time service of both machines (chronyc tracking, timedatectl)",
            ahead.label(),
            numbers::length(ms),
            behind.label()
        );
        Some(Check::new("broker-clocks", self.subject(), false, says))
    }

    /// The worst that is known of one member.
    fn member(&self, member: &Member) -> Option<Check> {
        let subject = self.of_member(member);
        let view = self.group.view(member);
        let problem = |id, says: String| Some(Check::new(id, subject.clone(), false, says));
        let is_in = view.in_sync();
        let set = match is_in {
            Some(false) => "; it is not in the in-sync set",
            Some(true) | None => "",
        };
        match &member.said {
            Said::Nothing(error) => {
                let at = match member.address.as_str() {
                    "" => String::new(),
                    address => format!(" at {address}"),
                };
                let says = format!(
                    "does not answer{at}: {error}{set}. Start it, or look at its machine and the way there ({})",
                    self.look()
                );
                return problem("member-answers", says);
            }
            Said::Unsupported => {
                let says =
                    "answers, and does not know of groups: it is of an earlier version; upgrade it"
                        .to_owned();
                return problem("member-answers", says);
            }
            Said::Status(status, _) => {
                let stuck = status
                    .findings
                    .iter()
                    .find(|finding| matches!(finding.code.as_str(), "diverged" | "needsSnapshot"));
                if let Some(stuck) = stuck {
                    let says = format!(
                        "cannot copy: {}{set}. It does not get over that by itself: empty its data folder and start it again, and it copies everything ({})",
                        stuck.text,
                        self.look()
                    );
                    return problem("member-copies", says);
                }
            }
        }
        let lag = match (view.lag_bytes(), view.lag_ms()) {
            (Some(0), _) | (None, _) => String::new(),
            (Some(bytes), Some(ms)) => format!(
                ", {} and {} behind",
                numbers::bytes(bytes),
                numbers::length(i64::try_from(ms).unwrap_or(i64::MAX))
            ),
            (Some(bytes), None) => format!(", {} behind", numbers::bytes(bytes)),
        };
        let is_replica = view.role() != Some(MemberRole::Master);
        if is_replica && view.is_connected() == Some(false) {
            let says = format!(
                "answers, but has no connection to its master{set}. Look at its log, and at the way to {} ({})",
                self.replication_of_master(),
                self.look()
            );
            return problem("member-copies", says);
        }
        if is_in == Some(false) {
            let partial = match view.is_partial() {
                true => {
                    "; it lacks history that the group keeps, and is never elected before it has got it"
                }
                false => "",
            };
            let says = format!(
                "is not in the in-sync set{lag}{partial}: acknowledgements do not wait for it, and it cannot take over without loss. It comes in by itself when it has caught up ({} --watch)",
                self.look()
            );
            return problem("member-in-sync", says);
        }
        let servers = self.group.masters.iter().map(|(server, _)| server.as_str());
        let lacking: Vec<&str> = servers
            .filter(|server| !member.registered.iter().any(|(at, _)| at == server))
            .collect();
        if !lacking.is_empty() {
            let says = format!(
                "is not registered with {}: clients that ask there do not find it. It registers by itself within 30 s; if this stays, look at its log, and give it all name servers (rmq-ctl get config-keys --broker {})",
                lacking.join(", "),
                self.group.name
            );
            return problem("member-registered", says);
        }
        None
    }

    fn replication_of_master(&self) -> String {
        let master = self.group.master();
        let address = master.and_then(|(master, _)| self.group.view(master).replication());
        address.map_or_else(|| "its replication port".to_owned(), str::to_owned)
    }

    /// What members say besides, each thing once.
    fn other_findings(&self) -> Vec<Check> {
        let mut seen = BTreeSet::new();
        let mut checks = Vec::new();
        for member in &self.group.members {
            for finding in member
                .status()
                .into_iter()
                .flat_map(|status| &status.findings)
            {
                let is_covered = COVERED.contains(&finding.code.as_str());
                if is_covered || !seen.insert((&finding.code, &finding.text)) {
                    continue;
                }
                let known = OTHERS.iter().find(|(code, _, _)| *code == finding.code);
                let (id, command) = match known {
                    Some((_, id, command)) => (*id, command.replace("{}", &self.group.name)),
                    None => ("member-finding", self.look()),
                };
                let subject = match id.starts_with("broker-") {
                    true => self.subject(),
                    false => self.of_member(member),
                };
                let says = format!("{} ({command})", finding.text);
                // What an election of the past may have lost stays written for ten elections: nothing is to be done now.
                let is_note = finding.severity == FindingSeverity::Note
                    || matches!(id, "broker-loss" | "broker-switchover");
                checks.push(match is_note {
                    true => Check::note(id, subject, says),
                    false => Check::new(id, subject, false, says),
                });
            }
        }
        checks
    }
}

#[cfg(test)]
mod tests;
