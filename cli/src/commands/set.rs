//! `rmq-ctl set`: settings of what is there. Changes state.

use clap::{Args, Subcommand};
use rmq_crds::{MessageType, Permission, Quota, QuotaLimit, SubscriptionGroup, Topic};
use rmq_plan::{Action, Resource};

use super::users::{self, SetAcl, SetUser};
use crate::brokers::BrokerOptions;
use crate::changes::{carry_out_all, show};
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::input;
use crate::kubernetes::OwnerOptions;
use crate::numbers;
use crate::output::Output;
use crate::permissions;
use crate::write::WriteOptions;

/// Options of `set`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Change a topic at all its brokers.
    #[command(
        alias = "t",
        after_help = "Changes state. Asks before it takes something away from clients.

Settings: queues, read-queues, write-queues, perm (rw, r, w, -), message-type (normal, fifo, delay, transaction, mixed),
quota.NAME (see `set quota`), and attributes.NAME; NAME= removes a quota or an attribute. order-conf=BROKER:QUEUES;… is the setting of old order topics at the name servers.

Examples:
  rmq-ctl set topic orders queues=16
  rmq-ctl set topic orders perm=r --yes"
    )]
    Topic(OwnedSettings),
    /// Change a consumer group at all its brokers.
    #[command(
        alias = "g",
        alias = "sub",
        after_help = "Changes state. Asks before it takes something away from clients.

Settings: consume, broadcast, from-min, ordered (true or false), max-attempts, retry-queues, timeout-minutes, quota.NAME (see
`set quota`), and attributes.NAME.

Examples:
  rmq-ctl set group billing max-attempts=3
  rmq-ctl set group billing consume=false --yes"
    )]
    Group(OwnedSettings),
    /// Limit what clients send to a topic, or what a group is given, a second at each broker.
    #[command(
        alias = "quotas",
        after_help = "Changes state. The name is topic/NAME or group/NAME.

Limits: messages and bytes of all clients together, client-messages and client-bytes of each client by itself. Bytes are 500, 64KiB or
2MiB. LIMIT= removes a limit. `rmq-ctl get quotas` shows them, and the metric rocketmq_quota_refusals what they refuse.

Examples:
  rmq-ctl set quota topic/orders messages=2000 bytes=4MiB
  rmq-ctl set quota topic/orders client-messages=200
  rmq-ctl set quota group/billing messages="
    )]
    Quota(OwnedSettings),
    /// Change settings of a broker while it runs.
    #[command(
        alias = "b",
        after_help = "Changes state. `rmq-ctl get config-keys --broker NAME` lists the settings; most settings change only in the file, with a restart.

Examples:
  rmq-ctl set broker broker-a brokerPermission=4 --dry-run
  rmq-ctl set broker broker-a brokerPermission=6 --yes"
    )]
    Broker(SettingsOptions),
    /// Change a user: the password, whether enabled, super or normal.
    #[command(
        alias = "u",
        after_help = "Changes state. Asks before it takes something away from clients.

Examples:
  rmq-ctl set user checkout --disable --yes
  rmq-ctl set user checkout --password-file new.password --yes"
    )]
    User(SetUser),
    /// Give a user rules, each in the place of the one of its resource.
    #[command(
        alias = "acls",
        after_help = "Changes state.

A user who is not super may nothing but what rules allow. A rule that denies counts before all that allow. Rules of --default are asked where no
other rule matches. `rmq-ctl can-i` tells what comes of the rules.

Examples:
  rmq-ctl set acl checkout --allow Pub=Topic:orders --allow Sub=Group:checkout
  rmq-ctl set acl auditor --allow Get,List=* --deny All=Topic:secret-* --from 10.1.0.0/16"
    )]
    Acl(SetAcl),
    /// Change values that the name servers keep.
    #[command(
        hide = true,
        after_help = "Changes state.

Examples:
  rmq-ctl set kv ORDER_TOPIC_CONFIG 'orders=broker-a:4'
  rmq-ctl set kv APP mode=fast --dry-run"
    )]
    Kv(SettingsOptions),
}

#[derive(Debug, Args)]
struct SettingsOptions {
    /// Its name.
    name: String,
    /// What to set; - is stdin, one setting a line.
    #[arg(required = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    write: WriteOptions,
}

