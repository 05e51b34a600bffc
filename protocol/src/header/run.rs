//! Runs of bytes that need no look one by one.

use wide::u8x16;

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
