//! What a broker knows of its group.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use rmq_config::{AckMode, BrokerConfig};
use rmq_election::driver::Clock;
use rmq_protocol::message::LogPosition;
use rmq_protocol::{MemberId, Seat};
use rmq_replication::{Fetched, Followed, Greeting, Identity, MemberProgress, Members, Reason};
use rmq_store::{AppendError, Follower, Store};
use tokio::sync::{oneshot, watch};

use super::acks::Acks;
use super::elected::state::Elected;
use super::repairs::Repairs;
use super::term::Term;
use crate::listeners;
use crate::tls::Tls;

/// Too few members are in sync for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "too few members of the group are in sync: {in_sync} of {min} (minInSync), the master counted; nothing is stored until enough replicas have caught up. Send again later"
)]
pub(crate) struct TooFewInSync {
    pub(crate) in_sync: usize,
    pub(crate) min: usize,
}

/// Where the master of the group is, as name servers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MasterAt {
    /// Its replication port, `host:port`; empty when it has none.
    pub(crate) replication: String,
    /// Where clients reach it, `host:port`.
    pub(crate) client: String,
}

/// What a replica needs to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeedsSnapshot {
    /// The replication port of the master, `host:port`.
    pub(crate) master: String,
    /// Who asks for it, and where its log ends.
    pub(crate) greeting: Greeting,
}

/// Why a replica copies no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stuck {
    /// A person decides which of the two logs is right.
    #[error("this replica copies no more, its log is another one than its master's: {0}")]
    Diverged(Reason),
    /// A snapshot of the master takes the place of the log.
    #[error("this replica takes a snapshot of its master: {0}")]
    NeedsSnapshot(Reason),
}

impl Stuck {
    /// The code of the finding.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Diverged(_) => "diverged",
            Self::NeedsSnapshot(_) => "needsSnapshot",
        }
    }
}

/// This broker as a member of its group.
pub(crate) struct Member {
    /// Who it is.
    pub(crate) identity: Identity,
    /// What an acknowledgement promises.
    pub(crate) mode: AckMode,
    /// Members that have to be in sync for a write, the master counted.
    pub(crate) in_sync_min: usize,
    /// The group's election, if it has one.
    pub(crate) elected: Option<Arc<Elected>>,
    /// Until when this member may answer as the master.
    pub(crate) term: Term,
    /// Acknowledgements that wait for replicas.
    pub(crate) acks: Acks,
    /// Where other members copy, `host:port`; empty: nowhere.
    pub(crate) replication_addr: String,
    listener: Option<TcpListener>,
    /// What a replica copies with; `None` from a promotion on.
    follower: Mutex<Option<Arc<Follower>>>,
    /// How far a replica is.
    pub(crate) followed: Arc<Followed>,
    master_at: watch::Sender<Option<MasterAt>>,
    /// A replica does not continue without one.
    needs_snapshot: watch::Sender<Option<NeedsSnapshot>>,
    /// Why this replica copies no more; `None` while it copies, or tries to.
    pub(crate) stuck: Mutex<Option<Stuck>>,
    /// What was repaired in the log.
    pub(crate) repairs: Arc<Repairs>,
    /// With what members connect.
    pub(crate) tls: Arc<Tls>,
    members: RwLock<Option<Arc<Members>>>,
    /// Writes are refused. For the message path.
    is_below_min: AtomicBool,
    in_sync: AtomicUsize,
    in_sync_seats: Mutex<Vec<Seat>>,
}

impl Member {
    /// The member that has `store`; `follower` when it is a replica. `listener` is the replication port, to be served by a master with fixed
    /// roles, and `replication_addr` where others reach it. `elected`: the election, and who this member is there.
    pub(crate) fn new(
        (config, clock, repairs, tls): (&BrokerConfig, Arc<dyn Clock>, Arc<Repairs>, Arc<Tls>),
        store: &Store,
        elected: Option<(Arc<Elected>, Seat)>,
        follower: Option<Arc<Follower>>,
        listener: Option<TcpListener>,
        replication_addr: String,
    ) -> Self {
        let in_sync_min = config.in_sync_min();
        let mode = config.ack_mode;
        let seat = match &elected {
            Some((_, seat)) => *seat,
            None => Seat {
                member: MemberId(u64::try_from(config.broker_id).unwrap_or(0)),
                incarnation: store.incarnation(),
            },
        };
        let counts_itself = mode.is_in_sync() && elected.is_none();
        Self {
            identity: Identity {
                cluster: config.cluster_name.clone(),
                group: config.broker_name.clone(),
                seat,
                segment_bytes: config.segment_bytes,
            },
            mode,
            in_sync_min,
            acks: Acks::new(
                mode.is_in_sync()
                    .then(|| i64::try_from(config.ack_timeout_ms).unwrap_or(i64::MAX)),
            ),
            elected: elected.map(|(elected, _)| elected),
            term: Term::new(clock),
            replication_addr,
            listener,
            follower: Mutex::new(follower),
            followed: Arc::default(),
            master_at: watch::Sender::new(None),
            needs_snapshot: watch::Sender::new(None),
            stuck: Mutex::default(),
            repairs,
            tls,
            members: RwLock::new(None),
            is_below_min: AtomicBool::new(counts_itself && in_sync_min > 1),
            in_sync: AtomicUsize::new(1),
            in_sync_seats: Mutex::default(),
        }
    }

    /// The replication port, to be served.
    pub(super) fn listener(&self) -> Option<std::io::Result<tokio::net::TcpListener>> {
        self.listener.as_ref().map(listeners::copy)
    }

