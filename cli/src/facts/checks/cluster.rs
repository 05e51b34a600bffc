//! The checks of a whole cluster: name servers, brokers, topics and groups.

use rmq_client::protocol::requests::GetBrokerClusterInfo;
use rmq_client::protocol::route::ClusterInfo;

use super::{brokers as rules, members, objects, uses};
use crate::cluster::Cluster;
use crate::facts::broker_group::BrokerGroup;
use crate::facts::broker_state;
use crate::facts::check::Check;
use crate::facts::name_servers::{Views, registrations};

/// All checks of a cluster.
pub(crate) async fn checks(cluster: &Cluster) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut views: Views = Vec::new();
    for addr in cluster.client.url().name_servers() {
        let subject = format!("nameserver/{addr}");
        let remote = cluster.client.remote(addr);
        let info = match remote.call(&GetBrokerClusterInfo {}, b"").await {
            Ok(answer) => ClusterInfo::from_json(answer.body()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match info {
            Ok(info) => {
                let brokers = info.broker_addr_table.len();
                checks.push(Check::new(
                    "name-server-answers",
                    subject,
                    true,
                    format!("answers, {brokers} broker groups"),
                ));
                views.push((addr.clone(), info));
            }
            Err(error) => checks.push(Check::new("name-server-answers", subject, false, error)),
        }
    }
    checks.extend(objects::checks(cluster, &views).await);
    let registered = registrations(&views);
    if registered.is_empty() && !views.is_empty() {
        checks.push(Check::new(
            "brokers-registered",
            "cluster",
            false,
            "no broker is registered",
        ));
    }
    let mut brokers = Vec::new();
    for (name, missing) in registered {
        let says = if missing.is_empty() {
            "registered with every name server".to_owned()
        } else {
            format!("not registered with {}", missing.join(", "))
        };
        checks.push(Check::new(
            "broker-registered",
            format!("broker/{name}"),
            missing.is_empty(),
            says,
        ));
        let (group, broker) = tokio::join!(
            BrokerGroup::look(cluster, &name, &views),
            broker_state::look(cluster, &name, &views)
        );
        let of_members = members::checks(&group);
        let is_said = |id| of_members.iter().any(|check| check.id == id);
        let is_said = is_said("broker-has-master");
        checks.extend(of_members);
        match broker {
            Ok(mut broker) => {
                checks.extend(rules::checks(&broker));
                match broker.look_at_tables(cluster).await {
                    Ok(()) => brokers.push(broker),
                    Err(check) => checks.push(check),
                }
            }
            // The members know more about it.
            Err(check) if is_said && check.id == "broker-has-master" => {}
            Err(check) => checks.push(check),
        }
    }
    checks.extend(uses::checks(cluster, &views, &brokers).await);
    checks
}
