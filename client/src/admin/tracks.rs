//! What groups have done with a message, from what its broker knows: offsets, members, subscriptions, and the copies that wait for another attempt or
//! are dead letters (apache/rocketmq `tools/.../admin/DefaultMQAdminExtImpl.messageTrackDetail`, `api/TrackType`, which know of no copies).

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use rmq_protocol::ResponseCode;
use rmq_protocol::bodies::{
    ConsumeType, ConsumerConnection, EXPRESSION_SQL92, EXPRESSION_TAG, MessageModel,
    SubscriptionData,
};
use rmq_protocol::message::property;
use rmq_protocol::names::{
    DLQ_PREFIX, SCHEDULE_TOPIC, dlq_topic, group_of_retry_topic, retry_topic,
};
use rmq_protocol::requests::GetConsumerConnectionList;

use super::Admin;
use super::messages::Query;
use crate::consumer::Filter;
use crate::error::{Error, ErrorKind};
use crate::pull::PullOptions;
use crate::queue::Queue;
use crate::received::ReceivedMessage;
use crate::remote::Remote;

/// Groups that are looked into at once.
const AT_ONCE_MAX: usize = 8;
/// Copies of a message that one look-up brings, at most: the newest count.
const COPIES_MAX: u16 = 64;
/// The setting of brokers that says how long each delay level waits.
const DELAY_LEVELS: &str = "messageDelayLevel";

/// What a group has done with a message (apache/rocketmq `TrackType`, and [`Retrying`](Self::Retrying) and [`DeadLetter`](Self::DeadLetter)).
///
/// ```no_run
/// # async fn example(client: rmq_client::Client, message: rmq_client::ReceivedMessage) -> Result<(), rmq_client::Error> {
/// use rmq_client::TrackKind;
///
/// let tracks = client.admin().message_tracks(&message).await?;
/// let dead = tracks.iter().filter(|track| track.kind == TrackKind::DeadLetter);
/// println!("{} groups have given it up", dead.count());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrackKind {
    /// The group's offset has passed it, or that of its retry topic has passed its last retry.
    Consumed,
    /// The group's offset has passed it, and the group's filter leaves it out: no member has seen it.
    Filtered,
    /// The group has not come to it.
    NotConsumedYet,
    /// A member has given it back, and it comes again.
    Retrying,
    /// The group has given it up.
    DeadLetter,
    /// The group has not come to it, and no member is online.
    NotOnline,
    /// Each member consumes it by itself, and brokers know no offsets of members.
    Broadcasting,
    /// Members pull, and the broker knows no offset of the group.
    Pull,
    /// It cannot be found out now; [`MessageTrack::problem`] says why.
    Unknown,
}

/// What a group has done with a message, and the facts from which that follows.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client, message: rmq_client::ReceivedMessage) -> Result<(), rmq_client::Error> {
/// let track = client.admin().message_track(&message, "billing").await?;
/// println!("{}: {:?}, {:?} messages before it", track.group, track.kind, track.behind);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageTrack {
    /// The group.
    pub group: String,
    /// What it has done.
    pub kind: TrackKind,
    /// Members that are online at the message's broker.
    pub members: usize,
    /// The next offset that the group consumes of the message's queue; `None`: the broker knows none.
    pub offset: Option<i64>,
    /// Messages of the queue that the group consumes before this one; `None`: it has passed it, or the broker knows no offset.
    pub behind: Option<i64>,
    /// The filter with which members that are online subscribe to the topic: `*`, tags, or SQL92.
    pub subscription: Option<String>,
    /// Whether this filter takes the message; `None`: no member is subscribed, or it cannot be found out.
    pub is_wanted: Option<bool>,
    /// How often a member has given it back.
    pub retries: i32,
    /// When the next attempt is due, by the broker's clock; `None` where none waits for its time.
    pub retry_at: Option<SystemTime>,
    /// Where its newest copy is that was delivered to the group: a retry that waits for a member or was consumed, or the dead letter. `None` while a retry
    /// waits for its time.
    pub copy: Option<(Queue, i64)>,
    /// Why a member has given it up, where it said so.
    pub reason: Option<String>,
    /// Of [`TrackKind::Unknown`]: what failed.
    pub problem: Option<String>,
}