    /// What a replica copies with. A promotion waits until nobody has it.
    pub(crate) fn follower(&self) -> Option<Arc<Follower>> {
        self.follower.lock().clone()
    }

    /// As [`follower`](Self::follower), for a promotion.
    pub(crate) fn take_follower(&self) -> Option<Arc<Follower>> {
        self.follower.lock().take()
    }

    /// Undoes [`take_follower`](Self::take_follower).
    pub(crate) fn give_follower(&self, follower: Arc<Follower>) {
        *self.follower.lock() = Some(follower);
    }

    /// The replicas of this master from now on.
    pub(super) fn lead(&self, members: Arc<Members>) {
        *self.members.write() = Some(members);
    }

    /// These are in sync, and this master.
    pub(super) fn set_in_sync(&self, seats: Vec<Seat>) {
        let in_sync = seats.len() + 1;
        self.in_sync.store(in_sync, Ordering::Relaxed);
        // With an election the writes are opened and closed by it.
        let is_below =
            self.elected.is_none() && self.mode.is_in_sync() && in_sync < self.in_sync_min;
        if self.is_below_min.swap(is_below, Ordering::AcqRel) != is_below {
            match is_below {
                true => tracing::warn!(
                    in_sync,
                    min = self.in_sync_min,
                    "too few members are in sync (minInSync): writes are refused, reads continue"
                ),
                false => tracing::info!(in_sync, "enough members are in sync: writes are taken"),
            }
        }
        *self.in_sync_seats.lock() = seats;
    }

    /// Members in sync, the master counted.
    pub(crate) fn in_sync(&self) -> usize {
        self.in_sync.load(Ordering::Relaxed)
    }

    /// Whether this replica of the master is in sync.
    pub(crate) fn is_in_sync(&self, seat: Seat) -> bool {
        self.in_sync_seats.lock().contains(&seat)
    }

    /// Whether the replica with this broker id is in sync.
    pub(crate) fn has_in_sync(&self, broker_id: i64) -> bool {
        let seats = self.in_sync_seats.lock();
        let mut ids = seats.iter().map(|seat| self.replica_id(seat.member));
        ids.any(|id| id == broker_id)
    }

    /// The id under which a member is registered that is not the master. With an election the id never is 0, which is the master's.
    pub(crate) fn replica_id(&self, member: MemberId) -> i64 {
        let shift = i64::from(self.elected.is_some());
        i64::try_from(member.0).map_or(i64::MAX, |id| id.saturating_add(shift))
    }

    /// Whether messages may be stored. One load: a request may ask.
    ///
    /// # Errors
    /// Too few members are in sync.
    pub(crate) fn check_writes(&self) -> Result<(), TooFewInSync> {
        if !self.is_below_min.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(TooFewInSync {
            in_sync: self.in_sync(),
            min: self.in_sync_min,
        })
    }

    /// Where the replicas of this master are. `end` is where its log ends.
    pub(crate) fn progress(&self, end: LogPosition) -> Vec<MemberProgress> {
        let members = self.members.read();
        let progress = members.as_ref().map(|members| members.progress(end));
        progress.unwrap_or_default()
    }

    /// Who can be asked for the log from one position to another: the master, or the replicas of this master that are in sync.
    pub(super) fn holders(&self, from: LogPosition, to: LogPosition) -> Vec<Seat> {
        let members = self.members.read();
        let Some(members) = &*members else {
            return self.followed.master().into_iter().collect();
        };
        let progress = members.progress(to).into_iter();
        let has = |one: &MemberProgress| {
            one.is_connected && one.begin <= from && one.received >= to && self.is_in_sync(one.seat)
        };
        progress.filter(has).map(|one| one.seat).collect()
    }

    /// Asks one of them.
    pub(super) fn fetch(
        &self,
        seat: Seat,
        from: LogPosition,
        to: LogPosition,
    ) -> oneshot::Receiver<Fetched> {
        match &*self.members.read() {
            Some(members) => members.fetch(seat, from, to),
            None => self.followed.fetch(from, to),
        }
    }

    /// Why what ends at `end` is not confirmed.
    pub(crate) fn why_late(&self, end: LogPosition) -> AppendError {
        let members = self.members.read();
        let missing = members.as_ref().map(|members| members.missing(end));
        let missing = missing.unwrap_or_default();
        let progress = members.as_ref().map(|members| members.progress(end));
        let is_connected = |id: &MemberId| {
            let mut all = progress.iter().flatten();
            all.any(|member| member.seat.member == *id && member.is_connected)
        };
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let names = match names.is_empty() {
            true => "any replica in sync".to_owned(),
            false => format!("member {}", names.join(", member ")),
        };
        AppendError::NotReplicated {
            reason: names.into(),
            is_away: !missing.iter().any(is_connected),
        }
    }

    /// This replica does not continue without a snapshot.
    pub(super) fn need_snapshot(&self, needed: NeedsSnapshot) {
        self.needs_snapshot.send_replace(Some(needed));
    }

    /// Waits until this replica does not continue without a snapshot.
    pub(super) async fn needs_snapshot(&self) -> Option<NeedsSnapshot> {
        let mut needs = self.needs_snapshot.subscribe();
        let needed = needs.wait_for(Option::is_some).await;
        needed.ok().and_then(|needed| needed.clone())
    }

    /// A name server says where the master is.
    pub(crate) fn heard_master(&self, at: MasterAt) {
        self.master_at.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&at);
            *known = Some(at);
            is_new
        });
    }

    /// Where the master is, as name servers say.
    pub(crate) fn master_at(&self) -> watch::Receiver<Option<MasterAt>> {
        self.master_at.subscribe()
    }
}
