//! Every request code at a broker that asks who sends it and whether they may: without a signature, with a wrong one, without one of its
//! rights, and with them. Generated from the table of request codes. Budget: 20 s.

use rmq_broker::{Deps, Served, request_table};
use rmq_protocol::bodies::{AclEntry, AclInfo, AclPolicy, UserInfo};
use rmq_protocol::code::{RequestCode, Resource, Right};
use rmq_protocol::signature;
use rmq_transport::OwnedFrame;

use super::support::{Client, Rig, remark};
use super::users::{ROOT, closed, is_refused, signed, succeeds};

const ANN: (&str, &str) = ("ann", "one");

/// Fields that name a topic and a group, for whichever code.
const FIELDS: [(&str, &str); 11] = [
    ("topic", "t"),
    ("b", "t"),
    ("originTopic", "t"),
    ("consumerGroup", "g"),
    ("group", "g"),
    ("groupName", "g"),
    ("srcGroup", "g"),
    ("destGroup", "g"),
    ("compareGroup", "g"),
    ("username", "nobody"),
    ("subject", "User:nobody"),
];

/// A body that names them, for whichever code.
const BODY: &[u8] = br#"{"clientID":"c","clientId":"c","topic":"t","group":"g","groupName":"g","consumerGroup":"g",
"consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"topic":"t"}]}],"subscriptionData":{"topic":"t"},
"mqSet":[{"topic":"t","brokerName":"b","queueId":0}],"topicConfigList":[{"topicName":"t"}],"groupConfigList":[{"groupName":"g"}]}"#;

/// Gives the user exactly these rights.
async fn give(client: &Client, rights: &[&Right]) {
    let fields = [("subject", "User:ann")];
    let gone = signed(client, ROOT, RequestCode::AuthDeleteAcl, &fields, b"").await;
    assert!([0, 3002].contains(&gone.code()), "{}", remark(&gone));
    let entries: Vec<AclEntry> = rights
        .iter()
        .map(|right| AclEntry {
            // One of them is enough, so the last is tried.
            actions: right
                .actions
                .last()
                .iter()
                .map(|action| action.name().to_owned())
                .collect(),
            decision: Some("Allow".to_owned()),
            resource: Some(
                match right.on {
                    Resource::Cluster => "Cluster:prod",
                    Resource::Topic => "Topic:*",
                    Resource::Group => "Group:*",
                }
                .to_owned(),
            ),
            source_ips: None,
        })
        .collect();
    if entries.is_empty() {
        return;
    }
    let policies = vec![AclPolicy {
        entries,
        policy_type: None,
    }];
    let acl = AclInfo {
        policies,
        subject: Some("User:ann".to_owned()),
    };
    let body = acl.to_json();
    succeeds(&signed(client, ROOT, RequestCode::AuthUpdateAcl, &fields, &body).await);
}

/// Whether it was served, or refused for another reason than who asks.
fn has_passed(frame: &OwnedFrame) -> bool {
    let remark = remark(frame);
    !remark.contains("has no permission to access") && !remark.contains("check signature failed")
}

#[tokio::test]
async fn every_request_code_is_closed_to_all_but_those_who_may() {
    let rig = Rig::start_with(Deps::default(), |config| {
        closed(config);
        config.authentication_failures_per_second = 100_000;
    })
    .await;
    let client = rig.client();
    let ann = UserInfo {
        password: Some(ANN.1.to_owned()),
        ..UserInfo::default()
    };
    let fields = [("username", "ann")];
    succeeds(
        &signed(
            &client,
            ROOT,
            RequestCode::AuthCreateUser,
            &fields,
            &ann.to_json(),
        )
        .await,
    );
    let (mut refused, mut passed) = (0, 0);
    for row in request_table() {
        let code = row.code;
        let unsigned = client.call(code, &FIELDS, BODY).await;
        is_refused(&unsigned, 16, "username cannot be null");
        let wrong = signed(&client, (ANN.0, "two"), code, &FIELDS, BODY).await;
        is_refused(&wrong, 16, "check signature failed");
        let mut stale = signature::sign(ANN.0, ANN.1, &FIELDS, b"another body");
        stale.extend(FIELDS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        is_refused(
            &client.call(code, &stale, BODY).await,
            16,
            "check signature failed",
        );
        refused += 3;
        for missing in 0..row.rights.len() {
            let others = row.rights.iter().enumerate();
            let others: Vec<&Right> = others
                .filter(|(at, _)| *at != missing)
                .map(|(_, right)| right)
                .collect();
            give(&client, &others).await;
            let answer = signed(&client, ANN, code, &FIELDS, BODY).await;
            is_refused(&answer, 16, "has no permission to access");
            refused += 1;
        }
        let all: Vec<&Right> = row.rights.iter().collect();
        give(&client, &all).await;
        let answer = signed(&client, ANN, code, &FIELDS, BODY).await;
        assert!(has_passed(&answer), "{code}: {}", remark(&answer));
        if row.served != Served::Here {
            assert_eq!(answer.code(), 3, "{code}: {}", remark(&answer));
        }
        passed += 1;
    }
    let codes = RequestCode::ALL.len();
    assert!(
        passed == codes && refused >= 4 * codes - 80,
        "{passed} {refused} of {codes}"
    );
    rig.stop().await;
}
