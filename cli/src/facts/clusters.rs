//! Clusters of RocketMQ: names of brokers under one name.

use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};

/// `clusters`.
pub(crate) const NOUN: Noun = Noun {
    name: "clusters",
    aliases: &["cluster"],
    about: "Clusters",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

#[derive(Serialize, JsonSchema)]
struct ClusterItem {
    name: String,
    brokers: Vec<String>,
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let info = cluster
        .client
        .cluster_info()
        .await
        .map_err(|error| cluster.failed("cannot list the clusters", error))?;
    let rows = info.cluster_addr_table.into_iter().map(|(name, brokers)| {
        let cells = vec![name.clone(), brokers.len().to_string(), brokers.join(",")];
        Row::new(name.clone(), cells, &ClusterItem { name, brokers })
    });
    Ok(Listing {
        kind: "ClusterList",
        schema: schema_of::<ClusterItem>,
        noun: "cluster",
        columns: &["NAME", "BROKERS"],
        wide_columns: &["NAMES"],
        rows: rows.collect(),
        empty: "no broker is registered at the name server".to_owned(),
    })
}
