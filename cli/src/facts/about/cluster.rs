//! Everything about a cluster.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::description::{Description, Tables};
use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::facts::checks;
use crate::facts::topics;
use crate::render::schema_of;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClusterAbout {
    name: String,
    name_servers: Vec<String>,
    brokers: Vec<MemberAbout>,
    topics: usize,
    groups: usize,
    problems: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct MemberAbout {
    broker: String,
    id: i64,
    address: String,
}

pub(crate) async fn whole_cluster(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let failed = |error| cluster.failed("cannot describe the cluster", error);
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let known: Vec<String> = info.cluster_addr_table.keys().cloned().collect();
    let name = match (name, known.as_slice()) {
        ("", [only]) => only.clone(),
        ("", _) => {
            return Err(Failure::coded(&codes::INVALID, "which cluster")
                .because(format!("there are: {}", known.join(", "))));
        }
        (name, known) if known.iter().any(|known| known == name) => name.to_owned(),
        (name, known) => {
            return Err(Failure::coded(
                &codes::NOT_FOUND,
                format!("there is no cluster \"{name}\""),
            )
            .because(format!("there are: {}", known.join(", "))));
        }
    };
    let brokers: Vec<MemberAbout> = info
        .broker_addr_table
        .iter()
        .filter(|(_, data)| data.cluster == name)
        .flat_map(|(broker, data)| {
            data.broker_addrs.iter().map(|(id, address)| MemberAbout {
                broker: broker.clone(),
                id: *id,
                address: address.clone(),
            })
        })
        .collect();
    let problems: Vec<String> = checks::cluster::checks(cluster)
        .await
        .into_iter()
        .filter(|check| !check.is_fine)
        .map(|check| format!("{}: {}", check.subject, check.says))
        .collect();
    let about = ClusterAbout {
        name_servers: cluster.client.url().name_servers().to_vec(),
        topics: topics::names(cluster, false).await?.len(),
        groups: cluster.client.admin().groups().await.map_err(failed)?.len(),
        name: name.clone(),
        brokers,
        problems,
    };
    let tables: Tables = vec![
        (
            "Figures",
            vec!["NAME", "VALUE"],
            vec![
                vec!["name servers".to_owned(), about.name_servers.join(" ")],
                vec!["topics".to_owned(), about.topics.to_string()],
                vec!["groups".to_owned(), about.groups.to_string()],
            ],
        ),
        (
            "Brokers",
            vec!["NAME", "ROLE", "ADDRESS"],
            about
                .brokers
                .iter()
                .map(|member| {
                    let role = if member.id == 0 { "master" } else { "replica" };
                    vec![
                        member.broker.clone(),
                        role.to_owned(),
                        member.address.clone(),
                    ]
                })
                .collect(),
        ),
        (
            "Problems",
            vec!["WHAT"],
            about
                .problems
                .iter()
                .map(|problem| vec![problem.clone()])
                .collect(),
        ),
    ];
    Ok(Description {
        kind: "Cluster",
        name,
        value: json!(about),
        schema: schema_of::<ClusterAbout>,
        tables,
    })
}
