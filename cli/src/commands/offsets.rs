//! `rmq-ctl offsets`: moves a group's offsets. Changes state, but only with --yes; otherwise it shows what would change.

use clap::{Args, Subcommand};
use rmq_client::Queue;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::facts::clients::{self, ClientItem};
use crate::input;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};
use crate::when;
use crate::write::WriteOptions;

/// Options of `offsets`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Continue from another place in a topic.
    #[command(
        after_help = "Changes state with --yes, otherwise shows what would change. Online members are told.

Examples:
  rmq-ctl offsets reset billing -t orders --to first
  rmq-ctl offsets reset billing -t orders --to 2h --yes
  rmq-ctl offsets reset billing -t orders --shift -100
  rmq-ctl offsets reset billing -t orders --to 100 --queue broker-a/0 --yes"
    )]
    Reset(ResetOptions),
    /// Skip all messages that are there now.
    #[command(
        after_help = "Changes state with --yes, otherwise shows what would change.

Examples:
  rmq-ctl offsets skip billing -t orders
  rmq-ctl offsets skip billing -t orders --yes"
    )]
    Skip(Common),
    /// Let a group continue where another group is.
    #[command(
        after_help = "Changes state with --yes, otherwise shows what would change.

Examples:
  rmq-ctl offsets copy billing billing-2 -t orders
  rmq-ctl offsets copy billing billing-2 -t orders --yes"
    )]
    Copy(CopyOptions),
    /// Set single queues to offsets.
    #[command(
        after_help = "Changes state with --yes, otherwise shows what would change. The group's members must be offline.

Examples:
  rmq-ctl offsets set billing -t orders broker-a/0=100 broker-a/1=90
  rmq-ctl offsets set billing -t orders broker-a/0=100 --yes"
    )]
    Set(SetOptions),
}

#[derive(Debug, Args)]
struct Common {
    /// The group.
    group: String,
    /// The topic.
    #[arg(short, long)]
    topic: String,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Debug, Args)]
struct ResetOptions {
    #[command(flatten)]
    common: Common,
    /// first, last (behind the newest message), a time (10m, "today 09:00", RFC 3339), or an offset.
    #[arg(long, value_name = "PLACE", value_parser = parse_target, required_unless_present = "shift")]
    to: Option<Target>,
    /// Move by this many messages in each queue: +100, -100. Queues that the group has no offset for stay as they are.
    #[arg(long, value_name = "±N", value_parser = parse_shift, allow_hyphen_values = true, conflicts_with = "to")]
    shift: Option<Target>,
    /// Only this queue: BROKER/QUEUE.
    #[arg(long, value_name = "BROKER/QUEUE")]
    queue: Option<String>,
}

#[derive(Debug, Args)]
struct SetOptions {
    #[command(flatten)]
    common: Common,
    /// Queues and their offsets; - is stdin, one a line.
    #[arg(required = true, value_name = "BROKER/QUEUE=OFFSET")]
    moves: Vec<String>,
}

fn parse_move(text: &str) -> Result<(String, i64), Failure> {
    text.split_once('=')
        .and_then(|(queue, offset)| Some((queue.to_owned(), offset.parse().ok()?)))
        .filter(|(_, offset)| *offset >= 0)
        .ok_or_else(|| {
            let what = format!("\"{text}\" is not BROKER/QUEUE=OFFSET");
            Failure::coded(&codes::INVALID, what).try_this("broker-a/0=100")
        })
}

#[derive(Debug, Args)]
struct CopyOptions {
    /// The group to copy from.
    from: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    First,
    Last,
    Time(i64),
    Offset(i64),
    Shift(i64),
}

fn parse_shift(text: &str) -> Result<Target, String> {
    let shift = text.parse().ok().filter(|shift| *shift != 0);
    shift
        .map(Target::Shift)
        .ok_or_else(|| "it is a number such as +100 or -100".to_owned())
}

fn parse_target(text: &str) -> Result<Target, String> {
    match text {
        "first" | "earliest" => Ok(Target::First),
        "last" | "latest" => Ok(Target::Last),
        // Longer numbers are Unix milliseconds.
        _ if text.len() < 12 && text.bytes().all(|byte| byte.is_ascii_digit()) => text
            .parse()
            .map(Target::Offset)
            .map_err(|error| error.to_string()),
        _ => when::parse_time(text).map(Target::Time),
    }
}

/// What becomes of one queue.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Move {
    broker: String,
    queue: i32,
    from: Option<i64>,
    to: i64,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    match &options.what {
        What::Reset(options) => {
            let only = match &options.queue {
                Some(queue) => Some(with_name(queue, &cluster).await?),
                None => None,
            };
            // The command line has one of them.
            let to = options.to.or(options.shift).unwrap_or(Target::Last);
            reset(&options.common, to, only.as_deref(), &cluster, output).await
        }
        What::Skip(options) => reset(options, Target::Last, None, &cluster, output).await,
        What::Copy(options) => copy(options, &cluster, output).await,
        What::Set(options) => set(options, &cluster, output).await,
    }
}

