//! Consumer groups.

use std::collections::BTreeMap;

use rmq_protocol::bodies::{
    ConsumeStats, ConsumerConnection, SubscriptionGroupConfig, SubscriptionGroupList,
    SubscriptionGroupTable,
};
use rmq_protocol::names::validate_group;
use rmq_protocol::requests::{
    DeleteSubscriptionGroup, GetAllSubscriptionGroupConfig, GetConsumeStats,
    GetConsumerConnectionList, UpdateAndCreateSubscriptionGroup,
    UpdateAndCreateSubscriptionGroupList,
};

use super::{Admin, ByMaster};
use crate::error::{Error, ErrorKind};

/// The wanted settings of a consumer group.
///
/// ```
/// let spec = rmq_client::GroupSpec::new("billing").retries(3);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct GroupSpec {
    config: SubscriptionGroupConfig,
    /// Attributes to remove.
    without: Vec<String>,
    brokers: Vec<String>,
}

impl GroupSpec {
    /// A group with the usual settings.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            config: SubscriptionGroupConfig::new(name),
            without: Vec::new(),
            brokers: Vec::new(),
        }
    }

    /// Attempts before a message goes to the dead letters. Default 16.
    pub fn retries(mut self, attempts: u16) -> Self {
        self.config.retry_max_times = i32::from(attempts);
        self
    }

    /// Whether consuming is allowed. Default true.
    pub fn consumable(mut self, allowed: bool) -> Self {
        self.config.consume_enable = allowed;
        self
    }

    /// Whether every member may get every message. Default true.
    pub fn broadcasting(mut self, allowed: bool) -> Self {
        self.config.consume_broadcast_enable = allowed;
        self
    }

    /// Only at these broker groups. Default: all.
    pub fn brokers(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.brokers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Consumes in order.
    pub fn ordered(mut self) -> Self {
        self.config.consume_message_orderly = true;
        self
    }

    /// Removes an attribute from a group that has it.
    pub fn without_attribute(mut self, name: impl Into<String>) -> Self {
        self.without.push(name.into());
        self
    }

    /// As brokers take it: attributes are changes, `+name` and `-name` (apache/rocketmq `SubscriptionGroupManager`, `AttributeUtil`); one
    /// without a sign is refused there.
    fn request(&self) -> SubscriptionGroupConfig {
        let added = self.config.attributes.iter();
        let added = added.map(|(name, value)| (format!("+{name}"), value.clone()));
        let removed = self.without.iter();
        let removed = removed.map(|name| (format!("-{name}"), String::new()));
        SubscriptionGroupConfig {
            attributes: added.chain(removed).collect(),
            ..self.config.clone()
        }
    }
}

impl From<SubscriptionGroupConfig> for GroupSpec {
    /// All settings at once. Attributes that the group has and this has not stay: see [`GroupSpec::without_attribute`].
    fn from(config: SubscriptionGroupConfig) -> Self {
        Self {
            config,
            without: Vec::new(),
            brokers: Vec::new(),
        }
    }
}

