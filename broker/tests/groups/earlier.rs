//! A store that the broker of commit 11f0211 wrote: each broker table had a copy of its own then, and a deletion was two records. One life
//! ended cleanly, so its changes are in the tables on disk; the next was killed, so its changes are in the log alone.

use std::path::Path;

use rmq_broker::{BrokerServer, Deps};
use rmq_protocol::bodies::{
    SubscriptionGroupConfig, SubscriptionGroupTable, TopicConfig, TopicConfigTable,
};
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::{
    GetAllSubscriptionGroupConfig, GetAllTopicConfig, OffsetReply, QueryConsumerOffset, Reply,
};

use crate::support::{Client, config, pull};

/// Each file: bytes of its name u16, name, length u64, number of sectors u32; each sector: number u32, 512 bytes. Sectors of zeros are
/// left out. Little-endian.
const STORE: &[u8] = include_bytes!("../data/store-11f0211.sectors");
const SECTOR: usize = 512;

fn unpack(mut packed: &[u8], dir: &Path) {
    let mut take = |bytes: usize| {
        let (head, rest) = packed.split_at_checked(bytes)?;
        packed = rest;
        Some(head)
    };
    while let Some(len) = take(2) {
        let len = usize::from(u16::from_le_bytes(len.try_into().expect("two bytes")));
        let name = std::str::from_utf8(take(len).expect("a name")).expect("text");
        let bytes = u64::from_le_bytes(take(8).expect("a length").try_into().expect("eight"));
        let sectors = u32::from_le_bytes(take(4).expect("a number").try_into().expect("four"));
        let mut file = vec![0; bytes as usize];
        for _ in 0..sectors {
            let at = u32::from_le_bytes(take(4).expect("a place").try_into().expect("four"));
            let at = at as usize * SECTOR;
            let to = file.len().min(at + SECTOR);
            let sector = take(SECTOR).expect("a sector");
            file[at..to].copy_from_slice(&sector[..to - at]);
        }
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, file).expect("written");
    }
}

async fn offset(client: &Client, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
    let request = QueryConsumerOffset {
        consumer_group: group.to_owned().into(),
        topic: topic.to_owned().into(),
        queue_id,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &request, &[])
        .await;
    let reply = (answer.code() == 0).then(|| OffsetReply::decode(&answer.header().fields));
    reply.map(|reply| reply.expect("an offset").offset)
}

async fn topics(client: &Client) -> TopicConfigTable {
    let all = GetAllTopicConfig {
        topic_seq: None,
        data_version: None,
        max_topic_num: None,
    };
    let answer = client.call(RequestCode::GetAllTopicConfig, &all, &[]).await;
    TopicConfigTable::from_json(answer.body()).expect("a table")
}

async fn groups(client: &Client) -> SubscriptionGroupTable {
    let all = GetAllSubscriptionGroupConfig {
        group_seq: None,
        data_version: None,
        max_group_num: None,
    };
    let code = RequestCode::GetAllSubscriptiongroupConfig;
    let answer = client.call(code, &all, &[]).await;
    SubscriptionGroupTable::from_json(answer.body()).expect("a table")
}

async fn check(dir: &Path) {
    let broker = BrokerServer::start(config(dir), Deps::default())
        .await
        .expect("it opens");
    let client = Client::to(&broker);
    let topics = topics(&client).await.topic_config_table;
    let topic = |name: &str, queues| TopicConfig {
        perm: 6,
        ..TopicConfig::new(name, queues)
    };
    for (name, wanted) in [
        ("kept", Some(topic("kept", 3))),
        ("grown", Some(topic("grown", 5))),
        ("late", Some(topic("late", 2))),
        ("again", Some(topic("again", 1))),
        ("gone", None),
        ("gone-late", None),
    ] {
        assert_eq!(topics.get(name), wanted.as_ref(), "{name}");
    }
    let groups = groups(&client).await;
    let group = |name: &str| groups.subscription_group_table.get(name);
    let mut wanted = SubscriptionGroupConfig::new("g");
    wanted.retry_max_times = 3;
    assert_eq!(group("g"), Some(&wanted));
    assert_eq!(group("late").map(|group| group.consume_enable), Some(false));
    assert_eq!(group("gone"), None);
    assert_eq!(groups.forbidden_table["g"]["grown"], 1);
    for (group, topic, queue, wanted) in [
        ("g", "kept", 0, Some(2)),
        ("g", "kept", 1, Some(7)),
        ("g", "grown", 4, Some(11)),
        ("late", "late", 0, Some(1)),
        ("gone", "kept", 0, None),
    ] {
        assert_eq!(
            offset(&client, group, topic, queue).await,
            wanted,
            "{group} {topic}"
        );
    }
    let found = client.pull(&pull("kept", 0, 0)).await;
    assert_eq!(found.bodies(), ["one", "two", "three"]);
    // Deleted and made again: its old messages are not there, and its offsets go on.
    let found = client.pull(&pull("again", 0, 2)).await;
    assert_eq!(found.bodies(), ["new"]);
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_an_earlier_version_opens_with_its_topics_groups_and_offsets() {
    let folder = tempfile::tempdir().expect("a folder");
    unpack(STORE, folder.path());
    // Again with what this version has written.
    for _ in 0..2 {
        check(folder.path()).await;
    }
}
