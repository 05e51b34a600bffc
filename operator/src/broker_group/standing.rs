//! How a group with replicas stands: what its status says of master, members and losses, and the events about them. Pure.

use rmq_crds::{
    BrokerGroupStatus, Conditions, ElectionAckMode, ElectionReason, MemberRole, MemberStatus,
};

use crate::events::News;
use crate::objects::names;

use super::lost;
use super::observed::{Member, Observed};
use super::said::Said;
use super::view::View;

/// Bounds of losses are told in these steps, so that they do not change all the time.
const LOSS_STEP: i64 = 1 << 20;

/// Writes how the group stands into its status. Returns the events of what has changed.
pub(super) fn write(observed: &Observed<'_>, status: &mut BrokerGroupStatus) -> Vec<News> {
    let Some(view) = &observed.view else {
        return Vec::new();
    };
    let mut news = Vec::new();
    news.extend(new_master(observed, view, status));
    let pod = |slot| pod_of(observed, slot);
    status.epoch = Some(view.epoch);
    status.master = view.serving().map(pod);
    status.in_sync_replicas = i32::try_from(view.in_sync.len()).ok();
    status.members = view
        .members
        .iter()
        .map(|slot| member(observed, view, *slot))
        .collect();
    status.loss_bound = loss_bound(observed, view);
    let all = [
        Some(master_elected(observed, view)),
        Some(replicas_in_sync(observed, view)),
        lost::said(observed, status),
        data_loss(observed, view, status),
    ];
    for said in all.into_iter().flatten() {
        news.extend(said.news(status));
        said.set(status, observed);
    }
    news
}

/// Pods whose label does not say what they are, with what they are.
pub(super) fn labels(observed: &Observed<'_>) -> Vec<(Member, &'static str)> {
    let Some(view) = &observed.view else {
        return Vec::new();
    };
    // Between two masters the last one keeps its label: nobody else takes messages meanwhile.
    let Some(master) = view.serving() else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    for member in &observed.members {
        let role = match member.slot == master {
            true => names::MASTER,
            false => names::REPLICA,
        };
        if member.role.as_deref() != Some(role) && !member.is_terminating {
            wrong.push((member.clone(), role));
        }
    }
    wrong
}

/// The address that clients are told: that of the master, where one is elected.
pub(super) fn address(observed: &Observed<'_>) -> Option<String> {
    match &observed.view {
        None => address_of(observed, 0),
        Some(view) => address_of(observed, view.serving()?),
    }
}

fn address_of(observed: &Observed<'_>, slot: i64) -> Option<String> {
    let advertised = observed.advertised.get(usize::try_from(slot).ok()?);
    match advertised.and_then(Option::as_ref) {
        None => {
            let workload = names::brokers(&observed.name());
            let host = names::host(&pod_of(observed, slot), &workload, &observed.namespace());
            Some(format!("{host}:{}", names::BROKER_PORT))
        }
        Some(advertised) => {
            let mut members = observed.members.iter();
            let member = members.find(|member| member.slot == slot);
            let node = || member?.node.clone();
            let host = advertised.host.clone().or_else(node)?;
            Some(format!("{host}:{}", advertised.port))
        }
    }
}

/// Whether the group takes messages.
pub(super) fn takes_messages(view: &View) -> bool {
    let min = usize::try_from(view.min_in_sync).unwrap_or(1);
    view.serving().is_some() && view.in_sync.len() >= min
}

/// Why the group is not whole, in words.
pub(super) fn lacks(observed: &Observed<'_>, view: &View) -> Option<String> {
    if view.serving().is_none() {
        return Some(match view.epoch {
            0 => "the brokers elect their first master".to_owned(),
            _ => "the brokers elect another master".to_owned(),
        });
    }
    let behind = view.members.difference(&view.in_sync);
    let behind: Vec<String> = behind.map(|slot| pod_of(observed, *slot)).collect();
    let wanted = usize::try_from(observed.object.spec.replicas).unwrap_or(0);
    if !behind.is_empty() {
        let counts = format!(
            "{} of {} brokers are in sync",
            view.in_sync.len(),
            wanted.max(view.members.len())
        );
        return Some(format!("{counts}; not yet: {}", behind.join(", ")));
    }
    (view.members.len() != wanted).then(|| {
        format!(
            "the group has {} members, and {wanted} are wanted",
            view.members.len()
        )
    })
}

