//! What a development cluster is made of: the usual, or what manifests say. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rmq_config::{BrokerConfig, Configuration as _, Kubernetes};
use rmq_crds::{BrokerGroup, Flush, NameServer, NameServerRef};
use rmq_plan::Resource;

use crate::codes;
use crate::error::Failure;
use crate::manifest::{self, Manifests};

/// The default broker.
const BROKER: &str = "broker-a";
/// The cluster that topics are of that name none.
const CLUSTER: &str = "main";
/// Servers of all clusters together: this is a laptop.
const SERVERS_MAX: usize = 64;
/// Fields that only pods have.
const OF_PODS: &[&str] = &[
    "drain",
    "externalListener",
    "image",
    "listeners",
    "pod",
    "resources",
    "storage",
    "updateStrategy",
];

/// Clusters, one at least, and what was left out.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) clusters: Vec<ClusterPlan>,
    /// For people: what is other than in Kubernetes.
    pub(crate) notes: Vec<String>,
}

/// Name servers, their brokers, and the topics and groups that the brokers get.
#[derive(Debug, Default)]
pub(crate) struct ClusterPlan {
    /// The NameServer object's, with its namespace where there is one.
    pub(crate) name: String,
    pub(crate) name_servers: usize,
    pub(crate) name_server_config: Vec<(String, String)>,
    pub(crate) brokers: Vec<BrokerPlan>,
    pub(crate) resources: Vec<Resource>,
}

/// One broker group.
#[derive(Debug)]
pub(crate) struct BrokerPlan {
    pub(crate) name: String,
    /// Brokers of the group; two and more elect their master.
    pub(crate) members: usize,
    /// The cluster's name in RocketMQ.
    pub(crate) cluster: String,
    /// Below the data folder.
    pub(crate) folder: PathBuf,
    pub(crate) config: Vec<(String, String)>,
}

/// A NameServer object: its namespace and name.
type Key = (Option<String>, String);

fn name_of((namespace, name): &Key) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.clone(),
    }
}

impl Plan {
    /// One name server, one broker group, and topics appear when they are used.
    pub(crate) fn usual(members: Option<usize>) -> Self {
        let broker = BrokerPlan {
            name: BROKER.to_owned(),
            members: members.unwrap_or(1),
            cluster: "DefaultCluster".to_owned(),
            folder: PathBuf::from("broker"),
            config: Vec::new(),
        };
        let cluster = ClusterPlan {
            name: CLUSTER.to_owned(),
            name_servers: 1,
            brokers: vec![broker],
            ..ClusterPlan::default()
        };
        Self {
            clusters: vec![cluster],
            notes: Vec::new(),
        }
    }

