//! How far one queue is consumed: messages are settled in any order, the offset to continue from moves over what is settled without a gap.

use std::collections::VecDeque;

use crate::remote::Keeper;

/// Messages handed out and not yet passed by the committed offset.
#[derive(Debug)]
pub(crate) struct Progress {
    /// By offset; true: settled.
    open: VecDeque<(i64, bool)>,
    /// The offset at which reading continues.
    next: i64,
    /// What was told last, and whom.
    committed: Option<(i64, Keeper)>,
    unsettled: usize,
}

impl Progress {
    /// `kept_by` knows the offset already.
    pub(crate) fn at(offset: i64, kept_by: Option<Keeper>) -> Self {
        Self {
            open: VecDeque::new(),
            next: offset,
            committed: kept_by.map(|keeper| (offset, keeper)),
            unsettled: 0,
        }
    }

    /// Messages with these offsets, in order, were read; reading continues at `next`.
    pub(crate) fn read(&mut self, offsets: impl Iterator<Item = i64>, next: i64) {
        for offset in offsets {
            self.open.push_back((offset, false));
            self.unsettled += 1;
        }
        self.next = next;
    }

    /// A message is done with. False when it is not open (any more).
    pub(crate) fn settle(&mut self, offset: i64) -> bool {
        let Ok(index) = self.open.binary_search_by_key(&offset, |(at, _)| *at) else {
            return false;
        };
        let entry = &mut self.open[index];
        if std::mem::replace(&mut entry.1, true) {
            return false;
        }
        self.unsettled -= 1;
        while let Some((_, true)) = self.open.front() {
            self.open.pop_front();
        }
        true
    }

    /// The offset that a successor continues from: everything below it is settled.
    pub(crate) fn position(&self) -> i64 {
        self.open.front().map_or(self.next, |(offset, _)| *offset)
    }

    /// The offset at which reading continues.
    pub(crate) fn next(&self) -> i64 {
        self.next
    }

    /// Messages handed out and not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Offsets of messages handed out and not settled, in order.
    pub(crate) fn unsettled_offsets(&self) -> impl Iterator<Item = i64> {
        let open = self.open.iter().filter(|(_, is_settled)| !is_settled);
        open.map(|(offset, _)| *offset)
    }

    /// Messages read that the position has not passed, settled ones included.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// The position, when `keeper` was not told it.
    pub(crate) fn to_commit(&self, keeper: &Keeper) -> Option<i64> {
        let position = self.position();
        let is_known =
            matches!(&self.committed, Some((at, told)) if *at == position && told == keeper);
        (!is_known).then_some(position)
    }

    pub(crate) fn committed(&mut self, offset: i64, keeper: Keeper) {
        self.committed = Some((offset, keeper));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_position_waits_for_the_slowest() {
        let (local, other) = (Keeper::local(), Keeper::new("b:1", 1));
        let mut progress = Progress::at(10, Some(local.clone()));
        assert_eq!(progress.to_commit(&local), None);
        progress.read([10, 12, 13].into_iter(), 20);
        assert_eq!((progress.position(), progress.unsettled()), (10, 3));
        assert!(progress.settle(12) && progress.settle(13));
        assert_eq!(progress.position(), 10);
        assert!(progress.settle(10) && !progress.settle(10) && !progress.settle(11));
        assert_eq!((progress.position(), progress.open()), (20, 0));
        assert_eq!(progress.to_commit(&local), Some(20));
        progress.committed(20, other.clone());
        assert_eq!(progress.to_commit(&other), None);
        // Another life of the same server may not know it.
        assert_eq!(progress.to_commit(&Keeper::new("b:1", 2)), Some(20));
    }

    proptest! {
        #[test]
        fn nothing_unsettled_is_passed(order in Just((0..50_i64).collect::<Vec<_>>()).prop_shuffle(), done in 0..50_usize) {
            let mut progress = Progress::at(0, None);
            progress.read(0..50, 50);
            for offset in &order[..done] {
                prop_assert!(progress.settle(*offset));
            }
            let first_open = order[done..].iter().min().copied().unwrap_or(50);
            prop_assert_eq!(progress.position(), first_open);
            prop_assert_eq!(progress.unsettled(), 50 - done);
        }
    }
}
