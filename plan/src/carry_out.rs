//! Carries changes out: one, or many with one request to each broker.

use rmq_client::{Client, Error};

use crate::compare::{Action, Change};
use crate::resource::Resource;
use crate::{group, topic};

/// Carries one change out.
///
/// # Errors
/// When a broker refuses or cannot be reached; other brokers may have been changed.
pub async fn carry_out(client: &Client, resource: &Resource, change: &Change) -> Result<(), Error> {
    if change.action == Action::Same {
        return Ok(());
    }
    let admin = client.admin();
    match resource {
        Resource::Topic(topic) => admin.create_topic(&topic::spec(topic, change)).await,
        Resource::Group(group) => {
            // Settings that manifests do not have stay as they are.
            let live = admin.group_config(group.group_name()).await;
            let live = live.unwrap_or_default();
            let of = |broker: &str| {
                let mut live = live.iter();
                live.find(|(name, _)| name == broker)
                    .map(|(_, config)| config.clone())
            };
            for spec in group::specs(group, change, of) {
                admin.create_group(&spec).await?;
            }
            Ok(())
        }
    }
}

/// Writes many changes, with one request to each broker for all topics and one for all groups. Name servers show topics a little later:
/// see [`shown`].
///
/// # Errors
/// When a broker refuses one of them or cannot be reached; others may have been written.
pub async fn write_all<'a>(
    client: &Client,
    all: impl IntoIterator<Item = (&'a Resource, &'a Change)>,
) -> Result<(), Error> {
    let admin = client.admin();
    let (mut topics, mut groups) = (Vec::new(), Vec::new());
    for (resource, change) in all {
        match resource {
            _ if change.action == Action::Same => {}
            Resource::Topic(topic) => topics.push(topic::spec(topic, change)),
            Resource::Group(group) => groups.push((group, change)),
        }
    }
    if !topics.is_empty() {
        admin.create_topics(&topics).await?;
    }
    if !groups.is_empty() {
        // Settings that manifests do not have stay as they are.
        let live = admin.group_configs().await?;
        let specs = groups.into_iter().flat_map(|(group, change)| {
            group::specs(group, change, |broker| {
                let (_, table) = live.iter().find(|(name, _)| name == broker)?;
                table.get(group.group_name()).cloned()
            })
        });
        admin.create_groups(&specs.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Waits until clients find what was written: a topic in the routes. Groups are in no route.
///
/// # Errors
/// When the topic is in no route within a few seconds.
pub async fn shown(client: &Client, resource: &Resource, change: &Change) -> Result<(), Error> {
    match resource {
        Resource::Topic(topic) if change.action != Action::Same => {
            let spec = topic::spec(topic, change);
            client.admin().topic_shown(&spec).await
        }
        _ => Ok(()),
    }
}
