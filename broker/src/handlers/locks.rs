//! Queue locks of orderly consumers: 41 and 42.

use std::sync::Arc;

use rmq_protocol::bodies::{LockBatch, LockedQueues};
use rmq_protocol::header::NoFields;
use rmq_transport::{Exchange, Reply};

use super::refusal::{FormRefusal, Handled};
use crate::broker::Broker;
use crate::clients::locks;

pub(crate) fn lock(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let lock_ok_mq_set = locks::lock(broker, read(exchange, "the lock request")?)?;
    exchange.ok_body(&(), &LockedQueues { lock_ok_mq_set }.to_json());
    Ok(())
}

pub(crate) fn unlock(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    locks::unlock(broker, &read(exchange, "the unlock request")?)?;
    exchange.ok(&NoFields);
    Ok(())
}

fn read(exchange: &Exchange<'_>, what: &'static str) -> Result<LockBatch, FormRefusal> {
    LockBatch::from_json(exchange.body).map_err(|error| FormRefusal::Client(what, error))
}