impl MessageTrack {
    fn new(group: &str, kind: TrackKind) -> Self {
        Self {
            group: group.to_owned(),
            kind,
            members: 0,
            offset: None,
            behind: None,
            subscription: None,
            is_wanted: None,
            retries: 0,
            retry_at: None,
            copy: None,
            reason: None,
            problem: None,
        }
    }
}

impl Admin {
    /// What each group has done with a message that was [found](Self::messages_by_unique_id): groups that consume its topic or have, sorted by name.
    /// A retry or a dead letter has one group. A group that cannot be looked into is [`TrackKind::Unknown`].
    ///
    /// Where a member could not reach the message's broker it has sent a copy to another one: the brokers of the group's retry topic are asked for it,
    /// unless the message's broker has a retry that waits, or the dead letter.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// let admin = client.admin();
    /// for message in admin.messages_by_unique_id("orders", "AC1100010001…").await? {
    ///     for track in admin.message_tracks(&message).await? {
    ///         println!("{}: {:?}", track.group, track.kind);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the topic has no route, or a broker does not say which groups consume it.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn message_tracks(
        &self,
        message: &ReceivedMessage,
    ) -> Result<Vec<MessageTrack>, Error> {
        let topic = message.topic();
        let groups = match group_of(topic) {
            Some(group) => vec![group.to_owned()],
            None => self.groups_of_topic(topic).await?,
        };
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        // Of all groups.
        let parked = self.copies(message, SCHEDULE_TOPIC).await?;
        let parked = &parked;
        let tracks = groups.into_iter().map(|group| async move {
            match self.facts(message, &group, parked).await {
                Ok(facts) => facts.track(message, &group),
                Err(error) => MessageTrack {
                    problem: Some(error.to_string()),
                    ..MessageTrack::new(&group, TrackKind::Unknown)
                },
            }
        });
        Ok(stream::iter(tracks).buffered(AT_ONCE_MAX).collect().await)
    }

    /// What one group has done with a message, as [`message_tracks`](Self::message_tracks) says it; also of a group that has nothing to do with its topic.
    ///
    /// # Errors
    /// When the topic has no route, or its broker does not answer or refuses.
    ///
    /// # Cancel safety
    /// Only reads: a dropped call leaves nothing behind.
    pub async fn message_track(
        &self,
        message: &ReceivedMessage,
        group: &str,
    ) -> Result<MessageTrack, Error> {
        let parked = self.copies(message, SCHEDULE_TOPIC).await?;
        let facts = self.facts(message, group, &parked).await?;
        Ok(facts.track(message, group))
    }

    async fn facts(
        &self,
        message: &ReceivedMessage,
        group: &str,
        parked: &[ReceivedMessage],
    ) -> Result<Facts, Error> {
        if message.topic().starts_with(DLQ_PREFIX) {
            return Ok(Facts {
                dead: Some(message.clone()),
                ..Facts::default()
            });
        }
        let connection = self.members_at(message.queue(), group).await?;
        let offset = self.committed_offset(group, message.queue()).await?;
        let subscription = connection
            .as_ref()
            .and_then(|members| members.subscription_table.get(message.topic()));
        let is_wanted = match subscription {
            Some(subscription) => self.is_wanted(message, subscription).await,
            None => None,
        };
        let mut copies = self.copies_at_home(message, group, parked).await?;
        let mut is_passed = self.is_passed(&copies, group).await?;
        // Copies follow one another: what has not ended is the last.
        if copies.dead.is_none() && copies.waiting.is_none() && is_passed != Some(false) {
            let elsewhere = self.copies_elsewhere(message, group).await?;
            if elsewhere.retries() > copies.retries() {
                copies = elsewhere;
                is_passed = self.is_passed(&copies, group).await?;
            }
        }
        let Copies {
            waiting,
            delivered,
            dead,
        } = copies;
        let parked = match waiting {
            Some(parked) => Some(Parked {
                retries: parked.reconsume_times(),
                due: self.due(&parked).await,
            }),
            None => None,
        };
        Ok(Facts {
            connection,
            offset,
            is_wanted,
            parked,
            delivered: delivered.zip(is_passed),
            dead,
        })
    }

    /// The members of a group at the broker of a queue; `None` when none is online.
    async fn members_at(
        &self,
        queue: &Queue,
        group: &str,
    ) -> Result<Option<ConsumerConnection>, Error> {
        let request = GetConsumerConnectionList {
            consumer_group: group.into(),
        };
        let remote = self.client.reader_of(queue).await?;
        match remote.call(&request, b"").await {
            Ok(answer) => Ok(Some(ConsumerConnection::from_json(answer.body())?)),
            Err(error) if error.broker_code() == Some(ResponseCode::ConsumerNotOnline.as_i32()) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a subscription takes a message. Of SQL92 the broker is asked; `None` when it does not say.
    async fn is_wanted(
        &self,
        message: &ReceivedMessage,
        subscription: &SubscriptionData,
    ) -> Option<bool> {
        if subscription.class_filter_mode {
            return None;
        }
        let expression = subscription.sub_string.as_str();
        match subscription.expression_type.as_str() {
            EXPRESSION_TAG => Some(takes_tag(expression, message.tag())),
            EXPRESSION_SQL92 => {
                let offset = message.queue_offset();
                let pull = PullOptions::default()
                    .max_messages(1)
                    .filter(Filter::sql(expression));
                let pulled = self
                    .client
                    .pull(message.queue(), offset, &pull)
                    .await
                    .ok()?;
                let first = pulled.messages.first();
                Some(first.is_some_and(|first| first.queue_offset() == offset))
            }
            _ => None,
        }
    }

    /// Copies of a message in another topic of its broker.
    async fn copies(
        &self,
        message: &ReceivedMessage,
        topic: &str,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let queue = message.queue();
        let remote = self.client.reader_of(queue).await?;
        self.copies_at(&remote, queue.broker(), message, topic)
            .await
    }

    /// Copies of a message in another topic of a broker.
    async fn copies_at(
        &self,
        remote: &Remote,
        broker: &str,
        message: &ReceivedMessage,
        topic: &str,
    ) -> Result<Vec<ReceivedMessage>, Error> {
        let Some(id) = message.property(property::UNIQ_KEY) else {
            return Ok(Vec::new());
        };
        let query = Query::unique(topic, id, COPIES_MAX);
        let found = self.query_at(remote, broker, &query).await?;
        Ok(copies_of(message, found))
    }

    /// The copies of a group at the message's broker; `parked`: those that wait there, of all groups.
    async fn copies_at_home(
        &self,
        message: &ReceivedMessage,
        group: &str,
        parked: &[ReceivedMessage],
    ) -> Result<Copies, Error> {
        let retry = retry_topic(group);
        let delivered = self.copies(message, &retry).await?;
        let mut copies = Copies::new(&retry, parked.to_vec(), delivered);
        copies.dead = newest(self.copies(message, &dlq_topic(group)).await?);
        Ok(copies)
    }

    /// The newest copies of a group at other brokers, to which members have sent them by themselves.
    async fn copies_elsewhere(
        &self,
        message: &ReceivedMessage,
        group: &str,
    ) -> Result<Copies, Error> {
        let retry = retry_topic(group);
        let route = match self.client.refresh_route(&retry).await {
            Ok(route) => route,
            // The topic is made when the first member comes.
            Err(error) if error.kind() == ErrorKind::NoRoute => return Ok(Copies::default()),
            Err(error) => return Err(error),
        };
        let names = route
            .raw()
            .broker_datas
            .iter()
            .map(|data| &data.broker_name);
        let mut newest_of_all = Copies::default();
        for name in names.filter(|name| *name != message.queue().broker()) {
            let Some(addr) = route.reader(name) else {
                continue;
            };
            let remote = self.client.remote(addr);
            let at = async |topic: &str| self.copies_at(&remote, name, message, topic).await;
            let mut copies = Copies::new(&retry, at(SCHEDULE_TOPIC).await?, at(&retry).await?);
            if copies.retries() > 0 {
                copies.dead = newest(at(&dlq_topic(group)).await?);
            }
            if copies.retries() > newest_of_all.retries() {
                newest_of_all = copies;
            }
        }
        Ok(newest_of_all)
    }

    /// Whether the group has passed the copy that was delivered; `None`: none was.
    async fn is_passed(&self, copies: &Copies, group: &str) -> Result<Option<bool>, Error> {
        let Some(copy) = &copies.delivered else {
            return Ok(None);
        };
        let next = self.committed_offset(group, copy.queue()).await?;
        Ok(Some(next.is_some_and(|next| next > copy.queue_offset())))
    }

    /// When a copy that waits at a delay level is due; `None` when its broker does not say how long the level waits.
    async fn due(&self, parked: &ReceivedMessage) -> Option<SystemTime> {
        let config = self.broker_config(parked.queue().broker()).await.ok()?;
        let level = usize::try_from(parked.queue().id()).ok()?;
        let delay = delay_of(config.get(DELAY_LEVELS)?, level)?;
        parked.stored_at().checked_add(delay)
    }
}

/// What a broker knows of a group and a message.
#[derive(Default)]
struct Facts {
    /// `None`: no member is online.
    connection: Option<ConsumerConnection>,
    /// The group's next offset of the queue.
    offset: Option<i64>,
    /// Whether the filter of the members takes the message.
    is_wanted: Option<bool>,
    /// The retry that waits for its time.
    parked: Option<Parked>,
    /// The newest retry that came to the group's retry topic, and whether the group has passed it.
    delivered: Option<(ReceivedMessage, bool)>,
    /// The dead letter.
    dead: Option<ReceivedMessage>,
}

/// The newest copies of a message for a group at one broker.
#[derive(Default)]
struct Copies {
    /// The retry that waits for its time.
    waiting: Option<ReceivedMessage>,
    /// That of the retry topic.
    delivered: Option<ReceivedMessage>,
    /// The dead letter.
    dead: Option<ReceivedMessage>,
}

impl Copies {
    /// Of what was parked, for whichever group, and what came to the retry topic of one.
    fn new(retry: &str, mut parked: Vec<ReceivedMessage>, delivered: Vec<ReceivedMessage>) -> Self {
        let delivered = newest(delivered);
        parked.retain(|copy| copy.property(property::REAL_TOPIC) == Some(retry));
        // One that was delivered is still stored where it waited.
        let waiting = newest(parked).filter(|parked| {
            let is_newer =
                |copy: &ReceivedMessage| parked.reconsume_times() > copy.reconsume_times();
            delivered.as_ref().is_none_or(is_newer)
        });
        Self {
            waiting,
            delivered,
            dead: None,
        }
    }

    /// How often members have given the message back, as the newest copy says it.
    fn retries(&self) -> i32 {
        let all = [&self.waiting, &self.delivered, &self.dead];
        let times = all
            .into_iter()
            .flatten()
            .map(ReceivedMessage::reconsume_times);
        times.max().unwrap_or(0)
    }
}

struct Parked {
    retries: i32,
    due: Option<SystemTime>,
}

impl Facts {
    fn track(self, message: &ReceivedMessage, group: &str) -> MessageTrack {
        let at = message.queue_offset();
        let has_passed = self.offset.is_some_and(|offset| offset > at);
        let members = self.connection.as_ref();
        let subscription = members.and_then(|members| {
            let data = members.subscription_table.get(message.topic())?;
            Some(data.sub_string.clone())
        });
        let mut track = MessageTrack {
            members: members.map_or(0, |members| members.connection_set.len()),
            offset: self.offset,
            behind: self
                .offset
                .filter(|_| !has_passed)
                .map(|offset| at.saturating_sub(offset)),
            subscription,
            is_wanted: self.is_wanted,
            ..MessageTrack::new(group, TrackKind::Unknown)
        };
        let place = |copy: &ReceivedMessage| Some((copy.queue().clone(), copy.queue_offset()));
        if let Some(dead) = &self.dead {
            track.retries = dead.reconsume_times();
            track.copy = place(dead);
            track.reason = dead
                .property(property::DEAD_LETTER_REASON)
                .map(str::to_owned);
            track.kind = TrackKind::DeadLetter;
            return track;
        }
        if let Some(parked) = &self.parked {
            track.retries = parked.retries;
            track.retry_at = parked.due;
        } else if let Some((copy, _)) = &self.delivered {
            track.retries = copy.reconsume_times();
            track.copy = place(copy);
        }
        track.kind = match (&self.parked, &self.delivered, members) {
            (Some(_), _, _) | (None, Some((_, false)), _) => TrackKind::Retrying,
            (None, Some((_, true)), _) => TrackKind::Consumed,
            (_, _, Some(members)) if members.message_model == MessageModel::Broadcasting => {
                TrackKind::Broadcasting
            }
            _ if has_passed && self.is_wanted == Some(false) => TrackKind::Filtered,
            _ if has_passed => TrackKind::Consumed,
            (_, _, Some(members))
                if members.consume_type == ConsumeType::Actively && self.offset.is_none() =>
            {
                TrackKind::Pull
            }
            (_, _, None) => TrackKind::NotOnline,
            _ => TrackKind::NotConsumedYet,
        };
        track
    }
}

/// The group of a retry or a dead letter.
fn group_of(topic: &str) -> Option<&str> {
    group_of_retry_topic(topic).or_else(|| topic.strip_prefix(DLQ_PREFIX))
}

/// Those that are copies of the message and not of another one with its id: a producer that sends again stores several.
fn copies_of(message: &ReceivedMessage, found: Vec<ReceivedMessage>) -> Vec<ReceivedMessage> {
    let origins = match message.property(property::ORIGIN_MESSAGE_ID) {
        // A copy itself.
        Some(origin) => vec![origin.to_owned()],
        // Brokers name the place of the message, members the id that its producer gave it.
        None => vec![message.offset_id().to_string(), message.message_id()],
    };
    let of = |message: &ReceivedMessage| {
        let first = message.property(property::RETRY_TOPIC);
        first.unwrap_or_else(|| message.topic()).to_owned()
    };
    let topic = of(message);
    let mut found = found;
    found.retain(|copy| match copy.property(property::ORIGIN_MESSAGE_ID) {
        Some(origin) => origins.iter().any(|known| known == origin),
        // A Java member that sends a copy by itself loses the origin of a first retry (apache/rocketmq
        // `DefaultMQPushConsumerImpl.sendMessageBackAsNormalMessage`).
        None => of(copy) == topic && copy.reconsume_times() > 0,
    });
    found
}

/// The copy that was made last.
fn newest(copies: Vec<ReceivedMessage>) -> Option<ReceivedMessage> {
    copies
        .into_iter()
        .max_by_key(|copy| (copy.reconsume_times(), copy.stored_at()))
}

/// Whether tags, `A || B` or `*`, take a message (apache/rocketmq `FilterAPI.buildSubscriptionData`).
fn takes_tag(expression: &str, tag: Option<&str>) -> bool {
    let tags: Vec<&str> = expression
        .split("||")
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .collect();
    tags.is_empty() || tags == ["*"] || tag.is_some_and(|tag| tags.contains(&tag))
}

/// How long a delay level waits, the first of which is 0: `1s 5s 1m 2h 1d` (apache/rocketmq `DelayOffsetSerializeWrapper`,
/// `ScheduleMessageService.parseDelayLevel`).
fn delay_of(levels: &str, level: usize) -> Option<Duration> {
    let text = levels.split_whitespace().nth(level)?;
    let unit = text.chars().last()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_take_messages_as_brokers_decide() {
        for (expression, tag, takes) in [
            ("*", None, true),
            ("", Some("a"), true),
            ("a", Some("a"), true),
            ("a || b", Some("b"), true),
            ("a||b", Some("b"), true),
            ("a || b", Some("c"), false),
            ("a", None, false),
            ("a || *", Some("c"), false),
        ] {
            assert_eq!(takes_tag(expression, tag), takes, "{expression} {tag:?}");
        }
    }

    #[test]
    fn levels_are_read_as_they_are_configured() {
        let levels = "1s 5s  1m 2h 1d 3x s 18446744073709551615d";
        let seconds = |level| delay_of(levels, level).map(|delay| delay.as_secs());
        let read: Vec<Option<u64>> = (0..9).map(seconds).collect();
        let known = [Some(1), Some(5), Some(60), Some(7_200), Some(86_400)];
        assert_eq!(read[..5], known);
        assert_eq!(read[5..], [None; 4]);
    }
}