fn pod_of(observed: &Observed<'_>, slot: i64) -> String {
    let workload = names::brokers(&observed.name());
    names::pod(&workload, i32::try_from(slot).unwrap_or(i32::MAX))
}

fn member(observed: &Observed<'_>, view: &View, slot: i64) -> MemberStatus {
    let in_sync = view.in_sync.contains(&slot);
    let lag = || {
        let told = observed.told.as_ref()?;
        let mut members = told.members.iter();
        let of_slot = members.find(|member| i64::try_from(member.slot.0) == Ok(slot))?;
        of_slot.lag_bytes.and_then(|lag| i64::try_from(lag).ok())
    };
    MemberStatus {
        slot,
        pod: pod_of(observed, slot),
        role: match view.serving() == Some(slot) {
            true => MemberRole::Master,
            false => MemberRole::Replica,
        },
        in_sync,
        address: address_of(observed, slot),
        lag_bytes: if in_sync { None } else { lag() },
    }
}

/// What a failover would lose: what the best replica lacks. None where acknowledgements wait for the replicas.
fn loss_bound(observed: &Observed<'_>, view: &View) -> Option<i64> {
    if view.ack_mode.is_none_or(ElectionAckMode::is_in_sync) {
        return None;
    }
    let members = &observed.told.as_ref()?.members;
    let master = view.serving()?;
    let is_replica = |slot: u64| i64::try_from(slot).is_ok_and(|slot| slot != master);
    let replicas = members
        .iter()
        .filter(|one| one.in_sync && is_replica(one.slot.0));
    let least = replicas.filter_map(|one| one.lag_bytes).min()?;
    let least = i64::try_from(least).unwrap_or(i64::MAX - LOSS_STEP);
    Some(
        least.div_euclid(LOSS_STEP) * LOSS_STEP
            + if least % LOSS_STEP == 0 { 0 } else { LOSS_STEP },
    )
}

/// The event about another master than the status has.
fn new_master(observed: &Observed<'_>, view: &View, status: &BrokerGroupStatus) -> Option<News> {
    let master = view.serving()?;
    let known = status.epoch.unwrap_or(0);
    if view.epoch <= known && status.master.is_some() {
        return None;
    }
    let pod = pod_of(observed, master);
    let note = format!("pod {pod} is the master of epoch {}", view.epoch);
    Some(match view.reason {
        Some(ElectionReason::Failure) => News::warning(
            "MasterFailedOver",
            format!("{note}: the master before was gone"),
        ),
        Some(ElectionReason::Switchover) => News::normal("MasterSwitchedOver", note),
        // Of others, nothing that was acknowledged is lost.
        Some(ElectionReason::AllUnclean | ElectionReason::Unclean)
            if view.loss.is_some_and(|(epoch, _)| epoch == view.epoch) =>
        {
            News::warning(
                "MasterElectedWithLoss",
                format!("{note}: messages may be lost"),
            )
        }
        Some(ElectionReason::AllUnclean | ElectionReason::Unclean) => News::warning(
            "MasterFailedOver",
            format!("{note}: the nodes of all brokers in sync had crashed"),
        ),
        Some(ElectionReason::First) | None => News::normal("MasterElected", note),
    })
}

fn master_elected(observed: &Observed<'_>, view: &View) -> Said {
    const TYPE: &str = "MasterElected";
    let broker = observed.object.broker_name();
    match view.serving() {
        Some(master) => {
            let pod = pod_of(observed, master);
            let message = format!("pod {pod}, epoch {}", view.epoch);
            Said::new(TYPE, true, "Elected", message)
        }
        None if view.epoch == 0 => {
            let message = "the brokers have not elected their first master yet";
            Said::new(TYPE, false, "NoMasterYet", message)
        }
        None => Said::new(
            TYPE,
            false,
            "NoMaster",
            format!("nobody takes messages; rmq-ctl broker replication {broker} says why"),
        ),
    }
}

