//! What a cluster has: of one name, or of all names at once.

use std::collections::BTreeMap;

use rmq_client::{Client, Error, ErrorKind};

use crate::compare::{Change, compare};
use crate::fields::Fields;
use crate::resource::Resource;
use crate::{group, topic};

/// What would change for the cluster to be as `resource` says.
///
/// # Errors
/// When brokers cannot be asked.
pub async fn plan(client: &Client, resource: &Resource) -> Result<Change, Error> {
    let name = resource.name();
    let admin = client.admin();
    let live: Vec<(String, Fields)> = match resource {
        Resource::Topic(_) => {
            let live = or_none(admin.topic_config(name).await)?.into_iter();
            live.map(|(broker, config)| (broker, topic::fields(&config)))
                .collect()
        }
        Resource::Group(_) => {
            let live = or_none(admin.group_config(name).await)?.into_iter();
            live.map(|(broker, config)| (broker, group::fields(&config)))
                .collect()
        }
    };
    let brokers = match resource.brokers() {
        [] => masters(client).await?,
        some => some.to_vec(),
    };
    let wanted = resource.fields();
    Ok(compare(resource.noun(), name, &wanted, &brokers, &live))
}

/// No broker has it: an answer, and not a failure.
fn or_none<T>(live: Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
    match live {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRoute) => {
            Ok(Vec::new())
        }
        live => live,
    }
}

async fn masters(client: &Client) -> Result<Vec<String>, Error> {
    let info = client.cluster_info().await?;
    let brokers = info.broker_addr_table.into_iter();
    let masters = brokers.filter(|(_, data)| data.master().is_some());
    Ok(masters.map(|(name, _)| name).collect())
}

/// All topics, or all groups, of each master: many plans ask the brokers once.
#[derive(Debug, Default)]
pub struct Survey {
    masters: Vec<String>,
    /// Settings by broker and name.
    live: Vec<(String, BTreeMap<String, Fields>)>,
}

impl Survey {
    /// Asks each master for all of its topics.
    ///
    /// # Errors
    /// When brokers cannot be asked.
    pub async fn of_topics(client: &Client) -> Result<Self, Error> {
        let ask = async || client.admin().topic_configs().await;
        Self::of(client, ask, topic::fields).await
    }

    /// Asks each master for all of its groups.
    ///
    /// # Errors
    /// When brokers cannot be asked.
    pub async fn of_groups(client: &Client) -> Result<Self, Error> {
        let ask = async || client.admin().group_configs().await;
        Self::of(client, ask, group::fields).await
    }

    async fn of<T, C>(
        client: &Client,
        ask: impl AsyncFnOnce() -> Result<Vec<(String, T)>, Error>,
        fields: fn(&C) -> Fields,
    ) -> Result<Self, Error>
    where
        T: IntoIterator<Item = (String, C)>,
    {
        let masters = masters(client).await?;
        // A request to no broker is an error.
        let all = match masters.as_slice() {
            [] => Vec::new(),
            _ => ask().await?,
        };
        let live = all.into_iter().map(|(broker, table)| {
            let table = table.into_iter();
            let table = table.map(|(name, config)| (name, fields(&config)));
            (broker, table.collect())
        });
        Ok(Self {
            masters,
            live: live.collect(),
        })
    }

    /// Brokers that have a master.
    #[must_use]
    pub fn masters(&self) -> &[String] {
        &self.masters
    }

    /// What would change.
    #[must_use]
    pub fn plan(&self, resource: &Resource) -> Change {
        let (noun, name) = (resource.noun(), resource.name());
        let brokers = match resource.brokers() {
            [] => &self.masters,
            some => some,
        };
        let live = self.live.iter();
        let live: Vec<(String, Fields)> = live
            .filter_map(|(broker, all)| Some((broker.clone(), all.get(name)?.clone())))
            .collect();
        compare(noun, name, &resource.fields(), brokers, &live)
    }
}

#[cfg(test)]
mod tests {
    use rmq_client::protocol::bodies::TopicConfig;
    use rmq_crds::Topic;

    use super::*;
    use crate::Action;

    #[test]
    fn a_survey_plans_as_if_it_had_asked() {
        let config = TopicConfig::new("t", 4);
        let topic = Resource::Topic(Topic::new("t", topic::topic_manifest(&config)));
        let tables = |fields: Option<Fields>| {
            let table = fields.map(|fields| ("t".to_owned(), fields));
            table.into_iter().collect::<BTreeMap<_, _>>()
        };
        let mut survey = Survey {
            masters: vec!["a".to_owned(), "b".to_owned()],
            live: vec![
                ("a".to_owned(), tables(Some(topic::fields(&config)))),
                ("b".to_owned(), tables(None)),
            ],
        };
        let change = survey.plan(&topic);
        assert_eq!(
            (change.action, change.brokers),
            (Action::Update, vec!["b".to_owned()])
        );
        survey.live[1].1 = tables(Some(topic::fields(&config)));
        assert_eq!(survey.plan(&topic).action, Action::Same);
        survey.live.clear();
        assert_eq!(survey.plan(&topic).action, Action::Create);
    }
}
