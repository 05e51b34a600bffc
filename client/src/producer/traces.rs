//! What a producer says of its messages, where message traces are written.

use rmq_protocol::message::{RecallHandle, flags};
use rmq_protocol::requests::SendMessageReply;

use super::transaction::HalfId;
use super::{Decision, Outgoing, Producer};
use crate::message_traces::{EndTransaction, Kind, Pub, Recall, Subject};

/// One message of a request, as its record has it.
pub(super) struct OneOf<'a> {
    pub(super) topic: &'a str,
    pub(super) id: &'a str,
    pub(super) born_ms: i64,
    pub(super) is_half: bool,
}

impl Producer {
    /// The message was stored, by whom and as what; or it was not, as far as is known.
    pub(super) fn trace_send(
        &self,
        outgoing: &Outgoing,
        stored: Option<(&str, &SendMessageReply)>,
    ) {
        if let Some(subject) = &outgoing.traced {
            let one = OneOf {
                topic: &outgoing.topic,
                id: &outgoing.unique_id,
                born_ms: outgoing.born_ms,
                is_half: outgoing.sys_flag & flags::TRANSACTION_PREPARED != 0,
            };
            self.trace_one(subject, &one, stored);
        }
    }

    /// As [`Producer::trace_send`], for one message of a batch; its reply is that of this message alone.
    pub(super) fn trace_one(
        &self,
        subject: &Subject,
        one: &OneOf<'_>,
        stored: Option<(&str, &SendMessageReply)>,
    ) {
        let Some(traces) = self.client.traces() else {
            return;
        };
        let reply = stored.map(|(_, reply)| reply);
        if reply.is_some_and(|reply| reply.trace_on == Some(false)) {
            return;
        }
        let kind = match (one.is_half, subject.is_delayed) {
            (true, _) => Kind::Half,
            (false, true) => Kind::Delayed,
            (false, false) => Kind::Normal,
        };
        let sent = Pub {
            at_ms: one.born_ms,
            region: reply.and_then(|reply| reply.msg_region.as_deref()),
            group: self.group(),
            topic: one.topic,
            id: one.id,
            tag: subject.tag.as_deref(),
            keys: subject.keys.as_deref(),
            stored_at: stored.map(|(addr, _)| addr),
            body_bytes: subject.body_bytes,
            took_ms: subject.began.elapsed().as_millis(),
            kind,
            offset_id: reply.map(|reply| reply.msg_id.as_str()),
            success: stored.is_some(),
        };
        traces.write(sent.record());
    }

    /// The broker at `stored_at` knows how a transaction ended.
    pub(super) fn trace_end(&self, half: &HalfId, decision: Decision, stored_at: &str) {
        let (Some(traces), Some(subject)) = (self.client.traces(), &half.traced) else {
            return;
        };
        let ended = EndTransaction {
            at_ms: self.client.now_ms(),
            region: subject.region.as_deref(),
            group: self.group(),
            topic: half.queue.topic(),
            id: &half.id,
            tag: subject.tag.as_deref(),
            keys: subject.keys.as_deref(),
            stored_at,
            state: match decision {
                Decision::Commit => "COMMIT_MESSAGE",
                Decision::Rollback => "ROLLBACK_MESSAGE",
                Decision::Unknown => "UNKNOW",
            },
            is_answer: half.is_answer,
        };
        traces.write(ended.record());
    }

    /// A message was taken back, or was not.
    pub(super) fn trace_recall(&self, handle: &RecallHandle, success: bool) {
        let Some(traces) = self.client.traces() else {
            return;
        };
        let recalled = Recall {
            at_ms: self.client.now_ms(),
            region: None,
            group: self.group(),
            topic: &handle.topic,
            id: &handle.unique_key,
            success,
        };
        traces.write(recalled.record());
    }
}
