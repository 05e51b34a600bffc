//! The broker's group as this member knows it.

use std::cmp::Reverse;

use rmq_election::machine::{Facts, Finding, Severity};
use rmq_election::place::{Phase, Record};
use rmq_protocol::bodies::{
    FindingSeverity, GroupFinding, GroupOutcome, GroupRequest, GroupStatus, LostRange, MemberRole,
    MemberStatus,
};
use rmq_protocol::message::LogPosition;
use rmq_protocol::{MemberId, Seat};
use rmq_replication::MemberProgress;

use crate::broker::Broker;
use crate::role::Role;

/// The group as this member knows it.
pub(crate) fn group_status(broker: &Broker) -> GroupStatus {
    let mut status = fixed(broker);
    if let Some(elected) = &broker.member.elected {
        status.election = elected.election().to_owned();
        status.place = elected.place().to_owned();
        if let Some(facts) = elected.facts() {
            with_facts(broker, &mut status, &facts);
        }
    }
    if let Some(stuck) = &*broker.member.stuck.lock() {
        let found = finding(FindingSeverity::Error, stuck.code(), stuck.to_string());
        status.findings.push(found);
    }
    status.findings.extend(parted(broker));
    status
        .findings
        .extend(damage(broker, status.members.len() > 1));
    status.findings.sort_by_key(|found| Reverse(found.severity));
    status.members.sort_by_key(|member| member.slot);
    status
}

/// What this member had confirmed and its group has given up, since the start of the process.
fn parted(broker: &Broker) -> Option<GroupFinding> {
    let kept = broker.member.repairs.last_parted()?;
    let text = format!(
        "member {} had {} acknowledged messages from position {} to {} of its log that the new master does not have; they are kept in {}, and the member copies from the master",
        broker.member.identity.seat.member,
        kept.messages,
        kept.from,
        kept.to,
        kept.path.display()
    );
    Some(finding(FindingSeverity::Note, "parted", text))
}

/// What of the log cannot be read, and why no other member has helped yet.
fn damage(broker: &Broker, has_others: bool) -> Option<GroupFinding> {
    let ranges = broker.store.damage();
    let first = ranges.first()?;
    let why = broker.member.repairs.failure();
    let why = why.unwrap_or_else(|| "it is about to ask another member".to_owned());
    let text = format!(
        "member {} cannot read {} of its log, the first from position {} to {}: {why}",
        broker.member.identity.seat.member,
        match ranges.len() {
            1 => "a range".to_owned(),
            count => format!("{count} ranges"),
        },
        first.from,
        first.to
    );
    // A broker without a group serves what it can read, and nothing more is to be had.
    let severity = match has_others {
        true => FindingSeverity::Warning,
        false => FindingSeverity::Note,
    };
    Some(finding(severity, "damaged", text))
}

