//! `rmq-ctl lag`: how far groups are behind. Reads only.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use rmq_client::protocol::names::is_system_group;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::names::{broker_completer, group_completer, topic_completer};
use crate::error::Failure;
use crate::facts::lag::{QueueLag, faults, of_group, owners, total, unreadable};
use crate::facts::limits::AT_ONCE;
use crate::output::Output;
use crate::plot;
use crate::render::{Listing, RenderOptions, Row, WatchOptions, schema_of};
use crate::when;

/// Points of a trend.
const POINTS: usize = 60;

/// Options of `lag`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Exit code 10 when the limit of --fail-above or --fail-age is exceeded. -w also draws the lag over time and says how fast it changes.

Examples:
  rmq-ctl lag
  rmq-ctl lag billing
  rmq-ctl lag billing -w --plot
  rmq-ctl lag billing --fail-above 1000
  rmq-ctl lag billing --fail-age 5m"
)]
pub(crate) struct Options {
    /// The group, queue by queue. Default: all groups, the worst first.
    #[arg(add = group_completer())]
    group: Option<String>,

    /// Fail with exit code 10 when a group is more than this many messages behind.
    #[arg(long, value_name = "MESSAGES")]
    fail_above: Option<i64>,

    /// Fail with exit code 10 when messages wait and the last consumed message is older.
    #[arg(long, value_name = "TIME", value_parser = when::parse_length)]
    fail_age: Option<Duration>,

    /// Only queues of this topic.
    #[arg(short, long, value_name = "NAME", add = topic_completer())]
    topic: Option<String>,

    /// Only queues of this broker, by name or by address.
    #[arg(long, value_name = "NAME", add = broker_completer())]
    broker: Option<String>,

    /// Draw the whole lag over time; goes with -w.
    #[arg(long, requires = "watch")]
    plot: bool,

    #[command(flatten)]
    watch: WatchOptions,

    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GroupLag {
    group: String,
    lag: i64,
    /// Store time of the message that was consumed longest ago in a queue with lag, Unix milliseconds; 0 when none.
    oldest_consumed_ms: i64,
    topics: Vec<String>,
}

/// The lag of before, by row.
#[derive(Default)]
struct Trends {
    points: BTreeMap<String, Vec<(Instant, i64)>>,
}

impl Trends {
    fn add(&mut self, name: &str, lag: i64) {
        let points = self.points.entry(name.to_owned()).or_default();
        points.push((Instant::now(), lag));
        if points.len() > POINTS {
            points.remove(0);
        }
    }

    fn lags(&self, name: &str) -> Vec<f64> {
        let points = self.points.get(name).map_or(&[][..], Vec::as_slice);
        points.iter().map(|(_, lag)| *lag as f64).collect()
    }

    /// Messages a second that the lag changes by.
    fn rate(&self, name: &str) -> Option<f64> {
        let points = self.points.get(name)?;
        let ((from, before), (to, now)) = (points.first()?, points.last()?);
        let seconds = to.duration_since(*from).as_secs_f64();
        (seconds > 0.0).then(|| (now - before) as f64 / seconds)
    }

    /// Trend, rate and time until nothing is left.
    fn cells(&self, name: &str, lag: i64) -> Vec<String> {
        let rate = self.rate(name);
        let eta = match rate {
            Some(rate) if rate < -0.01 && lag > 0 => {
                let seconds = (lag as f64 / -rate) as i64;
                when::show_age(1, 1 + seconds * 1_000)
            }
            _ => "-".to_owned(),
        };
        vec![
            plot::sparkline(&self.lags(name)),
            rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:+.1}/s")),
            eta,
        ]
    }
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let broker = match &options.broker {
        Some(text) => Some(cluster.broker_name(text).await?),
        None => None,
    };
    let broker = broker.as_deref();
    let trends = RefCell::new(Trends::default());
    let look = async || {
        let seen = match &options.group {
            Some(group) => one(&cluster, group, options, broker, &trends).await?,
            None => all(&cluster, options, broker, &trends).await?,
        };
        options.render.list(&seen.listing, output)?;
        for fault in &seen.faults {
            output.say(&format!("warning: {fault}"));
        }
        if options.plot {
            let width = output.width().unwrap_or(80);
            output.block(&plot::chart("lag", &trends.borrow().lags(WHOLE), width));
        }
        check(options, seen.worst.as_ref(), &cluster)
    };
    options.watch.run(output, look).await
}

