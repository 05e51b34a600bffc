//! Consuming: what is pushed and what is polled.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rocketmq_client_rust::{
    ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus, ConsumeOrderlyContext,
    ConsumeOrderlyStatus, ConsumerLifecycle, MQPushConsumer, MessagePoll, MessageSelector,
    SubscriptionControl,
};
use rocketmq_model::common::message::MessageTrait;
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_model::common::message::message_queue::MessageQueue;
use rocketmq_model::common::message::message_single::Message;

use crate::cluster::{Cluster, text, topic};
use crate::send::{message, send};
use crate::{Outcome, equal};

/// Long enough for a busy machine of two cores; a working server needs a small part of it.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A message as it came.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    pub(crate) body: String,
    id: Option<String>,
    tag: Option<String>,
    keys: Option<String>,
    property: Option<String>,
    queue: i32,
    attempts: i32,
    at_ms: u128,
}

impl Came {
    pub(crate) fn of(message: &MessageExt) -> Self {
        let body = message.body().unwrap_or_default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            body: String::from_utf8_lossy(&body).into_owned(),
            // Its `msg_id` is the place of the message, not the id that its producer gave it.
            id: message
                .property(&"UNIQ_KEY".into())
                .map(|id| id.to_string()),
            tag: message.get_tags().map(|tag| tag.to_string()),
            keys: message.get_keys().map(|keys| keys.to_string()),
            property: message.property(&"price".into()).map(|it| it.to_string()),
            queue: message.queue_id(),
            attempts: message.reconsume_times(),
            at_ms: since.unwrap_or_default().as_millis(),
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct All(Arc<Mutex<Vec<Came>>>);

impl All {
    pub(crate) fn add(&self, messages: &[&MessageExt]) {
        let mut all = self.0.lock().expect("nobody panics with it");
        all.extend(messages.iter().map(|message| Came::of(message)));
    }

    /// Those that have come when there are so many, and a while later: what is too much comes soon as well.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Came> {
        let until = Instant::now() + DEADLINE;
        while self.0.lock().expect("nobody panics with it").len() < count && Instant::now() < until
        {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(10 * LOOK).await;
        self.0.lock().expect("nobody panics with it").clone()
    }
}

pub(crate) fn bodies(came: &[Came]) -> Vec<String> {
    let mut bodies: Vec<String> = came.iter().map(|one| one.body.clone()).collect();
    bodies.sort();
    bodies
}

fn texts<const N: usize>(bodies: [&str; N]) -> Vec<String> {
    bodies.map(str::to_owned).to_vec()
}

/// What a consumer subscribes with.
enum Filter {
    Tags(&'static str),
    Sql(&'static str),
}

/// Consumes until so many came. `is_good` may give a message back.
async fn push(
    cluster: &Cluster,
    scenario: &str,
    filter: Filter,
    count: usize,
    is_good: fn(&Came) -> bool,
) -> Result<Vec<Came>, String> {
    let all = All::default();
    let mut consumer = cluster.push_consumer(scenario);
    let topic = topic(scenario);
    match filter {
        Filter::Tags(tags) => consumer.subscribe(topic, tags).await,
        Filter::Sql(sql) => {
            let selector = Some(MessageSelector::by_sql(sql));
            consumer.subscribe_with_selector(&topic, selector).await
        }
    }
    .map_err(text)?;
    let into = all.clone();
    consumer.register_message_listener_concurrently(
        move |messages: &[&MessageExt], _: &ConsumeConcurrentlyContext| {
            into.add(messages);
            let is_good = messages.iter().all(|message| is_good(&Came::of(message)));
            Ok(match is_good {
                true => ConsumeConcurrentlyStatus::ConsumeSuccess,
                false => ConsumeConcurrentlyStatus::ReconsumeLater,
            })
        },
    );
    consumer.start().await.map_err(text)?;
    let came = all.wait_for(count).await;
    consumer.shutdown().await;
    Ok(came)
}

const EVERYTHING: Filter = Filter::Tags("*");

pub(crate) async fn send_and_push(cluster: &Cluster) -> Outcome {
    const SCENARIO: &str = "send_and_push";
    let numbers = 0..20;
    let names: Vec<String> = numbers.map(|number| format!("m{number:02}")).collect();
    let messages = names.iter().map(|name| {
        let message = message(SCENARIO, name).tags("paid").key(name.as_str());
        message.raw_property("price", "7").expect("a name of users")
    });
    let ids = send(cluster, SCENARIO, messages).await?;
    let came = push(cluster, SCENARIO, EVERYTHING, names.len(), |_| true).await?;
    equal("bodies", names.clone(), bodies(&came))?;
    for one in &came {
        equal("tag", Some("paid"), one.tag.as_deref())?;
        equal("keys", Some(one.body.as_str()), one.keys.as_deref())?;
        equal("property", Some("7"), one.property.as_deref())?;
        equal("attempts", 0, one.attempts)?;
        let number = names.iter().position(|name| *name == one.body);
        let sent = number.and_then(|number| ids.get(number));
        equal("id", sent, one.id.as_ref())?;
    }
    let mut queues: Vec<i32> = came.iter().map(|one| one.queue).collect();
    queues.sort_unstable();
    queues.dedup();
    equal("queues", vec![0, 1], queues)
}

pub(crate) async fn push_tags(cluster: &Cluster) -> Outcome {
    const SCENARIO: &str = "push_tags";
    let tags = ["a", "b", "c", "d"];
    send(
        cluster,
        SCENARIO,
        tags.map(|tag| message(SCENARIO, tag).tags(tag)),
    )
    .await?;
    // Without spaces: the client tells brokers the hash of ` c`, which no message has.
    let came = push(cluster, SCENARIO, Filter::Tags("a||c"), 2, |_| true).await?;
    equal("bodies", texts(["a", "c"]), bodies(&came))
}

pub(crate) async fn push_sql(cluster: &Cluster) -> Outcome {
    const SCENARIO: &str = "push_sql";
    let mut messages = Vec::new();
    for price in ["3", "5", "7"] {
        let message = message(SCENARIO, price).raw_property("price", price);
        messages.push(message.map_err(|error| format!("{error:?}"))?);
    }
    send(cluster, SCENARIO, messages).await?;
    let filter = Filter::Sql("price BETWEEN 4 AND 6 OR price > 6");
    let came = push(cluster, SCENARIO, filter, 2, |_| true).await?;
    equal("bodies", texts(["5", "7"]), bodies(&came))
}

pub(crate) async fn push_delayed(cluster: &Cluster) -> Outcome {
    const SCENARIO: &str = "push_delayed";
    let began = SystemTime::now().duration_since(UNIX_EPOCH);
    let began_ms = began.unwrap_or_default().as_millis();
    let deliver_ms = u64::try_from(began_ms).unwrap_or_default() + 3_000;
    let messages = [
        message(SCENARIO, "level").delay_level(2),
        message(SCENARIO, "at").deliver_time_ms(deliver_ms),
        message(SCENARIO, "seconds").delay_secs(2),
        message(SCENARIO, "milliseconds").delay_millis(1_500),
    ];
    send(cluster, SCENARIO, messages).await?;
    let came = push(cluster, SCENARIO, EVERYTHING, 4, |_| true).await?;
    let expected = texts(["at", "level", "milliseconds", "seconds"]);
    equal("bodies", expected, bodies(&came))?;
    for one in &came {
        let after_ms = match one.body.as_str() {
            "level" => 5_000,
            "at" => 3_000,
            "seconds" => 2_000,
            _ => 1_500,
        };
        if one.at_ms < began_ms + after_ms {
            let early = began_ms + after_ms - one.at_ms;
            return Err(format!("{}: {early} ms too early", one.body));
        }
    }
    Ok(())
}

pub(crate) async fn push_retry(cluster: &Cluster) -> Outcome {
    const SCENARIO: &str = "push_retry";
    let messages = ["good", "bad"].map(|body| message(SCENARIO, body));
    send(cluster, SCENARIO, messages).await?;
    let came = push(cluster, SCENARIO, EVERYTHING, 3, |one| {
        one.body == "good" || one.attempts > 0
    })
    .await?;
    equal("bodies", texts(["bad", "bad", "good"]), bodies(&came))?;
    let attempts = came.iter().filter(|one| one.body == "bad");
    let attempts: Vec<i32> = attempts.map(|one| one.attempts).collect();
    equal("attempts", vec![0, 1], attempts)
}

pub(crate) async fn push_orderly(cluster: &Cluster) -> Outcome {
    const SCENARIO: &str = "push_orderly";
    let mut producer = cluster.producer(SCENARIO).await?;
    let mut sent: [Vec<String>; 2] = Default::default();
    for number in 0..20_usize {
        let body = format!("m{number:02}");
        let key = number % 2;
        let choose = |queues: &[MessageQueue], _: &Message, key: &usize| queues.get(*key).cloned();
        let built = message(SCENARIO, &body).build();
        let built = built.map_err(|error| format!("{error:?}"))?;
        let result = producer.send_with_selector(built, choose, key).await;
        result.map_err(text)?;
        sent[key].push(body);
    }
    producer.shutdown().await;
    let all = All::default();
    let mut consumer = cluster.push_consumer(SCENARIO);
    let subscribed = consumer.subscribe(topic(SCENARIO), "*");
    subscribed.await.map_err(text)?;
    let into = all.clone();
    consumer.register_message_listener_orderly(
        move |messages: &[&MessageExt], _: &mut ConsumeOrderlyContext| {
            into.add(messages);
            Ok(ConsumeOrderlyStatus::Success)
        },
    );
    consumer.start().await.map_err(text)?;
    let came = all.wait_for(20).await;
    consumer.shutdown().await;
    let mut by_queue: [Vec<String>; 2] = Default::default();
    for one in came {
        let queue = usize::try_from(one.queue).unwrap_or_default().min(1);
        by_queue[queue].push(one.body);
    }
    sent.sort();
    by_queue.sort();
    equal("order", sent, by_queue)
}

pub(crate) async fn poll(cluster: &Cluster) -> Outcome {
    const SCENARIO: &str = "poll";
    let names: Vec<String> = (0..20).map(|number| format!("m{number:02}")).collect();
    let messages = names.iter().map(|name| message(SCENARIO, name));
    send(cluster, SCENARIO, messages).await?;
    let consumer = cluster.pull_consumer(SCENARIO)?;
    consumer.subscribe(&topic(SCENARIO)).await.map_err(text)?;
    consumer.start().await.map_err(text)?;
    let until = Instant::now() + DEADLINE;
    let mut came = Vec::new();
    while came.len() < names.len() && Instant::now() < until {
        let polled = consumer.poll_with_timeout(1_000).await;
        came.extend(polled.iter().map(Came::of));
    }
    consumer.shutdown().await;
    equal("bodies", names, bodies(&came))
}
