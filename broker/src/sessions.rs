//! Who is connected: producers, consumer groups with their members and subscriptions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::{
    Connection, ConsumeFromWhere, ConsumeType, ConsumerConnection, ConsumerData, HeartbeatData,
    MessageModel, ProducerConnection, ProducerInfo, ProducerTable, SubscriptionData,
};
use tokio::sync::Notify;

use crate::filter::{Filter, FilterError};
use crate::limits::Limits;
use crate::link::{Link, Notice};

/// A client that says nothing for this long is gone, milliseconds (apache/rocketmq `ProducerManager.CHANNEL_EXPIRED_TIMEOUT`).
pub(crate) const CLIENT_EXPIRY_MS: i64 = 120_000;

/// One client's connection.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) client_id: String,
    pub(crate) link: Arc<dyn Link>,
    /// When it said something last, monotonic milliseconds.
    pub(crate) last_ms: i64,
}

impl Member {
    fn connection(&self) -> Connection {
        Connection {
            client_addr: self.link.remote_addr().to_string(),
            client_id: self.client_id.clone(),
            language: self.link.language().to_owned(),
            version: self.link.version(),
            subscriptions: BTreeMap::new(),
        }
    }
}

/// What a group wants of a topic, with the filter made of it.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) data: SubscriptionData,
    /// An expression that the broker cannot evaluate.
    pub(crate) filter: Result<Filter, FilterError>,
}

/// A consumer group that has or had members.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    name: String,
    state: RwLock<GroupState>,
}

#[derive(Debug, Default)]
struct GroupState {
    consume_type: ConsumeType,
    model: MessageModel,
    from_where: ConsumeFromWhere,
    subscriptions: HashMap<String, Arc<Subscription>, foldhash::fast::RandomState>,
    members: BTreeMap<u64, Member>,
    /// What each member subscribes to: expression by topic.
    wanted_by: BTreeMap<u64, BTreeMap<String, String>>,
    /// It was said that the members do not agree.
    warned: bool,
}

impl GroupState {
    /// Whether all members subscribe to the same.
    fn agrees(&self) -> bool {
        let mut all = self.wanted_by.values();
        let first = all.next();
        all.all(|other| Some(other) == first)
    }
}

impl ConsumerGroup {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn subscription(&self, topic: &str) -> Option<Arc<Subscription>> {
        self.state.read().subscriptions.get(topic).cloned()
    }

    pub(crate) fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.state.read().subscriptions.values().cloned().collect()
    }

    pub(crate) fn model(&self) -> MessageModel {
        self.state.read().model
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.state.read().members.values().cloned().collect()
    }

    /// Whether a connection is of a member.
    pub(crate) fn has(&self, link_id: u64) -> bool {
        self.state.read().members.contains_key(&link_id)
    }

    pub(crate) fn client_ids(&self) -> Vec<String> {
        let ids: BTreeSet<String> = self
            .state
            .read()
            .members
            .values()
            .map(|member| member.client_id.clone())
            .collect();
        ids.into_iter().collect()
    }

    pub(crate) fn member(&self, client_id: &str) -> Option<Member> {
        self.state
            .read()
            .members
            .values()
            .find(|member| member.client_id == client_id)
            .cloned()
    }

    pub(crate) fn connection(&self) -> ConsumerConnection {
        let state = self.state.read();
        let agrees = state.agrees();
        let connection = |(id, member): (&u64, &Member)| Connection {
            subscriptions: match state.wanted_by.get(id) {
                Some(wanted) if !agrees => wanted.clone(),
                _ => BTreeMap::new(),
            },
            ..member.connection()
        };
        ConsumerConnection {
            connection_set: state.members.iter().map(connection).collect(),
            consume_from_where: state.from_where,
            consume_type: state.consume_type,
            message_model: state.model,
            subscription_table: state
                .subscriptions
                .iter()
                .map(|(topic, subscription)| (topic.clone(), subscription.data.clone()))
                .collect(),
        }
    }

    /// Tells every member to look again who is there.
    pub(crate) fn notify(&self) {
        for member in self.members() {
            let group = self.name.as_str();
            member.link.notify(Notice::MembersChanged { group });
        }
    }
}

