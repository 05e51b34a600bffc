//! Users and their rules on every member: they are in the log. Budget: 10 s.

use rmq_broker::{BrokerConfig, HiddenText};
use rmq_protocol::bodies::{AclInfo, LockBatch, LockedQueues, MessageQueue, UserInfo};
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::FieldSource;
use rmq_protocol::signature;
use rmq_transport::OwnedFrame;

use crate::rig::Group;
use crate::support::{Client, message, remark};
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
