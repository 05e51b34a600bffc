//! Bytes to run a target on: random ones, and mutations of bytes that it can decode.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Longest input.
const BYTES_MAX: usize = 96 << 10;
/// What formats here are made of.
const WORDS: [&[u8]; 28] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"'",
    b"\\",
    b"\\u0001",
    b"\\ud83d\\ude00",
    b"\\ud800",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1e999",
    b"2147483648",
    b"-9223372036854775808",
    b"18446744073709551615",
    b"0.1",
    b"\x01",
    b"\x02",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b" ",
    b"\xc3\xbc",
];

/// One change of bytes. Places are relative to the length that they have then.
#[derive(Debug, Clone)]
enum Change {
    Bit(Index, u8),
    Byte(Index, u8),
    Word(Index, usize),
    /// In the place of some bytes.
    WordFor(Index, usize, usize),
    Bytes(Index, Vec<u8>),
    Remove(Index, usize),
    Cut(Index),
    /// A stretch again and again.
    Repeat(Index, usize, usize),
    /// A number of 4 bytes becomes another one.
    Number(Index, i32),
    /// The rest of another seed.
    Splice(Index, Index, Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let length = bytes.len();
        let at = |index: &Index| index.index(length + 1);
        let end = |from: usize, count: usize| (from + count).min(length);
        match self {
            Self::Bit(index, bit) => {
                if let Some(byte) = bytes.get_mut(at(index)) {
                    *byte ^= 1 << (bit & 7);
                }
            }
            Self::Byte(index, value) => {
                if let Some(byte) = bytes.get_mut(at(index)) {
                    *byte = *value;
                }
            }
            Self::Word(index, word) => {
                let at = at(index);
                bytes.splice(at..at, WORDS[word % WORDS.len()].iter().copied());
            }
            Self::WordFor(index, count, word) => {
                let at = at(index);
                let word = WORDS[word % WORDS.len()].iter().copied();
                bytes.splice(at..end(at, *count), word);
            }
            Self::Bytes(index, new) => {
                let at = at(index);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(index, count) => {
                let at = at(index);
                bytes.drain(at..end(at, *count));
            }
            Self::Cut(index) => bytes.truncate(at(index)),
            Self::Repeat(index, count, times) => {
                let from = at(index);
                let piece = bytes[from..end(from, *count)].repeat(*times);
                bytes.splice(from..from, piece);
            }
            Self::Number(index, value) => {
                let from = at(index);
                let to = end(from, 4);
                bytes[from..to].copy_from_slice(&value.to_be_bytes()[..to - from]);
            }
            Self::Splice(index, seed, from) => {
                let at = at(index);
                let other = seed.get(seeds);
                let from = from.index(other.len() + 1);
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
        bytes.truncate(BYTES_MAX);
    }
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    let small = 1..12_usize;
    let number = prop_oneof![
        any::<i32>(),
        -2..40_i32,
        Just(i32::MAX),
        Just(i32::MIN),
        Just(0xffff),
        Just(0x7fff),
    ];
    prop_oneof![
        3 => (index(), any::<u8>()).prop_map(|(at, bit)| Change::Bit(at, bit)),
        3 => (index(), any::<u8>()).prop_map(|(at, value)| Change::Byte(at, value)),
        4 => (index(), any::<usize>()).prop_map(|(at, word)| Change::Word(at, word)),
        4 => (index(), small.clone(), any::<usize>()).prop_map(|(at, count, word)| Change::WordFor(at, count, word)),
        2 => (index(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Change::Bytes(at, bytes)),
        3 => (index(), small).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => index().prop_map(Change::Cut),
        2 => (index(), 1..40_usize, 1..6_usize).prop_map(|(at, count, times)| Change::Repeat(at, count, times)),
        2 => (index(), number).prop_map(|(at, value)| Change::Number(at, value)),
        2 => (index(), index(), index()).prop_map(|(at, seed, from)| Change::Splice(at, seed, from)),
    ]
}

/// Changes of a few bytes, now and then one that makes the input long.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let long = (any::<Index>(), 1..64_usize, 200..2_000_usize)
        .prop_map(|(at, count, times)| vec![Change::Repeat(at, count, times)]);
    prop_oneof![60 => vec(change(), 1..6), 1 => long]
}

/// How an input is made.
#[derive(Debug, Clone)]
enum Plan {
    Random(Vec<u8>),
    Mutated(Index, Vec<Change>),
}

impl Plan {
    fn bytes(&self, seeds: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Random(bytes) => bytes.clone(),
            Self::Mutated(seed, changes) => {
                let mut bytes = seed.get(seeds).clone();
                changes
                    .iter()
                    .for_each(|change| change.apply(&mut bytes, seeds));
                bytes
            }
        }
    }
}

/// Random bytes, and mutations of seeds, of which there is at least one.
pub(crate) fn inputs(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    assert!(!seeds.is_empty(), "a target has bytes that it can decode");
    let random = vec(any::<u8>(), 0..200).prop_map(Plan::Random);
    let mutated = (any::<Index>(), changes());
    let mutated = mutated.prop_map(|(seed, changes)| Plan::Mutated(seed, changes));
    let plans = prop_oneof![1 => random, 12 => mutated];
    plans.prop_map(move |plan| plan.bytes(&seeds))
}
