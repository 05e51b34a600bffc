//! `rmq-ctl doctor`: why something does not work. Reads only.

mod access;
mod ways;

use clap::Args;
use futures_util::{StreamExt, stream};
use rmq_client::protocol::requests::GetRouteinfoByTopic;
use rmq_client::protocol::route::{ClusterInfo, TopicRoute, perm};
use rmq_client::{ClusterUrl, ErrorKind};

use self::ways::{name_server, ways};
use crate::cluster::{Cluster, ClusterOptions, Place, closest, resolve};
use crate::codes;
use crate::completion::names::{group_completer, topic_completer};
use crate::error::Failure;
use crate::facts::broker_group::BrokerGroup;
use crate::facts::broker_state::{self, Broker};
use crate::facts::check::{Check, show};
use crate::facts::checks::brokers as broker_checks;
use crate::facts::checks::groups::{self, Seen};
use crate::facts::checks::{members, objects};
use crate::facts::limits::AT_ONCE;
use crate::facts::name_servers::{self, registrations};
use crate::facts::{lag, topics, versions as version_facts};
use crate::output::Output;
use crate::render::RenderOptions;

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Looks from here, as a client would: name servers, brokers, the topic's route, the way to each broker, the group.
Without a topic and a group it looks at all of them.
Exit code 0: nothing found; 10: a problem, with what to do about it.

Examples:
  rmq-ctl doctor
  rmq-ctl doctor orders
  rmq-ctl doctor orders -g billing"
)]
pub(crate) struct Options {
    /// The topic that does not work.
    #[arg(add = topic_completer())]
    topic: Option<String>,

    /// The group that does not get messages.
    #[arg(short, long, add = group_completer())]
    group: Option<String>,

    #[command(flatten)]
    render: RenderOptions,
}

pub(crate) async fn run(
    options: &Options,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let place = resolve(cluster_options).await?;
    place.tell(output);
    let name = place.name();
    let connector = std::sync::Arc::clone(&place.connector);
    let parsed: ClusterUrl = place.url.parse().map_err(|error: rmq_client::UrlError| {
        Failure::coded(&codes::INVALID, "the address of the cluster cannot be used").cause(&error)
    })?;
    let mut checks = Vec::new();
    let mut working = Vec::new();
    for addr in parsed.name_servers() {
        let check = name_server(addr, &place, cluster_options).await;
        if check.is_fine {
            working.push(addr.clone());
        }
        checks.push(check);
    }
    if working.is_empty() {
        return finish(options, &checks, &name, output);
    }
    // Only those that work, so that no answer waits for the others.
    let place = Place {
        url: format!("rmq://{}", working.join(",")),
        ..place
    };
    let mut cluster = Cluster::open(place, cluster_options).await?;
    cluster.name.clone_from(&name);
    let closed = access::name_servers(&cluster, &working).await;
    if closed.len() == working.len() {
        // Nothing more can be seen.
        checks.extend(closed);
        return finish(options, &checks, &name, output);
    }
    checks.extend(closed);
    let views = name_servers::views(&cluster).await;
    checks.extend(objects::checks(&cluster, &views).await);
    let none = views
        .iter()
        .all(|(_, info)| info.broker_addr_table.is_empty());
    if none {
        checks.push(Check::new(
            "brokers-registered",
            "cluster",
            false,
            "no broker is registered with the name servers: start one, or look at its log for why it cannot register; \
             perhaps the brokers register with other name servers",
        ));
        return finish(options, &checks, &name, output);
    }
    checks.extend(agree(&views));
    checks.extend(access::brokers(&cluster).await);
    let mut brokers = Vec::new();
    for (name, _) in registrations(&views) {
        let (group, broker) = tokio::join!(
            BrokerGroup::look(&cluster, &name, &views),
            broker_state::look(&cluster, &name, &views)
        );
        let is_worth_knowing = |check: &Check| !check.is_fine || check.is_note;
        let of_members = members::checks(&group).into_iter();
        checks.extend(of_members.filter(is_worth_knowing));
        // A broker that does not answer is found on the way to it.
        if let Ok(broker) = broker {
            let problems = broker_checks::checks(&broker)
                .into_iter()
                .filter(|check| !check.is_fine);
            checks.extend(problems.chain(broker_checks::notes(&broker)));
            brokers.push(broker);
        }
    }
    checks.extend(versions(&cluster, &working, &brokers).await);
    if let Some(topic) = &options.topic {
        checks.extend(of_topic(topic, &working, &cluster).await);
    }
    checks.extend(ways(options.topic.as_deref(), &views, &cluster, &*connector).await);
    match (&options.group, &options.topic) {
        (Some(group), topic) => {
            checks.extend(of_group(group, topic.as_deref(), &cluster).await);
        }
        (None, Some(_)) => {}
        (None, None) => {
            match groups::of_all(&cluster).await {
                Ok(found) => checks.extend(found),
                Err(error) => {
                    checks.push(Check::new("groups", "cluster", false, error.to_string()));
                }
            }
            let names = topics::names(&cluster, false).await;
            checks.extend(unreadable(&cluster, &names.unwrap_or_default()).await);
        }
    }
    finish(options, &checks, &name, output)
}

fn finish(options: &Options, checks: &[Check], name: &str, output: &Output) -> Result<(), Failure> {
    show(checks, "DoctorReport", &options.render, name, output)
}

