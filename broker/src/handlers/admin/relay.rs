//! Questions that the broker passes on to a client: 307, 309, 223.

use std::sync::Arc;
use std::time::Duration;

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::{LogPosition, OffsetMessageId};
use rmq_protocol::requests::{
    ConsumeMessageDirectly, GetConsumerRunningInfo, InvokeBrokerToGetConsumerStatus,
};
use rmq_transport::{Exchange, PeerCallError, PendingReply};

use crate::audit;
use crate::broker::Broker;
use crate::handlers::decode;
use crate::sessions::Member;

/// A client has this long to answer (apache/rocketmq `AdminBrokerProcessor.callConsumer`).
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn running_info(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetConsumerRunningInfo<'_>>(exchange) else {
        return;
    };
    let Some(member) = member(
        broker,
        exchange,
        &request.consumer_group,
        &request.client_id,
    ) else {
        return;
    };
    let fields = own_fields(exchange);
    pass_on(
        broker,
        RequestCode::GetConsumerRunningInfo,
        member,
        fields,
        Vec::new(),
        exchange.park(),
    );
}

pub(crate) fn consume_directly(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<ConsumeMessageDirectly<'_>>(exchange) else {
        return;
    };
    let Some(member) = member(
        broker,
        exchange,
        &request.consumer_group,
        request.client_id.as_deref().unwrap_or_default(),
    ) else {
        return;
    };
    let position = request
        .msg_id
        .as_deref()
        .and_then(|id| id.parse::<OffsetMessageId>().ok())
        .map(|id| id.position);
    let Some(LogPosition(position)) = position else {
        return exchange.fail(
            ResponseCode::SystemError,
            "the message id is not one of this broker (offset message id)",
        );
    };
    let mut fields = own_fields(exchange);
    fields.push(("brokerName".to_owned(), broker.config.broker_name.clone()));
    let asker = audit::asker(exchange);
    let subject = format!("{} at {}", request.consumer_group, member.client_id);
    let message = request.msg_id.as_deref().map(str::to_owned);
    let reply = exchange.park();
    broker.run_blocking(reply, move |broker, reply| {
        match broker.store.record_at(LogPosition(position)) {
            Ok(record) => {
                asker.changed(
                    "message handed to a consumer again",
                    &subject,
                    None,
                    message,
                );
                pass_on(
                    broker,
                    RequestCode::ConsumeMessageDirectly,
                    member,
                    fields,
                    record.to_vec(),
                    reply,
                )
            }
            Err(error) => reply.fail(
                ResponseCode::SystemError,
                format!("the message cannot be read: {error}"),
            ),
        }
    });
}

pub(crate) fn consumer_status(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<InvokeBrokerToGetConsumerStatus<'_>>(exchange) else {
        return;
    };
    let Some(group) = broker.sessions.consumer(&request.group) else {
        return exchange.fail(
            ResponseCode::ConsumerNotOnline,
            format!("the consumer group[{}] not online", request.group),
        );
    };
    let wanted = request.client_addr.as_deref().unwrap_or_default();
    let members: Vec<Member> = group
        .members()
        .into_iter()
        .filter(|member| wanted.is_empty() || member.client_id == wanted)
        .collect();
    let fields = own_fields(exchange);
    let reply = exchange.park();
    broker.run_task(async move {
        let mut body = rmq_protocol::bodies::ConsumerStatusBody::default();
        for member in members {
            let asked = member
                .peer
                .call(
                    RequestCode::GetConsumerStatusFromClient.as_i32(),
                    &fields,
                    &[],
                    CLIENT_TIMEOUT,
                )
                .await;
            if let Ok(frame) = asked
                && frame.code() == ResponseCode::Success.as_i32()
                && let Ok(status) =
                    rmq_protocol::bodies::ConsumerStatusBody::from_json(frame.body())
            {
                body.consumer_table
                    .insert(member.client_id, status.message_queue_table);
            }
        }
        reply.ok_body(&(), &body.to_json());
    });
}

fn member(
    broker: &Broker,
    exchange: &mut Exchange<'_>,
    group: &str,
    client_id: &str,
) -> Option<Member> {
    let member = broker
        .sessions
        .consumer(group)
        .and_then(|group| group.member(client_id));
    if member.is_none() {
        exchange.fail(
            ResponseCode::SystemError,
            format!("The Consumer <{group}> <{client_id}> not online"),
        );
    }
    member
}

fn own_fields(exchange: &Exchange<'_>) -> Vec<(String, String)> {
    exchange
        .header
        .fields
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_cow().into_owned()))
        .collect()
}

fn pass_on(
    broker: &Arc<Broker>,
    code: RequestCode,
    member: Member,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    reply: PendingReply,
) {
    broker.run_task(async move {
        match member
            .peer
            .call(code.as_i32(), &fields, &body, CLIENT_TIMEOUT)
            .await
        {
            Ok(frame) => {
                let header = frame.header();
                let remark = header
                    .remark
                    .as_ref()
                    .map(|remark| remark.to_cow().into_owned().into());
                let code =
                    ResponseCode::from_i32(frame.code()).unwrap_or(ResponseCode::SystemError);
                reply.reply(code, remark, &header.fields, frame.body());
            }
            Err(error @ PeerCallError::Timeout(_)) => {
                reply.fail(
                    ResponseCode::ConsumeMsgTimeout,
                    format!("the client {} gave no answer: {error}", member.client_id),
                );
            }
            Err(error) => reply.fail(
                ResponseCode::SystemError,
                format!("the client {} cannot be asked: {error}", member.client_id),
            ),
        }
    });
}