/// The options of one object, read: names of settings with their new values.
#[derive(Debug)]
struct NewValues {
    name: String,
    values: Vec<(String, String)>,
    write: WriteOptions,
}

impl SettingsOptions {
    fn read(&self) -> Result<NewValues, Failure> {
        let given = input::values(&self.settings)?;
        let values = given.iter().map(|text| parse_setting(text));
        Ok(NewValues {
            name: self.name.clone(),
            values: values.collect::<Result<_, Failure>>()?,
            write: self.write.clone(),
        })
    }
}

#[derive(Debug, Args)]
struct OwnedSettings {
    #[command(flatten)]
    settings: SettingsOptions,
    #[command(flatten)]
    brokers: BrokerOptions,
    #[command(flatten)]
    owner: OwnerOptions,
}

fn parse_setting(text: &str) -> Result<(String, String), Failure> {
    text.split_once('=')
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| Failure::coded(&codes::INVALID, format!("\"{text}\" is not NAME=VALUE")))
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    match &options.noun {
        Noun::User(options) if options.write.is_client_run() => {
            let subject = options.subject();
            output.data(&format!("{subject} would be changed (no server was asked)"));
            return Ok(());
        }
        Noun::User(options) => return users::set_user(options, cluster, output).await,
        Noun::Acl(options) if options.write.is_client_run() => {
            let subject = options.subject();
            output.data(&format!("{subject} would be changed (no server was asked)"));
            return Ok(());
        }
        Noun::Acl(options) => return users::set_acl(options, cluster, output).await,
        _ => {}
    }
    let (noun, settings, owner) = match &options.noun {
        Noun::Topic(owned) => ("topic", &owned.settings, Some(owned.owner)),
        Noun::Group(owned) => ("group", &owned.settings, Some(owned.owner)),
        Noun::Quota(owned) => {
            let noun = quota_noun(&owned.settings.name)?;
            (noun, &owned.settings, Some(owned.owner))
        }
        Noun::Broker(settings) => ("broker", settings, None),
        Noun::Kv(settings) => ("kv", settings, None),
        // As above.
        Noun::User(_) | Noun::Acl(_) => return Ok(()),
    };
    let new = &match &options.noun {
        Noun::Quota(_) => quota_values(settings.read()?)?,
        _ => settings.read()?,
    };
    // Mistakes are found before any server is asked.
    match noun {
        "topic" => drop(topic(Topic::new("x", Default::default()), new)?),
        "group" => drop(group(SubscriptionGroup::new("x", Default::default()), new)?),
        _ => {}
    }
    if new.write.is_client_run() {
        for (name, value) in &new.values {
            output.data(&format!(
                "{noun}/{}: {name} would be {value} (no server was asked)",
                new.name
            ));
        }
        return Ok(());
    }
    let cluster = Cluster::connect(cluster, output).await?;
    if let Some(owner) = owner {
        let wanted = [(noun, new.name.as_str())];
        let kubernetes = cluster.kubernetes.as_ref();
        owner.check(kubernetes, &wanted, output).await?;
    }
    let all = BrokerOptions::default();
    let brokers = match &options.noun {
        Noun::Topic(owned) | Noun::Group(owned) | Noun::Quota(owned) => &owned.brokers,
        Noun::Broker(_) | Noun::Kv(_) | Noun::User(_) | Noun::Acl(_) => &all,
    };
    let brokers = brokers.names(&cluster).await?;
    match noun {
        "topic" => set_topic(new, &brokers, &cluster, output).await,
        "group" => set_group(new, &brokers, &cluster, output).await,
        "broker" => set_broker(new, &cluster, output).await,
        _ => set_kv(new, &cluster, output).await,
    }
}

/// The setting of old order topics: it lives at the name servers, not in the topic.
const ORDER_CONF: &str = "order-conf";
const ORDER_SPACE: &str = "ORDER_TOPIC_CONFIG";

/// Settings at the brokers that are meant.
fn at<C>(
    mut configs: Vec<(String, C)>,
    brokers: &[String],
    what: &str,
) -> Result<Vec<(String, C)>, Failure> {
    configs.retain(|(broker, _)| brokers.is_empty() || brokers.contains(broker));
    if configs.is_empty() {
        let nowhere = format!("{what} is not at {}", brokers.join(", "));
        return Err(Failure::coded(&codes::NOT_FOUND, nowhere));
    }
    Ok(configs)
}

