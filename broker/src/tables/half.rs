//! The table of half messages. Messages feed it: a half message adds its row, and the message that ends it removes the row, each together
//! with the message itself. Records of settings keep how often the producers of a half message were asked, and remove rows of what is rolled back.
//!
//! Key = position of the message in the log, decimal. Value, version 1, all numbers big-endian:
//!
//! ```text
//!  0  1  version = 1
//!  1  1  0: open, 1: parked, as its producers gave no answer
//!  2  8  offset in its queue
//! 10  8  when it was stored, Unix milliseconds
//! 18  4  seconds before the first check, as the producer wants; -1: the broker's setting
//! 22  2  checks that were sent
//! 24  8  when the last check was sent, Unix milliseconds; 0: none was
//! 32  8  parked: position of the half message that was parked; open: 0
//! 40  2  bytes of the producer group, then the group
//!     2  bytes of the topic, then the topic
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_protocol::message::{properties, property};
use rmq_protocol::names::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};
use rmq_store::{Applied, Apply, Change, FedRecord, FedRow, Feed, ReadError};
use tokio::sync::Notify;

use super::ids::HALF_MESSAGES;

const VERSION: u8 = 1;
const OPEN: u8 = 0;
const PARKED: u8 = 1;
/// Ends that are remembered, to tell one that comes twice from one that contradicts.
const ENDED_MAX: usize = 10_000;

/// Whose half messages they are, shared by all that are open.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Names {
    /// The producer group.
    pub(crate) group: Box<str>,
    /// The topic that the message is for.
    pub(crate) topic: Box<str>,
}

/// A half message that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) queue_offset: i64,
    /// When it was stored, Unix milliseconds.
    pub(crate) store_ms: i64,
    /// When the last check was sent, Unix milliseconds; 0: none was.
    pub(crate) checked_ms: i64,
    /// Seconds before the first check, as the producer wants; negative: the broker's setting.
    pub(crate) immunity_s: i32,
    /// Checks that were sent.
    pub(crate) checks: u16,
    pub(crate) names: Arc<Names>,
}

/// A half message whose producers gave no answer: a copy of it lies in `TRANS_CHECK_MAX_TIME_TOPIC`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parked {
    /// Position of the half message.
    pub(crate) half: u64,
    /// When it was parked, Unix milliseconds.
    pub(crate) store_ms: i64,
    pub(crate) names: Arc<Names>,
}

/// How a half message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    RollBack,
    /// It is parked, or comes back from there.
    Move,
}

/// What is known of a half message that has no row to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOpen {
    /// It has ended so, or is ending so now.
    Ended(Ending),
    /// It ended before this broker became the master, or never was.
    Unknown,
}

#[derive(Default)]
struct State {
    open: BTreeMap<u64, Half>,
    parked: BTreeMap<u64, Parked>,
    /// Position of the parked copy, by position of the half message.
    parked_of: HashMap<u64, u64>,
    /// What ends at this moment: appended, or about to be.
    ending: HashMap<u64, Ending>,
    /// The ends that this broker has brought about.
    ended: HashMap<u64, Ending>,
    ended_order: VecDeque<u64>,
    /// How many rows have these names.
    names: HashMap<Arc<Names>, u64>,
    /// Open half messages by topic.
    of_topic: HashMap<Box<str>, u64>,
    /// Rows that came or changed since the task that checks has asked. Empty where no such task runs.
    fresh: Option<Vec<u64>>,
}

/// Half messages, as the log says.
#[derive(Default)]
pub(crate) struct HalfTable {
    state: Mutex<State>,
    /// A row came.
    pub(crate) came: Notify,
}

/// A half message that ends now. While the claim is held nobody else ends it.
pub(crate) struct Claim<'a> {
    table: &'a HalfTable,
    position: u64,
    is_kept: bool,
}

impl Claim<'_> {
    /// What ends the half message is appended: the claim is held until the log says so.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.table.state.lock().ending.remove(&self.position);
        }
    }
}

impl HalfTable {
    /// The half message at a position, if it is open.
    pub(crate) fn get(&self, position: u64) -> Option<Half> {
        self.state.lock().open.get(&position).cloned()
    }

