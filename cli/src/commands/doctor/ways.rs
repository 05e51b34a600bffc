//! The ways from here to name servers and brokers: whether a connection comes about, and why not.

use std::net::IpAddr;
use std::time::Duration;

use rmq_client::protocol::route::ClusterInfo;
use rmq_client::{Connector, ErrorKind};

use crate::cluster::{Cluster, ClusterOptions, Place};
use crate::facts::check::Check;

/// Longest wait for one connection.
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// The same through an API server.
const THROUGH_KUBERNETES_WITHIN: Duration = Duration::from_secs(10);

/// Whether a name server answers, and whether it is one.
pub(super) async fn name_server(addr: &str, place: &Place, options: &ClusterOptions) -> Check {
    let subject = format!("nameserver/{addr}");
    if let Err(why) = dial(addr, place.kubernetes.is_some(), &*place.connector).await {
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
        connector: std::sync::Arc::clone(&place.connector),
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
        // The port can be reached: what is left is TLS.
        Err(error) if error.kind() == ErrorKind::Unreachable => Check::new(
            "name-server-speaks",
            subject,
            false,
            format!("something listens there, and no connection comes about: {error}"),
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

/// Whether each broker can be reached from here.
pub(super) async fn ways(
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
