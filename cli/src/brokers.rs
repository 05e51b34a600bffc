//! Which brokers a command is for.

use clap::Args;
use rmq_client::protocol::route::ClusterInfo;

use crate::cluster::{Cluster, closest};
use crate::codes;
use crate::completion::names::broker_completer;
use crate::error::Failure;

/// Options of commands that change something at all brokers, or at some.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BrokerOptions {
    /// Only at these brokers, by name or by address. Default: at all.
    #[arg(long, value_name = "NAME", value_delimiter = ',', add = broker_completer())]
    pub(crate) broker: Vec<String>,

    /// Only at the brokers of this cluster of RocketMQ.
    #[arg(long, value_name = "NAME", conflicts_with = "broker")]
    pub(crate) broker_cluster: Option<String>,
}

impl BrokerOptions {
    /// Names of the broker groups; none when all are meant.
    pub(crate) async fn names(&self, cluster: &Cluster) -> Result<Vec<String>, Failure> {
        if self.broker.is_empty() && self.broker_cluster.is_none() {
            return Ok(Vec::new());
        }
        let info = info(cluster).await?;
        if let Some(name) = &self.broker_cluster {
            return match info.cluster_addr_table.get(name) {
                Some(brokers) => Ok(brokers.clone()),
                None => {
                    let known: Vec<String> = info.cluster_addr_table.into_keys().collect();
                    Err(unknown("cluster", name, &known, cluster))
                }
            };
        }
        let names = self.broker.iter();
        names.map(|text| named(text, &info, cluster)).collect()
    }
}

impl Cluster {
    /// The broker group that is meant by a name, or by the address of one of its members.
    pub(crate) async fn broker_name(&self, text: &str) -> Result<String, Failure> {
        if !text.contains(':') {
            // The request itself finds out whether there is one.
            return Ok(text.to_owned());
        }
        self.known_broker(text).await
    }

    /// As [`Cluster::broker_name`], of a broker that name servers know.
    pub(crate) async fn known_broker(&self, text: &str) -> Result<String, Failure> {
        named(text, &info(self).await?, self)
    }
}

async fn info(cluster: &Cluster) -> Result<ClusterInfo, Failure> {
    let info = cluster.client.cluster_info().await;
    info.map_err(|error| cluster.failed("cannot list the brokers", error))
}

fn named(text: &str, info: &ClusterInfo, cluster: &Cluster) -> Result<String, Failure> {
    let mut brokers = info.broker_addr_table.iter();
    let found = brokers.find(|(name, data)| {
        *name == text || data.broker_addrs.values().any(|address| address == text)
    });
    match found {
        Some((name, _)) => Ok(name.clone()),
        None => {
            let known: Vec<String> = info.broker_addr_table.keys().cloned().collect();
            Err(unknown("broker", text, &known, cluster))
        }
    }
}

fn unknown(noun: &str, name: &str, known: &[String], cluster: &Cluster) -> Failure {
    let failure = Failure::coded(&codes::NOT_FOUND, format!("there is no {noun} \"{name}\""))
        .fact("asked", &cluster.name)
        .because(format!("known {noun}s: {}", known.join(", ")));
    match closest(name, known) {
        Some(close) => failure.try_this(format!("close match: {close}")),
        None => failure,
    }
}
