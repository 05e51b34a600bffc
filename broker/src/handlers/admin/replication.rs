//! The broker as a member of its group: how far the copying is (907), which masters there were (1007), the state of the group (320001), and
//! who shall be its master (320002).

use std::sync::Arc;

use rmq_election::driver::Wish;
use rmq_protocol::requests::{GroupWish, RequestGroupMaster};
use rmq_transport::{Exchange, Reply};

use crate::admin::{group_status, replication};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::handlers::refusal::Handled;
use crate::handlers::{decode, task};
use crate::reply::Answer;

pub(crate) fn ha_status(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    exchange.ok_body(&(), &replication::ha_status(broker).to_json());
    Ok(())
}

pub(crate) fn epochs(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    exchange.ok_body(&(), &replication::epochs(broker).to_json());
    Ok(())
}

pub(crate) fn group_status(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    exchange.ok_body(&(), &group_status::group_status(broker).to_json());
    Ok(())
}

pub(crate) fn request_master(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: RequestGroupMaster<'_> = decode(exchange)?;
    let to = replication::slot(request.member)?;
    replication::check_number(&request.request)?;
    let wish = match request.kind {
        GroupWish::Switchover => Wish::Switchover { to },
        GroupWish::Promote => Wish::Promote {
            to,
            accept_loss: request.accept_loss,
        },
    };
    let (asker, number) = (exchange.asker(), request.request.to_string());
    task(broker, exchange, async move |broker| {
        replication::request_master(&broker, &asker, wish, &number).await?;
        Ok(Answer::empty())
    })
}
