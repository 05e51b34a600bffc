//! Requests that name something other than what they touch: the message at a position, a half message, light queues that a message names. The
//! rights of the message itself count. Budget: 10 s.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_broker::{BrokerConfig, Deps};
use rmq_protocol::bodies::{
    AclInfo, ConsumerData, HeartbeatData, SubscriptionData, SubscriptionGroupConfig, UserInfo,
};
use rmq_protocol::code::{RequestCode as Code, ResponseCode};
use rmq_protocol::message::RecordView;
use rmq_transport::{
    Caller, CallerConfig, Exchange, IncomingRequests, OwnedFrame, Reply, TcpConnector,
};

use super::support::{Client, Pulled, Rig, message, pull, remark, sent};
use super::users::{ROOT, closed, is_refused, signed, succeeds};

const ANN: (&str, &str) = ("ann", "one");
/// What the refusals of these tests say.
const DENIED: &str = "User:ann has no permission to access";

/// A member of a group that is asked something, and keeps the fields that came with it.
#[derive(Default)]
struct Asked(Mutex<Vec<Vec<(String, String)>>>);

impl IncomingRequests for Asked {
    fn request(&self, exchange: &mut Exchange<'_>) {
        // That the members of its group have changed is no question.
        if exchange.header.code == Code::NotifyConsumerIdsChanged.as_i32() {
            return;
        }
        let fields = exchange.header.fields.iter();
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_cow().into_owned()));
        self.0.lock().push(fields.collect());
        exchange.reply(ResponseCode::Success, None, &(), b"{}");
    }
}

async fn start(change: impl FnOnce(&mut BrokerConfig)) -> (Rig, Client) {
    let rig = Rig::start_with(Deps::default(), |config| {
        closed(config);
        change(config);
    })
    .await;
    let client = rig.client();
    let ann = UserInfo {
        password: Some(ANN.1.to_owned()),
        ..UserInfo::default()
    };
    let (body, fields) = (ann.to_json(), [("username", ANN.0)]);
    succeeds(&as_root(&client, Code::AuthCreateUser, &fields, &body).await);
    (rig, client)
}

async fn as_root(client: &Client, code: Code, fields: &[(&str, &str)], body: &[u8]) -> OwnedFrame {
    signed(client, ROOT, code, &fields, body).await
}

