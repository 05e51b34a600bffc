//! Routes of topics and the cluster's brokers, from the tables.

use std::collections::BTreeMap;

use bytes::Bytes;
use rmq_protocol::route::{BrokerData, ClusterInfo, MASTER_ID, QueueData, TopicRoute, perm};

use super::register::Rejected;
use super::{Group, Registry, Rules, Tables};

/// Prefix of the topic in which brokers of a group find each other
/// (`apache/rocketmq common/.../topic/TopicValidator.java`).
const MEMBERS_TOPIC_PREFIX: &str = "%SYNC_BROKER_MEMBER_%";

/// Settings that are part of a route.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouteRules {
    /// An order topic's fixed queues.
    pub(crate) order: Option<String>,
    /// Whether a group without its master shows its lowest replica in the master's place.
    pub(crate) acting_masters: bool,
}

impl Registry {
    /// The route of a topic, encoded. `rules` is asked under the lock of the tables: after a change of settings and
    /// [`Registry::forget_routes`] nothing made with the old ones is left.
    pub(crate) fn route(&self, topic: &str, rules: impl FnOnce() -> RouteRules) -> Option<Bytes> {
        let tables = self.tables.read();
        if let Some(known) = self.routes.lock().get(topic) {
            return Some(known.clone());
        }
        let route = tables.route(topic, rules())?;
        let encoded = Bytes::from(route.to_json());
        self.routes.lock().insert(topic.to_owned(), encoded.clone());
        Some(encoded)
    }

    /// The route without the brokers of other zones; brokers without a master stay, so that replicas can be read.
    pub(crate) fn route_in_zone(
        &self,
        topic: &str,
        zone: &str,
        rules: RouteRules,
    ) -> Option<Bytes> {
        let mut route = self.tables.read().route(topic, rules)?;
        route.broker_datas.retain(|data| {
            data.zone_name.as_deref() == Some(zone) || !data.broker_addrs.contains_key(&MASTER_ID)
        });
        route.queue_datas.retain(|queues| {
            route
                .broker_datas
                .iter()
                .any(|data| data.broker_name == queues.broker_name)
        });
        Some(Bytes::from(route.to_json()))
    }

    /// All clusters and brokers.
    pub(crate) fn cluster_info(&self) -> ClusterInfo {
        let tables = self.tables.read();
        let mut info = ClusterInfo::default();
        for (name, group) in &tables.groups {
            info.broker_addr_table
                .insert(name.clone(), group.data(name));
            info.cluster_addr_table
                .entry(group.cluster.clone())
                .or_default()
                .push(name.clone());
        }
        info
    }

    /// Takes the write permission from all topics of a broker group, or gives it back; answers how many topics it has.
    /// Besides: whether the permission was wiped before, where there is such a broker group.
    pub(crate) fn set_wiped(&self, name: &str, wiped: bool) -> (usize, Option<bool>) {
        let mut tables = self.tables.write();
        let before = tables
            .groups
            .get_mut(name)
            .map(|group| std::mem::replace(&mut group.wiped, wiped));
        self.forget_routes_of(&tables, name);
        let topics = tables
            .topics
            .iter()
            .filter(|(_, brokers)| brokers.contains_key(name))
            .count();
        (topics, before)
    }

    /// The queues of a topic, by broker group, as text; `None` when there is no such topic.
    pub(crate) fn queues_text(&self, topic: &str) -> Option<String> {
        let tables = self.tables.read();
        let queues = tables.topics.get(topic)?.iter().map(|(broker, queues)| {
            format!(
                "{broker}: {} read and {} write queues, permission {}",
                queues.read_queue_nums, queues.write_queue_nums, queues.perm
            )
        });
        Some(queues.collect::<Vec<_>>().join("; "))
    }

    /// Adds queues of a topic by hand, at broker groups that are registered.
    pub(crate) fn register_topic(
        &self,
        topic: &str,
        queues: Vec<QueueData>,
        rules: Rules,
    ) -> Result<(), Rejected> {
        let mut guard = self.tables.write();
        let tables = &mut *guard;
        let queues: Vec<QueueData> = queues
            .into_iter()
            .filter(|queues| tables.groups.contains_key(&queues.broker_name))
            .collect();
        for queues in queues {
            let topic = topic.to_owned();
            rules.check(&tables.topics, &queues.broker_name, [&topic].into_iter())?;
            tables.topics.put(&topic, queues);
        }
        self.routes.lock().remove(topic);
        Ok(())
    }

    /// Deletes a topic, at all broker groups or at those of one cluster.
    pub(crate) fn delete_topic(&self, topic: &str, cluster: Option<&str>) {
        let mut guard = self.tables.write();
        let tables = &mut *guard;
        let groups = &tables.groups;
        let keep = |name: &str| {
            cluster.is_some_and(|cluster| {
                groups
                    .get(name)
                    .is_some_and(|group| group.cluster != cluster)
            })
        };
        tables.topics.remove(topic, |name| !keep(name));
        if let Some(mappings) = tables.mappings.get_mut(topic) {
            mappings.retain(|name, _| keep(name));
            if mappings.is_empty() {
                tables.mappings.remove(topic);
            }
        }
        self.routes.lock().remove(topic);
    }
}

impl Tables {
    pub(super) fn route(&self, topic: &str, rules: RouteRules) -> Option<TopicRoute> {
        let brokers = self.topics.get(topic)?;
        let mut route = TopicRoute {
            order_topic_conf: rules.order,
            ..TopicRoute::default()
        };
        for (name, queues) in brokers {
            let Some(group) = self.groups.get(name) else {
                continue;
            };
            let mut queues = queues.clone();
            if group.wiped || group.lacks_its_master() {
                queues.perm &= !perm::WRITE;
            }
            let mut data = group.data(name);
            // Brokers look for themselves in the topic of their group: they see who is really there.
            if rules.acting_masters
                && group.lacks_its_master()
                && !topic.starts_with(MEMBERS_TOPIC_PREFIX)
                && let Some((_, addr)) = data.broker_addrs.pop_first()
            {
                data.broker_addrs.insert(MASTER_ID, addr);
            }
            route.broker_datas.push(data);
            route.queue_datas.push(queues);
            for addr in group.members.values() {
                if let Some(servers) = self
                    .live
                    .get(addr)
                    .map(|live| &live.filter_servers)
                    .filter(|servers| !servers.is_empty())
                {
                    route
                        .filter_server_table
                        .insert(addr.clone(), servers.clone());
                }
            }
        }
        let mappings: Option<BTreeMap<_, _>> = self.mappings.get(topic).cloned();
        route.topic_queue_mapping_by_broker =
            mappings.map(|mappings| serde_json::Value::Object(mappings.into_iter().collect()));
        (!route.broker_datas.is_empty()).then_some(route)
    }
}

impl Group {
    /// Whether a replica stands in for the master, for reading only.
    fn lacks_its_master(&self) -> bool {
        self.enable_acting_master && !self.members.contains_key(&MASTER_ID)
    }

    pub(super) fn data(&self, name: &str) -> BrokerData {
        BrokerData {
            broker_addrs: self.members.clone(),
            broker_name: name.to_owned(),
            cluster: self.cluster.clone(),
            enable_acting_master: self.enable_acting_master,
            zone_name: self.zone.clone(),
        }
    }
}
