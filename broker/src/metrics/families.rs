//! Every family that a broker tells, with its meaning. The page docs/reference/metrics.md is made of this table.

use rmq_access::Refusals;
use rmq_process::{Family, FamilyKind};
use rmq_store::{SYNC_BOUNDS_US, StoreHealth};

use super::read::{
    authentication_failures, certificates, connections, consumers, dead_letters, ends,
    finish_latency, half_messages, handshakes, lag, lag_seconds, load, of_access, of_groups,
    of_topics, producers, quotas, refusals, requests, storage,
};
use super::replication::{
    connected, epoch, findings, in_sync, in_sync_min, lag_bytes, lag_time, possibly_lost,
    unconfirmed, without_master, writes_closed,
};
use super::samples::{Histogram, Metric};
use super::timers;
use crate::stats;

macro_rules! metrics {
    ($($kind:ident $name:literal, $unit:literal, [$($label:literal),*], $help:literal, $question:literal, $read:expr;)*) => {
        pub(super) const METRICS: &[Metric] = &[$(Metric {
            family: Family {
                name: $name,
                kind: metrics!(@kind $kind),
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
                question: $question,
            },
            read: $read,
        }),*];
    };
    (@kind counter) => { FamilyKind::Counter };
    (@kind gauge) => { FamilyKind::Gauge };
    (@kind histogram) => { FamilyKind::Histogram };
}

