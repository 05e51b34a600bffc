//! The settings of a broker.

use std::path::PathBuf;

use crate::delay_levels;
use crate::election::{self, Election, GroupMember};
use crate::forms;
use crate::problem::Problem;
use crate::row::settings;
use crate::setting::{choice, flag, number, ratio, text};
use crate::tls::{TlsClientAuth, TlsMode, TlsOutgoing, TlsPorts};
use crate::value::{Field, HiddenText, Value};

/// When a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// When the system has it.
    Async,
    /// When the disk has it.
    Sync,
}

impl Field for Flush {
    fn value(&self) -> Value {
        let word = match self {
            Self::Async => "async",
            Self::Sync => "sync",
        };
        Value::Text(word.to_owned())
    }

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(word) if word == "async" => Some(Self::Async),
            Value::Text(word) if word == "sync" => Some(Self::Sync),
            _ => None,
        }
    }
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckMode {
    /// The system of the master has the message.
    Memory,
    /// The disk of the master has it.
    Flushed,
    /// The system of every member of the in-sync set has it.
    InSync,
    /// The disk of every member of the in-sync set has it.
    InSyncFlushed,
}

impl AckMode {
    const WORDS: [(Self, &'static str); 4] = [
        (Self::Memory, "memory"),
        (Self::Flushed, "flushed"),
        (Self::InSync, "inSync"),
        (Self::InSyncFlushed, "inSyncFlushed"),
    ];

    /// The word of the setting.
    #[must_use]
    pub fn name(self) -> &'static str {
        let word = Self::WORDS.iter().find(|(mode, _)| *mode == self);
        word.map_or("", |(_, word)| word)
    }

    /// Whether an acknowledgement waits for the in-sync set.
    #[must_use]
    pub fn is_in_sync(self) -> bool {
        matches!(self, Self::InSync | Self::InSyncFlushed)
    }

    /// Whether an acknowledgement waits for disks.
    #[must_use]
    pub fn is_flushed(self) -> bool {
        matches!(self, Self::Flushed | Self::InSyncFlushed)
    }
}

impl Field for AckMode {
    fn value(&self) -> Value {
        Value::Text(self.name().to_owned())
    }

    fn of(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else {
            return None;
        };
        let mode = Self::WORDS.iter().find(|(_, word)| word == text);
        mode.map(|(mode, _)| *mode)
    }
}

