//! Topics.

use std::collections::BTreeMap;
use std::time::Duration;

use rmq_protocol::bodies::{
    TopicConfig, TopicConfigList, TopicConfigTable, TopicList, TopicStatsTable,
};
use rmq_protocol::names::validate_topic;
use rmq_protocol::requests::{
    DeleteTopicInBroker, DeleteTopicInNamesrv, GetAllTopicConfig, GetAllTopicListFromNameserver,
    GetTopicConfig, GetTopicStatsInfo, UpdateAndCreateTopic, UpdateAndCreateTopicList,
};
use rmq_protocol::route::perm;

use super::{Admin, ByMaster};
use crate::error::{Error, ErrorKind};
use crate::remote::Remote;
use crate::routes::Route;

/// How long a created topic may take to appear in the routes.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);

/// The wanted settings of a topic.
///
/// ```
/// let spec = rmq_client::TopicSpec::new("orders").queues(8).attribute("message.type", "NORMAL");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct TopicSpec {
    name: String,
    read_queues: i32,
    write_queues: i32,
    perm: i32,
    order: bool,
    attributes: Vec<(String, String)>,
    without: Vec<String>,
    cluster: Option<String>,
    brokers: Vec<String>,
}

impl TopicSpec {
    /// A readable and writable topic with 8 queues at each broker.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            read_queues: 8,
            write_queues: 8,
            perm: perm::READ | perm::WRITE,
            order: false,
            attributes: Vec::new(),
            without: Vec::new(),
            cluster: None,
            brokers: Vec::new(),
        }
    }

    /// Queues at each broker.
    pub fn queues(mut self, queues: u16) -> Self {
        self.read_queues = i32::from(queues);
        self.write_queues = i32::from(queues);
        self
    }

    /// Queues at each broker for reading and for writing, which differ while a topic shrinks.
    pub fn read_and_write_queues(mut self, read: u16, write: u16) -> Self {
        self.read_queues = i32::from(read);
        self.write_queues = i32::from(write);
        self
    }

    /// What is allowed.
    pub fn permissions(mut self, read: bool, write: bool) -> Self {
        self.perm = perm::of(read, write);
        self
    }

    /// An order topic.
    pub fn ordered(mut self) -> Self {
        self.order = true;
        self
    }

    /// Sets an attribute, such as `message.type`.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Removes an attribute from a topic that has it.
    pub fn without_attribute(mut self, name: impl Into<String>) -> Self {
        self.without.push(name.into());
        self
    }

    /// Only at these broker groups. Default: all.
    pub fn brokers(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.brokers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Only at the brokers of this cluster.
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// As an entry of a list, where attributes are changes: `+name` and `-name` (apache/rocketmq `AttributeUtil`).
    fn config(&self) -> TopicConfig {
        let added = self.attributes.iter();
        let added = added.map(|(name, value)| (format!("+{name}"), value.clone()));
        let removed = self.without.iter();
        let removed = removed.map(|name| (format!("-{name}"), String::new()));
        TopicConfig {
            attributes: added.chain(removed).collect(),
            order: self.order,
            perm: self.perm,
            read_queue_nums: self.read_queues,
            topic_name: self.name.clone(),
            write_queue_nums: self.write_queues,
            ..TopicConfig::default()
        }
    }
}

