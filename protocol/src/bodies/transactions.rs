//! Transactions that have not ended (code 320020), of this project.

use serde::{Deserialize, Serialize};

use super::bodies;

/// What a transaction waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum TransactionState {
    /// For its producer, or for the answer of a member of the producer group.
    #[default]
    Open,
    /// For somebody who decides: no member gave an answer to the last check.
    Parked,
}

/// A transaction that has not ended.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTransaction {
    /// Bytes of the body.
    pub body_size: i64,
    /// Checks that were sent.
    pub checks: i32,
    /// Where the message is in the log.
    pub commit_log_offset: i64,
    /// The business keys.
    pub keys: String,
    /// When the last check was sent, Unix milliseconds; 0: none was.
    pub last_check_timestamp: i64,
    /// When the next check is due, Unix milliseconds; 0: none is.
    pub next_check_timestamp: i64,
    /// The message's offset id.
    pub offset_msg_id: String,
    /// The group whose members are asked.
    pub producer_group: String,
    /// The queue that the message is for.
    pub queue_id: i32,
    /// What it waits for.
    pub state: TransactionState,
    /// When the message was stored, Unix milliseconds.
    pub store_timestamp: i64,
    /// The topic that the message is for.
    pub topic: String,
    /// The message's unique key.
    pub transaction_id: String,
}

/// A part of the transactions of a broker.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransactionList {
    /// More may lie behind this position of the log; `None`: this is the last part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
    /// Open transactions in all.
    pub open_count: i64,
    /// Parked ones in all.
    pub parked_count: i64,
    /// This part.
    pub transactions: Vec<OpenTransaction>,
}

bodies! {
    TransactionList: plain;
}
