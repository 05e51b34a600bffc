//! Bytes that are looked at many at a time.
#![allow(
    clippy::indexing_slicing,
    reason = "a rest is taken where it is known to be shorter than a block"
)]

use wide::u8x16;

/// Bytes that are looked at together.
pub(super) const BLOCK: usize = 64;

/// One bit for each byte of a block that `marks` marks (the highest bit of its lane), the lowest for the first.
#[inline(always)]
pub(super) fn bits(block: &[u8; BLOCK], marks: impl Fn(u8x16) -> u8x16) -> u64 {
    let (parts, _) = block.as_chunks::<16>();
    joined(parts.iter().map(|part| marks(u8x16::new(*part))))
}

/// One bit for each byte that two blocks have in common.
#[inline(always)]
pub(super) fn equal_bits(one: &[u8; BLOCK], other: &[u8; BLOCK]) -> u64 {
    let (one, _) = one.as_chunks::<16>();
    let (other, _) = other.as_chunks::<16>();
    let pairs = one.iter().zip(other);
    joined(pairs.map(|(one, other)| u8x16::new(*one).simd_eq(u8x16::new(*other))))
}

#[inline(always)]
fn joined(marks: impl DoubleEndedIterator<Item = u8x16>) -> u64 {
    marks
        .rev()
        .fold(0, |bits, marks| bits << 16 | u64::from(marks.to_bitmask()))
}

/// The last bytes of a text as a block, with `fill` behind them.
#[inline(always)]
pub(super) fn padded(rest: &[u8], fill: u8) -> [u8; BLOCK] {
    let mut block = [fill; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    block
}

/// How many bytes at the start of `bytes` come before the first one that `marks` marks (all ones in its lane).
#[inline(always)]
pub(super) fn length(bytes: &[u8], marks: impl Fn(u8x16) -> u8x16) -> usize {
    let first = |part| marks(u8x16::new(part)).to_bitmask().trailing_zeros() as usize;
    let mut at = 0;
    while let Some(part) = bytes[at..].first_chunk::<16>() {
        let found = first(*part);
        if found < 16 {
            return at + found;
        }
        at += 16;
    }
    let rest = &bytes[at..];
    let mut part = [0; 16];
    part[..rest.len()].copy_from_slice(rest);
    at + first(part).min(rest.len())
}
