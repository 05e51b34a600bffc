//! What a request is owed, kept outside of its frame.

use std::sync::Arc;

use rmq_protocol::frame::HeaderEncoding;
use rmq_protocol::header::Header;

use crate::peer::Peer;

/// Which request an answer belongs to, and how it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) opaque: i32,
    pub(crate) encoding: HeaderEncoding,
    pub(crate) one_way: bool,
    /// The request's code.
    pub(crate) code: i32,
}

impl Address {
    pub(crate) fn of(header: &Header<'_>) -> Self {
        Self {
            opaque: header.opaque,
            encoding: header.encoding,
            one_way: header.is_one_way(),
            code: header.code,
        }
    }
}

/// An answer that is owed. [`Replies::to`] uses the ticket up. A ticket that is dropped answers with `SYSTEM_ERROR`, from any thread:
/// a request is never met with silence.
///
/// [`Replies::to`]: crate::Replies::to
#[derive(Debug)]
#[must_use = "a dropped ticket answers with an error"]
pub struct Ticket {
    peer: Arc<Peer>,
    to: Address,
    is_owed: bool,
}

impl Ticket {
    pub(crate) fn new(peer: &Arc<Peer>, header: &Header<'_>) -> Self {
        Self {
            peer: Arc::clone(peer),
            to: Address::of(header),
            is_owed: true,
        }
    }

    /// The request's code.
    #[must_use]
    pub fn request_code(&self) -> i32 {
        self.to.code
    }

    /// Whether the sender wants no answer; answers to it are dropped.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.to.one_way
    }

    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The answer is given now, or never.
    pub(crate) fn settle(&mut self) -> Address {
        self.is_owed = false;
        self.to
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_owed && !self.to.one_way {
            self.peer.unanswered(self.to);
        }
    }
}

/// While it is held, its connection counts as busy: a drain waits for it, and it takes one of the connection's parked requests.
#[derive(Debug)]
pub struct Busy {
    peer: Arc<Peer>,
}

impl Busy {
    pub(crate) fn new(peer: &Arc<Peer>) -> Self {
        peer.parked_add();
        Self {
            peer: Arc::clone(peer),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.peer.parked_remove();
    }
}