    /// As many servers as the manifests say, but this number of members in each broker group where it is given.
    pub(crate) fn of(manifests: Manifests, members: Option<usize>) -> Result<Self, Failure> {
        let mut notes = Vec::new();
        let mut clusters: BTreeMap<Key, ClusterPlan> = BTreeMap::new();
        let mut groups: Vec<(Key, BrokerGroup, String)> = Vec::new();
        for server in &manifests.servers {
            let place = &server.place;
            let spec = server.document["spec"].as_object();
            let left_out: Vec<&str> = OF_PODS
                .iter()
                .copied()
                .filter(|field| spec.is_some_and(|spec| spec.contains_key(*field)))
                .collect();
            let name = if server.kind == "NameServer" {
                let object: NameServer = manifest::object(&server.document, place)?;
                let key = (
                    object.metadata.namespace,
                    object.metadata.name.unwrap_or_default(),
                );
                let plan = ClusterPlan {
                    name: name_of(&key),
                    name_servers: usize::try_from(object.spec.replicas).unwrap_or(0).max(1),
                    name_server_config: texts(object.spec.config),
                    ..ClusterPlan::default()
                };
                let name = plan.name.clone();
                if clusters.insert(key, plan).is_some() {
                    return Err(twice("NameServer", &name, place));
                }
                name
            } else {
                let object: BrokerGroup = manifest::object(&server.document, place)?;
                let namespace = object.metadata.namespace.clone();
                let name = object.metadata.name.clone().unwrap_or_default();
                let key = (namespace, object.spec.name_server_ref.name.clone());
                groups.push((key, object, place.clone()));
                name
            };
            if !left_out.is_empty() {
                notes.push(format!(
                    "{} {name}: left out, as there are no pods: {}",
                    server.kind,
                    left_out.join(", ")
                ));
            }
        }
        let mut cluster_of = |key: &Key, notes: &mut Vec<String>| {
            let name = name_of(key);
            clusters.entry(key.clone()).or_insert_with(|| {
                notes.push(format!(
                    "NameServer {name} is not in the manifests: one name server is started for it"
                ));
                ClusterPlan {
                    name,
                    name_servers: 1,
                    ..ClusterPlan::default()
                }
            });
        };
        for (key, _, _) in &groups {
            cluster_of(key, &mut notes);
        }
        for (resource, _) in &manifests.objects {
            if let Some(key) = key_of(resource) {
                cluster_of(&key, &mut notes);
            }
        }
        if clusters.is_empty() {
            let plan = ClusterPlan {
                name: CLUSTER.to_owned(),
                name_servers: 1,
                ..ClusterPlan::default()
            };
            clusters.insert((None, CLUSTER.to_owned()), plan);
        }
        for (key, group, place) in groups {
            let Some(plan) = clusters.get_mut(&key) else {
                continue;
            };
            let broker = broker(&plan.name, &group, &place)?;
            if plan.brokers.iter().any(|known| known.name == broker.name) {
                return Err(twice("broker", &broker.name, &place));
            }
            plan.brokers.push(broker);
        }
        let only = match clusters.len() {
            1 => clusters.keys().next().cloned(),
            _ => None,
        };
        manifests.refuse_rivals(|resource| {
            let key = key_of(resource).or_else(|| only.clone());
            let plan = key.and_then(|key| clusters.get(&key));
            plan.map_or("", |plan| plan.name.as_str())
        })?;
        for (resource, place) in manifests.objects {
            let key = key_of(&resource).or_else(|| only.clone());
            let plan = key.and_then(|key| clusters.get_mut(&key)).ok_or_else(|| {
                Failure::coded(&codes::INVALID, format!("{place} names no cluster"))
                    .because("there are several, and it has no nameServerRef")
            })?;
            plan.resources.push(resource);
        }
        for plan in clusters.values_mut() {
            plan.complete(&mut notes);
        }
        let mut clusters: Vec<ClusterPlan> = clusters.into_values().collect();
        if let Some(members) = members {
            let plans = clusters.iter_mut().flat_map(|plan| &mut plan.brokers);
            plans.for_each(|plan| plan.members = members);
        }
        let servers = |plan: &ClusterPlan| {
            let brokers = plan.brokers.iter().map(|plan| plan.members);
            plan.name_servers + brokers.sum::<usize>()
        };
        let all: usize = clusters.iter().map(servers).sum();
        if all > SERVERS_MAX {
            return Err(Failure::coded(
                &codes::INVALID,
                format!("the manifests ask for {all} servers, more than {SERVERS_MAX}"),
            ));
        }
        Ok(Self { clusters, notes })
    }
}

