//! Turns: of the groups of a cluster, one restarts a broker at a time.
//!
//! A group that restarts a broker says so in its status. Between the decision and the moment when the watch shows that status, only the turn
//! says it.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::decision::Decision;
use super::observed::Observed;

/// Seconds after which the watch shows the status of a group that began a restart.
const SHOWN_AFTER: i64 = 10;

/// Who has the turn, by cluster.
#[derive(Default)]
pub(crate) struct Turns {
    holders: Mutex<HashMap<String, Holder>>,
}

struct Holder {
    group: String,
    since: Timestamp,
}

impl Turns {
    /// Decides about a group, and gives it the turn when it restarts a broker and no other group has the turn. The lock is held meanwhile,
    /// so that no two groups see a free turn.
    pub(super) fn decide(
        &self,
        mut observed: Observed<'_>,
        decide: impl FnOnce(&Observed<'_>) -> Decision,
    ) -> Decision {
        let cluster = observed.cluster();
        let mut holders = self.holders.lock();
        // A holder whose status shows no restart by now did not begin one, or ended it.
        if let Some(holder) = holders.get(&cluster)
            && !observed.restarts(&holder.group)
            && observed.now.duration_since(holder.since).as_secs() >= SHOWN_AFTER
        {
            holders.remove(&cluster);
        }
        let holder = holders.get(&cluster).map(|holder| &holder.group);
        observed.turn = holder.filter(|holder| **holder != observed.name()).cloned();
        let decision = decide(&observed);
        if decision.takes_the_turn() {
            let (group, since) = (observed.name(), observed.now);
            let holder = Holder { group, since };
            holders.entry(cluster).or_insert(holder);
        }
        decision
    }

    /// Ends the turn of this group.
    pub(super) fn end(&self, cluster: &str, group: &str) {
        let mut holders = self.holders.lock();
        if holders
            .get(cluster)
            .is_some_and(|holder| holder.group == group)
        {
            holders.remove(cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use rmq_crds::{BrokerGroup, BrokerGroupStatus, Rollout, RolloutStep};

    use super::*;
    use crate::broker_group::observed::Other;
    use crate::conditions::Verdict;

    fn group(name: &str) -> BrokerGroup {
        let mut group: BrokerGroup = crate::yaml::case("broker-group-small");
        group.metadata.name = Some(name.to_owned());
        group
    }

    /// A decision to restart a broker, as long as no other group has the turn.
    fn restart(observed: &Observed<'_>) -> Decision {
        let mut decision = Decision::rest();
        if observed.turn.is_none() {
            let status = BrokerGroupStatus {
                rollout: Some(Rollout {
                    pod: "a-broker-0".to_owned(),
                    pod_uid: "old".to_owned(),
                    step: RolloutStep::Quiescing,
                    reason: "ImageChanged".to_owned(),
                    switchover: None,
                    rebuild: None,
                    since: Time(observed.now),
                }),
                ..BrokerGroupStatus::default()
            };
            decision.status = Some((status, Verdict::ready("serves")));
        }
        decision
    }

    #[test]
    fn one_group_restarts_at_a_time() {
        let turns = Turns::default();
        let (a, b) = (group("a"), group("b"));
        let at = |second| Timestamp::from_second(second).expect("a small number");
        let begins = |group: &BrokerGroup, second| {
            let observed = Observed::nothing(group, at(second));
            let decision = turns.decide(observed, restart);
            decision.takes_the_turn()
        };
        assert!(begins(&a, 0));
        assert!(!begins(&b, 1), "a has the turn");
        assert!(begins(&a, 2), "a continues");
        let cluster = Observed::nothing(&a, at(3)).cluster();
        turns.end(&cluster, "b");
        assert!(!begins(&b, 3), "b ended nothing");
        turns.end(&cluster, "a");
        assert!(begins(&b, 3));
        // No status shows the restart of b.
        assert!(!begins(&a, 12));
        assert!(begins(&a, 13));
    }

    #[test]
    fn a_turn_lasts_as_long_as_the_status_shows_the_restart() {
        let turns = Turns::default();
        let (mut a, b) = (group("a"), group("b"));
        let at = |second| Timestamp::from_second(second).expect("a small number");
        let decision = turns.decide(Observed::nothing(&a, at(0)), restart);
        a.status = decision.status.map(|(status, _)| status);
        let mut sees_a = Observed::nothing(&b, at(3_600));
        sees_a.others = vec![Other {
            group: std::sync::Arc::new(a),
            is_up: false,
        }];
        assert!(!turns.decide(sees_a, restart).takes_the_turn());
    }
}
