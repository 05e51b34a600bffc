//! The two objects as a record and a lease.

use k8s_openapi::api::coordination::v1 as coordination;
use kube::ResourceExt;
use rmq_crds::{
    BrokerGroupElection, BrokerGroupElectionSpec, BrokerGroupElectionStatus, ElectionAckMode,
    ElectionMember, ElectionOutcome, ElectionPhase, ElectionReason, ElectionRequest, ElectionSeat,
    ElectionTerm, ElectionUnclean,
};
use serde_json::{Value, json};

use crate::place::{
    AckMode, Lease, Member, MemberId, Outcome, Phase, Policy, Reason, Record, Seat, Switchover,
    Term, UncleanElection, Version, Versioned,
};

/// How often the holder has renewed: a Lease has no field for that.
const RENEWALS: &str = "rmq.rs/renewals";
/// The duration in milliseconds: the Lease's own has whole seconds.
const DURATION_MS: &str = "rmq.rs/duration-ms";
/// Longest reason of a refusal in the object, characters.
const REFUSED_MAX: usize = 1_024;

/// What is wrong with an object.
type Wrong = String;

fn number(name: &str, value: i64) -> Result<u64, Wrong> {
    u64::try_from(value).map_err(|_| format!("{name} is {value}, which is below 0"))
}

fn written(name: &str, value: u64) -> Result<i64, Wrong> {
    i64::try_from(value)
        .map_err(|_| format!("{name} is {value}, which no field of the object holds"))
}

/// The version of an object.
pub(super) fn version(object: &impl ResourceExt) -> Result<Version, Wrong> {
    let text = object.resource_version().unwrap_or_default();
    version_of(&text)
}

/// The version that a text says.
pub(super) fn version_of(text: &str) -> Result<Version, Wrong> {
    text.parse().map(Version).map_err(|_| {
        format!(
            "its resourceVersion {text:?} is no number: elections need Kubernetes 1.34 or newer"
        )
    })
}

fn seat(name: &str, of: &ElectionSeat) -> Result<Seat, Wrong> {
    let incarnation = of.incarnation.parse();
    Ok(Seat {
        member: MemberId(number(&format!("{name}.slot"), of.slot)?),
        incarnation: incarnation.map_err(|error| format!("{name}.incarnation: {error}"))?,
    })
}

fn seat_of(seat: Seat) -> Result<ElectionSeat, Wrong> {
    Ok(ElectionSeat {
        slot: written("a slot", seat.member.0)?,
        incarnation: seat.incarnation.to_string(),
    })
}

fn switchover(of: &ElectionRequest) -> Result<Switchover, Wrong> {
    Ok(Switchover {
        to: MemberId(number("switchover.to", of.to)?),
        request: of.request.clone(),
    })
}

fn unclean(of: &ElectionUnclean) -> Result<UncleanElection, Wrong> {
    Ok(UncleanElection {
        to: MemberId(number("uncleanElection.to", of.to)?),
        request: of.request.clone(),
        accept_loss: of.accept_loss,
    })
}

/// Requests of the spec that nobody has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requests {
    switchover: Option<Switchover>,
    unclean: Option<UncleanElection>,
    answered_switchover: Option<String>,
    answered_unclean: Option<String>,
}

impl Requests {
    pub(super) fn of(object: &BrokerGroupElection) -> Result<Self, Wrong> {
        let status = object.status.as_ref();
        let answered_switchover = status.and_then(|status| status.answered_switchover.clone());
        let answered_unclean = status.and_then(|status| status.answered_unclean_election.clone());
        let is_open =
            |answered: &Option<String>, request: &str| answered.as_deref() != Some(request);
        let asked = object.spec.switchover.as_ref();
        let asked = asked.filter(|asked| is_open(&answered_switchover, &asked.request));
        let asked_unclean = object.spec.unclean_election.as_ref();
        let asked_unclean =
            asked_unclean.filter(|asked| is_open(&answered_unclean, &asked.request));
        Ok(Self {
            switchover: asked.map(switchover).transpose()?,
            unclean: asked_unclean.map(unclean).transpose()?,
            answered_switchover,
            answered_unclean,
        })
    }
}