metrics! {
    counter "rocketmq_messages_in", "messages", ["topic", "message_type", "is_system"],
        "Messages stored",
        "How much is produced, and into which topic?",
        |broker, out| of_topics(broker, out, stats::MESSAGES);
    counter "rocketmq_throughput_in", "bytes", ["topic", "message_type", "is_system"],
        "Bytes stored",
        "Which topic brings the load?",
        |broker, out| of_topics(broker, out, stats::BYTES);
    counter "rocketmq_messages_out", "messages", ["topic", "consumer_group", "is_retry", "is_system"],
        "Messages delivered, by consumer group",
        "Does the group receive messages? Does it keep up with what is produced?",
        |broker, out| of_groups(broker, out, |(messages, _)| messages);
    counter "rocketmq_throughput_out", "bytes", ["topic", "consumer_group", "is_retry", "is_system"],
        "Bytes delivered, by consumer group",
        "Which group takes the bandwidth?",
        |broker, out| of_groups(broker, out, |(_, bytes)| bytes);
    counter "rocketmq_send_to_dlq_messages", "messages", ["topic", "consumer_group", "is_system"],
        "Messages given up and put among the dead letters",
        "Does a consumer give messages up for good?",
        dead_letters;
    gauge "rocketmq_consumer_lag_messages", "messages", ["topic", "consumer_group", "is_retry", "is_system"],
        "Messages that a group has not yet confirmed",
        "How many messages is the group behind?",
        lag;
    gauge "rocketmq_consumer_lag_seconds", "seconds", ["topic", "consumer_group", "is_retry", "is_system"],
        "Age of the oldest message that a group has not yet confirmed, 0 when there is none",
        "How late is the group?",
        lag_seconds;
    gauge "rocketmq_quota_limit", "messages or bytes a second", ["resource", "name", "limit"],
        "Quotas of topics and groups, a second at this broker; resource is topic or group, limit is the attribute",
        "Which topics and groups have quotas?",
        |broker, out| quotas(broker, out, |(_, rate, _)| rate);
    counter "rocketmq_quota_refusals", "requests", ["resource", "name", "limit"],
        "Sends and pulls that were refused because a quota was used up",
        "Does a quota slow its clients down?",
        |broker, out| quotas(broker, out, |(_, _, refused)| refused);
    gauge "rocketmq_broker_permission", "bits", [],
        "6 read and write, 4 read, 2 write",
        "Does the broker take messages (2) and give them (4)? After a drain the value is 4.",
        |broker, out| out.one(f64::from(broker.permission()));
    gauge "rocketmq_registration_rivals", "name servers", [],
        "Name servers at which another broker has this broker's name and id",
        "Do two brokers fight for one name?",
        |broker, out| out.one(broker.registrations.rivals().len() as f64);
    gauge "rocketmq_connection_memory_bytes", "bytes", [],
        "Bytes that connections hold beyond their small allowances: received in part, and waiting to be sent",
        "How near are connections to their bound of memory?",
        |broker, out| out.one(broker.memory.usage().held() as f64);
    gauge "rocketmq_connection_memory_limit_bytes", "bytes", [],
        "The bound of rocketmq_connection_memory_bytes (memoryBytes); each half is for one direction",
        "What is that bound?",
        |broker, out| out.one(broker.memory.usage().bound() as f64);
    gauge "rocketmq_connection_memory_waiting", "connections and answers", [],
        "Connections and answers that wait because connections hold too much memory",
        "Are clients slowed because connections hold too much memory?",
        |broker, out| out.one(broker.memory.usage().waiting() as f64);
    gauge "rocketmq_tls_certificate_not_after_seconds", "seconds", ["use"],
        "When a certificate in use ends, Unix time; use is server or client",
        "Does a certificate end soon? Alert on the difference to time().",
        certificates;
    gauge "rocketmq_tls_certificate_stale", "1", [],
        "1 while the files of the certificate cannot be used and an older one is; the log says why",
        "Did a new certificate not arrive?",
        |broker, out| {
            if let Some(tls) = broker.member.tls.ports() {
                out.one(f64::from(u8::from(tls.status().is_stale)));
            }
        };
    counter "rocketmq_tls_handshakes", "handshakes", ["result"],
        "TLS handshakes: full, resumed (a session was continued), failed",
        "Do clients fail to connect with TLS? Do they connect again and again?",
        handshakes;
    gauge "rocketmq_topic_number", "topics", [],
        "Topics",
        "How near is the broker to topicsMax? Do topics appear that nobody ordered?",
        |broker, out| out.one(broker.topics.len() as f64);
    gauge "rocketmq_consumer_group_number", "groups", [],
        "Subscription groups",
        "How near is the broker to groupsMax?",
        |broker, out| out.one(broker.groups.len() as f64);
    gauge "rocketmq_producer_connections", "connections", ["language", "version", "protocol_type"],
        "Connected producers",
        "Which clients of which versions produce?",
        producers;
    gauge "rocketmq_consumer_connections", "connections", ["consumer_group", "language", "version", "consume_mode", "protocol_type", "is_system"],
        "Connected consumers",
        "Is the group online, and with how many members? 0 for a group that is offline.",
        consumers;
    gauge "rocketmq_storage_size_bytes", "bytes", ["storage_type", "storage_medium"],
        "Bytes of log and index on the disk",
        "How fast does the data grow?",
        |broker, out| {
            let stats = broker.store.stats();
            storage(out, stats.log_bytes as f64 + stats.index_bytes as f64);
        };
    gauge "rocketmq_storage_flush_behind_bytes", "bytes", ["storage_type", "storage_medium"],
        "Bytes written and not yet durable",
        "How much would a power cut lose with async flush?",
        |broker, out| {
            let positions = broker.store.positions();
            storage(
                out,
                positions.written.saturating_sub(positions.flushed) as f64,
            );
        };
    gauge "rocketmq_storage_dispatch_behind_bytes", "bytes", ["storage_type", "storage_medium"],
        "Bytes written that the index does not know yet",
        "Do consumers see late what is written already?",
        |broker, out| {
            let positions = broker.store.positions();
            storage(
                out,
                positions.written.saturating_sub(positions.dispatched) as f64,
            );
        };
    gauge "rocketmq_storage_message_reserve_time_milliseconds", "milliseconds", ["storage_type", "storage_medium"],
        "Age of the oldest message",
        "How far back can consumers read?",
        |broker, out| {
            storage(
                out,
                broker
                    .store
                    .stats()
                    .oldest_ms
                    .map_or(0.0, |oldest| (broker.now_ms() - oldest).max(0) as f64),
            );
        };
    gauge "rocketmq_storage_held_bytes", "bytes", ["storage_type", "storage_medium"],
        "Bytes of segments that stay beyond their time for delayed and half messages in them",
        "Do delayed messages or open transactions keep the disk from being freed?",
        |broker, out| storage(out, load(&broker.retention.held_bytes));
    counter "rocketmq_delayed_messages_dropped", "messages", [],
        "Delayed messages that came due after their topic had been deleted",
        "Were messages lost with the topic that they waited for?",
        |broker, out| out.one(load(&broker.delay.dropped));
    gauge "rocketmq_timing_messages", "messages", ["topic"],
        "Messages that wait for a timer",
        "How many messages of the topic wait for their time?",
        |broker, out| timers::of_topics(broker, out, |of| of.waiting.max(0) as f64);
    gauge "rocketmq_timer_message_snapshot", "messages", ["timer_bound_s"],
        "Messages that wait for a timer, by the span of time from now in which they are due, up to its end in seconds",
        "How much comes due soon?",
        timers::snapshot;
    counter "rocketmq_timer_enqueue", "messages", ["topic", "storage_type", "storage_medium"],
        "Messages that began to wait for a timer",
        "Which topic uses timers?",
        |broker, out| timers::of_storage(broker, out, |of| of.begun as f64);
    counter "rocketmq_timer_dequeue", "messages", ["topic", "storage_type", "storage_medium"],
        "Messages that wait for a timer no more: delivered, recalled or dropped",
        "Are timers delivered?",
        |broker, out| timers::of_storage(broker, out, |of| of.ended as f64);
    gauge "rocketmq_timer_enqueue_lag", "messages", ["storage_type", "storage_medium"],
        "Messages that have no place in the order of time yet: always 0, as the order follows from the log",
        "For dashboards of Apache RocketMQ.",
        timers::none;
    gauge "rocketmq_timer_enqueue_latency_milliseconds", "milliseconds", ["storage_type", "storage_medium"],
        "How long such messages wait for a place: always 0",
        "For dashboards of Apache RocketMQ.",
        timers::none;
    gauge "rocketmq_timer_dequeue_lag", "messages", ["storage_type", "storage_medium"],
        "Messages whose timer is over, to the second, and that are not delivered",
        "Does the broker keep up with what comes due?",
        timers::late_messages;
    gauge "rocketmq_timer_dequeue_latency_milliseconds", "milliseconds", ["storage_type", "storage_medium"],
        "How late the first of them is",
        "How late do timers come?",
        timers::late_ms;
    gauge "rocketmq_half_messages", "messages", ["topic"],
        "Half messages whose transactions have not ended, by the topic that they are for",
        "Do producers end their transactions?",
        half_messages;
    gauge "rocketmq_parked_transactions", "messages", [],
        "Half messages whose producers gave no answer to the last check; they lie in TRANS_CHECK_MAX_TIME_TOPIC",
        "Is there a transaction that somebody must decide about? Any value but 0 wakes somebody up.",
        |broker, out| out.one(broker.transactions.table.counts().1 as f64);
    counter "rocketmq_commit_messages", "messages", ["topic"],
        "Half messages that were committed",
        "How many transactions succeed?",
        |broker, out| ends(broker, out, |ends| load(&ends.commits));
    counter "rocketmq_rollback_messages", "messages", ["topic"],
        "Half messages that were rolled back",
        "How many transactions fail?",
        |broker, out| ends(broker, out, |ends| load(&ends.rollbacks));
    histogram "rocketmq_finish_message_latency_seconds", "seconds", ["topic"],
        "From when a half message was stored until it was committed",
        "Do transactions take longer than transactionTimeOut, so that producers are asked?",
        finish_latency;
    counter "rocketmq_clock_jumps", "jumps", ["direction"],
        "Jumps of the system's clock since the start",
        "Is the clock of the machine set by leaps?",
        |broker, out| {
            let watch = &broker.clock_watch;
            for (direction, counter) in [("ahead", &watch.jumps_ahead), ("back", &watch.jumps_back)]
            {
                out.with(vec![("direction", direction.to_owned())], load(counter));
            }
        };
    gauge "rocketmq_build_info", "1", ["version"],
        "1, with the version as label",
        "Which versions run?",
        |_, out| out.with(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0);
    gauge "rocketmq_broker_role", "1", ["role"],
        "1 for the role that this broker has",
        "Which broker is the master?",
        |broker, out| out.with(vec![("role", broker.role.get().label().to_owned())], 1.0);
    gauge "rocketmq_broker_epoch", "masters", [],
        "The number of the master that this broker is, or follows; it rises with each new master of the group",
        "Has another member become the master?",
        epoch;
    gauge "rocketmq_in_sync_replicas", "members", [],
        "Members in sync, the master counted; only the master has it",
        "How many members may fail before an acknowledged message is lost?",
        in_sync;
    gauge "rocketmq_min_in_sync_replicas", "members", [],
        "Below so many members in sync the master refuses messages (minInSync); only the master has it",
        "How near is the group to refusing messages?",
        in_sync_min;
    gauge "rocketmq_writes_closed", "0 or 1", [],
        "1 while a master refuses messages because of its group: too few members in sync, or a switchover; replicas have 0",
        "Does the group take messages? 1 for long wakes somebody up.",
        writes_closed;
    gauge "rocketmq_without_master", "0 or 1", [],
        "1 at a replica that has no connection to a master",
        "Does this replica copy? 1 at all replicas of a group: the group has no master.",
        without_master;
    gauge "rocketmq_unconfirmed_bytes", "bytes", [],
        "Bytes of the log that are stored here and not confirmed: consumers do not see them yet",
        "Do acknowledgements wait for replicas or disks?",
        unconfirmed;
    gauge "rocketmq_replication_lag_bytes", "bytes", ["member"],
        "Bytes of the master's log that a member has not received; a master has a series for each replica, a replica its own",
        "Which replica is behind, and does it come nearer?",
        lag_bytes;
    gauge "rocketmq_replication_lag_seconds", "seconds", ["member"],
        "Since when a member has not had all of the master's log; only the master has it",
        "Which replica is about to fall out of the in-sync set (replicaLagMs)?",
        lag_time;
    gauge "rocketmq_replication_connected", "0 or 1", ["member"],
        "1 while the member is connected to this broker; a master has a series for each replica that it knows",
        "Which replica is away?",
        connected;
    gauge "rocketmq_possibly_lost_epoch", "masters", [],
        "The number of the newest master with whom acknowledged messages may have been lost, by an election that had no better member or that a person ordered; 0 when there is none",
        "Were acknowledged messages lost? Any value but 0 wakes somebody up.",
        possibly_lost;
    gauge "rocketmq_group_findings", "findings", ["severity"],
        "What is not as it should be with the broker's group, as rmq-ctl broker replication lists it",
        "What is wrong with the group? severity error wakes somebody up.",
        findings;
    gauge "rocketmq_store_writable", "0 or 1", [],
        "1 while the store takes messages, 0 when the disk is full or failed",
        "Does the broker take messages? 0 wakes somebody up.",
        |broker, out| {
            out.one(f64::from(u8::from(
                broker.store.health() == StoreHealth::Writable,
            )))
        };
    gauge "rocketmq_store_recovery_seconds", "seconds", [],
        "How long the last recovery took",
        "How long did the last start read the log?",
        |broker, out| out.one(broker.store.stats().recovery_took.as_secs_f64());
    gauge "rocketmq_store_damaged_ranges", "ranges", [],
        "Parts of the log whose checksums are wrong",
        "Is the disk damaged?",
        |broker, out| out.one(broker.store.damage().len() as f64);
    counter "rocketmq_store_mended_ranges", "ranges", [],
        "Damaged parts of the log that were written again, in part at least, with what another member of the group has",
        "Does the group repair what the disk damages? A disk that needs it again and again is to be replaced.",
        |broker, out| out.one(load(&broker.member.repairs.mended_ranges));
    counter "rocketmq_store_cut_messages", "messages", [],
        "Messages that this member had at the end of its log and the new master of the group has not: they were cut off, and are kept in the folder quarantine",
        "Which messages were lost in a failover? With ackMode memory and flushed they had been acknowledged.",
        |broker, out| out.one(load(&broker.member.repairs.cut_messages));
    gauge "rocketmq_disk_free_ratio", "0 to 1", [],
        "Free share of the disk, 0 to 1",
        "When is the disk full? Messages are refused above diskFullRatio.",
        |broker, out| out.one(1.0 - broker.store.stats().space.used_ratio());
    counter "rocketmq_rejected_requests", "requests", ["reason"],
        "Requests that were refused, by the code of the answer",
        "What do clients ask for in vain, and why is it refused?",
        refusals;
    counter "rocketmq_authentication_failures", "requests", ["reason"],
        "Requests whose sender was not known (authenticationEnabled), by reason",
        "Does somebody try passwords? Does a client have an old one?",
        authentication_failures;
    counter "rocketmq_authentication_delays", "answers", [],
        "Answers to such requests that were delayed because their address had failed too often (authenticationFailuresPerSecond)",
        "Does one address fail again and again?",
        |broker, out| of_access(broker, out, Refusals::delayed);
    counter "rocketmq_authorization_refusals", "requests", [],
        "Requests of known users who may not (authorizationEnabled)",
        "Does a client lack a right?",
        |broker, out| of_access(broker, out, Refusals::denied);
    gauge "rocketmq_user_number", "users", [],
        "Users, with those of the configuration",
        "How near is the broker to usersMax?",
        |broker, out| out.one(broker.users.len() as f64);
    histogram "rocketmq_rpc_latency_seconds", "seconds", ["request_code"],
        "From when a request was read until its answer was ready; pulls that wait for messages are left out",
        "How long do clients wait for the broker? Is the broker slow, or the network?",
        requests;
    histogram "rocketmq_storage_sync_seconds", "seconds", [],
        "How long making the log durable took (fdatasync)",
        "Is the disk slow? With sync flush every send waits for it.",
        |broker, out| {
            let syncs = broker.store.syncs();
            let took = Histogram::of(&SYNC_BOUNDS_US, &syncs.counts, syncs.sum_us, 1e6);
            out.histogram(Vec::new(), took);
        };
    histogram "rocketmq_delay_lateness_seconds", "seconds", [],
        "How long after its time a delayed message was delivered",
        "Do delayed messages and retries come on time?",
        |broker, out| {
            let lateness = &broker.delay.lateness;
            let (counts, sum_ms) = lateness.read();
            out.histogram(Vec::new(), Histogram::of(lateness.bounds(), &counts, sum_ms, 1e3));
        };
    gauge "rocketmq_connections", "connections", ["listener"],
        "Open connections of clients, by port",
        "How many clients are connected? Do they come back after a restart?",
        connections;
    gauge "rocketmq_connections_limit", "connections", [],
        "The bound of rocketmq_connections for each port (connectionsMax)",
        "How near is the broker to refusing clients?",
        |broker, out| out.one(broker.config.connections_max as f64);
    gauge "rocketmq_waiting_pulls", "pulls", [],
        "Pulls that wait for a message",
        "How many consumers wait for messages?",
        |broker, out| out.one(broker.waiters.len() as f64);
    gauge "rocketmq_name_server_registered", "0 or 1", ["name_server"],
        "1 while the name server knows this broker",
        "Can clients find this broker at each name server?",
        |broker, out| {
            for server in broker.registrations.health() {
                out.with(
                    vec![("name_server", server.addr)],
                    f64::from(u8::from(server.registered)),
                );
            }
        };
}
