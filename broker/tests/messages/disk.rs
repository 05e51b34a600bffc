//! A disk that fails, and addresses that are longer.

use std::sync::Arc;

use rmq_broker::{Deps, Flush};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::{OffsetMessageId, RecordView};
use rmq_protocol::requests::{
    CloneGroupOffset, InvokeBrokerToResetOffset, OffsetReply, QueryConsumerOffset, Reply,
    SendMessageReply, UpdateAndCreateTopic, UpdateConsumerOffset, ViewMessageById,
};
use rmq_store::fs::{Fault, FaultyFs, Operation, RealFs};

use crate::support::{Client, Rig, message, pull, remark};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_nothing_is_taken_and_everything_before_is_served() {
    let fs = FaultyFs::new(Arc::new(RealFs));
    let deps = Deps {
        fs: Arc::new(fs.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |config| {
        config.flush = Flush::Sync;
        config.management = "127.0.0.1:0".to_owned();
    })
    .await;
    let client = rig.client();
    client.put("t", "", "before").await;
    assert_eq!(crate::support::get(&rig.broker, "/readyz").await.0, 200);

    fs.plan(Fault {
        operation: Operation::Sync,
        path_contains: rig.folder.path().display().to_string(),
        after: 0,
        // Every one: others than that of the log, such as of zeros written ahead, may come first.
        times: usize::MAX,
        kind: std::io::ErrorKind::Other,
    });
    let first = client
        .call(RequestCode::SendMessageV2, &message("t", 0, ""), b"lost")
        .await;
    // Stored perhaps, but not as safely as promised. Clients take it for stored, and read where it lies.
    assert_eq!(first.code(), 10, "{}", remark(&first));
    let place = SendMessageReply::decode(&first.header().fields).expect("a place");
    assert_eq!((place.queue_id, place.queue_offset), (0, 1));
    assert!(!place.msg_id.is_empty() && !remark(&first).is_empty());
    fs.clear();
    // The disk works again, but what the system dropped nobody knows: no further message until a restart.
    let second = client
        .send(&message("t", 0, ""), b"refused")
        .await
        .expect_err("read-only");
    assert!([10, 14].contains(&second.code), "{second:?}");
    assert!(!second.remark.is_empty());
    let (status, text) = crate::support::get(&rig.broker, "/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("read-only"), "{text}");
    let pulled = client.pull(&pull("t", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["before"], "{pulled:?}");
    // A consumer that comes now can read, too.
    let beat = rmq_protocol::bodies::HeartbeatData {
        client_id: "late".to_owned(),
        consumer_data_set: vec![rmq_protocol::bodies::ConsumerData {
            group_name: "late".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client
        .call(RequestCode::HeartBeat, &(), &beat.to_json())
        .await;
    assert_eq!(answer.code(), 0, "{}", crate::support::remark(&answer));
    // A stop that could not write everything says so.
    assert!(rig.broker.shutdown().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_broker_may_have_long_addresses() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        // A machine without IPv6 cannot have such clients.
        return;
    }
    let rig = Rig::start_with(Deps::default(), |config| {
        config.listen = "[::1]:0".to_owned()
    })
    .await;
    assert!(
        rig.broker.advertised().starts_with("[::1]:"),
        "{}",
        rig.broker.advertised()
    );
    let client = rig.client();
    let reply = client.put("t", "TAGS\u{1}t\u{2}", "far away").await;
    let id: OffsetMessageId = reply.msg_id.parse().expect("an id");
    assert_eq!(id.host, rig.broker.addr());
    assert_eq!(client.pull(&pull("t", 0, 0)).await.bodies(), ["far away"]);
    let view = ViewMessageById {
        topic: None,
        offset: id.position.0 as i64,
    };
    let answer = client.call(RequestCode::ViewMessageById, &view, &[]).await;
    let record = RecordView::parse(answer.body()).expect("a record");
    assert_eq!(
        (record.body(), record.store_host()),
        (&b"far away"[..], rig.broker.addr())
    );
    rig.stop().await;
}

fn commit<'a>(
    topic: &'a str,
    group: &'a str,
    queue_id: i32,
    offset: i64,
) -> UpdateConsumerOffset<'a> {
    UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id,
        commit_offset: offset,
        broker_name: None,
    }
}

/// The offset that the broker knows, or the code of its refusal.
async fn committed(client: &Client, topic: &str, group: &str, queue_id: i32) -> Result<i64, i32> {
    let request = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &request, &[])
        .await;
    match answer.code() {
        0 => Ok(OffsetReply::decode(&answer.header().fields)
            .expect("an offset")
            .offset),
        code => Err(code),
    }
}

async fn log_end(client: &Client) -> String {
    let answer = client
        .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
        .await;
    let figures = rmq_protocol::bodies::KvTable::from_json(answer.body()).expect("figures");
    figures.table["commitLogMaxOffset"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_on_a_full_disk_is_kept_or_refused() {
    for is_killed in [true, false] {
        let fs = FaultyFs::new(Arc::new(RealFs));
        let deps = Deps {
            fs: Arc::new(fs.clone()),
            ..Deps::default()
        };
        let rig = Rig::start_with(deps, |config| config.segment_bytes = 64 << 10).await;
        let client = rig.client();
        client.create_topic("t", 200, 6).await;
        let groups: Vec<String> = (0..8).map(|n| format!("g{n}")).collect();
        for group in &groups {
            client.create_group(group, |_| {}).await;
        }
        for operation in [Operation::Create, Operation::Allocate] {
            fs.plan(Fault {
                operation,
                path_contains: "/log/".to_owned(),
                after: 0,
                times: usize::MAX,
                kind: std::io::ErrorKind::StorageFull,
            });
        }
        let refused = loop {
            if let Err(refused) = client.send(&message("t", 0, ""), &[b'x'; 900]).await {
                break refused;
            }
        };
        assert_eq!(refused.code, 14);
        assert!(refused.remark.contains("the disk is full"), "{refused:?}");

        // What is answered with 0 is stored before the answer.
        let reset = InvokeBrokerToResetOffset {
            topic: "t".into(),
            group: "g0".into(),
            queue_id: Some(0),
            offset: Some(1),
            timestamp: -1,
            is_force: Some(true),
        };
        let answer = client
            .call(RequestCode::InvokeBrokerToResetOffset, &reset, &[])
            .await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
        let clone = CloneGroupOffset {
            src_group: "g0".into(),
            dest_group: "copy".into(),
            topic: Some("t".into()),
            offline: None,
        };
        let answer = client
            .call(RequestCode::CloneGroupOffset, &clone, &[])
            .await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));

        let mut kept = Vec::new();
        let mut refusal = None;
        // A kill comes before the reserve is used up, a stop after.
        let (groups, queues) = match is_killed {
            true => (groups.get(..2).expect("two groups"), 100),
            false => (&groups[..], 200),
        };
        'all: for (number, group) in groups.iter().enumerate().skip(1) {
            for queue_id in 0..queues {
                let offset = i64::from(queue_id) + number as i64 * 1_000;
                let request = commit("t", group, queue_id, offset);
                let answer = client
                    .call(RequestCode::UpdateConsumerOffset, &request, &[])
                    .await;
                if answer.code() != 0 {
                    refusal = Some(answer);
                    break 'all;
                }
                kept.push((group.as_str(), queue_id, offset));
            }
        }
        // The reserve of such a small segment holds some hundred offsets.
        assert!(kept.len() >= 100, "{}", kept.len());
        assert_eq!(refusal.is_none(), is_killed);
        if let Some(refusal) = refusal {
            assert_eq!(refusal.code(), 14);
            let text = remark(&refusal);
            assert!(text.contains("the disk is full"), "{text}");
        }
        // New topics and groups are refused, and not only remembered.
        let topic = UpdateAndCreateTopic {
            topic: "new".into(),
            default_topic: None,
            read_queue_nums: 1,
            write_queue_nums: 1,
            perm: 6,
            topic_filter_type: None,
            topic_sys_flag: None,
            order: None,
            attributes: None,
            force: None,
        };
        let answer = client
            .call(RequestCode::UpdateAndCreateTopic, &topic, &[])
            .await;
        assert_eq!(answer.code(), 14, "{}", remark(&answer));

        let Rig { broker, folder } = rig;
        if is_killed {
            // Progress is written at most once a second. What is written after the second of these has all that came before.
            for _ in 0..2 {
                let before = log_end(&client).await;
                for offset in [1_001, 1_000] {
                    let request = commit("t", "g1", 0, offset);
                    let answer = client
                        .call(RequestCode::UpdateConsumerOffset, &request, &[])
                        .await;
                    assert_eq!(answer.code(), 0, "{}", remark(&answer));
                }
                while log_end(&client).await == before {
                    tokio::task::yield_now().await;
                }
            }
            broker.kill().await;
        } else {
            broker.shutdown().await.expect("an ordinary stop");
        }
        let broker = rmq_broker::BrokerServer::start(
            rmq_broker::BrokerConfig {
                segment_bytes: 64 << 10,
                ..crate::support::config(folder.path())
            },
            Deps::default(),
        )
        .await
        .expect("starts again");
        let client = Client::to(&broker);
        assert_eq!(committed(&client, "t", "g0", 0).await, Ok(1));
        assert_eq!(committed(&client, "t", "copy", 0).await, Ok(1));
        for (group, queue_id, offset) in kept {
            assert_eq!(
                committed(&client, "t", group, queue_id).await,
                Ok(offset),
                "{group} {queue_id}, killed: {is_killed}"
            );
        }
        broker.shutdown().await.expect("a clean stop");
    }
}