    /// The half message at a position, if it is open and does not end at this moment.
    pub(crate) fn unclaimed(&self, position: u64) -> Option<Half> {
        let state = self.state.lock();
        let half = state.open.get(&position)?;
        (!state.ending.contains_key(&position)).then(|| half.clone())
    }

    /// Where the copy of a half message is that was parked, and what is known of it.
    pub(crate) fn parked_of(&self, half: u64) -> Option<(u64, Parked)> {
        let state = self.state.lock();
        let position = *state.parked_of.get(&half)?;
        Some((position, state.parked.get(&position)?.clone()))
    }

    /// What is parked at a position.
    pub(crate) fn parked(&self, position: u64) -> Option<Parked> {
        self.state.lock().parked.get(&position).cloned()
    }

    /// Only the holder of the claim ends the half message at a position.
    ///
    /// # Errors
    /// It has ended, or ends.
    pub(crate) fn claim(&self, position: u64, ending: Ending) -> Result<Claim<'_>, NotOpen> {
        let mut state = self.state.lock();
        if let Some(before) = state.ending.get(&position) {
            return Err(NotOpen::Ended(*before));
        }
        if !state.open.contains_key(&position) && !state.parked.contains_key(&position) {
            return Err(state.why_not_open(position));
        }
        state.ending.insert(position, ending);
        Ok(Claim {
            table: self,
            position,
            is_kept: false,
        })
    }

    /// Why a position has no half message that can end.
    pub(crate) fn why_not_open(&self, position: u64) -> NotOpen {
        self.state.lock().why_not_open(position)
    }

    /// How many are open, and how many are parked.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.open.len(), state.parked.len())
    }

    /// Open half messages by topic, sorted.
    pub(crate) fn by_topic(&self) -> BTreeMap<String, u64> {
        let state = self.state.lock();
        let topics = state.of_topic.iter();
        topics
            .map(|(topic, count)| (topic.to_string(), *count))
            .collect()
    }

    /// The oldest one that is open: its position, and when it was stored.
    pub(crate) fn oldest(&self) -> Option<(u64, i64)> {
        let state = self.state.lock();
        let (position, half) = state.open.first_key_value()?;
        Some((*position, half.store_ms))
    }

    /// Open ones behind a position, in order of the log.
    pub(crate) fn behind(&self, position: Option<u64>, max: usize) -> Vec<(u64, Half)> {
        let from = position.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state.lock();
        let rows = state.open.range((from, Bound::Unbounded)).take(max);
        rows.map(|(position, half)| (*position, half.clone()))
            .collect()
    }

    /// Parked ones behind a position, in order of the log.
    pub(crate) fn parked_behind(&self, position: Option<u64>, max: usize) -> Vec<(u64, Parked)> {
        let from = position.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state.lock();
        let rows = state.parked.range((from, Bound::Unbounded)).take(max);
        rows.map(|(position, parked)| (*position, parked.clone()))
            .collect()
    }

    /// From now on [`take_fresh`](Self::take_fresh) tells of rows: of all that there are, and then of those that come or change.
    pub(crate) fn watch(&self) {
        let mut state = self.state.lock();
        state.fresh = Some(state.open.keys().copied().collect());
    }

    /// Nobody asks for rows any more.
    pub(crate) fn unwatch(&self) {
        self.state.lock().fresh = None;
    }

    /// Rows that came or changed since the last call.
    pub(crate) fn take_fresh(&self) -> Vec<(u64, Half)> {
        let mut state = self.state.lock();
        let fresh = state.fresh.as_mut().map(std::mem::take).unwrap_or_default();
        let rows = fresh.into_iter();
        rows.filter_map(|position| Some((position, state.open.get(&position)?.clone())))
            .collect()
    }
}

impl State {
    fn why_not_open(&self, position: u64) -> NotOpen {
        let ending = self.ending.get(&position);
        let ended = ending.or_else(|| self.ended.get(&position));
        ended.map_or(NotOpen::Unknown, |ending| NotOpen::Ended(*ending))
    }

