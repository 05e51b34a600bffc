//! The measurements: each sends or reads, and counts in a [`Run`].

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rmq_client::{Message, Position, PullOptions, Queue, TopicSpec};
use tokio::time::Instant;

use super::options::{CommonOptions, SendOptions};
use super::run::Run;
use crate::cluster::Cluster;
use crate::error::Failure;

/// Where the time of sending stands in a body.
const STAMP_BYTES: usize = 8;
/// A message that is on its way when the time is over may arrive this much later.
const LATE: Duration = Duration::from_secs(2);

async fn ready(topic: &str, cluster: &Cluster) -> Result<(), Failure> {
    let failed = |error| cluster.failed(format!("cannot create topic \"{topic}\""), error);
    match cluster.client.refresh_route(topic).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == rmq_client::ErrorKind::NoRoute => {
            let spec = TopicSpec::new(topic).queues(8);
            cluster
                .client
                .admin()
                .create_topic(&spec)
                .await
                .map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn body(size: u32) -> Vec<u8> {
    (0..size).map(|n| b'a' + (n % 26) as u8).collect()
}

/// Sends as fast as it goes, or at a rate.
pub(super) async fn produce(
    options: &SendOptions,
    mut run: Run,
    cluster: &Cluster,
) -> Result<Run, Failure> {
    let topic = &options.common.topic;
    ready(topic, cluster).await?;
    let in_flight = options.in_flight as usize;
    let producer = cluster
        .client
        .producer_builder()
        .group("rmq-ctl-bench")
        .max_in_flight(in_flight)
        .build();
    let body = bytes::Bytes::from(body(options.size));
    let mut answers = FuturesUnordered::new();
    let mut begun = 0_u64;
    run.began = Instant::now();
    loop {
        while !run.is_over(begun) && answers.len() < in_flight {
            if let Some(rate) = options.rate {
                let due = run.began + Duration::from_secs_f64(begun as f64 / f64::from(rate));
                if Instant::now() < due {
                    if answers.is_empty() {
                        tokio::time::sleep_until(due).await;
                    } else {
                        break;
                    }
                }
            }
            begun += 1;
            let at = Instant::now();
            match producer.submit(Message::new(topic, body.clone())).await {
                Ok(pending) => answers.push(async move { (pending.await, at) }),
                Err(error) => run.failed(error),
            }
        }
        match answers.next().await {
            Some((Ok(_), at)) => {
                run.took(at.elapsed())?;
                run.done(body.len());
            }
            Some((Err(error), _)) => run.failed(error),
            None if run.is_over(begun) => return Ok(run),
            None => {}
        }
        if run.errors > 1_000 && run.messages == 0 {
            return Ok(run);
        }
    }
}

/// Reads what the topic has when it begins.
pub(super) async fn consume(
    options: &CommonOptions,
    mut run: Run,
    cluster: &Cluster,
) -> Result<Run, Failure> {
    let topic = &options.topic;
    let route = match cluster.client.refresh_route(topic).await {
        Ok(route) => route,
        Err(error) => return Err(cluster.topic_failed(topic, error).await),
    };
    let failed = |error| cluster.failed(format!("cannot read \"{topic}\""), error);
    let admin = cluster.client.admin();
    let mut queues: Vec<(Queue, i64, i64)> = Vec::new();
    for queue in route.readable() {
        let from = admin.min_offset(queue).await.map_err(failed)?;
        let to = admin.max_offset(queue).await.map_err(failed)?;
        if from < to {
            queues.push((queue.clone(), from, to));
        }
    }
    run.began = Instant::now();
    let pull = PullOptions::default().max_messages(512);
    let mut pulls: FuturesUnordered<_> = queues
        .into_iter()
        .map(|(queue, from, to)| next(cluster, queue, from, to, &pull))
        .collect();
    while let Some((queue, to, pulled)) = pulls.next().await {
        let pulled = pulled.map_err(failed)?;
        for message in &pulled.messages {
            run.done(message.body().len());
        }
        if pulled.next_offset < to && !run.is_over(run.messages) {
            pulls.push(next(cluster, queue, pulled.next_offset, to, &pull));
        }
    }
    Ok(run)
}

async fn next(
    cluster: &Cluster,
    queue: Queue,
    from: i64,
    to: i64,
    pull: &PullOptions,
) -> (Queue, i64, Result<rmq_client::Pulled, rmq_client::Error>) {
    let pulled = cluster.client.pull(&queue, from, pull).await;
    (queue, to, pulled)
}

/// Sends at a rate and receives at the same time.
pub(super) async fn end_to_end(
    options: &SendOptions,
    mut run: Run,
    cluster: &Cluster,
) -> Result<Run, Failure> {
    let topic = &options.common.topic;
    ready(topic, cluster).await?;
    let failed = |error| cluster.failed(format!("cannot read \"{topic}\""), error);
    let mut reader = cluster
        .client
        .reader(topic)
        .from(Position::Latest)
        .follow(true)
        .open()
        .await
        .map_err(failed)?;
    let producer = cluster
        .client
        .producer_builder()
        .group("rmq-ctl-bench")
        .max_in_flight(options.in_flight as usize)
        .build();
    let base = Instant::now();
    let filling = body(options.size);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(
        1.0 / f64::from(options.rate.unwrap_or(1_000)),
    ));
    let mut answers = FuturesUnordered::new();
    let (mut begun, mut stored) = (0_u64, 0_u64);
    run.began = Instant::now();
    let mut end = run.deadline + LATE;
    let mut stop = run.stop.clone();
    let mut is_stopped = false;
    while !(run.is_over(begun) && answers.is_empty() && run.messages >= stored) {
        tokio::select! {
            _ = ticks.tick(), if !run.is_over(begun) => {
                begun += 1;
                let mut body = filling.clone();
                body[..STAMP_BYTES].copy_from_slice(&(base.elapsed().as_nanos() as u64).to_be_bytes());
                match producer.submit(Message::new(topic, body)).await {
                    Ok(pending) => answers.push(pending),
                    Err(error) => run.failed(error),
                }
            }
            Some(answer) = answers.next() => match answer {
                Ok(_) => stored += 1,
                Err(error) => run.failed(error),
            },
            message = reader.next() => {
                let Some(message) = message.map_err(failed)? else {
                    break;
                };
                let stamp = message.body().first_chunk::<STAMP_BYTES>();
                let sent = stamp.map(|stamp| Duration::from_nanos(u64::from_be_bytes(*stamp)));
                if let Some(time) = sent.and_then(|sent| base.elapsed().checked_sub(sent)) {
                    run.took(time)?;
                }
                run.done(message.body().len());
            }
            _ = stop.wait(), if !is_stopped => {
                is_stopped = true;
                end = Instant::now() + LATE;
            }
            () = tokio::time::sleep_until(end) => break,
        }
    }
    Ok(run)
}
