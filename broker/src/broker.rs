//! The parts of a broker, and what they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use rmq_access::Accounts;
use rmq_config::BrokerConfig;
use rmq_protocol::bodies::TopicConfig;
use rmq_protocol::message::{UniqueIdGenerator, properties, property};
use rmq_protocol::names;
use rmq_protocol::route::perm;
use rmq_store::{OpenError, SettingsError};
use rmq_transport::{Clock, MemoryBudget, memory_bytes};
use tokio::runtime::Handle;

use crate::access::Access;
use crate::backups::Backups;
use crate::clock_watch::ClockWatch;
use crate::data::Data;
use crate::delay::levels::DelayLevels;
use crate::group::Member;
use crate::group::to_master::ToMaster;
use crate::groups::Groups;
use crate::identity::Identity;
use crate::kept;
use crate::light::LightQueues;
use crate::limits::Limits;
use crate::listeners::LISTENERS;
use crate::locks::QueueLocks;
use crate::offsets::ConsumerOffsets;
use crate::registration::Registrations;
use crate::retention::{self, Retention};
use crate::role::{CurrentRole, Role};
use crate::secrets::{Secrets, Signer};
use crate::sessions::Sessions;
use crate::start::{Deps, StartError};
use crate::stats::Stats;
use crate::stats::requests::Requests;
use crate::tables::Tables;
use crate::tables::acls::AclTable;
use crate::tables::topics::TopicTable;
use crate::tables::users::UserTable;
use crate::topics::{Topic, TopicError, Topics};
use crate::transactions::state::Transactions;
use crate::users::Users;
use crate::waiters::{Waiters, Woken};

/// A running broker's shared state.
pub(crate) struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) limits: Limits,
    /// What connections hold together.
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) identity: Identity,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) connection_clock: Arc<dyn Clock>,
    pub(crate) store: Data,
    /// The broker as a member of its group.
    pub(crate) member: Member,
    /// A replica's, to its master.
    pub(crate) to_master: ToMaster,
    pub(crate) topics: Topics,
    pub(crate) groups: Groups,
    /// Who asks, and whether they may; `None`: everybody may everything.
    pub(crate) access: Option<Access>,
    pub(crate) users: Users,
    /// With what this broker signs what it asks others.
    pub(crate) signer: Option<Signer>,
    pub(crate) light: Arc<LightQueues>,
    pub(crate) sessions: Sessions,
    pub(crate) offsets: ConsumerOffsets,
    pub(crate) locks: QueueLocks,
    pub(crate) delay: DelayLevels,
    pub(crate) transactions: Transactions,
    pub(crate) clock_watch: ClockWatch,
    pub(crate) retention: Retention,
    pub(crate) backups: Backups,
    pub(crate) waiters: Waiters,
    pub(crate) stats: Stats,
    pub(crate) requests: Arc<Requests>,
    pub(crate) registrations: Registrations,
    pub(crate) unique_ids: UniqueIdGenerator,
    /// `MSG_REGION`, `CLUSTER` and `TRACE_ON` as every stored message ends.
    pub(crate) property_suffix: String,
    pub(crate) started_ms: i64,
    /// Why the fast port is not served although it shall be.
    pub(crate) fast_port_problem: Option<String>,
    pub(crate) started_monotonic_ms: i64,
    pub(crate) role: CurrentRole,
    permission: AtomicI32,
    /// Open connections of each of [`LISTENERS`].
    pub(crate) open: [AtomicU64; LISTENERS.len()],
    next_queue: AtomicU32,
    stopping: AtomicBool,
    pub(crate) runtime: Handle,
}