settings! {
    /// Settings of a broker. `docs/reference/configuration.md` has them as a table.
    BrokerConfig of "rmq-broker", variables "RMQ_BROKER_", together together;

    /// Name of the cluster.
    "clusterName" cluster_name: String = "DefaultCluster".to_owned() =>
        text(forms::CLUSTER_NAME).upstream("brokerClusterName").field("spec.clusterName");
    /// Name of the broker group: the master and its replicas share it.
    "brokerName" broker_name: String = "broker-a".to_owned() =>
        text(forms::BROKER_NAME).upstream_too().field("spec.brokerName");
    /// With election static: 0 is the master; replicas are numbered from 1. With another election: the slot of this member, 0 to 15, for its whole life; who is master moves.
    "brokerId" broker_id: i64 = 0 =>
        number(&[(0, 2_147_483_647)]).upstream_too().operator("the operator numbers the brokers");
    /// Address to listen on, host:port. Port 0 lets the system choose.
    "listen" listen: String = "0.0.0.0:10911".to_owned() =>
        text(forms::ADDRESS).advice("a name that clients are told is set as advertise").upstream_as("listenPort", port).operator("the port is fixed");
    /// Also listen two ports below, where old clients send with vipChannelEnabled. Not with port 0.
    "fastPort" fast_port: bool = true =>
        flag();
    /// Address of health, metrics and version, host:port; empty for none. Every client that reaches this address reads the names of topics, groups and clients: 0.0.0.0:10999 is for networks where all may.
    "management" management: String = "127.0.0.1:10999".to_owned() =>
        text(forms::ADDRESS_OR_NONE).upstream_as("metricsPromExporterPort", port).operator("the port is fixed");
    /// Host that clients use to reach this broker; empty: the address of the interface towards the name servers.
    "advertise" advertise: String = String::new() =>
        text(forms::HOST_OR_NONE).upstream("brokerIP1").field("spec.listeners.external");
    /// Port that clients use to reach this broker; 0: the one it listens on. For port mappings such as node ports.
    "advertisePort" advertise_port: u16 = 0 =>
        number(&[(0, 65_535)]).field("spec.listeners.external");
    /// Name servers, host:port separated by semicolons or commas; the port is 9876 where none is given.
    "nameServers" name_servers: String = String::new() =>
        text(forms::NAME_SERVERS).upstream("namesrvAddr").field("spec.nameServerRef");
    /// Look the names in nameServers up every 5 seconds and register with every address that they have then: name servers may come and go behind one name.
    "lookUpNameServers" look_up_name_servers: bool = false =>
        flag().upstream("fetchNameSrvAddrByDnsLookup").operator("name servers are always looked up");
    /// Folder of all data.
    "dataDir" data_dir: PathBuf = PathBuf::from("rmq-data") =>
        text(forms::FOLDER).upstream("storePathRootDir").field("spec.storage");
    /// How the group gets its master: static (brokerId 0 is the master), etcd (the members elect it, and etcd holds who is master), kubernetes (the same with objects of Kubernetes), memory (all members are in one process, for tests and rmq-ctl dev).
    "election" election: Election = Election::Static =>
        choice(&["static", "etcd", "kubernetes", "memory"]).operator("the operator gives a group its master");
    /// With election etcd: all members of the group, SLOT=HOST:REPLICATION_PORT/HOST:CLIENT_PORT with commas; the same in every member's configuration.
    "members" members: String = String::new() =>
        text(election::MEMBERS).operator("members find each other");
    /// With an election: a master that has not renewed its lease for this long counts as gone, and another member takes its place. All times of the election follow it.
    "leaseMs" lease_ms: u64 = 5_000 =>
        number(&[(1_000, 120_000)]).unit("milliseconds");
    /// With an election: a replica in sync whose connection was closed, as when its process ends, leaves the in-sync set after this time unless it has connected again; acknowledgements wait until then. One that is only silent has 3/5 of leaseMs, and so has every one without which fewer than minInSync would be left.
    "replicaReconnectMs" replica_reconnect_ms: u64 = 300 =>
        number(&[(0, 60_000)]).unit("milliseconds");
    /// With election etcd: the etcd's members, http://HOST:PORT or https://HOST:PORT with commas.
    "etcdEndpoints" etcd_endpoints: String = String::new() =>
        text(election::ENDPOINTS).operator("in Kubernetes no etcd is needed");
    /// With election etcd: what its keys begin with. The keys of a group are PREFIX/CLUSTER/GROUP/election and PREFIX/CLUSTER/GROUP/lease.
    "etcdPrefix" etcd_prefix: String = "/rmq".to_owned() =>
        text(election::PREFIX).operator("in Kubernetes no etcd is needed");
    /// With election etcd: the user, where the etcd asks for one.
    "etcdUser" etcd_user: String = String::new() =>
        text(forms::ANY).operator("in Kubernetes no etcd is needed");
    /// With election etcd: the file with the user's password.
    "etcdPasswordFile" etcd_password_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("in Kubernetes no etcd is needed");
    /// With election etcd and https: the file with the certificates (PEM) of who signs the etcd's; empty: whom the system trusts.
    "etcdCaFile" etcd_ca_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("in Kubernetes no etcd is needed");
    /// With election etcd and https: the file with this broker's certificate (PEM), where the etcd asks for one.
    "etcdCertificateFile" etcd_certificate_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("in Kubernetes no etcd is needed");
    /// With election etcd and https: the file with the key (PEM) of this broker's certificate.
    "etcdKeyFile" etcd_key_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("in Kubernetes no etcd is needed");
    /// With election etcd and https: the name in the etcd's certificates, where that is not the host of the endpoint.
    "etcdServerName" etcd_server_name: String = String::new() =>
        text(forms::HOST_OR_NONE).operator("in Kubernetes no etcd is needed");
    /// With election kubernetes: the namespace of the two objects of the group.
    "electionNamespace" election_namespace: String = String::new() =>
        text(forms::HOST_OR_NONE).operator("the operator gives a group its master");
    /// With election kubernetes: the name of the two objects of the group, a BrokerGroupElection and a Lease.
    "electionName" election_name: String = String::new() =>
        text(forms::HOST_OR_NONE).operator("the operator gives a group its master");
    /// When a message is acknowledged: async (the system has it; a power cut loses at most flushIntervalMs) or sync (the disk has it).
    "flush" flush: Flush = Flush::Async =>
        choice(&["async", "sync"]).upstream_as("flushDiskType", flush_disk_type).field("spec.config.flush");
    /// What an acknowledgement promises: memory (the master's system has the message), flushed (its disk has it; the same as flush: sync), inSync (every member of the in-sync set has it), inSyncFlushed (on their disks).
    "ackMode" ack_mode: AckMode = AckMode::Memory =>
        choice(&["memory", "flushed", "inSync", "inSyncFlushed"]).field("spec.replication.ackMode");
    /// With ackMode inSync or inSyncFlushed: while fewer members than this are in sync, the master counted, writes are refused. 0: 2 with these modes and 1 with the others. 1 acknowledges what the master alone has.
    "minInSync" min_in_sync: u32 = 0 =>
        number(&[(0, 16)]).upstream("minInSyncReplicas").field("spec.replication.minInSync");
    /// A message that is stored and not confirmed as ackMode promises after this time is answered with the code for that (10, 11 or 12).
    "ackTimeoutMs" ack_timeout_ms: u64 = 3_000 =>
        number(&[(1, 60_000)]).unit("milliseconds").upstream("slaveTimeout");
    /// Address on which members of the group copy the log, host:port; empty: the host of listen, one port above; none: nobody copies. Port 0 lets the system choose.
    "replicationListen" replication_listen: String = String::new() =>
        text(forms::REPLICATION_ADDRESS).upstream_as("haListenPort", port).operator("the port is fixed");
    /// Where a replica finds its master's replication port, host:port; empty: the name servers say where the master is.
    "replicationMaster" replication_master: String = String::new() =>
        text(forms::NAMED_ADDRESS_OR_NONE).upstream("haMasterAddress").operator("members find each other");
    /// A replica that lacks more bytes of its master's log than this is out of sync.
    "replicaLagBytes" replica_lag_bytes: u64 = 256 << 20 =>
        number(&[(4_096, 1 << 40)]).unit("bytes").upstream("haMaxGapNotInSync");
    /// A replica that has been silent or behind for this long is out of sync.
    "replicaLagMs" replica_lag_ms: u64 = 15_000 =>
        number(&[(1_000, 600_000)]).unit("milliseconds").upstream("haMaxTimeSlaveNotCatchup");
    /// A replica far behind (64 MiB and more) gets at least this much of its master's log a second, beside twice what is stored meanwhile. It gets more while nobody else of the master waits for its turn.
    "catchUpBytesPerSecond" catch_up_bytes_per_second: u64 = 64 << 20 =>
        number(&[(1 << 20, 1 << 40)]).unit("bytes");
    /// Consumers may read from replicas: a replica serves pulls, and the master sends consumers there that read what is not in memory any more.
    "slaveReadEnable" slave_read_enable: bool = false =>
        flag().upstream_too();
    /// Messages count as in memory while the log behind them is at most this share of the machine's memory.
    "memoryReadRatio" memory_read_ratio: f64 = 0.4 =>
        ratio().upstream_as("accessMessageInMemoryMaxRatio", percent);
    /// With async flush: longest time between write and flush.
    "flushIntervalMs" flush_interval_ms: u64 = 200 =>
        number(&[(1, 60_000)]).unit("milliseconds").upstream("flushIntervalCommitLog");
    /// With async flush: flush when this many bytes were written.
    "flushBytes" flush_bytes: u64 = 16 << 20 =>
        number(&[(4_096, 1 << 40)]).unit("bytes");
    /// Size of a new log segment.
    "segmentBytes" segment_bytes: u64 = 1 << 30 =>
        number(&[(64 << 10, 1 << 30)]).multiple_of(4_096).unit("bytes").upstream("mappedFileSizeCommitLog");
    /// Messages are kept this long.
    "retentionHours" retention_hours: u32 = 72 =>
        number(&[(1, 4_294_967_295)]).unit("hours").upstream("fileReservedTime").live().field("spec.config.retentionHours");
    /// Copies of the data that may be taken at once (rmq-ctl backup). 0: none.
    "backupsMax" backups_max: usize = 2 =>
        number(&[(0, 16)]).unit("backups");
    /// A copy of the data that nobody asks for any more for this long has ended: until then it holds the log that it still needs, also beyond its time.
    "backupIdleMs" backup_idle_ms: u64 = 60_000 =>
        number(&[(1_000, 3_600_000)]).unit("milliseconds");
    /// Messages are removed by age only when the wall clock has agreed with the monotonic clock for this long, since the start and since its last jump.
    "clockSettleMinutes" clock_settle_minutes: u32 = 60 =>
        number(&[(0, 10_080)]).unit("minutes");
    /// Above this used share of the disk, the oldest messages are removed before they expire. 1 is never: then messages are refused above diskFullRatio.
    "diskEvictRatio" disk_evict_ratio: f64 = 1.0 =>
        ratio().upstream_as("diskMaxUsedSpaceRatio", percent);
    /// Above this used share of the disk, messages are refused.
    "diskFullRatio" disk_full_ratio: f64 = 0.95 =>
        ratio().upstream_as("diskSpaceWarningLevelRatio", percent);
    /// Largest message body; from 16711680 on, a frame has no room for its properties, and it is refused.
    "maxMessageBytes" max_message_bytes: usize = 4 << 20 =>
        number(&[(1, 16 << 20)]).unit("bytes").upstream("maxMessageSize").live().field("spec.config.maxMessageBytes");
    /// Create a topic when a message for an unknown one arrives (after the template TBW102).
    "autoCreateTopic" auto_create_topic: bool = true =>
        flag().upstream("autoCreateTopicEnable").live().field("spec.config.autoCreateTopic");
    /// Create a subscription group when an unknown one pulls.
    "autoCreateSubscriptionGroup" auto_create_subscription_group: bool = true =>
        flag().upstream_too().live().field("spec.config.autoCreateSubscriptionGroup");
    /// What this broker allows: 6 read and write, 4 read, 2 write, 0 nothing. A change while it runs outlives a restart.
    "permission" permission: i32 = 6 =>
        number(&[(0, 0), (2, 2), (4, 4), (6, 6)]).upstream("brokerPermission").live().operator("the operator takes brokers out of the routes when they restart");
    /// Region that clients are told.
    "region" region: String = "DefaultRegion".to_owned() =>
        text(forms::REGION).upstream("regionId");
    /// Delays of the delay levels, from level 1.
    "delayLevels" delay_levels: String = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".to_owned() =>
        text(forms::DELAY_LEVELS).upstream("messageDelayLevel");
    /// Longest time that a message may wait for a timer. What waits keeps the log from being removed, so the disk must have room for the messages of that time.
    "timerMaxDelaySec" timer_max_delay_sec: i64 = 259_200 =>
        number(&[(1, 315_360_000)]).unit("seconds").upstream_too();
    /// Whether producers may take back messages that wait for a timer.
    "recallMessageEnable" recall_message: bool = true =>
        flag().upstream_too();
    /// A transaction that has not ended for this long is asked about at a member of its producer group; a message may ask for another time (CHECK_IMMUNITY_TIME_IN_SECONDS).
    "transactionTimeOut" transaction_time_out: u64 = 6_000 =>
        number(&[(1, 86_400_000)]).unit("milliseconds").upstream_too();
    /// After this many checks without an answer, the message of a transaction is parked in TRANS_CHECK_MAX_TIME_TOPIC.
    "transactionCheckMax" transaction_check_max: u32 = 15 =>
        number(&[(1, 10_000)]).upstream_too();
    /// Time between the first and the second check of a transaction. Each time after that is twice as long as the one before.
    "transactionCheckInterval" transaction_check_interval: u64 = 30_000 =>
        number(&[(1, 86_400_000)]).unit("milliseconds").upstream_too();
    /// Longest time between two checks of a transaction.
    "transactionCheckIntervalMax" transaction_check_interval_max: u64 = 300_000 =>
        number(&[(1, 86_400_000)]).unit("milliseconds");
    /// Checks of transactions in a second.
    "transactionChecksPerSecond" transaction_checks_per_second: usize = 1_000 =>
        number(&[(10, 100_000)]);
    /// Transactions that may be open. Each takes about 343 bytes of memory.
    "halfMessagesMax" half_messages_max: usize = 1_000_000 =>
        number(&[(1, 100_000_000)]);
    /// Refuse transactional messages.
    "rejectTransactionMessage" reject_transaction_message: bool = false =>
        flag().upstream_too();
    /// Store replies to requests in the reply topic of the cluster, besides giving them to the clients that wait.
    "storeReplyMessageEnable" store_reply_message_enable: bool = true =>
        flag().upstream_too();
    /// Whether topics may take messages of all types (`message.type` MIXED).
    "enableMixedMessageType" mixed_message_type: bool = false =>
        flag().upstream_too();
    /// Whether a message is refused whose type is not that of its topic (`message.type`). Brokers of Apache RocketMQ never do that, their proxies do.
    "enableTopicMessageTypeCheck" topic_message_type_check: bool = false =>
        flag();
    /// Longest time for ending what is in flight when the broker stops.
    "drainTimeoutMs" drain_timeout_ms: u64 = 5_000 =>
        number(&[(0, 86_400_000)]).unit("milliseconds");
    /// Connections in all.
    "connectionsMax" connections_max: usize = 20_000 =>
        number(&[(1, 1_000_000)]);
    /// Bytes that all connections hold together, of what was received in part and of what waits to be sent; 0: a quarter of what the control group or the machine has. Beyond it, connections that want more wait, and the slowest are closed.
    "memoryBytes" memory_bytes: u64 = 0 =>
        number(&[(0, 0), (64 << 20, 1 << 50)]).unit("bytes");
    /// Which connections the ports take: disabled (plain ones), permissive (plain ones, and with a certificate also those with TLS), enforcing (those with TLS). The first byte of a connection decides.
    "tlsMode" tls_mode: TlsMode = TlsMode::Permissive =>
        choice(TlsMode::WORDS).upstream("tls.server.mode").field("spec.tls");
    /// File with the certificate (PEM) of this server, and behind it those that lead to its authority; empty: no TLS. It is read again when it changes.
    "tlsCertificateFile" tls_certificate_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.server.certPath").field("spec.tls");
    /// File with the key (PEM, not encrypted) of the certificate. It is read again when it changes.
    "tlsKeyFile" tls_key_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.server.keyPath").field("spec.tls");
    /// File with the certificates (PEM) of those who sign the certificates of clients. It is read again when it changes.
    "tlsCaFile" tls_ca_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.server.trustCertPath").field("spec.tls");
    /// Whether clients show certificates: none (they are not asked), optional (one that is shown must be good), require (who shows none is refused; needs tlsMode enforcing).
    "tlsClientAuth" tls_client_auth: TlsClientAuth = TlsClientAuth::None =>
        choice(TlsClientAuth::WORDS).upstream("tls.server.need.client.auth").field("spec.tls");
    /// Whether the management port has TLS too, and then nothing else; its clients need no certificate.
    "tlsManagement" tls_management: bool = false =>
        flag().operator("Kubernetes asks for health without TLS");
    /// How often the files of certificates are looked at.
    "tlsReloadMs" tls_reload_ms: u64 = 10_000 =>
        number(&[(100, 86_400_000)]).unit("milliseconds");
    /// TLS handshakes of a port that run at once; more wait for a place.
    "tlsHandshakesMax" tls_handshakes_max: usize = 512 =>
        number(&[(1, 65_536)]);
    /// Longest time of a TLS handshake, the wait for a place included. A handshake that has taken a tenth of it gives its place to one that waits.
    "tlsHandshakeTimeoutMs" tls_handshake_timeout_ms: u64 = 10_000 =>
        number(&[(100, 600_000)]).unit("milliseconds");
    /// Whether the connections that this broker opens have TLS: to name servers, to its master and to the other members of its group.
    "tlsOutgoing" tls_outgoing: bool = false =>
        flag().upstream("tls.enable").field("spec.tls");
    /// With tlsOutgoing: file with the certificates (PEM) of those who sign the servers'; empty: whom the system trusts. It is read again when it changes.
    "tlsOutgoingCaFile" tls_outgoing_ca_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.client.trustCertPath").field("spec.tls");
    /// With tlsOutgoing: file with the certificate (PEM) that this broker shows, where a server asks for one; may be that of tlsCertificateFile.
    "tlsOutgoingCertificateFile" tls_outgoing_certificate_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.client.certPath").field("spec.tls");
    /// With tlsOutgoing: file with the key (PEM, not encrypted) of that certificate.
    "tlsOutgoingKeyFile" tls_outgoing_key_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).upstream("tls.client.keyPath").field("spec.tls");
    /// With tlsOutgoing: a name that the certificates of all servers have, where that is not the host that is connected to.
    "tlsOutgoingServerName" tls_outgoing_server_name: String = String::new() =>
        text(forms::HOST_OR_NONE).field("spec.tls");
    /// Topics of this broker. More than one registration holds (registrationBytes) is registered in parts.
    "topicsMax" topics_max: usize = 50_000 =>
        number(&[(1, 1_000_000)]);
    /// Whether the broker has light queues (LMQ): queues named %LMQ%…, which messages name beside their topic, and groups named so. They need no creation.
    "enableLmq" enable_lmq: bool = false =>
        flag().upstream_too();
    /// Whether a message is entered into the light queues that it names (INNER_MULTI_DISPATCH), besides its own. Needs enableLmq; without both, such a message is refused.
    "enableMultiDispatch" enable_multi_dispatch: bool = false =>
        flag().upstream_too();
    /// Light queues of this broker: those that have messages, or at which somebody waits. A message that names one more is refused. Each takes about 400 bytes of memory while it is used.
    "maxLmqConsumeQueueNum" light_queues_max: usize = 1_000_000 =>
        number(&[(1, 100_000_000)]).upstream_too();
    /// Queues of a topic.
    "queuesPerTopicMax" queues_per_topic_max: i32 = 1_024 =>
        number(&[(1, 65_536)]);
    /// Subscription groups of this broker.
    "groupsMax" groups_max: usize = 20_000 =>
        number(&[(1, 1_000_000)]);
    /// Clients of one group.
    "clientsPerGroupMax" clients_per_group_max: usize = 10_000 =>
        number(&[(1, 1_000_000)]);
    /// Messages in one answer to a pull, whatever is asked.
    "pullMessagesMax" pull_messages_max: usize = 1_024 =>
        number(&[(1, 65_536)]).upstream("maxTransferCountOnMessageInMemory");
    /// Bytes in one answer to a pull, whatever is asked; the first message comes anyway.
    "pullBytesMax" pull_bytes_max: usize = 4 << 20 =>
        number(&[(4_096, 12 << 20)]).unit("bytes");
    /// Bytes of a subscription's filter expression.
    "expressionBytesMax" expression_bytes_max: usize = 128 << 10 =>
        number(&[(256, 192 << 10)]).unit("bytes");
    /// Properties and constants in an SQL92 expression, those of IN lists aside: each is a part of what every message costs.
    "expressionTermsMax" expression_terms_max: usize = 512 =>
        number(&[(2, 8_192)]);
    /// Levels of parentheses, and of operators inside of operators, in an SQL92 expression. A chain of AND or of OR is one level.
    "expressionDepthMax" expression_depth_max: usize = 64 =>
        number(&[(2, 256)]);
    /// Whether consumers may filter by the properties of messages, with SQL92 expressions.
    "enablePropertyFilter" enable_property_filter: bool = true =>
        flag().upstream_too();
    /// Whether each request must be signed by a user, or come by a connection whose certificate names one. Users are stored with the other settings of the group (rmq-ctl create user).
    "authenticationEnabled" authentication: bool = false =>
        flag().upstream_too().field("spec.authentication");
    /// Whether users other than super users may only do what their rules allow (rmq-ctl set acl). Needs authenticationEnabled.
    "authorizationEnabled" authorization: bool = false =>
        flag().upstream_too().field("spec.authorization");
    /// A super user who is there until one of the same name is stored: JSON, {"username":"NAME","password":"…"}.
    "initAuthenticationUser" init_user: HiddenText = HiddenText::default() =>
        text(forms::USER).secret().upstream_too().operator("the Secret of spec.authentication of the NameServer has it");
    /// The file with what initAuthenticationUser is otherwise.
    "initAuthenticationUserFile" init_user_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("the Secret of spec.authentication of the NameServer has it");
    /// With what this broker signs what it asks name servers and the master of its group: JSON, {"accessKey":"NAME","secretKey":"…"}. It is a super user here, too; all members of the group need the same.
    "innerClientAuthenticationCredentials" inner_credentials: HiddenText = HiddenText::default() =>
        text(forms::USER).secret().upstream_too().operator("the Secret of spec.authentication of the NameServer has it");
    /// The file with what innerClientAuthenticationCredentials is otherwise.
    "innerClientAuthenticationCredentialsFile" inner_credentials_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("the Secret of spec.authentication of the NameServer has it");
    /// Codes of requests that are served without a signature, with commas. Each opens a request to everybody.
    "authenticationWhitelist" authentication_whitelist: String = String::new() =>
        text(forms::REQUEST_CODES).upstream_too();
    /// Codes of requests that every user may send, with commas.
    "authorizationWhitelist" authorization_whitelist: String = String::new() =>
        text(forms::REQUEST_CODES).upstream_too();
    /// The file with the key that passwords of users are stored with: 32 bytes, or base64 of 32 bytes; empty: they are stored as they are. All members of the group need the same.
    "userSecretsKeyFile" user_secrets_key_file: PathBuf = PathBuf::new() =>
        text(forms::ANY).operator("the Secret of spec.authentication of the NameServer has it");
    /// Users of this broker.
    "usersMax" users_max: usize = 10_000 =>
        number(&[(1, 100_000)]);
    /// Entries of the rules of one user; what they take as JSON is at most 1 MiB.
    "aclEntriesMax" acl_entries_max: usize = 10_000 =>
        number(&[(1, 10_000)]);
    /// Failed signatures of one address in a second; the answers to more are delayed by a second each.
    "authenticationFailuresPerSecond" authentication_failures_per_second: u32 = 10 =>
        number(&[(1, 100_000)]);
    /// Bytes of topics in one registration at a name server; what is more goes into further ones. A name server takes frames of up to 16 MiB.
    "registrationBytes" registration_bytes: usize = 4 << 20 =>
        number(&[(64 << 10, 8 << 20)]).unit("bytes");
    /// Go on although settings were lost with damaged tables and the log no longer reaches back to its beginning.
    "acceptLostSettings" accept_lost_settings: bool = false =>
        flag();
}

