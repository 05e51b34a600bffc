//! `rmq-ctl wait`: until something is as it should be. Reads only.

use std::time::Duration;

use clap::Args;
use rmq_client::ErrorKind;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::facts::{checks, clients, lag};
use crate::output::Output;

/// How long it waits when --timeout does not say.
const WAIT: Duration = Duration::from_secs(300);
/// Between looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Options of `wait`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. --timeout is the longest wait, 5 minutes by default. Exit code 5 when the condition is not met in time.

Conditions: exists and deleted (topic, group), lag=N and members=N (group), registered (broker), healthy (cluster).

Examples:
  rmq-ctl wait group/billing --for lag=0 --timeout 5m
  rmq-ctl wait topic/orders --for exists
  rmq-ctl wait cluster --for healthy --timeout 30s"
)]
pub(crate) struct Options {
    /// NOUN/NAME, such as group/billing; or cluster.
    #[arg(value_name = "NOUN/NAME")]
    what: String,

    /// The condition.
    #[arg(long = "for", value_name = "CONDITION")]
    condition: String,
}

enum Wanted<'o> {
    Topic { name: &'o str, exists: bool },
    Group { name: &'o str, exists: bool },
    Lag { group: &'o str, at_most: i64 },
    Members { group: &'o str, at_least: usize },
    Registered { broker: &'o str },
    Healthy,
}

fn wanted(options: &Options) -> Result<Wanted<'_>, Failure> {
    let (noun, name) = match options.what.split_once('/') {
        Some((noun, name)) => (noun, name),
        None => (options.what.as_str(), ""),
    };
    let (condition, value) = match options.condition.split_once('=') {
        Some((condition, value)) => (condition, Some(value)),
        None => (options.condition.as_str(), None),
    };
    let number = || value.and_then(|value| value.parse::<u32>().ok());
    let wanted = match (noun, condition) {
        ("topic" | "t", "exists") => Some(Wanted::Topic { name, exists: true }),
        ("topic" | "t", "deleted") => Some(Wanted::Topic {
            name,
            exists: false,
        }),
        ("group" | "g" | "sub", "exists") => Some(Wanted::Group { name, exists: true }),
        ("group" | "g" | "sub", "deleted") => Some(Wanted::Group {
            name,
            exists: false,
        }),
        ("group" | "g" | "sub", "lag") => number().map(|at_most| Wanted::Lag {
            group: name,
            at_most: i64::from(at_most),
        }),
        ("group" | "g" | "sub", "members") => number().map(|members| Wanted::Members {
            group: name,
            at_least: members as usize,
        }),
        ("broker" | "b", "registered") => Some(Wanted::Registered { broker: name }),
        ("cluster", "healthy") => Some(Wanted::Healthy),
        _ => None,
    };
    wanted
        .filter(|_| noun == "cluster" || !name.is_empty())
        .ok_or_else(|| {
            Failure::coded(
                &codes::INVALID,
                format!("\"{} --for {}\" is no condition", options.what, options.condition),
            )
            .because("known: topic/T and group/G --for exists|deleted, group/G --for lag=N|members=N, broker/B --for registered, cluster --for healthy")
        })
}

pub(crate) async fn run(
    options: &Options,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let wanted = wanted(options)?;
    let limit = cluster_options.timeout.unwrap_or(WAIT);
    let deadline = Instant::now() + limit;
    let mut options_of_requests = cluster_options.clone();
    options_of_requests.timeout = Some(limit.min(Duration::from_secs(5)));
    let mut last: Failure;
    let mut cluster = None;
    loop {
        if cluster.is_none() {
            match Cluster::connect_quietly(&options_of_requests).await {
                Ok(connected) => cluster = Some(connected),
                Err(failure) if failure.is_passing() => {
                    last = failure;
                    pause_or(deadline, &limit, options, last).await?;
                    continue;
                }
                Err(failure) => return Err(failure),
            }
        }
        let Some(connected) = &cluster else {
            continue;
        };
        match state(&wanted, connected).await {
            Ok(None) => {
                output.data(&format!("{} {}", options.what, options.condition));
                return Ok(());
            }
            Ok(Some(now)) => {
                last = Failure::coded(
                    &codes::TIMEOUT,
                    format!(
                        "waited {limit:?} for {} {}",
                        options.what, options.condition
                    ),
                )
                .fact("asked", &connected.name)
                .because(now);
            }
            Err(failure) if failure.is_passing() => last = failure,
            Err(failure) => return Err(failure),
        }
        pause_or(deadline, &limit, options, last).await?;
    }
}

/// Sleeps, or fails when the time is over.
async fn pause_or(
    deadline: Instant,
    limit: &Duration,
    options: &Options,
    last: Failure,
) -> Result<(), Failure> {
    if Instant::now() + PAUSE > deadline {
        return Err(last.fact(
            "waited",
            format!("{limit:?} for {} {}", options.what, options.condition),
        ));
    }
    sleep(PAUSE).await;
    Ok(())
}

/// `None` when it is as wanted, else how it is.
async fn state(wanted: &Wanted<'_>, cluster: &Cluster) -> Result<Option<String>, Failure> {
    let failed = |error| cluster.failed("cannot look", error);
    let admin = cluster.client.admin();
    match wanted {
        Wanted::Topic { name, exists } => {
            match (cluster.client.refresh_route(name).await, exists) {
                (Ok(_), true) => Ok(None),
                (Ok(_), false) => Ok(Some(format!("topic \"{name}\" is still there"))),
                (Err(error), exists) if error.kind() == ErrorKind::NoRoute => {
                    Ok(exists.then(|| format!("topic \"{name}\" has no route")))
                }
                (Err(error), _) => Err(failed(error)),
            }
        }
        Wanted::Group { name, exists } => {
            let known = admin.groups().await.map_err(failed)?;
            let is_there = known.iter().any(|known| known == name);
            Ok((is_there != *exists).then(|| {
                let state = if is_there {
                    "is still there"
                } else {
                    "is not there"
                };
                format!("group \"{name}\" {state}")
            }))
        }
        Wanted::Lag { group, at_most } => {
            let queues = lag::of_group(cluster, group).await.map_err(failed)?;
            let lag = lag::total(&queues);
            Ok((lag > *at_most).then(|| format!("group \"{group}\" is {lag} messages behind")))
        }
        Wanted::Members { group, at_least } => {
            let members = clients::of_group(cluster, group)
                .await
                .map_err(failed)?
                .len();
            Ok((members < *at_least)
                .then(|| format!("group \"{group}\" has {members} members online")))
        }
        Wanted::Registered { broker } => {
            let info = cluster.client.cluster_info().await.map_err(failed)?;
            let known = info.broker_addr_table.get(*broker);
            let is_there = known.is_some_and(|data| data.master().is_some());
            Ok((!is_there).then(|| format!("broker \"{broker}\" is not registered as a master")))
        }
        Wanted::Healthy => {
            let found = checks::cluster::checks(cluster).await;
            let bad = found.iter().find(|check| !check.is_fine);
            Ok(bad.map(|check| format!("{}: {}", check.subject, check.says)))
        }
    }
}
