//! What was sent, what was answered, what was read back, and whether they fit together.
//!
//! Producers note every message before it leaves and what became of it; readers note everything a queue holds, from its first
//! offset to its last. [`History::check`] then looks for each way in which a broker could have broken its promises. It knows
//! nothing of brokers: what it is told is all there is, so tests plant faults in a history and see that each is found.
//!
//! ```
//! use rmq_e2e::history::{History, Key, Place};
//!
//! let history = History::default();
//! let (key, queue) = (Key { producer: 0, number: 0 }, Place::queue("broker-a", 0));
//! history.sending(key, &queue, b"body");
//! history.acked(key, &queue, 0);
//! history.read(&queue, 0, key, b"body");
//! history.read_all_of(&queue, 0, 1);
//! history.check().expect_clean();
//! ```

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// Names a message: who sent it, and its number there. Each producer numbers in sending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which producer.
    pub producer: u32,
    /// Ascending in the order in which the producer sent.
    pub number: u64,
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.producer, self.number)
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-').and_then(|(producer, number)| {
            Some(Self {
                producer: producer.parse().ok()?,
                number: number.parse().ok()?,
            })
        });
        parts.ok_or_else(|| format!("{text:?} is not the key of a message (producer-number)"))
    }
}

/// A queue of the topic under test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    broker: String,
    queue: i32,
}

impl Place {
    /// Queue `queue` at the broker of that name.
    #[must_use]
    pub fn queue(broker: &str, queue: i32) -> Self {
        Self {
            broker: broker.to_owned(),
            queue,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.broker, self.queue)
    }
}

/// Everything noted. Shared between producers and readers; what happens first is what is noted first.
#[derive(Debug, Default)]
pub struct History(Mutex<Notes>);

