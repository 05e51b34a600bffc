//! What a follower has copied last: it stays in memory until it is dispatched, so that it is not read again.
//!
//! A part that is missing here (the memory for them is bounded) is read from the log.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::staging::Part;

/// Bytes that may wait here to be dispatched. Beyond that the oldest are left to the log.
const COPIED_BYTES_MAX: usize = 8 << 20;
/// Buffers that are kept for what is copied next, in number and in size.
const SPARE_MAX: usize = 2;
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Parts in the order of the log, each of whole records, and with the filler where it ends a segment.
#[derive(Default)]
pub(super) struct Copied(Mutex<Parts>);

#[derive(Default)]
struct Parts {
    parts: VecDeque<Part>,
    bytes: usize,
    spare: Vec<Part>,
}

/// Where the records from a position on are.
pub(super) enum Next {
    /// In this part, behind its beginning perhaps.
    Part(Part),
    /// In the log, up to this position at least.
    Log(u64),
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Copied {
    /// Keeps what was written, behind everything that is here.
    pub(super) fn keep(&self, part: Part) {
        let mut parts = self.0.lock();
        parts.bytes += part.bytes.len();
        parts.parts.push_back(part);
        while parts.bytes > COPIED_BYTES_MAX
            && let Some(oldest) = parts.parts.pop_front()
        {
            parts.bytes -= oldest.bytes.len();
            parts.recycle(oldest);
        }
    }

    /// An empty part, with a buffer that was used before.
    pub(super) fn spare(&self) -> Part {
        self.0.lock().spare.pop().unwrap_or_default()
    }

    /// Takes the part that has `position`. What lies before it is not needed any more.
    pub(super) fn next(&self, position: u64) -> Next {
        let mut parts = self.0.lock();
        while let Some(first) = parts.parts.pop_front() {
            if first.start > position {
                let until = first.start;
                parts.parts.push_front(first);
                return Next::Log(until);
            }
            parts.bytes -= first.bytes.len();
            if first.end() > position {
                return Next::Part(first);
            }
            parts.recycle(first);
        }
        Next::Log(u64::MAX)
    }

    /// Takes back a part of [`next`](Self::next) of which everything below `position` was dispatched.
    pub(super) fn put_back(&self, part: Part, position: u64) {
        let mut parts = self.0.lock();
        let follows = parts
            .parts
            .front()
            .is_none_or(|front| front.start >= part.end());
        if part.end() > position && follows {
            parts.bytes += part.bytes.len();
            parts.parts.push_front(part);
        } else {
            parts.recycle(part);
        }
    }

    /// Nothing that is here counts any more.
    pub(super) fn clear(&self) {
        *self.0.lock() = Parts::default();
    }
}

impl Parts {
    fn recycle(&mut self, mut part: Part) {
        let is_small = part.bytes.capacity() <= SPARE_BYTES_MAX;
        if self.spare.len() < SPARE_MAX && is_small {
            part.bytes.clear();
            self.spare.push(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start: u64, len: usize) -> Part {
        Part {
            start,
            bytes: vec![1; len],
            ..Part::default()
        }
    }

    fn next(copied: &Copied, position: u64) -> Result<Part, u64> {
        match copied.next(position) {
            Next::Part(part) => Ok(part),
            Next::Log(until) => Err(until),
        }
    }

    #[test]
    fn a_part_is_there_until_it_is_dispatched() {
        let copied = Copied::default();
        assert_eq!(next(&copied, 0).err(), Some(u64::MAX));
        copied.keep(part(100, 50));
        copied.keep(part(150, 50));
        assert_eq!(next(&copied, 0).err(), Some(100), "the log has it");
        let first = next(&copied, 120).expect("there");
        assert_eq!((first.start, first.bytes.len()), (100, 50));
        copied.put_back(first, 130);
        let first = next(&copied, 130).expect("still there");
        copied.put_back(first, 150);
        assert!(copied.spare().bytes.capacity() >= 50);
        let second = next(&copied, 150).expect("there");
        assert_eq!(second.start, 150);
        copied.put_back(second, 200);
        assert_eq!(next(&copied, 200).err(), Some(u64::MAX));
    }

    #[test]
    fn what_is_too_much_is_left_to_the_log() {
        let copied = Copied::default();
        let size = COPIED_BYTES_MAX / 2;
        for number in 0..3 {
            copied.keep(part((number * size) as u64, size));
        }
        assert_eq!(next(&copied, 0).err(), Some(size as u64));
        let taken = next(&copied, size as u64).expect("there");
        assert_eq!(copied.0.lock().bytes, size);
        copied.keep(part(4 * size as u64, COPIED_BYTES_MAX + 1));
        assert_eq!(copied.0.lock().bytes, 0);
        copied.put_back(taken, 0);
        assert_eq!(copied.0.lock().bytes, size);
        copied.clear();
        assert_eq!(next(&copied, 0).err(), Some(u64::MAX));
    }
}
