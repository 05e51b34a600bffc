//! Messages that wait for a timer.

use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};

/// `timers`.
pub(crate) const NOUN: Noun = Noun {
    name: "timers",
    aliases: &["timer"],
    about: "Messages that wait for a timer, by topic and broker",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

#[derive(Serialize, JsonSchema)]
struct TimerItem {
    topic: String,
    broker: String,
    /// Messages that wait.
    waiting: i64,
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let brokers = match asked.broker {
        Some(broker) => vec![broker.to_owned()],
        None => {
            let info = cluster.client.cluster_info().await;
            let info = info.map_err(|error| cluster.failed("cannot list the timers", error))?;
            info.broker_addr_table.into_keys().collect()
        }
    };
    let mut rows = Vec::new();
    for broker in brokers {
        let counts = cluster.client.admin().timers(&broker).await;
        let counts = counts.map_err(|error| {
            cluster.failed(format!("cannot list the timers of \"{broker}\""), error)
        })?;
        for (topic, waiting) in counts {
            if asked.topic.is_some_and(|wanted| wanted != topic) {
                continue;
            }
            let cells = vec![topic.clone(), broker.clone(), waiting.to_string()];
            let item = TimerItem {
                topic: topic.clone(),
                broker: broker.clone(),
                waiting,
            };
            rows.push(Row::new(topic, cells, &item));
        }
    }
    rows.sort_by(|a, b| a.cells.cmp(&b.cells));
    Ok(Listing {
        kind: "TimerList",
        schema: schema_of::<TimerItem>,
        noun: "timer",
        columns: &["TOPIC", "BROKER", "WAITING"],
        wide_columns: &[],
        rows,
        empty: "no message waits for a timer".to_owned(),
    })
}
