//! What the broker has promised of transactions: nothing of a half message is seen before its commit was asked for, each ends once, and producers
//! are asked at the times that the settings say, a number of times, and no more.

use std::collections::BTreeMap;

use rmq_protocol::bodies::TransactionList;

use crate::model::Moment;
use crate::operations::Ending;

/// Checks, and then a transaction is parked.
pub(crate) const CHECKS_MAX: u16 = 2;
/// Before the first check, and before any check after a start, milliseconds.
pub(crate) const TIME_OUT_MS: i64 = 6_000;
/// Before the second check, milliseconds; before each further one twice as long.
const INTERVAL_MS: i64 = 30_000;
/// Rows that came or changed are looked at together, milliseconds.
const TOGETHER_MS: i64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Parked,
    Committed,
    RolledBack,
}

/// A half message.
#[derive(Debug, Clone)]
pub(crate) struct Half {
    pub(crate) queue: i32,
    pub(crate) state: State,
    /// Its queue offset and its position, when its producer knows them.
    pub(crate) place: Option<(i64, i64)>,
    first_wait_ms: i64,
    stored: Moment,
    checks: u16,
    checked: Option<Moment>,
    /// Nobody is asked before, and it is not parked before, in time that has passed.
    earliest_ms: i64,
    /// Then somebody is asked, or it is parked.
    latest_ms: i64,
}

impl Half {
    pub(crate) fn new(
        queue: i32,
        immunity_s: Option<i32>,
        place: Option<(i64, i64)>,
        stored: Moment,
    ) -> Self {
        let first_wait_ms = immunity_s.map_or(TIME_OUT_MS, |seconds| i64::from(seconds) * 1_000);
        let due_ms = stored.passed_ms + first_wait_ms;
        Self {
            queue,
            state: State::Open,
            place,
            first_wait_ms,
            stored,
            checks: 0,
            checked: None,
            earliest_ms: due_ms,
            latest_ms: due_ms,
        }
    }

    fn wait_ms(&self) -> i64 {
        match self.checks {
            0 => self.first_wait_ms,
            checks => INTERVAL_MS << (checks - 1),
        }
    }

    fn asked(&mut self, checks: u16, at: Moment) {
        self.checks = checks;
        self.checked = Some(at);
        let due_ms = at.passed_ms + self.wait_ms();
        (self.earliest_ms, self.latest_ms) = (due_ms, due_ms);
    }

    /// When lists say that its time comes.
    fn next_ms(&self) -> i64 {
        let last = self.checked.unwrap_or(self.stored);
        last.wall_ms + self.wait_ms()
    }

    fn is_open(&self) -> bool {
        self.state == State::Open
    }

    fn ended(&mut self, ending: Ending) {
        match ending {
            Ending::Commit => self.state = State::Committed,
            Ending::RollBack => self.state = State::RolledBack,
            Ending::Unknown => {}
        }
    }
}

/// A producer is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: u32,
    pub(crate) offset: i64,
    pub(crate) position: i64,
    /// Which check it is, from 1.
    pub(crate) number: u16,
    /// Where its message goes.
    pub(crate) queue: i32,
}

/// What was asked for, and nobody heard an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unheard {
    Nothing,
    Half {
        id: u32,
        queue: i32,
        immunity_s: Option<i32>,
    },
    End {
        id: u32,
        ending: Ending,
    },
    Resume {
        id: u32,
    },
}

/// The transactions of a broker.
#[derive(Debug)]
pub(crate) struct Halves {
    halves: BTreeMap<u32, Half>,
    /// Whether producers are asked at all.
    has_checks: bool,
}

/// The id that a list has.
fn id_of(transaction: &str) -> Result<u32, String> {
    let number = transaction.strip_prefix('u').and_then(|id| id.parse().ok());
    number.ok_or_else(|| format!("transactions: nobody began {transaction:?}"))
}

