//! Write buffers of this thread that no connection needs now.

use std::cell::RefCell;

use bytes::BytesMut;

const BUFFERS_MAX: usize = 8;

thread_local! {
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn take() -> BytesMut {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

pub(crate) fn give(mut buffer: BytesMut, bytes_max: usize) {
    buffer.clear();
    if buffer.capacity() > 0 && buffer.capacity() <= bytes_max {
        BUFFERS.with_borrow_mut(|buffers| {
            if buffers.len() < BUFFERS_MAX {
                buffers.push(buffer);
            }
        });
    }
}