/// The record of an object.
pub(super) fn record(object: &BrokerGroupElection) -> Result<Versioned<Record>, Wrong> {
    let spec = &object.spec;
    let members = spec.members.iter().map(|member| {
        Ok(Member {
            id: MemberId(number("spec.members.slot", member.slot)?),
            replication: member.replication.clone(),
            client: member.client.clone(),
        })
    });
    let mut members = members.collect::<Result<Vec<_>, Wrong>>()?;
    members.sort_by_key(|member| member.id);
    let min_in_sync = u32::try_from(spec.min_in_sync);
    let policy = Policy {
        ack_mode: match spec.ack_mode {
            ElectionAckMode::Memory => AckMode::Memory,
            ElectionAckMode::Flushed => AckMode::Flushed,
            ElectionAckMode::InSync => AckMode::InSync,
            ElectionAckMode::InSyncFlushed => AckMode::InSyncFlushed,
        },
        min_in_sync: min_in_sync
            .map_err(|_| format!("spec.minInSync is {}", spec.min_in_sync))?
            .max(1),
    };
    let mut record = Record::vacant(members, policy);
    let asked = Requests::of(object)?;
    record.switchover = asked.switchover;
    record.unclean = asked.unclean;
    let Some(status) = &object.status else {
        let version = version(object)?;
        return Ok(Versioned {
            version,
            value: record,
        });
    };
    record.epoch = number("status.epoch", status.epoch)?;
    record.phase = match status.phase {
        ElectionPhase::Vacant => Phase::Vacant,
        ElectionPhase::Electing => Phase::Electing,
        ElectionPhase::Stable => Phase::Stable,
        ElectionPhase::Transferring => Phase::Transferring,
    };
    let master = status.master.as_ref();
    record.master = master
        .map(|master| seat("status.master", master))
        .transpose()?;
    let in_sync = status.in_sync.iter().map(|of| seat("status.inSync", of));
    record.in_sync = in_sync.collect::<Result<_, _>>()?;
    record.in_sync_version = number("status.inSyncVersion", status.in_sync_version)?;
    let history = status.history.iter().map(|term| {
        let start = term.start;
        Ok(Term {
            epoch: number("status.history.epoch", term.epoch)?,
            master: seat("status.history.master", &term.master)?,
            start: start
                .map(|start| number("status.history.start", start))
                .transpose()?,
            reason: match term.reason {
                ElectionReason::First => Reason::First,
                ElectionReason::Failure => Reason::Failure,
                ElectionReason::Switchover => Reason::Switchover,
                ElectionReason::AllUnclean => Reason::AllUnclean,
                ElectionReason::Unclean => Reason::Unclean,
            },
        })
    });
    record.history = history.collect::<Result<_, Wrong>>()?;
    if let Some(at_broker) = &status.switchover {
        record.switchover = Some(switchover(at_broker)?);
    }
    if let Some(at_broker) = &status.unclean_election {
        record.unclean = Some(unclean(at_broker)?);
    }
    record.outcome = status.outcome.as_ref().map(|outcome| Outcome {
        request: outcome.request.clone(),
        refused: outcome.refused.clone(),
    });
    Ok(Versioned {
        version: version(object)?,
        value: record,
    })
}

/// The spec of an object that a broker makes itself.
pub(super) fn spec(record: &Record) -> Result<BrokerGroupElectionSpec, Wrong> {
    let members = record.members.iter().map(|member| {
        Ok(ElectionMember {
            slot: written("a slot", member.id.0)?,
            replication: member.replication.clone(),
            client: member.client.clone(),
        })
    });
    Ok(BrokerGroupElectionSpec {
        members: members.collect::<Result<_, Wrong>>()?,
        ack_mode: match record.policy.ack_mode {
            AckMode::Memory => ElectionAckMode::Memory,
            AckMode::Flushed => ElectionAckMode::Flushed,
            AckMode::InSync => ElectionAckMode::InSync,
            AckMode::InSyncFlushed => ElectionAckMode::InSyncFlushed,
        },
        min_in_sync: i32::try_from(record.policy.min_in_sync).unwrap_or(i32::MAX),
        switchover: None,
        unclean_election: None,
    })
}

