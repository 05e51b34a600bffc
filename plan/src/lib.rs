//! What would have to change for a cluster to be as a `Topic` or `SubscriptionGroup` says, and the change itself. The command
//! line (`apply`, `diff`, `set`) and the operator share it.

use std::collections::BTreeMap;

use rmq_client::protocol::bodies::{SubscriptionGroupConfig, TopicConfig};
use rmq_client::protocol::route::perm;
use rmq_client::{Client, Error, ErrorKind, GroupSpec, TopicSpec};
use rmq_crds::{
    MessageType, Permission, SubscriptionGroup, SubscriptionGroupRetry, SubscriptionGroupSpec,
    Topic,
};
use schemars::JsonSchema;
use serde::Serialize;

/// The attribute that says which kind of messages a topic takes.
const MESSAGE_TYPE: &str = "message.type";

/// `"false"` on an object: the brokers' settings are no longer the object's.
pub const MANAGED: &str = "rmq.rs/managed";

/// Under what all objects are found that want the topic, or the group, of this name in a cluster. The operator lets the oldest of them have
/// its way; the command line refuses two of them.
#[must_use]
pub fn claim(cluster: &str, name: &str) -> String {
    format!("name/{cluster}/{name}")
}

/// The first two objects that want the same of their cluster, in their order; objects that do not manage anything want nothing.
pub fn rivals<'o, T>(
    objects: impl IntoIterator<Item = (&'o Settings, &'o str, T)>,
) -> Option<(&'o Settings, T, T)>
where
    T: Clone,
{
    let mut seen: BTreeMap<String, T> = BTreeMap::new();
    for (object, cluster, place) in objects {
        if !object.is_managed() {
            continue;
        }
        if let Some(first) = seen.get(&object.claim(cluster)) {
            return Some((object, first.clone(), place));
        }
        seen.insert(object.claim(cluster), place);
    }
    None
}

/// Settings by name, as people read them.
type Fields = BTreeMap<String, String>;

/// A resource that is settings of brokers.
#[derive(Debug, Clone)]
pub enum Settings {
    /// A topic.
    Topic(Topic),
    /// A consumer group.
    Group(SubscriptionGroup),
}

impl Settings {
    /// As messages call it.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Topic(_) => "topic",
            Self::Group(_) => "group",
        }
    }

    /// The name in RocketMQ.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Topic(topic) => topic.topic_name(),
            Self::Group(group) => group.group_name(),
        }
    }

    fn annotations(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Topic(topic) => topic.metadata.annotations.as_ref(),
            Self::Group(group) => group.metadata.annotations.as_ref(),
        }
    }

    /// Whether the brokers' settings are the object's: the annotation [`MANAGED`] is not `"false"`.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        let managed = self.annotations().and_then(|all| all.get(MANAGED));
        managed.is_none_or(|value| value != "false")
    }

    /// What it stands for in a cluster: objects with the same claim want the same topic or group.
    #[must_use]
    pub fn claim(&self, cluster: &str) -> String {
        format!("{}/{}", self.noun(), claim(cluster, self.name()))
    }

    /// Brokers that shall have it; none: all.
    fn brokers(&self) -> &[String] {
        match self {
            Self::Topic(topic) => &topic.spec.broker_groups,
            Self::Group(group) => &group.spec.broker_groups,
        }
    }

    fn fields(&self) -> Fields {
        match self {
            Self::Topic(topic) => topic_fields(&topic_config(topic)),
            Self::Group(group) => {
                let new = SubscriptionGroupConfig::new(group.group_name());
                group_fields(&group_config(group, new))
            }
        }
    }
}

/// What becomes of one topic or group.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `topic` or `group`.
    pub kind: &'static str,
    /// The name in RocketMQ.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Settings that change.
    pub fields: Vec<FieldChange>,
    /// Brokers that are to be changed.
    #[serde(skip)]
    pub brokers: Vec<String>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// No broker has it.
    Create,
    /// Some broker has it otherwise, or not.
    Update,
    /// Nothing.
    Same,
}

