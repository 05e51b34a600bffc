//! `rmq-ctl create`: topics, groups and users. Changes state.

use clap::{Args, Subcommand};
use rmq_client::ErrorKind;
use rmq_client::protocol::bodies::{SubscriptionGroupConfig, TopicConfig};
use rmq_crds::{MessageType, Permission, SubscriptionGroup, Topic};
use rmq_plan::{Action, Resource};

use super::users::{self, CreateUser};
use crate::brokers::BrokerOptions;
use crate::changes::{carry_out_all, show};
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::kubernetes::OwnerOptions;
use crate::output::Output;
use crate::permissions;
use crate::write::WriteOptions;

/// Options of `create`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Create a topic at every broker.
    #[command(
        alias = "t",
        after_help = "Changes state.

Examples:
  rmq-ctl create topic orders --queues 8
  rmq-ctl create topic orders --perm r --if-not-exists
  rmq-ctl create topic orders --queues 16 --attributes +message.type=FIFO --or-change"
    )]
    Topic(TopicOptions),
    /// Create a consumer group at every broker.
    #[command(
        alias = "g",
        alias = "sub",
        after_help = "Changes state.

Examples:
  rmq-ctl create group billing
  rmq-ctl create group billing --max-attempts 3 --ordered"
    )]
    Group(GroupOptions),
    /// Create a user, who signs requests, at every broker.
    #[command(
        alias = "u",
        after_help = "Changes state. Without --password-file a password is made, and printed on stdout.

Examples:
  rmq-ctl create user checkout
  rmq-ctl create user root --super --if-not-exists"
    )]
    User(CreateUser),
}

#[derive(Debug, Args)]
struct TopicOptions {
    /// Its name.
    name: String,
    /// Queues at each broker.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    queues: u16,
    /// What is allowed: rw, r, w or - for nothing.
    #[arg(long, default_value = "rw", value_parser = permissions::parse)]
    perm: permissions::Perm,
    /// Queues that are read at each broker; --queues is the number that is written. Default: the same number.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    read_queues: Option<u16>,
    /// Attributes: +NAME=VALUE sets one, -NAME removes one.
    #[arg(long, value_name = "+NAME=VALUE,…", value_delimiter = ',', allow_hyphen_values = true, value_parser = parse_attribute)]
    attributes: Vec<(String, Option<String>)>,
    #[command(flatten)]
    brokers: BrokerOptions,
    #[command(flatten)]
    exists: ExistsOptions,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    owner: OwnerOptions,
}

#[derive(Debug, Args)]
struct GroupOptions {
    /// Its name.
    name: String,
    /// Attempts before a message goes to the dead letters.
    #[arg(long, default_value_t = 16)]
    max_attempts: u16,
    /// Its members consume in order.
    #[arg(long)]
    ordered: bool,
    /// No member may get every message.
    #[arg(long)]
    no_broadcast: bool,
    /// No member may consume.
    #[arg(long)]
    no_consume: bool,
    /// Members do not begin at the oldest message.
    #[arg(long)]
    no_from_min: bool,
    /// Queues of its retry topic at each broker.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    retry_queues: u16,
    /// Attributes: +NAME=VALUE sets one, -NAME removes one.
    #[arg(long, value_name = "+NAME=VALUE,…", value_delimiter = ',', allow_hyphen_values = true, value_parser = parse_attribute)]
    attributes: Vec<(String, Option<String>)>,
    #[command(flatten)]
    brokers: BrokerOptions,
    #[command(flatten)]
    exists: ExistsOptions,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    owner: OwnerOptions,
}

/// What to do with one that is there already.
#[derive(Debug, Clone, Copy, Args)]
struct ExistsOptions {
    /// Succeed without a change when it exists.
    #[arg(long)]
    if_not_exists: bool,
    /// Change it to exactly this when it exists. Asks before it takes something away from clients.
    #[arg(long, conflicts_with = "if_not_exists")]
    or_change: bool,
}

/// `+NAME=VALUE`, as `mqadmin` writes attributes, `NAME=VALUE`, or `-NAME`.
fn parse_attribute(text: &str) -> Result<(String, Option<String>), String> {
    if let Some(name) = text.strip_prefix('-')
        && !name.is_empty()
    {
        return Ok((name.to_owned(), None));
    }
    let attribute = text.strip_prefix('+').unwrap_or(text).split_once('=');
    let (name, value) = attribute
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("\"{text}\" is neither +NAME=VALUE nor -NAME"))?;
    Ok((name.to_owned(), Some(value.to_owned())))
}

fn change_attributes(attributes: &mut Attributes, changes: &[(String, Option<String>)]) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(attributes.insert(name.clone(), value.clone())),
            None => drop(attributes.remove(name)),
        }
    }
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    if let Noun::User(options) = &options.noun {
        if options.write.is_client_run() {
            let subject = options.subject();
            output.data(&format!("{subject} would be created (no server was asked)"));
            return Ok(());
        }
        return users::create_user(options, cluster, output).await;
    }
    let (noun, name, write, owner) = match &options.noun {
        Noun::Topic(options) => ("topic", &options.name, &options.write, options.owner),
        Noun::Group(options) => ("group", &options.name, &options.write, options.owner),
        // As above.
        Noun::User(_) => return Ok(()),
    };
    if write.is_client_run() {
        output.data(&format!(
            "{noun}/{name} would be created (no server was asked)"
        ));
        return Ok(());
    }
    let cluster = Cluster::connect(cluster, output).await?;
    owner
        .check(cluster.kubernetes.as_ref(), &[(noun, name)], output)
        .await?;
    match &options.noun {
        Noun::Topic(options) => topic(options, &cluster, output).await,
        Noun::Group(options) => group(options, &cluster, output).await,
        Noun::User(_) => Ok(()),
    }
}

