//! Does the operations of a seed at a broker and in the model, and compares.

use std::time::{Duration, Instant};

use rmq_protocol::bodies::TransactionList;
use rmq_protocol::message::OffsetMessageId;
use rmq_transport::{Clock as _, ManualClock};

use crate::asking::{Answer, Asking, Call, Kind, NewMessage, PRODUCERS, Told};
use crate::halves::{Half, State, Unheard};
use crate::mistakes::Mistake;
use crate::model::{Coming, Due, Item, Message, Model, Moment, Place, Progress, Seen, Way};
use crate::operations::{Ending, LEVELS_MS, Left, Operation, QUEUES, Setting, Wait};
use crate::producer::Producer;
use crate::support::Client;

pub(crate) const TOPIC: &str = "t";
pub(crate) const GROUP: &str = "g";
/// Reads everything, and has no progress.
const WATCHERS: &str = "watchers";
/// Attempts of the group; one more, and a message is dead.
const ATTEMPTS: i32 = 2;
/// The level of the first retry.
const FIRST_RETRY: i32 = 3;
/// Where clocks begin, Unix milliseconds.
const START_MS: i64 = 1_800_000_000_250;
/// How many times time passes until all transactions that are open have been asked about.
const ROUNDS_MAX: usize = 6;

/// What serves clients: one broker, or a group.
pub(crate) trait Brokers {
    /// Whether another one serves as soon as the master has ended: no time passes between.
    const GOES_ON: bool;

    /// A client of whoever is the master.
    fn client(&self) -> Client;
    /// Where it is.
    fn address(&self) -> String;
    /// Stops the master in order.
    async fn stop(&mut self);
    /// Kills the master.
    async fn kill(&mut self, left: Left);
    /// Starts what was stopped or killed; there is a master, which serves.
    async fn start(&mut self);
    /// Whether the master has changed and nobody wanted that, as on a machine that is too busy.
    async fn has_changed(&mut self) -> bool;
    /// Ends all that runs.
    async fn end(&mut self);
}

/// What seeds have done.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) lives: usize,
    pub(crate) in_queues: usize,
    pub(crate) retries: usize,
    pub(crate) dead: usize,
    pub(crate) recalled: usize,
    pub(crate) questions: usize,
    pub(crate) committed: usize,
    pub(crate) rolled_back: usize,
    pub(crate) parked: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.in_queues += other.in_queues;
        self.retries += other.retries;
        self.dead += other.dead;
        self.recalled += other.recalled;
        self.questions += other.questions;
        self.committed += other.committed;
        self.rolled_back += other.rolled_back;
        self.parked += other.parked;
    }

    /// The smallest of them.
    pub(crate) fn least(&self) -> usize {
        let all = [
            self.lives,
            self.in_queues,
            self.retries,
            self.dead,
            self.recalled,
            self.questions,
            self.committed,
            self.rolled_back,
            self.parked,
        ];
        all.into_iter().min().unwrap_or(0)
    }
}

/// The clock of all brokers of a run.
pub(crate) fn clock() -> ManualClock {
    ManualClock::at(START_MS)
}

/// A seed on its way.
pub(crate) struct Run<B> {
    brokers: B,
    clock: ManualClock,
    setting: Setting,
    mistake: Mistake,
    model: Model,
    asking: Asking,
    producer: Producer,
    /// What takes longer does not come.
    patience: Duration,
    next_id: u32,
    /// What takes messages back, by message.
    handles: Vec<(u32, String)>,
    /// Without an answer so far.
    unheard: Option<Call>,
    /// When the last life of the broker ended.
    ended: Moment,
    lives: usize,
    questions: usize,
    /// Done so far.
    pub(crate) done: Vec<String>,
}

fn moment(clock: &ManualClock) -> Moment {
    Moment {
        wall_ms: clock.now_ms(),
        passed_ms: clock.monotonic_ms(),
    }
}

fn pick<T: Copy>(of: &[T], which: u64) -> Option<T> {
    let index = which.checked_rem(of.len() as u64)?;
    of.get(index as usize).copied()
}

