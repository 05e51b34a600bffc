//! The table of delayed messages' progress: key = the number of a delay level, value = an offset of its queue, i64 little-endian. Of the
//! messages that an earlier version has parked, those before were delivered by it, or have a row in [`waiting`](super::waiting). Key
//! `clock`: what is known of the clock's jumps, three i64 little-endian.

use std::collections::HashMap;

use parking_lot::Mutex;
use rmq_store::{Applied, Apply, Change, ReadError};

use super::ids::DELAY_PROGRESS;

/// The key of the clock's jumps.
const CLOCK: &str = "clock";

/// What is known of the clock's jumps: milliseconds.
pub(crate) type ClockRow = [i64; 3];

/// The change that says how far the messages of earlier versions are taken over.
pub(crate) fn set(level: usize, next: i64) -> Change {
    let value = next.to_le_bytes().to_vec();
    Change::set(DELAY_PROGRESS, level.to_string(), value)
}

/// The change that keeps the clock's jumps.
pub(crate) fn set_clock(row: ClockRow) -> Change {
    let value: Vec<u8> = row.iter().flat_map(|field| field.to_le_bytes()).collect();
    Change::set(DELAY_PROGRESS, CLOCK, value)
}

/// How far messages of earlier versions are taken over, and the jumps of the clock.
#[derive(Default)]
pub(crate) struct DelayTable(Mutex<State>);

#[derive(Default)]
struct State {
    levels: HashMap<usize, i64>,
    clock: ClockRow,
}

impl DelayTable {
    /// Where messages of earlier versions begin that are not taken over.
    pub(crate) fn next(&self, level: usize) -> i64 {
        self.0.lock().levels.get(&level).copied().unwrap_or(0)
    }

    /// The clock's jumps; zeros when there were none.
    pub(crate) fn clock(&self) -> ClockRow {
        self.0.lock().clock
    }
}

impl Apply for DelayTable {
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError> {
        let mut state = self.0.lock();
        let value = change.value.unwrap_or_default();
        let (fields, rest) = value.as_chunks::<8>();
        let mut fields = fields.iter().map(|field| i64::from_le_bytes(*field));
        let mut field = || fields.next().unwrap_or(0);
        match change.key.parse() {
            Ok(level) => drop(state.levels.insert(level, field())),
            Err(_) if change.key == CLOCK && rest.is_empty() && value.len() == 24 => {
                state.clock = [field(), field(), field()];
            }
            Err(_) => tracing::error!(
                key = change.key,
                bytes = value.len(),
                "a row of the progress of delayed messages cannot be read and is ignored"
            ),
        }
        Ok(())
    }
}
