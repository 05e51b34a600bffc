//! How much groups may read from the disk: 2001, 2002, 2003. The limit is an attribute of the group, so a restart and other members keep it.

use std::sync::Arc;

use rmq_protocol::bodies::parse_properties;
use rmq_transport::{Exchange, Reply};

use crate::admin::{cold, groups};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::handlers::change;
use crate::handlers::refusal::{FormRefusal, Handled};
use crate::reply::Answer;

pub(crate) fn put(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let wanted = parse_properties(exchange.body).map_err(FormRefusal::Settings)?;
    let mut configs = Vec::new();
    for (name, threshold) in wanted {
        let group = groups::one(broker, exchange, &name)?;
        configs.push(cold::with_threshold(&group, Some(threshold)));
    }
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        groups::put(&broker, &asker, configs).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn remove(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let name = String::from_utf8_lossy(exchange.body);
    let Some(group) = broker.groups.get(name.trim()) else {
        // There is nothing to remove, as in the original.
        exchange.ok(&());
        return Ok(());
    };
    let config = cold::with_threshold(&group, None);
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        groups::put(&broker, &asker, vec![config]).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn info(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let body = serde_json::to_vec(&cold::info(broker)).map_err(FormRefusal::Encode)?;
    exchange.ok_body(&(), &body);
    Ok(())
}
