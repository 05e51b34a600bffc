//! Brokers at the name server: codes 103, 104, 322, 904, 901, 905.

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request RegisterBroker;
    /// A broker says that it is there and what it serves; body [`crate::bodies::RegisterBrokerBody`].
    pub struct RegisterBroker<'a> {
        /// 0 is the master.
        pub broker_id: i64 = "brokerId",
        /// `crc32(body) & 0x7fffffff` of the body as sent; 0 or absent: not checked.
        pub body_crc32: Option<i32> = "bodyCrc32",
        /// The cluster.
        pub cluster_name: Cow<'a, str> = "clusterName",
        /// Where clients reach the broker, `host:port`.
        pub broker_addr: Cow<'a, str> = "brokerAddr",
        /// How long it counts as alive without another registration, milliseconds.
        pub heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Whether a replica may act as master.
        pub enable_acting_master: Option<bool> = "enableActingMaster",
        /// Where replicas reach it, `host:port`.
        pub ha_server_addr: Option<Cow<'a, str>> = "haServerAddr",
        /// Whether the body is zlib-compressed.
        pub compressed: Option<bool> = "compressed",
        /// The broker group's name.
        pub broker_name: Cow<'a, str> = "brokerName",
        /// The broker's zone.
        pub zone_name: Option<Cow<'a, str>> = "__ZONE_NAME",
        /// Not the original's: the epoch of an elected master, from 1. Brokers that were not elected, and all of the original, send none.
        pub master_epoch: Option<i64> = "masterEpoch",
    }
}

/// Field of a registration whose body holds a part of the broker's topics; `true`. The original's brokers do not send it, and its name
/// servers do not read it.
pub const PART_FIELD: &str = "partialRegistration";

header_fields! {
    reply;
    /// What the name server knows about the broker's group.
    pub struct RegisterBrokerReply {
        /// The master's replication address, for replicas.
        pub ha_server_addr: Option<String> = "haServerAddr",
        /// The master's address, for replicas.
        pub master_addr: Option<String> = "masterAddr",
        /// Not the original's: the write permission had been wiped (205) before the broker left, and is given again by this registration.
        pub write_perm_given_again: Option<bool> = "writePermGivenAgain",
        /// Not the original's: the group's highest epoch, with a refusal (2000) of a lower one.
        pub master_epoch: Option<i64> = "masterEpoch",
    }
}

header_fields! {
    request UnregisterBroker;
    /// A broker leaves.
    pub struct UnregisterBroker<'a> {
        /// 0 is the master.
        pub broker_id: i64 = "brokerId",
        /// The cluster.
        pub cluster_name: Cow<'a, str> = "clusterName",
        /// Its address.
        pub broker_addr: Cow<'a, str> = "brokerAddr",
        /// The broker group's name.
        pub broker_name: Cow<'a, str> = "brokerName",
        /// Not the original's: the epoch of an elected master, from 1.
        pub master_epoch: Option<i64> = "masterEpoch",
    }
}

header_fields! {
    request QueryDataVersion;
    /// Asks whether the name server has this version of a broker's topics; body [`crate::bodies::DataVersion`].
    pub struct QueryDataVersion<'a> {
        /// The broker group's name.
        pub broker_name: Cow<'a, str> = "brokerName",
        /// Its address.
        pub broker_addr: Cow<'a, str> = "brokerAddr",
        /// The cluster.
        pub cluster_name: Cow<'a, str> = "clusterName",
        /// 0 is the master.
        pub broker_id: i64 = "brokerId",
    }
}

header_fields! {
    reply;
    /// Whether a broker must register again.
    pub struct QueryDataVersionReply {
        /// True when the name server has another version.
        pub changed: bool = "changed",
    }
}

header_fields! {
    request BrokerHeartbeat;
    /// A light sign of life between registrations.
    pub struct BrokerHeartbeat<'a> {
        /// The cluster.
        pub cluster_name: Cow<'a, str> = "clusterName",
        /// Its address.
        pub broker_addr: Cow<'a, str> = "brokerAddr",
        /// The broker group's name.
        pub broker_name: Cow<'a, str> = "brokerName",
        /// 0 is the master.
        pub broker_id: Option<i64> = "brokerId",
        /// Epoch of its mastership.
        pub epoch: Option<i32> = "epoch",
        /// End of its log.
        pub max_offset: Option<i64> = "maxOffset",
        /// What cannot be truncated.
        pub confirm_offset: Option<i64> = "confirmOffset",
        /// How long it counts as alive, milliseconds (spelling of the wire).
        pub heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMills",
        /// Its rank in elections.
        pub election_priority: Option<i32> = "electionPriority",
    }
}

header_fields! {
    request GetBrokerMemberGroup;
    /// Asks for the addresses of a broker group; body of the answer [`crate::bodies::BrokerMemberGroupBody`].
    pub struct GetBrokerMemberGroup<'a> {
        /// The cluster.
        pub cluster_name: Cow<'a, str> = "clusterName",
        /// The broker group's name.
        pub broker_name: Cow<'a, str> = "brokerName",
    }
}

header_fields! {
    request NotifyMinBrokerIdChange;
    /// Name server to brokers: another member has the lowest id now. One-way.
    pub struct NotifyMinBrokerIdChange<'a> {
        /// The lowest id.
        pub min_broker_id: Option<i64> = "minBrokerId",
        /// The broker group's name.
        pub broker_name: Option<Cow<'a, str>> = "brokerName",
        /// Address of the member with the lowest id.
        pub min_broker_addr: Option<Cow<'a, str>> = "minBrokerAddr",
        /// Address of the member that left.
        pub offline_broker_addr: Option<Cow<'a, str>> = "offlineBrokerAddr",
        /// Replication address of the member with the lowest id.
        pub ha_broker_addr: Option<Cow<'a, str>> = "haBrokerAddr",
    }
}
