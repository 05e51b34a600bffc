//! A replica copies the log of the master that the machine names.

use std::sync::Arc;

use rmq_election::driver::Handle;
use rmq_election::machine::Master;
use rmq_protocol::message::LogPosition;
use rmq_replication::{End, ReasonKind, ReplicaEvent, Target};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::parted;
use crate::broker::Broker;
use crate::group::follow::{self, Progress};
use crate::group::member::MasterAt;
use crate::role::Role;
use crate::tasks;

/// What copies.
pub(super) struct Copying {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Copying {
    /// Copies from now on. `needs_snapshot` hears when the master's log does not reach back to where this one ends.
    pub(super) fn start(
        broker: Arc<Broker>,
        handle: Handle,
        master: Master,
        client: String,
        epoch: u64,
        needs_snapshot: mpsc::Sender<String>,
    ) -> Self {
        let stop = CancellationToken::new();
        let copies = copy(
            broker,
            handle,
            master,
            client,
            epoch,
            needs_snapshot,
            stop.clone(),
        );
        Self {
            task: tasks::serve(copies),
            stop,
        }
    }

    /// Ends it. When this returns, nothing is copied and nothing is reported any more.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // A panic in there is reported by the runtime.
        let _ = self.task.await;
    }
}

async fn copy(
    broker: Arc<Broker>,
    handle: Handle,
    master: Master,
    client: String,
    epoch: u64,
    needs_snapshot: mpsc::Sender<String>,
    stop: CancellationToken,
) {
    let Some(store) = broker.member.follower() else {
        tracing::error!("this member has no store to copy with; a restart of the broker helps");
        return;
    };
    let at = MasterAt {
        replication: master.replication,
        client,
    };
    let target = Target {
        address: at.replication.clone(),
        member: Some(master.seat.member),
        epoch,
    };
    let (following, mut told) = follow::copying(&broker.member, store, target, stop.clone());
    let mut following = std::pin::pin!(following);
    let mut progress = Progress::default();
    let end = loop {
        tokio::select! {
            end = &mut following => break end,
            Some(event) = told.recv() => {
                let told = async {
                    match &event {
                        ReplicaEvent::Lost { reason } if reason.kind == ReasonKind::Gone => {
                            handle.master_gone(epoch).await;
                        }
                        ReplicaEvent::Connected { epoch: theirs, .. } if *theirs > epoch => {
                            handle.epoch_seen(*theirs).await;
                        }
                        _ => {}
                    }
                };
                // The driver may wait for this to end.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = told => {}
                }
                follow::note((&broker.member, &broker.role), event, &at, &mut progress);
            }
        }
    };
    while let Ok(event) = told.try_recv() {
        follow::note((&broker.member, &broker.role), event, &at, &mut progress);
    }
    broker.role.set(Role::Replica { of: None });
    let may_replace = progress.may_replace(LogPosition(broker.store.positions().appended));
    let needs_one = match end {
        End::Diverged(parting) => parted::give_up(&broker, &handle, *parting, &stop).await,
        end => follow::ended(&broker.member, end, may_replace),
    };
    if needs_one {
        // The receiver may have ended.
        let _ = needs_snapshot.send(at.replication).await;
    }
}
