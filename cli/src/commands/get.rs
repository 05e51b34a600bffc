//! `rmq-ctl get`: lists. Reads only.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::names::{broker_completer, group_completer, topic_completer};
use crate::error::Failure;
use crate::facts::{self, Asked, Names, Noun};
use crate::input;
use crate::numbers;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, WatchOptions};

/// Options of `get`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Reads only.

Examples:
  rmq-ctl get topics
  rmq-ctl get topics -o wide
  rmq-ctl get groups -o name
  rmq-ctl get queues -t orders
  rmq-ctl get clients -g billing
  rmq-ctl get clients --producers -t orders
  rmq-ctl get config-keys --broker broker-a
  rmq-ctl get transactions
  rmq-ctl get messages 7F00000100002A9F0000000000000064
  rmq-ctl get topics -w
  rmq-ctl get brokers -o jsonpath='{.items[*].address}'")]
pub(crate) struct Options {
    /// What to list.
    #[arg(value_parser = noun_parser())]
    noun: &'static Noun,

    /// Only these names; - is stdin, a name a line.
    names: Vec<String>,

    /// Topics and groups of the system too, retry topics and dead letters.
    #[arg(long)]
    all: bool,

    /// The topic, for queues and producers.
    #[arg(short, long, value_name = "TOPIC", required_if_eq("noun", "queues"), add = topic_completer())]
    topic: Option<String>,

    /// The group of the clients.
    #[arg(short, long, value_name = "GROUP", add = group_completer())]
    group: Option<String>,

    /// Clients that send, instead of members of a group.
    #[arg(long)]
    producers: bool,

    /// The broker, by name or by address: for config-keys, timers and transactions, and for clients that are connected to it.
    #[arg(long, value_name = "BROKER", required_if_eq("noun", "config-keys"), add = broker_completer())]
    broker: Option<String>,

    /// Sort by this column of the table.
    #[arg(long, value_name = "COLUMN")]
    sort_by: Option<String>,

    #[command(flatten)]
    watch: WatchOptions,

    #[command(flatten)]
    render: RenderOptions,
}

/// Takes the name of a noun, or one of its aliases.
fn noun_parser() -> impl TypedValueParser<Value = &'static Noun> {
    let names = facts::NOUNS.iter().map(|noun| {
        let name = PossibleValue::new(noun.name).help(noun.about);
        name.aliases(noun.aliases)
    });
    PossibleValuesParser::new(names).try_map(|text| {
        let mut nouns = facts::NOUNS.iter().copied();
        let noun = nouns.find(|noun| noun.is_called(&text));
        noun.ok_or_else(|| format!("{text} cannot be listed"))
    })
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let options = &Options {
        names: input::values(&options.names)?,
        ..options.clone()
    };
    let cluster = Cluster::connect(cluster, output).await?;
    let look = async || {
        let listing = listing(options, &cluster, output).await?;
        options.render.list(&listing, output)
    };
    options.watch.run(output, look).await
}

async fn listing(
    options: &Options,
    cluster: &Cluster,
    output: &Output,
) -> Result<Listing, Failure> {
    let mut listing = (options.noun.list)(Asked {
        cluster,
        output,
        names: &options.names,
        all: options.all,
        topic: options.topic.as_deref(),
        group: options.group.as_deref(),
        broker: options.broker.as_deref(),
        producers: options.producers,
    })
    .await?;
    if options.noun.names == Names::Chosen && !options.names.is_empty() {
        let known: Vec<String> = listing.rows.iter().map(|row| row.name.clone()).collect();
        if let Some(missing) = options.names.iter().find(|name| !known.contains(name)) {
            let mut failure = Failure::coded(
                &codes::NOT_FOUND,
                format!("there is no {} \"{missing}\"", listing.noun),
            )
            .fact("asked", &cluster.name);
            if let Some(close) = crate::cluster::closest(missing, &known) {
                failure = failure.try_this(format!("close match: {close}"));
            }
            return Err(failure);
        }
        listing.rows.retain(|row| options.names.contains(&row.name));
    }
    if let Some(column) = &options.sort_by {
        sort(&mut listing, column)?;
    }
    Ok(listing)
}

/// By a column: numbers by their value, the largest first; texts from A to Z.
fn sort(listing: &mut Listing, column: &str) -> Result<(), Failure> {
    let mut columns = listing.columns.iter().chain(listing.wide_columns);
    let Some(index) = columns.position(|name| name.eq_ignore_ascii_case(column)) else {
        let known: Vec<&str> = listing
            .columns
            .iter()
            .chain(listing.wide_columns)
            .copied()
            .collect();
        return Err(
            Failure::coded(&codes::INVALID, format!("there is no column \"{column}\""))
                .because(format!("known columns: {}", known.join(", "))),
        );
    };
    let number = |row: &Row| row.cells.get(index).and_then(|cell| numbers::value(cell));
    listing
        .rows
        .sort_by(|one, other| match (number(one), number(other)) {
            (Some(one), Some(other)) => other.total_cmp(&one),
            _ => one.cells.get(index).cmp(&other.cells.get(index)),
        });
    Ok(())
}