/// BROKER/QUEUE with the broker's name where its address is given.
async fn with_name(queue: &str, cluster: &Cluster) -> Result<String, Failure> {
    match queue.rsplit_once('/') {
        Some((broker, id)) => Ok(format!("{}/{id}", cluster.broker_name(broker).await?)),
        None => Ok(queue.to_owned()),
    }
}

async fn queues(topic: &str, only: Option<&str>, cluster: &Cluster) -> Result<Vec<Queue>, Failure> {
    let route = match cluster.client.refresh_route(topic).await {
        Ok(route) => route,
        Err(error) => return Err(cluster.topic_failed(topic, error).await),
    };
    let is_wanted = |queue: &&Queue| {
        only.is_none_or(|only| only == format!("{}/{}", queue.broker(), queue.id()))
    };
    let queues: Vec<Queue> = route.readable().iter().filter(is_wanted).cloned().collect();
    if queues.is_empty() {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("topic \"{topic}\" has no queue \"{}\"", only.unwrap_or("")),
        )
        .fact("asked", &cluster.name)
        .try_this(format!("rmq-ctl get queues -t {topic}")));
    }
    Ok(queues)
}

async fn reset(
    options: &Common,
    to: Target,
    only: Option<&str>,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let failed = |error| {
        let what = format!("cannot move the offsets of group \"{}\"", options.group);
        cluster.failed(what, error)
    };
    let queues = queues(&options.topic, only, cluster).await?;
    let admin = cluster.client.admin();
    let mut moves = Vec::new();
    for queue in &queues {
        let from = admin
            .committed_offset(&options.group, queue)
            .await
            .map_err(failed)?;
        let (min, max) = (
            admin.min_offset(queue).await.map_err(failed)?,
            admin.max_offset(queue).await.map_err(failed)?,
        );
        let to = match to {
            Target::First => min,
            Target::Last => max,
            Target::Time(at) => admin
                .offset_at(queue, when::system_time(at))
                .await
                .map_err(failed)?,
            Target::Shift(by) => match from {
                Some(from) => from.saturating_add(by).clamp(min, max.max(min)),
                None => continue,
            },
            Target::Offset(offset) if (min..=max).contains(&offset) => offset,
            Target::Offset(offset) => {
                return Err(Failure::coded(
                    &codes::INVALID,
                    format!("{queue} has no offset {offset}"),
                )
                .because(format!("its messages are from {min} to {max}")));
            }
        };
        moves.push((queue.clone(), from, to));
    }
    let by_time = match to {
        Target::First => Some(Some(0)),
        Target::Last => Some(None),
        Target::Time(at) => Some(Some(at)),
        Target::Offset(_) | Target::Shift(_) => None,
    };
    if moves.is_empty() {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!(
                "group \"{}\" has no offset in \"{}\" to shift from",
                options.group, options.topic
            ),
        )
        .fact("asked", &cluster.name)
        .try_this("--to says a place"));
    }
    let Some(online) = preview(options, &moves, cluster, output, failed).await? else {
        return Ok(());
    };
    match by_time {
        _ if online.is_empty() => commit(options, &moves, cluster).await?,
        // The brokers tell the members, which would otherwise commit their own offsets over these.
        Some(to_ms) if only.is_none() => {
            let set = admin
                .reset_offsets(&options.group, &options.topic, to_ms.map(when::system_time))
                .await;
            set.map(drop).map_err(failed)?;
        }
        _ => return Err(members_online(options, &online)),
    }
    output.say("done");
    Ok(())
}

async fn set(options: &SetOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let common = &options.common;
    let failed = |error| {
        let what = format!("cannot set the offsets of group \"{}\"", common.group);
        cluster.failed(what, error)
    };
    let admin = cluster.client.admin();
    let given = input::values(&options.moves)?;
    let given: Vec<(String, i64)> = given
        .iter()
        .map(|text| parse_move(text))
        .collect::<Result<_, Failure>>()?;
    let mut moves = Vec::new();
    for (queue, to) in &given {
        let queue = with_name(queue, cluster).await?;
        for queue in queues(&common.topic, Some(&queue), cluster).await? {
            let max = admin.max_offset(&queue).await.map_err(failed)?;
            if *to > max {
                return Err(
                    Failure::coded(&codes::INVALID, format!("{queue} has no offset {to}"))
                        .because(format!("its next message gets {max}")),
                );
            }
            let from = admin
                .committed_offset(&common.group, &queue)
                .await
                .map_err(failed)?;
            moves.push((queue, from, *to));
        }
    }
    let Some(online) = preview(common, &moves, cluster, output, failed).await? else {
        return Ok(());
    };
    if !online.is_empty() {
        return Err(members_online(common, &online));
    }
    commit(common, &moves, cluster).await?;
    output.say("done");
    Ok(())
}

