//! Settings of a broker.

use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};

/// `config-keys`.
pub(crate) const NOUN: Noun = Noun {
    name: "config-keys",
    aliases: &["config-key", "settings"],
    about: "Settings of a broker",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

#[derive(Serialize, JsonSchema)]
struct ConfigKeyItem {
    name: String,
    value: String,
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let (cluster, broker) = (asked.cluster, asked.broker.unwrap_or_default());
    let broker = cluster.broker_name(broker).await?;
    let config = cluster.client.admin().broker_config(&broker).await;
    let config = config.map_err(|error| {
        cluster.failed(format!("cannot list the settings of \"{broker}\""), error)
    })?;
    let rows = config.into_iter().map(|(name, value)| {
        let cells = vec![name.clone(), value.clone()];
        Row::new(name.clone(), cells, &ConfigKeyItem { name, value })
    });
    Ok(Listing {
        kind: "ConfigKeyList",
        schema: schema_of::<ConfigKeyItem>,
        noun: "config-key",
        columns: &["NAME", "VALUE"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: format!("broker \"{broker}\" tells no settings"),
    })
}
