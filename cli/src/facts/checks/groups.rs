//! What is wrong with consumer groups: the rules that `describe group` and `doctor` share. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use rmq_client::protocol::bodies::{EXPRESSION_SQL92, SubscriptionData, SubscriptionGroupConfig};
use rmq_client::protocol::names::is_system_group;

use crate::cluster::Cluster;
use crate::facts::check::Check;
use crate::facts::clients::{self, ClientItem};
use crate::facts::lag::{self, QueueLag};
use crate::facts::limits::AT_ONCE;

/// Members of one group that are asked for their subscriptions: enough to see two versions of a service.
const ASKED_MAX: usize = 64;

/// What the brokers know of a group.
pub(crate) struct Seen {
    pub(crate) configs: Vec<(String, SubscriptionGroupConfig)>,
    pub(crate) queues: Vec<QueueLag>,
    pub(crate) members: Vec<ClientItem>,
}

impl Seen {
    pub(crate) async fn of(cluster: &Cluster, group: &str) -> Result<Self, rmq_client::Error> {
        Ok(Self {
            configs: cluster.client.admin().group_config(group).await?,
            queues: lag::of_group(cluster, group).await?,
            members: clients::of_group(cluster, group).await?,
        })
    }
}

/// The problems of a group: checks that are not fine.
pub(crate) async fn problems(cluster: &Cluster, group: &str, seen: &Seen) -> Vec<Check> {
    let subject = format!("group/{group}");
    let problem = |id, says| Check::new(id, subject.as_str(), false, says);
    let mut checks = Vec::new();
    let off: Vec<&str> = seen
        .configs
        .iter()
        .filter(|(_, config)| !config.consume_enable)
        .map(|(broker, _)| broker.as_str())
        .collect();
    if !off.is_empty() {
        let says = format!(
            "consuming is switched off at {}: rmq-ctl set group {group} consume=true",
            off.join(", ")
        );
        checks.push(problem("group-consumes", says));
    }
    for fault in lag::faults(&seen.queues) {
        let says = format!("{fault} (rmq-ctl offsets reset {group} -t TOPIC --to latest)");
        checks.push(problem("group-offsets", says));
    }
    for (id, addresses) in twice(&seen.members) {
        let says = format!(
            "{} connections have the client id \"{id}\" ({}): each takes itself for the only one, and some queues get no member or two. \
             Give every process its own instance name; in containers on host networks the process ids are the same",
            addresses.len(),
            addresses.join(", ")
        );
        checks.push(problem("group-member-ids", says));
    }
    for says in differing(&subscriptions(cluster, group, &seen.members).await) {
        checks.push(problem("group-subscriptions", says));
    }
    checks
}