/// Whether all servers of ours are of one version.
async fn versions(cluster: &Cluster, name_servers: &[String], brokers: &[Broker]) -> Option<Check> {
    let mut servers = Vec::new();
    for address in name_servers {
        if let Some(version) = name_servers::version(cluster, address).await {
            servers.push((format!("nameserver/{address}"), version));
        }
    }
    for broker in brokers {
        if let Some(version) = broker.version() {
            servers.push((format!("broker/{}", broker.name()), version.to_owned()));
        }
    }
    let versions = version_facts::skew(&servers)?;
    let says = format!(
        "the servers are of different versions: {versions}; fine during an upgrade; finish it"
    );
    Some(Check::new("versions", "cluster", false, says))
}

/// Whether all name servers know the same brokers.
fn agree(views: &[(String, ClusterInfo)]) -> Vec<Check> {
    registrations(views)
        .into_iter()
        .map(|(name, missing)| {
            let says = if missing.is_empty() {
                "registered with every name server".to_owned()
            } else {
                format!(
                    "not registered with {}: clients that ask there find no route; give the broker all name servers, and look at its log",
                    missing.join(", ")
                )
            };
            Check::new("name-servers-agree", format!("broker/{name}"), missing.is_empty(), says)
        })
        .collect()
}

async fn of_topic(topic: &str, name_servers: &[String], cluster: &Cluster) -> Vec<Check> {
    let subject = format!("topic/{topic}");
    let mut routes = Vec::new();
    let mut without = Vec::new();
    for addr in name_servers {
        let request = GetRouteinfoByTopic {
            topic: topic.into(),
            accept_standard_json_only: Some(true),
        };
        let route = cluster.client.remote(addr).call(&request, b"").await;
        match route
            .ok()
            .and_then(|answer| TopicRoute::from_json(answer.body()).ok())
        {
            Some(route) => routes.push(route),
            None => without.push(addr.as_str()),
        }
    }
    let Some(route) = routes.first() else {
        let known = cluster.client.admin().topics().await.unwrap_or_default();
        let hint = match closest(topic, &known) {
            Some(close) => format!("; do you mean \"{close}\"?"),
            None => String::new(),
        };
        let says = format!(
            "no broker has the topic{hint} Create it with rmq-ctl create topic {topic}, or let brokers do it (autoCreateTopicEnable)"
        );
        return vec![Check::new("topic-exists", subject, false, says)];
    };
    let mut checks = vec![Check::new("topic-exists", &subject, true, "has a route")];
    if !without.is_empty() {
        checks.push(Check::new(
            "route-everywhere",
            &subject,
            false,
            format!(
                "has no route at {}: clients that ask there fail",
                without.join(", ")
            ),
        ));
    }
    let mut why = Vec::new();
    let mut writable = 0;
    let mut readable = 0;
    for data in &route.queue_datas {
        let has_master = route
            .broker_datas
            .iter()
            .any(|group| group.broker_name == data.broker_name && group.master().is_some());
        if perm::is_readable(data.perm) {
            readable += data.read_queue_nums;
        }
        if !perm::is_writable(data.perm) {
            why.push(format!(
                "the write permission is off at {} (rmq-ctl set topic {topic} perm=rw, or rmq-ctl broker undrain {})",
                data.broker_name, data.broker_name
            ));
        } else if !has_master {
            why.push(format!("broker {} has no master", data.broker_name));
        } else {
            writable += data.write_queue_nums;
        }
    }
    let says = if writable > 0 {
        format!("{writable} queues can be written")
    } else {
        format!("no queue can be written: {}", why.join("; "))
    };
    checks.push(Check::new("topic-writable", &subject, writable > 0, says));
    checks.extend(unreadable(cluster, &[topic.to_owned()]).await);
    if readable == 0 {
        checks.push(Check::new(
            "topic-readable",
            &subject,
            false,
            format!("no queue can be read (rmq-ctl set topic {topic} perm=rw)"),
        ));
    }
    checks
}

/// Topics whose former queues still hold messages.
async fn unreadable(cluster: &Cluster, topics: &[String]) -> Vec<Check> {
    let found = stream::iter(topics)
        .map(|topic| async move {
            let says = lag::unreadable(cluster, topic).await?;
            let subject = format!("topic/{topic}");
            Some(Check::new("topic-unreadable", subject, false, says))
        })
        .buffered(AT_ONCE)
        .collect::<Vec<_>>();
    found.await.into_iter().flatten().collect()
}

async fn of_group(group: &str, topic: Option<&str>, cluster: &Cluster) -> Vec<Check> {
    let subject = format!("group/{group}");
    let seen = match Seen::of(cluster, group).await {
        Ok(seen) => seen,
        Err(error) => {
            let says = if error.kind() == ErrorKind::NotFound {
                let known = cluster.client.admin().groups().await.unwrap_or_default();
                let hint = match closest(group, &known) {
                    Some(close) => format!("; do you mean \"{close}\"?"),
                    None => String::new(),
                };
                format!(
                    "no broker knows the group{hint} It appears with its first member, or by rmq-ctl create group {group}"
                )
            } else {
                error.to_string()
            };
            return vec![Check::new("group-exists", subject, false, says)];
        }
    };
    let fine = |id, says: &str| Check::new(id, subject.as_str(), true, says);
    let mut checks = vec![fine("group-exists", "is known to the brokers")];
    checks.extend(groups::problems(cluster, group, &seen).await);
    if seen.members.is_empty() {
        checks.push(Check::new(
            "group-online",
            &subject,
            false,
            "no member is online: the service does not run, or talks to another cluster",
        ));
        return checks;
    }
    let says = format!("{} members are online", seen.members.len());
    checks.push(fine("group-online", &says));
    if let Some(topic) = topic
        && !seen
            .members
            .iter()
            .any(|member| member.subscriptions.contains_key(topic))
    {
        checks.push(Check::new(
            "group-subscribes",
            &subject,
            false,
            format!("no member subscribes to \"{topic}\""),
        ));
    }
    checks
}