async fn copy(options: &CopyOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let common = &options.common;
    let failed = |error| {
        let what = format!("cannot copy the offsets of group \"{}\"", options.from);
        cluster.failed(what, error)
    };
    let admin = cluster.client.admin();
    let mut moves = Vec::new();
    for queue in queues(&common.topic, None, cluster).await? {
        let theirs = admin
            .committed_offset(&options.from, &queue)
            .await
            .map_err(failed)?;
        let Some(to) = theirs else {
            continue;
        };
        let max = admin.max_offset(&queue).await.map_err(failed)?;
        if to > max {
            return Err(Failure::coded(
                &codes::INVALID,
                format!("group \"{}\" is beyond the end of {queue}", options.from),
            )
            .because(format!("its offset is {to}, and the queue ends at {max}"))
            .try_this(format!(
                "rmq-ctl offsets set {} -t {} {}/{}={max} --yes",
                options.from,
                common.topic,
                queue.broker(),
                queue.id()
            )));
        }
        let from = admin
            .committed_offset(&common.group, &queue)
            .await
            .map_err(failed)?;
        moves.push((queue, from, to));
    }
    if moves.is_empty() {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!(
                "group \"{}\" has no offsets in \"{}\"",
                options.from, common.topic
            ),
        )
        .fact("asked", &cluster.name));
    }
    let Some(online) = preview(common, &moves, cluster, output, failed).await? else {
        return Ok(());
    };
    if !online.is_empty() {
        return Err(members_online(common, &online));
    }
    commit(common, &moves, cluster).await?;
    output.say("done");
    Ok(())
}

/// Shows what would change. Answers with the online members when the change is to be carried out, `None` when it is not.
async fn preview(
    options: &Common,
    moves: &[(Queue, Option<i64>, i64)],
    cluster: &Cluster,
    output: &Output,
    failed: impl Fn(rmq_client::Error) -> Failure,
) -> Result<Option<Vec<ClientItem>>, Failure> {
    let online = clients::of_group(cluster, &options.group)
        .await
        .map_err(failed)?;
    show(options, moves, output)?;
    if !options.write.goes_on() {
        output.say("nothing was changed; add --yes to do it");
        return Ok(None);
    }
    Ok(Some(online))
}

fn members_online(options: &Common, online: &[ClientItem]) -> Failure {
    let names: Vec<&str> = online.iter().map(|member| member.id.as_str()).collect();
    Failure::new(
        Exit::Conflict,
        format!("group \"{}\" has members online", options.group),
    )
    .because(format!(
        "they would commit their own offsets over these: {}",
        names.join(", ")
    ))
    .try_this("stop them first, or reset all queues to first, last or a time: then they are told")
}

async fn commit(
    options: &Common,
    moves: &[(Queue, Option<i64>, i64)],
    cluster: &Cluster,
) -> Result<(), Failure> {
    for (queue, _, to) in moves {
        cluster
            .client
            .admin()
            .commit_offset(&options.group, queue, *to)
            .await
            .map_err(|error| cluster.failed(format!("cannot set the offset of {queue}"), error))?;
    }
    Ok(())
}

fn show(
    options: &Common,
    moves: &[(Queue, Option<i64>, i64)],
    output: &Output,
) -> Result<(), Failure> {
    let rows = moves.iter().map(|(queue, from, to)| {
        let item = Move {
            broker: queue.broker().to_owned(),
            queue: queue.id(),
            from: *from,
            to: *to,
        };
        let change = to.saturating_sub(from.unwrap_or(0));
        let cells = vec![
            item.broker.clone(),
            item.queue.to_string(),
            from.map_or_else(|| "-".to_owned(), |from| from.to_string()),
            item.to.to_string(),
            format!("{change:+}"),
        ];
        Row::new(format!("{}/{}", queue.broker(), queue.id()), cells, &item)
    });
    let listing = Listing {
        kind: "OffsetMoveList",
        schema: schema_of::<Move>,
        noun: "queue",
        columns: &["BROKER", "QUEUE", "BEFORE", "AFTER", "CHANGE"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: "there is nothing to move".to_owned(),
    };
    options.render.list(&listing, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_people_write_them() {
        assert_eq!(parse_target("earliest"), Ok(Target::First));
        assert_eq!(parse_target("100"), Ok(Target::Offset(100)));
        assert_eq!(
            parse_target("1700000000000"),
            Ok(Target::Time(1_700_000_000_000))
        );
        assert_eq!(parse_target("first"), parse_target("earliest"));
        assert_eq!(parse_target("last"), Ok(Target::Last));
        assert!(parse_target("somewhere").is_err());
        assert_eq!(parse_shift("+5"), Ok(Target::Shift(5)));
        assert_eq!(parse_shift("-5"), Ok(Target::Shift(-5)));
        assert!(parse_shift("0").is_err() && parse_shift("1h").is_err());
    }
}