/// What is made: what topics and groups have in common.
struct New<'n> {
    noun: &'static str,
    name: &'n str,
    attributes: &'n [(String, Option<String>)],
    brokers: &'n BrokerOptions,
    exists: ExistsOptions,
    write: &'n WriteOptions,
    cluster: &'n Cluster,
    output: &'n Output,
}

impl New<'_> {
    /// Looks whether it exists, asks `manifest` for the object with these attributes and brokers, and carries the change
    /// out. `live` has the settings at each broker.
    async fn make<C: HasAttributes>(
        &self,
        live: Result<Vec<(String, C)>, rmq_client::Error>,
        manifest: impl FnOnce(Attributes, Vec<String>) -> Result<Resource, Failure>,
    ) -> Result<(), Failure> {
        let (noun, name) = (self.noun, self.name);
        let live = match live {
            Ok(live) => live,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRoute) => {
                Vec::new()
            }
            Err(error) => {
                let what = format!("cannot create {noun} \"{name}\"");
                return Err(self.cluster.failed(what, error));
            }
        };
        if !live.is_empty() && !self.exists.or_change {
            let is_fine = self.exists.if_not_exists;
            return already(noun, name, is_fine, self.cluster, self.output);
        }
        let brokers = self.brokers.names(self.cluster).await?;
        // Attributes that no option names stay.
        let mut attributes = first_of(&live, &brokers)
            .map(|config| config.attributes().clone())
            .unwrap_or_default();
        change_attributes(&mut attributes, self.attributes);
        let manifest = manifest(attributes, brokers)?;
        let change = self.cluster.plan(&manifest).await?;
        if !live.is_empty() && change.action != Action::Same {
            show(&change, self.output);
        }
        carry_out_all(
            &[(&manifest, &change)],
            self.write,
            self.cluster,
            self.output,
        )
        .await
    }
}

type Attributes = std::collections::BTreeMap<String, String>;

/// Settings of a topic or a group.
trait HasAttributes {
    fn attributes(&self) -> &Attributes;
}

impl HasAttributes for TopicConfig {
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

impl HasAttributes for SubscriptionGroupConfig {
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

async fn topic(options: &TopicOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let name = &options.name;
    let read = options.read_queues.unwrap_or(options.queues);
    if read < options.queues {
        return Err(
            Failure::coded(&codes::INVALID, "fewer queues would be read than written")
                .because("messages of the queues that are left out could not be read"),
        );
    }
    let new = New {
        noun: "topic",
        name,
        attributes: &options.attributes,
        brokers: &options.brokers,
        exists: options.exists,
        write: &options.write,
        cluster,
        output,
    };
    let live = cluster.client.admin().topic_config(name).await;
    new.make(live, |attributes, brokers| {
        if let Some(kind) = attributes.get("message.type")
            && MessageType::of_attribute(kind).is_none()
        {
            return Err(Failure::coded(
                &codes::INVALID,
                format!("there is no message type \"{kind}\""),
            )
            .because("known types: normal, fifo, delay, transaction, mixed"));
        }
        let mut config = TopicConfig::new(name, i32::from(options.queues));
        config.attributes = attributes;
        config.read_queue_nums = i32::from(read);
        let mut spec = rmq_plan::topic_manifest(&config);
        spec.permission = Permission::of(options.perm.read, options.perm.write);
        spec.broker_groups = brokers;
        Ok(Resource::Topic(Topic::new(name, spec)))
    })
    .await
}

async fn group(options: &GroupOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let name = &options.name;
    let new = New {
        noun: "group",
        name,
        attributes: &options.attributes,
        brokers: &options.brokers,
        exists: options.exists,
        write: &options.write,
        cluster,
        output,
    };
    let live = cluster.client.admin().group_config(name).await;
    new.make(live, |attributes, brokers| {
        let mut config = SubscriptionGroupConfig::new(name);
        config.attributes = attributes;
        config.retry_max_times = i32::from(options.max_attempts);
        config.retry_queue_nums = i32::from(options.retry_queues);
        config.consume_enable = !options.no_consume;
        config.consume_broadcast_enable = !options.no_broadcast;
        config.consume_message_orderly = options.ordered;
        config.consume_from_min_enable &= !options.no_from_min;
        let mut spec = rmq_plan::group_manifest(&config);
        spec.broker_groups = brokers;
        Ok(Resource::Group(SubscriptionGroup::new(name, spec)))
    })
    .await
}

/// The settings at the first of these brokers, or of all.
fn first_of<'c, C>(live: &'c [(String, C)], brokers: &[String]) -> Option<&'c C> {
    let mut live = live.iter();
    let found = live.find(|(broker, _)| brokers.is_empty() || brokers.contains(broker));
    found.map(|(_, config)| config)
}

fn already(
    noun: &str,
    name: &str,
    is_fine: bool,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    if is_fine {
        output.data(&format!("{noun}/{name} unchanged"));
        return Ok(());
    }
    Err(
        Failure::new(Exit::Conflict, format!("{noun} \"{name}\" exists already"))
            .fact("asked", &cluster.name)
            .try_this(format!("rmq-ctl describe {noun} {name}"))
            .try_this("add --if-not-exists to leave it as it is"),
    )
}
