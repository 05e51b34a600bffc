//! What `dev` prints when it is ready: where the cluster is, and how to connect; for people or as JSON.

use std::time::Duration;

use serde::Serialize;

use super::data_dir::DataDir;
use super::self_check::Checked;
use super::servers::{Cluster, Servers};
use crate::connect_help::snippets;
use crate::output::Output;

/// Prints where the cluster is and how to connect.
pub(crate) fn print(
    output: &Output,
    servers: &Servers,
    data: &DataDir,
    checked: &Checked,
    took: Duration,
) {
    output.heading(&format!("rmq is ready ({} ms)", took.as_millis()));
    let kept = if data.is_throw_away() {
        " (removed at the end)"
    } else {
        ""
    };
    let mut lines = Vec::new();
    let all = servers.clusters();
    for cluster in all {
        if all.len() > 1 {
            lines.push(("cluster", cluster.name().to_owned()));
        }
        for addr in cluster.name_servers() {
            lines.push(("name server", addr.clone()));
        }
        for ((name, addr), slot) in cluster.brokers().zip(cluster.slots()) {
            let member = slot.map_or_else(String::new, |slot| format!(", member {slot}"));
            lines.push(("broker", format!("{addr} ({name}{member})")));
        }
        for addr in cluster.name_server_management() {
            lines.push(("management", format!("http://{addr}/metrics (name server)")));
        }
        for ((name, _), addr) in cluster.brokers().zip(cluster.broker_management()) {
            if let Some(addr) = addr {
                lines.push(("management", format!("http://{addr}/metrics ({name})")));
            }
        }
    }
    lines.push(("data", format!("{}{kept}", data.path().display())));
    let found = &checked.found;
    let check = format!(
        "message {} sent and read back in {} µs",
        found.message_id,
        found.took.as_micros()
    );
    lines.push(("self-check", check));
    if !checked.topics.is_empty() {
        lines.push(("topics", checked.topics.join(", ")));
    }
    let lines: Vec<(&str, &str)> = lines
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    output.list(&lines);

    output.say("");
    let topic = checked.topics.first().map_or("orders", String::as_str);
    snippets(output, all[0].name_servers(), topic);
    output.say("");
    output.say("Ctrl-C stops it.");
}

/// The line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ready<'a> {
    #[serde(flatten)]
    first: ReadyCluster<'a>,
    /// All of them, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clusters: Vec<ReadyCluster<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadyCluster<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    name_server: &'a str,
    name_servers: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    name_server_management: Vec<String>,
    brokers: Vec<ReadyBroker<'a>>,
}

#[derive(Serialize)]
struct ReadyBroker<'a> {
    name: &'a str,
    address: &'a str,
    /// The slot in a group with replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    management: Option<String>,
}

impl<'a> Ready<'a> {
    pub(super) fn of(servers: &'a Servers) -> Self {
        let ready = |cluster: &'a Cluster, name| ReadyCluster {
            name,
            name_server: &cluster.name_servers()[0],
            name_servers: cluster.name_servers(),
            name_server_management: cluster.name_server_management(),
            brokers: cluster
                .brokers()
                .zip(cluster.slots())
                .zip(cluster.broker_management())
                .map(|(((name, address), member), management)| ReadyBroker {
                    name,
                    address,
                    member,
                    management,
                })
                .collect(),
        };
        let all = servers.clusters();
        let several = all.iter().filter(|_| all.len() > 1);
        Self {
            first: ready(&all[0], None),
            clusters: several
                .map(|cluster| ready(cluster, Some(cluster.name())))
                .collect(),
        }
    }
}
