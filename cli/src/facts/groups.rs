//! Consumer groups: members and lag.

use futures_util::{StreamExt, TryStreamExt, stream};
use rmq_client::protocol::names::is_system_group;
use schemars::JsonSchema;
use serde::Serialize;

use super::limits::AT_ONCE;
use super::noun::{Asked, Names, Noun};
use super::{clients, lag};
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};

/// `groups`.
pub(crate) const NOUN: Noun = Noun {
    name: "groups",
    aliases: &["group", "g", "sub", "subscriptions"],
    about: "Consumer groups",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GroupItem {
    name: String,
    members: usize,
    lag: i64,
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let cluster = asked.cluster;
    let failed = |error| cluster.failed("cannot list the groups", error);
    let admin = cluster.client.admin();
    let names = admin.groups().await.map_err(failed)?;
    let wanted = names
        .into_iter()
        .filter(|name| asked.names.contains(name) || asked.all || !is_system_group(name));
    let items = stream::iter(wanted)
        .map(|name| async move {
            let queues = lag::of_group(cluster, &name).await?;
            Ok(GroupItem {
                members: clients::of_group(cluster, &name).await?.len(),
                lag: lag::total(&queues),
                name,
            })
        })
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .map_err(failed)?;
    let rows = items.into_iter().map(|item| {
        let cells = vec![
            item.name.clone(),
            item.members.to_string(),
            item.lag.to_string(),
        ];
        Row::new(item.name.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "GroupList",
        schema: schema_of::<GroupItem>,
        noun: "group",
        columns: &["NAME", "MEMBERS", "LAG"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: "there are no groups".to_owned(),
    })
}
