//! Versions of servers: the version of rmq, and the version of the protocol that clients see. Reads only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};

/// Which servers run which version; `None` when all run the same.
pub(crate) fn skew(servers: &[(String, String)]) -> Option<String> {
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (server, version) in servers {
        by_version.entry(version).or_default().push(server);
    }
    if by_version.len() < 2 {
        return None;
    }
    let says = by_version
        .into_iter()
        .map(|(version, servers)| format!("{version} at {}", servers.join(", ")));
    Some(says.collect::<Vec<_>>().join("; "))
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct VersionItem {
    /// `broker/NAME` or `nameserver/ADDRESS`.
    server: String,
    /// Of rmq; absent for servers of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Of RocketMQ, as a broker tells clients; name servers tell none.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    answers: bool,
}

/// The versions of all servers.
pub(crate) struct Versions {
    items: Vec<VersionItem>,
}

/// Asks all servers for their versions.
///
/// # Errors
/// When the brokers cannot be listed.
pub(crate) async fn read(cluster: &Cluster) -> Result<Versions, Failure> {
    let failed = |error| cluster.failed("cannot read the versions", error);
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let mut items = Vec::new();
    for address in cluster.client.url().name_servers() {
        let settings = cluster.client.admin().name_server_config(address).await;
        items.push(VersionItem {
            server: format!("nameserver/{address}"),
            answers: settings.is_ok(),
            version: settings
                .ok()
                .and_then(|mut settings| settings.remove("rmqVersion")),
            protocol: None,
        });
    }
    for name in info.broker_addr_table.keys() {
        let figures = cluster.client.admin().runtime_info(name).await;
        let answers = figures.is_ok();
        let mut figures = figures.unwrap_or_default();
        items.push(VersionItem {
            server: format!("broker/{name}"),
            version: figures.remove("rmqVersion"),
            protocol: figures.remove("brokerVersionDesc"),
            answers,
        });
    }
    Ok(Versions { items })
}

impl Versions {
    /// As a list, a server in each row.
    pub(crate) fn listing(&self) -> Listing {
        let rows = self.items.iter().map(|item| {
            let or = |text: &Option<String>, other: &str| {
                text.clone().unwrap_or_else(|| other.to_owned())
            };
            let silent = if item.answers { "-" } else { "does not answer" };
            let cells = vec![
                item.server.clone(),
                or(&item.version, silent),
                or(&item.protocol, "-"),
            ];
            Row::new(item.server.clone(), cells, item)
        });
        Listing {
            kind: "VersionList",
            schema: schema_of::<VersionItem>,
            noun: "server",
            columns: &["SERVER", "VERSION", "PROTOCOL"],
            wide_columns: &[],
            rows: rows.collect(),
            empty: "no server is known".to_owned(),
        }
    }

    /// Which servers have which version, when versions differ: those of rmq first, then those of the protocol.
    pub(crate) fn skew(&self) -> Option<String> {
        let told = |of: fn(&VersionItem) -> Option<&String>| -> Vec<(String, String)> {
            let told = self.items.iter();
            told.filter_map(|item| Some((item.server.clone(), of(item)?.clone())))
                .collect()
        };
        skew(&told(|item| item.version.as_ref()))
            .or_else(|| skew(&told(|item| item.protocol.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_another_version_is_named() {
        let server = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let same = [server("broker/a", "1.2.0"), server("broker/b", "1.2.0")];
        assert_eq!(skew(&same), None);
        let mut skewed = same.to_vec();
        skewed.push(server("nameserver/n", "1.1.0"));
        assert_eq!(
            skew(&skewed).as_deref(),
            Some("1.1.0 at nameserver/n; 1.2.0 at broker/a, broker/b")
        );
    }
}
