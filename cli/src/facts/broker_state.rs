//! The state of a broker: figures and settings from its master, permissions from the routes.

use std::collections::BTreeMap;

use rmq_client::protocol::bodies::{
    KvTable, SubscriptionGroupConfig, SubscriptionGroupTable, TopicConfig, TopicConfigTable,
    parse_properties,
};
use rmq_client::protocol::requests::{
    GetAllSubscriptionGroupConfig, GetAllTopicConfig, GetBrokerConfig, GetBrokerRuntimeInfo,
    GetRouteinfoByTopic,
};
use rmq_client::protocol::route::{ClusterInfo, TopicRoute, perm};

use super::check::Check;
use crate::cluster::Cluster;

/// The answers of a broker group's master, and the permissions in the routes.
pub(crate) struct Broker {
    pub(super) name: String,
    /// The broker's cluster in RocketMQ.
    pub(crate) cluster: String,
    pub(super) address: String,
    pub(super) figures: BTreeMap<String, String>,
    pub(super) settings: BTreeMap<String, String>,
    pub(crate) topics: BTreeMap<String, TopicConfig>,
    pub(crate) groups: BTreeMap<String, SubscriptionGroupConfig>,
    /// Name servers whose routes lack a permission that the broker gives, with the permission in the route.
    pub(super) routes: Vec<(String, i32)>,
}

/// Asks the master of a broker group for its figures and settings, and the name servers for the permissions in their routes.
///
/// # Errors
/// The master does not answer; the check says why.
pub(crate) async fn look(
    cluster: &Cluster,
    name: &str,
    views: &[(String, ClusterInfo)],
) -> Result<Broker, Check> {
    let subject = format!("broker/{name}");
    let known = views
        .iter()
        .filter_map(|(_, info)| info.broker_addr_table.get(name))
        .find_map(|data| Some((data, data.master()?)));
    let Some((data, address)) = known else {
        return Err(Check::new(
            "broker-has-master",
            &subject,
            false,
            "no master",
        ));
    };
    // By address, not by name: the name server that resolves the name may not know the broker.
    let remote = cluster.client.remote(address);
    let silent = |error: String| Check::new("broker-answers", &subject, false, error);
    let figures = remote.call(&GetBrokerRuntimeInfo {}, b"").await;
    let figures = figures.map_err(|error| silent(error.to_string()))?;
    let figures = KvTable::from_json(figures.body());
    let figures = figures.map_err(|error| silent(error.to_string()))?.table;
    let settings = remote.call(&GetBrokerConfig {}, b"").await;
    let settings = settings.map_err(|error| silent(error.to_string()))?;
    let settings = parse_properties(settings.body());
    let settings = settings.map_err(|error| silent(error.to_string()))?;
    let settings = settings.into_iter().collect();
    let mut broker = Broker {
        name: name.to_owned(),
        cluster: data.cluster.clone(),
        address: address.to_owned(),
        figures,
        settings,
        topics: BTreeMap::new(),
        groups: BTreeMap::new(),
        routes: Vec::new(),
    };
    broker.routes = broker.routes(cluster, views).await;
    Ok(broker)
}

impl Broker {
    /// The permission in the broker's own settings.
    pub(super) fn own_perm(&self) -> i32 {
        let told = self.settings.get("brokerPermission");
        told.and_then(|text| text.parse().ok())
            .unwrap_or(perm::READ | perm::WRITE)
    }

    /// The permission that the broker and all routes give.
    pub(crate) fn perm(&self) -> i32 {
        let routes = self.routes.iter().map(|(_, in_route)| in_route);
        routes.fold(self.own_perm(), |all, in_route| all & in_route)
    }

    pub(crate) fn store_problem(&self) -> Option<&str> {
        self.figures.get("storeProblem").map(String::as_str)
    }

    /// Whether the broker takes messages, and whether it gives messages.
    pub(crate) fn serves(&self) -> (bool, bool) {
        let perm = self.perm();
        (
            perm::is_writable(perm) && self.store_problem().is_none(),
            perm::is_readable(perm),
        )
    }

    /// A drain takes the permission from all topics of a broker at once; the topic with the broker's own name shows the permission.
    async fn routes(
        &self,
        cluster: &Cluster,
        views: &[(String, ClusterInfo)],
    ) -> Vec<(String, i32)> {
        let full = perm::READ | perm::WRITE;
        let request = GetRouteinfoByTopic {
            topic: self.name.as_str().into(),
            accept_standard_json_only: Some(true),
        };
        let mut lacking = Vec::new();
        for (address, _) in views {
            let answer = cluster.client.remote(address).call(&request, b"").await;
            let route = answer
                .ok()
                .and_then(|answer| TopicRoute::from_json(answer.body()).ok());
            let queues = route.into_iter().flat_map(|route| route.queue_datas);
            let own = queues.filter(|data| data.broker_name == self.name);
            for data in own {
                if data.perm & full != self.own_perm() & full {
                    lacking.push((address.clone(), data.perm));
                }
            }
        }
        lacking
    }

    /// Asks for the settings of all topics and all groups, with one request each.
    pub(crate) async fn look_at_tables(&mut self, cluster: &Cluster) -> Result<(), Check> {
        let failed = |error: String| {
            Check::new(
                "broker-answers",
                format!("broker/{}", self.name),
                false,
                error,
            )
        };
        let remote = cluster.client.remote(&self.address);
        let topics = GetAllTopicConfig {
            topic_seq: None,
            data_version: None,
            max_topic_num: None,
        };
        let topics = remote.call(&topics, b"").await;
        let topics = topics.map_err(|error| failed(error.to_string()))?;
        let topics = TopicConfigTable::from_json(topics.body());
        let topics = topics.map_err(|error| failed(error.to_string()))?;
        let groups = GetAllSubscriptionGroupConfig {
            group_seq: None,
            data_version: None,
            max_group_num: None,
        };
        let groups = remote.call(&groups, b"").await;
        let groups = groups.map_err(|error| failed(error.to_string()))?;
        let groups = SubscriptionGroupTable::from_json(groups.body());
        let groups = groups.map_err(|error| failed(error.to_string()))?;
        self.topics = topics.topic_config_table;
        self.groups = groups.subscription_group_table;
        Ok(())
    }

    /// A figure of the runtime information.
    pub(crate) fn figure(&self, key: &str) -> Option<&str> {
        self.figures.get(key).map(String::as_str)
    }

    /// A figure that is a number.
    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.figures.get(key)?.parse().ok()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The version of rmq; other brokers have none.
    pub(crate) fn version(&self) -> Option<&str> {
        self.figure("rmqVersion")
    }
}
