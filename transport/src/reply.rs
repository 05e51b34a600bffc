//! Answers, and the one trait of the three ways to give them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::frame;
use rmq_protocol::header::{CommandHead, FieldSource};
use rmq_protocol::limits::FRAME_BYTES_MAX;

use crate::peer::Peer;
use crate::ticket::{Address, Busy, Ticket};

/// Gives the answer to one request: at once (`&mut` [`Exchange`]), at the end of the batch ([`BatchReply`]), or later and from any thread
/// ([`PendingReply`]). An answer that is too large for a frame is replaced by an error that says so.
///
/// [`Exchange`]: crate::Exchange
pub trait Reply: Sized {
    /// Answers with a body that `write` appends: exactly `body_len` bytes.
    fn reply_with_body(
        self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body_len: usize,
        write: impl FnOnce(&mut BytesMut),
    );

    /// Answers.
    fn reply(
        self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body: &[u8],
    ) {
        self.reply_with_body(code, remark, fields, body.len(), |out| {
            out.extend_from_slice(body);
        });
    }

    /// Answers with success.
    fn ok(self, fields: &dyn FieldSource) {
        self.reply(ResponseCode::Success, None, fields, &[]);
    }

    /// Answers with success and a body.
    fn ok_body(self, fields: &dyn FieldSource, body: &[u8]) {
        self.reply(ResponseCode::Success, None, fields, body);
    }

    /// Answers with an error.
    fn fail(self, code: ResponseCode, remark: impl Into<Cow<'static, str>>) {
        self.reply(code, Some(remark.into()), &(), &[]);
    }
}

/// Where answers of a whole batch go: they leave in one write.
#[derive(Debug)]
pub struct Replies<'a> {
    pub(crate) out: &'a mut BytesMut,
    pub(crate) peer: &'a Arc<Peer>,
}

impl Replies<'_> {
    /// The answer to the request of `ticket`, which is a request of this connection.
    pub fn to(&mut self, ticket: Ticket) -> BatchReply<'_> {
        debug_assert!(
            Arc::ptr_eq(ticket.peer(), self.peer),
            "a ticket is answered on its own connection"
        );
        BatchReply {
            out: self.out,
            ticket,
        }
    }

    /// The connection that these answers belong to.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        self.peer
    }

    /// For tickets that are answered after the end of the batch with [`Peer::send_with`]: the connection counts as busy until then.
    #[must_use]
    pub fn busy(&self) -> Busy {
        Busy::new(self.peer)
    }
}

/// An answer among others; see [`Replies::to`].
#[derive(Debug)]
#[must_use = "a dropped ticket answers with an error"]
pub struct BatchReply<'a> {
    out: &'a mut BytesMut,
    ticket: Ticket,
}

impl Reply for BatchReply<'_> {
    fn reply_with_body(
        mut self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body_len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        let to = self.ticket.settle();
        encode_reply(self.out, to, code, remark, fields, body_len, write);
    }
}

/// An answer that is owed and can be given from any thread. A pending reply that is dropped answers with `SYSTEM_ERROR`.
#[derive(Debug)]
#[must_use = "a dropped pending reply answers with an error"]
pub struct PendingReply {
    // Before `busy`: a drain that ends with this answer finds it.
    ticket: Ticket,
    began_us: Option<i64>,
    _busy: Busy,
}

impl PendingReply {
    pub(crate) fn new(ticket: Ticket, began_us: Option<i64>) -> Self {
        Self {
            _busy: Busy::new(ticket.peer()),
            ticket,
            began_us,
        }
    }

    /// The same, for a request that waits for an event: how long it waits says nothing about the server.
    pub fn untimed(mut self) -> Self {
        self.began_us = None;
        self
    }

    /// Who waits.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        self.ticket.peer()
    }

    /// Gives the answer up, without a word to the peer: its connection ends.
    pub fn forget(mut self) {
        self.ticket.settle();
    }
}

impl Reply for PendingReply {
    fn reply_with_body(
        mut self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body_len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        let to = self.ticket.settle();
        let peer = self.ticket.peer();
        // None: the connection is gone, and nobody waits any more.
        let _ = peer
            .outbox()
            .write(|out| encode_reply(out, to, code, remark, fields, body_len, write));
        if let Some(told) = peer.answers_told() {
            told.answered(to.code, code, self.began_us);
        }
    }
}

#[cold]
fn encode_too_large(out: &mut BytesMut, to: Address, bytes: usize) {
    let name = RequestCode::from_i32(to.code).map_or("unknown", RequestCode::name);
    let remark = format!(
        "the answer to request code {} ({name}) has {bytes} bytes, and a frame has at most {FRAME_BYTES_MAX}; ask for a part, where the request can, or for one thing at a time",
        to.code
    );
    tracing::warn!(
        code = to.code,
        name,
        bytes,
        "an answer is too large for a frame"
    );
    let mut head = CommandHead::response(ResponseCode::SystemError.as_i32(), to.opaque);
    head.remark = Some(remark.into());
    frame::encode_frame_head(out, to.encoding, &head, &(), 0);
}

#[cold]
pub(crate) fn encode_unanswered(out: &mut BytesMut, to: Address) {
    let remark = format!(
        "the server gave no answer to request code {}; this is a defect of the server",
        to.code
    );
    let code = ResponseCode::SystemError;
    encode_reply(out, to, code, Some(remark.into()), &(), 0, |_| {});
}

pub(crate) fn encode_reply(
    out: &mut BytesMut,
    to: Address,
    code: ResponseCode,
    remark: Option<Cow<'static, str>>,
    fields: &dyn FieldSource,
    body_len: usize,
    write: impl FnOnce(&mut BytesMut),
) {
    if to.one_way {
        return;
    }
    let mut head = CommandHead::response(code.as_i32(), to.opaque);
    head.remark = remark;
    let start = out.len();
    frame::encode_frame_head(out, to.encoding, &head, fields, body_len);
    let before = out.len();
    if before - start + body_len > FRAME_BYTES_MAX {
        // Its reader would close the connection, and everything else on it would be lost too.
        let bytes = before - start + body_len;
        out.truncate(start);
        return encode_too_large(out, to, bytes);
    }
    write(out);
    debug_assert_eq!(
        out.len() - before,
        body_len,
        "the body has the announced length"
    );
}
