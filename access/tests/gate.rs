//! What passes the gate: users, signatures, rules. Budget: 1 s.

use std::sync::Arc;

use rmq_access::{
    Accounts, Acl, Gate, NotPassed, Passed, Recent, Request, RequestCodes, Secret, Unauthenticated,
    User, UserKind,
};
use rmq_protocol::bodies::{AclEntry, AclInfo, AclPolicy, HeartbeatData};
use rmq_protocol::code::{Action, RequestCode, Resource, Right};
use rmq_protocol::frame::HeaderEncoding;
use rmq_protocol::header::{Fields, Header, Language};
use rmq_protocol::signature;

const PUB_TOPIC: &[Right] = &[Right::new(&[Action::Pub], Resource::Topic)];
const SUB: &[Right] = &[
    Right::new(&[Action::Sub], Resource::Topic),
    Right::new(&[Action::Sub], Resource::Group),
];
const GET_CLUSTER: &[Right] = &[Right::new(&[Action::Get], Resource::Cluster)];
const LIST_TOPICS: &[Right] = &[Right::new(&[Action::List], Resource::Topic)];

fn user(name: &str, kind: UserKind) -> Arc<User> {
    let password = Secret::new(format!("{name}-password"));
    Arc::new(User::new(name, password, kind).expect("a user"))
}

fn gate(rules: &[(&str, &[&str])]) -> Gate {
    let accounts = Accounts::default();
    accounts.set_user("root", Some(user("root", UserKind::Super)));
    accounts.set_user("ann", Some(user("ann", UserKind::Normal)));
    let off = User::stored("off", None, UserKind::Super, false);
    accounts.set_user("off", Some(Arc::new(off)));
    let sealed = User::stored("sealed", None, UserKind::Super, true);
    accounts.set_user("sealed", Some(Arc::new(sealed)));
    let entries = rules.iter().map(|(resource, actions)| AclEntry {
        actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        decision: Some("Allow".to_owned()),
        resource: Some((*resource).to_owned()),
        source_ips: None,
    });
    let info = AclInfo {
        policies: vec![AclPolicy {
            entries: entries.collect(),
            policy_type: None,
        }],
        subject: None,
    };
    if !rules.is_empty() {
        accounts.set_acl("ann", Some(Acl::read(&info).expect("rules")));
    }
    Gate {
        accounts: Arc::new(accounts),
        authorizes: true,
        unsigned: RequestCodes::default(),
        unruled: RequestCodes::default(),
        cluster: "prod".to_owned(),
    }
}

struct Asked<'a> {
    user: Option<&'a str>,
    code: RequestCode,
    rights: &'static [Right],
    fields: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    about: Option<&'a str>,
    certificate: Option<&'a str>,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self {
            user: Some("ann"),
            code: RequestCode::SendMessageV2,
            rights: PUB_TOPIC,
            fields: &[],
            body: b"",
            about: None,
            certificate: None,
        }
    }
}

