//! A blocked Bloom filter: all bits of a key lie in one cache line, so that a look-up in a cold run costs at most one page.

pub(super) const BLOCK: usize = 64;
const BITS_PER_KEY: usize = 12;
const PROBES: u32 = 5;

/// How many blocks a filter for so many keys has.
pub(super) fn blocks_for(keys: usize) -> usize {
    (keys * BITS_PER_KEY).div_ceil(BLOCK * 8)
}

pub(super) fn insert(bits: &mut [u8], hash: u64) {
    let Some((block, probes)) = locate(bits.len() / BLOCK, hash) else {
        return;
    };
    for bit in probes {
        bits[block * BLOCK + bit / 8] |= 1 << (bit % 8);
    }
}

pub(super) fn may_contain(bits: &[u8], hash: u64) -> bool {
    let Some((block, mut probes)) = locate(bits.len() / BLOCK, hash) else {
        return false;
    };
    probes.all(|bit| bits[block * BLOCK + bit / 8] & (1 << (bit % 8)) != 0)
}

fn locate(blocks: usize, hash: u64) -> Option<(usize, impl Iterator<Item = usize>)> {
    if blocks == 0 {
        return None;
    }
    // The upper half picks the block, the lower 45 bits the bits within it.
    let block = ((hash >> 32) * blocks as u64) >> 32;
    let low = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 19;
    Some((
        block as usize,
        (0..PROBES).map(move |probe| ((low >> (probe * 9)) & 511) as usize),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::keys::{KeyKind, key_hash};

    #[test]
    fn finds_all_and_few_others() {
        let hash = |i: u32| key_hash(KeyKind::Key, "topic", &i.to_string());
        let mut bits = vec![0u8; blocks_for(10_000) * BLOCK];
        for i in 0..10_000 {
            insert(&mut bits, hash(i));
        }
        assert!((0..10_000).all(|i| may_contain(&bits, hash(i))));
        let wrong = (10_000..110_000)
            .filter(|i| may_contain(&bits, hash(*i)))
            .count();
        assert!(wrong < 2_000, "{wrong} of 100000 wrong");
        assert!(!may_contain(&[], 1));
    }
}
