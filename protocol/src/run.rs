//! Bytes that are looked at many at a time.
#![allow(
    clippy::indexing_slicing,
    reason = "a block has four parts, and a rest is taken where it is known to be shorter than a block"
)]

use wide::u8x16;

/// Bytes that are looked at together.
pub(crate) const BLOCK: usize = 64;

/// One bit for each byte of a block that `marks` marks (the highest bit of its lane), the lowest for the first.
#[inline(always)]
pub(crate) fn bits(block: &[u8; BLOCK], marks: impl Fn(u8x16) -> u8x16) -> u64 {
    joined(parts(block).map(marks))
}

/// One bit for each byte that two blocks have in common.
#[inline(always)]
pub(crate) fn equal_bits(one: &[u8; BLOCK], other: &[u8; BLOCK]) -> u64 {
    let (one, other) = (parts(one), parts(other));
    joined([
        one[0].simd_eq(other[0]),
        one[1].simd_eq(other[1]),
        one[2].simd_eq(other[2]),
        one[3].simd_eq(other[3]),
    ])
}

#[inline(always)]
fn parts(block: &[u8; BLOCK]) -> [u8x16; 4] {
    let (parts, _) = block.as_chunks::<16>();
    [parts[0], parts[1], parts[2], parts[3]].map(u8x16::new)
}

#[inline(always)]
fn joined(marks: [u8x16; 4]) -> u64 {
    let [first, second, third, fourth] = marks.map(|part| u64::from(part.to_bitmask()));
    first | second << 16 | third << 32 | fourth << 48
}

/// The last bytes of a text as a block, with `fill` behind them.
#[inline(always)]
pub(crate) fn padded(rest: &[u8], fill: u8) -> [u8; BLOCK] {
    let mut block = [fill; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    block
}

/// How many bytes at the start of `bytes` come before the first one that `marks` marks (all ones in its lane).
#[inline(always)]
pub(crate) fn length(bytes: &[u8], marks: impl Fn(u8x16) -> u8x16) -> usize {
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
