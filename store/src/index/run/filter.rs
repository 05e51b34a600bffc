//! A blocked Bloom filter: all bits of a key lie in one cache line, so that a look-up in a cold run costs at most one page.

pub(super) const BLOCK: usize = 64;
const BITS_PER_KEY: usize = 12;
const PROBES: u32 = 5;

/// How many blocks a filter for so many keys has.
pub(super) fn blocks_for(keys: usize) -> usize {
    (keys * BITS_PER_KEY).div_ceil(BLOCK * 8)
}

pub(super) fn insert(bits: &mut [u8], hash: u64) {
    let blocks = bits.len() / BLOCK;
    if blocks > 0 {
        let at = block_of(blocks, hash) * BLOCK;
        for bit in probes(hash) {
            if let Some(byte) = bits.get_mut(at + bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
}

/// The block that a key is looked for in; `blocks` is not 0.
pub(super) fn block_of(blocks: usize, hash: u64) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// Whether the key may be in its block.
pub(super) fn may_contain(block: &[u8], hash: u64) -> bool {
    probes(hash).all(|bit| {
        block
            .get(bit / 8)
            .is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
    })
}

/// The upper half of the hash picks the block, so the bits within it come from a product.
fn probes(hash: u64) -> impl Iterator<Item = usize> {
    let bits = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 19;
    (0..PROBES).map(move |probe| ((bits >> (probe * 9)) & 511) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::keys::{KeyKind, key_hash};

    #[test]
    fn finds_all_and_few_others() {
        let hash = |i: u32| key_hash(KeyKind::Key, "topic", &i.to_string());
        let mut bits = vec![0u8; blocks_for(10_000) * BLOCK];
        let find = |bits: &[u8], hash: u64| {
            let block = block_of(bits.len() / BLOCK, hash);
            may_contain(&bits[block * BLOCK..][..BLOCK], hash)
        };
        for i in 0..10_000 {
            insert(&mut bits, hash(i));
        }
        assert!((0..10_000).all(|i| find(&bits, hash(i))));
        let wrong = (10_000..110_000).filter(|i| find(&bits, hash(*i))).count();
        assert!(wrong < 2_000, "{wrong} of 100000 wrong");
        insert(&mut [], 1);
    }
}
