//! `rmq-ctl describe`: everything about one thing. Reads only.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::get::perm_text;
use super::group_checks::{self, Seen};
use super::lag::QueueLag;
use super::members::{self, ClientItem};
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::messages::MessageItem;
use crate::output::Output;
use crate::render::{RenderOptions, WatchOptions, schema_of, table};
use crate::when;

/// Options of `describe`.
#[derive(Debug, Args)]
#[command(after_help = "Reads only.

Examples:
  rmq-ctl describe topic orders
  rmq-ctl describe group billing -o yaml
  rmq-ctl describe broker broker-a
  rmq-ctl describe queue orders/broker-a/0
  rmq-ctl describe client 10.0.0.7@1234 -g billing
  rmq-ctl describe message 7F00000100002A9F0000000000000064
  rmq-ctl describe cluster")]
pub(crate) struct Options {
    /// What it is.
    #[arg(value_enum)]
    noun: Noun,

    /// Its name; a queue is TOPIC/BROKER/QUEUE. A cluster needs none where there is only one.
    #[arg(default_value = "")]
    name: String,

    /// The client's group.
    #[arg(short, long, required_if_eq("noun", "client"))]
    group: Option<String>,

    /// Of a topic: which queues each of these clients would get, by their ids.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    plan_for: Vec<String>,

    /// Of a topic: only its route.
    #[arg(long)]
    route: bool,

    #[command(flatten)]
    watch: WatchOptions,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Noun {
    /// A topic.
    #[value(alias = "topics", alias = "t")]
    Topic,
    /// A consumer group.
    #[value(alias = "groups", alias = "g", alias = "sub")]
    Group,
    /// A broker.
    #[value(alias = "brokers", alias = "b")]
    Broker,
    /// A cluster.
    #[value(alias = "clusters")]
    Cluster,
    /// A name server, by its address.
    #[value(alias = "nameservers", alias = "ns")]
    Nameserver,
    /// A queue of a topic.
    #[value(alias = "queues", alias = "q")]
    Queue,
    /// A member of a group, by its id.
    #[value(alias = "clients", alias = "c")]
    Client,
    /// A message, by its id: what it is, and who has consumed it.
    #[value(alias = "messages", alias = "m")]
    Message,
}

/// What is printed: the name of its kind, JSON, its schema, and tables for people.
struct Description {
    kind: &'static str,
    name: String,
    value: Value,
    schema: fn() -> Value,
    tables: Tables,
}

type Tables = Vec<(&'static str, Vec<&'static str>, Vec<Vec<String>>)>;

/// Settings at one broker, as its JSON has them.
#[derive(Serialize, JsonSchema)]
struct AtBroker {
    broker: String,
    config: Value,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    if options.name.is_empty() && options.noun != Noun::Cluster {
        return Err(
            Failure::coded(&codes::INVALID, "describe what: a name is missing")
                .try_this("rmq-ctl describe topic NAME"),
        );
    }
    let cluster = Cluster::connect(cluster, output).await?;
    let look = async || {
        let about = describe(options, &cluster).await?;
        let (kind, name) = (about.kind, about.name.as_str());
        let tables = about.tables;
        options
            .render
            .object(kind, about.schema, name, &about.value, output, |output| {
                let width = output.width();
                output.data(&format!("{kind} {name}"));
                for (title, headers, rows) in tables {
                    output.data("");
                    output.data(title);
                    if rows.is_empty() {
                        output.data("  none");
                    } else {
                        output.block(&table(&headers, rows, false, width));
                    }
                }
            })
    };
    options.watch.run(output, look).await
}

async fn describe(options: &Options, cluster: &Cluster) -> Result<Description, Failure> {
    let name = &options.name;
    match options.noun {
        Noun::Topic => topic(options, cluster).await,
        Noun::Group => group(name, cluster).await,
        Noun::Broker => broker(name, cluster).await,
        Noun::Cluster => whole_cluster(name, cluster).await,
        Noun::Nameserver => name_server(name, cluster).await,
        Noun::Queue => queue(name, cluster).await,
        Noun::Client => client(name, options.group.as_deref().unwrap_or_default(), cluster).await,
        Noun::Message => message(name, cluster).await,
    }
}

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

fn at_broker<C: Serialize>(configs: &[(String, C)]) -> Vec<AtBroker> {
    configs
        .iter()
        .map(|(broker, config)| AtBroker {
            broker: broker.clone(),
            config: json!(config),
        })
        .collect()
}

async fn topic(options: &Options, cluster: &Cluster) -> Result<Description, Failure> {
    let name = &options.name;
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
                perm: perm_text(data.perm),
            }
        })
        .collect();
    let mut plan = BTreeMap::new();
    if !options.plan_for.is_empty() {
        let mut members = options.plan_for.clone();
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
            perm_text(config.perm),
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
    if !options.route {
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
        name: name.clone(),
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
        name: name.clone(),
        value: json!(about),
        schema: schema_of::<TopicAbout>,
        tables,
    })
}