/// Name of the trend of everything that is shown.
const WHOLE: &str = "";

struct Seen {
    listing: Listing,
    worst: Option<Worst>,
    /// Offsets that cannot be right.
    faults: Vec<String>,
}

struct Worst {
    group: String,
    lag: i64,
    oldest_consumed_ms: i64,
}

fn check(options: &Options, worst: Option<&Worst>, cluster: &Cluster) -> Result<(), Failure> {
    let Some(worst) = worst else {
        return Ok(());
    };
    if let Some(limit) = options.fail_above
        && worst.lag > limit
    {
        let what = format!(
            "group \"{}\" is {} messages behind, more than {limit}",
            worst.group, worst.lag
        );
        return Err(Failure::coded(&codes::CHECK, what).fact("asked", &cluster.name));
    }
    if let Some(limit) = options.fail_age
        && worst.lag > 0
        && worst.oldest_consumed_ms > 0
    {
        let age = when::now_ms() - worst.oldest_consumed_ms;
        if u128::try_from(age).is_ok_and(|age| age > limit.as_millis()) {
            let what = format!(
                "group \"{}\" is behind, and what it consumed last was stored {} ago, more than {limit:?}",
                worst.group,
                when::show_age(worst.oldest_consumed_ms, when::now_ms())
            );
            return Err(Failure::coded(&codes::CHECK, what).fact("asked", &cluster.name));
        }
    }
    Ok(())
}

fn only_wanted(queues: &mut Vec<QueueLag>, options: &Options, broker: Option<&str>) {
    queues.retain(|queue| {
        let topic = options.topic.as_ref();
        topic.is_none_or(|topic| queue.topic == *topic)
            && broker.is_none_or(|broker| queue.broker == broker)
    });
}

fn faults_with_advice(group: &str, queues: &[QueueLag]) -> Vec<String> {
    let advice = |fault| {
        format!("group \"{group}\": {fault} (rmq-ctl offsets reset {group} -t TOPIC --to latest)")
    };
    faults(queues).into_iter().map(advice).collect()
}

/// The last consumption in the queue that waits longest.
fn oldest(queues: &[QueueLag]) -> i64 {
    let waiting = queues
        .iter()
        .filter(|queue| queue.lag > 0 && queue.last_consumed_ms > 0);
    waiting
        .map(|queue| queue.last_consumed_ms)
        .min()
        .unwrap_or(0)
}