fn replicas_in_sync(observed: &Observed<'_>, view: &View) -> Said {
    const TYPE: &str = "ReplicasInSync";
    let counts = format!("{} of {}", view.in_sync.len(), view.members.len());
    let behind = view.members.difference(&view.in_sync);
    let behind: Vec<String> = behind.map(|slot| pod_of(observed, *slot)).collect();
    if behind.is_empty() {
        return Said::new(TYPE, true, "InSync", counts);
    }
    let behind = behind.join(", ");
    let min = view.min_in_sync;
    if usize::try_from(min).is_ok_and(|min| view.in_sync.len() < min) {
        let message = format!(
            "{counts}, and no messages are taken below {min} (spec.replication.minInSync); not in sync: {behind}"
        );
        return Said::new(TYPE, false, "BelowMinimum", message);
    }
    Said::new(
        TYPE,
        false,
        "NotInSync",
        format!("{counts}; not in sync: {behind}"),
    )
}

/// Whether acknowledged messages may be lost. None: there was never a reason.
fn data_loss(observed: &Observed<'_>, view: &View, status: &BrokerGroupStatus) -> Option<Said> {
    const TYPE: &str = "DataLossPossible";
    let broker = observed.object.broker_name();
    match view.loss {
        Some((epoch, reason)) => {
            let (word, why) = match reason {
                ElectionReason::Unclean => (
                    "PromotedByHand",
                    "a person promoted a broker that may have lacked messages",
                ),
                _ => (
                    "AllCrashed",
                    "the nodes of all brokers in sync had crashed, and the longest log was taken",
                ),
            };
            let message = format!(
                "with the election of epoch {epoch}: {why}; rmq-ctl broker replication {broker} shows the range of the log"
            );
            Some(Said::new(TYPE, true, word, message))
        }
        None => status.conditions.of(TYPE).map(|_| Said::done(TYPE)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rmq_crds::BrokerGroup;

    use super::*;

    fn view(master: Option<i64>, epoch: i64, in_sync: &[i64]) -> View {
        View {
            members: [0, 1, 2].into(),
            epoch,
            master,
            is_stable: master.is_some(),
            in_sync: in_sync.iter().copied().collect(),
            min_in_sync: 2,
            ack_mode: Some(ElectionAckMode::InSync),
            reason: Some(if epoch == 1 {
                ElectionReason::First
            } else {
                ElectionReason::Failure
            }),
            ..View::default()
        }
    }

    /// Looks at the group as it is then; the events, and a condition.
    fn look(status: &mut BrokerGroupStatus, view: View, condition: &str) -> (Vec<String>, String) {
        let object: BrokerGroup = crate::yaml::case("broker-group-small");
        let now = Timestamp::from_second(1_000).expect("a small number");
        let mut observed = Observed::nothing(&object, now);
        observed.view = Some(view);
        let pod = |slot: i64| Member {
            name: format!("a-broker-{slot}"),
            slot,
            is_ready: true,
            ..Member::default()
        };
        observed.members = [0, 1, 2].map(pod).into();
        let news = write(&observed, status).into_iter().map(|news| news.reason);
        let known = status.conditions.of(condition).expect("a condition");
        (
            news.collect(),
            format!("{} {} {}", known.status, known.reason, known.message),
        )
    }

    #[test]
    fn masters_and_members_are_told_once() {
        let mut status = BrokerGroupStatus::default();
        let (news, said) = look(&mut status, view(None, 0, &[]), "MasterElected");
        assert!(news.is_empty(), "{news:?}");
        assert!(said.starts_with("False NoMasterYet"), "{said}");
        let (news, said) = look(&mut status, view(Some(0), 1, &[0]), "ReplicasInSync");
        assert_eq!(news, ["MasterElected"]);
        assert!(said.starts_with("False BelowMinimum 1 of 3"), "{said}");
        let (news, said) = look(&mut status, view(Some(0), 1, &[0, 1, 2]), "ReplicasInSync");
        assert_eq!((news.len(), &*said), (0, "True InSync 3 of 3"), "{news:?}");
        assert_eq!(status.master.as_deref(), Some("a-broker-0"));
        assert_eq!((status.epoch, status.in_sync_replicas), (Some(1), Some(3)));
        let before = status.clone();
        assert_eq!(
            look(&mut status, view(Some(0), 1, &[0, 1, 2]), "MasterElected")
                .0
                .len(),
            0
        );
        assert_eq!(status, before, "nothing is written again");

        let (news, said) = look(&mut status, view(None, 2, &[0, 1, 2]), "MasterElected");
        assert!(news.is_empty(), "{news:?}");
        assert!(said.contains("rmq-ctl broker replication a"), "{said}");
        let (news, said) = look(&mut status, view(Some(2), 2, &[1, 2]), "ReplicasInSync");
        assert_eq!(news, ["MasterFailedOver", "ReplicasNotInSync"]);
        assert!(said.contains("not in sync: a-broker-0"), "{said}");
        let roles: Vec<_> = status
            .members
            .iter()
            .map(|one| (one.role, one.in_sync))
            .collect();
        assert_eq!(roles[0], (MemberRole::Replica, false));
        assert_eq!(roles[2], (MemberRole::Master, true));
    }

    #[test]
    fn an_election_with_loss_is_told() {
        let mut status = BrokerGroupStatus::default();
        let lost = View {
            loss: Some((7, ElectionReason::AllUnclean)),
            ..view(Some(1), 8, &[0, 1, 2])
        };
        let (news, said) = look(&mut status, lost, "DataLossPossible");
        assert!(news.contains(&"DataLossPossible".to_owned()), "{news:?}");
        assert!(
            said.starts_with("True AllCrashed") && said.contains("epoch 7"),
            "{said}"
        );
        let (_, said) = look(
            &mut status,
            view(Some(1), 20, &[0, 1, 2]),
            "DataLossPossible",
        );
        assert!(said.starts_with("False Done"), "{said}");
    }

    #[test]
    fn a_pod_that_should_be_gone_is_on_a_lost_node() {
        let object: BrokerGroup = crate::yaml::case("broker-group-small");
        let at = |second| Timestamp::from_second(second).expect("a small number");
        let mut observed = Observed::nothing(&object, at(1_000));
        observed.view = Some(view(Some(1), 3, &[1, 2]));
        let mut status = BrokerGroupStatus::default();
        let mut holds = |gone_at| {
            observed.members = vec![Member {
                name: "a-broker-0".to_owned(),
                gone_at,
                ..Member::default()
            }];
            let news = write(&observed, &mut status);
            let known = status.conditions.of("ReplicaOnLostNode");
            (
                known.map(|known| known.status.clone()),
                news.iter().any(|news| news.note.contains("taint")),
            )
        };
        assert_eq!(holds(Some(at(980))), (None, false));
        assert_eq!(holds(Some(at(970))), (Some("True".to_owned()), true));
        assert_eq!(holds(None), (Some("False".to_owned()), false));
    }

    #[test]
    fn labels_follow_the_master() {
        let object: BrokerGroup = crate::yaml::case("broker-group-small");
        let mut observed = Observed::nothing(&object, Timestamp::UNIX_EPOCH);
        let pod = |slot: i64, role: Option<&str>| Member {
            slot,
            role: role.map(str::to_owned),
            ..Member::default()
        };
        observed.members = vec![
            pod(0, Some(names::MASTER)),
            pod(1, Some(names::REPLICA)),
            pod(2, None),
        ];
        observed.view = Some(view(Some(1), 2, &[1]));
        let wrong = labels(&observed)
            .into_iter()
            .map(|(pod, role)| (pod.slot, role));
        let roles = [(0, names::REPLICA), (1, names::MASTER), (2, names::REPLICA)];
        assert_eq!(wrong.collect::<Vec<_>>(), roles);
        observed.view = Some(view(None, 3, &[1]));
        assert!(
            labels(&observed).is_empty(),
            "the last master keeps its label"
        );
    }
}
