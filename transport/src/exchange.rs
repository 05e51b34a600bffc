//! What a handler sees of a request, and the ways to answer it: at once, at the end of the batch, or later from any thread.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::frame::{self, HeaderEncoding};
use rmq_protocol::header::{CommandHead, FieldSource, Header};
use rmq_protocol::limits::FRAME_BYTES_MAX;

use crate::peer::Peer;

/// A server. One value serves all connections; `Batch` is what one connection gathers during one socket read.
pub trait Service: Send + Sync + 'static {
    /// Gathered by [`Service::request`], used up by [`Service::batch_end`]; reused for the connection's next read.
    type Batch: Default + Send + 'static;

    /// Called in place for every complete request frame, in the order of arrival. It must not block.
    ///
    /// Answer with [`Exchange::reply`] (or a shorthand), keep a [`Exchange::ticket`] to answer in [`Service::batch_end`],
    /// or [`Exchange::park`] it to answer later. A request that gets none of these is answered with `SYSTEM_ERROR`.
    fn request(&self, batch: &mut Self::Batch, exchange: &mut Exchange<'_>);

    /// Called after all complete frames of one read, before the answers leave.
    fn batch_end(&self, _batch: &mut Self::Batch, _replies: &mut Replies<'_>) {}

    /// Whether the end of this batch is so costly that it should wait for the batches of other connections that are ready now,
    /// so that one end can do the work of all. Answers already given in the batch wait too.
    fn gathers(&self, _batch: &Self::Batch) -> bool {
        false
    }

    /// A connection was accepted.
    fn connected(&self, _peer: &Arc<Peer>) {}

    /// A connection is gone; nothing can be sent to it any more.
    fn closed(&self, _peer: &Arc<Peer>) {}
}

/// What is needed to answer a request: copied out of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) opaque: i32,
    pub(crate) encoding: HeaderEncoding,
    pub(crate) one_way: bool,
    pub(crate) code: i32,
}

impl Ticket {
    pub(crate) fn of(header: &Header<'_>) -> Self {
        Self {
            opaque: header.opaque,
            encoding: header.encoding,
            one_way: header.is_one_way(),
            code: header.code,
        }
    }

    /// The request's code.
    #[must_use]
    pub fn request_code(&self) -> i32 {
        self.code
    }

    /// Whether the sender wants no answer; replies to it are dropped.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.one_way
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Missing,
    /// With this code.
    Given(ResponseCode),
    /// A ticket was taken: the service answers at the end of the batch.
    Promised,
}

/// One request and its ways to be answered.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The request's header, borrowed from the read buffer.
    pub header: &'a Header<'a>,
    /// The request's body, borrowed from the read buffer.
    pub body: &'a [u8],
    /// Who sent it.
    pub peer: &'a Arc<Peer>,
    pub(crate) out: &'a mut BytesMut,
    pub(crate) answer: Answer,
    pub(crate) began_us: Option<i64>,
}

/// Told of each answer to a parked request; see [`Peer::tell_answers`].
pub trait Answered: std::fmt::Debug + Send + Sync {
    /// The request `request` was answered with `response`; `began_us` is what [`Exchange::begin`] was given.
    fn answered(&self, request: i32, response: ResponseCode, began_us: Option<i64>);
}

impl Exchange<'_> {
    /// Says when this request was looked at first, microseconds of the server's monotonic clock: an answer that comes later knows how long it
    /// took.
    pub fn begin(&mut self, began_us: i64) {
        self.began_us = Some(began_us);
    }

    /// The code of the answer that was given in place.
    #[must_use]
    pub fn answered(&self) -> Option<ResponseCode> {
        match self.answer {
            Answer::Given(code) => Some(code),
            Answer::Missing | Answer::Promised => None,
        }
    }

    /// Answers now.
    pub fn reply(
        &mut self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body: &[u8],
    ) {
        self.reply_with_body(code, remark, fields, body.len(), |out| {
            out.extend_from_slice(body)
        });
    }

    /// Answers now with a body that `write` appends: exactly `body_len` bytes.
    pub fn reply_with_body(
        &mut self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body_len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        self.answer = Answer::Given(code);
        encode_reply(
            self.out,
            &Ticket::of(self.header),
            code,
            remark,
            fields,
            body_len,
            write,
        );
    }

    /// Answers now with success.
    pub fn ok(&mut self, fields: &dyn FieldSource) {
        self.reply(ResponseCode::Success, None, fields, &[]);
    }

    /// Answers now with success and a body.
    pub fn ok_body(&mut self, fields: &dyn FieldSource, body: &[u8]) {
        self.reply(ResponseCode::Success, None, fields, body);
    }

    /// Answers now with an error.
    pub fn fail(&mut self, code: ResponseCode, remark: impl Into<Cow<'static, str>>) {
        self.reply(code, Some(remark.into()), &(), &[]);
    }

    /// The means to answer at the end of the batch. Taking it is a promise to do so.
    pub fn ticket(&mut self) -> Ticket {
        self.answer = Answer::Promised;
        Ticket::of(self.header)
    }

    /// The means to answer later, from any thread.
    pub fn park(&mut self) -> PendingReply {
        self.answer = Answer::Promised;
        self.peer.parked_add();
        PendingReply {
            peer: Arc::clone(self.peer),
            ticket: Ticket::of(self.header),
            answered: false,
            began_us: self.began_us,
        }
    }
}

