//! Whether all servers are there that the objects in Kubernetes ask for.

use rmq_client::protocol::route::ClusterInfo;

use crate::cluster::Cluster;
use crate::facts::check::Check;
use crate::kubernetes::Wanted;

/// Whether all servers are there that the cluster's objects in Kubernetes ask for. A server that is gone is in no route, so no other check
/// misses it.
pub(crate) async fn checks(cluster: &Cluster, views: &[(String, ClusterInfo)]) -> Vec<Check> {
    let Some(kubernetes) = &cluster.kubernetes else {
        return Vec::new();
    };
    match kubernetes.wanted().await {
        Ok(wanted) => compared(&wanted, views),
        Err(problem) => {
            let says = format!(
                "the objects cannot be read, so missing servers are not noticed: {problem} (`kubectl auth can-i list brokergroups.rmq.rs`)"
            );
            vec![Check::new(
                "objects-readable",
                kubernetes.place(),
                false,
                says,
            )]
        }
    }
}

fn compared(wanted: &[Wanted], views: &[(String, ClusterInfo)]) -> Vec<Check> {
    wanted
        .iter()
        .map(|wanted| {
            let missing = wanted.replicas - wanted.ready;
            let is_unknown = wanted.broker.as_ref().is_some_and(|broker| {
                wanted.replicas > 0
                    && !views
                        .iter()
                        .any(|(_, info)| info.broker_addr_table.contains_key(broker))
            });
            let mut says = match (&wanted.broker, missing) {
                (Some(broker), _) if is_unknown => {
                    format!("no name server knows broker \"{broker}\"")
                }
                (_, 1..) => format!("{} of {} servers serve", wanted.ready, wanted.replicas),
                _ => format!("all {} servers are there", wanted.replicas),
            };
            let is_fine = missing <= 0 && !is_unknown;
            if !is_fine {
                if let Some(why) = &wanted.why {
                    says.push_str(&format!("; {why}"));
                }
                says.push_str(&format!(" (kubectl describe {})", wanted.object));
            }
            Check::new("as-objects-ask", wanted.object.as_str(), is_fine, says)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rmq_client::protocol::route::BrokerData;

    use super::*;

    fn wanted(object: &str, broker: Option<&str>, ready: i32) -> Wanted {
        Wanted {
            object: object.to_owned(),
            broker: broker.map(str::to_owned),
            replicas: 1,
            ready,
            why: (ready < 1).then(|| "PodPending: node(s) had no room".to_owned()),
        }
    }

    #[test]
    fn what_is_in_no_route_is_missed() {
        let mut info = ClusterInfo::default();
        for broker in ["a", "b"] {
            let data = BrokerData::default();
            info.broker_addr_table.insert(broker.to_owned(), data);
        }
        let views = [("ns:9876".to_owned(), info)];
        let name_servers = Wanted {
            replicas: 2,
            ..wanted("nameserver/main", None, 1)
        };
        let checks = compared(
            &[
                name_servers,
                wanted("brokergroup/a", Some("a"), 1),
                // The node was powered off a moment ago: the operator does not know yet, or the routes do not.
                wanted("brokergroup/b", Some("b"), 0),
                wanted("brokergroup/c", Some("c"), 1),
                wanted("brokergroup/d", Some("d"), 0),
                Wanted {
                    replicas: 0,
                    ..wanted("brokergroup/off", Some("off"), 0)
                },
            ],
            &views,
        );
        let fine: Vec<bool> = checks.iter().map(|check| check.is_fine).collect();
        assert_eq!(fine, [false, true, false, false, false, true], "{checks:?}");
        assert!(checks[0].says.contains("1 of 2 servers"), "{checks:?}");
        assert!(
            checks[3].says.contains("no name server knows broker \"c\""),
            "{checks:?}"
        );
        assert!(checks[4].says.contains("no room"), "{checks:?}");
        assert!(
            checks[4].says.contains("kubectl describe brokergroup/d"),
            "{checks:?}"
        );
    }
}