impl Halves {
    pub(crate) const fn new(has_checks: bool) -> Self {
        Self {
            halves: BTreeMap::new(),
            has_checks,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.halves.is_empty()
    }

    pub(crate) fn begin(&mut self, id: u32, half: Half) {
        self.halves.insert(id, half);
    }

    pub(crate) fn state(&self, id: u32) -> Option<State> {
        Some(self.halves.get(&id)?.state)
    }

    pub(crate) fn count(&self, state: State) -> usize {
        let halves = self.halves.values();
        halves.filter(|half| half.state == state).count()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Half> {
        self.halves.get(&id)
    }

    /// Those whose producers know their place, ended ones too.
    pub(crate) fn with_place(&self) -> Vec<u32> {
        let halves = self.halves.iter();
        let known = halves.filter(|(_, half)| half.place.is_some());
        known.map(|(id, _)| *id).collect()
    }

    pub(crate) fn unended(&self) -> Vec<u32> {
        let halves = self.halves.iter();
        let unended = halves.filter(|(_, half)| matches!(half.state, State::Open | State::Parked));
        unended.map(|(id, _)| *id).collect()
    }

    /// The broker said that a transaction has ended. The queue where its message comes now, if any.
    ///
    /// # Errors
    /// It had ended.
    pub(crate) fn end(&mut self, id: u32, ending: Ending) -> Result<Option<i32>, String> {
        let half = self.halves.get_mut(&id).ok_or("nobody began it")?;
        if !matches!(half.state, State::Open | State::Parked) {
            return Err(format!(
                "half: transaction {id} is {:?}, and was ended again: {ending:?}",
                half.state
            ));
        }
        half.ended(ending);
        Ok((ending == Ending::Commit).then_some(half.queue))
    }

    /// A transaction is to be checked as if it never had been.
    pub(crate) fn resume(&mut self, id: u32, now: Moment) {
        let Some(half) = self.halves.get_mut(&id) else {
            return;
        };
        half.checks = 0;
        half.checked = None;
        match half.state {
            State::Parked => {
                let first_wait_ms = half.first_wait_ms;
                *half = Half::new(half.queue, None, None, now).with_first_wait(first_wait_ms);
            }
            _ => {
                let due_ms = half.stored.passed_ms + half.first_wait_ms;
                half.earliest_ms = due_ms.max(now.passed_ms);
                half.latest_ms = due_ms.max(now.passed_ms + TOGETHER_MS);
            }
        }
    }

    /// A producer is asked.
    pub(crate) fn asked(&mut self, question: &Question, now: Moment) -> Result<(), String> {
        let Some(half) = self.halves.get_mut(&question.id) else {
            return Err(format!("asked: nobody began {question:?}"));
        };
        let is_due = half.earliest_ms <= now.passed_ms;
        if !half.is_open() || half.checks >= CHECKS_MAX || !is_due {
            return Err(format!(
                "asked: {question:?} at {now:?}, too early or too late: {half:?}"
            ));
        }
        if question.number != half.checks + 1 || question.queue != half.queue {
            return Err(format!("asked: {question:?}, and not of {half:?}"));
        }
        let place = (question.offset, question.position);
        if *half.place.get_or_insert(place) != place {
            return Err(format!(
                "asked: {question:?} has another place than {half:?}"
            ));
        }
        half.asked(question.number, now);
        Ok(())
    }

    /// A transaction that somebody should have been asked about, if any.
    pub(crate) fn unasked(&self, now: Moment) -> Option<String> {
        let mut halves = self.halves.iter();
        let (id, half) = halves.find(|(_, half)| {
            self.has_checks
                && half.is_open()
                && half.checks < CHECKS_MAX
                && half.latest_ms <= now.passed_ms
        })?;
        Some(format!(
            "unasked: nobody is asked about {id}: {half:?} at {now:?}"
        ))
    }

    /// How long until somebody is asked, or a transaction is parked.
    pub(crate) fn next_ms(&self, now: Moment) -> Option<i64> {
        let open = self.halves.values().filter(|half| half.is_open());
        let left = open.map(|half| half.latest_ms - now.passed_ms);
        left.filter(|left_ms| *left_ms > 0 && self.has_checks).min()
    }

    /// Compares with what the broker lists, all that is due being done; what is due to be parked may be parked.
    pub(crate) fn compare(
        &mut self,
        open: &TransactionList,
        parked: &TransactionList,
        now: Moment,
    ) -> Result<(), String> {
        let mut listed = BTreeMap::new();
        for row in &parked.transactions {
            listed.insert(id_of(&row.transaction_id)?, None);
        }
        for row in &open.transactions {
            let id = id_of(&row.transaction_id)?;
            if listed.insert(id, Some(row)).is_some() {
                return Err(format!("transactions: {id} is open and parked"));
            }
        }
        let counted = (open.open_count + open.parked_count) as usize;
        if counted != listed.len() {
            return Err(format!(
                "transactions: {counted} counted, {} listed",
                listed.len()
            ));
        }
        for (id, half) in &mut self.halves {
            let is_to_park = self.has_checks
                && half.is_open()
                && half.checks >= CHECKS_MAX
                && half.latest_ms <= now.passed_ms;
            let row = listed.remove(id);
            let fits = match (half.state, row) {
                (State::Open, Some(None)) if is_to_park => {
                    half.state = State::Parked;
                    true
                }
                (State::Open, Some(Some(row))) if !is_to_park => {
                    let next_ms = half.next_ms();
                    row.checks == i32::from(half.checks)
                        && (!self.has_checks || row.next_check_timestamp == next_ms)
                }
                (State::Parked, Some(None)) | (State::Committed | State::RolledBack, None) => true,
                _ => false,
            };
            if !fits {
                return Err(format!(
                    "transactions: {id} is {half:?}, and listed as {row:?}"
                ));
            }
        }
        match listed.first_key_value() {
            Some((id, _)) => Err(format!("transactions: nobody began {id}, and it is listed")),
            None => Ok(()),
        }
    }

    /// The broker is back and lists these. `crashed`: when it ended. What `unheard` asked for is done, or not. The transaction that was committed, if
    /// any, and its queue.
    pub(crate) fn found(
        &mut self,
        open: &TransactionList,
        parked: &TransactionList,
        crashed: Moment,
        now: Moment,
        unheard: Unheard,
    ) -> Result<Option<(u32, i32)>, String> {
        let mut listed = BTreeMap::new();
        for row in &parked.transactions {
            listed.insert(id_of(&row.transaction_id)?, None);
        }
        for row in &open.transactions {
            listed.insert(id_of(&row.transaction_id)?, Some(row));
        }
        let mut committed = None;
        for (id, half) in &mut self.halves {
            let row = listed.remove(id);
            let was_due = half.earliest_ms <= crashed.passed_ms && self.has_checks;
            let is_resumed = matches!(unheard, Unheard::Resume { id: resumed } if resumed == *id);
            match (half.state, row) {
                (State::Committed | State::RolledBack, None) | (State::Parked, Some(None)) => {}
                (State::Open | State::Parked, None) => match unheard {
                    Unheard::End { id: ended, ending } if ended == *id => {
                        half.ended(ending);
                        if ending == Ending::Commit {
                            committed = Some((*id, half.queue));
                        }
                    }
                    _ => {
                        return Err(format!(
                            "lost: transaction {id}, {half:?}, is not listed after the start"
                        ));
                    }
                },
                (State::Open, Some(None)) if was_due && half.checks >= CHECKS_MAX => {
                    half.state = State::Parked;
                }
                (State::Open, Some(Some(row))) => {
                    let checks = row.checks as u16;
                    if is_resumed && checks == 0 {
                        half.checks = 0;
                        half.checked = None;
                        half.earliest_ms = half.stored.passed_ms + half.first_wait_ms;
                    } else if checks == half.checks + 1 && was_due {
                        half.asked(checks, crashed);
                    } else if checks != half.checks {
                        return Err(format!(
                            "checks: {half:?} was asked about {checks} times, the broker says after the start"
                        ));
                    }
                }
                (State::Parked, Some(Some(_))) if is_resumed => {
                    let first_wait_ms = half.first_wait_ms;
                    *half =
                        Half::new(half.queue, None, None, crashed).with_first_wait(first_wait_ms);
                }
                (_, row) => {
                    return Err(format!(
                        "transactions: {id} is {half:?}, and listed as {row:?} after the start"
                    ));
                }
            }
            // A start brings no storm.
            half.earliest_ms = half.earliest_ms.max(now.passed_ms + TIME_OUT_MS);
            half.latest_ms = half.latest_ms.max(half.earliest_ms);
        }
        for (id, row) in listed {
            match (unheard, row) {
                (
                    Unheard::Half {
                        id: begun,
                        queue,
                        immunity_s,
                    },
                    Some(_),
                ) if begun == id => {
                    let mut half = Half::new(queue, immunity_s, None, crashed);
                    half.earliest_ms = half.earliest_ms.max(now.passed_ms + TIME_OUT_MS);
                    half.latest_ms = half.earliest_ms;
                    self.halves.insert(id, half);
                }
                _ => return Err(format!("phantom: nobody began transaction {id}")),
            }
        }
        Ok(committed)
    }
}

impl Half {
    fn with_first_wait(mut self, first_wait_ms: i64) -> Self {
        self.first_wait_ms = first_wait_ms;
        let due_ms = self.stored.passed_ms + first_wait_ms;
        (self.earliest_ms, self.latest_ms) = (due_ms, due_ms);
        self
    }
}