/// What a member wants of a topic, as text.
fn expression(wanted: &SubscriptionData) -> String {
    match wanted.is_tag_type() {
        true => wanted.sub_string.clone(),
        false => format!("{}: {}", wanted.expression_type, wanted.sub_string),
    }
}

type Consumers = HashMap<String, Arc<ConsumerGroup>, foldhash::fast::RandomState>;

/// All clients.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    producers: Mutex<BTreeMap<String, BTreeMap<u64, Member>>>,
    consumers: RwLock<Consumers>,
    /// Clients that produce.
    clients: Mutex<Clients>,
    /// A producer came.
    pub(crate) producers_came: Notify,
}

/// The connections of clients by their ids. Each connection has the id that it said last.
#[derive(Debug, Default)]
struct Clients {
    by_id: HashMap<String, Arc<dyn Link>>,
    of_link: HashMap<u64, String>,
}

impl Clients {
    fn insert(&mut self, client_id: &str, link: &Arc<dyn Link>) {
        if self
            .of_link
            .get(&link.id())
            .is_some_and(|known| known == client_id)
        {
            return;
        }
        self.remove(link.id());
        self.of_link.insert(link.id(), client_id.to_owned());
        self.by_id.insert(client_id.to_owned(), Arc::clone(link));
    }

    fn remove(&mut self, link_id: u64) {
        let Some(client_id) = self.of_link.remove(&link_id) else {
            return;
        };
        // The client may have another connection meanwhile.
        if self
            .by_id
            .get(&client_id)
            .is_some_and(|link| link.id() == link_id)
        {
            self.by_id.remove(&client_id);
        }
    }
}

/// A heartbeat that goes beyond a limit.
#[derive(Debug, thiserror::Error)]
#[error("the group {group} has {max} clients, the limit (clientsPerGroupMax)")]
pub(crate) struct TooManyClients {
    group: String,
    max: usize,
}

impl Sessions {
    pub(crate) fn consumer(&self, group: &str) -> Option<Arc<ConsumerGroup>> {
        self.consumers.read().get(group).cloned()
    }

