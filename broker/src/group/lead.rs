//! A master with fixed roles: it serves the replication port, and knows which replicas are in sync.
//!
//! In sync is who is connected, has had all of the log within `replicaLagMs`, and lacks at most `replicaLagBytes` of it (apache/rocketmq
//! `DefaultHAService.inSyncReplicasNums`). The set never shrinks below `minInSync`: then writes are refused, and what is stored stays
//! unconfirmed until a replica is back.

use std::sync::Arc;
use std::time::Duration;

use rmq_config::BrokerConfig;
use rmq_protocol::Seat;
use rmq_protocol::message::LogPosition;
use rmq_replication::{Counts, MasterEvent, Members, ReasonKind, ReplicationConfig, Source};
use rmq_transport::Clock;
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use super::member::Member;
use crate::data::Data;
use crate::tls::Tls;

/// A replica that catches up is looked at this often, milliseconds.
const CLOSE_LOOK_MS: i64 = 20;
/// Replicas in sync are looked at this often, milliseconds.
const LOOK_MS: i64 = 500;

/// What a master leads with.
pub(crate) struct Lead<'a> {
    pub(crate) config: &'a BrokerConfig,
    pub(crate) member: &'a Member,
    pub(crate) store: &'a Data,
    /// By which silence and lag are measured.
    pub(crate) clock: &'a Arc<dyn Clock>,
}

/// How the master copies its log.
pub(crate) fn replication(config: &BrokerConfig, tls: &Arc<Tls>) -> ReplicationConfig {
    ReplicationConfig {
        guard: tls.guard(),
        catch_up_bytes_per_second: config.catch_up_bytes_per_second,
        ..ReplicationConfig::default()
    }
}

/// Serves the replicas until `stop`.
pub(crate) async fn run(lead: Lead<'_>, stop: CancellationToken) {
    let (Some(listener), Ok(master)) = (lead.member.listener(), lead.store.master()) else {
        return stop.cancelled().await;
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("replicas cannot copy, the replication port is not served: {error}");
            return stop.cancelled().await;
        }
    };
    let counts = match lead.member.mode.is_flushed() {
        true => Counts::Flushed,
        false => Counts::Received,
    };
    let clock = Arc::clone(lead.clock);
    let now = move || Duration::from_millis(u64::try_from(clock.monotonic_ms()).unwrap_or(0));
    let told = master.clone();
    let members = Arc::new(Members::new(
        lead.member.identity.seat.member,
        counts,
        Arc::new(now),
        Box::new(move |position| told.replicated(position)),
    ));
    lead.member.lead(Arc::clone(&members));
    let (events, mut told) = unbounded_channel();
    // With fixed roles nobody asks questions of an election.
    let (questions, _) = unbounded_channel();
    let source = Source {
        identity: lead.member.identity.clone(),
        epoch: lead.store.epoch(),
        store: (**lead.store).clone(),
        members: Arc::clone(&members),
        events,
        questions,
    };
    let config = replication(lead.config, &lead.member.tls);
    let serving = rmq_replication::serve(listener, source, config, stop.clone());
    let mut serving = std::pin::pin!(serving);
    let mut look = lead.look(&members);
    loop {
        let pause = async {
            match look {
                Some(ms) => lead.clock.sleep_ms(ms).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = &mut serving => {
                if let Err(error) = ended {
                    tracing::error!("the replication port ended: {error}; replicas copy again after a restart of this broker");
                    stop.cancelled().await;
                }
                return;
            }
            Some(event) = told.recv() => note(event, false),
            () = pause => {}
        }
        look = lead.look(&members);
    }
}

impl Lead<'_> {
    /// Looks who is in sync. Returns when to look again, milliseconds; `None`: when something happens.
    fn look(&self, members: &Members) -> Option<i64> {
        let positions = self.store.positions();
        let confirmed = LogPosition(positions.confirmed);
        let progress = members.progress(LogPosition(positions.appended));
        let lag_max = Duration::from_millis(self.config.replica_lag_ms);
        let seats: Vec<Seat> = progress
            .iter()
            .filter(|one| {
                one.is_connected
                    && one.lag_bytes <= self.config.replica_lag_bytes
                    && one.lag < lag_max
                    && (self.member.is_in_sync(one.seat) || members.has(one.seat, confirmed))
            })
            .map(|one| one.seat)
            .collect();
        let is_enough = seats.len() + 1 >= self.member.in_sync_min;
        if self.member.mode.is_in_sync() && is_enough {
            let mut required = members.required();
            required.sort_unstable();
            let mut wanted = seats.clone();
            wanted.sort_unstable();
            if required != wanted || wanted.is_empty() {
                // Before writes are taken for the first time.
                members.require(&seats);
            }
        }
        let connected = progress.iter().filter(|one| one.is_connected).count();
        let is_close = connected > seats.len();
        self.member.set_in_sync(seats);
        match (connected, is_close) {
            (0, _) => None,
            (_, true) => Some(CLOSE_LOOK_MS),
            (_, false) => Some(LOOK_MS),
        }
    }
}

/// Tells people what happened at the replication port.
/// `is_over`: this member is about to be the master no more, and nobody copies from it any longer.
pub(super) fn note(event: MasterEvent, is_over: bool) {
    match event {
        MasterEvent::Joined { seat, from } => {
            tracing::info!(member = %seat.member, from = from.0, "a replica copies the log");
        }
        MasterEvent::Left { seat, reason } if is_over => {
            tracing::info!(member = %seat.member, "a replica copies no more: {reason}");
        }
        MasterEvent::Left { seat, reason } => {
            tracing::warn!(member = %seat.member, "a replica copies no more: {reason}");
        }
        // The member is about to be the master, or was it.
        MasterEvent::Refused { peer, reason }
            if matches!(reason.kind, ReasonKind::NotMaster | ReasonKind::StaleMaster) =>
        {
            tracing::info!(?peer, "a replica is refused: {reason}");
        }
        MasterEvent::Refused { peer, reason } => {
            tracing::warn!(?peer, "a replica is refused: {reason}");
        }
        MasterEvent::Superseded { by, epoch } => tracing::error!(
            member = %by.member,
            epoch,
            "a member knows a master of a later epoch than this one: with fixed roles two brokers are configured as the master (brokerId 0). Stop one of them"
        ),
        other => tracing::info!("{other:?}"),
    }
}