async fn one(
    cluster: &Cluster,
    group: &str,
    options: &Options,
    broker: Option<&str>,
    trends: &RefCell<Trends>,
) -> Result<Seen, Failure> {
    let failed = |error| cluster.failed(format!("cannot read the lag of \"{group}\""), error);
    let mut queues = of_group(cluster, group).await.map_err(failed)?;
    if queues.is_empty() {
        let known = cluster.client.admin().groups().await.map_err(failed)?;
        if !known.iter().any(|name| name == group) {
            let hint = |close: &str| format!("rmq-ctl lag {close}   (close match)");
            return Err(cluster.no_group(group, &known, hint));
        }
    }
    only_wanted(&mut queues, options, broker);
    let owners = owners(cluster, group).await.map_err(failed)?;
    let total = total(&queues);
    let mut faults = faults_with_advice(group, &queues);
    let topics: BTreeSet<String> = queues.iter().map(|queue| queue.topic.clone()).collect();
    for topic in topics {
        faults.extend(unreadable(cluster, &topic).await);
    }
    let mut trends = trends.borrow_mut();
    trends.add(WHOLE, total);
    let worst = Worst {
        group: group.to_owned(),
        lag: total,
        oldest_consumed_ms: oldest(&queues),
    };
    let now = when::now_ms();
    let mut rows = Vec::with_capacity(queues.len());
    for mut queue in queues {
        let name = format!("{}/{}/{}", queue.topic, queue.broker, queue.queue);
        let key = (queue.topic.clone(), queue.broker.clone(), queue.queue);
        queue.owner = owners.get(&key).cloned();
        let mut cells = vec![
            queue.topic.clone(),
            queue.broker.clone(),
            queue.queue.to_string(),
            queue.consumer_offset.to_string(),
            queue.broker_offset.to_string(),
            queue.lag.to_string(),
            when::show_age(queue.last_consumed_ms, now),
            queue.owner.clone().unwrap_or_else(|| "-".to_owned()),
        ];
        if options.watch.every().is_some() {
            trends.add(&name, queue.lag);
            cells.splice(6..6, trends.cells(&name, queue.lag));
        }
        rows.push(Row::new(name, cells, &queue));
    }
    let listing = Listing {
        kind: "QueueLagList",
        schema: schema_of::<QueueLag>,
        noun: "queue",
        columns: if options.watch.every().is_some() {
            &[
                "TOPIC", "BROKER", "QUEUE", "CONSUMED", "END", "LAG", "TREND", "CHANGE", "ETA",
                "LAST", "OWNER",
            ]
        } else {
            &[
                "TOPIC", "BROKER", "QUEUE", "CONSUMED", "END", "LAG", "LAST", "OWNER",
            ]
        },
        wide_columns: &[],
        rows,
        empty: format!("group \"{group}\" has consumed nothing yet"),
    };
    Ok(Seen {
        listing,
        worst: Some(worst),
        faults,
    })
}

async fn all(
    cluster: &Cluster,
    options: &Options,
    broker: Option<&str>,
    trends: &RefCell<Trends>,
) -> Result<Seen, Failure> {
    let failed = |error| cluster.failed("cannot read the lag of the groups", error);
    let names = cluster.client.admin().groups().await.map_err(failed)?;
    let wanted = names.into_iter().filter(|group| !is_system_group(group));
    let mut groups: Vec<(GroupLag, Vec<String>)> = stream::iter(wanted)
        .map(|group| async move {
            let mut queues = of_group(cluster, &group).await?;
            only_wanted(&mut queues, options, broker);
            let mut topics: Vec<String> = queues.iter().map(|queue| queue.topic.clone()).collect();
            topics.dedup();
            let faults = faults_with_advice(&group, &queues);
            let lag = GroupLag {
                group,
                lag: total(&queues),
                oldest_consumed_ms: oldest(&queues),
                topics,
            };
            Ok((lag, faults))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .map_err(failed)?;
    groups
        .sort_by(|(one, _), (other, _)| other.lag.cmp(&one.lag).then(one.group.cmp(&other.group)));
    let (groups, faults): (Vec<GroupLag>, Vec<Vec<String>>) = groups.into_iter().unzip();
    let faults = faults.concat();
    let worst = groups.first().map(|group| Worst {
        group: group.group.clone(),
        lag: group.lag,
        oldest_consumed_ms: group.oldest_consumed_ms,
    });
    let mut trends = trends.borrow_mut();
    trends.add(WHOLE, groups.iter().map(|group| group.lag).sum());
    let watched = options.watch.every().is_some();
    let rows = groups.iter().map(|group| {
        let mut cells = vec![group.group.clone(), group.lag.to_string()];
        if watched {
            trends.add(&group.group, group.lag);
            cells.extend(trends.cells(&group.group, group.lag));
        }
        cells.push(group.topics.join(","));
        Row::new(group.group.clone(), cells, group)
    });
    let rows = rows.collect();
    let listing = Listing {
        kind: "GroupLagList",
        schema: schema_of::<GroupLag>,
        noun: "group",
        columns: if watched {
            &["GROUP", "LAG", "TREND", "CHANGE", "ETA", "TOPICS"]
        } else {
            &["GROUP", "LAG", "TOPICS"]
        },
        wide_columns: &[],
        rows,
        empty: "there are no groups".to_owned(),
    };
    Ok(Seen {
        listing,
        worst,
        faults,
    })
}