impl Admin {
    /// Creates a topic at every master, or changes it where it exists, and waits until the name server's route shows it at each of them.
    ///
    /// # Errors
    /// When the name is not allowed or a broker refuses; brokers before it have the topic then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn create_topic(&self, spec: &TopicSpec) -> Result<(), Error> {
        validate_topic(&spec.name).map_err(|error| Error::invalid(error.to_string()))?;
        let attributes: Vec<_> = spec
            .attributes
            .iter()
            .map(|(name, value)| format!("+{name}={value}"))
            .chain(spec.without.iter().map(|name| format!("-{name}")))
            .collect();
        let request = UpdateAndCreateTopic {
            topic: spec.name.as_str().into(),
            default_topic: Some(rmq_protocol::names::AUTO_CREATE_TOPIC.into()),
            read_queue_nums: spec.read_queues,
            write_queue_nums: spec.write_queues,
            perm: spec.perm,
            topic_filter_type: Some("SINGLE_TAG".into()),
            topic_sys_flag: Some(0),
            order: Some(spec.order),
            attributes: Some(attributes.join(",").into()),
            force: Some(false),
        };
        let doing = format!("creating topic \"{}\"", spec.name);
        let masters = self
            .masters_named(spec.cluster.as_deref(), &spec.brokers)
            .await?;
        for (_, broker) in &masters {
            broker
                .call(&request, b"")
                .await
                .map_err(|error| error.doing(&doing))?;
        }
        self.shown(spec, masters).await
    }

    /// Creates topics at their masters, or changes those that exist, by one request to each master for as many as fit into it. Name
    /// servers show them a little later: see [`Admin::topic_shown`].
    ///
    /// # Errors
    /// When a name is not allowed or a broker refuses one of them; others may have been created or changed then.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn create_topics(&self, specs: &[TopicSpec]) -> Result<(), Error> {
        let doing = format!("creating {} topics", specs.len());
        let info = self.client.cluster_info().await?;
        let mut lists = ByMaster::default();
        for spec in specs {
            validate_topic(&spec.name).map_err(|error| Error::invalid(error.to_string()))?;
            let masters = self.masters_in(&info, spec.cluster.as_deref(), &spec.brokers)?;
            let config = spec.config();
            lists.add(masters, &config, config.to_json().len());
        }
        for (broker, topic_config_list) in lists.requests() {
            let body = TopicConfigList { topic_config_list }.to_json();
            broker
                .call(&UpdateAndCreateTopicList {}, &body)
                .await
                .map_err(|error| error.doing(&doing))?;
        }
        Ok(())
    }

    /// Waits until the name server's route shows the topic at each of its masters.
    ///
    /// # Errors
    /// When it does not within five seconds.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn topic_shown(&self, spec: &TopicSpec) -> Result<(), Error> {
        let masters = self.masters_named(spec.cluster.as_deref(), &spec.brokers);
        self.shown(spec, masters.await?).await
    }

    /// Brokers tell the name servers after they answered.
    async fn shown(&self, spec: &TopicSpec, masters: Vec<(String, Remote)>) -> Result<(), Error> {
        let shown = |route: &Route| {
            let missing = masters.iter().find(|(name, _)| {
                !route.raw().queue_datas.iter().any(|data| {
                    data.broker_name == *name
                        && (data.read_queue_nums, data.write_queue_nums)
                            == (spec.read_queues, spec.write_queues)
                })
            });
            match missing {
                Some((broker, _)) => Err(format!(
                    "the name server does not show topic \"{}\" at broker \"{broker}\" yet",
                    spec.name
                )),
                None => Ok(()),
            }
        };
        self.client
            .wait_for_route_that(&spec.name, VISIBLE_WITHIN, shown)
            .await
            .map_err(|error| error.doing(&format!("creating topic \"{}\"", spec.name)))?;
        Ok(())
    }

    /// Deletes a topic at every master and every name server, with its messages.
    ///
    /// # Errors
    /// When a server does not answer or refuses.
    ///
    /// # Cancel safety
    /// A dropped call may have changed nothing, some of the servers, or all of them; the same call again makes it whole.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        let doing = format!("deleting topic \"{topic}\"");
        for (_, broker) in self.masters(None).await? {
            let request = DeleteTopicInBroker {
                topic: topic.into(),
            };
            broker
                .call(&request, b"")
                .await
                .map_err(|error| error.doing(&doing))?;
        }
        let request = DeleteTopicInNamesrv {
            topic: topic.into(),
            cluster_name: None,
        };
        self.at_every_name_server(&request)
            .await
            .map_err(|error| error.doing(&doing))?;
        self.client.forget_route(topic);
        Ok(())
    }

    /// Names of all topics that the name servers know, sorted.
    ///
    /// # Errors
    /// When no name server answers.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn topics(&self) -> Result<Vec<String>, Error> {
        let answer = self
            .client
            .ask_name_server(&GetAllTopicListFromNameserver {}, b"")
            .await?
            .success()?;
        let mut list = TopicList::from_json(answer.body())?.topic_list;
        list.sort();
        list.dedup();
        Ok(list)
    }

    /// The settings of a topic at each master that has it, by broker name.
    ///
    /// # Errors
    /// When a broker does not answer or none has the topic.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn topic_config(&self, topic: &str) -> Result<Vec<(String, TopicConfig)>, Error> {
        let mut found = Vec::new();
        for (name, broker) in self.masters(None).await? {
            match broker
                .call(
                    &GetTopicConfig {
                        topic: topic.into(),
                        lo: None,
                    },
                    b"",
                )
                .await
            {
                Ok(answer) => found.push((name, TopicConfig::from_json(answer.body())?)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.doing(&format!("reading topic \"{topic}\""))),
            }
        }
        if found.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no broker has a topic \"{topic}\""),
            ));
        }
        Ok(found)
    }

    /// The settings of all topics at each master, by broker name. One request for each broker.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn topic_configs(
        &self,
    ) -> Result<Vec<(String, BTreeMap<String, TopicConfig>)>, Error> {
        let mut found = Vec::new();
        for (name, broker) in self.masters(None).await? {
            let request = GetAllTopicConfig {
                topic_seq: None,
                data_version: None,
                max_topic_num: None,
            };
            let answer = broker.call(&request, b"").await?;
            let table = TopicConfigTable::from_json(answer.body())?;
            found.push((name, table.topic_config_table));
        }
        Ok(found)
    }

    /// The bounds of a topic's queues at all its brokers.
    ///
    /// # Errors
    /// When the topic has no route or a broker does not answer.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn topic_stats(&self, topic: &str) -> Result<TopicStatsTable, Error> {
        let route = self.client.refresh_route(topic).await?;
        let mut all = TopicStatsTable::default();
        for data in &route.raw().queue_datas {
            let Some(addr) = route.reader(&data.broker_name) else {
                continue;
            };
            let answer = self
                .client
                .remote(addr)
                .call(
                    &GetTopicStatsInfo {
                        topic: topic.into(),
                    },
                    b"",
                )
                .await?;
            let stats = TopicStatsTable::from_json(answer.body())?;
            all.offset_table.0.extend(stats.offset_table.0);
            all.topic_put_tps += stats.topic_put_tps;
            all.unreadable_messages += stats.unreadable_messages;
        }
        all.offset_table
            .0
            .sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }
}
