//! What the broker has promised: where each message lies, or when it comes. Pure: it knows no broker and no clock but the moments that it is told.
//!
//! Each message is one of a broker's: sent, waiting for a level or a timer, half, given back or given up. Each copy of it lies at one place, at one
//! offset, at most once, never before its time, and is there as soon as its time has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::halves::Halves;

/// The same moment on both clocks, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall_ms: i64,
    /// Time that has passed; nobody sets this clock.
    pub(crate) passed_ms: i64,
}

/// A copy of a message: which, and how often it was consumed without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) id: u32,
    pub(crate) attempt: i32,
}

/// Where messages lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A queue of the topic.
    Queue(i32),
    /// What the group consumes again.
    Retries,
    /// What the group has given up.
    Dead,
    /// What waits for a level.
    Level(i32),
    /// What waits for a timer.
    Timers,
}

/// When something is due: when either clock says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    wall_ms: i64,
    passed_ms: i64,
}

impl Due {
    pub(crate) const AT_ONCE: Self = Self {
        wall_ms: i64::MIN,
        passed_ms: i64::MIN,
    };

    pub(crate) fn after(now: Moment, ms: i64) -> Self {
        Self {
            wall_ms: now.wall_ms + ms,
            passed_ms: now.passed_ms + ms,
        }
    }

    /// At a time of the wall clock, whatever passes.
    pub(crate) const fn at(wall_ms: i64) -> Self {
        Self {
            wall_ms,
            passed_ms: i64::MAX,
        }
    }

    /// How long it takes; not positive when it is due.
    pub(crate) fn left_ms(self, now: Moment) -> i64 {
        let wall_ms = self.wall_ms.saturating_sub(now.wall_ms);
        wall_ms.min(self.passed_ms.saturating_sub(now.passed_ms))
    }
}

/// What brings a message to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Its producer, or the consumer that gives it up.
    Sent,
    Level(i32),
    Timer,
    Commit,
}

/// A message that is going to lie somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coming {
    pub(crate) to: Place,
    pub(crate) due: Due,
    pub(crate) way: Way,
}

/// What never changes of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) tag: char,
    pub(crate) bytes: usize,
}

impl Message {
    pub(crate) fn body(&self, id: u32) -> String {
        let letter = char::from(b'a' + (id % 26) as u8);
        format!("{id}:{}", String::from(letter).repeat(self.bytes))
    }
}

/// A record as consumers get it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) place: Place,
    pub(crate) offset: i64,
    pub(crate) position: i64,
    pub(crate) attempt: i32,
    pub(crate) body: String,
    pub(crate) tag: Option<String>,
    /// The topic that a given back message was consumed of.
    pub(crate) retry_topic: Option<String>,
}

impl Seen {
    /// The message that it says it is.
    pub(crate) fn item(&self) -> Result<Item, String> {
        let id = self.body.split(':').next().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| format!("phantom: nobody sent {self:?}"))?;
        Ok(Item {
            id,
            attempt: self.attempt,
        })
    }
}

/// A message where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) item: Item,
    pub(crate) position: i64,
    pub(crate) is_given_back: bool,
}

/// Where the group continues in a queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) at: Option<i64>,
    /// What it was in this life of the broker: a crash may bring that back.
    before: Vec<Option<i64>>,
}

impl Progress {
    pub(crate) fn set(&mut self, to: i64) {
        self.before.push(self.at);
        self.at = Some(to);
    }