#[derive(Serialize, JsonSchema)]
struct GroupAbout {
    name: String,
    settings: Vec<AtBroker>,
    offsets: Vec<QueueLag>,
    members: Vec<ClientItem>,
    /// What is wrong with it.
    problems: Vec<String>,
}

async fn group(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let failed = |error| cluster.failed(format!("cannot describe group \"{name}\""), error);
    let seen = Seen::of(cluster, name).await.map_err(failed)?;
    let found = group_checks::problems(cluster, name, &seen).await;
    let Seen {
        configs,
        queues: lag,
        members,
    } = seen;
    let mut problems: Vec<String> = found.into_iter().map(|check| check.says).collect();
    let behind = super::lag::total(&lag);
    if members.is_empty() && behind > 0 {
        problems.push(format!("{behind} messages wait and no member is online"));
    }
    let settings_rows = configs.iter().map(|(broker, config)| {
        vec![
            broker.clone(),
            config.consume_enable.to_string(),
            config.consume_broadcast_enable.to_string(),
            config.consume_message_orderly.to_string(),
            config.retry_max_times.to_string(),
        ]
    });
    let offset_rows = lag.iter().map(|queue| {
        vec![
            queue.topic.clone(),
            queue.broker.clone(),
            queue.queue.to_string(),
            queue.consumer_offset.to_string(),
            queue.lag.to_string(),
        ]
    });
    let member_rows = members.iter().map(|member| {
        vec![
            member.id.clone(),
            member.address.clone(),
            member.language.clone(),
            member.subscriptions_text(),
        ]
    });
    let tables: Tables = vec![
        (
            "Settings",
            vec!["BROKER", "CONSUMES", "BROADCASTS", "ORDERED", "RETRIES"],
            settings_rows.collect(),
        ),
        (
            "Offsets",
            vec!["TOPIC", "BROKER", "QUEUE", "CONSUMED", "LAG"],
            offset_rows.collect(),
        ),
        (
            "Members",
            vec!["ID", "ADDRESS", "LANGUAGE", "SUBSCRIPTIONS"],
            member_rows.collect(),
        ),
        (
            "Problems",
            vec!["WHAT"],
            problems
                .iter()
                .map(|problem| vec![problem.clone()])
                .collect(),
        ),
    ];
    let about = GroupAbout {
        name: name.to_owned(),
        settings: at_broker(&configs),
        offsets: lag,
        members,
        problems,
    };
    Ok(Description {
        kind: "Group",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<GroupAbout>,
        tables,
    })
}

#[derive(Serialize, JsonSchema)]
struct ServerAbout {
    name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    figures: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    map.iter()
        .map(|(name, value)| vec![name.clone(), value.clone()])
        .collect()
}

async fn broker(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let name = &cluster.broker_name(name).await?;
    let failed = |error| cluster.failed(format!("cannot describe broker \"{name}\""), error);
    let admin = cluster.client.admin();
    let figures = admin.runtime_info(name).await.map_err(failed)?;
    let settings = admin.broker_config(name).await.map_err(failed)?;
    let tables: Tables = vec![
        ("Figures", vec!["NAME", "VALUE"], pairs(&figures)),
        ("Settings", vec!["NAME", "VALUE"], pairs(&settings)),
    ];
    let about = ServerAbout {
        name: name.to_owned(),
        figures,
        settings,
    };
    Ok(Description {
        kind: "Broker",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<ServerAbout>,
        tables,
    })
}

