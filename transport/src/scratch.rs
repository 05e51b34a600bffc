//! One large read buffer per thread. Frames are handled in place, so no connection needs a buffer while it waits.

use std::cell::RefCell;

/// Bytes one socket read may bring.
pub(crate) const READ_BYTES: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `with` on this thread's buffer, which is at least [`READ_BYTES`] long and has arbitrary content.
pub(crate) fn with<R>(with: impl FnOnce(&mut [u8]) -> R) -> R {
    // Taken out, so that a nested use (or a panic inside) finds an empty slot and makes a new buffer.
    let mut buffer = SCRATCH.with(RefCell::take);
    if buffer.len() < READ_BYTES {
        buffer.resize(READ_BYTES, 0);
    }
    let result = with(&mut buffer);
    SCRATCH.with(|slot| slot.replace(buffer));
    result
}
