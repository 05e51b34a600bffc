//! Lets a few lines a second through, so that a flood of bad peers is not a flood of log lines.

use parking_lot::Mutex;

const LINES_PER_SECOND: u32 = 5;

#[derive(Debug, Default)]
pub(crate) struct LogGate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    second: i64,
    lines: u32,
    suppressed: u64,
}

impl LogGate {
    /// `Some(suppressed before)` when a line may be written at `now_ms`.
    pub(crate) fn pass(&self, now_ms: i64) -> Option<u64> {
        let mut state = self.state.lock();
        let second = now_ms / 1_000;
        if state.second != second {
            state.second = second;
            state.lines = 0;
        }
        if state.lines >= LINES_PER_SECOND {
            state.suppressed += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let gate = LogGate::default();
        let passed = (0..100).filter(|_| gate.pass(10_000).is_some()).count();
        assert_eq!(passed, LINES_PER_SECOND as usize);
        assert_eq!(gate.pass(11_000), Some(95));
        assert_eq!(gate.pass(11_000), Some(0));
    }
}
