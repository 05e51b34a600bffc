//! Users and their rules on every member: they are in the log. Budget: 10 s.

use rmq_broker::{BrokerConfig, HiddenText};
use rmq_protocol::bodies::{AclInfo, LockBatch, LockedQueues, MessageQueue, UserInfo};
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::FieldSource;
use rmq_protocol::signature;
use rmq_transport::OwnedFrame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::offsets::NameServer;
use crate::rig::{Group, Member, eventually};
use crate::support::{Client, PATIENCE, message, remark};
use crate::switches::change_roles;

const ROOT: (&str, &str) = ("root", "root-password");
const ANN: (&str, &str) = ("ann", "one");

fn closed(config: &mut BrokerConfig) {
    config.authentication = true;
    config.authorization = true;
    // The members are looked at: 28 and 907.
    config.authentication_whitelist = "28,907".to_owned();
    let user = format!(r#"{{"username":"{}","password":"{}"}}"#, ROOT.0, ROOT.1);
    config.init_user = HiddenText::new(user);
    let inner = r#"{"accessKey":"inner","secretKey":"inner-password"}"#;
    config.inner_credentials = HiddenText::new(inner.to_owned());
}

async fn signed(
    client: &Client,
    (user, password): (&str, &str),
    code: RequestCode,
    fields: &(dyn FieldSource + Sync),
    body: &[u8],
) -> OwnedFrame {
    let signature = signature::sign(user, password, &fields, body);
    client.call(code, &(fields, signature), body).await
}

async fn send(client: &Client) -> OwnedFrame {
    let fields = message("orders", 0, "");
    signed(client, ANN, RequestCode::SendMessageV2, &fields, b"hello").await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_those_of_the_master_and_count_after_a_change_of_roles() {
    let Group { master, replicas } = Group::start(1, closed).await;
    let [replica] = <[_; 1]>::try_from(replicas).unwrap_or_else(|_| panic!("one replica"));
    let client = master.client();
    let info = UserInfo {
        password: Some(ANN.1.to_owned()),
        ..UserInfo::default()
    };
    let name = [("username", ANN.0)];
    let made = signed(
        &client,
        ROOT,
        RequestCode::AuthCreateUser,
        &name,
        &info.to_json(),
    )
    .await;
    assert_eq!(made.code(), 0, "{}", remark(&made));
    let rules = r#"{"subject":"User:ann","policies":[{"policyType":"Custom","entries":[
        {"resource":"Topic:orders","actions":["Pub","Sub"],"decision":"Allow"},
        {"resource":"Group:readers","actions":["Sub"],"decision":"Allow"}]}]}"#;
    let rules = AclInfo::from_json(rules.as_bytes()).expect("rules");
    let subject = [("subject", "User:ann")];
    let code = RequestCode::AuthUpdateAcl;
    let given = signed(&client, ROOT, code, &subject, &rules.to_json()).await;
    assert_eq!(given.code(), 0, "{}", remark(&given));
    let sent = send(&client).await;
    assert_eq!(sent.code(), 0, "{}", remark(&sent));
    replica.catches_up_with(&master).await;

    // The replica knows who asks, and refuses for another reason.
    let there = replica.client();
    let listed = signed(&there, ROOT, RequestCode::AuthListUser, &(), b"").await;
    let listed = UserInfo::list_from_json(listed.body()).expect("users");
    let names: Vec<_> = listed
        .iter()
        .filter_map(|user| user.username.as_deref())
        .collect();
    assert_eq!(names, ["ann", "inner", "root"]);
    let refused = send(&there).await;
    assert!(remark(&refused).contains("master"), "{}", remark(&refused));
    let wrong = signed(&there, (ANN.0, "two"), RequestCode::GetMaxOffset, &(), b"").await;
    assert_eq!(wrong.code(), 16, "{}", remark(&wrong));

    let (master, back) = change_roles(master.stop(true).await, replica).await;
    let sent = send(&master.client()).await;
    assert_eq!(sent.code(), 0, "{}", remark(&sent));
    let locks = LockBatch {
        consumer_group: "readers".to_owned(),
        client_id: "c".to_owned(),
        mq_set: vec![MessageQueue::new("orders", "broker-a", 0)],
        ..LockBatch::default()
    };
    let code = RequestCode::LockBatchMq;
    let locked = signed(&master.client(), ANN, code, &(), &locks.to_json()).await;
    let locked = LockedQueues::from_json(locked.body()).expect("queues");
    assert_eq!(locked.lock_ok_mq_set.len(), 1);
    let stranger = signed(&master.client(), ("eve", "x"), code, &(), &locks.to_json()).await;
    assert_eq!(stranger.code(), 16, "{}", remark(&stranger));
    for member in [back, master] {
        member.broker.shutdown().await.expect("a clean stop");
    }
}