async fn name_server(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let settings = cluster.client.admin().name_server_config(name).await;
    let settings = settings.map_err(|error| {
        cluster.failed(format!("cannot describe name server \"{name}\""), error)
    })?;
    let tables: Tables = vec![("Settings", vec!["NAME", "VALUE"], pairs(&settings))];
    let about = ServerAbout {
        name: name.to_owned(),
        figures: BTreeMap::new(),
        settings,
    };
    Ok(Description {
        kind: "NameServer",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<ServerAbout>,
        tables,
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClusterAbout {
    name: String,
    name_servers: Vec<String>,
    brokers: Vec<MemberAbout>,
    topics: usize,
    groups: usize,
    problems: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct MemberAbout {
    broker: String,
    id: i64,
    address: String,
}

async fn whole_cluster(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let failed = |error| cluster.failed("cannot describe the cluster", error);
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let known: Vec<String> = info.cluster_addr_table.keys().cloned().collect();
    let name = match (name, known.as_slice()) {
        ("", [only]) => only.clone(),
        ("", _) => {
            return Err(Failure::coded(&codes::INVALID, "which cluster")
                .because(format!("there are: {}", known.join(", "))));
        }
        (name, known) if known.iter().any(|known| known == name) => name.to_owned(),
        (name, known) => {
            return Err(Failure::coded(
                &codes::NOT_FOUND,
                format!("there is no cluster \"{name}\""),
            )
            .because(format!("there are: {}", known.join(", "))));
        }
    };
    let brokers: Vec<MemberAbout> = info
        .broker_addr_table
        .iter()
        .filter(|(_, data)| data.cluster == name)
        .flat_map(|(broker, data)| {
            data.broker_addrs.iter().map(|(id, address)| MemberAbout {
                broker: broker.clone(),
                id: *id,
                address: address.clone(),
            })
        })
        .collect();
    let problems: Vec<String> = super::health::checks(cluster)
        .await
        .into_iter()
        .filter(|check| !check.is_fine)
        .map(|check| format!("{}: {}", check.subject, check.says))
        .collect();
    let about = ClusterAbout {
        name_servers: cluster.client.url().name_servers().to_vec(),
        topics: super::get::topic_names(cluster, false).await?.len(),
        groups: cluster.client.admin().groups().await.map_err(failed)?.len(),
        name: name.clone(),
        brokers,
        problems,
    };
    let tables: Tables = vec![
        (
            "Figures",
            vec!["NAME", "VALUE"],
            vec![
                vec!["name servers".to_owned(), about.name_servers.join(" ")],
                vec!["topics".to_owned(), about.topics.to_string()],
                vec!["groups".to_owned(), about.groups.to_string()],
            ],
        ),
        (
            "Brokers",
            vec!["NAME", "ROLE", "ADDRESS"],
            about
                .brokers
                .iter()
                .map(|member| {
                    let role = if member.id == 0 { "master" } else { "replica" };
                    vec![
                        member.broker.clone(),
                        role.to_owned(),
                        member.address.clone(),
                    ]
                })
                .collect(),
        ),
        (
            "Problems",
            vec!["WHAT"],
            about
                .problems
                .iter()
                .map(|problem| vec![problem.clone()])
                .collect(),
        ),
    ];
    Ok(Description {
        kind: "Cluster",
        name,
        value: json!(about),
        schema: schema_of::<ClusterAbout>,
        tables,
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OneQueueAbout {
    topic: String,
    broker: String,
    id: i32,
    min_offset: i64,
    max_offset: i64,
    groups: Vec<GroupAt>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GroupAt {
    group: String,
    consumer_offset: i64,
    /// Messages that wait, 0 or more.
    lag: i64,
    /// So far the group's offset is beyond the queue's end; 0 in a sound queue.
    beyond_end: i64,
}

async fn queue(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let mut parts = name.split('/');
    let (Some(topic), Some(broker), Some(Ok(id)), None) = (
        parts.next(),
        parts.next(),
        parts.next().map(str::parse::<i32>),
        parts.next(),
    ) else {
        return Err(
            Failure::coded(&codes::INVALID, format!("\"{name}\" is no queue"))
                .because("it is written TOPIC/BROKER/QUEUE, such as orders/broker-a/0"),
        );
    };
    let stats = match cluster.client.admin().topic_stats(topic).await {
        Ok(stats) => stats,
        Err(error) => return Err(cluster.topic_failed(topic, error).await),
    };
    let found = stats
        .offset_table
        .0
        .iter()
        .find(|(queue, _)| queue.broker_name == broker && queue.queue_id == id);
    let Some((_, at)) = found else {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("topic \"{topic}\" has no queue {broker}/{id}"),
        )
        .fact("asked", &cluster.name)
        .try_this(format!("rmq-ctl get queues -t {topic}")));
    };
    let queue = rmq_client::Queue::new(topic, broker, id);
    let failed = |error| cluster.failed(format!("cannot describe {queue}"), error);
    let admin = cluster.client.admin();
    let mut groups = Vec::new();
    for group in admin.groups_of_topic(topic).await.map_err(failed)? {
        let offset = admin
            .committed_offset(&group, &queue)
            .await
            .map_err(failed)?;
        if let Some(offset) = offset {
            let (lag, beyond_end) = super::lag::lag_and_beyond(offset, at.max_offset);
            groups.push(GroupAt {
                group,
                consumer_offset: offset,
                lag,
                beyond_end,
            });
        }
    }
    let tables: Tables = vec![
        (
            "Offsets",
            vec!["MIN", "MAX", "MESSAGES", "LAST STORED"],
            vec![vec![
                at.min_offset.to_string(),
                at.max_offset.to_string(),
                super::get::messages(at).to_string(),
                when::show_time(at.last_update_timestamp, cluster.utc),
            ]],
        ),
        (
            "Groups",
            vec!["GROUP", "CONSUMED", "LAG", "BEYOND END"],
            groups
                .iter()
                .map(|at| {
                    vec![
                        at.group.clone(),
                        at.consumer_offset.to_string(),
                        at.lag.to_string(),
                        at.beyond_end.to_string(),
                    ]
                })
                .collect(),
        ),
    ];
    let about = OneQueueAbout {
        topic: topic.to_owned(),
        broker: broker.to_owned(),
        id,
        min_offset: at.min_offset,
        max_offset: at.max_offset,
        groups,
    };
    Ok(Description {
        kind: "Queue",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<OneQueueAbout>,
        tables,
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClientAbout {
    id: String,
    group: String,
    client: ClientItem,
    /// As the client says of itself; absent when it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Value>,
}

async fn client(id: &str, group: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let failed = |error| cluster.failed(format!("cannot describe client \"{id}\""), error);
    let members = members::of_group(cluster, group).await.map_err(failed)?;
    let Some(member) = members.iter().find(|member| member.id == id).cloned() else {
        let known: Vec<String> = members.into_iter().map(|member| member.id).collect();
        let mut failure = Failure::coded(
            &codes::NOT_FOUND,
            format!("group \"{group}\" has no member \"{id}\" online"),
        )
        .fact("asked", &cluster.name);
        if let Some(close) = crate::cluster::closest(id, &known) {
            failure = failure.try_this(format!("close match: {close}"));
        }
        return Err(failure);
    };
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let brokers: Vec<String> = info.broker_addr_table.into_keys().collect();
    let running = members::running(cluster, &brokers, group, id).await;
    let mut tables: Tables = vec![(
        "Client",
        vec!["ADDRESS", "LANGUAGE", "SUBSCRIPTIONS"],
        vec![vec![
            member.address.clone(),
            member.language.clone(),
            member.subscriptions_text(),
        ]],
    )];
    match &running {
        Some(info) => {
            let queues = info.mq_table.0.iter().map(|(queue, state)| {
                vec![
                    queue.topic.clone(),
                    queue.broker_name.clone(),
                    queue.queue_id.to_string(),
                    state.commit_offset.to_string(),
                    state.cached_msg_count.to_string(),
                ]
            });
            tables.push((
                "Queues",
                vec!["TOPIC", "BROKER", "QUEUE", "CONSUMED", "IN MEMORY"],
                queues.collect(),
            ));
            tables.push(("Settings", vec!["NAME", "VALUE"], pairs(&info.properties)));
        }
        None => tables.push((
            "Queues",
            vec!["NOTE"],
            vec![vec![
                "the client does not answer questions about itself".to_owned(),
            ]],
        )),
    }
    let about = ClientAbout {
        id: id.to_owned(),
        group: group.to_owned(),
        client: member,
        running: running.map(|info| json!(info)),
    };
    Ok(Description {
        kind: "Client",
        name: id.to_owned(),
        value: json!(about),
        schema: schema_of::<ClientAbout>,
        tables,
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MessageAbout<'m> {
    message: MessageItem<'m>,
    groups: Vec<ConsumedBy>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ConsumedBy {
    group: String,
    /// Whether the group's offset has passed the message.
    is_consumed: bool,
    why: String,
}

async fn message(id: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let failed = |error| cluster.failed(format!("cannot describe message {id}"), error);
    let found = super::find::by_offset_id(cluster, id)
        .await
        .map_err(failed)?;
    let Some(message) = found.first() else {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("there is no message {id}"),
        ));
    };
    let admin = cluster.client.admin();
    let mut groups = Vec::new();
    for group in admin
        .groups_of_topic(message.topic())
        .await
        .map_err(failed)?
    {
        let offset = admin
            .committed_offset(&group, message.queue())
            .await
            .map_err(failed)?;
        let is_consumed = offset.is_some_and(|offset| offset > message.queue_offset());
        let why = match offset {
            Some(offset) if is_consumed => format!("the group is at {offset}"),
            Some(offset) => format!(
                "the group is at {offset}, {} messages before it",
                message.queue_offset() - offset
            ),
            None => "the group has consumed nothing of this queue".to_owned(),
        };
        groups.push(ConsumedBy {
            group,
            is_consumed,
            why,
        });
    }
    let mut rows = vec![
        vec![
            "place".to_owned(),
            format!("{}@{}", message.queue(), message.queue_offset()),
        ],
        vec!["id".to_owned(), message.message_id()],
        vec![
            "stored".to_owned(),
            when::show_time(when::unix_ms(message.stored_at()), cluster.utc),
        ],
        vec![
            "born".to_owned(),
            format!(
                "{} at {}",
                when::show_time(when::unix_ms(message.born_at()), cluster.utc),
                message.born_host()
            ),
        ],
        vec!["bytes".to_owned(), message.body().len().to_string()],
    ];
    rows.extend(
        message
            .properties()
            .map(|(name, value)| vec![name.to_owned(), value.to_owned()]),
    );
    let tables: Tables = vec![
        ("Message", vec!["NAME", "VALUE"], rows),
        (
            "Groups",
            vec!["GROUP", "CONSUMED", "WHY"],
            groups
                .iter()
                .map(|by| {
                    let consumed = if by.is_consumed { "yes" } else { "no" };
                    vec![by.group.clone(), consumed.to_owned(), by.why.clone()]
                })
                .collect(),
        ),
        (
            "Body",
            vec!["TEXT"],
            vec![vec![match std::str::from_utf8(message.body()) {
                Ok(text) => text.to_owned(),
                Err(_) => format!("({} bytes, not text)", message.body().len()),
            }]],
        ),
    ];
    let about = MessageAbout {
        message: MessageItem::new(message),
        groups,
    };
    Ok(Description {
        kind: "Message",
        name: message.message_id(),
        value: json!(about),
        schema: schema_of::<MessageAbout<'static>>,
        tables,
    })
}
