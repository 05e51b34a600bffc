//! A broker registers: what it is, where it is, and which topics it has.

use std::sync::Arc;

use rmq_protocol::bodies::{DataVersion, RegisterBrokerBody, TopicConfig};
use rmq_protocol::requests::RegisterBrokerReply;
use rmq_protocol::route::{MASTER_ID, QueueData};
use rmq_transport::Peer;

use super::epochs::LEFT_MS_MAX;
use super::{Group, Live, MinIdChange, Registry, Tables, Topics};

/// Longest name of a topic, of a filter server's address, bytes.
const NAME_BYTES_MAX: usize = 255;
/// Most filter servers of a broker; nothing uses them any more.
const FILTER_SERVERS_MAX: usize = 64;
/// Longest mapping of a static topic, bytes of JSON.
const MAPPING_BYTES_MAX: usize = 64 * 1024;

/// A registration, taken apart.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) id: i64,
    pub(crate) addr: String,
    pub(crate) ha_addr: String,
    pub(crate) zone: Option<String>,
    /// `None`: the server's `brokerTimeoutMillis`, as it is when somebody looks.
    pub(crate) timeout_ms: Option<i64>,
    /// `None`: a broker too old to know of it.
    pub(crate) enable_acting_master: Option<bool>,
    /// The epoch of an elected master; `None` for all others. Only id 0 has one.
    pub(crate) epoch: Option<i64>,
    pub(crate) body: RegisterBrokerBody,
    /// The body holds a part of the broker's topics.
    pub(crate) is_part: bool,
    pub(crate) peer: Option<Arc<Peer>>,
}

/// What a broker is told, and whom else to tell.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    pub(crate) master_addr: Option<String>,
    pub(crate) ha_server_addr: Option<String>,
    pub(crate) min_id: Option<MinIdChange>,
    /// The write permission had been wiped before its group left.
    pub(crate) write_perm_given_again: bool,
}

impl Registered {
    pub(crate) fn reply(&self) -> RegisterBrokerReply {
        RegisterBrokerReply {
            ha_server_addr: self.ha_server_addr.clone(),
            master_addr: self.master_addr.clone(),
            write_perm_given_again: self.write_perm_given_again.then_some(true),
            master_epoch: None,
        }
    }
}

/// Why a registration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    #[error(
        "register broker failed: the first registration of a broker must carry all its topics, not one"
    )]
    OneTopic,
    #[error("register broker failed: {brokers} brokers are registered, the limit (brokersMax)")]
    Brokers { brokers: usize },
    #[error(
        "register broker failed: with its topics there would be {topics}, the limit is {max} (topicsMax)"
    )]
    Topics { topics: usize, max: usize },
    #[error(
        "register broker failed: there would be {entries} pairs of a topic and a broker group, the limit is {max} (routeEntriesMax)"
    )]
    Entries { entries: usize, max: usize },
    #[error(
        "register broker failed: {what} has {bytes} bytes, the limit is {max}; it begins {begin:?}"
    )]
    Long {
        what: &'static str,
        bytes: usize,
        max: usize,
        begin: String,
    },
    #[error("register broker failed: a topic has no name")]
    NoName,
    #[error("register broker failed: {0}")]
    Superseded(Superseded),
    #[error("register broker failed: {servers} filter servers, the limit is {FILTER_SERVERS_MAX}")]
    FilterServers { servers: usize },
}

/// An epoch that is lower than the group's highest: a newer master was elected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "broker group {group} has a newer master: epoch {highest} of {master}, and {addr} says epoch {epoch}. It must stop to be master and follow the newer one. Where the group was made again and counts from 1: this name server forgets the epoch {} minutes after the last member of the group left, or when it restarts",
    LEFT_MS_MAX / 60_000
)]
pub(crate) struct Superseded {
    pub(crate) group: String,
    pub(crate) addr: String,
    pub(crate) epoch: i64,
    pub(crate) highest: i64,
    /// The address of the newer master.
    pub(crate) master: String,
}