    /// The broker is back, and says this.
    pub(crate) fn found(
        &mut self,
        at: Option<i64>,
        is_crash: bool,
        unheard: Option<i64>,
    ) -> Result<(), String> {
        let is_known = at == self.at
            || is_crash && (self.before.contains(&at) || unheard.is_some() && unheard == at);
        if !is_known {
            return Err(format!(
                "progress: the group continues at {at:?} after the start, and was at {:?} (crash: {is_crash}), before that at {:?}",
                self.at, self.before
            ));
        }
        self.at = at;
        self.before.clear();
        Ok(())
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now: Moment,
    pub(crate) messages: BTreeMap<u32, Message>,
    pub(crate) places: BTreeMap<Place, Vec<Slot>>,
    pub(crate) coming: BTreeMap<Item, Coming>,
    /// Acknowledged and not looked at where they wait.
    parking: BTreeMap<Place, VecDeque<Item>>,
    /// How many of them lie at a place of waiting.
    parked: BTreeMap<Place, i64>,
    /// Taken back.
    recalled: BTreeSet<u32>,
    pub(crate) halves: Halves,
    pub(crate) progress: BTreeMap<i32, Progress>,
    /// Who may consume the queue in order.
    pub(crate) holder: Option<u8>,
    /// Whether the wall clock is never set: then timers come in the order of their times.
    is_in_order: bool,
    /// The last that came by each way.
    last: BTreeMap<Way, Due>,
    /// What came since, in no order: where it lies in the log, how and when it came.
    came: Vec<(i64, Way, Due, Item)>,
}

impl Model {
    pub(crate) fn new(now: Moment, has_jumps: bool) -> Self {
        Self {
            now,
            messages: BTreeMap::new(),
            places: BTreeMap::new(),
            coming: BTreeMap::new(),
            parking: BTreeMap::new(),
            parked: BTreeMap::new(),
            recalled: BTreeSet::new(),
            halves: Halves::new(!has_jumps),
            progress: BTreeMap::new(),
            holder: None,
            is_in_order: !has_jumps,
            last: BTreeMap::new(),
            came: Vec::new(),
        }
    }

    /// What lies at a place, from offset 0 on.
    pub(crate) fn slots(&self, place: Place) -> &[Slot] {
        self.places.get(&place).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn end(&self, place: Place) -> i64 {
        self.slots(place).len() as i64
    }

    /// A message is acknowledged.
    pub(crate) fn expect(&mut self, item: Item, coming: Coming) {
        match coming.way {
            Way::Level(level) => {
                let parking = self.parking.entry(Place::Level(level)).or_default();
                parking.push_back(item);
            }
            Way::Timer => {
                let parking = self.parking.entry(Place::Timers).or_default();
                parking.push_back(item);
            }
            Way::Sent | Way::Commit => {}
        }
        self.coming.insert(item, coming);
    }

    /// A consumer gets a record that it did not get before. `unheard`: what was asked for without an answer.
    pub(crate) fn arrived(
        &mut self,
        seen: &Seen,
        unheard: Option<(Item, Coming)>,
    ) -> Result<(), String> {
        let item = seen.item()?;
        let (place, end) = (seen.place, self.end(seen.place));
        if seen.offset != end {
            return Err(format!(
                "offsets: {item:?} lies at {place:?} {}, and {end} is next",
                seen.offset
            ));
        }
        let coming = match (self.coming.remove(&item), unheard) {
            (Some(coming), _) => coming,
            (None, Some((unheard, coming))) if unheard == item && !self.lies(item) => coming,
            (None, _) => return Err(self.why_not(item, place)),
        };
        if coming.to != place {
            return Err(format!(
                "place: {item:?} is at {place:?} and not at {:?}",
                coming.to
            ));
        }
        let left_ms = coming.due.left_ms(self.now);
        if left_ms > 0 {
            return Err(format!("early: {item:?} came {left_ms} ms before its time"));
        }
        self.is_whole(seen, item)?;
        if self.is_in_order && matches!(coming.way, Way::Level(_) | Way::Timer) {
            self.came
                .push((seen.position, coming.way, coming.due, item));
        }
        self.places.entry(place).or_default().push(Slot {
            item,
            position: seen.position,
            is_given_back: false,
        });
        Ok(())
    }

    /// Whether what came by one way came in the order of time. All that is due is there.
    pub(crate) fn is_sorted(&mut self) -> Result<(), String> {
        self.came.sort_by_key(|(position, ..)| *position);
        for (_, way, due, item) in self.came.drain(..) {
            let last = self.last.insert(way, due);
            if last.is_some_and(|last| last.wall_ms > due.wall_ms) {
                return Err(format!(
                    "order: {item:?} came by {way:?} behind one with a later time"
                ));
            }
        }
        Ok(())
    }

    /// Why a message may not be where it is.
    fn why_not(&self, item: Item, place: Place) -> String {
        let what = if self.lies(item) {
            "twice: it came before"
        } else if self.recalled.contains(&item.id) {
            "recalled: it was taken back"
        } else if let Some(state) = self.halves.state(item.id) {
            return format!("half: {item:?} came to {place:?}, and its transaction is {state:?}");
        } else if self.messages.contains_key(&item.id) {
            "phantom: it was not acknowledged, or came in another way"
        } else {
            "phantom: nobody sent it"
        };
        format!("{what}: {item:?} at {place:?}")
    }

    fn lies(&self, item: Item) -> bool {
        let mut slots = self.places.values().flatten();
        slots.any(|slot| slot.item == item)
    }

    /// Whether everything of a record is as it was sent.
    pub(crate) fn is_whole(&self, seen: &Seen, item: Item) -> Result<(), String> {
        let message = self.messages.get(&item.id);
        let message = message.ok_or_else(|| format!("phantom: nobody sent {seen:?}"))?;
        let retry_topic = (item.attempt > 0).then_some(crate::run::TOPIC);
        if seen.body != message.body(item.id)
            || seen.tag != Some(String::from(message.tag))
            || seen.retry_topic.as_deref() != retry_topic
        {
            return Err(format!("changed: {message:?} came as {seen:?}"));
        }
        Ok(())
    }

    /// The acknowledged message that is due and has not come, if any.
    pub(crate) fn lacking(&self) -> Option<String> {
        let (item, coming) = self
            .coming
            .iter()
            .find(|(_, coming)| coming.due.left_ms(self.now) <= 0)?;
        Some(format!(
            "lost: {item:?} does not come: {coming:?} at {:?}",
            self.now
        ))
    }

    /// How long until the next message is due.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        let left = self.coming.values().map(|coming| coming.due);
        left.map(|due| due.left_ms(self.now))
            .filter(|left_ms| *left_ms > 0)
            .min()
    }