/// What connections and the configuration say: with fixed roles all that is known.
fn fixed(broker: &Broker) -> GroupStatus {
    let (config, member) = (&broker.config, &broker.member);
    let positions = broker.store.positions();
    let is_master = broker.role.leads();
    let followed = member.followed.master().filter(|_| !is_master);
    let me = member.identity.seat;
    let mut mine = bare(me.member);
    mine.client = broker.identity.addr.clone();
    mine.replication = member.replication_addr.clone();
    mine.connected = true;
    mine.flushed = Some(positions.flushed);
    mine.received = Some(positions.written);
    mine.incarnation = Some(me.incarnation);
    if is_master {
        mine.role = MemberRole::Master;
        mine.in_sync = true;
    } else if followed.is_some() {
        let there = member.followed.master_end().0;
        mine.lag_bytes = Some(there.saturating_sub(positions.written));
    }
    let mut members = vec![mine];
    let mut findings = Vec::new();
    if is_master {
        for replica in member.progress(LogPosition(positions.appended)) {
            let mut status = bare(replica.seat.member);
            status.in_sync = member.is_in_sync(replica.seat);
            if !status.in_sync {
                let text = format!("member {} is not in sync", replica.seat.member);
                findings.push(finding(FindingSeverity::Warning, "outOfSet", text));
            }
            with_progress(&mut status, &replica, positions.min);
            members.push(status);
        }
    } else if let Some(seat) = followed {
        let at = member.master_at().borrow().clone().unwrap_or_default();
        let mut status = bare(seat.member);
        status.client = at.client;
        status.replication = at.replication;
        status.connected = true;
        status.in_sync = true;
        status.incarnation = Some(seat.incarnation);
        status.received = Some(member.followed.master_end().0);
        status.role = MemberRole::Master;
        members.push(status);
    } else {
        let text = "this replica has no connection to a master".to_owned();
        findings.push(finding(FindingSeverity::Error, "noMaster", text));
    }
    let writes_closed = match broker.role.get() {
        Role::Closed { why, .. } => Some(why),
        Role::Master { .. } => member.check_writes().err().map(|few| few.to_string()),
        Role::Replica { .. } => None,
    };
    if let Some(text) = &writes_closed {
        let found = finding(FindingSeverity::Error, "belowMinimum", text.clone());
        findings.push(found);
    }
    let master = match is_master {
        true => Some(me.member),
        false => followed.map(|seat| seat.member),
    };
    GroupStatus {
        ack_mode: config.ack_mode.name().to_owned(),
        broker_name: config.broker_name.clone(),
        confirmed: positions.confirmed,
        election: config.election.word().to_owned(),
        end: positions.appended,
        epoch: match is_master {
            true => broker.store.epoch(),
            false => member.followed.epoch().max(broker.store.epoch()),
        },
        findings,
        master,
        me: me.member,
        members,
        min_in_sync: u32::try_from(member.in_sync_min).unwrap_or(u32::MAX),
        now_ms: broker.now_ms(),
        outcome: None,
        phase: match master {
            Some(_) => phase(Phase::Stable),
            None => phase(Phase::Vacant),
        },
        place: String::new(),
        place_away: false,
        possibly_lost: None,
        state: broker.role.get().to_string(),
        switchover: None,
        writes_closed,
    }
}

/// What an election knows takes the place of what it knows better.
fn with_facts(broker: &Broker, status: &mut GroupStatus, facts: &Facts) {
    status.place_away = facts.place_away;
    status.state = facts.state.to_string();
    status.findings = facts.findings.iter().map(found).collect();
    let Some(record) = &facts.record else {
        return;
    };
    status.epoch = record.epoch;
    status.phase = phase(record.phase);
    status.ack_mode = record.policy.ack_mode.to_string();
    status.min_in_sync = record.policy.min_in_sync;
    let master = record
        .master
        .filter(|_| matches!(record.phase, Phase::Stable | Phase::Transferring));
    status.master = master.map(|seat| seat.member);
    status.outcome = record.outcome.as_ref().map(|outcome| GroupOutcome {
        ok: outcome.refused.is_none(),
        request: outcome.request.clone(),
        text: outcome.refused.clone().unwrap_or_default(),
    });
    status.switchover = asked(record);
    let lossy = record.history.iter().rev();
    let mut lossy = lossy.filter(|term| term.reason.may_lose(record.policy.ack_mode));
    status.possibly_lost = lossy.next().map(|term| LostRange {
        epoch: term.epoch,
        from: term.start,
        to: end_before(broker, term.epoch).filter(|to| term.start.is_some_and(|from| *to > from)),
    });
    status.members = members(broker, status, facts, record, master);
}

/// How far the masters before an epoch came, as far as this member has heard.
fn end_before(broker: &Broker, epoch: u64) -> Option<u64> {
    let end = broker.member.followed.end_before(epoch)?;
    Some(end.0)
}

