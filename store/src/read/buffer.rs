//! Memory that reads bring records into. It is used again: fresh memory has to be zeroed and faulted in each time.

use std::cell::RefCell;

/// Larger buffers are given back to the system.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// Buffers that a thread keeps.
const KEPT_MAX: usize = 2;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of one read, shared by its records.
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// At least `len` bytes of any content.
    pub(super) fn of(len: usize) -> Self {
        let mut bytes = KEPT
            .try_with(|kept| kept.borrow_mut().pop())
            .ok()
            .flatten()
            .unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Self(bytes)
    }

    /// `len` bytes from `at` on; empty where the buffer does not reach.
    pub(super) fn get(&self, at: usize, len: usize) -> &[u8] {
        self.0.get(at..at + len).unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        self.0.get_mut(at..at + len).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        if bytes.len() <= KEPT_BYTES_MAX {
            // Without a place to keep it, at the end of a thread, it goes.
            let _ = KEPT.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                if kept.len() < KEPT_MAX {
                    kept.push(bytes);
                }
            });
        }
    }
}
