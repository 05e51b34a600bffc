//! The tables of a broker: what it keeps in its log besides the messages. One file each, all of one form: key, value, codec, and `apply`,
//! which takes a change that the log says. The log feeds the tables, with own and copied records alike; what changes a table
//! appends a record and waits until it comes back.
//!
//! A table's number and name are a part of the disk format.

pub(crate) mod acls;
pub(crate) mod delay;
pub(crate) mod due_key;
pub(crate) mod groups;
pub(crate) mod half;
pub(crate) mod ids;
pub(crate) mod offsets;
pub(crate) mod rows;
pub(crate) mod stamp;
pub(crate) mod timing;
pub(crate) mod topics;
pub(crate) mod users;
pub(crate) mod waiting;

use std::sync::Arc;

use rmq_store::Table;

use self::acls::AclTable;
use self::delay::DelayTable;
use self::groups::GroupTable;
use self::half::{HalfTable, OfMessages};
use self::ids::{
    ACLS, BROKER_CONFIG, CONSUMER_OFFSETS, DELAY_PROGRESS, DELIVERED, GROUPS, HALF_MESSAGES, KV,
    TOPICS, USERS, WAITING,
};
use self::offsets::OffsetTable;
use self::topics::TopicTable;
use self::users::UserTable;
use self::waiting::Waiting;

/// The tables that follow the log, in memory, and what is known of those on disk.
pub(crate) struct Tables {
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) delay: Arc<DelayTable>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) half: Arc<HalfTable>,
    pub(crate) users: Arc<UserTable>,
    pub(crate) acls: Arc<AclTable>,
}

impl Tables {
    /// The tables as a store is opened with them.
    pub(crate) fn declared(&self) -> Vec<Table> {
        vec![
            Table::applied(TOPICS, "topics", self.topics.clone()),
            Table::applied(GROUPS, "groups", self.groups.clone()),
            Table::applied(USERS, "users", self.users.clone()),
            Table::applied(ACLS, "acls", self.acls.clone()),
            Table::applied(CONSUMER_OFFSETS, "consumer_offsets", self.offsets.clone()).progress(),
            Table::applied(DELAY_PROGRESS, "delay_progress", self.delay.clone()).progress(),
            Table::applied(HALF_MESSAGES, "half_messages", self.half.clone())
                .progress()
                .fed_by(Arc::new(OfMessages)),
            Table::values(BROKER_CONFIG, "broker_config"),
            Table::values(KV, "kv"),
            Table::on_disk(WAITING, "waiting")
                .progress()
                .fed_by(self.waiting.clone()),
            Table::on_disk(DELIVERED, "delivered").progress(),
        ]
    }
}

#[cfg(test)]
mod tests;
