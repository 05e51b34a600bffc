//! Situations of a restart.

use jiff::SignedDuration;

use super::*;

#[test]
fn how_a_restart_begins_and_what_it_waits_for() {
    check([
        Row {
            reason: "Restarting",
            rollout: Some(RolloutStep::Quiescing),
            events: &["BrokerQuiescing"],
            ..row("the template changed", same, template_changed)
        },
        Row {
            reason: "RestartPending",
            ..row("another group restarts", same, |observed| {
                template_changed(observed);
                let busy = |group: &mut BrokerGroup| restarts(group, RolloutStep::Starting);
                observed.others = vec![other("b", true, busy)];
            })
        },
        Row {
            reason: "RestartPending",
            ..row("another group has the turn", same, |observed| {
                template_changed(observed);
                observed.turn = Some("b".to_owned());
            })
        },
        Row {
            reason: "RestartPending",
            ..row("another group is not ready", same, |observed| {
                template_changed(observed);
                observed.others = vec![other("b", false, |_| {}), other("c", true, |_| {})];
            })
        },
        Row {
            reason: "Restarting",
            rollout: Some(RolloutStep::Stopping),
            events: &["BrokerStopping"],
            ..row("the other group never served", same, |observed| {
                template_changed(observed);
                let never = |group: &mut BrokerGroup| status(group).ever_served = Some(false);
                observed.others = vec![other("b", false, never)];
            })
        },
        Row {
            reason: "Restarting",
            rollout: Some(RolloutStep::Stopping),
            events: &["BrokerStopping"],
            ..row("the other group goes", same, |observed| {
                template_changed(observed);
                let goes = |group: &mut BrokerGroup| deleted(group, None);
                observed.others = vec![other("b", false, goes)];
            })
        },
    ]);
}

#[test]
fn how_a_restart_continues() {
    let quiesces = |object: &mut BrokerGroup| restarts(object, RolloutStep::Quiescing);
    let stops = |object: &mut BrokerGroup| restarts(object, RolloutStep::Stopping);
    let starts = |object: &mut BrokerGroup| restarts(object, RolloutStep::Starting);
    let new_pod = |observed: &mut Observed<'_>| observed.members[0].uid = "new".to_owned();
    check([
        Row {
            step: Step::Quiesce {
                pod_uid: "old".to_owned(),
            },
            reason: "Restarting",
            rollout: Some(RolloutStep::Quiescing),
            ..row("producers still send", quiesces, |observed| {
                template_changed(observed);
                observed.quiet = Some(SignedDuration::from_secs(4));
            })
        },
        Row {
            reason: "Restarting",
            rollout: Some(RolloutStep::Stopping),
            events: &["BrokerStopping"],
            ..row("producers have left", quiesces, |observed| {
                template_changed(observed);
                observed.quiet = Some(SignedDuration::from_secs(5));
            })
        },
        Row {
            step: Step::Delete {
                pod: "a-broker-0".to_owned(),
                uid: "old".to_owned(),
                election: None,
            },
            reason: "Restarting",
            rollout: Some(RolloutStep::Stopping),
            ..row("the pod is stopped", stops, template_changed)
        },
        Row {
            reason: "Restarting",
            rollout: Some(RolloutStep::Starting),
            events: &["BrokerStarting"],
            ..row("the pod is gone", stops, |observed| {
                observed.members.clear();
            })
        },
        Row {
            reason: "Restarting",
            rollout: Some(RolloutStep::Starting),
            ..row("a name server does not show it", starts, |observed| {
                observed.members[0].uid = "new".to_owned();
                observed.missing_at = vec!["ns-1:9876".to_owned()];
            })
        },
        Row {
            step: Step::Finish {
                pod_uid: "old".to_owned(),
                wish: None,
            },
            reason: "Restarting",
            events: &["BrokerRestarted"],
            ..row("every name server shows it", starts, new_pod)
        },
        Row {
            reason: "Restarting",
            rollout: Some(RolloutStep::Quiescing),
            ..row("the template changed once more", quiesces, |observed| {
                template_changed(observed);
                observed.default_image = "rmq:next";
            })
        },
    ]);
}