#[derive(Debug, Default, Clone)]
struct Notes {
    /// Ticks with every note of a producer.
    time: u64,
    sent: HashMap<Key, Sent>,
    /// What each queue held, in the order in which it was read.
    read: BTreeMap<Place, Vec<Read>>,
    /// What readers got while producers sent.
    delivered: BTreeMap<Place, Vec<Read>>,
    /// First offset and the one after the last, where a queue was read whole.
    bounds: BTreeMap<Place, (i64, i64)>,
    /// Keys that were sent twice: the test's own fault.
    reused: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Sent {
    to: Place,
    digest: u64,
    began: u64,
    outcome: Outcome,
}

#[derive(Debug, Clone)]
enum Outcome {
    /// No answer, or one that leaves it open: it may be there or not.
    Unknown,
    /// Certainly not stored.
    Refused,
    Acked {
        to: Place,
        offset: i64,
        ended: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Read {
    offset: i64,
    key: Key,
    digest: u64,
}

fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

impl History {
    fn notes<R>(&self, note: impl FnOnce(&mut Notes) -> R) -> R {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A message is about to leave for `to`; without a further note its outcome is unknown.
    pub fn sending(&self, key: Key, to: &Place, body: &[u8]) {
        self.notes(|notes| {
            notes.time += 1;
            let sent = Sent {
                to: to.clone(),
                digest: digest(body),
                began: notes.time,
                outcome: Outcome::Unknown,
            };
            match notes.sent.entry(key) {
                Entry::Vacant(entry) => drop(entry.insert(sent)),
                Entry::Occupied(_) => notes.reused.push(key),
            }
        });
    }

    /// The broker answered that it stored the message there.
    pub fn acked(&self, key: Key, to: &Place, offset: i64) {
        self.outcome(key, |ended| Outcome::Acked {
            to: to.clone(),
            offset,
            ended,
        });
    }

    /// The broker answered that it did not store the message, or it never left.
    pub fn refused(&self, key: Key) {
        self.outcome(key, |_| Outcome::Refused);
    }

    fn outcome(&self, key: Key, outcome: impl FnOnce(u64) -> Outcome) {
        self.notes(|notes| {
            notes.time += 1;
            let now = notes.time;
            match notes.sent.get_mut(&key) {
                Some(sent) => sent.outcome = outcome(now),
                None => notes.reused.push(key),
            }
        });
    }

    /// A reader got this while producers sent. It may not be gone, or another message, when the queue is read whole later.
    pub fn delivered(&self, at: &Place, offset: i64, key: Key, body: &[u8]) {
        let read = Read {
            offset,
            key,
            digest: digest(body),
        };
        self.notes(|notes| notes.delivered.entry(at.clone()).or_default().push(read));
    }

    /// A queue held this at an offset.
    pub fn read(&self, at: &Place, offset: i64, key: Key, body: &[u8]) {
        let read = Read {
            offset,
            key,
            digest: digest(body),
        };
        self.notes(|notes| notes.read.entry(at.clone()).or_default().push(read));
    }

    /// The broker says that the queue has the offsets from `min` up to, without, `max`, and all of them were read.
    pub fn read_all_of(&self, at: &Place, min: i64, max: i64) {
        self.notes(|notes| notes.bounds.insert(at.clone(), (min, max)));
    }

    /// Forgets what was read whole, to read again, for example after the next crash.
    pub fn forget_reads(&self) {
        self.notes(|notes| {
            notes.read.clear();
            notes.bounds.clear();
        });
    }

    /// How many messages readers got so far.
    #[must_use]
    pub fn delivered_count(&self) -> usize {
        self.notes(|notes| notes.delivered.values().map(Vec::len).sum())
    }

    /// How many messages were acked so far.
    #[must_use]
    pub fn acked_count(&self) -> usize {
        self.notes(|notes| {
            let acked = |sent: &&Sent| matches!(sent.outcome, Outcome::Acked { .. });
            notes.sent.values().filter(acked).count()
        })
    }

    /// Looks for every violation.
    #[must_use]
    pub fn check(&self) -> Report {
        self.notes(|notes| notes.check())
    }
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Acked, but nowhere.
    Lost {
        /// Which message.
        key: Key,
        /// Where it was acked.
        at: Place,
        /// At which offset.
        offset: i64,
    },
    /// A reader had it there before, and now it is not there.
    Vanished {
        /// Which message.
        key: Key,
        /// Where it was.
        at: Place,
        /// At which offset.
        offset: i64,
    },
    /// In more than one place.
    Duplicate {
        /// Which message.
        key: Key,
        /// The places, each with its offset.
        places: Vec<(Place, i64)>,
    },
    /// No producer sent it, or the broker said that it had not stored it.
    Phantom {
        /// What it calls itself.
        key: Key,
        /// Where it is.
        at: Place,
        /// At which offset.
        offset: i64,
    },
    /// Another body than the one sent.
    Altered {
        /// Which message.
        key: Key,
        /// Where it is.
        at: Place,
        /// At which offset.
        offset: i64,
    },
    /// Not where it was sent to, or not where the ack said.
    Misplaced {
        /// Which message.
        key: Key,
        /// Where it should be; the offset is known when it was acked.
        expected: (Place, Option<i64>),
        /// Where it is.
        found: (Place, i64),
    },
    /// A producer's messages, or one acked before another was sent, lie the other way round.
    Order {
        /// In which queue.
        at: Place,
        /// The message that was sent earlier and lies behind.
        earlier: Key,
        /// The message that was sent later and lies before.
        later: Key,
    },
    /// Two different messages were read at one offset of a queue.
    TwoAtOneOffset {
        /// In which queue.
        at: Place,
        /// At which offset.
        offset: i64,
    },
    /// An offset within the queue that holds nothing.
    Gap {
        /// In which queue.
        at: Place,
        /// The offset.
        offset: i64,
    },
    /// Something was read outside the offsets that the broker says the queue has.
    OutOfBounds {
        /// In which queue.
        at: Place,
        /// The offset.
        offset: i64,
    },
    /// Two messages were acked with one offset of a queue.
    AckedTwice {
        /// In which queue.
        at: Place,
        /// The offset.
        offset: i64,
    },
    /// The test used a key twice, or noted an outcome of something it never sent: its result means nothing.
    TestFault {
        /// Which key.
        key: Key,
    },
}

/// What [`History::check`] found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// All violations, those of one kind together.
    pub violations: Vec<Violation>,
    /// Messages sent.
    pub sent: usize,
    /// Of them acked.
    pub acked: usize,
    /// Of them refused.
    pub refused: usize,
    /// Of those with unknown outcome, how many are there.
    pub unknown_stored: usize,
    /// Of those with unknown outcome, how many are not there.
    pub unknown_gone: usize,
    /// Messages read.
    pub read: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} sent, {} acked, {} refused, {} unknown of which {} are there; {} read; {} violations",
            self.sent,
            self.acked,
            self.refused,
            self.unknown_stored + self.unknown_gone,
            self.unknown_stored,
            self.read,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(20) {
            write!(out, "\n  {violation:?}")?;
        }
        Ok(())
    }
}

impl Report {
    /// Goes on only when there is no violation.
    ///
    /// # Panics
    /// With the first violations.
    pub fn expect_clean(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl Notes {
    fn check(&self) -> Report {
        let mut report = Report {
            sent: self.sent.len(),
            read: self.read.values().map(Vec::len).sum(),
            ..Report::default()
        };
        let found = &mut report.violations;
        found.extend(
            self.reused
                .iter()
                .map(|key| Violation::TestFault { key: *key }),
        );
        let mut places: HashMap<Key, Vec<(&Place, i64)>> = HashMap::new();
        for (at, reads) in &self.read {
            let mut reads = reads.clone();
            reads.sort_by_key(|read| read.offset);
            for read in &reads {
                places.entry(read.key).or_default().push((at, read.offset));
            }
            self.check_offsets(at, &reads, found);
            self.check_order(at, &reads, found);
            self.check_content(at, &reads, found);
        }
        for (at, (min, max)) in &self.bounds {
            if !self.read.contains_key(at) {
                found.extend((*min..*max).map(|offset| gap(at, offset)));
            }
        }
        self.check_delivered(found);
        let mut several: Vec<_> = places
            .iter()
            .filter(|(_, places)| places.len() > 1)
            .collect();
        several.sort();
        found.extend(several.into_iter().map(|(key, places)| {
            let places = places.iter().map(|(at, offset)| ((*at).clone(), *offset));
            Violation::Duplicate {
                key: *key,
                places: places.collect(),
            }
        }));
        self.check_acks(&places, &mut report);
        report
    }

    /// What a reader got is still where it was, in every queue that was read whole.
    fn check_delivered(&self, found: &mut Vec<Violation>) {
        for (at, delivered) in &self.delivered {
            if !self.bounds.contains_key(at) {
                continue;
            }
            let reads = self.read.get(at).map(Vec::as_slice).unwrap_or_default();
            let there: HashMap<i64, &Read> = reads.iter().map(|read| (read.offset, read)).collect();
            let gone = |read: &&Read| there.get(&read.offset) != Some(read);
            found.extend(
                delivered
                    .iter()
                    .filter(gone)
                    .map(|read| Violation::Vanished {
                        key: read.key,
                        at: at.clone(),
                        offset: read.offset,
                    }),
            );
        }
    }

    /// Every offset once, and all of them where the queue was read whole.
    fn check_offsets(&self, at: &Place, reads: &[Read], found: &mut Vec<Violation>) {
        for pair in reads.windows(2) {
            let offset = pair[0].offset;
            if offset == pair[1].offset {
                found.push(Violation::TwoAtOneOffset {
                    at: at.clone(),
                    offset,
                });
            }
            found.extend((offset + 1..pair[1].offset).map(|offset| gap(at, offset)));
        }
        let (Some(first), Some(last)) = (reads.first(), reads.last()) else {
            return;
        };
        let Some((min, max)) = self.bounds.get(at) else {
            return;
        };
        found.extend((*min..first.offset).map(|offset| gap(at, offset)));
        found.extend((last.offset + 1..*max).map(|offset| gap(at, offset)));
        let outside = reads
            .iter()
            .filter(|read| !(*min..*max).contains(&read.offset));
        found.extend(outside.map(|read| Violation::OutOfBounds {
            at: at.clone(),
            offset: read.offset,
        }));
    }

    /// A producer's messages lie in sending order, and whatever was acked before another was sent lies before it.
    fn check_order(&self, at: &Place, reads: &[Read], found: &mut Vec<Violation>) {
        let mut last_of: HashMap<u32, Key> = HashMap::new();
        let mut youngest: Option<(u64, Key)> = None;
        for read in reads {
            let last = last_of.entry(read.key.producer).or_insert(read.key);
            if last.number > read.key.number {
                found.push(Violation::Order {
                    at: at.clone(),
                    earlier: read.key,
                    later: *last,
                });
            } else {
                *last = read.key;
            }
            let Some(sent) = self.sent.get(&read.key) else {
                continue;
            };
            if let (Outcome::Acked { ended, .. }, Some((began, key))) = (&sent.outcome, youngest)
                && *ended < began
                && key.producer != read.key.producer
            {
                found.push(Violation::Order {
                    at: at.clone(),
                    earlier: read.key,
                    later: key,
                });
            }
            if youngest.is_none_or(|(began, _)| began < sent.began) {
                youngest = Some((sent.began, read.key));
            }
        }
    }

    /// Nothing was invented or changed, and all is where it was sent to.
    fn check_content(&self, at: &Place, reads: &[Read], found: &mut Vec<Violation>) {
        for read in reads {
            let (key, offset) = (read.key, read.offset);
            let at = at.clone();
            let sent = self.sent.get(&key);
            let Some(sent) = sent.filter(|sent| !matches!(sent.outcome, Outcome::Refused)) else {
                found.push(Violation::Phantom { key, at, offset });
                continue;
            };
            if sent.digest != read.digest {
                let at = at.clone();
                found.push(Violation::Altered { key, at, offset });
            }
            let expected = match &sent.outcome {
                Outcome::Acked { to, offset, .. } => (to.clone(), Some(*offset)),
                _ => (sent.to.clone(), None),
            };
            if expected.0 != at || sent.to != at || expected.1.is_some_and(|known| known != offset)
            {
                found.push(Violation::Misplaced {
                    key,
                    expected,
                    found: (at, offset),
                });
            }
        }
    }

    /// Everything acked is there, and no offset was given away twice.
    fn check_acks(&self, places: &HashMap<Key, Vec<(&Place, i64)>>, report: &mut Report) {
        let mut given: HashMap<(&Place, i64), u32> = HashMap::new();
        let mut lost = Vec::new();
        for (key, sent) in &self.sent {
            let stored = places.contains_key(key);
            match &sent.outcome {
                Outcome::Acked { to, offset, .. } => {
                    report.acked += 1;
                    *given.entry((to, *offset)).or_default() += 1;
                    if !stored {
                        lost.push((*key, to, *offset));
                    }
                }
                Outcome::Refused => report.refused += 1,
                Outcome::Unknown if stored => report.unknown_stored += 1,
                Outcome::Unknown => report.unknown_gone += 1,
            }
        }
        lost.sort();
        report
            .violations
            .extend(lost.into_iter().map(|(key, at, offset)| Violation::Lost {
                key,
                at: at.clone(),
                offset,
            }));
        let mut twice: Vec<_> = given.into_iter().filter(|(_, times)| *times > 1).collect();
        twice.sort();
        report
            .violations
            .extend(
                twice
                    .into_iter()
                    .map(|((at, offset), _)| Violation::AckedTwice {
                        at: at.clone(),
                        offset,
                    }),
            );
    }
}

fn gap(at: &Place, offset: i64) -> Violation {
    Violation::Gap {
        at: at.clone(),
        offset,
    }
}

#[cfg(test)]
mod tests;
