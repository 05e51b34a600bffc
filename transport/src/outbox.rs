//! Bytes for a connection from other threads: encoded under one lock, collected by the connection with one wake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::budget::MemoryBudget;
use crate::reply::encode_unanswered;
use crate::spare;
use crate::ticket::Address;

#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Requests whose tickets were dropped; `None` after the end. Beside `state`: a ticket may be dropped while `state` is locked.
    unanswered: Mutex<Option<Vec<Address>>>,
    has_unanswered: AtomicBool,
    waker: AtomicWaker,
    budget: Arc<MemoryBudget>,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    /// What the budget knows of them.
    charged: usize,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(budget: Arc<MemoryBudget>) -> Self {
        Self {
            state: Mutex::default(),
            unanswered: Mutex::new(Some(Vec::new())),
            has_unanswered: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            budget,
        }
    }

    /// Lets `write` append to the outbox; wakes the connection when it was empty. `None` when the connection is gone.
    pub(crate) fn write<R>(&self, write: impl FnOnce(&mut BytesMut) -> R) -> Option<R> {
        let (result, wake) = {
            let mut state = self.state.lock();
            if state.closed {
                return None;
            }
            let was_empty = state.bytes.is_empty();
            if state.bytes.capacity() == 0 {
                // The connection gives it back when it is sent.
                state.bytes = spare::take();
            }
            let result = write(&mut state.bytes);
            let held = state.bytes.capacity();
            let charge = held.saturating_sub(self.budget.allowance());
            if charge > state.charged {
                self.budget.sending_changed(state.charged, charge);
                state.charged = charge;
            }
            (result, was_empty && !state.bytes.is_empty())
        };
        if wake {
            self.waker.wake();
        }
        Some(result)
    }

    /// Has the connection answer with an error. Whether the connection is still there.
    pub(crate) fn add_unanswered(&self, to: Address) -> bool {
        match &mut *self.unanswered.lock() {
            None => return false,
            Some(all) => all.push(to),
        }
        self.has_unanswered.store(true, Ordering::Release);
        self.waker.wake();
        true
    }

    /// Answers those requests.
    pub(crate) fn answer_unanswered(&self, out: &mut BytesMut) {
        if !self.has_unanswered.load(Ordering::Acquire) {
            return;
        }
        self.has_unanswered.store(false, Ordering::Relaxed);
        let all = self.unanswered.lock().as_mut().map(std::mem::take);
        for to in all.unwrap_or_default() {
            encode_unanswered(out, to);
        }
    }

    /// Moves what is there to the end of `out`; answers how many charged bytes moved along, which are the connection's from now on.
    pub(crate) fn take_into(&self, out: &mut BytesMut) -> usize {
        let mut state = self.state.lock();
        if state.bytes.is_empty() {
            return 0;
        }
        if out.is_empty() {
            std::mem::swap(out, &mut state.bytes);
        } else {
            out.extend_from_slice(&state.bytes);
        }
        let free = std::mem::take(&mut state.bytes);
        spare::give(free, self.budget.spare_bytes_max());
        std::mem::take(&mut state.charged)
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
        *self.unanswered.lock() = None;
        let charged = {
            let mut state = self.state.lock();
            state.closed = true;
            state.bytes = BytesMut::new();
            std::mem::take(&mut state.charged)
        };
        self.budget.sending_changed(charged, 0);
    }
}