/// Gives the user exactly these rules: `Sub Topic:orders`.
async fn give(client: &Client, rules: &[&str]) {
    let subject = [("subject", "User:ann")];
    let gone = as_root(client, Code::AuthDeleteAcl, &subject, b"").await;
    assert!([0, 3002].contains(&gone.code()), "{}", remark(&gone));
    let entries: Vec<String> = rules
        .iter()
        .map(|rule| {
            let (action, resource) = rule.split_once(' ').expect("an action and a resource");
            let actions = action.replace(',', "\",\"");
            format!(r#"{{"resource":"{resource}","actions":["{actions}"],"decision":"Allow"}}"#)
        })
        .collect();
    if entries.is_empty() {
        return;
    }
    let text = format!(
        r#"{{"subject":"User:ann","policies":[{{"policyType":"Custom","entries":[{}]}}]}}"#,
        entries.join(",")
    );
    let acl = AclInfo::from_json(text.as_bytes()).expect("rules");
    succeeds(&as_root(client, Code::AuthUpdateAcl, &subject, &acl.to_json()).await);
}

/// Stores a message as the super user; its position in the log, and its id.
async fn put(client: &Client, topic: &str, properties: &str) -> (i64, String) {
    let fields = message(topic, 0, properties);
    let stored = signed(client, ROOT, Code::SendMessageV2, &fields, b"secret").await;
    let id = sent(&stored).expect("stored").msg_id;
    let position = id.parse::<rmq_protocol::message::OffsetMessageId>();
    let position = position.expect("an id").position.0;
    (i64::try_from(position).expect("a position"), id)
}

async fn view(client: &Client, position: i64, topic: &str) -> OwnedFrame {
    let position = position.to_string();
    let fields = [("offset", position.as_str()), ("topic", topic)];
    let named = if topic.is_empty() {
        &fields[..1]
    } else {
        &fields
    };
    signed(client, ANN, Code::ViewMessageById, &named, b"").await
}

/// Gives the message up: it goes to the dead letters of the group.
async fn give_up(client: &Client, position: i64, group: &str, topic: &str) -> OwnedFrame {
    let position = position.to_string();
    let fields = [
        ("offset", position.as_str()),
        ("group", group),
        ("originTopic", topic),
        ("delayLevel", "-1"),
    ];
    signed(
        client,
        ANN,
        Code::ConsumerSendMsgBack,
        &fields.as_slice(),
        b"",
    )
    .await
}

async fn pulled(client: &Client, topic: &str) -> Pulled {
    let fields = pull(topic, 0, 0);
    Pulled::of(&signed(client, ROOT, Code::PullMessage, &fields, b"").await)
}

async fn create_group(client: &Client, group: &str) {
    let body = SubscriptionGroupConfig::new(group).to_json();
    let code = Code::UpdateAndCreateSubscriptiongroup;
    succeeds(&as_root(client, code, &[], &body).await);
}

#[tokio::test]
async fn a_message_is_seen_by_its_position_with_the_right_for_its_own_topic() {
    let (rig, client) = start(|config| {
        config.enable_lmq = true;
        config.enable_multi_dispatch = true;
    })
    .await;
    create_group(&client, "billing").await;
    let (order, _) = put(&client, "orders", "").await;
    let (price, _) = put(&client, "prices", "").await;
    give(&client, &["Get Topic:prices"]).await;
    let seen = view(&client, price, "prices").await;
    succeeds(&seen);
    let record = RecordView::parse(seen.body()).expect("a record");
    assert_eq!(record.body(), b"secret");
    // Older clients name no topic.
    succeeds(&view(&client, price, "").await);
    for named in ["prices", ""] {
        let refused = view(&client, order, named).await;
        is_refused(&refused, 16, &format!("{DENIED} Topic:orders"));
        assert!(refused.body().is_empty());
    }
    // The topic that is named counts as well.
    let refused = view(&client, price, "orders").await;
    is_refused(&refused, 16, &format!("{DENIED} Topic:orders"));
    // A message that waits is one of its topic already.
    let (waiting, _) = put(&client, "orders", "DELAY\u{1}3\u{2}").await;
    is_refused(
        &view(&client, waiting, "prices").await,
        16,
        &format!("{DENIED} Topic:orders"),
    );
    let (waiting, _) = put(&client, "prices", "DELAY\u{1}3\u{2}").await;
    succeeds(&view(&client, waiting, "prices").await);
    let (half, _) = put(&client, "orders", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}").await;
    is_refused(
        &view(&client, half, "").await,
        16,
        &format!("{DENIED} Topic:orders"),
    );
    // Retries are their group's.
    let (retry, _) = put(&client, "%RETRY%billing", "").await;
    is_refused(
        &view(&client, retry, "").await,
        16,
        &format!("{DENIED} Group:billing"),
    );
    give(&client, &["Get Group:billing"]).await;
    succeeds(&view(&client, retry, "").await);
    is_refused(&view(&client, price, "").await, 16, "Topic:prices");
    // Whoever may look at one of the queues that a message is in may look at the message.
    let names = "INNER_MULTI_DISPATCH\u{1}%LMQ%a,%LMQ%b\u{2}";
    let (light, _) = put(&client, "orders", names).await;
    is_refused(&view(&client, light, "").await, 16, "Topic:orders");
    give(&client, &["Get Topic:%LMQ%b"]).await;
    succeeds(&view(&client, light, "").await);
    rig.stop().await;
}

#[tokio::test]
async fn a_message_is_given_back_with_the_right_for_its_own_topic() {
    let (rig, client) = start(|_| {}).await;
    create_group(&client, "billing").await;
    create_group(&client, "other").await;
    let (order, _) = put(&client, "orders", "").await;
    let (price, _) = put(&client, "prices", "").await;
    give(&client, &["Sub Group:billing", "Sub Topic:prices"]).await;
    // What the request says of the topic does not matter.
    for named in ["prices", "orders"] {
        let refused = give_up(&client, order, "billing", named).await;
        is_refused(&refused, 16, &format!("{DENIED} Topic:orders"));
    }
    is_refused(
        &give_up(&client, price, "other", "prices").await,
        16,
        &format!("{DENIED} Group:other"),
    );
    let (theirs, _) = put(&client, "%RETRY%other", "").await;
    is_refused(
        &give_up(&client, theirs, "billing", "prices").await,
        16,
        &format!("{DENIED} Group:other"),
    );
    assert_eq!(
        pulled(&client, "%DLQ%billing").await.bodies(),
        [] as [&str; 0]
    );
    succeeds(&give_up(&client, price, "billing", "prices").await);
    let (own, _) = put(&client, "%RETRY%billing", "").await;
    succeeds(&give_up(&client, own, "billing", "prices").await);
    let dead = pulled(&client, "%DLQ%billing").await;
    assert_eq!(dead.bodies(), ["secret", "secret"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_half_message_is_checked_again_with_the_right_for_its_own_topic() {
    let (rig, client) = start(|_| {}).await;
    let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}UNIQ_KEY\u{1}U\u{2}";
    let (_, id) = put(&client, "orders", half).await;
    let resume = async |named: &str| {
        let fields = [("msgId", id.as_str()), ("topic", named)];
        signed(&client, ANN, Code::ResumeCheckHalfMessage, &fields, b"").await
    };
    give(&client, &["Update Topic:prices"]).await;
    let refused = resume("prices").await;
    is_refused(&refused, 16, &format!("{DENIED} Topic:orders"));
    give(&client, &["Update Topic:orders"]).await;
    succeeds(&resume("prices").await);
    rig.stop().await;
}

#[tokio::test]
async fn a_message_is_sent_to_light_queues_with_the_right_for_each() {
    let (rig, client) = start(|config| {
        config.enable_lmq = true;
        config.enable_multi_dispatch = true;
    })
    .await;
    let names = "INNER_MULTI_DISPATCH\u{1}%LMQ%a,%LMQ%b\u{2}";
    let send = async |names: &str| {
        let fields = message("orders", 0, names);
        signed(&client, ANN, Code::SendMessageV2, &fields, b"light").await
    };
    give(&client, &["Pub Topic:orders", "Pub Topic:%LMQ%a"]).await;
    succeeds(&send("").await);
    succeeds(&send("INNER_MULTI_DISPATCH\u{1}%LMQ%a\u{2}").await);
    is_refused(&send(names).await, 16, &format!("{DENIED} Topic:%LMQ%b"));
    give(&client, &["Pub Topic:orders", "Pub Topic:%LMQ%*"]).await;
    succeeds(&send(names).await);
    let found = pulled(&client, "%LMQ%b").await;
    assert_eq!(found.bodies(), ["light"], "what was refused is not there");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_handed_to_a_client_has_its_own_topic_and_no_signature() {
    let (rig, client) = start(|_| {}).await;
    create_group(&client, "billing").await;
    let asked = Arc::new(Asked::default());
    let member = Client(Caller::new(
        rig.broker.addr().to_string(),
        Arc::new(TcpConnector),
        CallerConfig::default(),
        Arc::clone(&asked) as Arc<dyn IncomingRequests>,
    ));
    let beat = HeartbeatData {
        client_id: "one".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: "billing".to_owned(),
            subscription_data_set: vec![SubscriptionData::tags("prices", "*", 1)],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    succeeds(&as_root(&member, Code::HeartBeat, &[], &beat.to_json()).await);
    let (_, order) = put(&client, "orders", "").await;
    let (_, price) = put(&client, "prices", "").await;
    give(&client, &["Sub,Get Group:billing", "Sub Topic:prices"]).await;
    let hand = async |id: &str| {
        let fields = [
            ("msgId", id),
            ("topic", "prices"),
            ("consumerGroup", "billing"),
            ("clientId", "one"),
        ];
        let fields = fields.as_slice();
        signed(&client, ANN, Code::ConsumeMessageDirectly, &fields, b"").await
    };
    is_refused(&hand(&order).await, 16, &format!("{DENIED} Topic:orders"));
    assert!(asked.0.lock().is_empty(), "the client saw nothing of it");
    succeeds(&hand(&price).await);
    let fields = [("consumerGroup", "billing"), ("clientId", "one")];
    succeeds(&signed(&client, ANN, Code::GetConsumerRunningInfo, &fields, b"").await);
    let asked = std::mem::take(&mut *asked.0.lock());
    assert_eq!(asked.len(), 2);
    for fields in &asked {
        let has = |name: &str| fields.iter().any(|(field, _)| field == name);
        assert!(
            has("clientId") && !has("AccessKey") && !has("Signature"),
            "{fields:?}"
        );
    }
    rig.stop().await;
}
