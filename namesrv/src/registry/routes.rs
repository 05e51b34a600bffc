//! Routes of topics and the cluster's brokers, from the tables.

use std::collections::BTreeMap;

use bytes::Bytes;
use rmq_protocol::route::{BrokerData, ClusterInfo, MASTER_ID, QueueData, TopicRoute, perm};

use super::{Group, Registry, Tables};

impl Registry {
    /// The route of a topic, encoded. `order` gives an order topic's fixed queues.
    pub(crate) fn route(
        &self,
        topic: &str,
        order: impl FnOnce() -> Option<String>,
    ) -> Option<Bytes> {
        let tables = self.tables.read();
        if let Some(known) = self.routes.lock().get(topic) {
            return Some(known.clone());
        }
        let mut route = tables.route(topic)?;
        route.order_topic_conf = order();
        let encoded = Bytes::from(route.to_json());
        self.routes.lock().insert(topic.to_owned(), encoded.clone());
        Some(encoded)
    }

    /// The route without the brokers of other zones; brokers without a master stay, so that replicas can be read.
    pub(crate) fn route_in_zone(
        &self,
        topic: &str,
        zone: &str,
        order: Option<String>,
    ) -> Option<Bytes> {
        let mut route = self.tables.read().route(topic)?;
        route.order_topic_conf = order;
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
    pub(crate) fn set_wiped(&self, name: &str, wiped: bool) -> usize {
        let mut tables = self.tables.write();
        if let Some(group) = tables.groups.get_mut(name) {
            group.wiped = wiped;
        }
        self.forget_routes_of(&tables, name);
        tables
            .topics
            .values()
            .filter(|brokers| brokers.contains_key(name))
            .count()
    }

    /// Adds queues of a topic by hand, at broker groups that are registered.
    pub(crate) fn register_topic(
        &self,
        topic: &str,
        queues: Vec<QueueData>,
        topics_max: usize,
    ) -> Result<(), usize> {
        let mut guard = self.tables.write();
        let tables = &mut *guard;
        let queues: Vec<QueueData> = queues
            .into_iter()
            .filter(|queues| tables.groups.contains_key(&queues.broker_name))
            .collect();
        if queues.is_empty() {
            return Ok(());
        }
        if tables.topics.len() >= topics_max && !tables.topics.contains_key(topic) {
            return Err(tables.topics.len());
        }
        let brokers = tables.topics.entry(topic.to_owned()).or_default();
        brokers.extend(
            queues
                .into_iter()
                .map(|queues| (queues.broker_name.clone(), queues)),
        );
        self.routes.lock().remove(topic);
        Ok(())
    }

    /// Deletes a topic, at all broker groups or at those of one cluster.
    pub(crate) fn delete_topic(&self, topic: &str, cluster: Option<&str>) {
        let mut guard = self.tables.write();
        let tables = &mut *guard;
        let groups = &tables.groups;
        let keep = |name: &String| {
            cluster.is_some_and(|cluster| {
                groups
                    .get(name)
                    .is_some_and(|group| group.cluster != cluster)
            })
        };
        if let Some(brokers) = tables.topics.get_mut(topic) {
            brokers.retain(|name, _| keep(name));
            if brokers.is_empty() {
                tables.topics.remove(topic);
                tables.mappings.remove(topic);
            }
        }
        self.routes.lock().remove(topic);
    }
}

impl Tables {
    fn route(&self, topic: &str) -> Option<TopicRoute> {
        let brokers = self.topics.get(topic)?;
        let mut route = TopicRoute::default();
        for (name, queues) in brokers {
            let Some(group) = self.groups.get(name) else {
                continue;
            };
            route.broker_datas.push(group.data(name));
            let mut queues = queues.clone();
            if group.wiped {
                queues.perm &= !perm::WRITE;
            }
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
