//! What groups have done with messages, and why.

use futures_util::{StreamExt, TryStreamExt, stream};
use rmq_client::{MessageTrack, ReceivedMessage, TrackKind};
use schemars::JsonSchema;
use serde::Serialize;

use super::limits::AT_ONCE;
use crate::cluster::Cluster;
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};
use crate::when;

/// What a group has done with a message.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrackItem {
    group: String,
    /// consumed, filtered, not-consumed-yet, retrying, dead-letter, not-online, broadcasting, pull or unknown.
    state: &'static str,
    /// Whether a member has consumed the message with success.
    is_consumed: bool,
    /// From which facts the state follows.
    why: String,
    /// Members that are online at the message's broker.
    members: usize,
    /// The next offset that the group consumes of the message's queue.
    group_offset: Option<i64>,
    /// Messages that the group consumes before this one.
    behind: Option<i64>,
    /// The filter of the members.
    subscription: Option<String>,
    /// Whether the filter takes the message.
    is_wanted: Option<bool>,
    /// How often a member has given the message back.
    retries: i32,
    /// When the next attempt is due, by the broker's clock.
    retry_at: Option<String>,
    /// TOPIC/BROKER/QUEUE@OFFSET of the newest retry that was delivered, or of the dead letter.
    copy: Option<String>,
    /// Why a member has given the message up.
    reason: Option<String>,
}

impl TrackItem {
    fn of(track: MessageTrack, message: &ReceivedMessage, utc: bool) -> Self {
        let retry_ms = track.retry_at.map(when::unix_ms);
        Self {
            state: state(track.kind),
            is_consumed: track.kind == TrackKind::Consumed,
            why: why(&track, message.tag(), utc),
            members: track.members,
            group_offset: track.offset,
            behind: track.behind,
            subscription: track.subscription,
            is_wanted: track.is_wanted,
            retries: track.retries,
            retry_at: retry_ms.map(|at| when::show_time(at, true)),
            copy: track
                .copy
                .map(|(queue, offset)| format!("{queue}@{offset}")),
            reason: track.reason,
            group: track.group,
        }
    }

    /// Group, state, why.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![self.group.clone(), self.state.to_owned(), self.why.clone()]
    }
}

/// The columns of [`TrackItem::cells`].
pub(crate) const COLUMNS: [&str; 3] = ["GROUP", "STATE", "WHY"];

/// What each group has done with a message.
///
/// # Errors
/// When the broker does not say which groups there are.
pub(crate) async fn of(
    cluster: &Cluster,
    message: &ReceivedMessage,
) -> Result<Vec<TrackItem>, rmq_client::Error> {
    let tracks = cluster.client.admin().message_tracks(message).await?;
    let items = tracks.into_iter();
    let items = items.map(|track| TrackItem::of(track, message, cluster.utc));
    Ok(items.collect())
}

/// What a group has done with one of several messages.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MessageTrackItem<'m> {
    message_id: String,
    topic: &'m str,
    broker: &'m str,
    queue: i32,
    offset: i64,
    #[serde(flatten)]
    track: TrackItem,
}

/// A line for each message and group.
pub(crate) async fn listing(
    cluster: &Cluster,
    messages: &[ReceivedMessage],
) -> Result<Listing, Failure> {
    let failed = |error| cluster.failed("cannot find out which groups consumed the message", error);
    // Each look asks the groups of its message at once.
    let looks = messages.iter().map(|message| async move {
        let tracks = of(cluster, message).await?;
        Ok::<_, rmq_client::Error>((message, tracks))
    });
    let at_once = AT_ONCE.min(4);
    let found: Vec<_> = stream::iter(looks)
        .buffered(at_once)
        .try_collect()
        .await
        .map_err(failed)?;
    let rows = found.into_iter().flat_map(|(message, tracks)| {
        tracks.into_iter().map(move |track| {
            let id = message.message_id();
            let mut cells = vec![
                id.clone(),
                format!("{}@{}", message.queue(), message.queue_offset()),
            ];
            cells.extend(track.cells());
            let item = MessageTrackItem {
                message_id: id.clone(),
                topic: message.topic(),
                broker: message.queue().broker(),
                queue: message.queue().id(),
                offset: message.queue_offset(),
                track,
            };
            Row::new(id, cells, &item)
        })
    });
    Ok(Listing {
        kind: "MessageTrackList",
        schema: schema_of::<MessageTrackItem<'static>>,
        noun: "message",
        columns: &["ID", "PLACE", "GROUP", "STATE", "WHY"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: "no group consumes the topic, or has".to_owned(),
    })
}

fn state(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Consumed => "consumed",
        TrackKind::Filtered => "filtered",
        TrackKind::NotConsumedYet => "not-consumed-yet",
        TrackKind::Retrying => "retrying",
        TrackKind::DeadLetter => "dead-letter",
        TrackKind::NotOnline => "not-online",
        TrackKind::Broadcasting => "broadcasting",
        TrackKind::Pull => "pull",
        _ => "unknown",
    }
}

