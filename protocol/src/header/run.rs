//! Bytes that are looked at many at a time.

use wide::u8x16;

/// Bytes that are looked at together.
pub(super) const BLOCK: usize = 64;

/// One bit for each byte of a block that `marks` marks (the highest bit of its lane), the lowest for the first.
#[inline(always)]
pub(super) fn bits(block: &[u8; BLOCK], marks: impl Fn(u8x16) -> u8x16) -> u64 {
    let (parts, _) = block.as_chunks::<16>();
    parts.iter().rev().fold(0, |bits, part| {
        bits << 16 | u64::from(marks(u8x16::new(*part)).to_bitmask())
    })
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
