//! `rmq-ctl doctor`: why something does not work. Reads only.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, stream};
use rmq_client::protocol::requests::GetRouteinfoByTopic;
use rmq_client::protocol::route::{ClusterInfo, TopicRoute, perm};
use rmq_client::{ClusterUrl, Connector, ErrorKind};

use super::group_checks::{self, Seen};
use super::health::{Broker, Check, look_at_broker, registrations, show};
use crate::cluster::{Cluster, ClusterOptions, Place, closest, resolve};
use crate::codes;
use crate::completion::{group_completer, topic_completer};
use crate::error::Failure;
use crate::output::Output;
use crate::render::RenderOptions;

/// Topics that are looked at at once.
const AT_ONCE: usize = 16;
/// Longest wait for one connection.
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// The same through an API server.
const THROUGH_KUBERNETES_WITHIN: Duration = Duration::from_secs(10);

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
    let connector = place.connector();
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
    let views = super::health::views(&cluster).await;
    checks.extend(super::health::of_objects(&cluster, &views).await);
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
    let mut brokers = Vec::new();
    for (name, _) in registrations(&views) {
        // A broker that does not answer is found on the way to it.
        if let Ok(broker) = look_at_broker(&cluster, &name, &views).await {
            let problems = broker.checks().into_iter().filter(|check| !check.is_fine);
            checks.extend(problems.chain(broker.notes()));
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
            match group_checks::of_all(&cluster).await {
                Ok(found) => checks.extend(found),
                Err(error) => {
                    checks.push(Check::new("groups", "cluster", false, error.to_string()));
                }
            }
            let topics = super::get::topic_names(&cluster, false).await;
            checks.extend(unreadable(&cluster, &topics.unwrap_or_default()).await);
        }
    }
    finish(options, &checks, &name, output)
}

fn finish(options: &Options, checks: &[Check], name: &str, output: &Output) -> Result<(), Failure> {
    show(checks, "DoctorReport", &options.render, name, output)
}

/// Whether a name server answers, and whether it is one.
async fn name_server(addr: &str, place: &Place, options: &ClusterOptions) -> Check {
    let subject = format!("nameserver/{addr}");
    if let Err(why) = dial(addr, place.kubernetes.is_some(), &*place.connector()).await {
        return Check::new(
            "name-server-reachable",
            subject,
            false,
            format!(
                "{}: check the address, and that a name server runs there",
                why.text(addr)
            ),
        );
    }
    let alone = Place {
        url: format!("rmq://{addr}"),
        source: place.source.clone(),
        credentials: place.credentials.clone(),
        kubernetes: place.kubernetes.clone(),
        note: None,
    };
    match alone.builder(options).connect().await {
        Ok(_) => Check::new("name-server-reachable", subject, true, "answers"),
        Err(error) if error.kind() == ErrorKind::Timeout => Check::new(
            "name-server-speaks",
            subject,
            false,
            "something listens there, but does not answer as a name server would; 9876 is the usual port",
        ),
        Err(error) => Check::new(
            "name-server-speaks",
            subject,
            false,
            format!("something answers there, but it is no name server (a broker?): {error}"),
        ),
    }
}

/// Why no connection came about.
enum NoWay {
    Unknown(String),
    Refused,
    Silent,
    Other(String),
}

impl NoWay {
    fn text(&self, addr: &str) -> String {
        match self {
            Self::Unknown(error) => format!("the name in {addr} is not known here ({error})"),
            Self::Refused => format!("nothing listens at {addr}"),
            Self::Silent => format!("no answer from {addr} within {DIAL_WITHIN:?}"),
            Self::Other(error) => format!("cannot connect to {addr}: {error}"),
        }
    }
}

async fn dial(
    addr: &str,
    through_kubernetes: bool,
    connector: &dyn Connector,
) -> Result<(), NoWay> {
    if through_kubernetes {
        // Names mean something to the API server, not here.
        let connected = tokio::time::timeout(THROUGH_KUBERNETES_WITHIN, connector.connect(addr));
        return match connected.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(NoWay::Other(error.to_string())),
            Err(_) => Err(NoWay::Silent),
        };
    }
    let looked_up = tokio::time::timeout(DIAL_WITHIN, tokio::net::lookup_host(addr)).await;
    let addresses: Vec<_> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(NoWay::Unknown(error.to_string())),
        Err(_) => return Err(NoWay::Unknown("no answer of the name service".to_owned())),
    };
    let mut last = NoWay::Unknown("no address".to_owned());
    for address in addresses {
        let connected = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(DIAL_WITHIN, connected).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                last = NoWay::Refused;
            }
            Ok(Err(error)) => last = NoWay::Other(error.to_string()),
            Err(_) => last = NoWay::Silent,
        }
    }
    Err(last)
}