fn ask(gate: &Gate, asked: Asked<'_>) -> Result<Passed, NotPassed> {
    let mut all = asked.fields.to_vec();
    let added = asked.user.map(|user| {
        let password = format!("{user}-password");
        signature::sign(user, &password, &asked.fields, asked.body)
    });
    let added = added.unwrap_or_default();
    all.extend(
        added
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    pass(gate, &asked, &all)
}

fn pass(gate: &Gate, asked: &Asked<'_>, all: &[(&str, &str)]) -> Result<Passed, NotPassed> {
    let header = Header {
        encoding: HeaderEncoding::Json,
        code: asked.code.as_i32(),
        language: Language::Java,
        version: 513,
        opaque: 1,
        flag: 0,
        remark: None,
        fields: Fields::from_pairs(all),
    };
    let request = Request {
        code: asked.code,
        rights: asked.rights,
        header: &header,
        body: asked.body,
        from: "10.0.0.1".parse().expect("an address"),
        certificate: asked.certificate,
        about: asked.about,
    };
    gate.pass(&request, &mut Recent::default())
}

fn why(passed: Result<Passed, NotPassed>) -> String {
    passed.map(drop).expect_err("refused").to_string()
}

#[test]
fn nobody_passes_who_is_not_known() {
    let gate = gate(&[]);
    let by = |user| {
        ask(
            &gate,
            Asked {
                user,
                ..Asked::default()
            },
        )
    };
    for (user, expected) in [
        (None, Unauthenticated::NoUser),
        (Some("bob"), Unauthenticated::Unknown("bob".to_owned())),
        (Some("off"), Unauthenticated::Disabled("off".to_owned())),
        (Some("sealed"), Unauthenticated::Sealed("sealed".to_owned())),
    ] {
        let refused = by(user).map(drop);
        assert_eq!(refused, Err(NotPassed::Unauthenticated(expected)));
    }
    let asked = Asked::default();
    let unsigned = pass(&gate, &asked, &[("AccessKey", "ann")]).map(drop);
    let expected = Unauthenticated::NotSigned("ann".to_owned());
    assert_eq!(unsigned, Err(expected.into()));
    // The signature of ann, with the name of root.
    let added = signature::sign("ann", "ann-password", &[("b", "orders")], b"");
    let stolen = [
        ("b", "orders"),
        ("AccessKey", "root"),
        ("Signature", &added[1].1),
    ];
    let expected = Unauthenticated::Wrong("root".to_owned());
    assert_eq!(pass(&gate, &asked, &stolen).map(drop), Err(expected.into()));
}

#[test]
fn super_users_may_everything_and_others_what_rules_allow() {
    let gate = gate(&[("Topic:orders", &["Pub"])]);
    let send = |user, topic| {
        let fields = &[("a", "producers"), ("b", topic)];
        ask(
            &gate,
            Asked {
                user: Some(user),
                fields,
                body: b"hello",
                ..Asked::default()
            },
        )
    };
    assert!(matches!(send("root", "other"), Ok(Passed::User(_))));
    assert!(send("ann", "orders").is_ok());
    assert_eq!(
        why(send("ann", "other")),
        "User:ann has no permission to access Topic:other from 10.0.0.1: it needs PUB, and no rule allows that"
    );
    let cluster = Asked {
        code: RequestCode::GetBrokerConfig,
        rights: GET_CLUSTER,
        ..Asked::default()
    };
    assert!(why(ask(&gate, cluster)).contains("Cluster:prod"));
}

#[test]
fn topics_of_retries_belong_to_their_group() {
    let gate = gate(&[("Group:billing", &["Sub"]), ("Topic:orders", &["Sub"])]);
    let send = |topic| {
        let fields = &[("a", "CLIENT_INNER_PRODUCER"), ("b", topic)];
        ask(
            &gate,
            Asked {
                fields,
                ..Asked::default()
            },
        )
    };
    assert!(send("%RETRY%billing").is_ok());
    assert!(why(send("%RETRY%other")).contains("Group:other"));
    let pull = |topic, group| {
        let fields = &[("topic", topic), ("consumerGroup", group)];
        let code = RequestCode::PullMessage;
        ask(
            &gate,
            Asked {
                code,
                rights: SUB,
                fields,
                ..Asked::default()
            },
        )
    };
    assert!(pull("orders", "billing").is_ok());
    assert!(pull("%RETRY%billing", "billing").is_ok());
    // Not the retries of others by an own group.
    assert!(pull("%RETRY%other", "billing").is_err());
    assert!(pull("orders", "other").is_err());
    assert!(pull("other", "billing").is_err());
}

#[test]
fn requests_inside_are_checked_and_empty_ones_are_about_all() {
    let limited = gate(&[("Group:billing", &["Sub"]), ("Topic:orders", &["Sub"])]);
    let beat = |gate: &Gate, body: &[u8]| {
        let code = RequestCode::HeartBeat;
        ask(
            gate,
            Asked {
                code,
                rights: SUB,
                body,
                ..Asked::default()
            },
        )
    };
    let body = |topic: &str| {
        let json = format!(
            r#"{{"clientID":"c","consumerDataSet":[{{"groupName":"billing","subscriptionDataSet":[{{"topic":"orders"}},{{"topic":"{topic}"}}]}}]}}"#
        );
        HeartbeatData::from_json(json.as_bytes())
            .expect("a heartbeat")
            .to_json()
    };
    assert!(beat(&limited, &body("%RETRY%billing")).is_ok());
    assert!(why(beat(&limited, &body("secrets"))).contains("Topic:secrets"));
    assert!(beat(&limited, br#"{"producerDataSet":[{"groupName":"p"}]}"#).is_ok());
    assert!(why(beat(&limited, b"no JSON")).contains("Topic:*"));
    let list = |gate: &Gate| {
        let code = RequestCode::GetAllTopicConfig;
        ask(
            gate,
            Asked {
                code,
                rights: LIST_TOPICS,
                ..Asked::default()
            },
        )
    };
    assert!(list(&limited).is_err());
    assert!(list(&gate(&[("Topic:orders*", &["List"])])).is_err());
    assert!(list(&gate(&[("Topic:*", &["List"])])).is_ok());
}

#[test]
fn what_a_server_knows_counts_before_what_a_request_says() {
    let gate = gate(&[("Topic:orders", &["Pub"])]);
    let end = |about, fields| {
        let code = RequestCode::EndTransaction;
        ask(
            &gate,
            Asked {
                code,
                fields,
                about,
                ..Asked::default()
            },
        )
    };
    assert!(end(Some("orders"), &[]).is_ok());
    assert!(end(Some("other"), &[("topic", "orders")]).is_err());
    assert!(end(None, &[("topic", "orders")]).is_ok());
    // Nothing is open there, and the handler says so.
    assert!(end(None, &[]).is_ok());
}

#[test]
fn certificates_name_users_and_signatures_count_before_them() {
    let gate = gate(&[("Topic:orders", &["Pub"])]);
    let fields = &[("b", "orders")];
    let by = |user, certificate| {
        ask(
            &gate,
            Asked {
                user,
                certificate,
                fields,
                ..Asked::default()
            },
        )
    };
    assert!(by(None, Some("ann")).is_ok());
    assert!(by(None, Some("bob")).is_err());
    match by(Some("ann"), Some("root")) {
        Ok(Passed::User(account)) => assert_eq!(account.user.name, "ann"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn white_lists_open_codes() {
    let mut gate = gate(&[]);
    gate.unsigned = "10, 310".parse().expect("codes");
    assert!(matches!(
        ask(
            &gate,
            Asked {
                user: None,
                ..Asked::default()
            }
        ),
        Ok(Passed::Anybody)
    ));
    gate.unsigned = RequestCodes::default();
    gate.unruled = "310".parse().expect("codes");
    assert!(
        ask(
            &gate,
            Asked {
                fields: &[("b", "x")],
                ..Asked::default()
            }
        )
        .is_ok()
    );
    assert_eq!("10,9999".parse::<RequestCodes>(), Err("9999".to_owned()));
}
