//! How a request for another master ends, and for how long the group took no messages. Reads only.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use rmq_client::protocol::bodies::{GroupOutcome, GroupStatus, MemberRole};
use rmq_client::protocol::requests::GroupWish;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::cluster::Cluster;
use crate::facts::broker_group::{BrokerGroup, Said, ask};

/// Between looks at one member: they bound how exactly the gap is known.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest wait for an answer: a member whose role changes does not answer for a moment.
const ANSWER: Duration = Duration::from_millis(500);
/// How long the new master may take to take messages before the gap counts as unknown.
const SERVES_WITHIN: Duration = Duration::from_secs(10);

/// The phase of a group whose master is ready.
const STABLE: &str = "Stable";

/// The end of a request.
pub(super) struct Ended {
    pub(super) ok: bool,
    /// Why not.
    pub(super) text: String,
    /// The group afterwards.
    pub(super) status: GroupStatus,
    /// The group took no messages for this time at most; `None`: it was not seen.
    pub(super) gap: Option<Duration>,
}

/// What was seen so far.
struct Watch<'w> {
    number: &'w str,
    /// Whether the end is a master that takes messages; a promoted one may have to wait for other members.
    until_open: bool,
    /// The epoch before the request.
    before: u64,
    /// When a look began that found the old master taking messages; at first, before the request was made.
    open_until: Instant,
    /// When a look ended that found a master taking messages after the request.
    open_from: Option<Instant>,
    ended: Option<(GroupOutcome, Instant)>,
    latest: Option<GroupStatus>,
}

/// Looks at all members until the request, which was made after `began`, has ended, or until the deadline: `None`.
pub(super) async fn watch(
    cluster: &Cluster,
    group: &BrokerGroup,
    (kind, number): (GroupWish, &str),
    (began, deadline): (Instant, Instant),
) -> Option<Ended> {
    let looks = group.members.iter().map(|member| {
        let looks = stream::unfold((), move |()| async move {
            let began = Instant::now();
            let said = ask(cluster, &group.name, &member.address);
            let said = timeout(ANSWER, said).await;
            let status = match said {
                Ok(Said::Status(status, _)) => Some(*status),
                Ok(Said::Nothing(_) | Said::Unsupported) | Err(_) => None,
            };
            let ended = Instant::now();
            sleep(PAUSE).await;
            Some(((began, ended, status), ()))
        });
        Box::pin(looks)
    });
    let mut looks = stream::select_all(looks);
    let mut watch = Watch {
        number,
        until_open: kind == GroupWish::Switchover,
        before: group.told().map_or(0, |status| status.epoch),
        open_until: began,
        open_from: None,
        ended: None,
        latest: None,
    };
    loop {
        let deadline = match &watch.ended {
            Some((_, at)) => deadline.min(*at + SERVES_WITHIN),
            None => deadline,
        };
        match timeout_at(deadline, looks.next()).await {
            Ok(Some((began, ended, Some(status)))) => watch.saw(status, began, ended),
            Ok(Some((_, _, None))) => {}
            Ok(None) | Err(_) => return watch.result(),
        }
        if watch.is_over() {
            return watch.result();
        }
    }
}

impl Watch<'_> {
    fn saw(&mut self, status: GroupStatus, began: Instant, ended: Instant) {
        let takes = takes_messages(&status);
        if takes && status.epoch > self.before {
            self.open_from.get_or_insert(ended);
        } else if takes {
            self.open_until = self.open_until.max(began);
        }
        let outcome = status.outcome.as_ref();
        let outcome = outcome.filter(|outcome| outcome.request == self.number);
        if let (Some(outcome), None) = (outcome, &self.ended) {
            self.ended = Some((outcome.clone(), ended));
        }
        let stage = |status: &GroupStatus| {
            let is_stable = status.phase == STABLE;
            (status.epoch, is_stable, takes_messages(status))
        };
        let is_newer = |latest: &GroupStatus| stage(&status) >= stage(latest);
        if self.latest.as_ref().is_none_or(is_newer) {
            self.latest = Some(status);
        }
    }

    /// Whether nothing more is to be seen.
    fn is_over(&self) -> bool {
        let is_there = |latest: &GroupStatus| {
            latest.epoch > self.before && latest.phase == STABLE && !self.until_open
        };
        match &self.ended {
            Some((outcome, _)) => {
                !outcome.ok
                    || self.open_from.is_some()
                    || self.latest.as_ref().is_some_and(is_there)
            }
            None => false,
        }
    }

    fn result(self) -> Option<Ended> {
        let (outcome, _) = self.ended?;
        Some(Ended {
            ok: outcome.ok,
            text: outcome.text,
            status: self.latest?,
            gap: self
                .open_from
                .map(|from| from.saturating_duration_since(self.open_until)),
        })
    }
}

/// Whether who says this is a master that takes messages.
fn takes_messages(status: &GroupStatus) -> bool {
    let own = status.member(status.me).map(|own| own.role);
    own == Some(MemberRole::Master) && status.phase == STABLE && status.writes_closed.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_never_longer_than_what_is_said() {
        let text = r#"{"ackMode":"inSync","brokerName":"a","confirmed":1,"election":"etcd","end":1,"epoch":7,"me":0,"minInSync":2,
            "members":[{"inSync":true,"role":"master","slot":0}],"phase":"Stable"}"#;
        let open = GroupStatus::from_json(text.as_bytes()).unwrap();
        let closed = GroupStatus {
            writes_closed: Some("a switchover".to_owned()),
            ..open.clone()
        };
        let done = |ok| {
            Some(GroupOutcome {
                ok,
                request: "1".to_owned(),
                text: String::new(),
            })
        };
        let after = GroupStatus {
            epoch: 8,
            outcome: done(true),
            ..open.clone()
        };
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let watch = || Watch {
            number: "1",
            until_open: true,
            before: 7,
            open_until: start,
            open_from: None,
            ended: None,
            latest: None,
        };
        let mut seen = watch();
        seen.saw(open, at(100), at(105));
        seen.saw(closed, at(120), at(125));
        assert!(!seen.is_over());
        seen.saw(after.clone(), at(200), at(210));
        assert!(seen.is_over());
        let ended = seen.result().unwrap();
        assert!(ended.ok && ended.status.epoch == 8);
        assert_eq!(ended.gap, Some(Duration::from_millis(110)));
        // A promoted master may wait for other members. Where it begins is known when it is ready, and not before.
        let begins = GroupStatus {
            phase: "Electing".to_owned(),
            ..after.clone()
        };
        let waits = GroupStatus {
            writes_closed: Some("too few".to_owned()),
            ..after.clone()
        };
        let mut promoted = watch();
        promoted.saw(begins.clone(), at(0), at(1));
        promoted.until_open = false;
        assert!(!promoted.is_over());
        promoted.saw(waits.clone(), at(2), at(3));
        promoted.saw(begins, at(2), at(4));
        assert!(promoted.is_over());
        assert_eq!(promoted.latest, Some(waits.clone()));
        promoted.until_open = true;
        assert!(!promoted.is_over());
        // The outcome of another request is none, and a refusal needs no new master.
        let mut other = watch();
        other.number = "2";
        other.saw(after.clone(), at(0), at(1));
        assert!(other.result().is_none());
        let mut refused = watch();
        let refusal = GroupStatus {
            epoch: 7,
            outcome: done(false),
            ..after
        };
        refused.saw(refusal, at(0), at(1));
        assert!(refused.is_over());
    }
}