async fn set_topic(
    new: &NewValues,
    brokers: &[String],
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let name = &new.name;
    let configs = match cluster.client.admin().topic_config(name).await {
        Ok(configs) => at(configs, brokers, &format!("topic \"{name}\""))?,
        Err(error) => return Err(cluster.topic_failed(name, error).await),
    };
    for (_, value) in new.values.iter().filter(|(key, _)| key == ORDER_CONF) {
        let what = format!("set the order setting of \"{name}\" to \"{value}\"");
        if new.write.dry_run.is_some() {
            output.data(&format!("dry run: {what}"));
            continue;
        }
        let admin = cluster.client.admin();
        let done = if value.is_empty() {
            admin.delete_kv(ORDER_SPACE, name).await
        } else {
            admin.put_kv(ORDER_SPACE, name, value).await
        };
        done.map_err(|error| cluster.failed(format!("cannot {what}"), error))?;
        output.data(&format!("topic/{name} order setting changed"));
    }
    if new.values.iter().all(|(key, _)| key == ORDER_CONF) {
        return Ok(());
    }
    let mut object = Topic::new(name, rmq_plan::topic_manifest(&configs[0].1));
    object.spec.broker_groups = configs.iter().map(|(broker, _)| broker.clone()).collect();
    change(
        Resource::Topic(readable(topic(object, new)?)?),
        new,
        cluster,
        output,
    )
    .await
}

fn topic(mut object: Topic, new: &NewValues) -> Result<Topic, Failure> {
    let spec = &mut object.spec;
    for (name, value) in &new.values {
        match name.as_str() {
            "queues" => {
                spec.queues = number(name, value, 1..=1024)?;
                spec.read_queues = None;
            }
            "write-queues" => {
                let read = spec.read_queues.unwrap_or(spec.queues);
                spec.queues = number(name, value, 1..=1024)?;
                spec.read_queues = Some(read.max(spec.queues));
            }
            "read-queues" => spec.read_queues = Some(number(name, value, 1..=1024)?),
            "perm" | "permission" => {
                let perm = permissions::parse(value)
                    .map_err(|why| invalid("perm cannot be used").because(why))?;
                spec.permission = Permission::of(perm.read, perm.write);
            }
            "message-type" => {
                spec.message_type = match MessageType::of_attribute(value) {
                    Some(kind) => Some(kind),
                    None if value.is_empty() => None,
                    None => {
                        return Err(invalid(format!("there is no message type \"{value}\""))
                            .because("known types: normal, fifo, delay, transaction, mixed"));
                    }
                };
            }
            ORDER_CONF => {}
            other if quota(&mut spec.quota, other, value)? => {}
            other => match other.strip_prefix("attributes.") {
                Some(attribute) if value.is_empty() => drop(spec.attributes.remove(attribute)),
                Some(attribute) => {
                    spec.attributes.insert(attribute.to_owned(), value.clone());
                }
                None => return Err(unknown("topic", other, TOPIC_SETTINGS)),
            },
        }
    }
    Ok(object)
}

/// What of `topic/NAME` or `group/NAME` has the quota.
fn quota_noun(name: &str) -> Result<&'static str, Failure> {
    match name.split_once('/') {
        Some(("topic" | "t", _)) => Ok("topic"),
        Some(("group" | "g", _)) => Ok("group"),
        _ => Err(invalid(format!("\"{name}\" has no quota"))
            .because("quotas are those of topics and groups")
            .try_this("topic/NAME or group/NAME")),
    }
}

/// The settings of the topic or the group.
fn quota_values(new: NewValues) -> Result<NewValues, Failure> {
    let name = new.name.split_once('/').map(|(_, name)| name.to_owned());
    let values = new.values.into_iter().map(|(limit, value)| {
        QUOTA_LIMITS
            .iter()
            .find(|(name, _)| *name == limit)
            .map(|(name, _)| (format!("quota.{name}"), value))
            .ok_or_else(|| {
                let names = QUOTA_LIMITS.map(|(name, _)| name);
                unknown("quota", &limit, &names)
            })
    });
    Ok(NewValues {
        name: name.unwrap_or(new.name),
        values: values.collect::<Result<_, Failure>>()?,
        write: new.write,
    })
}