/// The status that an object gets. `asked`: what its spec asks for and nobody has answered: what `next` lacks of that is answered by it.
pub(super) fn status(next: &Record, asked: &Requests) -> Result<BrokerGroupElectionStatus, Wrong> {
    let history = next.history.iter().map(|term| {
        let start = term.start;
        Ok(ElectionTerm {
            epoch: written("an epoch", term.epoch)?,
            master: seat_of(term.master)?,
            start: start
                .map(|start| written("a position", start))
                .transpose()?,
            reason: match term.reason {
                Reason::First => ElectionReason::First,
                Reason::Failure => ElectionReason::Failure,
                Reason::Switchover => ElectionReason::Switchover,
                Reason::AllUnclean => ElectionReason::AllUnclean,
                Reason::Unclean => ElectionReason::Unclean,
            },
        })
    });
    let mut status = BrokerGroupElectionStatus {
        phase: match next.phase {
            Phase::Vacant => ElectionPhase::Vacant,
            Phase::Electing => ElectionPhase::Electing,
            Phase::Stable => ElectionPhase::Stable,
            Phase::Transferring => ElectionPhase::Transferring,
        },
        epoch: written("the epoch", next.epoch)?,
        master: next.master.map(seat_of).transpose()?,
        in_sync: next
            .in_sync
            .iter()
            .map(|seat| seat_of(*seat))
            .collect::<Result<_, _>>()?,
        in_sync_version: written("the version of the set", next.in_sync_version)?,
        history: history.collect::<Result<_, Wrong>>()?,
        switchover: None,
        unclean_election: None,
        answered_switchover: asked.answered_switchover.clone(),
        answered_unclean_election: asked.answered_unclean.clone(),
        outcome: next.outcome.as_ref().map(|outcome| ElectionOutcome {
            request: outcome.request.clone(),
            refused: outcome
                .refused
                .as_ref()
                .map(|text| text.chars().take(REFUSED_MAX).collect()),
        }),
    };
    if next.switchover != asked.switchover {
        if let Some(asked) = &asked.switchover {
            status.answered_switchover = Some(asked.request.clone());
        }
        let at_broker = next.switchover.as_ref().map(|of| {
            Ok::<_, Wrong>(ElectionRequest {
                to: written("a slot", of.to.0)?,
                request: of.request.clone(),
            })
        });
        status.switchover = at_broker.transpose()?;
    }
    if next.unclean != asked.unclean {
        if let Some(asked) = &asked.unclean {
            status.answered_unclean_election = Some(asked.request.clone());
        }
        let at_broker = next.unclean.as_ref().map(|of| {
            Ok::<_, Wrong>(ElectionUnclean {
                to: written("a slot", of.to.0)?,
                request: of.request.clone(),
                accept_loss: of.accept_loss,
            })
        });
        status.unclean_election = at_broker.transpose()?;
    }
    Ok(status)
}

/// The status as a merge patch that leaves nothing of the status before.
pub(super) fn status_patch(
    status: &BrokerGroupElectionStatus,
    expected: Version,
) -> Result<Value, Wrong> {
    let mut fields = serde_json::to_value(status).map_err(|error| error.to_string())?;
    // What is not there is taken away.
    for name in [
        "master",
        "switchover",
        "uncleanElection",
        "answeredSwitchover",
        "answeredUncleanElection",
        "outcome",
    ] {
        if fields.get(name).is_none() {
            fields[name] = Value::Null;
        }
    }
    if status
        .outcome
        .as_ref()
        .is_some_and(|of| of.refused.is_none())
    {
        fields["outcome"]["refused"] = Value::Null;
    }
    Ok(json!({
        "metadata": {"resourceVersion": expected.to_string()},
        "status": fields,
    }))
}

/// The lease of a Lease. One that has only been made is free.
pub(super) fn lease(object: &coordination::Lease) -> Result<Versioned<Lease>, Wrong> {
    let noted = |name: &str| {
        let text = object.annotations().get(name);
        let number = text.map(|text| {
            let number = text.parse::<u64>();
            number.map_err(|_| format!("its annotation {name} is no number: {text:?}"))
        });
        number.transpose()
    };
    let spec = object.spec.as_ref();
    let holder = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .filter(|holder| !holder.is_empty());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let seconds = u64::try_from(seconds.unwrap_or_default()).unwrap_or_default();
    Ok(Versioned {
        version: version(object)?,
        value: Lease {
            holder: holder.map(holder_of).transpose()?,
            renewals: noted(RENEWALS)?.unwrap_or_default(),
            duration_ms: noted(DURATION_MS)?.unwrap_or(seconds.saturating_mul(1_000)),
        },
    })
}

