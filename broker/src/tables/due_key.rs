//! The key of a message that waits, in the table `waiting`.

use super::stamp::Stamp;

/// The level of timers.
pub(crate) const TIMERS: u8 = 0;
const KEY_BYTES: usize = 29;
const SIGN: u64 = 1 << 63;

/// A key of `waiting`. Keys are ordered as their bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) level: u8,
    /// Of its [`Stamp`].
    pub(crate) clock: i64,
    /// Unix milliseconds.
    pub(crate) due_ms: i64,
    pub(crate) position: u64,
    /// See [`topic_hash`].
    pub(crate) topic: u32,
}

impl Key {
    /// The key of a message that is stored at `position`, for a topic.
    pub(crate) fn new(level: u8, stamp: Stamp, position: u64, topic: &str) -> Self {
        Self {
            level,
            clock: stamp.clock,
            due_ms: stamp.due_ms(),
            position,
            topic: topic_hash(topic),
        }
    }

    /// The first key of a level and clock that is due at a time or later.
    pub(crate) const fn first(level: u8, clock: i64, due_ms: i64) -> Self {
        Self {
            level,
            clock,
            due_ms,
            position: 0,
            topic: 0,
        }
    }

    /// Behind every key of its level and clock.
    pub(crate) fn end_of_clock(self) -> [u8; KEY_BYTES] {
        match self.clock.checked_add(1) {
            Some(next) => Self::first(self.level, next, i64::MIN).bytes(),
            None => Self::first(self.level.saturating_add(1), i64::MIN, i64::MIN).bytes(),
        }
    }

    /// Behind this key, and before the next one.
    pub(crate) fn after(self) -> Self {
        match self.position.checked_add(1) {
            Some(position) => Self {
                position,
                topic: 0,
                ..self
            },
            // No log is as long; a damaged row may say so.
            None => Self {
                topic: u32::MAX,
                ..self
            },
        }
    }

    pub(crate) fn bytes(&self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[0] = self.level;
        bytes[1..9].copy_from_slice(&(self.clock as u64 ^ SIGN).to_be_bytes());
        bytes[9..17].copy_from_slice(&(self.due_ms as u64 ^ SIGN).to_be_bytes());
        bytes[17..25].copy_from_slice(&self.position.to_be_bytes());
        bytes[25..].copy_from_slice(&self.topic.to_be_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (level, rest) = bytes.split_first()?;
        let (words, topic) = rest.as_chunks::<8>();
        let [clock, due_ms, position] = words else {
            return None;
        };
        let signed = |word: &[u8; 8]| (u64::from_be_bytes(*word) ^ SIGN) as i64;
        Some(Self {
            level: *level,
            clock: signed(clock),
            due_ms: signed(due_ms),
            position: u64::from_be_bytes(*position),
            topic: u32::from_be_bytes(topic.try_into().ok()?),
        })
    }
}

/// By which the messages of a topic are counted (FNV-1a).
pub(crate) fn topic_hash(topic: &str) -> u32 {
    topic.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_their_bytes() {
        let numbers = [i64::MIN, -1, 0, 1, i64::MAX];
        let mut keys = Vec::new();
        for level in [0, 1, 64] {
            for clock in numbers {
                for due_ms in numbers {
                    for position in [0, 7, u64::MAX - 1] {
                        keys.extend([0, u32::MAX].map(|topic| Key {
                            level,
                            clock,
                            due_ms,
                            position,
                            topic,
                        }));
                    }
                }
            }
        }
        for a in &keys {
            assert_eq!(Key::read(&a.bytes()), Some(*a));
            assert!(*a < a.after() && a.bytes() < a.end_of_clock());
            for b in &keys {
                assert_eq!(a.cmp(b), a.bytes().cmp(&b.bytes()));
                let is_in_clock = (b.level, b.clock) == (a.level, a.clock);
                let is_before_end = b.bytes() < a.end_of_clock();
                assert_eq!(b >= a && is_before_end, b >= a && is_in_clock);
            }
        }
    }

    #[test]
    fn other_lengths_are_no_keys() {
        for bytes in [&[0; 28][..], &[0; 30], &[]] {
            assert_eq!(Key::read(bytes), None);
        }
    }
}
