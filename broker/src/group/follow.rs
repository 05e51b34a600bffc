//! A replica with fixed roles: it finds its master by the name servers, or where it is told to, and copies.

use std::sync::Arc;

use rmq_config::BrokerConfig;
use rmq_protocol::message::LogPosition;
use rmq_replication::{
    End, Following, Greeting, ReasonKind, ReplicaEvent, ReplicationConfig, Target,
};
use rmq_store::Follower;
use rmq_transport::Clock;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::member::{MasterAt, Member, NeedsSnapshot, Stuck};
use crate::data::Data;
use crate::role::{CurrentRole, Role};

/// What is still to be copied is told this often, milliseconds.
const TELL_MS: i64 = 30_000;

/// What a replica follows with.
pub(crate) struct Follow<'a> {
    pub(crate) config: &'a BrokerConfig,
    pub(crate) member: &'a Member,
    pub(crate) store: &'a Data,
    pub(crate) role: &'a CurrentRole,
    /// By which progress is told.
    pub(crate) clock: &'a Arc<dyn Clock>,
}

/// What is known of the copying from one address.
#[derive(Default)]
pub(super) struct Progress {
    /// There is a connection, and the log has not all that the master had when the connection began.
    is_copying: bool,
    /// Where the master's log begins, once that is too late.
    master_begin: Option<LogPosition>,
}

impl Progress {
    /// Whether a log that ends at `end` may be replaced by a snapshot of this master: see [`fixed`](super::fixed).
    pub(super) fn may_replace(&self, end: LogPosition) -> bool {
        self.master_begin
            .is_some_and(|master_begin| end.0 == 0 || end < master_begin)
    }
}

/// Copies the log of the master until `stop`.
pub(crate) async fn run(follow: Follow<'_>, stop: CancellationToken) {
    let mut heard = follow.member.master_at();
    loop {
        let at = heard.borrow_and_update().clone();
        let target = follow.target(at);
        let next = async {
            // The sender lives as long as the member.
            let _ = heard.changed().await;
        };
        let Some(at) = target else {
            tokio::select! {
                () = stop.cancelled() => return,
                () = next => continue,
            }
        };
        let ends = stop.child_token();
        let copying = follow.copy(&at, ends.clone());
        let mut copying = std::pin::pin!(copying);
        tokio::select! {
            () = &mut copying => {}
            () = next => {
                tracing::info!(was = at.replication, "the master may be elsewhere");
                ends.cancel();
                copying.await;
            }
        }
        follow.role.set(Role::Replica { of: None });
        if stop.is_cancelled() {
            return;
        }
    }
}

impl Follow<'_> {
    /// Whom to follow: who is configured, or whom the name servers name.
    fn target(&self, heard: Option<MasterAt>) -> Option<MasterAt> {
        let configured = &self.config.replication_master;
        match (configured.is_empty(), heard) {
            (false, heard) => Some(MasterAt {
                replication: configured.clone(),
                client: heard.map_or_else(|| configured.clone(), |at| at.client),
            }),
            (true, Some(at)) if !at.replication.is_empty() => Some(at),
            (true, _) => None,
        }
    }

    /// Copies from one address, until `stop` or until the store cannot continue.
    async fn copy(&self, at: &MasterAt, stop: CancellationToken) {
        let Some(follower) = self.member.follower() else {
            return stop.cancelled().await;
        };
        let target = Target {
            address: at.replication.clone(),
            member: None,
            epoch: self.store.epoch(),
        };
        let (following, mut told) = copying(self.member, follower, target, stop.clone());
        let mut following = std::pin::pin!(following);
        let mut progress = Progress::default();
        let end = loop {
            tokio::select! {
                end = &mut following => break end,
                Some(event) = told.recv() => self.note(event, at, &mut progress),
                () = self.clock.sleep_ms(TELL_MS), if progress.is_copying => self.tell_progress(),
            }
        };
        while let Ok(event) = told.try_recv() {
            self.note(event, at, &mut progress);
        }
        let greeting = Greeting::of(&self.member.identity, self.store.epoch(), self.store);
        if ended(self.member, end, progress.may_replace(greeting.end)) {
            self.member.need_snapshot(NeedsSnapshot {
                master: at.replication.clone(),
                greeting,
            });
        }
        stop.cancelled().await;
    }

    fn note(&self, event: ReplicaEvent, at: &MasterAt, progress: &mut Progress) {
        note((self.member, self.role), event, at, progress);
    }

    fn tell_progress(&self) {
        let (end, master_end) = (
            self.store.positions().written,
            self.member.followed.master_end().0,
        );
        tracing::info!(
            position = end,
            of = master_end,
            missing_bytes = master_end.saturating_sub(end),
            "this replica copies what it lacks of its master's log"
        );
    }
}

