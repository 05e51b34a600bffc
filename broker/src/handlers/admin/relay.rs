//! Questions that the broker passes on to a client: 307, 309, 223.

use std::sync::Arc;
use std::time::Duration;

use rmq_protocol::bodies::ConsumerStatusBody;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::FieldSource;
use rmq_protocol::message::OffsetMessageId;
use rmq_protocol::requests::{
    ConsumeMessageDirectly, GetConsumerRunningInfo, InvokeBrokerToGetConsumerStatus,
};
use rmq_store::RecordSlice;
use rmq_transport::{Exchange, OwnedFrame, PeerCallError};

use crate::audit::Origin;
use crate::broker::Broker;
use crate::clients::members;
use crate::handlers::refusal::{Handled, Refusal, RelayRefusal};
use crate::handlers::{decode, fields_for_client, link, task};
use crate::reply::{self, Answer};
use crate::requester::Requester;
use crate::sessions::Member;
use crate::work;

/// A client has this long to answer (apache/rocketmq `AdminBrokerProcessor.callConsumer`).
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn running_info(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetConsumerRunningInfo<'_> = decode(exchange)?;
    let member = members::one(broker, &request.consumer_group, &request.client_id)?;
    let fields = fields_for_client(exchange);
    let reply = exchange.park();
    broker.run_task(async move {
        let code = RequestCode::GetConsumerRunningInfo;
        reply::relayed(reply, ask(&member, code, &fields, &[]).await);
    });
    Ok(())
}

pub(crate) fn consume_directly(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: ConsumeMessageDirectly<'_> = decode(exchange)?;
    let group = &request.consumer_group;
    let client_id = request.client_id.as_deref().unwrap_or_default();
    let member = members::one(broker, group, client_id)?;
    let requester = Requester::of(broker, exchange, exchange.asker())?;
    let message = request.msg_id.as_deref();
    let id = message.and_then(|id| id.parse::<OffsetMessageId>().ok());
    let position = id.ok_or(RelayRefusal::MessageId)?.position;
    let mut fields = fields_for_client(exchange);
    fields.push(("brokerName".to_owned(), broker.config.broker_name.clone()));
    let asker = exchange.asker();
    let subject = format!("{group} at {}", member.client_id);
    let message = message.map(str::to_owned);
    let (then, reader) = (Arc::clone(broker), Arc::clone(broker));
    let reply = exchange.park();
    broker.run_task(async move {
        let read = work::blocking(move || reader.store.record_at(position)).await;
        let may_read = |record: &RecordSlice| match (&requester, record.view()) {
            (Some(requester), Some(view)) => requester.may_consume(&then, &view),
            _ => Ok(()),
        };
        let asked = match read {
            Ok(Ok(record)) if let Err(why) = may_read(&record) => Err(why.into()),
            Ok(Ok(record)) => {
                let what = "message handed to a consumer again";
                asker.changed(what, &subject, None, message);
                ask(
                    &member,
                    RequestCode::ConsumeMessageDirectly,
                    &fields,
                    &record,
                )
                .await
            }
            Ok(Err(error)) => Err(RelayRefusal::Message(error).into()),
            Err(error) => Err(RelayRefusal::Interrupted(error).into()),
        };
        reply::relayed(reply, asked);
    });
    Ok(())
}

pub(crate) fn consumer_status(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: InvokeBrokerToGetConsumerStatus<'_> = decode(exchange)?;
    let group = members::online(broker, &request.group)?;
    let wanted = request.client_addr.as_deref().unwrap_or_default();
    let members: Vec<Member> = group
        .members()
        .into_iter()
        .filter(|member| wanted.is_empty() || member.client_id == wanted)
        .collect();
    let fields = fields_for_client(exchange);
    task(broker, exchange, async move |_| {
        let mut body = ConsumerStatusBody::default();
        for member in members {
            let asked = ask(
                &member,
                RequestCode::GetConsumerStatusFromClient,
                &fields,
                &[],
            );
            if let Ok(frame) = asked.await
                && frame.code() == ResponseCode::Success.as_i32()
                && let Ok(status) = ConsumerStatusBody::from_json(frame.body())
            {
                body.consumer_table
                    .insert(member.client_id, status.message_queue_table);
            }
        }
        Ok(Answer::body(body.to_json()))
    })
}

/// Asks a client, and waits for its answer.
async fn ask(
    member: &Member,
    code: RequestCode,
    fields: &(dyn FieldSource + Sync),
    body: &[u8],
) -> Result<OwnedFrame, Refusal> {
    let client_id = member.client_id.clone();
    let Some(peer) = link::peer(&*member.link) else {
        return Err(RelayRefusal::OtherProtocol(client_id).into());
    };
    let asked = peer.call(code.as_i32(), fields, body, CLIENT_TIMEOUT).await;
    asked.map_err(|error| {
        match error {
            PeerCallError::Timeout(_) => RelayRefusal::NoAnswer { client_id, error },
            _ => RelayRefusal::NotAsked { client_id, error },
        }
        .into()
    })
}