/// One setting at some brokers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Its name in the manifest.
    pub field: String,
    /// What it is; none where there is no such thing.
    pub from: Option<String>,
    /// What it becomes; none when it goes.
    pub to: Option<String>,
    /// The brokers at which it changes.
    pub brokers: Vec<String>,
    /// Whether it takes something away from clients.
    pub takes_away: bool,
}

impl Change {
    /// Settings that take something away from clients.
    pub fn losses(&self) -> impl Iterator<Item = &FieldChange> {
        self.fields.iter().filter(|change| change.takes_away)
    }
}

/// What would change.
///
/// # Errors
/// When brokers cannot be asked.
pub async fn plan(client: &Client, settings: &Settings) -> Result<Change, Error> {
    let name = settings.name();
    let admin = client.admin();
    let is_none = |error: &rmq_client::Error| {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRoute)
    };
    let live: Vec<(String, Fields)> = match settings {
        Settings::Topic(_) => {
            let live = match admin.topic_config(name).await {
                Err(error) if is_none(&error) => Vec::new(),
                live => live?,
            };
            let live = live.into_iter();
            live.map(|(broker, config)| (broker, topic_fields(&config)))
                .collect()
        }
        Settings::Group(_) => {
            let live = match admin.group_config(name).await {
                Err(error) if is_none(&error) => Vec::new(),
                live => live?,
            };
            let live = live.into_iter();
            live.map(|(broker, config)| (broker, group_fields(&config)))
                .collect()
        }
    };
    let brokers = match settings.brokers() {
        [] => masters(client).await?,
        some => some.to_vec(),
    };
    let wanted = settings.fields();
    Ok(compare(settings.noun(), name, &wanted, &brokers, &live))
}

async fn masters(client: &Client) -> Result<Vec<String>, Error> {
    let info = client.cluster_info().await?;
    let brokers = info.broker_addr_table.into_iter();
    let masters = brokers.filter(|(_, data)| data.master().is_some());
    Ok(masters.map(|(name, _)| name).collect())
}

/// All topics, or all groups, as they are at each master: what many plans need is asked once.
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
        Self::of(client, async || {
            let all = client.admin().topic_configs().await?;
            Ok(all.into_iter().map(|(broker, table)| {
                let fields = table
                    .into_iter()
                    .map(|(name, of)| (name, topic_fields(&of)));
                (broker, fields.collect())
            }))
        })
        .await
    }

    /// Asks each master for all of its groups.
    ///
    /// # Errors
    /// When brokers cannot be asked.
    pub async fn of_groups(client: &Client) -> Result<Self, Error> {
        Self::of(client, async || {
            let all = client.admin().group_configs().await?;
            Ok(all.into_iter().map(|(broker, table)| {
                let fields = table
                    .into_iter()
                    .map(|(name, of)| (name, group_fields(&of)));
                (broker, fields.collect())
            }))
        })
        .await
    }

    async fn of<I>(
        client: &Client,
        ask: impl AsyncFnOnce() -> Result<I, Error>,
    ) -> Result<Self, Error>
    where
        I: Iterator<Item = (String, BTreeMap<String, Fields>)>,
    {
        let masters = masters(client).await?;
        // Asking nobody is an error.
        let live = match masters.as_slice() {
            [] => Vec::new(),
            _ => ask().await?.collect(),
        };
        Ok(Self { masters, live })
    }

    /// Brokers that have a master.
    #[must_use]
    pub fn masters(&self) -> &[String] {
        &self.masters
    }

    /// What would change.
    #[must_use]
    pub fn plan(&self, settings: &Settings) -> Change {
        let brokers = match settings.brokers() {
            [] => &self.masters,
            some => some,
        };
        let live = self.live.iter();
        let live: Vec<(String, Fields)> = live
            .filter_map(|(broker, all)| Some((broker.clone(), all.get(settings.name())?.clone())))
            .collect();
        compare(
            settings.noun(),
            settings.name(),
            &settings.fields(),
            brokers,
            &live,
        )
    }
}