/// Limits and settings that a registration is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) brokers_max: usize,
    pub(crate) topics_max: usize,
    pub(crate) entries_max: usize,
    pub(crate) drop_unregistered_topics: bool,
}

impl Rules {
    /// Whether the group may serve these topics beside what is registered.
    pub(super) fn check<'a>(
        &self,
        known: &Topics,
        group: &str,
        topics: impl Iterator<Item = &'a String>,
    ) -> Result<(), Rejected> {
        let (topics, entries) = known.growth(group, topics);
        if topics > 0 && known.len() + topics > self.topics_max {
            return Err(Rejected::Topics {
                topics: known.len() + topics,
                max: self.topics_max,
            });
        }
        if entries > 0 && known.entries() + entries > self.entries_max {
            return Err(Rejected::Entries {
                entries: known.entries() + entries,
                max: self.entries_max,
            });
        }
        Ok(())
    }
}

/// Everything that a broker writes freely has a bound.
fn check_body(body: &RegisterBrokerBody) -> Result<(), Rejected> {
    let long = |what, text: &str, max| Rejected::Long {
        what,
        bytes: text.len(),
        max,
        begin: text.chars().take(40).collect(),
    };
    let table = &body.topic_config_serialize_wrapper;
    for topic in table.topic_config_table.keys() {
        if topic.is_empty() {
            return Err(Rejected::NoName);
        }
        if topic.len() > NAME_BYTES_MAX {
            return Err(long("the name of a topic", topic, NAME_BYTES_MAX));
        }
    }
    let servers = &body.filter_server_list;
    if servers.len() > FILTER_SERVERS_MAX {
        return Err(Rejected::FilterServers {
            servers: servers.len(),
        });
    }
    if let Some(server) = servers.iter().find(|server| server.len() > NAME_BYTES_MAX) {
        return Err(long(
            "the address of a filter server",
            server,
            NAME_BYTES_MAX,
        ));
    }
    let mappings = table
        .topic_queue_mapping_info_map
        .as_ref()
        .and_then(|map| map.as_object());
    for mapping in mappings.into_iter().flat_map(|map| map.values()) {
        let text = mapping.to_string();
        if text.len() > MAPPING_BYTES_MAX {
            return Err(long(
                "the mapping of a static topic",
                &text,
                MAPPING_BYTES_MAX,
            ));
        }
    }
    Ok(())
}

impl Tables {
    /// Whether a broker with this epoch may speak for its group.
    pub(super) fn check_epoch(
        &self,
        group: &str,
        epoch: Option<i64>,
        addr: &str,
    ) -> Result<(), Superseded> {
        match (epoch, self.epochs.get(group)) {
            (Some(epoch), Some(highest)) if epoch < highest.epoch => Err(Superseded {
                group: group.to_owned(),
                addr: addr.to_owned(),
                epoch,
                highest: highest.epoch,
                master: highest.master.clone(),
            }),
            _ => Ok(()),
        }
    }
}

