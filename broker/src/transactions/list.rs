//! Which transactions have not ended.

use rmq_protocol::bodies::{OpenTransaction, TransactionList, TransactionState};
use rmq_protocol::message::{LogPosition, property};

use super::half;
use crate::broker::Broker;
use crate::tables::half::Names;

/// Transactions in one answer, at most.
pub(crate) const LIST_MAX: usize = 256;

/// What an administrator wants to see.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Those behind this one, as an answer before said.
    pub(crate) behind: Option<u64>,
    /// Only those that are parked.
    pub(crate) is_parked: bool,
    pub(crate) max: usize,
}

/// A part of the transactions, in order of the log. May wait for the disk.
pub(crate) fn list(broker: &Broker, wanted: &Wanted) -> TransactionList {
    let transactions = &broker.transactions;
    let (open, parked) = transactions.table.counts();
    let max = wanted.max.clamp(1, LIST_MAX);
    let mut list = TransactionList {
        open_count: open as i64,
        parked_count: parked as i64,
        next: None,
        transactions: Vec::new(),
    };
    if wanted.is_parked {
        for (position, row) in transactions.table.parked_behind(wanted.behind, max) {
            let mut shown = shown(broker, position, &row.names, row.store_ms);
            shown.state = TransactionState::Parked;
            list.transactions.push(shown);
        }
    } else {
        for (position, row) in transactions.table.behind(wanted.behind, max) {
            let mut shown = shown(broker, position, &row.names, row.store_ms);
            shown.checks = row.checks.into();
            shown.last_check_timestamp = row.checked_ms;
            shown.next_check_timestamp = transactions.rules.due_ms(&row);
            list.transactions.push(shown);
        }
    }
    if list.transactions.len() == max {
        list.next = list.transactions.last().map(|last| last.commit_log_offset);
    }
    list
}

fn shown(broker: &Broker, position: u64, names: &Names, store_ms: i64) -> OpenTransaction {
    let mut shown = OpenTransaction {
        state: TransactionState::Open,
        producer_group: names.group.to_string(),
        topic: names.topic.to_string(),
        commit_log_offset: i64::try_from(position).unwrap_or(i64::MAX),
        store_timestamp: store_ms,
        ..OpenTransaction::default()
    };
    if let Ok(record) = broker.store.record_at(LogPosition(position))
        && let Some(view) = record.view()
    {
        let text = |name| view.property(name).unwrap_or_default().to_owned();
        shown.queue_id = half::goes_to(&view).1;
        shown.transaction_id = text(property::UNIQ_KEY);
        shown.keys = text(property::KEYS);
        shown.offset_msg_id = half::offset_id(&view, view.position());
        shown.body_size = view.body().len() as i64;
    }
    shown
}