/// Copies from `target` into `store` until `stop`: the way to the end, and what happens meanwhile.
pub(super) fn copying(
    member: &Member,
    store: Arc<Follower>,
    target: Target,
    stop: CancellationToken,
) -> (
    impl Future<Output = End> + use<>,
    UnboundedReceiver<ReplicaEvent>,
) {
    *member.stuck.lock() = None;
    let (events, told) = unbounded_channel();
    let following = Following {
        target,
        store,
        identity: member.identity.clone(),
        config: ReplicationConfig {
            guard: member.tls.guard(),
            ..ReplicationConfig::default()
        },
        events,
        followed: Arc::clone(&member.followed),
    };
    (rmq_replication::follow_apart(following, stop), told)
}

/// Tells people why a replica copies no more. `may_replace`: a snapshot may take the place of its log. The result is whether it needs one.
pub(super) fn ended(member: &Member, end: End, may_replace: bool) -> bool {
    let stuck = match end {
        End::Stopped => return false,
        End::NeedsSnapshot { reason } if may_replace => Stuck::NeedsSnapshot(reason),
        End::NeedsSnapshot { reason } => Stuck::Diverged(reason),
        End::Diverged(parting) => Stuck::Diverged(parting.reason),
        End::Store { reason } => {
            tracing::error!("this replica copies no more: {reason}");
            return false;
        }
        other => {
            tracing::error!("this replica copies no more: {other:?}");
            return false;
        }
    };
    let needs_snapshot = matches!(stuck, Stuck::NeedsSnapshot(_));
    match needs_snapshot {
        true => tracing::warn!("{stuck}"),
        false => tracing::error!("{stuck}"),
    }
    *member.stuck.lock() = Some(stuck);
    needs_snapshot
}

/// Tells people what happened to a replica of the master at `at`, and its role.
pub(super) fn note(
    (member, role): (&Member, &CurrentRole),
    event: ReplicaEvent,
    at: &MasterAt,
    progress: &mut Progress,
) {
    match event {
        ReplicaEvent::Connected { master, epoch } => {
            progress.is_copying = true;
            tracing::info!(master = %master.member, epoch, at = at.replication, "this replica copies its master's log");
            role.set(Role::Replica {
                of: Some(at.client.clone()),
            });
        }
        ReplicaEvent::Lost { reason } => {
            progress.is_copying = false;
            // A master that hands over closes its connections; one that is gone cannot be reached the next time.
            match reason.kind {
                ReasonKind::Stopping => tracing::info!(
                    at = at.replication,
                    "the master closed the connection: {reason}; connecting again"
                ),
                _ => tracing::warn!(
                    at = at.replication,
                    "no connection to the master: {reason}; trying on"
                ),
            }
            role.set(Role::Replica { of: None });
        }
        ReplicaEvent::CaughtUp { position } => {
            progress.is_copying = false;
            tracing::info!(position = position.0, "this replica has caught up");
        }
        ReplicaEvent::Cut {
            position,
            end,
            kept,
        } => {
            if let Some(kept) = &kept {
                member.repairs.cut(kept);
            }
            tracing::warn!(
                position = position.0,
                end = end.0,
                messages = kept.as_ref().map_or(0, |kept| kept.messages),
                kept_in = kept.map(|kept| kept.path.display().to_string()),
                "the end of the log was cut off: the master does not have it, and it was not confirmed"
            );
        }
        ReplicaEvent::NeedsSnapshot { master_begin, .. } => {
            progress.master_begin = Some(master_begin);
        }
        // It is on its way to be one.
        ReplicaEvent::Refused { reason }
            if matches!(reason.kind, ReasonKind::NotMaster | ReasonKind::StaleMaster) =>
        {
            tracing::info!(at = at.replication, "{reason}; trying on");
        }
        ReplicaEvent::Refused { reason } => tracing::warn!(
            at = at.replication,
            "this replica and its master do not accept each other: {reason}; trying on"
        ),
        other => tracing::warn!(at = at.replication, "{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_before_the_masters_log_is_replaced() {
        for (end, master_begin, wanted) in [
            (0, 0, true),
            (0, 4_096, true),
            (4_095, 4_096, true),
            // It reaches into the master's log: the two part, or the replica goes on as it is.
            (4_096, 4_096, false),
            (9_000, 4_096, false),
            (1, 0, false),
        ] {
            let progress = Progress {
                is_copying: false,
                master_begin: Some(LogPosition(master_begin)),
            };
            assert_eq!(progress.may_replace(LogPosition(end)), wanted, "{end}");
        }
        assert!(!Progress::default().may_replace(LogPosition(0)));
    }
}
