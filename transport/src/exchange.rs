//! What a handler sees of a request: the frame, who sent it, and the ways to an answer.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;
use rmq_protocol::code::ResponseCode;
use rmq_protocol::header::{FieldSource, Header};

use crate::peer::Peer;
use crate::reply::{PendingReply, Replies, Reply, encode_reply};
use crate::ticket::{Address, Ticket};

/// A server. One value serves all connections; `Batch` is what one connection gathers during one socket read.
pub trait Service: Send + Sync + 'static {
    /// Gathered by [`Service::request`], used up by [`Service::batch_end`]; reused for the connection's next read.
    type Batch: Default + Send + 'static;

    /// Called in place for every complete request frame, in the order of arrival. It must not block.
    ///
    /// There are three ways to answer: at once with the methods of [`Reply`], in [`Service::batch_end`] with an [`Exchange::ticket`],
    /// or later with [`Exchange::park`]. A request that gets no answer on any of these ways is answered with `SYSTEM_ERROR`.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Missing,
    /// With this code.
    Given(ResponseCode),
    /// A ticket was taken: it answers.
    Promised,
}

/// One request and its ways to be answered. `&mut Exchange` answers at once; see [`Reply`].
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The request's header, borrowed from the read buffer.
    pub header: &'a Header<'a>,
    /// The request's body, borrowed from the read buffer.
    pub body: &'a [u8],
    /// Who sent it.
    pub peer: &'a Arc<Peer>,
    /// Whether the service has verified which user sent it: by the request's signature, or by the certificate of its connection.
    pub is_verified: bool,
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

    /// The means to answer at the end of the batch.
    pub fn ticket(&mut self) -> Ticket {
        self.answer = Answer::Promised;
        Ticket::new(self.peer, self.header)
    }

    /// The means to answer later, from any thread.
    pub fn park(&mut self) -> PendingReply {
        let began_us = self.began_us;
        PendingReply::new(self.ticket(), began_us)
    }
}

impl Reply for &mut Exchange<'_> {
    fn reply_with_body(
        self,
        code: ResponseCode,
        remark: Option<Cow<'static, str>>,
        fields: &dyn FieldSource,
        body_len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        self.answer = Answer::Given(code);
        let to = Address::of(self.header);
        encode_reply(self.out, to, code, remark, fields, body_len, write);
    }
}
