//! Clients and groups: heartbeats (34), leaving (35), who is there (38), checks of filter expressions (46).

use std::sync::Arc;

use rmq_protocol::bodies::{CheckClientConfigBody, ConsumerList, HeartbeatData};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::NoFields;
use rmq_protocol::requests::{GetConsumerListByGroup, HeartBeatReply, UnregisterClient};
use rmq_transport::{Exchange, Peer, Reply};

use super::batch::Batch;
use super::decode;
use super::refusal::{FormRefusal, Handled};
use crate::broker::Broker;
use crate::clients::{heartbeat, members};
use crate::link::Link;

pub(crate) fn heartbeat(
    broker: &Arc<Broker>,
    batch: &mut Batch,
    exchange: &mut Exchange<'_>,
    _code: RequestCode,
) -> Handled {
    let data = HeartbeatData::from_json(exchange.body)
        .map_err(|error| FormRefusal::Client("the heartbeat", error))?;
    let link: Arc<dyn Link> = Arc::<Peer>::clone(exchange.peer);
    let taken = heartbeat::take(broker, exchange, &link, data)?;
    batch.appended |= taken.appended;
    // Short heartbeats are not understood: clients then send theirs in full, which is all they ever need.
    let fields = HeartBeatReply {
        is_support_heart_beat_v2: Some(false),
        is_sub_change: Some(true),
    };
    let unserved = taken.unserved.map(Into::into);
    exchange.reply(ResponseCode::Success, unserved, &fields, &[]);
    Ok(())
}

pub(crate) fn unregister(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: UnregisterClient<'_> = decode(exchange)?;
    members::unregister(
        broker,
        exchange.peer.id(),
        request.producer_group.as_deref(),
        request.consumer_group.as_deref(),
    );
    exchange.ok(&NoFields);
    Ok(())
}

pub(crate) fn consumer_list(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetConsumerListByGroup<'_> = decode(exchange)?;
    let consumer_id_list = members::ids(broker, &request.consumer_group)?;
    exchange.ok_body(&NoFields, &ConsumerList { consumer_id_list }.to_json());
    Ok(())
}

pub(crate) fn check_config(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let body = CheckClientConfigBody::from_json(exchange.body)
        .map_err(|error| FormRefusal::Client("the request", error))?;
    members::check(broker, &body.subscription_data)?;
    exchange.ok(&NoFields);
    Ok(())
}
