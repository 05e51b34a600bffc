//! CRC-32 of two parts from the CRCs of the parts, so that all but the patched head of a record is checksummed outside the lock.
//!
//! With the CRC as a polynomial over GF(2), the CRC of `a | b` is `crc(a) * x^(8 * len(b)) + crc(b)` modulo the CRC's polynomial.

use std::sync::LazyLock;

/// The polynomial of CRC-32, lowest bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// x^0 in that representation.
const ONE: u32 = 1 << 31;

/// `x^(8 * len)`: what a part of `len` bytes does to the CRC of the part before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shift(u32);

/// `x^(8 * digit * 256^place)` for the three digits of a length below 16 MiB.
static POWERS: LazyLock<[[u32; 256]; 4]> = LazyLock::new(|| {
    let mut powers = [[ONE; 256]; 4];
    // x^8: one byte.
    let mut step = ONE >> 8;
    for place in &mut powers {
        for digit in 1..256 {
            place[digit] = multiply(place[digit - 1], step);
        }
        step = multiply(place[255], step);
    }
    powers
});

impl Shift {
    pub(crate) fn of(len: usize) -> Self {
        let powers = &*POWERS;
        let digits = (len as u32).to_le_bytes();
        let mut product = powers[0][usize::from(digits[0])];
        for place in 1..4 {
            if digits[place] != 0 {
                product = multiply(product, powers[place][usize::from(digits[place])]);
            }
        }
        Self(product)
    }

    /// CRC of `a | b`, where `self` is of the length of `b`.
    pub(crate) fn combine(self, crc_a: u32, crc_b: u32) -> u32 {
        multiply(crc_a, self.0) ^ crc_b
    }
}

fn multiply(a: u32, b: u32) -> u32 {
    let mut product = 0;
    let mut shifted = b;
    let mut bits = a;
    for _ in 0..32 {
        // All ones when the bit is set: no branch to mispredict.
        product ^= shifted & 0u32.wrapping_sub(bits >> 31);
        bits <<= 1;
        shifted = (shifted >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(shifted & 1));
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_crc_of_the_whole(a in prop::collection::vec(any::<u8>(), 0..300), b in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let whole = crc32fast::hash(&[a.as_slice(), &b].concat());
            prop_assert_eq!(Shift::of(b.len()).combine(crc32fast::hash(&a), crc32fast::hash(&b)), whole);
        }
    }
}
