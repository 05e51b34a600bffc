//! The numbers of the tables: a part of the disk format.

use rmq_store::TableId;

pub(crate) const TOPICS: TableId = TableId::new(1);
pub(crate) const GROUPS: TableId = TableId::new(2);
pub(crate) const CONSUMER_OFFSETS: TableId = TableId::new(3);
pub(crate) const DELAY_PROGRESS: TableId = TableId::new(4);
// 5, 11 and 12 are the store's own.
/// Configuration that was changed while the broker ran, by its key; few values, which the store holds as bytes.
pub(crate) const BROKER_CONFIG: TableId = TableId::new(6);
/// Was never used; a store may name it.
pub(crate) const KV: TableId = TableId::new(7);
/// Messages that wait for their time.
pub(crate) const WAITING: TableId = TableId::new(8);
/// Those of them whose delivery is in the log.
pub(crate) const DELIVERED: TableId = TableId::new(9);
/// Half messages that have not ended, by their position in the log.
pub(crate) const HALF_MESSAGES: TableId = TableId::new(10);
/// Users, by their names.
pub(crate) const USERS: TableId = TableId::new(20);
/// The rules of users, by the users' names.
pub(crate) const ACLS: TableId = TableId::new(21);
