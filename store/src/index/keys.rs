//! Hashes of message keys, and the keys of records that no run file holds yet.
//!
//! A key is found by a 64-bit hash of kind, topic and key. Two keys can share a hash, so a look-up compares the record itself.
#![allow(
    clippy::indexing_slicing,
    reason = "parts of lengths that were just taken; no disk is read"
)]

use std::sync::Arc;

use smallvec::SmallVec;

/// Which of a message's keys is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// One of the business keys of the property `KEYS` (separated by spaces).
    Key,
    /// The client's message id, property `UNIQ_KEY`.
    UniqueKey,
}

/// Hashes of one record.
pub(crate) type KeyHashes = SmallVec<[u64; 3]>;

/// Up to this many keys of one message, repeated ones are found by comparing each with each.
const FEW_KEYS: usize = 32;

const SEED_KEY: u64 = 0x9e37_79b9_7f4a_7c15;
const SEED_UNIQUE: u64 = 0xd1b5_4a32_d192_ed03;
const MULTIPLIER: u64 = 0xa076_1d64_78bd_642f;

/// The hash under which a key is kept. Part of the run file format: it never changes without a new format version.
pub(crate) fn key_hash(kind: KeyKind, topic: &str, key: &str) -> u64 {
    let seed = match kind {
        KeyKind::Key => SEED_KEY,
        KeyKind::UniqueKey => SEED_UNIQUE,
    };
    let hash = mix_bytes(seed, topic.as_bytes());
    mix_bytes(hash, key.as_bytes())
}

/// All hashes of one message, the unique key's first. `keys` are separated by spaces, empty ones are skipped. Their number has no limit
/// of its own: the 32,767 bytes of a message's properties hold at most 16,383 keys.
pub(crate) fn key_hashes(topic: &str, keys: &str, unique_key: &str) -> KeyHashes {
    let mut hashes = KeyHashes::new();
    if !unique_key.is_empty() {
        hashes.push(key_hash(KeyKind::UniqueKey, topic, unique_key));
    }
    if keys.is_empty() {
        return hashes;
    }
    let unique = hashes.len();
    for key in keys.split(' ').filter(|key| !key.is_empty()) {
        let hash = key_hash(KeyKind::Key, topic, key);
        if hashes.len() > FEW_KEYS || !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    if hashes.len() > FEW_KEYS {
        hashes[unique..].sort_unstable();
        hashes.dedup();
    }
    hashes
}

fn mix_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = fold(seed ^ bytes.len() as u64, MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = fold(hash ^ u64::from_le_bytes(last), MULTIPLIER);
    }
    fold(hash ^ SEED_KEY, MULTIPLIER)
}

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    // The sum keeps a zero operand from sticking at zero.
    ((wide as u64) ^ ((wide >> 64) as u64)).wrapping_add(a.rotate_left(23))
}

/// One indexed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyEntry {
    pub(crate) hash: u64,
    pub(crate) position: u64,
}

impl KeyEntry {
    /// By hash, then by position: as one number, which sorts without branches.
    pub(crate) fn order(&self) -> u128 {
        u128::from(self.hash) << 64 | u128::from(self.position)
    }
}

const CHUNK: usize = 4096;

/// Keys in log order. Full chunks are shared, so that a look-up scans them outside the dispatcher's lock.
#[derive(Debug, Default)]
pub(crate) struct RecentKeys {
    full: Vec<Arc<[KeyEntry]>>,
    tail: Vec<KeyEntry>,
}

impl RecentKeys {
    pub(crate) fn push(&mut self, hash: u64, position: u64) {
        self.tail.push(KeyEntry { hash, position });
        if self.tail.len() == CHUNK {
            self.full.push(Arc::from(&self.tail[..]));
            self.tail.clear();
        }
    }

    /// Everything so far: full chunks shared, the newest keys copied.
    pub(crate) fn snapshot(&self) -> KeySnapshot {
        KeySnapshot {
            full: self.full.clone(),
            tail: self.tail.clone(),
        }
    }