    fn set(&mut self, position: u64, row: Row<'_>) {
        self.forget(position);
        let names = self.names(row.group, row.topic);
        match row.kind {
            Kind::Open => {
                *self.of_topic.entry(names.topic.clone()).or_default() += 1;
                let half = Half {
                    queue_offset: row.queue_offset,
                    store_ms: row.store_ms,
                    checked_ms: row.checked_ms,
                    immunity_s: row.immunity_s,
                    checks: row.checks,
                    names,
                };
                self.open.insert(position, half);
                if let Some(fresh) = &mut self.fresh {
                    fresh.push(position);
                }
            }
            Kind::Parked { half } => {
                self.parked_of.insert(half, position);
                let parked = Parked {
                    half,
                    store_ms: row.store_ms,
                    names,
                };
                self.parked.insert(position, parked);
            }
        }
    }

    fn names(&mut self, group: &str, topic: &str) -> Arc<Names> {
        let names = Names {
            group: group.into(),
            topic: topic.into(),
        };
        let known = self.names.get_key_value(&names);
        let names = known.map_or_else(|| Arc::new(names), |(known, _)| Arc::clone(known));
        *self.names.entry(Arc::clone(&names)).or_default() += 1;
        names
    }

    /// Takes a row out.
    fn forget(&mut self, position: u64) {
        let names = if let Some(half) = self.open.remove(&position) {
            if let Some(count) = self.of_topic.get_mut(&half.names.topic) {
                *count -= 1;
                if *count == 0 {
                    self.of_topic.remove(&half.names.topic);
                }
            }
            half.names
        } else if let Some(parked) = self.parked.remove(&position) {
            self.parked_of.remove(&parked.half);
            parked.names
        } else {
            return;
        };
        if let Some(count) = self.names.get_mut(&names) {
            *count -= 1;
            if *count == 0 {
                self.names.remove(&names);
            }
        }
    }

    /// A row is gone for good.
    fn remove(&mut self, position: u64) {
        self.forget(position);
        let Some(ending) = self.ending.remove(&position) else {
            return;
        };
        self.ended.insert(position, ending);
        self.ended_order.push_back(position);
        if self.ended_order.len() > ENDED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

impl Apply for HalfTable {
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError> {
        let row = change.value.map(Row::decode);
        let (Ok(position), true) = (change.key.parse(), !matches!(row, Some(None))) else {
            tracing::error!(
                key = change.key,
                bytes = change.value.map(<[u8]>::len),
                "a row of the half messages cannot be read and is ignored"
            );
            return Ok(());
        };
        let mut state = self.state.lock();
        match row.flatten() {
            Some(row) => {
                let tells = row.kind == Kind::Open && state.fresh.is_some();
                state.set(position, row);
                drop(state);
                if tells {
                    self.came.notify_one();
                }
            }
            None => state.remove(position),
        }
        Ok(())
    }
}

/// The change that says how often producers were asked, and when.
pub(crate) fn checked(position: u64, half: &Half) -> Change {
    let row = Row {
        kind: Kind::Open,
        queue_offset: half.queue_offset,
        store_ms: half.store_ms,
        immunity_s: half.immunity_s,
        checks: half.checks,
        checked_ms: half.checked_ms,
        group: &half.names.group,
        topic: &half.names.topic,
    };
    Change::set(HALF_MESSAGES, position.to_string(), row.encode())
}

/// The change that removes a row: the message is rolled back, or gone.
pub(crate) fn remove(position: u64) -> Change {
    Change::remove(HALF_MESSAGES, position.to_string())
}

/// A row as the log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row<'a> {
    kind: Kind,
    queue_offset: i64,
    store_ms: i64,
    immunity_s: i32,
    checks: u16,
    checked_ms: i64,
    group: &'a str,
    topic: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Parked { half: u64 },
}

impl<'a> Row<'a> {
    fn encode(&self) -> Vec<u8> {
        let mut out = self.before_place().to_vec();
        out.extend(self.queue_offset.to_be_bytes());
        out.extend(self.store_ms.to_be_bytes());
        out.extend(self.behind_place());
        out
    }

