//! Light queues on every member: they follow from the log. Budget: 10 s.

use rmq_broker::BrokerConfig;
use rmq_protocol::message::property;

use crate::rig::{Group, Wire};
use crate::support::{Client, pull};
use crate::switches::change_roles;

const QUEUES: [&str; 3] = ["%LMQ%a", "%LMQ%b", "%LMQ%c"];

fn on(config: &mut BrokerConfig) {
    config.enable_lmq = true;
    config.enable_multi_dispatch = true;
}

async fn put(client: &Client, queues: &str, body: &str) {
    let names = format!("INNER_MULTI_DISPATCH\u{1}{queues}\u{2}");
    client.put("t", &names, body).await;
}

/// The messages of each light queue, with the offsets that they say.
async fn all(client: &Client) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for queue in QUEUES {
        let pulled = client.pull(&pull(queue, 0, 0)).await;
        let records = pulled.records.iter().map(|record| {
            let offsets = record.property(property::INNER_MULTI_QUEUE_OFFSET);
            format!("{} {}", record.text(), offsets.expect("the master says"))
        });
        all.push(records.collect());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn light_queues_are_those_of_the_master_and_continue_with_another_one() {
    let Group { master, replicas } = Group::start(1, on).await;
    let [replica] = <[_; 1]>::try_from(replicas).unwrap_or_else(|_| panic!("one replica"));
    let client = master.client();
    client.create_topic("t", 1, 6).await;
    for number in 0..9 {
        let queues = ["%LMQ%a", "%LMQ%b,%LMQ%a", "%LMQ%c,%LMQ%b"][number % 3];
        put(&client, queues, &number.to_string()).await;
    }
    replica.catches_up_with(&master).await;
    let before = all(&client).await;
    assert_eq!(before[2], ["2 0,1", "5 1,3", "8 2,5"]);
    assert_eq!(all(&replica.client()).await, before);

    // This one reaches nobody but the old master, and is cut off.
    replica.wire.as_ref().expect("a wire").set(Wire::Cut);
    put(&client, "%LMQ%c,%LMQ%a", "lost").await;
    let (master, back) = change_roles(master.stop(true).await, replica).await;
    let client = master.client();
    assert_eq!(all(&client).await, before);
    put(&client, "%LMQ%a,%LMQ%c", "next").await;
    back.catches_up_with(&master).await;
    let after = all(&client).await;
    assert_eq!(after[0].last().map(String::as_str), Some("next 6,3"));
    assert_eq!(after[2].last().map(String::as_str), Some("next 6,3"));
    assert_eq!(all(&back.client()).await, after);
    for member in [back, master] {
        member.broker.shutdown().await.expect("a clean stop");
    }
}
