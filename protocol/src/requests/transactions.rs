//! Transactions: codes 37 and 39, and 320020 of this project.

use std::borrow::Cow;

use super::field::header_fields;

/// The field of a refused end that says how the transaction has ended: as [`EndTransaction::commit_or_rollback`]. Of this project.
pub const ENDED_AS: &str = "endedAs";

header_fields! {
    request EndTransaction;
    /// Commits or rolls back a half message. One-way.
    pub struct EndTransaction<'a> {
        /// The topic, of newer clients.
        pub topic: Option<Cow<'a, str>> = "topic",
        /// The producer's group.
        pub producer_group: Cow<'a, str> = "producerGroup",
        /// Queue offset of the half message.
        pub tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Position of the half message.
        pub commit_log_offset: i64 = "commitLogOffset",
        /// [`crate::message::flags::TRANSACTION_COMMIT`], `TRANSACTION_ROLLBACK` or 0: unknown.
        pub commit_or_rollback: i32 = "commitOrRollback",
        /// Whether the broker had asked.
        pub from_transaction_check: Option<bool> = "fromTransactionCheck",
        /// The message's unique key.
        pub msg_id: Cow<'a, str> = "msgId",
        /// The transaction's id.
        pub transaction_id: Option<Cow<'a, str>> = "transactionId",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    request CheckTransactionState;
    /// Server to client: how did this transaction end? The body is the half message. One-way.
    pub struct CheckTransactionState<'a> {
        /// The topic.
        pub topic: Option<Cow<'a, str>> = "topic",
        /// Queue offset of the half message.
        pub tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Position of the half message.
        pub commit_log_offset: i64 = "commitLogOffset",
        /// The message's unique key.
        pub msg_id: Option<Cow<'a, str>> = "msgId",
        /// The transaction's id.
        pub transaction_id: Option<Cow<'a, str>> = "transactionId",
        /// The half message's offset id.
        pub offset_msg_id: Option<Cow<'a, str>> = "offsetMsgId",
        /// The broker.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    request GetTransactions;
    /// Transactions that have not ended; body of the answer [`crate::bodies::TransactionList`].
    pub struct GetTransactions {
        /// Only those behind this position of the log.
        pub behind: Option<i64> = "behind",
        /// Those whose producers gave no answer, in place of those that are open.
        pub parked: Option<bool> = "parked",
        /// Transactions of one answer, at most; the broker gives no more than 256.
        pub max_num: Option<i32> = "maxNum",
    }
}