impl Broker {
    /// The tables that the store is opened with.
    pub(crate) fn tables(config: &BrokerConfig, secrets: &Secrets, now_ms: i64) -> Tables {
        let accounts = Arc::new(Accounts::default());
        for user in &secrets.users {
            accounts.configure(user.clone());
        }
        let delays = config.delays_ms();
        let system = Topics::system(
            &config.cluster_name,
            &config.broker_name,
            config.auto_create_topic,
            delays.len() as i32,
        );
        Tables {
            topics: Arc::new(TopicTable::new(system, now_ms)),
            groups: Groups::table_with_builtin(now_ms),
            offsets: Arc::default(),
            delay: Arc::default(),
            waiting: Arc::default(),
            half: Arc::default(),
            users: Arc::new(UserTable::new(
                secrets.sealing.clone(),
                Arc::clone(&accounts),
            )),
            acls: Arc::new(AclTable::new(accounts)),
        }
    }

    /// Puts the parts together around a store that was opened with `tables`.
    pub(crate) fn assemble(
        config: BrokerConfig,
        deps: Deps,
        store: Data,
        member: Member,
        (tables, secrets): (Tables, &Secrets),
        identity: Identity,
        fast_port_problem: Option<String>,
    ) -> Result<Arc<Self>, StartError> {
        let unreadable = |source| StartError::Store {
            dir: config.data_dir.clone(),
            source: OpenError::Read(source),
        };
        let now = deps.clock.now_ms();
        let role = match store.master() {
            Ok(_) => Role::Master {
                epoch: store.epochs().last().map_or(0, |epoch| epoch.number),
            },
            Err(_) => Role::Replica { of: None },
        };
        let delays = config.delays_ms();
        let mut suffix = properties::Builder::new();
        suffix.push(property::MSG_REGION, &config.region);
        suffix.push(property::CLUSTER, &config.cluster_name);
        suffix.push(property::TRACE_ON, "true");
        let limits = Limits::of(&config);
        let light = Arc::new(LightQueues::new(&store, &config));
        Ok(Arc::new(Self {
            limits,
            memory: MemoryBudget::new(memory_bytes(config.memory_bytes), config.connections_max),
            topics: Topics::open(&store, tables.topics, limits, &light).map_err(unreadable)?,
            groups: Groups::new(
                &store,
                tables.groups,
                config.auto_create_subscription_group,
                limits,
                &light,
            ),
            access: Access::of(&config, tables.users.accounts()),
            users: Users::new(&store, tables.users, tables.acls, limits),
            signer: secrets.signer.clone(),
            light,
            sessions: Sessions::default(),
            offsets: ConsumerOffsets::new(&store, tables.offsets),
            locks: QueueLocks::default(),
            clock_watch: ClockWatch::load(&store, &tables.delay, Arc::clone(&deps.clock)),
            delay: DelayLevels::load(&store, tables.delay, tables.waiting, &delays)
                .map_err(unreadable)?,
            transactions: Transactions::load(&store, tables.half, &config).map_err(unreadable)?,
            retention: Retention::new(config.clock_settle_minutes),
            backups: Backups::new(
                config.backups_max,
                i64::try_from(config.backup_idle_ms).unwrap_or(i64::MAX),
            ),
            waiters: Waiters::default(),
            stats: Stats::new(deps.clock.monotonic_ms(), now),
            requests: Arc::new(Requests::new(Arc::clone(&deps.clock))),
            open: [AtomicU64::new(0), AtomicU64::new(0)],
            to_master: ToMaster::new(Arc::clone(&member.tls)),
            registrations: Registrations::new(
                config.name_server_list(),
                config.look_up_name_servers,
                match member.elected.is_some() {
                    true => member.replica_id(member.identity.seat.member),
                    false => config.broker_id,
                },
                Arc::clone(&member.tls),
            ),
            unique_ids: UniqueIdGenerator::new(
                identity.store_host.ip(),
                std::process::id(),
                now as u32,
            ),
            property_suffix: suffix.finish(),
            started_ms: now,
            fast_port_problem,
            role: CurrentRole::new(role),
            started_monotonic_ms: deps.clock.monotonic_ms(),
            permission: AtomicI32::new(kept::permission(&store, &config)),
            next_queue: AtomicU32::new(now as u32),
            stopping: AtomicBool::new(false),
            runtime: Handle::current(),
            clock: deps.clock,
            connection_clock: deps.connection_clock,
            store,
            member,
            identity,
            config,
        }))
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Milliseconds of the clock that measures how long something takes.
    pub(crate) fn monotonic_ms(&self) -> i64 {
        self.clock.monotonic_ms()
    }

    /// The same clock in nanoseconds.
    pub(crate) fn monotonic_ns(&self) -> i64 {
        self.clock.monotonic_us().saturating_mul(1_000)
    }

    /// What a round of retention looks at.
    pub(crate) fn retention_parts(&self) -> retention::Parts<'_> {
        retention::Parts {
            store: &self.store,
            clock: &self.clock_watch,
            delayed: &self.delay,
            transactions: &self.transactions,
            copied_from: self.backups.needed_from(self.connection_now_ms()),
        }
    }