/// Gives the message at `position` up, by `user`.
async fn give_up(client: &Client, user: (&str, &str), position: &str) -> OwnedFrame {
    let fields = [
        ("offset", position),
        ("group", "readers"),
        ("originTopic", "orders"),
        ("delayLevel", "-1"),
    ];
    let code = RequestCode::ConsumerSendMsgBack;
    signed(client, user, code, &fields.as_slice(), b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_passes_on_is_the_users_and_not_the_replicas() {
    let (name_server, stop) = NameServer::start().await;
    let group = Group::start(1, |config| {
        closed(config);
        config.name_servers.clone_from(&name_server);
    })
    .await;
    group.master.broker.registered().await;
    let master = group.master.client();
    let info = UserInfo {
        password: Some(ANN.1.to_owned()),
        ..UserInfo::default()
    };
    let (name, subject) = ([("username", ANN.0)], [("subject", "User:ann")]);
    let rules = r#"{"subject":"User:ann","policies":[{"policyType":"Custom","entries":[
        {"resource":"Topic:orders","actions":["Sub"],"decision":"Allow","sourceIps":["127.0.0.1"]},
        {"resource":"Group:readers","actions":["Sub"],"decision":"Allow"}]}]}"#;
    let rules = AclInfo::from_json(rules.as_bytes()).expect("rules");
    for (code, fields, body) in [
        (RequestCode::AuthCreateUser, &name, info.to_json()),
        (RequestCode::AuthUpdateAcl, &subject, rules.to_json()),
    ] {
        let done = signed(&master, ROOT, code, fields, &body).await;
        assert_eq!(done.code(), 0, "{}", remark(&done));
    }
    let mut positions = Vec::new();
    for topic in ["orders", "prices"] {
        let fields = message(topic, 0, "");
        let stored = signed(&master, ROOT, RequestCode::SendMessageV2, &fields, b"x").await;
        let stored = crate::support::sent(&stored).expect("stored");
        let id: Result<rmq_protocol::message::OffsetMessageId, _> = stored.msg_id.parse();
        positions.push(id.expect("an id").position.0.to_string());
    }
    let [order, price] = <[String; 2]>::try_from(positions).expect("two");
    group.caught_up().await;
    let replica = group.replicas[0].client();
    // The replica knows the address of its master's clients when the name server has told it.
    eventually("the replica passes it on", async || {
        let given = give_up(&replica, ANN, &order).await;
        let is_given = given.code() == 0;
        assert!(is_given || given.code() == 2, "{}", remark(&given));
        is_given
    })
    .await;
    let refused = give_up(&replica, ANN, &price).await;
    let says = remark(&refused);
    assert_eq!(refused.code(), 16, "{says}");
    assert!(
        says.contains("User:ann has no permission to access Topic:prices from 127.0.0.1"),
        "{says}"
    );
    // A user cannot ask in the name of another one.
    let fields = [
        ("offset", price.as_str()),
        ("group", "readers"),
        ("originTopic", "orders"),
        ("delayLevel", "-1"),
        ("rmqForUser", ROOT.0),
    ];
    let code = RequestCode::ConsumerSendMsgBack;
    for member in [&replica, &master] {
        let refused = signed(member, ANN, code, &fields.as_slice(), b"").await;
        let says = remark(&refused);
        assert!(refused.code() == 16 && says.contains("User:ann"), "{says}");
    }
    let given = give_up(&replica, ROOT, &price).await;
    assert_eq!(given.code(), 0, "{}", remark(&given));
    group.stop().await;
    stop.cancel();
}

/// The bytes that the master sends on its replication port before it ends a connection that sends `bytes`.
async fn answered(master: &Member, bytes: &[u8]) -> Vec<u8> {
    let at = master.broker.replication_addr().expect("a port");
    let mut socket = tokio::net::TcpStream::connect(at).await.expect("connected");
    socket.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // A reset ends it too.
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer));
    let _ = read.await.expect("the master ends it");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_group_copies_only_to_members_that_prove_to_be_of_it() {
    let group = Group::start(3, |config| {
        closed(config);
        match config.broker_id {
            1 => {
                let other = r#"{"accessKey":"inner","secretKey":"another-password"}"#;
                config.inner_credentials = HiddenText::new(other.to_owned());
            }
            2 => config.inner_credentials = HiddenText::default(),
            _ => {}
        }
    })
    .await;
    let master = &group.master;
    let fields = message("orders", 0, "");
    let sent = signed(
        &master.client(),
        ROOT,
        RequestCode::SendMessageV2,
        &fields,
        b"x",
    )
    .await;
    assert_eq!(sent.code(), 0, "{}", remark(&sent));
    group.replicas[2].catches_up_with(master).await;
    // A frame without a proof, and a proof that was recorded: what the master says to it fits no more.
    assert_eq!(answered(master, &[0; 64]).await, b"");
    let recorded = [&b"RMQP\x01"[..], &[7; 32], &[9; 32]].concat();
    let answer = answered(master, &recorded).await;
    assert_eq!(answer.len(), 1 + 32 + 32 + 1, "{answer:?}");
    assert_eq!((answer[0], answer[65]), (1, 0), "{answer:?}");
    let again = answered(master, &recorded).await;
    assert_ne!(answer[1..65], again[1..65]);
    // The others came before, and are not there.
    let copying = master.copying().await;
    assert_eq!(copying.ha_connection_info.len(), 1, "{copying:?}");
    for refused in &group.replicas[..2] {
        let there = refused.copying().await.ha_client_runtime_info;
        assert_eq!(there.max_offset, 0, "{there:?}");
    }
    group.stop().await;
}