impl BrokerConfig {
    /// The name servers as a list.
    #[must_use]
    pub fn name_server_list(&self) -> Vec<String> {
        // A list that cannot be understood was refused before.
        rmq_texts::name_servers(&self.name_servers).unwrap_or_default()
    }

    /// The members of the group, in the order of their slots; none without an election, and none where the record has them.
    #[must_use]
    pub fn member_list(&self) -> Vec<GroupMember> {
        // As above.
        election::members(&self.members).unwrap_or_default()
    }

    /// This broker in [`member_list`](Self::member_list).
    #[must_use]
    pub fn own_member(&self) -> Option<GroupMember> {
        let mut members = self.member_list().into_iter();
        members.find(|member| i64::try_from(member.id.0) == Ok(self.broker_id))
    }

    /// The etcd's members.
    #[must_use]
    pub fn etcd_endpoint_list(&self) -> Vec<String> {
        election::endpoints(&self.etcd_endpoints)
    }

    /// Whether the members elect their master.
    #[must_use]
    pub fn is_elected(&self) -> bool {
        self.election != Election::Static
    }

    /// Whether the master's disk has a message before it is acknowledged, whichever setting says so.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.flush == Flush::Sync || self.ack_mode.is_flushed()
    }

    /// Members that have to be in sync for a write, the master counted: `minInSync` with its default.
    #[must_use]
    pub fn in_sync_min(&self) -> usize {
        match self.min_in_sync {
            0 if self.ack_mode.is_in_sync() => 2,
            0 => 1,
            members => members as usize,
        }
    }

    /// The TLS of its ports.
    #[must_use]
    pub fn tls_ports(&self) -> TlsPorts<'_> {
        TlsPorts {
            mode: self.tls_mode,
            certificate: &self.tls_certificate_file,
            key: &self.tls_key_file,
            authorities: &self.tls_ca_file,
            client_auth: self.tls_client_auth,
            management: self.tls_management,
        }
    }

    /// The TLS of connections that it opens.
    #[must_use]
    pub fn tls_outgoing(&self) -> TlsOutgoing<'_> {
        TlsOutgoing {
            is_on: self.tls_outgoing,
            authorities: &self.tls_outgoing_ca_file,
            certificate: &self.tls_outgoing_certificate_file,
            key: &self.tls_outgoing_key_file,
            server_name: &self.tls_outgoing_server_name,
        }
    }

    /// The delays of the delay levels in milliseconds, from level 1.
    #[must_use]
    pub fn delays_ms(&self) -> Vec<i64> {
        // As above.
        delay_levels::parse(&self.delay_levels).unwrap_or_default()
    }
}

