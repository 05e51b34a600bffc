//! What must be true of a group whatever happened to it.

use std::time::Duration;

use rmq_client::Queue;
use rmq_e2e::crowd::read_all;

use crate::group::{Group, World};
use crate::load::{Ack, Load, Notes};
use crate::until;

/// Longest time until consumers have everything.
const CONSUMED_WITHIN: Duration = Duration::from_secs(60);

/// Nothing acknowledged is lost, nothing that was seen is gone, order is kept, no old master acknowledged, consumers got everything, and the
/// members have the same log.
pub(crate) fn of(world: &World, mut group: Group, mut load: Load) -> Result<(), String> {
    let words = |error: String, group: &Group, notes: &Notes| {
        format!("{error}\n{}\n{}", notes.words(), group.logs())
    };
    world.runtime.block_on(load.stop_sending())?;
    group.whole(world, &load)?;
    let master = group.master(&load)?;
    let ends = world.runtime.block_on(async {
        read_all(&load.notes.history, &load.client, &load.queues).await;
        ends(&load).await
    })?;
    consumed(&load, &ends).map_err(|error| words(error, &group, &load.notes))?;
    let notes = world.runtime.block_on(load.end())?;
    let report = notes.history.check();
    let mut wrong = notes.problems();
    if !report.violations.is_empty() {
        wrong.push(report.to_string());
    }
    wrong.extend(order_of_acks(&notes.acks()));
    if !wrong.is_empty() {
        return Err(words(wrong.join("\n"), &group, &notes));
    }
    group
        .compare_logs(master)
        .map_err(|error| words(error, &group, &notes))?;
    #[expect(clippy::print_stdout, reason = "this is the report of a test")]
    {
        println!("{}: {report}\n{}", group.name, notes.words());
    }
    Ok(())
}

/// First offset and the one after the last of each queue.
async fn ends(load: &Load) -> Result<Vec<(Queue, i64, i64)>, String> {
    let mut ends = Vec::new();
    for queue in &load.queues {
        let admin = load.client.admin();
        let bounds = async {
            Ok((
                admin.min_offset(queue).await?,
                admin.max_offset(queue).await?,
            ))
        };
        let (min, max) = bounds
            .await
            .map_err(|error: rmq_client::Error| error.to_string())?;
        ends.push((queue.clone(), min, max));
    }
    Ok(ends)
}

/// Every group got every message.
fn consumed(load: &Load, ends: &[(Queue, i64, i64)]) -> Result<(), String> {
    until(CONSUMED_WITHIN, || {
        for group in load.groups() {
            let seen = load.notes.seen_by(&group);
            for (queue, min, max) in ends {
                let mut all = *min..*max;
                let missing = all.find(|offset| !seen.contains_key(&(queue.id(), *offset)));
                if let Some(offset) = missing {
                    return Err(format!(
                        "group {group} never got offset {offset} of {queue}, which has {min} to {max}"
                    ));
                }
            }
        }
        Ok(())
    })
}

/// What was sent after another message was acknowledged lies behind it in the log, whoever acknowledged: a member that acknowledges after a
/// newer master has begun does so at a place that the log has given to somebody else.
fn order_of_acks(acks: &[Ack]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_begin: Vec<&Ack> = acks.iter().collect();
    by_begin.sort_by_key(|ack| ack.began);
    let mut by_end = acks.iter().peekable();
    let mut furthest: Option<&Ack> = None;
    for ack in by_begin {
        while let Some(ended) = by_end.next_if(|ended| ended.ended < ack.began) {
            if furthest.is_none_or(|furthest| furthest.position < ended.position) {
                furthest = Some(ended);
            }
        }
        if let Some(before) = furthest.filter(|before| before.position >= ack.position) {
            wrong.push(format!(
                "{} acknowledged at {} what was sent after {} had acknowledged at {}: an old master",
                ack.by, ack.position, before.by, before.position
            ));
        }
    }
    let mut places: Vec<&Ack> = acks.iter().collect();
    places.sort_by_key(|ack| ack.position);
    for pair in places.windows(2) {
        if pair[0].position == pair[1].position {
            wrong.push(format!(
                "{} and {} both acknowledged at {}",
                pair[0].by, pair[1].by, pair[0].position
            ));
        }
    }
    wrong.truncate(20);
    wrong
}