fn members(
    broker: &Broker,
    status: &GroupStatus,
    facts: &Facts,
    record: &Record,
    master: Option<Seat>,
) -> Vec<MemberStatus> {
    let known = |id: MemberId| status.members.iter().find(|member| member.slot == id);
    let me = broker.member.identity.seat.member;
    // Who is about to claim again, or was fenced, may still stand in the record.
    let leads = |id| id != me || broker.role.leads();
    let recorded = record.members.iter().map(|member| {
        let mut status = known(member.id).cloned().unwrap_or_else(|| bare(member.id));
        let seat = record.in_sync.iter().find(|seat| seat.member == member.id);
        status.in_sync = seat.is_some();
        status.incarnation = status.incarnation.or(seat.map(|seat| seat.incarnation));
        status.client.clone_from(&member.client);
        status.replication.clone_from(&member.replication);
        let is_named = master.is_some_and(|seat| seat.member == member.id);
        status.role = match is_named && leads(member.id) {
            true => MemberRole::Master,
            false => MemberRole::Replica,
        };
        if let Some(seen) = facts
            .members
            .iter()
            .find(|one| one.seat.member == member.id)
        {
            status.connected = seen.connected;
            status.partial = seen.partial;
        }
        status
    });
    let mut all: Vec<MemberStatus> = recorded.collect();
    if all.iter().all(|member| member.slot != me) {
        all.extend(known(me).cloned());
    }
    all
}

fn asked(record: &Record) -> Option<GroupRequest> {
    let request = |kind: &str, request: &str, to| GroupRequest {
        kind: kind.to_owned(),
        request: request.to_owned(),
        to,
    };
    let switchover = record.switchover.as_ref();
    let unclean = record.unclean.as_ref();
    switchover
        .map(|asked| request("switchover", &asked.request, asked.to))
        .or_else(|| unclean.map(|asked| request("promote", &asked.request, asked.to)))
}

/// A member of whom nothing is known.
fn bare(slot: MemberId) -> MemberStatus {
    MemberStatus {
        client: String::new(),
        connected: false,
        flushed: None,
        in_sync: false,
        incarnation: None,
        lag_bytes: None,
        lag_ms: None,
        partial: false,
        received: None,
        replication: String::new(),
        role: MemberRole::Replica,
        slot,
    }
}

fn with_progress(status: &mut MemberStatus, progress: &MemberProgress, oldest: u64) {
    status.connected = progress.is_connected;
    status.flushed = Some(progress.flushed.0);
    status.received = Some(progress.received.0);
    status.incarnation = Some(progress.seat.incarnation);
    status.lag_bytes = Some(progress.lag_bytes);
    status.lag_ms = u64::try_from(progress.lag.as_millis()).ok();
    status.partial = progress.begin.0 > oldest;
}

fn phase(phase: Phase) -> String {
    match phase {
        Phase::Vacant => "Vacant",
        Phase::Electing => "Electing",
        Phase::Stable => "Stable",
        Phase::Transferring => "Transferring",
    }
    .to_owned()
}

fn finding(severity: FindingSeverity, code: &str, text: String) -> GroupFinding {
    GroupFinding {
        code: code.to_owned(),
        severity,
        text,
    }
}

fn found(found: &Finding) -> GroupFinding {
    let severity = match found.severity() {
        Severity::Note => FindingSeverity::Note,
        Severity::Warning => FindingSeverity::Warning,
        Severity::Error => FindingSeverity::Error,
    };
    let code = match found {
        Finding::BecameMaster { .. } => "becameMaster",
        Finding::Fenced { .. } => "fenced",
        Finding::NoMaster { .. } => "noMaster",
        Finding::OutOfSet { .. } => "outOfSet",
        Finding::BelowMinimum { .. } => "belowMinimum",
        Finding::OtherIncarnation { .. } => "otherIncarnation",
        Finding::Failsafe { .. } => "failsafe",
        Finding::PlaceAway => "placeAway",
        Finding::Dirty => "dirty",
        Finding::DataLossPossible { .. } => "dataLossPossible",
        Finding::SwitchoverTakenBack { .. } => "switchoverTakenBack",
        Finding::RecordGone => "recordGone",
        Finding::DiskFailed => "diskFailed",
        Finding::NotAMember => "notAMember",
    };
    finding(severity, code, found.to_string())
}