impl ClusterPlan {
    /// Adds brokers where the manifests have none, and takes away from topics and groups the brokers that there are not.
    fn complete(&mut self, notes: &mut Vec<String>) {
        if self.brokers.is_empty() {
            let mut names: BTreeSet<&str> = BTreeSet::new();
            for resource in &self.resources {
                names.extend(brokers_of(resource).iter().map(String::as_str));
            }
            if names.is_empty() {
                names.insert(BROKER);
            }
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            notes.push(format!(
                "NameServer {} has no BrokerGroup in the manifests: started for it: {}",
                self.name,
                names.join(", ")
            ));
            let cluster = self.name.rsplit('/').next().unwrap_or(CLUSTER).to_owned();
            self.brokers = names
                .into_iter()
                .map(|name| BrokerPlan {
                    folder: folder(&self.name, &name),
                    name,
                    members: 1,
                    cluster: cluster.clone(),
                    // As with the operator: topics are objects.
                    config: vec![("autoCreateTopic".to_owned(), "false".to_owned())],
                })
                .collect();
        }
        let known: BTreeSet<String> = self
            .brokers
            .iter()
            .map(|broker| broker.name.clone())
            .collect();
        self.resources.retain_mut(|resource| {
            let (noun, name) = (resource.noun(), resource.name().to_owned());
            let brokers = match resource {
                Resource::Topic(topic) => &mut topic.spec.broker_groups,
                Resource::Group(group) => &mut group.spec.broker_groups,
            };
            if brokers.is_empty() {
                return true;
            }
            let missing: Vec<String> = brokers
                .iter()
                .filter(|name| !known.contains(*name))
                .cloned()
                .collect();
            brokers.retain(|name| known.contains(name));
            if !missing.is_empty() {
                let what = if brokers.is_empty() {
                    "is not made"
                } else {
                    "is made elsewhere only"
                };
                notes.push(format!(
                    "{noun} {name} {what}: the manifests have no broker group {}",
                    missing.join(", ")
                ));
            }
            !brokers.is_empty()
        });
    }
}

fn twice(what: &str, name: &str, place: &str) -> Failure {
    Failure::coded(&codes::INVALID, format!("{what} {name} is there twice")).fact("again in", place)
}

fn key_of(resource: &Resource) -> Option<Key> {
    let (metadata, reference): (_, Option<&NameServerRef>) = match resource {
        Resource::Topic(topic) => (&topic.metadata, topic.spec.name_server_ref.as_ref()),
        Resource::Group(group) => (&group.metadata, group.spec.name_server_ref.as_ref()),
    };
    Some((metadata.namespace.clone(), reference?.name.clone()))
}

fn brokers_of(resource: &Resource) -> &[String] {
    match resource {
        Resource::Topic(topic) => &topic.spec.broker_groups,
        Resource::Group(group) => &group.spec.broker_groups,
    }
}

fn texts(config: BTreeMap<String, rmq_crds::Scalar>) -> Vec<(String, String)> {
    config
        .into_iter()
        .map(|(key, value)| (key, value.to_string()))
        .collect()
}

fn folder(cluster: &str, broker: &str) -> PathBuf {
    PathBuf::from("clusters")
        .join(cluster.replace('/', "."))
        .join(broker)
}

/// Whether users write this key below `config.extra`. A key that no broker knows is refused when the broker starts.
fn is_for_users(key: &str) -> bool {
    let setting = BrokerConfig::settings().find(|setting| setting.key == key);
    setting.is_none_or(|setting| setting.kubernetes == Kubernetes::Open)
}

/// The same configuration that the operator gives to pods, without what is of their place.
fn broker(cluster: &str, group: &BrokerGroup, place: &str) -> Result<BrokerPlan, Failure> {
    let typed = &group.spec.config;
    if let Some(key) = typed.extra.keys().find(|key| !is_for_users(key)) {
        return Err(
            Failure::coded(&codes::INVALID, format!("{place} is not as it should be")).because(
                format!("config.extra.{key} is not for users: the operator sets it"),
            ),
        );
    }
    let mut config = texts(typed.extra.clone());
    let mut set = |key: &str, value: String| config.push((key.to_owned(), value));
    set(
        "autoCreateTopic",
        typed.auto_create_topic.unwrap_or(false).to_string(),
    );
    if let Some(flush) = typed.flush {
        let flush = match flush {
            Flush::Async => "async",
            Flush::Sync => "sync",
        };
        set("flush", flush.to_owned());
    }
    if let Some(hours) = typed.retention_hours {
        set("retentionHours", hours.to_string());
    }
    if let Some(bytes) = typed.max_message_bytes {
        set("maxMessageBytes", bytes.to_string());
    }
    if let Some(create) = typed.auto_create_subscription_group {
        set("autoCreateSubscriptionGroup", create.to_string());
    }
    Ok(BrokerPlan {
        name: group.broker_name().to_owned(),
        members: usize::try_from(group.spec.replicas).unwrap_or(1).max(1),
        cluster: group.cluster_name().to_owned(),
        folder: folder(cluster, group.broker_name()),
        config,
    })
}