impl<B: Brokers> Run<B> {
    /// Begins with brokers that run.
    pub(crate) async fn begin(
        brokers: B,
        clock: &ManualClock,
        setting: Setting,
        mistake: Mistake,
        patience: Duration,
    ) -> Result<Self, String> {
        let client = brokers.client();
        client.create_topic(TOPIC, QUEUES, 6).await;
        client
            .create_group(GROUP, |group| group.retry_max_times = ATTEMPTS)
            .await;
        client.create_group(WATCHERS, |_| {}).await;
        let now = moment(clock);
        let producer = Self::producer(&brokers, setting, mistake).await?;
        let mut model = Model::new(now, setting.has_jumps);
        for queue in 0..QUEUES {
            model.progress.insert(queue, Progress::default());
        }
        Ok(Self {
            brokers,
            clock: clock.clone(),
            setting,
            mistake,
            model,
            asking: Asking::new(client, mistake),
            producer,
            patience,
            next_id: 1,
            handles: Vec::new(),
            unheard: None,
            ended: now,
            lives: 1,
            questions: 0,
            done: Vec::new(),
        })
    }

    /// A member of the producer group; where the wall clock is set, of another one, so that nobody is asked.
    async fn producer(brokers: &B, setting: Setting, mistake: Mistake) -> Result<Producer, String> {
        let group = match mistake {
            Mistake::AsksNobody => "strangers",
            _ if setting.has_jumps => "strangers",
            _ => PRODUCERS,
        };
        Producer::join(&brokers.address(), group).await
    }

