//! Changes of topics and groups: shown, agreed to, carried out. `apply`, `create` and `set` share it.

use rmq_plan::{Action, Change, Field, Resource, Value};

use crate::cluster::Cluster;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::facts::{lag, queues};
use crate::output::Output;
use crate::render::table;
use crate::write::WriteOptions;

/// Shows what clients lose, asks, and carries the changes out one by one. It continues after a failure and names the failed objects.
pub(crate) async fn carry_out_all(
    objects: &[(&Resource, &Change)],
    write: &WriteOptions,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let mut losses: Vec<String> = objects
        .iter()
        .flat_map(|(_, change)| {
            let named = move |loss| format!("{}/{}: {loss}", change.kind, change.name);
            change.losses().map(named)
        })
        .collect();
    for (_, change) in objects {
        losses.extend(unreachable(change, cluster).await?);
    }
    if write.dry_run.is_some() {
        for (_, change) in objects {
            output.data(&would(change));
        }
        for loss in &losses {
            output.say(&format!("takes something away from clients: {loss}"));
        }
        return Ok(());
    }
    if !losses.is_empty() {
        output.heading("This takes something away from clients:");
        for loss in &losses {
            output.say(&format!("  {loss}"));
        }
        write.agreed("continue", None, output)?;
    }
    let mut failed = Vec::new();
    for (object, change) in objects {
        match cluster.carry_out(object, change).await {
            Ok(()) => output.data(&format!(
                "{}/{} {}",
                change.kind,
                change.name,
                match change.action {
                    Action::Create => "created",
                    Action::Update => "configured",
                    Action::Same => "unchanged",
                }
            )),
            Err(failure) => {
                output.error(&failure);
                failed.push((format!("{}/{}", change.kind, change.name), failure));
            }
        }
    }
    let done = objects.len() - failed.len();
    match failed.pop() {
        None => Ok(()),
        Some((_, failure)) if done == 0 && failed.is_empty() => Err(failure),
        Some((last, _)) => {
            let mut names: Vec<String> = failed.into_iter().map(|(name, _)| name).collect();
            names.push(last);
            let exit = if done == 0 {
                Exit::Failed
            } else {
                Exit::Partly
            };
            Err(Failure::new(
                exit,
                format!("{done} done, {} failed: {}", names.len(), names.join(", ")),
            ))
        }
    }
}

/// Messages in queues that the topic no longer reads: no group can consume them until the queues are read again.
async fn unreachable(change: &Change, cluster: &Cluster) -> Result<Option<String>, Failure> {
    let fewer: Vec<_> = change
        .losses()
        .filter(|loss| loss.field == Field::ReadQueues)
        .collect();
    if fewer.is_empty() {
        return Ok(None);
    }
    let topic = &change.name;
    let failed = |error| cluster.failed(format!("cannot look at topic \"{topic}\""), error);
    let admin = cluster.client.admin();
    let is_left_out = |broker: &str, queue: i32| {
        fewer.iter().any(|loss| {
            let is_beyond = matches!(loss.to, Some(Value::Number(read)) if queue >= read);
            is_beyond && loss.brokers.iter().any(|name| name == broker)
        })
    };
    let stats = admin.topic_stats(topic).await.map_err(failed)?;
    let left = stats.offset_table.0.iter().filter(|(queue, at)| {
        is_left_out(&queue.broker_name, queue.queue_id) && queues::messages(at) > 0
    });
    let left: Vec<i64> = left.map(|(_, at)| queues::messages(at)).collect();
    if left.is_empty() {
        return Ok(None);
    }
    let mut says = format!(
        "topic/{topic}: {} messages in {} queues can no longer be read",
        left.iter().sum::<i64>(),
        left.len()
    );
    for group in admin.groups_of_topic(topic).await.map_err(failed)? {
        let behind = lag::of_group(cluster, &group).await.map_err(failed)?;
        let waiting = lag::total(
            behind
                .iter()
                .filter(|queue| queue.topic == *topic && is_left_out(&queue.broker, queue.queue)),
        );
        if waiting > 0 {
            says.push_str(&format!(
                "; group \"{group}\" has not consumed {waiting} of them"
            ));
        }
    }
    Ok(Some(says))
}

fn would(change: &Change) -> String {
    let head = format!("{}/{}", change.kind, change.name);
    match change.action {
        Action::Same => format!("{head} unchanged"),
        Action::Create => format!("{head} would be created"),
        Action::Update => {
            let fields = change.fields.iter().map(ToString::to_string);
            let fields: Vec<String> = fields.collect();
            format!("{head} would be changed: {}", fields.join(", "))
        }
    }
}

/// A table of changes for people, on stderr.
pub(crate) fn show(change: &Change, output: &Output) {
    let rows: Vec<Vec<String>> = change
        .fields
        .iter()
        .map(|field| {
            vec![
                field.field.to_string(),
                field.from_text(),
                field.to_text(),
                field.brokers.join(","),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let text = table(
            &["SETTING", "BEFORE", "AFTER", "BROKERS"],
            rows,
            false,
            None,
        );
        output.say_block(&text);
    }
}