/// The problems of all groups of users; one fine check when there are none.
pub(crate) async fn of_all(cluster: &Cluster) -> Result<Vec<Check>, rmq_client::Error> {
    let groups = cluster.client.admin().groups().await?;
    let groups: Vec<String> = groups
        .into_iter()
        .filter(|group| !is_system_group(group))
        .collect();
    let count = groups.len();
    let found: Vec<Vec<Check>> = stream::iter(groups)
        .map(|group| async move {
            match Seen::of(cluster, &group).await {
                Ok(seen) => problems(cluster, &group, &seen).await,
                // Deleted while the list was read.
                Err(error) if error.kind() == rmq_client::ErrorKind::NotFound => Vec::new(),
                Err(error) => {
                    let subject = format!("group/{group}");
                    vec![Check::new(
                        "group-readable",
                        subject,
                        false,
                        error.to_string(),
                    )]
                }
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut checks = found.concat();
    if checks.is_empty() && count > 0 {
        let says = format!("nothing wrong with {count} groups");
        checks.push(Check::new("groups", "cluster", true, says));
    }
    Ok(checks)
}

/// Client ids that several connections have, with their addresses.
fn twice(members: &[ClientItem]) -> Vec<(&str, Vec<&str>)> {
    let mut by_id: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in members {
        by_id.entry(&member.id).or_default().push(&member.address);
    }
    by_id
        .into_iter()
        .filter(|(_, addresses)| addresses.len() > 1)
        .collect()
}

/// Subscriptions of one member: filter by topic.
type Subscriptions = BTreeMap<String, String>;

/// The subscriptions of each member. A broker keeps the newest subscription of the group only, so the members are asked. For a member that
/// does not answer, the broker's list counts.
async fn subscriptions(
    cluster: &Cluster,
    group: &str,
    members: &[ClientItem],
) -> Vec<(String, Subscriptions)> {
    if members.len() < 2 {
        return Vec::new();
    }
    let Ok(info) = cluster.client.cluster_info().await else {
        return Vec::new();
    };
    let brokers: Vec<String> = info.broker_addr_table.into_keys().collect();
    let brokers = brokers.as_slice();
    stream::iter(members.iter().take(ASKED_MAX))
        .map(|member| async move {
            let running = clients::running(cluster, brokers, group, &member.id).await;
            let said: Option<Subscriptions> = running.map(|running| {
                let all = running.subscription_set.into_iter();
                all.map(|data| (data.topic.clone(), wanted(&data)))
                    .collect()
            });
            let known = || {
                let all = member.subscriptions.iter();
                all.map(|(topic, filter)| (topic.clone(), told(filter)))
                    .collect()
            };
            (member.id.clone(), said.unwrap_or_else(known))
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// What a member subscribes to, as a broker writes it.
fn wanted(data: &SubscriptionData) -> String {
    match data.is_tag_type() {
        true => normal(&data.sub_string),
        false => format!("{}: {}", data.expression_type, data.sub_string),
    }
}

/// What a broker says that a member subscribes to.
fn told(filter: &str) -> String {
    let sql = format!("{EXPRESSION_SQL92}: ");
    match filter.starts_with(&sql) {
        true => filter.to_owned(),
        false => normal(filter),
    }
}

/// A filter in one form: tags sorted, nothing is all.
fn normal(filter: &str) -> String {
    let tags: BTreeSet<&str> = filter
        .split("||")
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .collect();
    if tags.is_empty() {
        return "*".to_owned();
    }
    tags.into_iter().collect::<Vec<_>>().join(" || ")
}

/// One sentence for each topic that the members subscribe to differently.
fn differing(members: &[(String, Subscriptions)]) -> Vec<String> {
    let is_retry = |topic: &&String| rmq_client::protocol::names::is_retry_topic(topic);
    let topics: BTreeSet<&String> = members
        .iter()
        .flat_map(|(_, subscriptions)| subscriptions.keys())
        .filter(|topic| !is_retry(topic))
        .collect();
    let mut says = Vec::new();
    for topic in topics {
        let mut ways: BTreeMap<Option<&String>, Vec<&str>> = BTreeMap::new();
        for (id, subscriptions) in members {
            ways.entry(subscriptions.get(topic)).or_default().push(id);
        }
        if ways.len() < 2 {
            continue;
        }
        let ways: Vec<String> = ways
            .into_iter()
            .map(|(filter, ids)| {
                let filter = filter.map_or_else(
                    || "not at all".to_owned(),
                    |filter| format!("as \"{filter}\""),
                );
                let more = ids.len() - 1;
                match more {
                    0 => format!("{} {filter}", ids[0]),
                    _ => format!("{} and {more} more {filter}", ids[0]),
                }
            })
            .collect();
        says.push(format!(
            "members subscribe to \"{topic}\" differently: {}; messages are lost for the group. All members must want the same",
            ways.join(", ")
        ));
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, subscriptions: &[(&str, &str)]) -> (String, Subscriptions) {
        let subscriptions = subscriptions
            .iter()
            .map(|(topic, filter)| ((*topic).to_owned(), told(filter)));
        (id.to_owned(), subscriptions.collect())
    }

    #[test]
    fn subscriptions_that_differ_are_named() {
        let same = [
            member("a", &[("t", "x || y"), ("%RETRY%g", "*")]),
            member("b", &[("t", "y||x")]),
        ];
        assert_eq!(differing(&same), Vec::<String>::new());
        let filters = [
            member("a", &[("t", "")]),
            member("b", &[("t", "x")]),
            member("c", &[("t", "*")]),
        ];
        let says = differing(&filters);
        assert_eq!(says.len(), 1, "{says:?}");
        assert!(
            says[0].contains("a and 1 more as \"*\", b as \"x\""),
            "{says:?}"
        );
        let topics = [member("a", &[("t", "*")]), member("b", &[("u", "*")])];
        assert_eq!(differing(&topics).len(), 2);
        let expression = SubscriptionData {
            expression_type: EXPRESSION_SQL92.to_owned(),
            sub_string: "a = '||'".to_owned(),
            ..SubscriptionData::default()
        };
        let by_sql = |filter| member("b", &[("t", filter)]);
        let asked = (
            "a".to_owned(),
            Subscriptions::from([("t".to_owned(), wanted(&expression))]),
        );
        let same = [asked.clone(), by_sql("SQL92: a = '||'")];
        assert_eq!(differing(&same), Vec::<String>::new());
        assert_eq!(differing(&[asked, by_sql("a")]).len(), 1);
    }
}