impl Admin {
    /// Creates a group at every master, or changes it where it exists.
    ///
    /// # Errors
    /// When the name is not allowed or a broker refuses; brokers before it have the group then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn create_group(&self, spec: &GroupSpec) -> Result<(), Error> {
        validate_group(&spec.config.group_name)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let body = spec.request().to_json();
        for (_, broker) in self.masters_named(None, &spec.brokers).await? {
            let created = broker
                .call(&UpdateAndCreateSubscriptionGroup {}, &body)
                .await;
            created.map_err(|error| {
                error.doing(&format!("creating group \"{}\"", spec.config.group_name))
            })?;
        }
        Ok(())
    }

    /// Creates groups at their masters, or changes those that exist, by one request to each master for as many as fit into it.
    ///
    /// # Errors
    /// When a name is not allowed or a broker refuses one of them; others may have been created or changed then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn create_groups(&self, specs: &[GroupSpec]) -> Result<(), Error> {
        let doing = format!("creating {} groups", specs.len());
        let info = self.client.cluster_info().await?;
        let mut lists = ByMaster::default();
        for spec in specs {
            validate_group(&spec.config.group_name)
                .map_err(|error| Error::invalid(error.to_string()))?;
            let masters = self.masters_in(&info, None, &spec.brokers)?;
            let config = spec.request();
            let bytes = config.to_json().len();
            lists.add(masters, &config, bytes);
        }
        for (broker, group_config_list) in lists.requests() {
            let body = SubscriptionGroupList { group_config_list }.to_json();
            broker
                .call(&UpdateAndCreateSubscriptionGroupList {}, &body)
                .await
                .map_err(|error| error.doing(&doing))?;
        }
        Ok(())
    }

    /// Deletes a group at every master, with its offsets where `offsets` says so.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn delete_group(&self, group: &str, offsets: bool) -> Result<(), Error> {
        let request = DeleteSubscriptionGroup {
            group_name: group.into(),
            clean_offset: Some(offsets),
        };
        for (_, broker) in self.masters(None).await? {
            broker
                .call(&request, b"")
                .await
                .map_err(|error| error.doing(&format!("deleting group \"{group}\"")))?;
        }
        Ok(())
    }

    /// Names of all groups that have settings at a broker, sorted.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn groups(&self) -> Result<Vec<String>, Error> {
        let tables = self.group_configs().await?;
        let names = tables.into_iter().flat_map(|(_, table)| table.into_keys());
        let names: std::collections::BTreeSet<String> = names.collect();
        Ok(names.into_iter().collect())
    }

    /// The settings of all groups at each master, by broker name. One request for each broker.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn group_configs(
        &self,
    ) -> Result<Vec<(String, BTreeMap<String, SubscriptionGroupConfig>)>, Error> {
        let mut found = Vec::new();
        for (name, broker) in self.masters(None).await? {
            let request = GetAllSubscriptionGroupConfig {
                group_seq: None,
                data_version: None,
                max_group_num: None,
            };
            let answer = broker.call(&request, b"").await?;
            let table = SubscriptionGroupTable::from_json(answer.body())?;
            found.push((name, table.subscription_group_table));
        }
        Ok(found)
    }

    /// The settings of a group at each master that has it, by broker name.
    ///
    /// # Errors
    /// When a broker does not answer or none has the group.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn group_config(
        &self,
        group: &str,
    ) -> Result<Vec<(String, SubscriptionGroupConfig)>, Error> {
        // The request for one group (352) makes it where groups are made by themselves; a look must not.
        let tables = self.group_configs().await;
        let tables = tables.map_err(|error| error.doing(&format!("reading group \"{group}\"")))?;
        let found: Vec<_> = tables
            .into_iter()
            .filter_map(|(broker, mut table)| Some((broker, table.remove(group)?)))
            .collect();
        if found.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no broker has a group \"{group}\""),
            ));
        }
        Ok(found)
    }

    /// How far a group is, in one topic or in all, at all brokers.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn consume_stats(
        &self,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, Error> {
        let mut all = ConsumeStats::default();
        for (_, broker) in self.masters(None).await? {
            let request = GetConsumeStats {
                consumer_group: group.into(),
                topic: topic.map(Into::into),
                topic_list: None,
            };
            let answer = broker.call(&request, b"").await?;
            let stats = ConsumeStats::from_json(answer.body())?;
            all.offset_table.0.extend(stats.offset_table.0);
            all.consume_tps += stats.consume_tps;
        }
        all.offset_table
            .0
            .sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    /// The members of a group at one broker group, as it knows them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no member is online.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn connections(
        &self,
        broker: &str,
        group: &str,
    ) -> Result<ConsumerConnection, Error> {
        let request = GetConsumerConnectionList {
            consumer_group: group.into(),
        };
        let answer = self
            .client
            .master_of(broker)
            .await?
            .call(&request, b"")
            .await?;
        Ok(ConsumerConnection::from_json(answer.body())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_sent_as_changes() {
        let mut config = SubscriptionGroupConfig::new("g");
        config.attributes = BTreeMap::from([("kept".to_owned(), "1".to_owned())]);
        let request = GroupSpec::from(config).without_attribute("gone").request();
        let changes: Vec<(&str, &str)> = request
            .attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(changes, [("+kept", "1"), ("-gone", "")]);
    }
}