/// Whether all servers of ours are of one version.
async fn versions(cluster: &Cluster, name_servers: &[String], brokers: &[Broker]) -> Option<Check> {
    let mut servers = Vec::new();
    for address in name_servers {
        if let Some(version) = super::versions::of_name_server(cluster, address).await {
            servers.push((format!("nameserver/{address}"), version));
        }
    }
    for broker in brokers {
        if let Some(version) = broker.version() {
            servers.push((format!("broker/{}", broker.name()), version.to_owned()));
        }
    }
    let versions = super::versions::skew(&servers)?;
    let says = format!(
        "the servers are of different versions: {versions}; fine while an upgrade goes on, finish it"
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
            let says = super::lag::unreadable(cluster, topic).await?;
            let subject = format!("topic/{topic}");
            Some(Check::new("topic-unreadable", subject, false, says))
        })
        .buffered(AT_ONCE)
        .collect::<Vec<_>>();
    found.await.into_iter().flatten().collect()
}

/// Whether each broker can be reached from here.
async fn ways(
    topic: Option<&str>,
    views: &[(String, ClusterInfo)],
    cluster: &Cluster,
    connector: &dyn Connector,
) -> Vec<Check> {
    let route = match topic {
        Some(topic) => cluster.client.refresh_route(topic).await.ok(),
        None => None,
    };
    let mut addresses = std::collections::BTreeMap::new();
    for (_, info) in views {
        for (name, data) in &info.broker_addr_table {
            let concerns = route.as_ref().is_none_or(|route| {
                route
                    .raw()
                    .broker_datas
                    .iter()
                    .any(|group| group.broker_name == *name)
            });
            if concerns {
                for addr in data.broker_addrs.values() {
                    addresses.insert(addr.clone(), name.clone());
                }
            }
        }
    }
    let mut checks = Vec::new();
    for (addr, name) in addresses {
        let subject = format!("broker/{name}");
        let is_through = cluster.kubernetes.is_some();
        checks.push(match dial(&addr, is_through, connector).await {
            Ok(()) if is_through => Check::new(
                "broker-reachable",
                subject,
                true,
                format!("{addr} can be reached through the API server of Kubernetes"),
            ),
            Ok(()) => Check::new("broker-reachable", subject, true, format!("{addr} can be reached")),
            Err(NoWay::Refused) => Check::new(
                "broker-reachable",
                subject,
                false,
                format!("nothing listens at {addr}: the broker has died, and the name server still knows it for up to two minutes"),
            ),
            Err(why) if is_inner(&addr) => Check::new(
                "client-outside",
                subject,
                false,
                format!(
                    "{}: the broker tells clients an address of its own network, and this client is outside. Run the client inside, \
                     reach the cluster through Kubernetes (--kube-context; rmq-ctl tunnel for other programs), \
                     or let the broker advertise an address that works from here (advertise, or an external listener)",
                    why.text(&addr)
                ),
            ),
            Err(why) => Check::new("broker-reachable", subject, false, why.text(&addr)),
        });
    }
    checks
}

/// Whether an address means something only inside a network: a private range, or a name without or with a cluster's domain.
fn is_inner(addr: &str) -> bool {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        Ok(IpAddr::V6(ip)) => ip.segments()[0] & 0xfe00 == 0xfc00,
        Err(_) => {
            !host.contains('.')
                || host.ends_with(".svc")
                || host.ends_with(".local")
                || host.ends_with(".internal")
        }
    }
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
    checks.extend(group_checks::problems(cluster, group, &seen).await);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mean_something_only_inside() {
        for addr in [
            "10.1.2.3:10911",
            "172.20.0.4:10911",
            "192.168.1.1:1",
            "100.64.0.1:1",
            "broker-a-0.broker-a.shop.svc:10911",
            "broker-a-0.broker-a.shop.svc.cluster.local:10911",
            "broker-a:10911",
            "[fd00::1]:10911",
        ] {
            assert!(is_inner(addr), "{addr}");
        }
        for addr in [
            "8.8.8.8:10911",
            "broker.example.com:10911",
            "[2001:db8::1]:1",
        ] {
            assert!(!is_inner(addr), "{addr}");
        }
    }
}
