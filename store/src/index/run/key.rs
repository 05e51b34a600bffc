//! Looking up a key in a run.

use super::filter;
use super::format::{
    BLOCK_BYTES_MAX, ENTRIES_PER_BLOCK, FILTER_PER_BLOCK, KEY, KEYS_PER_BLOCK, RunDamaged, u32_at,
    u64_at,
};
use super::read::{Run, Section};

impl Run {
    /// Whether the filter lets a key through.
    pub(crate) fn may_hold_key(&self, hash: u64) -> Result<bool, RunDamaged> {
        if self.filter_blocks == 0 {
            return Ok(false);
        }
        let at = filter::block_of(self.filter_blocks, hash);
        let section = Section {
            at: self.filter_at,
            item: filter::BLOCK,
            count: self.filter_blocks,
            per_block: FILTER_PER_BLOCK,
            first_check: self.entries.div_ceil(ENTRIES_PER_BLOCK)
                + self.keys.div_ceil(KEYS_PER_BLOCK),
        };
        let mut buffer = [0; BLOCK_BYTES_MAX];
        let group = self.block(&section, at / FILTER_PER_BLOCK, &mut buffer)?;
        let block = group
            .chunks_exact(filter::BLOCK)
            .nth(at % FILTER_PER_BLOCK)
            .ok_or_else(|| self.file.damage("it refers to what it does not have"))?;
        Ok(filter::may_contain(block, hash))
    }

    fn key(&self, index: usize) -> Result<(u64, u64), RunDamaged> {
        let mut buffer = [0; BLOCK_BYTES_MAX];
        let row = self
            .key_block(index / KEYS_PER_BLOCK, &mut buffer)?
            .chunks_exact(KEY)
            .nth(index % KEYS_PER_BLOCK)
            .ok_or_else(|| self.file.damage("it refers to what it does not have"))?;
        Ok((
            u64_at(row, 0),
            self.file.span.from + u64::from(u32_at(row, 8)),
        ))
    }

    /// Shows the positions of a key's records, newest first, until `visit` says false. Returns whether it never did.
    pub(crate) fn key_positions(
        &self,
        hash: u64,
        mut visit: impl FnMut(u64) -> bool,
    ) -> Result<bool, RunDamaged> {
        if !self.may_hold_key(hash)? {
            return Ok(true);
        }
        let (mut low, mut high) = (0, self.keys);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.key(middle)?.0 <= hash {
                low = middle + 1
            } else {
                high = middle
            }
        }
        while low > 0 {
            low -= 1;
            let (other, position) = self.key(low)?;
            if other != hash {
                break;
            }
            if !visit(position) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