impl Registry {
    /// Takes a registration at `now_ms`.
    pub(crate) fn register(
        &self,
        new: Registration,
        now_ms: i64,
        rules: Rules,
    ) -> Result<Registered, Rejected> {
        check_body(&new.body)?;
        let mut guard = self.tables.write();
        let tables = &mut *guard;
        let version = new.body.topic_config_serialize_wrapper.data_version;
        let epoch = new.epoch.filter(|_| new.id == MASTER_ID);
        tables
            .check_epoch(&new.group, epoch, &new.addr)
            .map_err(Rejected::Superseded)?;
        let known_epoch = tables.epochs.get(&new.group).map(|highest| highest.epoch);
        let is_newer = epoch.is_some() && epoch > known_epoch;
        let rival = tables
            .groups
            .get(&new.group)
            .and_then(|group| group.members.get(&new.id))
            .filter(|addr| **addr != new.addr)
            .and_then(|addr| Some((addr, tables.live.get(addr)?)));
        if let Some((addr, _)) = rival
            .filter(|(_, live)| !is_newer && live.version.state_version > version.state_version)
        {
            tracing::warn!(
                broker = new.group,
                id = new.id,
                addr = new.addr,
                other = addr,
                "registration ignored: another address has this name and id with a newer state"
            );
            return Ok(Registered::default());
        }
        let replaces = rival.is_some();
        let known = tables.live.get(&new.addr);
        let first_of_id = tables
            .groups
            .get(&new.group)
            .is_none_or(|group| !group.members.contains_key(&new.id));
        let topics = &new.body.topic_config_serialize_wrapper.topic_config_table;
        if first_of_id && topics.len() == 1 {
            return Err(Rejected::OneTopic);
        }
        if known.is_none() && !replaces && tables.live.len() >= rules.brokers_max {
            return Err(Rejected::Brokers {
                brokers: tables.live.len(),
            });
        }
        rules.check(&tables.topics, &new.group, topics.keys())?;

        let min_before = tables.groups.get(&new.group).and_then(Group::min);
        let servers_changed =
            known.is_none_or(|live| live.filter_servers != new.body.filter_server_list);
        let moved = self.place(tables, &new, is_newer) || servers_changed;
        tables.epochs.came(&new.group);
        if let Some(epoch) = epoch {
            if is_newer {
                let (broker, addr) = (&new.group, &new.addr);
                tracing::info!(broker, addr, epoch, before = known_epoch, "new master");
            }
            tables.epochs.raise(&new.group, epoch, &new.addr);
        }
        let min_after = tables.groups.get(&new.group).and_then(Group::min);
        let is_acting = new.enable_acting_master.is_some()
            && new.id != MASTER_ID
            && min_after.as_ref().is_some_and(|(id, _)| *id == new.id);
        let first = !tables.live.contains_key(&new.addr);
        let changed = first
            || tables
                .live
                .get(&new.addr)
                .is_some_and(|live| live.version != version);
        if (new.id == MASTER_ID || is_acting) && (changed || moved) {
            // The topics that a part does not name are in others.
            let drop_others = rules.drop_unregistered_topics && !new.is_part;
            self.update_topics(tables, &new, drop_others);
        }
        tables.live.insert(
            new.addr.clone(),
            Live {
                group: new.group.clone(),
                id: new.id,
                last_ms: now_ms,
                timeout_ms: new.timeout_ms,
                version,
                ha_addr: new.ha_addr.clone(),
                filter_servers: new.body.filter_server_list,
                peer: new.peer,
            },
        );
        if moved {
            self.forget_routes_of(tables, &new.group);
        }
        if first {
            tracing::info!(
                cluster = new.cluster,
                broker = new.group,
                id = new.id,
                addr = new.addr,
                "broker registered"
            );
        }
        let mut registered = Registered {
            write_perm_given_again: tables.wiped_when_left.remove(&new.group),
            ..Registered::default()
        };
        if registered.write_perm_given_again {
            tracing::warn!(
                broker = new.group,
                addr = new.addr,
                "clients may send to this broker again: its write permission was wiped, then it left, and a broker that comes back has all permissions. brokerPermission=4 at the broker itself lasts"
            );
        }
        if new.id != MASTER_ID
            && let Some(master) = tables
                .groups
                .get(&new.group)
                .and_then(|group| group.members.get(&MASTER_ID))
        {
            registered.master_addr = Some(master.clone());
            registered.ha_server_addr = tables.live.get(master).map(|live| live.ha_addr.clone());
        }
        registered.min_id = MinIdChange::lowered(tables, &new.group, min_before, min_after);
        Ok(registered)
    }

