//! CRC-32 of two parts from the CRCs of the parts, so that all but the patched head of a record is checksummed outside the lock.
//!
//! With the CRC as a polynomial over GF(2), the CRC of `a | b` is `crc(a) * x^(8 * len(b)) + crc(b)` modulo the CRC's polynomial.
#![allow(
    clippy::indexing_slicing,
    reason = "tables of fixed size, indexed by bits of a number; no disk is read"
)]

/// The polynomial of CRC-32, lowest bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// x^0 in that representation.
const ONE: u32 = 1 << 31;

/// `x^(8 * len)`: what a part of `len` bytes does to the CRC of the part before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shift(u32);

/// `x^(8 * digit * 256^place)` for the four digits of a length.
static POWERS: [[u32; 256]; 4] = powers();
/// What a byte becomes when 1 to 4 zero bytes follow it.
static FOLLOWED: [[u32; 256]; 4] = followed();

impl Shift {
    pub(crate) fn of(len: usize) -> Self {
        let digits = (len as u32).to_le_bytes();
        let mut product = POWERS[0][usize::from(digits[0])];
        for place in 1..4 {
            if digits[place] != 0 {
                product = multiply(product, POWERS[place][usize::from(digits[place])]);
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
    // With the lowest bit first, the product is one bit short of 64.
    let product = multiply_plain(a, b) << 1;
    let (low, high) = ((product >> 32) as u32, product as u32);
    // The upper half of the product counts x^32 times: four zero bytes follow it.
    let bytes = high.to_le_bytes();
    (0..4).fold(low, |sum, at| {
        sum ^ FOLLOWED[3 - at][usize::from(bytes[at])]
    })
}

/// The product before it is reduced. Only every fourth bit of a factor is used at once, so that what integers carry stays in the holes.
fn multiply_plain(a: u32, b: u32) -> u64 {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    let part = |of: u32, at: usize| u64::from(of) & (EVERY_FOURTH << at);
    let mut product = 0;
    for at in 0..4 {
        let mut sum = 0;
        for of_a in 0..4 {
            sum ^= part(a, of_a).wrapping_mul(part(b, (at + 4 - of_a) % 4));
        }
        product |= sum & (EVERY_FOURTH << at);
    }
    product
}

const fn powers() -> [[u32; 256]; 4] {
    let mut powers = [[ONE; 256]; 4];
    // x^8: one byte.
    let mut step = ONE >> 8;
    let mut place = 0;
    while place < 4 {
        let mut digit = 1;
        while digit < 256 {
            powers[place][digit] = multiply_slowly(powers[place][digit - 1], step);
            digit += 1;
        }
        step = multiply_slowly(powers[place][255], step);
        place += 1;
    }
    powers
}

const fn followed() -> [[u32; 256]; 4] {
    let mut followed = [[0; 256]; 4];
    let mut place = 0;
    while place < 4 {
        let mut byte = 0;
        while byte < 256 {
            followed[place][byte] = multiply_slowly(byte as u32, POWERS[0][place + 1]);
            byte += 1;
        }
        place += 1;
    }
    followed
}

/// Bit by bit, for the tables.
const fn multiply_slowly(a: u32, b: u32) -> u32 {
    let mut product = 0;
    let mut shifted = b;
    let mut bits = a;
    while bits != 0 {
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
        fn multiplies_as_bit_by_bit(a in any::<u32>(), b in any::<u32>()) {
            prop_assert_eq!(multiply(a, b), multiply_slowly(a, b));
        }

        #[test]
        fn equals_the_crc_of_the_whole(a in prop::collection::vec(any::<u8>(), 0..300), b in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let whole = crc32fast::hash(&[a.as_slice(), &b].concat());
            prop_assert_eq!(Shift::of(b.len()).combine(crc32fast::hash(&a), crc32fast::hash(&b)), whole);
        }
    }
}