    /// What a row has before the place of its message.
    fn before_place(&self) -> [u8; 2] {
        let kind = match self.kind {
            Kind::Open => OPEN,
            Kind::Parked { .. } => PARKED,
        };
        [VERSION, kind]
    }

    /// What a row has behind the place of its message.
    fn behind_place(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(26 + self.group.len() + self.topic.len());
        let half = match self.kind {
            Kind::Open => 0,
            Kind::Parked { half } => half,
        };
        out.extend(self.immunity_s.to_be_bytes());
        out.extend(self.checks.to_be_bytes());
        out.extend(self.checked_ms.to_be_bytes());
        out.extend(half.to_be_bytes());
        push_text(&mut out, self.group);
        push_text(&mut out, self.topic);
        out
    }

    fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let [version, kind] = take(&mut bytes)?;
        let mut row = Self {
            kind: Kind::Open,
            queue_offset: i64::from_be_bytes(take(&mut bytes)?),
            store_ms: i64::from_be_bytes(take(&mut bytes)?),
            immunity_s: i32::from_be_bytes(take(&mut bytes)?),
            checks: u16::from_be_bytes(take(&mut bytes)?),
            checked_ms: i64::from_be_bytes(take(&mut bytes)?),
            group: "",
            topic: "",
        };
        let half = u64::from_be_bytes(take(&mut bytes)?);
        row.kind = match (version, kind) {
            (VERSION, OPEN) => Kind::Open,
            (VERSION, PARKED) => Kind::Parked { half },
            _ => return None,
        };
        row.group = take_text(&mut bytes)?;
        row.topic = take_text(&mut bytes)?;
        Some(row)
    }
}