    /// How long until the last message is due.
    pub(crate) fn last_ms(&self) -> Option<i64> {
        let left = self.coming.values().map(|coming| coming.due);
        left.map(|due| due.left_ms(self.now)).max()
    }

    /// How many messages were seen at a place of waiting.
    pub(crate) fn parked(&self, place: Place) -> i64 {
        self.parked.get(&place).copied().unwrap_or(0)
    }

    /// A message lies at a place of waiting, behind those that were seen there.
    pub(crate) fn is_parked(
        &mut self,
        seen: &Seen,
        unheard: Option<(Item, Coming)>,
    ) -> Result<(), String> {
        let item = seen.item()?;
        let place = seen.place;
        let parked = self.parked.entry(place).or_default();
        if seen.offset != *parked {
            return Err(format!(
                "offsets: {item:?} waits at {place:?} {}, and {parked} is next",
                seen.offset
            ));
        }
        *parked += 1;
        self.is_whole_parked(seen, item)?;
        let parking = self.parking.entry(place).or_default();
        if parking.front() == Some(&item) {
            parking.pop_front();
            return Ok(());
        }
        match unheard {
            Some((unheard, coming)) if unheard == item && !self.coming.contains_key(&item) => {
                // Nobody heard so, and it was stored.
                self.coming.insert(item, coming);
                Ok(())
            }
            _ => Err(format!(
                "twice: {item:?} waits at {place:?} once more, or instead of {:?}",
                parking.front()
            )),
        }
    }

    fn is_whole_parked(&self, seen: &Seen, item: Item) -> Result<(), String> {
        let sent = self.messages.get(&item.id);
        match sent.is_some_and(|sent| seen.body == sent.body(item.id)) {
            true => Ok(()),
            false => Err(format!("changed: {sent:?} waits as {seen:?}")),
        }
    }

    /// An acknowledged message that does not lie where it waits, if any.
    pub(crate) fn not_parked(&self) -> Option<String> {
        let mut parking = self.parking.iter();
        let (place, items) = parking.find(|(_, items)| !items.is_empty())?;
        Some(format!("lost: {items:?} do not wait at {place:?}"))
    }

    /// A message is taken back, and never comes.
    pub(crate) fn recall(&mut self, item: Item) {
        self.coming.remove(&item);
        self.recalled.insert(item.id);
    }

    /// How many were taken back.
    pub(crate) fn recalled(&self) -> usize {
        self.recalled.len()
    }

    pub(crate) fn is_recalled(&self, id: u32) -> bool {
        self.recalled.contains(&id)
    }

    /// A transaction is committed.
    pub(crate) fn commit(&mut self, id: u32, queue: i32) {
        let coming = Coming {
            to: Place::Queue(queue),
            due: Due::AT_ONCE,
            way: Way::Commit,
        };
        self.expect(Item { id, attempt: 0 }, coming);
    }
}
