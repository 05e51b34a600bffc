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
use crate::completion::{broker_completer, group_completer, topic_completer};
use crate::error::Failure;
use crate::output::Output;
use crate::plot;
use crate::render::{Listing, RenderOptions, Row, WatchOptions, schema_of};
use crate::when;

/// Groups that are asked for at once.
const AT_ONCE: usize = 16;
/// Points of a trend.
const POINTS: usize = 60;

/// Options of `lag`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Exit code 10 when --fail-above or --fail-age is passed. With -w the lag of before is drawn, and how fast it changes.

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

    /// Fail with exit code 10 when a group is more messages behind.
    #[arg(long, value_name = "MESSAGES")]
    fail_above: Option<i64>,

    /// Fail with exit code 10 when messages wait and the last one consumed is older.
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

/// How far a group is in one queue.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueLag {
    pub(crate) topic: String,
    pub(crate) broker: String,
    pub(crate) queue: i32,
    pub(crate) consumer_offset: i64,
    pub(crate) broker_offset: i64,
    /// Messages that wait, 0 or more.
    pub(crate) lag: i64,
    /// So far the group's offset is beyond the queue's end; 0 in a sound queue.
    pub(crate) beyond_end: i64,
    /// Store time of the last consumed message, Unix milliseconds; 0 when none.
    pub(crate) last_consumed_ms: i64,
    /// The member that holds the queue; with one group only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
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

impl QueueLag {
    /// What is wrong with the group's offset, for people.
    fn fault(&self) -> Option<String> {
        let end = self.broker_offset;
        (self.beyond_end > 0).then(|| {
            format!(
                "queue {}/{}/{} ends at {end}, and the group's offset there is {}: {} messages would be passed over",
                self.topic, self.broker, self.queue, self.consumer_offset, self.beyond_end
            )
        })
    }
}

/// Messages that wait in these queues. A queue whose offset is beyond its end counts as empty, and never against the others.
pub(crate) fn total<'q>(queues: impl IntoIterator<Item = &'q QueueLag>) -> i64 {
    let lags = queues.into_iter().map(|queue| queue.lag);
    lags.fold(0, i64::saturating_add)
}

/// Queues whose offset is beyond their end, one sentence each.
pub(crate) fn faults(queues: &[QueueLag]) -> Vec<String> {
    queues.iter().filter_map(QueueLag::fault).collect()
}

/// Messages of a topic in queues that were taken away, for people; `None` when there are none, or the brokers do not say.
pub(crate) async fn unreadable(cluster: &Cluster, topic: &str) -> Option<String> {
    let stats = cluster.client.admin().topic_stats(topic).await.ok()?;
    let messages = stats.unreadable_messages;
    (messages > 0).then(|| {
        format!(
            "topic \"{topic}\": {messages} messages lie in queues that are not read any more; with as many read queues as before they can be \
             consumed (rmq-ctl set topic {topic} read-queues=N)"
        )
    })
}

/// Messages from an offset to the end of a queue, and how far the offset is beyond that end: one of them is 0.
pub(crate) fn lag_and_beyond(offset: i64, end: i64) -> (i64, i64) {
    let lag = end.saturating_sub(offset.max(0));
    (lag.max(0), lag.saturating_neg().max(0))
}

/// How far a group is in each queue that it has an offset of.
pub(crate) async fn of_group(
    cluster: &Cluster,
    group: &str,
) -> Result<Vec<QueueLag>, rmq_client::Error> {
    let stats = cluster.client.admin().consume_stats(group, None).await?;
    let queues = stats.offset_table.0.into_iter().map(|(queue, at)| {
        let (lag, beyond_end) = lag_and_beyond(at.consumer_offset, at.broker_offset);
        QueueLag {
            topic: queue.topic,
            broker: queue.broker_name,
            queue: queue.queue_id,
            consumer_offset: at.consumer_offset,
            broker_offset: at.broker_offset,
            lag,
            beyond_end,
            last_consumed_ms: at.last_timestamp,
            owner: None,
        }
    });
    Ok(queues.collect())
}

/// Which member holds which queue, as the members say themselves.
async fn owners(
    cluster: &Cluster,
    group: &str,
) -> Result<BTreeMap<(String, String, i32), String>, rmq_client::Error> {
    let info = cluster.client.cluster_info().await?;
    let mut owners = BTreeMap::new();
    let brokers: Vec<String> = info.broker_addr_table.into_keys().collect();
    for member in super::members::of_group(cluster, group).await? {
        // A member that does not answer owns nothing that anybody could name.
        let running = super::members::running(cluster, &brokers, group, &member.id).await;
        for (queue, _) in running
            .map(|running| running.mq_table.0)
            .unwrap_or_default()
        {
            owners.insert(
                (queue.topic, queue.broker_name, queue.queue_id),
                member.id.clone(),
            );
        }
    }
    Ok(owners)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32, offset: i64, end: i64) -> QueueLag {
        let (lag, beyond_end) = lag_and_beyond(offset, end);
        QueueLag {
            topic: "t".to_owned(),
            broker: "b".to_owned(),
            queue: id,
            consumer_offset: offset,
            broker_offset: end,
            lag,
            beyond_end,
            last_consumed_ms: 0,
            owner: None,
        }
    }

    #[test]
    fn a_queue_beyond_its_end_hides_no_other_one() {
        let queues = [
            queue(0, 1_000, 50),
            queue(1, 10, 50),
            queue(2, 50, 50),
            queue(3, -1, 7),
        ];
        assert_eq!(total(&queues), 40 + 7);
        let faults = faults(&queues);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("t/b/0 ends at 50") && faults[0].contains("950"));
        for (offset, end) in [(i64::MAX, i64::MIN), (i64::MIN, i64::MAX), (0, i64::MIN)] {
            let (lag, beyond) = lag_and_beyond(offset, end);
            assert!(lag >= 0 && beyond >= 0 && (lag == 0 || beyond == 0));
        }
        assert_eq!(
            total(&[queue(0, 0, i64::MAX), queue(1, 0, i64::MAX)]),
            i64::MAX
        );
    }
}