const QUOTA_LIMITS: [(&str, QuotaLimit); 4] = [
    ("messages", QuotaLimit::Messages),
    ("bytes", QuotaLimit::Bytes),
    ("client-messages", QuotaLimit::ClientMessages),
    ("client-bytes", QuotaLimit::ClientBytes),
];

/// Sets a limit of a quota; whether `name` is one.
fn quota(quota: &mut Option<Quota>, name: &str, value: &str) -> Result<bool, Failure> {
    let named = QUOTA_LIMITS
        .iter()
        .find(|(limit, _)| name.strip_prefix("quota.") == Some(*limit));
    let Some((_, limit)) = named else {
        return Ok(false);
    };
    let wrong = |why: String| invalid(format!("{name}={value} cannot be used")).because(why);
    let wanted = match value {
        "" => None,
        value if name.ends_with("bytes") => Some(numbers::parse_bytes(value).map_err(wrong)?),
        value => Some(
            value
                .parse::<u64>()
                .map_err(|_| wrong("it is a number of messages a second".to_owned()))?,
        ),
    };
    let wanted = match wanted {
        None => None,
        Some(wanted) => {
            let fits = i64::try_from(wanted).ok();
            let fits = fits.filter(|wanted| (1..=QUOTA_MAX).contains(wanted));
            Some(fits.ok_or_else(|| wrong(format!("{name} lies between 1 and {QUOTA_MAX}")))?)
        }
    };
    *quota.get_or_insert_default().limit_mut(*limit) = wanted;
    if *quota == Some(Quota::default()) {
        *quota = None;
    }
    Ok(true)
}

/// The largest limit that brokers take.
const QUOTA_MAX: i64 = 1_000_000_000_000;

/// What is written can be read.
fn readable(object: Topic) -> Result<Topic, Failure> {
    let spec = &object.spec;
    if spec.read_queues.is_some_and(|read| read < spec.queues) {
        return Err(invalid("fewer queues would be read than written")
            .because("messages of the queues that are left out could not be read")
            .try_this("set write-queues to fewer first, and read-queues when they are empty"));
    }
    Ok(object)
}

const TOPIC_SETTINGS: &[&str] = &[
    "queues",
    "read-queues",
    "write-queues",
    "perm",
    "message-type",
    "quota.NAME",
    ORDER_CONF,
    "attributes.NAME",
];
const GROUP_SETTINGS: &[&str] = &[
    "consume",
    "broadcast",
    "from-min",
    "ordered",
    "max-attempts",
    "retry-queues",
    "timeout-minutes",
    "quota.NAME",
    "attributes.NAME",
];

fn invalid(what: impl Into<String>) -> Failure {
    Failure::coded(&codes::INVALID, what)
}

fn unknown(noun: &str, name: &str, known: &[&str]) -> Failure {
    let names: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
    let failure = invalid(format!("a {noun} has no setting \"{name}\""))
        .because(format!("known settings: {}", known.join(", ")));
    match crate::cluster::closest(name, &names) {
        Some(close) => failure.try_this(format!("{close}=…   (close match)")),
        None => failure,
    }
}

fn number(name: &str, value: &str, range: std::ops::RangeInclusive<i32>) -> Result<i32, Failure> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        invalid(format!("{name}={value} cannot be used")).because(format!(
            "{name} lies between {} and {}",
            range.start(),
            range.end()
        ))
    })
}

fn truth(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(invalid(format!("{name}={value} cannot be used"))
            .because(format!("{name} is true or false"))),
    }
}

async fn set_group(
    new: &NewValues,
    brokers: &[String],
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let name = &new.name;
    let failed = |error| cluster.failed(format!("cannot read group \"{name}\""), error);
    let configs = cluster
        .client
        .admin()
        .group_config(name)
        .await
        .map_err(failed)?;
    let configs = at(configs, brokers, &format!("group \"{name}\""))?;
    let mut object = SubscriptionGroup::new(name, rmq_plan::group_manifest(&configs[0].1));
    object.spec.broker_groups = configs.iter().map(|(broker, _)| broker.clone()).collect();
    change(Resource::Group(group(object, new)?), new, cluster, output).await
}