fn compare(
    kind: &'static str,
    name: &str,
    wanted: &Fields,
    brokers: &[String],
    live: &[(String, Fields)],
) -> Change {
    let mut fields: Vec<FieldChange> = Vec::new();
    let mut changed = Vec::new();
    for broker in brokers {
        let has = live.iter().find(|(of, _)| of == broker).map(|(_, has)| has);
        let before = fields.len();
        let mut is_changed = has.is_none();
        let names: std::collections::BTreeSet<&String> = wanted
            .keys()
            .chain(has.into_iter().flat_map(Fields::keys))
            .collect();
        for field in names {
            let (from, to) = (has.and_then(|has| has.get(field)), wanted.get(field));
            if from == to {
                continue;
            }
            is_changed = true;
            let same = fields[..before].iter().position(|known| {
                known.field == *field && known.from.as_ref() == from && known.to.as_ref() == to
            });
            match same {
                Some(index) => fields[index].brokers.push(broker.clone()),
                None => fields.push(FieldChange {
                    field: field.clone(),
                    from: from.cloned(),
                    to: to.cloned(),
                    brokers: vec![broker.clone()],
                    takes_away: takes_away(field, from, to),
                }),
            }
        }
        if is_changed {
            changed.push(broker.clone());
        }
    }
    let action = if live.is_empty() {
        Action::Create
    } else if changed.is_empty() {
        Action::Same
    } else {
        Action::Update
    };
    Change {
        kind,
        name: name.to_owned(),
        action,
        fields,
        brokers: changed,
    }
}

fn takes_away(field: &str, from: Option<&String>, to: Option<&String>) -> bool {
    let (Some(from), Some(to)) = (from, to) else {
        return false;
    };
    let number = |text: &String| text.parse::<i64>().unwrap_or(0);
    match field {
        "queues" | "readQueues" => number(to) < number(from),
        "permission" => {
            let known = [
                Permission::ReadWrite,
                Permission::ReadOnly,
                Permission::WriteOnly,
                Permission::Deny,
            ];
            let bits = |text: &String| {
                known
                    .into_iter()
                    .find(|known| format!("{known:?}") == *text)
                    .map_or((false, false), Permission::read_write)
            };
            let (old, new) = (bits(from), bits(to));
            (old.0 && !new.0) || (old.1 && !new.1)
        }
        "consume" | "broadcast" => to == "false",
        "retry.maxAttempts" => number(to) < number(from),
        _ => false,
    }
}