    /// Does all of it, and everything is there in the end.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) async fn all(&mut self, operations: &[Operation]) -> Result<(), String> {
        for operation in operations {
            self.done.push(format!("{operation:?}"));
            let step = Box::pin(self.step(operation)).await;
            self.or_changed(step).await?;
        }
        self.done.push("the end".to_owned());
        let end = Box::pin(self.end()).await;
        self.or_changed(end).await
    }

    /// What was wrong may be that there is another master.
    async fn or_changed(&mut self, mut step: Result<(), String>) -> Result<(), String> {
        while let Err(wrong) = step {
            if !self.brokers.has_changed().await {
                return Err(wrong);
            }
            self.done.push(format!("another master, as {wrong}"));
            self.ended = self.model.now;
            step = Box::pin(self.come_back(true)).await;
        }
        Ok(())
    }

    async fn step(&mut self, operation: &Operation) -> Result<(), String> {
        let answers = self.done.len() as u64;
        match operation {
            Operation::Pass { ms, answers } => {
                self.pass(*ms);
                self.settle(*answers).await
            }
            Operation::PassToNext { answers } => self.pass_to_next(*answers).await,
            Operation::Jump { by_ms } => {
                self.clock.jump_ms(*by_ms);
                self.model.now = moment(&self.clock);
                // The log knows of the jump before it knows of this one.
                let timer = Operation::SendLater {
                    queue: 0,
                    tag: 'a',
                    wait: Wait::Millis(1_000),
                };
                self.ask(&timer).await?;
                self.settle(answers).await
            }
            Operation::Stop { down_ms } => {
                self.brokers.stop().await;
                self.is_down(*down_ms, false).await
            }
            Operation::Crash {
                left,
                during,
                down_ms,
            } => {
                self.crash(*left, during.as_deref()).await?;
                self.is_down(*down_ms, true).await
            }
            request => {
                self.ask(request).await?;
                self.settle(answers).await
            }
        }
    }

    fn pass(&mut self, ms: i64) {
        self.clock.advance(Duration::from_millis(ms as u64));
        self.model.now = moment(&self.clock);
    }

    async fn pass_to_next(&mut self, answers: u64) -> Result<(), String> {
        let now = self.model.now;
        let next = [self.model.next_ms(), self.model.halves.next_ms(now)];
        let left_ms = next.into_iter().flatten().min().unwrap_or(1_000);
        if left_ms > 1 {
            self.pass(left_ms - 1);
            self.settle(answers).await?;
            // Nothing comes that is due a millisecond later.
            self.look().await?;
        }
        self.pass(1);
        self.settle(answers).await
    }

    /// Asks for something that is answered.
    async fn ask(&mut self, operation: &Operation) -> Result<(), String> {
        let Some(call) = self.plan(operation).await? else {
            return Ok(());
        };
        self.call(call).await
    }

    async fn call(&mut self, call: Call) -> Result<(), String> {
        self.unheard = Some(call.clone());
        let answer = self.asking.call(&call).await;
        self.apply(&call, answer)?;
        self.unheard = None;
        Ok(())
    }

    /// Kills the broker, which may be at something.
    async fn crash(&mut self, left: Left, during: Option<&Operation>) -> Result<(), String> {
        let call = match during {
            Some(Operation::Pass { ms, .. }) => {
                self.pass(*ms);
                None
            }
            Some(operation) => self.plan(operation).await?,
            None => None,
        };
        // How far it comes.
        let turns = self.done.len() % 7;
        let (asking, brokers) = (&self.asking, &mut self.brokers);
        let kill = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            brokers.kill(left).await;
        };
        let asked = async {
            match &call {
                Some(call) => Some(asking.call(call).await),
                None => None,
            }
        };
        let (answer, ()) = tokio::join!(asked, kill);
        self.unheard = call.clone();
        if let (Some(call), Some(answer @ Answer::Done(_))) = (call, answer) {
            self.apply(&call, answer)?;
            self.unheard = None;
        }
        Ok(())
    }

    /// Chooses what an operation is done to; `None`: there is nothing.
    async fn plan(&mut self, operation: &Operation) -> Result<Option<Call>, String> {
        let call = match *operation {
            Operation::Send { queue, tag, bytes } => self.send(queue, tag, bytes, Kind::Plain),
            Operation::SendLater { queue, tag, wait } => {
                let kind = match wait {
                    Wait::Level(level) => Kind::Level(level),
                    Wait::Seconds(seconds) => Kind::Seconds(seconds),
                    Wait::Millis(ms) => Kind::Millis(ms),
                    Wait::Until(ms) => Kind::Until(self.model.now.wall_ms + ms),
                };
                self.send(queue, tag, 20, kind)
            }
            Operation::SendHalf {
                queue,
                tag,
                immunity_s,
            } => {
                let immunity_s = immunity_s.filter(|_| !self.setting.has_jumps);
                self.send(queue, tag, 30, Kind::Half(immunity_s))
            }
            Operation::Recall { which } => {
                let index: Vec<usize> = (0..self.handles.len()).collect();
                let Some((id, handle)) = pick(&index, which).map(|index| &self.handles[index])
                else {
                    return Ok(None);
                };
                Call::Recall {
                    id: *id,
                    handle: handle.clone(),
                }
            }
            Operation::End { which, ending } => {
                let Some(id) = pick(&self.model.halves.with_place(), which) else {
                    return Ok(None);
                };
                let place = self.model.halves.get(id).and_then(|half| half.place);
                Call::End {
                    id,
                    place: place.ok_or("a place")?,
                    ending,
                }
            }
            Operation::Resume { which } => {
                let Some(id) = pick(&self.model.halves.unended(), which) else {
                    return Ok(None);
                };
                let Some(message_id) = self.listed_as(id).await? else {
                    return Err(format!("transactions: {id} is not listed"));
                };
                Call::Resume { id, message_id }
            }
            Operation::Consume { queue, tag, count } => {
                return self.consume(queue, tag, count).await;
            }
            Operation::GiveBack { which, level } => return Ok(self.give_back(which, level)),
            Operation::SetProgress { queue, to } => Call::Commit {
                queue,
                offset: (to % (self.model.end(Place::Queue(queue)) as u64 + 1)) as i64,
            },
            Operation::Lock { client, is_on } => Call::Lock { client, is_on },
            Operation::Pass { .. }
            | Operation::PassToNext { .. }
            | Operation::Jump { .. }
            | Operation::Stop { .. }
            | Operation::Crash { .. } => return Ok(None),
        };
        Ok(Some(call))
    }

    fn send(&mut self, queue: i32, tag: char, bytes: usize, kind: Kind) -> Call {
        let id = self.next_id;
        self.next_id += 1;
        let message = Message { tag, bytes };
        self.model.messages.insert(id, message);
        let now = self.model.now;
        let (due, way) = match kind {
            Kind::Plain | Kind::Half(_) => (Due::AT_ONCE, Way::Sent),
            Kind::Level(level) => (
                Due::after(now, LEVELS_MS[level as usize - 1]),
                Way::Level(level),
            ),
            Kind::Seconds(seconds) => (Due::after(now, seconds * 1_000), Way::Timer),
            Kind::Millis(ms) => (Due::after(now, ms), Way::Timer),
            Kind::Until(at_ms) => (Due::at(at_ms), Way::Timer),
        };
        let to = Place::Queue(queue);
        let coming = match due.left_ms(now) {
            ..=0 => Coming {
                to,
                due: Due::AT_ONCE,
                way: Way::Sent,
            },
            _ => Coming { to, due, way },
        };
        Call::Send(NewMessage {
            id,
            queue,
            tag,
            body: message.body(id),
            kind,
            coming: (!matches!(kind, Kind::Half(_))).then_some(coming),
        })
    }

    /// The id under which a transaction is listed.
    async fn listed_as(&self, id: u32) -> Result<Option<String>, String> {
        let key = format!("u{id}");
        for is_parked in [false, true] {
            let list = self.asking.transactions(is_parked).await?;
            let mut rows = list.transactions.into_iter();
            if let Some(row) = rows.find(|row| row.transaction_id == key) {
                return Ok(Some(row.offset_msg_id));
            }
        }
        Ok(None)
    }

    /// The group reads on, and gets all that it wants of what lies there.
    async fn consume(
        &mut self,
        queue: i32,
        tag: Option<char>,
        count: i32,
    ) -> Result<Option<Call>, String> {
        let place = Place::Queue(queue);
        let at = self.asking.progress(queue).await?;
        let known = self.model.progress[&queue].at;
        if at != known {
            return Err(format!(
                "progress: the group continues at {at:?} of queue {queue}, and {known:?} was told"
            ));
        }
        let from = at.unwrap_or(0);
        let (seen, next) = self.asking.read(place, from, GROUP, tag, count).await?;
        let slots = self.model.slots(place);
        let (begin, end) = (from as usize, next as usize);
        let Some(passed) = slots.get(begin..end).filter(|_| begin <= end) else {
            return Err(format!(
                "progress: the group is sent from {from} to {next} of {}",
                slots.len()
            ));
        };
        let is_wanted =
            |item: &Item| tag.is_none_or(|tag| self.model.messages[&item.id].tag == tag);
        let wanted: Vec<Item> = passed
            .iter()
            .map(|slot| slot.item)
            .filter(is_wanted)
            .collect();
        let got: Result<Vec<Item>, String> = seen.iter().map(Seen::item).collect();
        let got = got?;
        if got != wanted {
            return Err(format!(
                "skipped: from {from} to {next} the group got {got:?} in place of {wanted:?}"
            ));
        }
        if end == begin && begin < slots.len() {
            return Err(format!(
                "starved: the group gets nothing at {from}, and {} lie there",
                slots.len()
            ));
        }
        Ok(Some(Call::Commit {
            queue,
            offset: next,
        }))
    }

    fn give_back(&mut self, which: u64, level: i32) -> Option<Call> {
        let mut places = vec![Place::Retries];
        if which.is_multiple_of(2) || self.model.end(Place::Retries) == 0 {
            places.extend((0..QUEUES).map(Place::Queue));
        }
        let lying: Vec<(Place, usize)> = places
            .into_iter()
            .flat_map(|place| {
                let slots = self.model.slots(place).iter().enumerate();
                let free = slots.filter(|(_, slot)| !slot.is_given_back);
                free.map(move |(index, _)| (place, index))
            })
            .collect();
        let (place, index) = pick(&lying, which / 2)?;
        let slot = self.model.places.get_mut(&place)?.get_mut(index)?;
        slot.is_given_back = true;
        let (item, position) = (slot.item, slot.position);
        let coming = if item.attempt >= ATTEMPTS || level < 0 {
            Coming {
                to: Place::Dead,
                due: Due::AT_ONCE,
                way: Way::Sent,
            }
        } else {
            let level = match level {
                0 => item.attempt + FIRST_RETRY,
                level => level,
            };
            Coming {
                to: Place::Retries,
                due: Due::after(self.model.now, LEVELS_MS[level as usize - 1]),
                way: Way::Level(level),
            }
        };
        Some(Call::GiveBack {
            position,
            level,
            item: Item {
                attempt: item.attempt + 1,
                ..item
            },
            coming,
        })
    }

    /// The model does what the broker says that it has done.
    fn apply(&mut self, call: &Call, answer: Answer) -> Result<(), String> {
        let told = match answer {
            Answer::Done(told) => told,
            Answer::Refused(refused) => return self.is_refused(call, &format!("{refused:?}")),
            Answer::Unheard(error) => return Err(format!("unheard: {call:?}: {error}")),
        };
        let now = self.model.now;
        match (call, told) {
            (Call::Send(new), Told::Sent(sent)) => match (new.kind, new.coming) {
                (Kind::Half(immunity_s), _) => {
                    let id: Result<OffsetMessageId, _> = sent.msg_id.parse();
                    let id = id.map_err(|error| format!("{}: {error}", sent.msg_id))?;
                    let place = (sent.queue_offset, id.position.0 as i64);
                    let half = Half::new(new.queue, immunity_s, Some(place), now);
                    self.model.halves.begin(new.id, half);
                }
                (_, None) => return Err("a message that goes nowhere".to_owned()),
                (_, Some(coming)) => {
                    let end = self.model.end(coming.to);
                    if coming.way == Way::Sent && sent.queue_offset != end {
                        return Err(format!(
                            "offsets: {} is acknowledged at {}, and {end} is next at {:?}",
                            new.id, sent.queue_offset, coming.to
                        ));
                    }
                    if coming.way == Way::Timer {
                        let handle = sent.recall_handle.ok_or("a timer without a handle")?;
                        self.handles.push((new.id, handle));
                    }
                    self.model.expect(
                        Item {
                            id: new.id,
                            attempt: 0,
                        },
                        coming,
                    );
                }
            },
            (Call::GiveBack { item, coming, .. }, _) => self.model.expect(*item, *coming),
            (Call::Recall { id, .. }, _) => {
                let item = Item {
                    id: *id,
                    attempt: 0,
                };
                let is_waiting = self.model.coming.contains_key(&item);
                if !is_waiting && !self.model.is_recalled(*id) {
                    return Err(format!(
                        "recalled: {id} is taken back, and was delivered before"
                    ));
                }
                self.model.recall(item);
            }
            (Call::End { id, ending, .. }, _) => {
                if *ending != Ending::Unknown
                    && let Some(queue) = self.model.halves.end(*id, *ending)?
                {
                    self.model.commit(*id, queue);
                }
            }
            (Call::Resume { id, .. }, _) => self.model.halves.resume(*id, now),
            (Call::Commit { queue, offset }, _) => {
                let progress = self.model.progress.entry(*queue).or_default();
                progress.set(*offset);
            }
            (Call::Lock { client, .. }, Told::Locked(is_theirs)) => {
                let is_free = self.model.holder.is_none_or(|holder| holder == *client);
                if is_theirs != is_free {
                    return Err(format!(
                        "lock: {client} has it: {is_theirs}, and the holder is {:?}",
                        self.model.holder
                    ));
                }
                if is_theirs {
                    self.model.holder = Some(*client);
                }
            }
            (Call::Lock { client, .. }, _) => {
                let holder = &mut self.model.holder;
                *holder = holder.filter(|holder| holder != client);
            }
            (call, told) => return Err(format!("{call:?} is told {told:?}")),
        }
        Ok(())
    }

    /// Some requests come too late.
    fn is_refused(&self, call: &Call, refused: &str) -> Result<(), String> {
        let is_right = match call {
            Call::Recall { id, .. } => {
                let item = Item {
                    id: *id,
                    attempt: 0,
                };
                !self.model.coming.contains_key(&item)
            }
            Call::End { id, .. } => {
                let state = self.model.halves.state(*id);
                matches!(state, Some(State::Committed | State::RolledBack))
            }
            _ => false,
        };
        match is_right {
            true => Ok(()),
            false => Err(format!("refused: {call:?}: {refused}")),
        }
    }

    /// Waits until all that is due is there, and compares.
    async fn settle(&mut self, answers: u64) -> Result<(), String> {
        let began = Instant::now();
        let mut has_waited = false;
        loop {
            self.look().await?;
            self.hear(answers).await?;
            let now = self.model.now;
            let lacking = self.model.lacking();
            let wrong = match lacking.or_else(|| self.model.halves.unasked(now)) {
                Some(lacking) => lacking,
                None => match self.compare().await? {
                    Ok(()) => return self.model.is_sorted(),
                    Err(wrong) => wrong,
                },
            };
            if began.elapsed() > self.patience {
                return Err(wrong);
            }
            if wrong.starts_with("unasked") && !has_waited && began.elapsed() > self.patience / 4 {
                // The task that asks began after the clock was moved: it asks nobody for a while.
                has_waited = true;
                self.pass(crate::halves::TIME_OUT_MS);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads what came.
    async fn look(&mut self) -> Result<(), String> {
        let mut places: Vec<Place> = (0..QUEUES).map(Place::Queue).collect();
        let is_back = |item: &Item| item.attempt > 0;
        let unheard = self.unheard.as_ref().and_then(Call::brings);
        let has_retries = self.model.end(Place::Retries) + self.model.end(Place::Dead) > 0
            || self.model.coming.keys().any(is_back)
            || unheard.is_some_and(|(item, _)| is_back(&item));
        if has_retries {
            places.extend([Place::Retries, Place::Dead]);
        }
        let mut came = Vec::new();
        for place in places {
            let mut offset = self.model.end(place);
            loop {
                let read = self.asking.read(place, offset, WATCHERS, None, 32).await;
                let (seen, next) = read?;
                if seen.is_empty() {
                    break;
                }
                came.extend(seen);
                offset = next;
            }
        }
        came.iter()
            .try_for_each(|seen| self.model.arrived(seen, unheard))
    }

    /// Producers are asked, and answer.
    async fn hear(&mut self, answers: u64) -> Result<(), String> {
        if self.model.halves.is_empty() {
            return Ok(());
        }
        self.producer.listen().await?;
        while let Some(asked) = self.producer.question() {
            let (question, body) = asked?;
            self.questions += 1;
            let now = self.model.now;
            self.model.halves.asked(&question, now)?;
            let id = question.id;
            if self.model.messages[&id].body(id) != body {
                return Err(format!("changed: {question:?} has body {body}"));
            }
            let ending = Ending::of(answers.rotate_right(id % 64));
            let place = (question.offset, question.position);
            self.call(Call::End { id, place, ending }).await?;
        }
        Ok(())
    }

    /// Compares the transactions; the inner error may pass.
    async fn compare(&mut self) -> Result<Result<(), String>, String> {
        if self.model.halves.is_empty() {
            return Ok(Ok(()));
        }
        let open = self.asking.transactions(false).await?;
        let parked = match open.parked_count {
            0 => TransactionList::default(),
            _ => self.asking.transactions(true).await?,
        };
        let now = self.model.now;
        Ok(self.model.halves.compare(&open, &parked, now))
    }

    /// The broker has ended, time passes, and it comes back.
    async fn is_down(&mut self, ms: i64, is_crash: bool) -> Result<(), String> {
        self.ended = self.model.now;
        if B::GOES_ON {
            self.come_back(is_crash).await?;
            self.pass(ms);
            return self.settle(0).await;
        }
        self.pass(ms);
        self.come_back(is_crash).await
    }

    /// The broker comes back, and has everything; what nobody heard of is done or not.
    async fn come_back(&mut self, is_crash: bool) -> Result<(), String> {
        self.brokers.start().await;
        self.lives += 1;
        self.asking.client = self.brokers.client();
        self.producer = Self::producer(&self.brokers, self.setting, self.mistake).await?;
        self.model.holder = None;
        self.look_at_parked().await?;
        let unheard = match &self.unheard {
            Some(Call::Send(NewMessage {
                id,
                queue,
                kind: Kind::Half(immunity_s),
                ..
            })) => Unheard::Half {
                id: *id,
                queue: *queue,
                immunity_s: *immunity_s,
            },
            Some(Call::End { id, ending, .. }) => Unheard::End {
                id: *id,
                ending: *ending,
            },
            Some(Call::Resume { id, .. }) => Unheard::Resume { id: *id },
            _ => Unheard::Nothing,
        };
        let open = self.asking.transactions(false).await?;
        let parked = self.asking.transactions(true).await?;
        let (ended, now) = (self.ended, self.model.now);
        let halves = &mut self.model.halves;
        if let Some((id, queue)) = halves.found(&open, &parked, ended, now, unheard)? {
            self.model.commit(id, queue);
        }
        let asked = self.unheard.clone();
        self.look().await?;
        self.unheard = None;
        self.settle(0).await?;
        if let Some(call @ Call::Recall { .. }) = &asked {
            // Who has heard nothing asks again.
            self.call(call.clone()).await?;
        }
        for queue in 0..QUEUES {
            let unheard = match &asked {
                Some(Call::Commit { queue: of, offset }) if *of == queue => Some(*offset),
                _ => None,
            };
            let at = self.asking.progress(queue).await?;
            let progress = self.model.progress.entry(queue).or_default();
            progress.found(at, is_crash, unheard)?;
        }
        self.read_again().await
    }

    /// What waits, waits once, and all that was acknowledged does.
    async fn look_at_parked(&mut self) -> Result<(), String> {
        let levels = 1..=LEVELS_MS.len() as i32;
        let places = levels.map(Place::Level).chain([Place::Timers]);
        let unheard = self.unheard.as_ref().and_then(Call::brings);
        for place in places {
            loop {
                let offset = self.model.parked(place);
                let read = self.asking.read(place, offset, WATCHERS, None, 32).await;
                let (seen, _) = read?;
                if seen.is_empty() {
                    break;
                }
                for seen in &seen {
                    self.model.is_parked(seen, unheard)?;
                }
            }
        }
        self.model.not_parked().map_or(Ok(()), Err)
    }

    /// Everything lies where it lay.
    async fn read_again(&mut self) -> Result<(), String> {
        let places: Vec<Place> = self.model.places.keys().copied().collect();
        for place in places {
            let mut offset = 0;
            while offset < self.model.end(place) {
                let read = self.asking.read(place, offset, WATCHERS, None, 32).await;
                let (seen, _) = read?;
                if seen.is_empty() {
                    return Err(format!("lost: {place:?} has nothing at {offset} any more"));
                }
                for (index, seen) in seen.iter().enumerate() {
                    let slot = self.model.slots(place).get(offset as usize + index);
                    let is_same = slot.is_some_and(|slot| slot.position == seen.position);
                    let item = seen.item()?;
                    if !is_same || slot.is_none_or(|slot| slot.item != item) {
                        return Err(format!(
                            "offsets: {place:?} has {seen:?} in place of {slot:?}"
                        ));
                    }
                    self.model.is_whole(seen, item)?;
                }
                offset += seen.len() as i64;
            }
        }
        Ok(())
    }

    /// All that waits comes; then nothing more does.
    async fn end(&mut self) -> Result<(), String> {
        while let Some(ms) = self.model.last_ms() {
            self.pass(ms);
            self.settle(0).await?;
        }
        for answers in 0..ROUNDS_MAX as u64 {
            let now = self.model.now;
            let Some(ms) = self.model.halves.next_ms(now) else {
                break;
            };
            self.pass(ms);
            self.settle(answers).await?;
        }
        self.brokers.stop().await;
        self.is_down(1_000, false).await?;
        self.look().await
    }

    /// Ends the brokers; what was done.
    pub(crate) async fn finish(mut self) -> Counts {
        self.brokers.end().await;
        let model = &self.model;
        let queues = (0..QUEUES).map(|queue| model.slots(Place::Queue(queue)).len());
        let ended = |state| model.halves.count(state);
        Counts {
            lives: self.lives,
            in_queues: queues.sum(),
            retries: model.slots(Place::Retries).len(),
            dead: model.slots(Place::Dead).len(),
            recalled: model.recalled(),
            questions: self.questions,
            committed: ended(State::Committed),
            rolled_back: ended(State::RolledBack),
            parked: ended(State::Parked),
        }
    }
}