    /// Drops what lies below a position, whole chunks only; a look-up may find the rest a second time in a run.
    pub(crate) fn trim_below(&mut self, position: u64) {
        self.full
            .retain(|chunk| chunk.last().is_some_and(|last| last.position >= position));
        if self
            .tail
            .last()
            .is_some_and(|last| last.position < position)
        {
            self.tail = Vec::new();
        }
    }
}

/// The recent keys at one moment.
#[derive(Debug, Default)]
pub(crate) struct KeySnapshot {
    full: Vec<Arc<[KeyEntry]>>,
    tail: Vec<KeyEntry>,
}

impl KeySnapshot {
    /// Positions under a hash, newest first.
    pub(crate) fn positions(&self, hash: u64) -> impl Iterator<Item = u64> + '_ {
        let full = self.full.iter().rev().flat_map(|chunk| chunk.iter().rev());
        self.tail
            .iter()
            .rev()
            .chain(full)
            .filter(move |entry| entry.hash == hash)
            .map(|entry| entry.position)
    }

    /// Keys within a range of positions, in log order.
    pub(crate) fn within(&self, from: u64, to: u64) -> impl Iterator<Item = KeyEntry> + '_ {
        let all = self
            .full
            .iter()
            .flat_map(|chunk| chunk.iter())
            .chain(self.tail.iter());
        all.copied()
            .filter(move |entry| entry.position >= from && entry.position < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_part_of_the_format() {
        // Changing these values makes every run file on disk unreadable by key: raise the format version with them.
        assert_eq!(key_hash(KeyKind::Key, "orders", "k1"), 9221240753287515019);
        assert_eq!(
            key_hash(
                KeyKind::UniqueKey,
                "orders",
                "7F0000010A9B18B4AAC20DC4F8B50000"
            ),
            3233118259648436745
        );
        assert_ne!(
            key_hash(KeyKind::Key, "orders", "k1"),
            key_hash(KeyKind::UniqueKey, "orders", "k1")
        );
        assert_ne!(
            key_hash(KeyKind::Key, "orders", "k1"),
            key_hash(KeyKind::Key, "order", "sk1")
        );
        assert_ne!(
            key_hash(KeyKind::Key, "a", ""),
            key_hash(KeyKind::Key, "a", "\0")
        );
    }

    #[test]
    fn spreads_close_keys() {
        let mut seen = std::collections::HashSet::new();
        for i in 0..100_000 {
            assert!(seen.insert(key_hash(KeyKind::Key, "t", &i.to_string())));
        }
    }

    #[test]
    fn splits_keys_and_skips_empty_and_repeated_ones() {
        let hashes = key_hashes("t", " a  b a ", "id");
        assert_eq!(hashes.len(), 3);
        assert_eq!(hashes[0], key_hash(KeyKind::UniqueKey, "t", "id"));
        assert!(key_hashes("t", "", "").is_empty());
    }

    #[test]
    fn every_key_of_a_message_with_many_keys_is_kept_once() {
        let names: Vec<String> = (0..10_000).map(|number| format!("k{number}")).collect();
        for count in [FEW_KEYS - 1, FEW_KEYS, FEW_KEYS + 1, 64, 65, 100, 10_000] {
            let keys = [&names[..count], &names[..count / 2]].concat().join(" ");
            let hashes = key_hashes("t", &keys, "id");
            assert_eq!(hashes.len(), count + 1, "{count} keys");
            assert_eq!(hashes[0], key_hash(KeyKind::UniqueKey, "t", "id"));
            let found: std::collections::HashSet<u64> = hashes.iter().copied().collect();
            for name in &names[..count] {
                assert!(
                    found.contains(&key_hash(KeyKind::Key, "t", name)),
                    "{name} of {count}"
                );
            }
        }
    }

    #[test]
    fn snapshot_is_newest_first() {
        let mut keys = RecentKeys::default();
        for i in 0..(CHUNK as u64 * 2 + 10) {
            keys.push(i % 3, i);
        }
        let newest: Vec<u64> = keys.snapshot().positions(0).take(3).collect();
        assert_eq!(newest, [8199, 8196, 8193]);
        keys.trim_below(CHUNK as u64 + 5);
        assert_eq!(
            keys.snapshot().within(0, u64::MAX).next().unwrap().position,
            CHUNK as u64
        );
    }
}