    /// All groups that are online, by name.
    pub(crate) fn consumers(&self) -> Vec<Arc<ConsumerGroup>> {
        let mut all: Vec<_> = self.consumers.read().values().cloned().collect();
        all.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Takes a heartbeat; returns the groups whose members or subscriptions changed.
    pub(crate) fn heartbeat(
        &self,
        link: &Arc<dyn Link>,
        data: &HeartbeatData,
        now_ms: i64,
        limits: &Limits,
    ) -> Result<Vec<Arc<ConsumerGroup>>, TooManyClients> {
        let member = Member {
            client_id: data.client_id.clone(),
            link: Arc::clone(link),
            last_ms: now_ms,
        };
        {
            let mut producers = self.producers.lock();
            for producer in &data.producer_data_set {
                let members = producers.entry(producer.group_name.clone()).or_default();
                if members.len() >= limits.clients_per_group && !members.contains_key(&link.id()) {
                    return Err(TooManyClients {
                        group: producer.group_name.clone(),
                        max: limits.clients_per_group,
                    });
                }
                if members.insert(link.id(), member.clone()).is_none() {
                    self.producers_came.notify_one();
                }
            }
        }
        if !data.producer_data_set.is_empty() {
            self.clients.lock().insert(&data.client_id, link);
        }
        let mut changed = Vec::new();
        for consumer in &data.consumer_data_set {
            // Held until the member is in: an empty group may be dropped by whoever else leaves.
            let mut consumers = self.consumers.write();
            let group = Arc::clone(consumers.entry(consumer.group_name.clone()).or_insert_with(
                || {
                    Arc::new(ConsumerGroup {
                        name: consumer.group_name.clone(),
                        state: RwLock::default(),
                    })
                },
            ));
            if group.update(&member, consumer, limits)? {
                changed.push(group);
            }
        }
        Ok(changed)
    }

    /// A client leaves its groups; returns what the consumer groups lost.
    pub(crate) fn unregister(
        &self,
        link_id: u64,
        producer: Option<&str>,
        consumer: Option<&str>,
    ) -> Vec<Loss> {
        if let Some(group) = producer {
            let mut producers = self.producers.lock();
            if let Some(members) = producers.get_mut(group) {
                members.remove(&link_id);
                if members.is_empty() {
                    producers.remove(group);
                }
            }
        }
        let group = consumer.and_then(|group| self.consumer(group));
        let losses = group
            .into_iter()
            .filter_map(|group| Loss::of(group, &[link_id]))
            .collect();
        self.drop_empty();
        losses
    }

    /// A connection is gone; returns what the consumer groups lost.
    pub(crate) fn closed(&self, link_id: u64) -> Vec<Loss> {
        self.clients.lock().remove(link_id);
        {
            let mut producers = self.producers.lock();
            producers.retain(|_, members| {
                members.remove(&link_id);
                !members.is_empty()
            });
        }
        let losses = self
            .consumers()
            .into_iter()
            .filter_map(|group| Loss::of(group, &[link_id]))
            .collect();
        self.drop_empty();
        losses
    }

    /// Drops who said nothing for too long at monotonic `now_ms`; returns what the consumer groups lost.
    pub(crate) fn expire(&self, now_ms: i64) -> Vec<Loss> {
        let is_gone = |member: &Member| member.last_ms + CLIENT_EXPIRY_MS < now_ms;
        {
            let mut producers = self.producers.lock();
            producers.retain(|_, members| {
                members.retain(|_, member| !is_gone(member));
                !members.is_empty()
            });
        }
        let mut losses = Vec::new();
        for group in self.consumers() {
            let gone: Vec<u64> = group
                .state
                .read()
                .members
                .iter()
                .filter(|(_, member)| is_gone(member))
                .map(|(id, _)| *id)
                .collect();
            losses.extend(Loss::of(group, &gone));
        }
        self.drop_empty();
        losses
    }

    /// A group without members is not online.
    fn drop_empty(&self) {
        self.consumers
            .write()
            .retain(|_, group| !group.state.read().members.is_empty());
    }

    /// The connection of a client that produces.
    pub(crate) fn producer(&self, client_id: &str) -> Option<Arc<dyn Link>> {
        self.clients.lock().by_id.get(client_id).map(Arc::clone)
    }

    /// Whether a producer group has a member.
    pub(crate) fn has_producer(&self, group: &str) -> bool {
        self.producers.lock().contains_key(group)
    }

    /// The connections of a producer group.
    pub(crate) fn producers_of(&self, group: &str) -> Vec<Arc<dyn Link>> {
        let producers = self.producers.lock();
        let members = producers.get(group).into_iter().flat_map(BTreeMap::values);
        members.map(|member| Arc::clone(&member.link)).collect()
    }

    pub(crate) fn producer_connection(&self, group: &str) -> Option<ProducerConnection> {
        let producers = self.producers.lock();
        let members = producers.get(group)?;
        Some(ProducerConnection {
            connection_set: members.values().map(Member::connection).collect(),
        })
    }

    /// `now_ms` is the wall clock's and `monotonic_ms` the monotonic time now.
    pub(crate) fn producer_table(&self, now_ms: i64, monotonic_ms: i64) -> ProducerTable {
        let producers = self.producers.lock();
        let info = |member: &Member| ProducerInfo {
            client_id: member.client_id.clone(),
            language: member.link.language().to_owned(),
            last_update_timestamp: now_ms - (monotonic_ms - member.last_ms),
            remote_ip: member.link.remote_addr().to_string(),
            version: member.link.version(),
        };
        ProducerTable {
            data: producers
                .iter()
                .map(|(group, members)| (group.clone(), members.values().map(info).collect()))
                .collect(),
        }
    }
}

impl ConsumerGroup {
    /// Whether members or subscriptions changed.
    fn update(
        &self,
        member: &Member,
        data: &ConsumerData,
        limits: &Limits,
    ) -> Result<bool, TooManyClients> {
        let mut state = self.state.write();
        let link_id = member.link.id();
        let is_new = !state.members.contains_key(&link_id);
        if is_new && state.members.len() >= limits.clients_per_group {
            return Err(TooManyClients {
                group: self.name.clone(),
                max: limits.clients_per_group,
            });
        }
        if is_new
            && state
                .members
                .values()
                .any(|other| other.client_id == member.client_id)
        {
            tracing::warn!(group = self.name, client_id = member.client_id, peer = %member.link.remote_addr(),
                "two connections of the group use one client id; queues will be assigned wrongly unless one of them is closing");
        }
        state.members.insert(link_id, member.clone());
        state.consume_type = data.consume_type;
        state.model = data.message_model;
        state.from_where = data.consume_from_where;

        let mut changed = is_new;
        let mine: BTreeMap<String, String> = data
            .subscription_data_set
            .iter()
            .map(|wanted| (wanted.topic.clone(), expression(wanted)))
            .collect();
        for wanted in &data.subscription_data_set {
            let known = state.subscriptions.get(&wanted.topic);
            if known.is_some_and(|known| {
                known.data == *wanted || known.data.sub_version > wanted.sub_version
            }) {
                continue;
            }
            // A rebalance raises the version, and the filter stays.
            let same = known.filter(|known| {
                known.data.sub_string == wanted.sub_string
                    && known.data.expression_type == wanted.expression_type
                    && known.data.code_set == wanted.code_set
                    && known.data.class_filter_mode == wanted.class_filter_mode
            });
            changed |= same.is_none();
            let filter = match same {
                Some(known) => known.filter.clone(),
                None => Filter::of(wanted, limits),
            };
            if let (Err(error), None) = (&filter, same) {
                tracing::warn!(
                    group = self.name,
                    topic = wanted.topic,
                    client_id = member.client_id,
                    "the group's pulls of this topic will be refused: {error}"
                );
            }
            state.subscriptions.insert(
                wanted.topic.clone(),
                Arc::new(Subscription {
                    data: wanted.clone(),
                    filter,
                }),
            );
        }
        state.wanted_by.insert(link_id, mine);
        let before = state.subscriptions.len();
        let wanted: BTreeSet<String> = state
            .wanted_by
            .values()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect();
        state
            .subscriptions
            .retain(|topic, _| wanted.contains(topic));
        changed |= state.subscriptions.len() != before;
        let agrees = state.agrees();
        if !agrees && !state.warned {
            tracing::warn!(
                group = self.name,
                client_id = member.client_id,
                "clients of one group subscribe to different topics, tags or expressions; messages will go to clients that do not want them, or to none. Give them different groups"
            );
        }
        state.warned = !agrees;
        Ok(changed)
    }

    /// Whether the member was there.
    fn remove(&self, link_id: u64) -> Option<Member> {
        let mut state = self.state.write();
        state.wanted_by.remove(&link_id);
        state.members.remove(&link_id)
    }

    fn has_client(&self, client_id: &str) -> bool {
        let state = self.state.read();
        state
            .members
            .values()
            .any(|member| member.client_id == client_id)
    }
}

/// A consumer group that lost members.
pub(crate) struct Loss {
    pub(crate) group: Arc<ConsumerGroup>,
    /// Ids of the clients that have no other connection in the group.
    pub(crate) clients: Vec<String>,
}

impl Loss {
    /// Takes members out of a group; `None` when none of them was in.
    fn of(group: Arc<ConsumerGroup>, link_ids: &[u64]) -> Option<Self> {
        let gone: Vec<Member> = link_ids.iter().filter_map(|id| group.remove(*id)).collect();
        if gone.is_empty() {
            return None;
        }
        let clients = gone.into_iter().map(|member| member.client_id);
        Some(Self {
            clients: clients.filter(|id| !group.has_client(id)).collect(),
            group,
        })
    }
}