fn together(config: &BrokerConfig) -> Vec<Problem> {
    let mut problems: Vec<Problem> = forms::two_addresses(&config.listen, &config.management)
        .into_iter()
        .collect();
    let mut refuse = |text: String| problems.push(Problem::Together(text));
    let mode = config.ack_mode.value();
    if config.min_in_sync > 1 && !config.ack_mode.is_in_sync() {
        refuse(format!(
            "minInSync {} promises nothing with ackMode {mode}, which waits for no replica: set ackMode to inSync or inSyncFlushed, or leave minInSync out",
            config.min_in_sync
        ));
    }
    if config.ack_mode.is_in_sync() && config.replication_listen == forms::NO_REPLICATION {
        refuse(format!(
            "ackMode {mode} waits for replicas, and replicationListen {} lets nobody copy: give the members a port",
            forms::NO_REPLICATION
        ));
    }
    problems.extend(config.tls_ports().problems());
    problems.extend(config.tls_outgoing().problems());
    problems.extend(
        election::problems(config)
            .into_iter()
            .map(Problem::Together),
    );
    problems.extend(forms::access_problems(
        (config.authentication, config.authorization),
        [
            (&config.init_user, &config.init_user_file),
            (&config.inner_credentials, &config.inner_credentials_file),
        ],
    ));
    problems
}

/// The port of an address; empty where there is no address.
fn port(value: &Value) -> String {
    let text = value.to_string();
    text.rsplit(':').next().unwrap_or_default().to_owned()
}

/// A share in hundredths.
fn percent(value: &Value) -> String {
    match value {
        Value::Ratio(share) => format!("{:.0}", share * 100.0),
        other => other.to_string(),
    }
}

fn flush_disk_type(value: &Value) -> String {
    match Flush::of(value) {
        Some(Flush::Sync) => "SYNC_FLUSH".to_owned(),
        _ => "ASYNC_FLUSH".to_owned(),
    }
}