fn times(count: i32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

/// How far the group is in the message's queue.
fn progress(track: &MessageTrack) -> String {
    match (track.offset, track.behind) {
        (Some(offset), Some(0)) => format!("the group is at {offset}, and takes this message next"),
        (Some(offset), Some(1)) => format!("the group is at {offset}, one message before it"),
        (Some(offset), Some(behind)) => {
            format!("the group is at {offset}, {behind} messages before it")
        }
        (Some(offset), None) => format!("the group is at {offset}"),
        (None, _) => "the group has consumed nothing of this queue".to_owned(),
    }
}

/// How the members' filter leaves a message with this tag out.
fn leaves_out(track: &MessageTrack, tag: Option<&str>) -> String {
    let subscription = track.subscription.as_deref().unwrap_or_default();
    match tag {
        Some(tag) => format!("its filter \"{subscription}\" leaves tag \"{tag}\" out"),
        None => format!("its filter \"{subscription}\" leaves the message out"),
    }
}

fn why(track: &MessageTrack, tag: Option<&str>, utc: bool) -> String {
    let copy = track.copy.as_ref();
    let copy = copy.map_or_else(String::new, |(queue, offset)| format!("{queue}@{offset}"));
    match track.kind {
        TrackKind::Consumed if track.retries > 0 => {
            let times = times(track.retries);
            format!("given back {times}, then consumed: {copy}")
        }
        TrackKind::Consumed if track.members > 0 => progress(track),
        TrackKind::Consumed => {
            let progress = progress(track);
            format!("{progress}; no member is online now to say which filter it has")
        }
        TrackKind::Filtered => {
            format!("{}; {}", progress(track), leaves_out(track, tag))
        }
        TrackKind::NotConsumedYet if track.is_wanted == Some(false) => {
            format!("{}; {}", progress(track), leaves_out(track, tag))
        }
        TrackKind::NotConsumedYet if track.subscription.is_none() => {
            let progress = progress(track);
            format!("{progress}; no member that is online subscribes to the topic")
        }
        TrackKind::NotConsumedYet => progress(track),
        TrackKind::Retrying => {
            let times = times(track.retries);
            match track.retry_at {
                Some(at) => {
                    let at = when::show_time(when::unix_ms(at), utc);
                    format!(
                        "given back {times}; attempt {} is due {at}",
                        track.retries + 1
                    )
                }
                None if copy.is_empty() => format!("given back {times}; the next attempt waits"),
                None => format!("given back {times}; the next attempt waits for a member: {copy}"),
            }
        }
        TrackKind::DeadLetter => {
            let times = times(track.retries);
            let reason = track.reason.as_deref().map(|reason| format!("; {reason}"));
            format!(
                "given up after it was given back {times}: {copy}{}",
                reason.unwrap_or_default()
            )
        }
        TrackKind::NotOnline => format!("no member is online; {}", progress(track)),
        TrackKind::Broadcasting => format!(
            "each of the {} members that are online consumes it by itself",
            track.members
        ),
        TrackKind::Pull => "its members pull, and keep their offsets themselves".to_owned(),
        _ => track
            .problem
            .clone()
            .unwrap_or_else(|| "the broker's facts do not say".to_owned()),
    }
}
