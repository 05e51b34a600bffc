//! Everything about a topic.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::description::{AtBroker, Description, Tables, at_broker};
use crate::cluster::Cluster;
use crate::error::Failure;
use crate::permissions;
use crate::render::schema_of;
use crate::when;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TopicAbout {
    name: String,
    settings: Vec<AtBroker>,
    route: Vec<RouteAbout>,
    queues: Vec<QueueAbout>,
    groups: Vec<String>,
    /// The setting of old order topics, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_conf: Option<String>,
    /// Queues by client id, with --plan-for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    plan: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RouteAbout {
    broker: String,
    cluster: String,
    addresses: BTreeMap<i64, String>,
    read_queues: i32,
    write_queues: i32,
    perm: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct QueueAbout {
    broker: String,
    id: i32,
    min_offset: i64,
    max_offset: i64,
    last_store_time_ms: i64,
}

/// `plan_for` has the clients whose share of the queues is computed; with `is_route_only` the route alone is described.
pub(crate) async fn topic(
    name: &str,
    plan_for: &[String],
    is_route_only: bool,
    cluster: &Cluster,
) -> Result<Description, Failure> {
    let admin = cluster.client.admin();
    let failed = |error| cluster.failed(format!("cannot describe topic \"{name}\""), error);
    let (configs, stats, route) = match async {
        let route = cluster.client.refresh_route(name).await?;
        Ok((
            admin.topic_config(name).await?,
            admin.topic_stats(name).await?,
            route,
        ))
    }
    .await
    {
        Ok(read) => read,
        Err(error) => return Err(cluster.topic_failed(name, error).await),
    };
    let groups = admin.groups_of_topic(name).await.map_err(failed)?;
    let order_conf = admin
        .kv("ORDER_TOPIC_CONFIG")
        .await
        .map_err(failed)?
        .remove(name);
    let mut queues = stats.offset_table.0;
    queues.sort_by(|(one, _), (other, _)| one.cmp(other));
    let routes: Vec<RouteAbout> = route
        .raw()
        .queue_datas
        .iter()
        .map(|data| {
            let group = route
                .raw()
                .broker_datas
                .iter()
                .find(|group| group.broker_name == data.broker_name);
            RouteAbout {
                broker: data.broker_name.clone(),
                cluster: group.map(|group| group.cluster.clone()).unwrap_or_default(),
                addresses: group
                    .map(|group| {
                        let members = group.broker_addrs.iter();
                        members.map(|(id, addr)| (*id, addr.clone())).collect()
                    })
                    .unwrap_or_default(),
                read_queues: data.read_queue_nums,
                write_queues: data.write_queue_nums,
                perm: permissions::text(data.perm),
            }
        })
        .collect();
    let mut plan = BTreeMap::new();
    if !plan_for.is_empty() {
        let mut members = plan_for.to_vec();
        members.sort();
        members.dedup();
        for member in &members {
            let assignment = rmq_client::Assignment::Average;
            let share = assignment.queues_of(member, route.readable(), &members);
            let share: Vec<String> = share
                .iter()
                .map(|queue| format!("{}/{}", queue.broker(), queue.id()))
                .collect();
            plan.insert(member.clone(), share);
        }
    }
    let settings_rows = configs.iter().map(|(broker, config)| {
        let attributes: Vec<String> = config
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        vec![
            broker.clone(),
            config.read_queue_nums.to_string(),
            config.write_queue_nums.to_string(),
            permissions::text(config.perm),
            attributes.join(" "),
        ]
    });
    let route_rows = routes.iter().map(|route| {
        let addresses: Vec<String> = route
            .addresses
            .iter()
            .map(|(id, addr)| format!("{id}={addr}"))
            .collect();
        vec![
            route.broker.clone(),
            route.cluster.clone(),
            addresses.join(" "),
            format!("{}r/{}w", route.read_queues, route.write_queues),
            route.perm.clone(),
        ]
    });
    let now = when::now_ms();
    let queue_rows = queues.iter().map(|(queue, at)| {
        vec![
            queue.broker_name.clone(),
            queue.queue_id.to_string(),
            at.min_offset.to_string(),
            at.max_offset.to_string(),
            when::show_age(at.last_update_timestamp, now),
        ]
    });
    let mut tables: Tables = vec![(
        "Route",
        vec!["BROKER", "CLUSTER", "ADDRESSES", "QUEUES", "PERM"],
        route_rows.collect(),
    )];
    if !is_route_only {
        tables.extend([
            (
                "Settings",
                vec![
                    "BROKER",
                    "READ QUEUES",
                    "WRITE QUEUES",
                    "PERM",
                    "ATTRIBUTES",
                ],
                settings_rows.collect(),
            ),
            (
                "Queues",
                vec!["BROKER", "QUEUE", "MIN", "MAX", "LAST"],
                queue_rows.collect(),
            ),
            (
                "Groups",
                vec!["NAME"],
                groups.iter().map(|group| vec![group.clone()]).collect(),
            ),
        ]);
    }
    if !plan.is_empty() {
        let rows = plan
            .iter()
            .map(|(member, queues): (&String, &Vec<String>)| {
                vec![member.clone(), queues.join(" ")]
            });
        tables.push(("Plan", vec!["CLIENT", "QUEUES"], rows.collect()));
    }
    let about = TopicAbout {
        name: name.to_owned(),
        settings: at_broker(&configs),
        route: routes,
        queues: queues
            .iter()
            .map(|(queue, at)| QueueAbout {
                broker: queue.broker_name.clone(),
                id: queue.queue_id,
                min_offset: at.min_offset,
                max_offset: at.max_offset,
                last_store_time_ms: at.last_update_timestamp,
            })
            .collect(),
        groups,
        order_conf,
        plan,
    };
    Ok(Description {
        kind: "Topic",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<TopicAbout>,
        tables,
    })
}
