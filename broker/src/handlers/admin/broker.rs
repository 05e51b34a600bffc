//! The broker itself: what it is doing (28, 315), its configuration (26, 25), cleaning up (306, 316, 329).

use std::sync::Arc;

use rmq_protocol::bodies::{KvTable, parse_properties, write_properties};
use rmq_protocol::requests::{GetBrokerConfigReply, ViewBrokerStatsData};
use rmq_transport::{Exchange, Reply};

use crate::admin::{config, maintenance, runtime, statistics};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::handlers::refusal::{FormRefusal, Handled};
use crate::handlers::{blocking, bounded, decode};
use crate::reply::Answer;

pub(crate) fn runtime(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    blocking(broker, exchange, |broker| {
        let table = runtime::table(broker);
        Ok(Answer::body(KvTable { table }.to_json()))
    })
}

pub(crate) fn statistics(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: ViewBrokerStatsData<'_> = decode(exchange)?;
    let data = statistics::of(broker, &request.stats_name, &request.stats_key)?;
    exchange.ok_body(&(), &data.to_json());
    Ok(())
}

pub(crate) fn config(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let pairs = config::all(broker);
    let version = String::from_utf8(broker.topics.version().to_json()).unwrap_or_default();
    let body = write_properties(pairs.iter().map(|(name, value)| (*name, value.as_str())));
    let fields = GetBrokerConfigReply {
        version: Some(version),
    };
    exchange.ok_body(&fields, &body);
    Ok(())
}

pub(crate) fn change_config(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let pairs = parse_properties(exchange.body).map_err(FormRefusal::Settings)?;
    let asker = exchange.asker();
    bounded(broker, exchange, async move |broker| {
        config::change(&broker, &asker, pairs).await?;
        Ok(Answer::empty())
    })
}

/// The index goes with the log and topics are never left behind: there is nothing to clean by hand.
pub(crate) fn nothing_to_do(_broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    exchange.ok(&());
    Ok(())
}

pub(crate) fn remove_expired(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let asker = exchange.asker();
    blocking(broker, exchange, move |broker| {
        maintenance::remove_expired(broker, &asker)?;
        Ok(Answer::empty())
    })
}
