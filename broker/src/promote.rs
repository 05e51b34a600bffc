//! A replica becomes the master of its group, with the store and everything else that its broker has.

use std::sync::Arc;

use rmq_protocol::message::LogPosition;
use rmq_store::{AppendError, PromoteError, ReadError};

use crate::broker::Broker;
use crate::kept;
use crate::work::blocking;

/// Why a replica does not append.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPromoted {
    /// It has the right to append, or has lost what it copies with to a promotion that failed.
    #[error("the broker has no store that copies")]
    NoFollower,
    /// The task that copies has not ended.
    #[error("the log of another master is still being copied")]
    Copies,
    #[error(transparent)]
    Store(#[from] PromoteError),
    /// Queues of delayed messages cannot be looked up.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// By a defect.
    #[error("the promotion ended badly: {0}")]
    Interrupted(String),
}

impl Broker {
    /// Gives this replica the right to append, in an epoch that begins, durably, where its log ends. Returns that position. Nobody copies any
    /// more: every other [`Arc`] of [`Member::follower`](crate::group::Member::follower) is gone. The role stays a replica's, so no request writes
    /// yet; what is not confirmed waits for [`rmq_store::Master::replicated`]; then comes [`ready`](Self::ready).
    ///
    /// # Errors
    /// See [`NotPromoted`]. After all but [`NotPromoted::Copies`] the life is to end.
    pub(crate) async fn promote(&self, epoch: u64) -> Result<LogPosition, NotPromoted> {
        let Some(follower) = self.member.take_follower() else {
            return Err(NotPromoted::NoFollower);
        };
        let follower = Arc::try_unwrap(follower).map_err(|follower| {
            self.member.give_follower(follower);
            NotPromoted::Copies
        })?;
        let promoted = blocking(move || follower.promote(epoch)).await;
        let master = promoted.map_err(|error| NotPromoted::Interrupted(error.to_string()))??;
        let start = LogPosition(master.positions().appended);
        self.store.lead(master);
        self.delay.find_leftover()?;
        Ok(start)
    }

    /// Gets ready to take writes, as the master whose epoch begins at `start`: returns when everything before is confirmed, so that each change builds
    /// on what the masters before have written. Then the role may become a master's.
    ///
    /// # Errors
    /// What was there at the promotion is never confirmed: the life is to end.
    pub(crate) async fn ready(self: &Arc<Self>, start: LogPosition) -> Result<(), AppendError> {
        self.store.settled(start).await?;
        self.clock_watch.take_over(&self.store, &self.delay.table);
        let permission = kept::permission(&self.store, &self.config);
        if permission != self.permission() {
            self.set_permission(permission);
        }
        self.offsets.lead();
        Ok(())
    }
}
