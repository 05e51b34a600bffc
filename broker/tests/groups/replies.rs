//! Request-reply: a reply reaches the client that waits, by its own connection, and is stored.

use std::sync::Arc;

use rmq_broker::Deps;
use rmq_protocol::bodies::{HeartbeatData, ProducerData};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::NoFields;
use rmq_protocol::message::{properties, property};
use rmq_protocol::requests::{PushReplyMessageToClient, Request, SendMessage};
use rmq_transport::{Caller, CallerConfig, Exchange, IncomingRequests, Reply, TcpConnector};
use tokio::sync::mpsc;

use crate::support::{Client, PATIENCE, Rig, message, pull, remark};

const REPLY_TOPIC: &str = "DefaultCluster_REPLY_TOPIC";
/// As a Java consumer replies.
const REPLY: &str = "MSG_TYPE\u{1}reply\u{2}REPLY_TO_CLIENT\u{1}asker@1\u{2}CORRELATION_ID\u{1}c1\u{2}TTL\u{1}3000\u{2}";

/// What reaches the client that waits: body and properties.
type Pushed = (String, String);

struct Inbox {
    pushed: mpsc::UnboundedSender<Pushed>,
    takes: bool,
}

impl IncomingRequests for Inbox {
    fn request(&self, exchange: &mut Exchange<'_>) {
        let code = exchange.header.code;
        assert_eq!(code, RequestCode::PushReplyMessageToClient.as_i32());
        let fields = PushReplyMessageToClient::decode(&exchange.header.fields).expect("fields");
        assert_eq!(fields.topic, REPLY_TOPIC);
        assert_eq!(fields.producer_group, "producers");
        assert!(
            fields.born_host.starts_with("127.0.0.1:"),
            "{}",
            fields.born_host
        );
        assert!(fields.store_timestamp > 0);
        let mut text = String::new();
        fields.properties.expect("properties").append_to(&mut text);
        let body = String::from_utf8_lossy(exchange.body).into_owned();
        // The test may have ended.
        let _ = self.pushed.send((body, text));
        match self.takes {
            true => exchange.ok(&NoFields),
            false => exchange.reply(ResponseCode::SystemError, None, &NoFields, &[]),
        }
    }
}

async fn asker(rig: &Rig, id: &str, takes: bool) -> (Client, mpsc::UnboundedReceiver<Pushed>) {
    let (pushed, inbox) = mpsc::unbounded_channel();
    let client = Client(Caller::new(
        rig.broker.addr().to_string(),
        Arc::new(TcpConnector),
        CallerConfig::default(),
        Arc::new(Inbox { pushed, takes }),
    ));
    let data = HeartbeatData {
        client_id: id.to_owned(),
        producer_data_set: vec![ProducerData {
            group_name: "askers".to_owned(),
        }],
        ..HeartbeatData::default()
    };
    let answer = client
        .call(RequestCode::HeartBeat, &(), &data.to_json())
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    (client, inbox)
}

/// Code, remark and fields of the answer to a reply, in both forms of its fields.
async fn reply(client: &Client, code: RequestCode, text: &str) -> (i32, String, Vec<String>) {
    let request = message(REPLY_TOPIC, 0, text);
    let answer = match code {
        RequestCode::SendReplyMessage => client.call(code, &request.v1(), b"an answer").await,
        _ => client.call(code, &request, b"an answer").await,
    };
    let header = answer.header();
    let fields = header
        .fields
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_cow()))
        .collect();
    (answer.code(), remark(&answer), fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_reaches_who_asked_and_is_stored() {
    let rig = Rig::start().await;
    let (asking, mut inbox) = asker(&rig, "asker@1", true).await;
    let (_other, mut others) = asker(&rig, "other@1", true).await;
    let replier = rig.client();
    // The request is a message as any other.
    asking.create_topic("questions", 1, 6).await;
    asking
        .put(
            "questions",
            "REPLY_TO_CLIENT\u{1}asker@1\u{2}CORRELATION_ID\u{1}c1\u{2}",
            "why?",
        )
        .await;
    assert_eq!(
        replier.pull(&pull("questions", 0, 0)).await.bodies(),
        ["why?"]
    );
    for (number, code) in [
        RequestCode::SendReplyMessage,
        RequestCode::SendReplyMessageV2,
    ]
    .into_iter()
    .enumerate()
    {
        let (answered, said, fields) = reply(&replier, code, REPLY).await;
        assert_eq!((answered, said.as_str()), (0, ""));
        assert!(
            fields.contains(&format!("queueOffset={number}")),
            "{fields:?}"
        );
        assert!(fields.contains(&"queueId=0".to_owned()), "{fields:?}");
        assert!(
            !fields
                .iter()
                .any(|field| field.starts_with("transactionId"))
        );
        let pushed = tokio::time::timeout(PATIENCE, inbox.recv()).await;
        let (body, text) = pushed.expect("in time").expect("a reply");
        assert_eq!(body, "an answer");
        let get = |name| properties::get(&text, name);
        assert_eq!(get(property::CORRELATION_ID), Some("c1"));
        assert_eq!(get(property::MSG_TYPE), Some("reply"));
        assert!(get(property::PUSH_REPLY_TIME).is_some());
    }
    let stored = replier.pull(&pull(REPLY_TOPIC, 0, 0)).await;
    assert_eq!(stored.bodies(), ["an answer", "an answer"]);
    assert!(others.try_recv().is_err(), "only who asked");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_reaches_nobody_is_answered_with_1_and_stored_anyway() {
    let rig = Rig::start().await;
    let replier = rig.client();
    let code = RequestCode::SendReplyMessageV2;
    let (answered, said, _) = reply(&replier, code, REPLY).await;
    assert_eq!(answered, 1);
    assert!(said.contains("channel of <asker@1> not found"), "{said}");
    let (answered, said, _) = reply(&replier, code, "MSG_TYPE\u{1}reply\u{2}").await;
    assert_eq!(answered, 1);
    assert!(said.contains("REPLY_TO_CLIENT is null"), "{said}");
    let (asking, _inbox) = asker(&rig, "asker@1", false).await;
    let (answered, said, _) = reply(&replier, code, REPLY).await;
    assert_eq!(answered, 1);
    assert!(said.contains("answers with code 1"), "{said}");
    assert_eq!(
        replier.pull(&pull(REPLY_TOPIC, 0, 0)).await.records.len(),
        3
    );
    // A client that has ended is not found.
    drop(asking);
    let gone = async {
        loop {
            let (_, said, _) = reply(&replier, code, REPLY).await;
            if said.contains("not found") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("gone");
    let nowhere = SendMessage::new("producers", "nowhere");
    let answer = replier.call(code, &nowhere, b"x").await;
    assert_eq!(answer.code(), ResponseCode::TopicNotExist.as_i32());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_not_stored_where_that_is_off() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.store_reply_message_enable = false;
    })
    .await;
    let (_asking, mut inbox) = asker(&rig, "asker@1", true).await;
    let replier = rig.client();
    let (answered, _, fields) = reply(&replier, RequestCode::SendReplyMessageV2, REPLY).await;
    assert_eq!(answered, 0);
    assert!(fields.contains(&"msgId=0".to_owned()), "{fields:?}");
    let pushed = tokio::time::timeout(PATIENCE, inbox.recv()).await;
    assert_eq!(pushed.expect("in time").expect("a reply").0, "an answer");
    assert!(
        replier
            .pull(&pull(REPLY_TOPIC, 0, 0))
            .await
            .records
            .is_empty()
    );
    rig.stop().await;
}