fn group(mut object: SubscriptionGroup, new: &NewValues) -> Result<SubscriptionGroup, Failure> {
    let spec = &mut object.spec;
    for (name, value) in &new.values {
        match name.as_str() {
            "consume" => spec.consume = truth(name, value)?,
            "broadcast" => spec.broadcast = truth(name, value)?,
            "from-min" => spec.consume_from_min = truth(name, value)?,
            "ordered" => spec.ordered = truth(name, value)?,
            "max-attempts" | "retries" => spec.retry.max_attempts = number(name, value, 0..=1000)?,
            "retry-queues" => spec.retry.queues = number(name, value, 1..=1024)?,
            "timeout-minutes" => spec.consume_timeout_minutes = number(name, value, 1..=1440)?,
            other if quota(&mut spec.quota, other, value)? => {}
            other => match other.strip_prefix("attributes.") {
                Some(attribute) if value.is_empty() => drop(spec.attributes.remove(attribute)),
                Some(attribute) => {
                    spec.attributes.insert(attribute.to_owned(), value.clone());
                }
                None => return Err(unknown("group", other, GROUP_SETTINGS)),
            },
        }
    }
    Ok(object)
}

async fn change(
    resource: Resource,
    new: &NewValues,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let change = cluster.plan(&resource).await?;
    if change.action != Action::Same {
        show(&change, output);
    }
    carry_out_all(&[(&resource, &change)], &new.write, cluster, output).await
}

async fn set_broker(new: &NewValues, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let name = &cluster.broker_name(&new.name).await?;
    let failed = |error| cluster.failed(format!("cannot set settings of broker \"{name}\""), error);
    let admin = cluster.client.admin();
    let has = admin.broker_config(name).await.map_err(failed)?;
    let known: Vec<String> = has.keys().cloned().collect();
    let mut changes = Vec::new();
    for (key, value) in &new.values {
        let Some(before) = has.get(key) else {
            let failure = invalid(format!("broker \"{name}\" has no setting \"{key}\""));
            return Err(match crate::cluster::closest(key, &known) {
                Some(close) => failure.try_this(format!("{close}=…   (close match)")),
                None => failure.try_this(format!("rmq-ctl get config-keys --broker {name}")),
            });
        };
        if before != value {
            changes.push(format!("{key} from \"{before}\" to \"{value}\""));
        }
    }
    if changes.is_empty() {
        output.data(&format!("broker/{name} unchanged"));
        return Ok(());
    }
    let what = format!("set broker \"{name}\": {}", changes.join(", "));
    if !new.write.agreed(&what, None, output)? {
        return Ok(());
    }
    let pairs: Vec<(&str, &str)> = new
        .values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    admin
        .update_broker_config(name, &pairs)
        .await
        .map_err(failed)?;
    output.data(&format!("broker/{name} configured"));
    Ok(())
}

async fn set_kv(new: &NewValues, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let space = &new.name;
    for (key, value) in &new.values {
        if new.write.dry_run.is_some() {
            output.data(&format!("dry run: set {space}/{key} to \"{value}\""));
            continue;
        }
        let put = cluster.client.admin().put_kv(space, key, value).await;
        put.map_err(|error| cluster.failed(format!("cannot set {space}/{key}"), error))?;
        output.data(&format!("kv/{space}/{key} set"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_quotas_are_read() {
        let mut found = None;
        for (name, value) in [("quota.messages", "70"), ("quota.client-bytes", "2MiB")] {
            assert!(quota(&mut found, name, value).is_ok_and(|is_one| is_one));
        }
        let expected = Quota {
            messages_per_second: Some(70),
            client_bytes_per_second: Some(2 << 20),
            ..Quota::default()
        };
        assert_eq!(found, Some(expected));
        for (name, value) in [
            ("quota.messages", "2MiB"),
            ("quota.messages", "0"),
            ("quota.bytes", "1TiB1"),
            ("quota.bytes", "1000GiB"),
        ] {
            assert!(quota(&mut found, name, value).is_err(), "{name}={value}");
        }
        assert!(quota(&mut found, "queues", "4").is_ok_and(|is_one| !is_one));
        for name in ["quota.messages", "quota.client-bytes"] {
            assert!(quota(&mut found, name, "").is_ok_and(|is_one| is_one));
        }
        assert_eq!(found, None, "nothing is left");
    }

    #[test]
    fn a_quota_is_that_of_a_topic_or_a_group() {
        assert_eq!(quota_noun("topic/orders").ok(), Some("topic"));
        assert_eq!(quota_noun("g/billing").ok(), Some("group"));
        assert!(quota_noun("orders").is_err() && quota_noun("broker/a").is_err());
    }
}