/// Where answers of a whole batch go.
#[derive(Debug)]
pub struct Replies<'a> {
    pub(crate) out: &'a mut BytesMut,
    pub(crate) peer: &'a Arc<Peer>,
}

impl Replies<'_> {
    /// Answers one request.
    pub fn reply(
        &mut self,
        ticket: &Ticket,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body: &[u8],
    ) {
        encode_reply(self.out, ticket, code, remark, fields, body.len(), |out| {
            out.extend_from_slice(body)
        });
    }

    /// Answers one request with a body that `write` appends: exactly `body_len` bytes.
    pub fn reply_with_body(
        &mut self,
        ticket: &Ticket,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body_len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        encode_reply(self.out, ticket, code, remark, fields, body_len, write);
    }

    /// The connection that these answers belong to.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        self.peer
    }

    /// Turns a ticket into an answer that can be given later, from any thread.
    #[must_use]
    pub fn park(&self, ticket: Ticket) -> PendingReply {
        self.peer.parked_add();
        PendingReply {
            peer: Arc::clone(self.peer),
            ticket,
            answered: false,
            began_us: None,
        }
    }
}

/// An answer that is still owed. Dropped without one, it answers with `SYSTEM_ERROR`: a request is never met with silence.
#[derive(Debug)]
pub struct PendingReply {
    peer: Arc<Peer>,
    ticket: Ticket,
    answered: bool,
    began_us: Option<i64>,
}

impl PendingReply {
    /// The same, for a request that waits for an event: how long it waits says nothing about the server.
    #[must_use]
    pub fn untimed(mut self) -> Self {
        self.began_us = None;
        self
    }

    /// The request that waits.
    #[must_use]
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Who waits.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Answers.
    pub fn reply(
        self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body: &[u8],
    ) {
        self.reply_with_body(code, remark, fields, body.len(), |out| {
            out.extend_from_slice(body)
        });
    }

    /// Answers with a body that `write` appends: exactly `body_len` bytes.
    pub fn reply_with_body(
        mut self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body_len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        self.answered = true;
        let ticket = self.ticket;
        // None: the connection is gone, and nobody waits any more.
        let _ = self
            .peer
            .outbox()
            .write(|out| encode_reply(out, &ticket, code, remark, fields, body_len, write));
        if let Some(told) = self.peer.answers_told() {
            told.answered(ticket.code, code, self.began_us);
        }
    }

    /// Answers with success.
    pub fn ok(self, fields: &dyn FieldSource) {
        self.reply(ResponseCode::Success, None, fields, &[]);
    }

    /// Answers with success and a body.
    pub fn ok_body(self, fields: &dyn FieldSource, body: &[u8]) {
        self.reply(ResponseCode::Success, None, fields, body);
    }

    /// Answers with an error.
    pub fn fail(self, code: ResponseCode, remark: impl Into<Cow<'static, str>>) {
        self.reply(code, Some(remark.into()), &(), &[]);
    }

    /// Gives the answer up because the connection is gone, or because it was answered through [`Peer::send_with`].
    pub fn forget(mut self) {
        self.answered = true;
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if !self.answered {
            let ticket = self.ticket;
            tracing::error!(request_code = ticket.code, peer = %self.peer.remote_addr(), "a parked request was dropped without an answer");
            let _ = self
                .peer
                .outbox()
                .write(|out| encode_unanswered(out, &ticket));
        }
        self.peer.parked_remove();
    }
}

#[cold]
fn encode_too_large(out: &mut BytesMut, ticket: &Ticket, bytes: usize) {
    let name = RequestCode::from_i32(ticket.code).map_or("unknown", RequestCode::name);
    let remark = format!(
        "the answer to request code {} ({name}) has {bytes} bytes, and a frame has at most {FRAME_BYTES_MAX}; ask for a part, where the request can, or for one thing at a time",
        ticket.code
    );
    tracing::warn!(
        code = ticket.code,
        name,
        bytes,
        "an answer is too large for a frame"
    );
    let mut head = CommandHead::response(ResponseCode::SystemError.as_i32(), ticket.opaque);
    head.remark = Some(remark.into());
    frame::encode_frame_head(out, ticket.encoding, &head, &(), 0);
}

pub(crate) fn encode_unanswered(out: &mut BytesMut, ticket: &Ticket) {
    let remark = format!(
        "the server gave no answer to request code {}; this is a defect of the server",
        ticket.code
    );
    encode_reply(
        out,
        ticket,
        ResponseCode::SystemError,
        Some(remark.into()),
        &(),
        0,
        |_| {},
    );
}

fn encode_reply(
    out: &mut BytesMut,
    ticket: &Ticket,
    code: ResponseCode,
    remark: Option<Cow<'static, str>>,
    fields: &dyn FieldSource,
    body_len: usize,
    write: impl FnOnce(&mut BytesMut),
) {
    if ticket.one_way {
        return;
    }
    let mut head = CommandHead::response(code.as_i32(), ticket.opaque);
    head.remark = remark;
    let start = out.len();
    frame::encode_frame_head(out, ticket.encoding, &head, fields, body_len);
    let before = out.len();
    if before - start + body_len > FRAME_BYTES_MAX {
        // Its reader would close the connection, and everything else on it would be lost too.
        let bytes = before - start + body_len;
        out.truncate(start);
        return encode_too_large(out, ticket, bytes);
    }
    write(out);
    debug_assert_eq!(
        out.len() - before,
        body_len,
        "the body has the announced length"
    );
}
