//! Bytes for a connection from other threads: encoded under one lock, collected by the connection with one wake.

use std::task::Context;

use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    closed: bool,
}

impl Outbox {
    /// Lets `write` append to the outbox; wakes the connection when it was empty. `None` when the connection is gone.
    pub(crate) fn write<R>(&self, write: impl FnOnce(&mut BytesMut) -> R) -> Option<R> {
        let (result, wake) = {
            let mut state = self.state.lock();
            if state.closed {
                return None;
            }
            let was_empty = state.bytes.is_empty();
            let result = write(&mut state.bytes);
            (result, was_empty && !state.bytes.is_empty())
        };
        if wake {
            self.waker.wake();
        }
        Some(result)
    }

    /// Moves what is there to the end of `out`.
    pub(crate) fn take_into(&self, out: &mut BytesMut) {
        let mut state = self.state.lock();
        if state.bytes.is_empty() {
            return;
        }
        if out.is_empty() {
            std::mem::swap(out, &mut state.bytes);
            state.bytes.clear();
        } else {
            out.extend_from_slice(&state.bytes);
            state.bytes.clear();
        }
        if state.bytes.capacity() > 64 * 1024 {
            state.bytes = BytesMut::new();
        }
    }

    /// From now on the connection wants to be woken.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Wakes the connection for another reason than bytes.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Nothing more can be sent.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = BytesMut::new();
    }
}
