//! The bytes that end a run of ordinary characters in a JSON string: quote, backslash and controls.

use wide::u8x16;

use crate::run::{self, BLOCK};

/// One bit for each byte that is one of them, the lowest for the first.
#[inline]
pub(in crate::header) fn special_bits(block: &[u8; BLOCK]) -> u64 {
    run::bits(block, special)
}

#[inline(always)]
fn special(bytes: u8x16) -> u8x16 {
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let quote = bytes.simd_eq(u8x16::splat(b'"'));
    let backslash = bytes.simd_eq(u8x16::splat(b'\\'));
    control | quote | backslash
}

/// How many bytes at the start of `bytes` are ordinary.
#[inline]
pub(super) fn ordinary(bytes: &[u8]) -> usize {
    run::length(bytes, special)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a byte is one of them.
    const SPECIAL: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 0x20 {
            table[byte] = true;
            byte += 1;
        }
        table[b'"' as usize] = true;
        table[b'\\' as usize] = true;
        table
    };

    #[test]
    fn bits_and_table_agree_at_every_place() {
        for byte in 0..=255u8 {
            for at in 0..BLOCK {
                let mut block = [b'a'; BLOCK];
                block[at] = byte;
                let wanted = u64::from(SPECIAL[usize::from(byte)]) << at;
                assert_eq!(special_bits(&block), wanted, "{byte} at {at}");
                let length = if wanted == 0 { BLOCK } else { at };
                assert_eq!(ordinary(&block), length);
                assert_eq!(ordinary(&block[..at + 1]), length.min(at + 1));
            }
        }
    }
}