    /// Puts the broker at its place in its group; answers whether any route of the group changes by that.
    fn place(&self, tables: &mut Tables, new: &Registration, is_newer: bool) -> bool {
        // The same address under another name is a broker that was renamed.
        if let Some(live) = tables.live.get(&new.addr)
            && live.group != new.group
        {
            let (group, id) = (live.group.clone(), live.id);
            tables.live.remove(&new.addr);
            self.leave_group(tables, &group, id, &new.addr);
        }
        let group = tables.groups.entry(new.group.clone()).or_default();
        let mut moved = group.cluster != new.cluster || group.zone != new.zone;
        group.cluster.clone_from(&new.cluster);
        group.zone.clone_from(&new.zone);
        let acting = new.enable_acting_master.unwrap_or(false);
        moved |= group.enable_acting_master != acting;
        group.enable_acting_master = acting;
        // A replica that became master, or the reverse, has one id only.
        let members = group.members.len();
        group
            .members
            .retain(|id, addr| *id == new.id || *addr != new.addr);
        moved |= group.members.len() != members;
        match group.members.insert(new.id, new.addr.clone()) {
            Some(old) if old == new.addr => {}
            Some(old) => {
                moved = true;
                // Its connection and its signs of life count no more.
                tables.live.remove(&old);
                if is_newer {
                    let (broker, new) = (&new.group, &new.addr);
                    tracing::info!(broker, old, new, "the master of the past left the routes");
                    return moved;
                }
                tracing::warn!(
                    broker = new.group,
                    id = new.id,
                    old,
                    new = new.addr,
                    "broker has another address now; two brokers of one name and id would take turns here"
                );
            }
            None => moved = true,
        }
        moved
    }

    fn update_topics(&self, tables: &mut Tables, new: &Registration, drop_others: bool) {
        let wrapper = &new.body.topic_config_serialize_wrapper;
        let mut routes = self.routes.lock();
        for (topic, config) in &wrapper.topic_config_table {
            if tables.topics.put(topic, queue_data(&new.group, config)) {
                routes.remove(topic);
            }
        }
        if let Some(mappings) = wrapper
            .topic_queue_mapping_info_map
            .as_ref()
            .and_then(|map| map.as_object())
        {
            let of_group = mappings
                .iter()
                .filter(|(topic, _)| tables.topics.has(topic, &new.group));
            for (topic, mapping) in of_group {
                tables
                    .mappings
                    .entry(topic.clone())
                    .or_default()
                    .insert(new.group.clone(), mapping.clone());
                routes.remove(topic);
            }
        }
        if drop_others {
            let mappings = &mut tables.mappings;
            tables.topics.remove_of(&new.group, |topic| {
                let gone = !wrapper.topic_config_table.contains_key(topic);
                if gone {
                    routes.remove(topic);
                    if let Some(of_topic) = mappings.get_mut(topic) {
                        of_topic.remove(&new.group);
                    }
                }
                gone
            });
            mappings.retain(|_, of_topic| !of_topic.is_empty());
        }
    }

    /// Whether the name server has the same version of a broker's topics; if so its life is prolonged.
    pub(crate) fn same_version(
        &self,
        addr: &str,
        version: DataVersion,
        now_ms: i64,
    ) -> (bool, Option<DataVersion>) {
        let mut tables = self.tables.write();
        match tables.live.get_mut(addr) {
            Some(live) if live.version == version => {
                live.last_ms = now_ms;
                (true, Some(live.version))
            }
            Some(live) => (false, Some(live.version)),
            None => (false, None),
        }
    }

    /// A light sign of life.
    pub(crate) fn heartbeat(&self, addr: &str, now_ms: i64) {
        if let Some(live) = self.tables.write().live.get_mut(addr) {
            live.last_ms = now_ms;
        }
    }
}

fn queue_data(group: &str, config: &TopicConfig) -> QueueData {
    QueueData {
        broker_name: group.to_owned(),
        perm: config.perm,
        read_queue_nums: config.read_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    }
}