/// What is read of a row is written as it was read.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_back(value: &[u8]) {
    if let Some(row) = Row::decode(value) {
        assert_eq!(Row::decode(&row.encode()), Some(row));
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    // Properties are shorter.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(&text.as_bytes()[..usize::from(length)]);
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_be_bytes(take(bytes)?);
    let (text, rest) = bytes.split_at_checked(usize::from(length))?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

/// What messages do to the table: a half message, also one that comes back from the parked, is open; one that is parked has its copy's row
/// instead; and a committed message has none.
pub(crate) struct OfMessages;

impl Feed for OfMessages {
    fn rows(&self, record: &FedRecord<'_>, rows: &mut Vec<FedRow>) {
        // Below 0 it names a message that has waited for its time.
        let prepared = u64::try_from(record.prepared_position).unwrap_or(0);
        let kind = match record.topic {
            TRANS_HALF_TOPIC => Some(Kind::Open),
            _ if prepared == 0 => return,
            TRANS_CHECK_MAX_TIME_TOPIC => Some(Kind::Parked { half: prepared }),
            _ => None,
        };
        if prepared != 0 {
            let key = prepared.to_string();
            rows.push(FedRow::removed(HALF_MESSAGES, key.as_bytes()));
        }
        let Some(kind) = kind else { return };
        let mut row = Row {
            kind,
            queue_offset: 0,
            store_ms: 0,
            immunity_s: -1,
            checks: 0,
            checked_ms: 0,
            group: "",
            topic: "",
        };
        let text = std::str::from_utf8(record.properties).unwrap_or_default();
        for (name, value) in properties::iter(text) {
            match name {
                property::PGROUP => row.group = value,
                property::REAL_TOPIC => row.topic = value,
                property::CHECK_IMMUNITY_TIME_IN_SECONDS => {
                    row.immunity_s = value.parse().unwrap_or(-1);
                }
                _ => {}
            }
        }
        rows.push(FedRow::numbered(
            HALF_MESSAGES,
            &row.before_place(),
            &row.behind_place(),
        ));
    }

    fn changed(&self, _key: &[u8], _is_set: bool) {
        // The table is in memory, and is told itself.
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rmq_protocol::message::LogPosition;
    use rmq_store::RecordPlace;

    use super::*;

    fn place(position: u64) -> RecordPlace {
        RecordPlace {
            position,
            queue_offset: position as i64 / 100,
            store_ms: 1_000 + position as i64,
        }
    }

    /// A message goes through its rows into the table, as the store does it.
    fn takes(table: &HalfTable, topic: &str, prepared: i64, text: &str, position: u64) {
        let record = FedRecord {
            topic,
            queue_id: 0,
            prepared_position: prepared,
            properties: text.as_bytes(),
        };
        let mut rows = Vec::new();
        OfMessages.rows(&record, &mut rows);
        for row in rows {
            let (key, value) = row.change(place(position));
            let key = std::str::from_utf8(&key).expect("digits");
            let end = LogPosition(position + 1);
            table
                .apply(&Applied::new(key, value.as_deref(), end))
                .expect("applied");
        }
    }

    const TEXT: &str = "PGROUP\u{1}g\u{2}REAL_TOPIC\u{1}t\u{2}REAL_QID\u{1}1\u{2}";

    #[test]
    fn a_half_message_is_open_until_a_message_that_names_it_comes() {
        let table = HalfTable::default();
        takes(&table, TRANS_HALF_TOPIC, 0, TEXT, 500);
        let half = table.get(500).expect("open");
        assert_eq!(
            (half.queue_offset, half.store_ms, half.checks),
            (5, 1_500, 0)
        );
        assert_eq!((&*half.names.group, &*half.names.topic), ("g", "t"));
        assert_eq!(half.immunity_s, -1);
        takes(&table, "t", 0, TEXT, 600);
        assert_eq!(table.counts(), (1, 0), "another message of the topic");
        let claim = table.claim(500, Ending::Commit).expect("open");
        claim.keep();
        takes(&table, "t", 500, "", 700);
        assert_eq!(table.counts(), (0, 0));
        assert_eq!(table.by_topic(), BTreeMap::new());
        let twice = table.claim(500, Ending::RollBack).err();
        assert_eq!(twice, Some(NotOpen::Ended(Ending::Commit)));
        assert_eq!(
            table.claim(501, Ending::Commit).err(),
            Some(NotOpen::Unknown)
        );
    }

    #[test]
    fn what_is_parked_can_come_back_or_end_and_names_are_forgotten_with_the_last() {
        let table = HalfTable::default();
        let own = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}60\u{2}";
        takes(&table, TRANS_HALF_TOPIC, 0, &format!("{TEXT}{own}"), 100);
        assert_eq!(table.get(100).expect("open").immunity_s, 60);
        takes(&table, TRANS_CHECK_MAX_TIME_TOPIC, 100, TEXT, 200);
        assert_eq!(table.counts(), (0, 1));
        let (at, parked) = table.parked_of(100).expect("parked");
        assert_eq!((at, parked.half, parked.store_ms), (200, 100, 1_200));
        takes(&table, TRANS_HALF_TOPIC, 200, TEXT, 300);
        assert_eq!(table.counts(), (1, 0));
        assert_eq!(table.parked_of(100), None);
        takes(&table, "t", 300, "", 400);
        assert_eq!(table.counts(), (0, 0));
        assert!(table.state.lock().names.is_empty());
    }

    #[test]
    fn a_claim_that_is_given_up_lets_others_end_it() {
        let table = HalfTable::default();
        takes(&table, TRANS_HALF_TOPIC, 0, TEXT, 1);
        let claim = table.claim(1, Ending::Commit).expect("open");
        let second = table.claim(1, Ending::RollBack).err();
        assert_eq!(second, Some(NotOpen::Ended(Ending::Commit)));
        assert_eq!(table.unclaimed(1), None);
        drop(claim);
        assert!(table.unclaimed(1).is_some());
        table.claim(1, Ending::RollBack).expect("open again").keep();
        let end = LogPosition(9);
        table.apply(&Applied::new("1", None, end)).expect("applied");
        assert_eq!(table.why_not_open(1), NotOpen::Ended(Ending::RollBack));
    }

    #[test]
    fn who_watches_sees_every_row_once() {
        let table = HalfTable::default();
        takes(&table, TRANS_HALF_TOPIC, 0, TEXT, 1);
        assert!(table.take_fresh().is_empty(), "nobody watches");
        table.watch();
        takes(&table, TRANS_HALF_TOPIC, 0, TEXT, 2);
        takes(&table, TRANS_HALF_TOPIC, 0, TEXT, 3);
        takes(&table, "t", 3, "", 4);
        let seen: Vec<u64> = table.take_fresh().into_iter().map(|row| row.0).collect();
        assert_eq!(seen, [1, 2]);
        let half = Half {
            checks: 4,
            checked_ms: 77,
            ..table.get(2).expect("open")
        };
        let row = Row {
            kind: Kind::Open,
            queue_offset: 0,
            store_ms: half.store_ms,
            immunity_s: -1,
            checks: 4,
            checked_ms: 77,
            group: "g",
            topic: "t",
        };
        let end = LogPosition(5);
        let value = row.encode();
        table
            .apply(&Applied::new("2", Some(&value), end))
            .expect("applied");
        assert_eq!(table.take_fresh(), [(2, half)]);
        table.unwatch();
        takes(&table, TRANS_HALF_TOPIC, 0, TEXT, 8);
        assert!(table.take_fresh().is_empty());
    }

    #[test]
    fn rows_that_cannot_be_read_change_nothing() {
        let table = HalfTable::default();
        takes(&table, TRANS_HALF_TOPIC, 0, TEXT, 1);
        let end = LogPosition(5);
        for (key, value) in [
            ("x", &b"\x01"[..]),
            ("1", b""),
            ("1", b"\x02\x00"),
            ("1", b"\x01\x07"),
        ] {
            table
                .apply(&Applied::new(key, Some(value), end))
                .expect("applied");
        }
        assert_eq!(table.counts(), (1, 0));
    }

    proptest! {
        #[test]
        fn rows_survive_their_encoding(
            half in any::<u64>(), queue_offset in any::<i64>(), store_ms in any::<i64>(), checked_ms in any::<i64>(),
            immunity_s in any::<i32>(), checks in any::<u16>(), parked in any::<bool>(),
            group in "[a-z%é]{0,200}", topic in "[a-zA-Z]{1,127}", cut in 0_usize..40,
        ) {
            let kind = match parked {
                true => Kind::Parked { half },
                false => Kind::Open,
            };
            let row = Row { kind, queue_offset, store_ms, immunity_s, checks, checked_ms, group: &group, topic: &topic };
            let bytes = row.encode();
            prop_assert_eq!(Row::decode(&bytes), Some(row));
            prop_assert_eq!(Row::decode(&bytes[..bytes.len().saturating_sub(cut + 1)]), None);
        }

        /// Whatever comes in whatever order: what is open and parked is what a set says, and counts agree.
        #[test]
        fn the_table_is_what_the_messages_say(steps in prop::collection::vec((0_u8..4, 0_usize..8), 0..80)) {
            let table = HalfTable::default();
            let (mut open, mut parked) = (BTreeSet::new(), BTreeSet::new());
            for (step, (how, which)) in (1_u64..).zip(&steps) {
                let position = step * 10;
                let pick = |set: &BTreeSet<u64>| set.iter().copied().nth(*which);
                match how {
                    0 => {
                        takes(&table, TRANS_HALF_TOPIC, 0, TEXT, position);
                        open.insert(position);
                    }
                    1 => if let Some(half) = pick(&open) {
                        takes(&table, "t", half as i64, "", position);
                        open.remove(&half);
                    },
                    2 => if let Some(half) = pick(&open) {
                        takes(&table, TRANS_CHECK_MAX_TIME_TOPIC, half as i64, TEXT, position);
                        open.remove(&half);
                        parked.insert(position);
                    },
                    _ => if let Some(at) = pick(&parked) {
                        takes(&table, TRANS_HALF_TOPIC, at as i64, TEXT, position);
                        parked.remove(&at);
                        open.insert(position);
                    },
                }
                prop_assert_eq!(table.counts(), (open.len(), parked.len()));
                let of_topic = table.by_topic().get("t").copied().unwrap_or(0);
                prop_assert_eq!(of_topic as usize, open.len());
            }
            let rows: BTreeSet<u64> = table.behind(None, usize::MAX).into_iter().map(|row| row.0).collect();
            prop_assert_eq!(rows, open);
        }
    }
}