fn holder_text(holder: Seat) -> String {
    format!("{}@{}", holder.member, holder.incarnation)
}

fn holder_of(text: &str) -> Result<Seat, Wrong> {
    let wrong = || format!("its holderIdentity {text:?} is not of the form SLOT@INCARNATION");
    let (slot, incarnation) = text.split_once('@').ok_or_else(wrong)?;
    Ok(Seat {
        member: MemberId(slot.parse().map_err(|_| wrong())?),
        incarnation: incarnation.parse().map_err(|_| wrong())?,
    })
}

/// A Lease's content as a merge patch. `now`: the time in RFC 3339, for people.
pub(super) fn lease_patch(next: &Lease, expected: Option<Version>, now: &str) -> Value {
    let seconds = next.duration_ms.div_ceil(1_000).clamp(1, 3_600);
    let mut patch = json!({
        "metadata": {
            "annotations": {
                RENEWALS: next.renewals.to_string(),
                DURATION_MS: next.duration_ms.to_string(),
            },
        },
        "spec": {
            "holderIdentity": next.holder.map(holder_text),
            "leaseDurationSeconds": seconds,
            "renewTime": now,
        },
    });
    if let Some(expected) = expected {
        patch["metadata"]["resourceVersion"] = json!(expected.to_string());
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::super::super::Incarnation;
    use super::*;

    fn seat(member: u64) -> Seat {
        Seat {
            member: MemberId(member),
            incarnation: Incarnation(u128::from(member) << 100),
        }
    }

    fn full() -> Record {
        let policy = Policy {
            ack_mode: AckMode::InSyncFlushed,
            min_in_sync: 2,
        };
        let member = |slot| Member {
            id: MemberId(slot),
            replication: format!("h{slot}:10912"),
            client: format!("h{slot}:10911"),
        };
        let mut record = Record::vacant(vec![member(0), member(1)], policy);
        record.epoch = 7;
        record.phase = Phase::Stable;
        record.master = Some(seat(1));
        record.in_sync = vec![seat(0), seat(1)];
        record.in_sync_version = 4;
        record.history = vec![Term {
            epoch: 7,
            master: seat(1),
            start: Some(1 << 40),
            reason: Reason::Failure,
        }];
        record.outcome = Some(Outcome {
            request: "r0".to_owned(),
            refused: Some("not in sync".to_owned()),
        });
        record
    }

    fn object(record: &Record, asked: &Requests) -> BrokerGroupElection {
        let mut object = BrokerGroupElection::new("g", spec(record).unwrap());
        object.metadata.resource_version = Some("12".to_owned());
        object.status = Some(status(record, asked).unwrap());
        object
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let written = full();
        let read = record(&object(&written, &Requests::default())).unwrap();
        assert_eq!((read.version, read.value), (Version(12), written));
    }

    #[test]
    fn an_object_without_a_status_is_a_group_without_a_master() {
        let mut made = object(&full(), &Requests::default());
        made.status = None;
        let read = record(&made).unwrap().value;
        assert_eq!(read, Record::vacant(full().members, full().policy));
    }

    #[test]
    fn a_request_of_the_spec_is_open_until_a_record_lacks_it() {
        let mut asked_for = object(&full(), &Requests::default());
        let ask = |request: &str| ElectionRequest {
            to: 0,
            request: request.to_owned(),
        };
        asked_for.spec.switchover = Some(ask("r1"));
        let seen = record(&asked_for).unwrap().value;
        let switchover = Switchover {
            to: MemberId(0),
            request: "r1".to_owned(),
        };
        assert_eq!(seen.switchover, Some(switchover));

        // Still open after a change of something else.
        let requests = Requests::of(&asked_for).unwrap();
        let mut next = seen.clone();
        next.in_sync_version += 1;
        asked_for.status = Some(status(&next, &requests).unwrap());
        assert_eq!(record(&asked_for).unwrap().value, next);

        // Answered, and not open again when another request is answered after it.
        next.switchover = None;
        for request in ["r1", "other"] {
            next.outcome = Some(Outcome {
                request: request.to_owned(),
                refused: None,
            });
            let requests = Requests::of(&asked_for).unwrap();
            asked_for.status = Some(status(&next, &requests).unwrap());
            assert_eq!(record(&asked_for).unwrap().value, next);
        }
        asked_for.spec.switchover = Some(ask("r2"));
        let seen = record(&asked_for).unwrap().value;
        assert_eq!(seen.switchover.map(|of| of.request), Some("r2".to_owned()));
    }

    #[test]
    fn a_request_at_a_broker_is_in_the_status() {
        let mut next = full();
        next.switchover = Some(Switchover {
            to: MemberId(0),
            request: "by hand".to_owned(),
        });
        next.unclean = Some(UncleanElection {
            to: MemberId(0),
            request: "by force".to_owned(),
            accept_loss: true,
        });
        let mut made = object(&next, &Requests::default());
        assert_eq!(record(&made).unwrap().value, next);
        next.switchover = None;
        next.unclean = None;
        made.status = Some(status(&next, &Requests::of(&made).unwrap()).unwrap());
        assert_eq!(record(&made).unwrap().value, next);
    }

    /// As the API server merges it.
    fn merged(into: &mut Value, patch: &Value) {
        let Value::Object(fields) = patch else {
            *into = patch.clone();
            return;
        };
        if !into.is_object() {
            *into = json!({});
        }
        for (name, value) in fields {
            if value.is_null() {
                if let Some(into) = into.as_object_mut() {
                    into.remove(name);
                }
            } else {
                merged(&mut into[name], value);
            }
        }
    }

    #[test]
    fn a_patch_leaves_nothing_of_what_was_before() {
        let mut before = full();
        before.switchover = Some(Switchover {
            to: MemberId(0),
            request: "r".to_owned(),
        });
        let mut now = serde_json::to_value(object(&before, &Requests::default())).unwrap();
        let mut next = full();
        next.master = None;
        next.in_sync.clear();
        next.history.clear();
        for outcome in [
            Some(Outcome {
                request: "r".to_owned(),
                refused: None,
            }),
            None,
        ] {
            next.outcome = outcome;
            let wanted = status(&next, &Requests::default()).unwrap();
            let patch = status_patch(&wanted, Version(12)).unwrap();
            assert_eq!(patch["metadata"]["resourceVersion"], "12");
            merged(&mut now["status"], &patch["status"]);
            let read: BrokerGroupElectionStatus =
                serde_json::from_value(now["status"].clone()).unwrap();
            assert_eq!(read, wanted);
        }
    }

    #[test]
    fn a_lease_comes_back_as_it_was_written() {
        for holder in [Some(seat(3)), None] {
            let written = Lease {
                holder,
                renewals: 9,
                duration_ms: 4_500,
            };
            let patch = lease_patch(&written, None, "2026-11-30T00:00:00.000000Z");
            let mut object = json!({"metadata": {"resourceVersion": "5"}});
            merged(&mut object, &patch);
            let object: coordination::Lease = serde_json::from_value(object).unwrap();
            let seconds = object
                .spec
                .as_ref()
                .and_then(|spec| spec.lease_duration_seconds);
            assert_eq!(seconds, Some(5));
            let read = lease(&object).unwrap();
            assert_eq!((read.version, read.value), (Version(5), written));
        }
    }

    #[test]
    fn what_is_no_record_or_lease_is_refused_with_the_reason() {
        let mut made = object(&full(), &Requests::default());
        made.metadata.resource_version = Some("abc".to_owned());
        assert!(record(&made).unwrap_err().contains("Kubernetes 1.34"));
        let mut made = object(&full(), &Requests::default());
        let status = made.status.as_mut().unwrap();
        status.in_sync[0].incarnation = "x".to_owned();
        assert!(
            record(&made)
                .unwrap_err()
                .contains("status.inSync.incarnation")
        );
        let mut made = object(&full(), &Requests::default());
        made.status.as_mut().unwrap().epoch = -1;
        assert!(record(&made).unwrap_err().contains("status.epoch is -1"));
        let held = |holder: &str| {
            let object =
                json!({"metadata": {"resourceVersion": "5"}, "spec": {"holderIdentity": holder}});
            lease(&serde_json::from_value(object).unwrap()).unwrap_err()
        };
        for holder in ["somebody", "1@", "x@00000000000000000000000000000000"] {
            assert!(held(holder).contains("SLOT@INCARNATION"), "{holder}");
        }
    }
}