/// Makes it so.
///
/// # Errors
/// When a broker refuses or cannot be reached; others may have been changed.
pub async fn carry_out(client: &Client, settings: &Settings, change: &Change) -> Result<(), Error> {
    if change.action == Action::Same {
        return Ok(());
    }
    let admin = client.admin();
    match settings {
        Settings::Topic(topic) => admin.create_topic(&topic_spec(topic, change)).await,
        Settings::Group(group) => {
            // What manifests do not speak of stays as it is.
            let live = admin.group_config(group.group_name()).await;
            let live = live.unwrap_or_default();
            let of = |broker: &str| {
                let mut live = live.iter();
                live.find(|(name, _)| name == broker)
                    .map(|(_, config)| config.clone())
            };
            for spec in group_specs(group, change, of) {
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
    all: impl IntoIterator<Item = (&'a Settings, &'a Change)>,
) -> Result<(), Error> {
    let admin = client.admin();
    let (mut topics, mut groups) = (Vec::new(), Vec::new());
    for (settings, change) in all {
        match settings {
            _ if change.action == Action::Same => {}
            Settings::Topic(topic) => topics.push(topic_spec(topic, change)),
            Settings::Group(group) => groups.push((group, change)),
        }
    }
    if !topics.is_empty() {
        admin.create_topics(&topics).await?;
    }
    if !groups.is_empty() {
        // What manifests do not speak of stays as it is.
        let live = admin.group_configs().await?;
        let specs = groups.into_iter().flat_map(|(group, change)| {
            group_specs(group, change, |broker| {
                let (_, table) = live.iter().find(|(name, _)| name == broker)?;
                table.get(group.group_name()).cloned()
            })
        });
        admin.create_groups(&specs.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Waits until clients find what was written: a topic in the routes. Groups are in none.
///
/// # Errors
/// When it is not there within a few seconds.
pub async fn shown(client: &Client, settings: &Settings, change: &Change) -> Result<(), Error> {
    match settings {
        Settings::Topic(topic) if change.action != Action::Same => {
            client.admin().topic_shown(&topic_spec(topic, change)).await
        }
        _ => Ok(()),
    }
}

fn topic_spec(topic: &Topic, change: &Change) -> TopicSpec {
    let config = topic_config(topic);
    let (read, write) = topic.spec.permission.read_write();
    let mut spec = TopicSpec::new(topic.topic_name())
        .read_and_write_queues(
            u16::try_from(config.read_queue_nums).unwrap_or(u16::MAX),
            u16::try_from(config.write_queue_nums).unwrap_or(u16::MAX),
        )
        .permissions(read, write)
        .brokers(&change.brokers);
    for (name, value) in &config.attributes {
        spec = spec.attribute(name, value);
    }
    for gone in change.fields.iter().filter(|change| change.to.is_none()) {
        spec = spec.without_attribute(attribute_name(&gone.field));
    }
    spec
}

/// The group for each broker that is to be changed: a part of it may differ.
fn group_specs(
    group: &SubscriptionGroup,
    change: &Change,
    live: impl Fn(&str) -> Option<SubscriptionGroupConfig>,
) -> Vec<GroupSpec> {
    let brokers = change.brokers.iter().map(|broker| {
        let live = live(broker);
        let live = live.unwrap_or_else(|| SubscriptionGroupConfig::new(group.group_name()));
        let gone: Vec<String> = live
            .attributes
            .keys()
            .filter(|name| !group.spec.attributes.contains_key(*name))
            .cloned()
            .collect();
        let spec = GroupSpec::from(group_config(group, live)).brokers([broker]);
        gone.into_iter().fold(spec, GroupSpec::without_attribute)
    });
    brokers.collect()
}

fn attribute_name(field: &str) -> &str {
    match field {
        "messageType" => MESSAGE_TYPE,
        _ => field.strip_prefix("attributes.").unwrap_or(field),
    }
}

fn topic_config(topic: &Topic) -> TopicConfig {
    let spec = &topic.spec;
    let (read, write) = spec.permission.read_write();
    let mut attributes = spec.attributes.clone();
    if let Some(kind) = spec.message_type {
        attributes.insert(MESSAGE_TYPE.to_owned(), kind.attribute().to_owned());
    }
    TopicConfig {
        attributes,
        perm: perm::of(read, write),
        read_queue_nums: spec.read_queues.unwrap_or(spec.queues),
        write_queue_nums: spec.queues,
        topic_name: topic.topic_name().to_owned(),
        ..TopicConfig::default()
    }
}

fn topic_fields(config: &TopicConfig) -> Fields {
    let permission = Permission::of(
        perm::is_readable(config.perm),
        perm::is_writable(config.perm),
    );
    let mut fields = Fields::from([
        ("queues".to_owned(), config.write_queue_nums.to_string()),
        ("readQueues".to_owned(), config.read_queue_nums.to_string()),
        ("permission".to_owned(), format!("{permission:?}")),
    ]);
    for (name, value) in &config.attributes {
        if name == MESSAGE_TYPE {
            let kind = MessageType::of_attribute(value);
            let text = kind.map_or_else(|| value.clone(), |kind| format!("{kind:?}"));
            fields.insert("messageType".to_owned(), text);
        } else {
            fields.insert(format!("attributes.{name}"), value.clone());
        }
    }
    fields
}

/// The manifest of a topic as it is at a broker.
#[must_use]
pub fn topic_manifest(config: &TopicConfig) -> rmq_crds::TopicSpec {
    let mut attributes = config.attributes.clone();
    let message_type = attributes
        .get(MESSAGE_TYPE)
        .and_then(|value| MessageType::of_attribute(value));
    if message_type.is_some() {
        attributes.remove(MESSAGE_TYPE);
    }
    rmq_crds::TopicSpec {
        topic_name: Some(config.topic_name.clone()),
        queues: config.write_queue_nums,
        read_queues: (config.read_queue_nums != config.write_queue_nums)
            .then_some(config.read_queue_nums),
        permission: Permission::of(
            perm::is_readable(config.perm),
            perm::is_writable(config.perm),
        ),
        message_type,
        attributes,
        ..rmq_crds::TopicSpec::default()
    }
}

fn group_config(
    group: &SubscriptionGroup,
    live: SubscriptionGroupConfig,
) -> SubscriptionGroupConfig {
    let spec = &group.spec;
    SubscriptionGroupConfig {
        group_name: group.group_name().to_owned(),
        consume_enable: spec.consume,
        consume_broadcast_enable: spec.broadcast,
        consume_from_min_enable: spec.consume_from_min,
        consume_message_orderly: spec.ordered,
        consume_timeout_minute: spec.consume_timeout_minutes,
        retry_max_times: spec.retry.max_attempts,
        retry_queue_nums: spec.retry.queues,
        attributes: spec.attributes.clone(),
        ..live
    }
}

fn group_fields(config: &SubscriptionGroupConfig) -> Fields {
    let mut fields = Fields::new();
    let mut set = |name: &str, value: String| fields.insert(name.to_owned(), value);
    set("consume", config.consume_enable.to_string());
    set("broadcast", config.consume_broadcast_enable.to_string());
    set("consumeFromMin", config.consume_from_min_enable.to_string());
    set("ordered", config.consume_message_orderly.to_string());
    set(
        "consumeTimeoutMinutes",
        config.consume_timeout_minute.to_string(),
    );
    set("retry.maxAttempts", config.retry_max_times.to_string());
    set("retry.queues", config.retry_queue_nums.to_string());
    for (name, value) in &config.attributes {
        set(&format!("attributes.{name}"), value.clone());
    }
    fields
}

/// The manifest of a group as it is at a broker.
#[must_use]
pub fn group_manifest(config: &SubscriptionGroupConfig) -> SubscriptionGroupSpec {
    SubscriptionGroupSpec {
        group_name: Some(config.group_name.clone()),
        consume: config.consume_enable,
        broadcast: config.consume_broadcast_enable,
        consume_from_min: config.consume_from_min_enable,
        ordered: config.consume_message_orderly,
        consume_timeout_minutes: config.consume_timeout_minute,
        retry: SubscriptionGroupRetry {
            max_attempts: config.retry_max_times,
            queues: config.retry_queue_nums,
        },
        attributes: config.attributes.clone(),
        ..SubscriptionGroupSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(queues: &str, permission: &str) -> Fields {
        [("queues", queues), ("permission", permission)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn brokers_that_differ_are_told_apart() {
        let brokers = ["a", "b", "c"].map(str::to_owned);
        let live = [
            ("a".to_owned(), fields("4", "ReadWrite")),
            ("b".to_owned(), fields("8", "ReadOnly")),
            ("c".to_owned(), fields("4", "ReadWrite")),
        ];
        let change = compare("topic", "t", &fields("8", "ReadOnly"), &brokers, &live);
        assert_eq!(change.action, Action::Update);
        assert_eq!(change.brokers, ["a", "c"]);
        let queues = change
            .fields
            .iter()
            .find(|field| field.field == "queues")
            .unwrap();
        assert_eq!(queues.brokers, ["a", "c"]);
        let lost: Vec<&str> = change.losses().map(|field| field.field.as_str()).collect();
        assert_eq!(lost, ["permission"]);
    }

    #[test]
    fn two_objects_for_one_thing_are_rivals() {
        let topic = |object: &str, name: Option<&str>, managed: Option<&str>| {
            let spec = rmq_crds::TopicSpec {
                topic_name: name.map(str::to_owned),
                ..rmq_crds::TopicSpec::default()
            };
            let mut topic = Topic::new(object, spec);
            topic.metadata.annotations =
                managed.map(|value| BTreeMap::from([(MANAGED.to_owned(), value.to_owned())]));
            Settings::Topic(topic)
        };
        let group = |object: &str| {
            Settings::Group(SubscriptionGroup::new(
                object,
                SubscriptionGroupSpec::default(),
            ))
        };
        let found = |objects: &[(Settings, &'static str)]| {
            let objects = objects.iter().enumerate();
            let objects = objects.map(|(place, (object, cluster))| (object, *cluster, place));
            rivals(objects).map(|(object, one, other)| (object.name().to_owned(), one, other))
        };
        let orders = |object: &str| topic(object, Some("orders"), None);
        assert_eq!(found(&[(orders("a"), "c"), (group("orders"), "c")]), None);
        assert_eq!(found(&[(orders("a"), "c"), (orders("b"), "other")]), None);
        assert_eq!(
            found(&[
                (group("g"), "c"),
                (topic("orders", None, None), "c"),
                (orders("b"), "c")
            ]),
            Some(("orders".to_owned(), 1, 2))
        );
        assert_eq!(
            found(&[(group("g"), "c"), (group("g"), "c")]),
            Some(("g".to_owned(), 0, 1))
        );
        let let_go = topic("b", Some("orders"), Some("false"));
        assert_eq!(found(&[(orders("a"), "c"), (let_go, "c")]), None);
        let managed = topic("b", Some("orders"), Some("true"));
        assert!(found(&[(orders("a"), "c"), (managed, "c")]).is_some());
    }

    #[test]
    fn a_survey_plans_as_if_it_had_asked() {
        let config = TopicConfig::new("t", 4);
        let topic = Settings::Topic(Topic::new("t", topic_manifest(&config)));
        let tables = |fields: Option<Fields>| {
            let table = fields.map(|fields| ("t".to_owned(), fields));
            table.into_iter().collect::<BTreeMap<_, _>>()
        };
        let mut survey = Survey {
            masters: vec!["a".to_owned(), "b".to_owned()],
            live: vec![
                ("a".to_owned(), tables(Some(topic_fields(&config)))),
                ("b".to_owned(), tables(None)),
            ],
        };
        let change = survey.plan(&topic);
        assert_eq!(
            (change.action, change.brokers),
            (Action::Update, vec!["b".to_owned()])
        );
        survey.live[1].1 = tables(Some(topic_fields(&config)));
        assert_eq!(survey.plan(&topic).action, Action::Same);
        survey.live.clear();
        assert_eq!(survey.plan(&topic).action, Action::Create);
    }

    #[test]
    fn a_manifest_of_what_is_changes_nothing() {
        let mut config = TopicConfig::new("t", 4);
        config
            .attributes
            .insert(MESSAGE_TYPE.to_owned(), "FIFO".to_owned());
        config.attributes.insert("x".to_owned(), "y".to_owned());
        let topic = Topic::new("t", topic_manifest(&config));
        assert_eq!(topic_fields(&topic_config(&topic)), topic_fields(&config));
        let mut config = SubscriptionGroupConfig::new("g");
        config.retry_max_times = 3;
        let group = SubscriptionGroup::new("g", group_manifest(&config));
        let back = group_config(&group, SubscriptionGroupConfig::new("g"));
        assert_eq!(back, config);
    }
}
