//! Who is master of a group with replicas, as its `BrokerGroupElection` says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use rmq_crds::{
    BrokerGroupElection, ElectionAckMode, ElectionOutcome, ElectionPhase, ElectionReason,
};

/// What the election of a group says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Slots that may take part.
    pub(super) members: BTreeSet<i64>,
    /// Counts the masters; 0 before the first.
    pub(super) epoch: i64,
    /// The slot of the master of this epoch, whether or not it serves.
    pub(super) master: Option<i64>,
    /// Whether the master of this epoch serves, and is not about to hand over.
    pub(super) is_stable: bool,
    /// Slots that have every acknowledged message.
    pub(super) in_sync: BTreeSet<i64>,
    /// Which data each of them has.
    pub(super) incarnations: BTreeMap<i64, String>,
    pub(super) min_in_sync: i32,
    pub(super) ack_mode: Option<ElectionAckMode>,
    /// How the last request for another master ended.
    pub(super) outcome: Option<ElectionOutcome>,
    /// Why the master began.
    pub(super) reason: Option<ElectionReason>,
    /// The newest election that may have lost acknowledged messages, and why.
    pub(super) loss: Option<(i64, ElectionReason)>,
}

impl View {
    pub(super) fn of(election: &BrokerGroupElection) -> Self {
        let spec = &election.spec;
        let view = Self {
            members: spec.members.iter().map(|member| member.slot).collect(),
            min_in_sync: spec.min_in_sync,
            ack_mode: Some(spec.ack_mode),
            ..Self::default()
        };
        let Some(status) = &election.status else {
            return view;
        };
        let loses = |reason| match reason {
            ElectionReason::First | ElectionReason::Failure | ElectionReason::Switchover => false,
            // The longest log has all that was on the disks of the set.
            ElectionReason::AllUnclean => !spec.ack_mode.is_flushed(),
            ElectionReason::Unclean => true,
        };
        let mut terms = status.history.iter().rev();
        let loss = terms.find(|term| loses(term.reason));
        Self {
            epoch: status.epoch,
            master: status.master.as_ref().map(|seat| seat.slot),
            is_stable: status.phase == ElectionPhase::Stable,
            in_sync: status.in_sync.iter().map(|seat| seat.slot).collect(),
            incarnations: status
                .in_sync
                .iter()
                .map(|seat| (seat.slot, seat.incarnation.clone()))
                .collect(),
            outcome: status.outcome.clone(),
            reason: status.history.last().map(|term| term.reason),
            loss: loss.map(|term| (term.epoch, term.reason)),
            ..view
        }
    }

    /// The master, when it serves.
    pub(super) fn serving(&self) -> Option<i64> {
        self.master.filter(|_| self.is_stable)
    }

    /// Members that have to stay in sync when one is taken away. With as many as there are members, nobody could ever be restarted.
    fn needed(&self) -> usize {
        let min = usize::try_from(self.min_in_sync).unwrap_or(1);
        min.min(self.members.len().saturating_sub(1)).max(1)
    }

    /// Whether messages are taken without this member. The master is never one to do without.
    pub(super) fn spares(&self, slot: i64) -> bool {
        let others = self.in_sync.iter().filter(|other| **other != slot).count();
        self.serving().is_some_and(|master| master != slot) && others >= self.needed()
    }

    /// Whether messages are taken without any one of the members: the master hands over when it stops.
    pub(super) fn spares_any(&self) -> bool {
        self.is_stable && self.in_sync.len() > self.needed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(members: i64, min: i32, in_sync: &[i64]) -> View {
        View {
            members: (0..members).collect(),
            epoch: 1,
            master: Some(0),
            is_stable: true,
            in_sync: in_sync.iter().copied().collect(),
            min_in_sync: min,
            ..View::default()
        }
    }

    #[test]
    fn a_member_is_spared_while_enough_others_have_everything() {
        let whole = view(3, 2, &[0, 1, 2]);
        assert!(whole.spares(1) && whole.spares(2) && whole.spares_any());
        assert!(!whole.spares(0), "the master hands over first");
        let without = view(3, 2, &[0, 1]);
        assert!(without.spares(2), "it is missed already");
        assert!(!without.spares(1) && !without.spares_any());
        // Both have to have a message: a restart stops the group, or there would be none ever.
        let strict = view(2, 2, &[0, 1]);
        assert!(strict.spares(1) && strict.spares_any());
        assert!(!view(2, 2, &[0]).spares_any());
        assert!(view(2, 1, &[0, 1]).spares(1));
        let between = View {
            is_stable: false,
            ..whole
        };
        assert!(!between.spares(2) && !between.spares_any());
    }

    #[test]
    fn a_new_election_has_no_master() {
        let spec = serde_json::json!({
            "metadata": {"name": "a-broker"},
            "spec": {"members": [{"slot": 2, "replication": "a:1", "client": "a:2"}], "ackMode": "inSync", "minInSync": 2},
        });
        let mut election: BrokerGroupElection = serde_json::from_value(spec).expect("an election");
        let seen = View::of(&election);
        assert_eq!((seen.epoch, seen.serving()), (0, None));
        assert_eq!((seen.members.len(), seen.min_in_sync), (1, 2));
        let seat = serde_json::json!({"slot": 2, "incarnation": "0".repeat(32)});
        let term = |epoch: i64, reason: &str| serde_json::json!({"epoch": epoch, "master": seat, "reason": reason});
        let status = serde_json::json!({
            "phase": "Stable", "epoch": 5, "master": seat, "inSync": [seat],
            "history": [term(3, "Unclean"), term(4, "AllUnclean"), term(5, "Failure")],
        });
        election.status = serde_json::from_value(status).expect("a status");
        let seen = View::of(&election);
        assert_eq!(seen.serving(), Some(2));
        assert_eq!(seen.loss, Some((4, ElectionReason::AllUnclean)));
        assert_eq!(seen.reason, Some(ElectionReason::Failure));
        // What was acknowledged on disk is in the longest log.
        election.spec.ack_mode = ElectionAckMode::InSyncFlushed;
        let seen = View::of(&election);
        assert_eq!(seen.loss, Some((3, ElectionReason::Unclean)));
    }
}