    /// Puts the progress of consumers and the jumps of the clock into the log; at the `end` of a life also how late the clock is.
    ///
    /// # Errors
    /// The first failure. The others are tried nevertheless.
    pub(crate) fn save_progress(&self, end: bool) -> Result<(), SettingsError> {
        let saved = [self.offsets.save(), self.clock_watch.save(&self.store, end)];
        saved.into_iter().collect()
    }

    /// Takes the samples of statistics whose time has come.
    pub(crate) fn catch_up(&self) {
        self.stats.catch_up(self.monotonic_ms(), self.now_ms());
    }

    /// How long the broker has run, milliseconds.
    pub(crate) fn uptime_ms(&self) -> i64 {
        self.monotonic_ms() - self.started_monotonic_ms
    }

    /// Monotonic milliseconds of the connections' clock: heartbeats, locks.
    pub(crate) fn connection_now_ms(&self) -> i64 {
        self.connection_clock.monotonic_ms()
    }

    pub(crate) fn permission(&self) -> i32 {
        self.permission.load(Ordering::Relaxed)
    }

    /// Allows or forbids from now on: name servers are told at once, pulls that wait are asked again.
    pub(crate) fn set_permission(self: &Arc<Self>, permission: i32) {
        self.permission.store(permission, Ordering::Relaxed);
        self.topics.touch(self.now_ms());
        if !perm::is_readable(permission) {
            for waiter in self.waiters.take_of(None) {
                waiter.wake(Woken::Arrived);
            }
        }
    }

    /// Whether this is a replica without a connection to a master now.
    pub(crate) fn is_without_master(&self) -> bool {
        !self.role.leads() && self.member.followed.master().is_none()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// From now on requests are refused, and nothing waits any more.
    pub(crate) fn stops(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// A queue for a message that names none.
    pub(crate) fn random_queue(&self, queues: i32) -> i32 {
        let next = self.next_queue.fetch_add(1, Ordering::Relaxed);
        (next % u32::try_from(queues.max(1)).unwrap_or(1)) as i32
    }

    /// Where the retries of a group wait; made when it is missing.
    pub(crate) fn retry_topic(&self, group: &str, queues: i32) -> Result<Arc<Topic>, TopicError> {
        self.group_topic(names::retry_topic(group), queues)
    }

    /// Where the dead letters of a group go; made when it is missing.
    pub(crate) fn dead_letter_topic(&self, group: &str) -> Result<Arc<Topic>, TopicError> {
        self.group_topic(names::dlq_topic(group), 1)
    }

    fn group_topic(&self, name: String, queues: i32) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topics.get(&name) {
            return Ok(topic);
        }
        let config = TopicConfig {
            perm: perm::READ | perm::WRITE,
            // The limit may have been lowered since the group was made.
            ..TopicConfig::new(name, queues.clamp(1, self.limits.queues_per_topic))
        };
        self.topics.create_now(config)
    }

    /// Does work of a request on a thread that may wait. The connection of the request waits for the answer, and no task of the broker does.
    pub(crate) fn run_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.runtime.spawn_blocking(work);
    }

    /// As [`run_blocking`](Self::run_blocking), for work that waits for other work.
    pub(crate) fn run_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}
