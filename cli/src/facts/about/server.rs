//! Everything about a broker or a name server.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::description::{Description, Tables, pairs};
use super::figures;
use crate::cluster::Cluster;
use crate::error::Failure;
use crate::render::schema_of;

#[derive(Serialize, JsonSchema)]
struct ServerAbout {
    name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    figures: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
}

pub(crate) async fn broker(
    name: &str,
    is_wide: bool,
    cluster: &Cluster,
) -> Result<Description, Failure> {
    let name = &cluster.broker_name(name).await?;
    let failed = |error| cluster.failed(format!("cannot describe broker \"{name}\""), error);
    let admin = cluster.client.admin();
    let figures = admin.runtime_info(name).await.map_err(failed)?;
    let settings = admin.broker_config(name).await.map_err(failed)?;
    let mut tables: Tables = figures::tables(&figures, &settings, cluster.utc);
    if is_wide {
        let raw = (
            "Figures as the broker names them",
            vec!["NAME", "VALUE"],
            pairs(&figures),
        );
        tables.push(raw);
    }
    tables.push(("Settings", vec!["NAME", "VALUE"], pairs(&settings)));
    let about = ServerAbout {
        name: name.to_owned(),
        figures,
        settings,
    };
    Ok(Description {
        kind: "Broker",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<ServerAbout>,
        tables,
    })
}

pub(crate) async fn name_server(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let settings = cluster.client.admin().name_server_config(name).await;
    let settings = settings.map_err(|error| {
        cluster.failed(format!("cannot describe name server \"{name}\""), error)
    })?;
    let tables: Tables = vec![("Settings", vec!["NAME", "VALUE"], pairs(&settings))];
    let about = ServerAbout {
        name: name.to_owned(),
        figures: BTreeMap::new(),
        settings,
    };
    Ok(Description {
        kind: "NameServer",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<ServerAbout>,
        tables,
    })
}
