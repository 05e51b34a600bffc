//! Users and their rules (codes 3001 to 3010), signatures, and what users may. Budget: 10 s.

use std::path::Path;

use rmq_broker::{BrokerConfig, BrokerServer, Deps};
use rmq_protocol::bodies::{AclEntry, AclInfo, AclPolicy, UserInfo};
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::FieldSource;
use rmq_protocol::signature;
use rmq_transport::OwnedFrame;

use super::support::{Client, Rig, message, pull, remark};

pub(crate) const ROOT: (&str, &str) = ("root", "root-password");

/// A broker that knows the super user [`ROOT`].
pub(crate) fn closed(config: &mut BrokerConfig) {
    config.authentication = true;
    config.authorization = true;
    let user = format!(r#"{{"username":"{}","password":"{}"}}"#, ROOT.0, ROOT.1);
    config.init_user = rmq_broker::HiddenText::new(user);
    config.cluster_name = "prod".to_owned();
}

/// Sends a request signed by a user.
pub(crate) async fn signed(
    client: &Client,
    (user, password): (&str, &str),
    code: RequestCode,
    fields: &(dyn FieldSource + Sync),
    body: &[u8],
) -> OwnedFrame {
    let signature = signature::sign(user, password, &fields, body);
    client.call(code, &(fields, signature), body).await
}

fn user(password: &str, kind: &str, status: &str) -> Vec<u8> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    UserInfo {
        password: some(password),
        user_status: some(status),
        user_type: some(kind),
        username: None,
    }
    .to_json()
}

fn acl(user: &str, rules: &[(&str, &[&str], &str)]) -> Vec<u8> {
    let entries = rules.iter().map(|(resource, actions, decision)| AclEntry {
        actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        decision: Some((*decision).to_owned()),
        resource: Some((*resource).to_owned()),
        source_ips: None,
    });
    AclInfo {
        policies: vec![AclPolicy {
            entries: entries.collect(),
            policy_type: Some("Custom".to_owned()),
        }],
        subject: Some(format!("User:{user}")),
    }
    .to_json()
}

#[track_caller]
pub(crate) fn succeeds(frame: &OwnedFrame) {
    assert_eq!(frame.code(), 0, "{}", remark(frame));
}

#[track_caller]
pub(crate) fn is_refused(frame: &OwnedFrame, code: i32, text: &str) {
    let remark = remark(frame);
    assert_eq!(frame.code(), code, "{remark}");
    assert!(remark.contains(text), "{remark}");
}

async fn create(client: &Client, name: &str, body: &[u8]) -> OwnedFrame {
    let fields = [("username", name)];
    signed(client, ROOT, RequestCode::AuthCreateUser, &fields, body).await
}

#[tokio::test]
async fn users_are_created_changed_listed_and_deleted() {
    let rig = Rig::start_with(Deps::default(), closed).await;
    let client = rig.client();
    let ask = |code, fields: &'static [(&'static str, &'static str)], body: Vec<u8>| {
        let client = client.clone();
        async move { signed(&client, ROOT, code, &fields, &body).await }
    };
    succeeds(&create(&client, "ann", &user("one", "", "")).await);
    let again = create(&client, "ann", &user("two", "", "")).await;
    is_refused(&again, 604, "The user is existed");
    for (name, body, text) in [
        ("", user("p", "", ""), "blank"),
        ("bob", user("", "", ""), "password"),
        ("bob", user("p", "King", ""), "King"),
        ("bob", b"p: hunter2".to_vec(), "not JSON"),
    ] {
        is_refused(&create(&client, name, &body).await, 29, text);
    }
    let ann: &[(&str, &str)] = &[("username", "ann")];
    let bob: &[(&str, &str)] = &[("username", "bob")];
    let found = ask(RequestCode::AuthGetUser, ann, vec![]).await;
    succeeds(&found);
    let found = UserInfo::from_json(found.body()).expect("a user");
    assert_eq!(found.user_type.as_deref(), Some("Normal"));
    assert_eq!(found.user_status.as_deref(), Some("enable"));
    // To a super user, as copyUser of mqadmin needs it.
    assert_eq!(found.password.as_deref(), Some("one"));
    let nobody = ask(RequestCode::AuthGetUser, bob, vec![]).await;
    assert_eq!((nobody.code(), nobody.body().len()), (0, 0));

    succeeds(&ask(RequestCode::AuthUpdateUser, ann, user("two", "", "")).await);
    let unknown = ask(RequestCode::AuthUpdateUser, bob, user("two", "", "")).await;
    is_refused(&unknown, 3001, "The user is not exist");
    let listed = ask(RequestCode::AuthListUser, &[("filter", "")], vec![]).await;
    let listed = UserInfo::list_from_json(listed.body()).expect("users");
    let names: Vec<_> = listed
        .iter()
        .filter_map(|user| user.username.as_deref())
        .collect();
    assert_eq!(names, ["ann", "root"]);

    succeeds(&ask(RequestCode::AuthDeleteUser, ann, vec![]).await);
    succeeds(&ask(RequestCode::AuthDeleteUser, ann, vec![]).await);
    let root: &[(&str, &str)] = &[("username", "root")];
    let configured = ask(RequestCode::AuthDeleteUser, root, vec![]).await;
    is_refused(&configured, 604, "configuration");
    rig.stop().await;
}

#[tokio::test]
async fn rules_are_merged_by_resource_and_deleted() {
    let rig = Rig::start_with(Deps::default(), closed).await;
    let client = rig.client();
    let ask = |code, fields: &'static [(&'static str, &'static str)], body: Vec<u8>| {
        let client = client.clone();
        async move { signed(&client, ROOT, code, &fields, &body).await }
    };
    let ann: &[(&str, &str)] = &[("subject", "User:ann")];
    let rules = acl(
        "ann",
        &[
            ("Topic:a", &["Pub"], "Allow"),
            ("Group:g", &["Sub"], "Allow"),
        ],
    );
    let early = ask(RequestCode::AuthCreateAcl, ann, rules.clone()).await;
    is_refused(&early, 3001, "The user is not exist");
    succeeds(&create(&client, "ann", &user("one", "", "")).await);
    let none = ask(RequestCode::AuthGetAcl, ann, vec![]).await;
    assert_eq!((none.code(), none.body().len()), (0, 0));
    succeeds(&ask(RequestCode::AuthCreateAcl, ann, rules).await);
    let more = acl(
        "ann",
        &[("Topic:a", &["Sub"], "Deny"), ("*", &["List"], "Allow")],
    );
    succeeds(&ask(RequestCode::AuthUpdateAcl, ann, more).await);
    let entries = |frame: &OwnedFrame| -> Vec<String> {
        let info = AclInfo::from_json(frame.body()).expect("rules");
        let policy = &info.policies[0];
        let text = |entry: &AclEntry| {
            format!(
                "{} {:?}",
                entry.resource.as_deref().unwrap_or(""),
                entry.actions
            )
        };
        policy.entries.iter().map(text).collect()
    };
    let found = ask(RequestCode::AuthGetAcl, ann, vec![]).await;
    assert_eq!(
        entries(&found),
        [r#"Topic:a ["Sub"]"#, r#"Group:g ["Sub"]"#, r#"* ["List"]"#]
    );
    for (wrong, text) in [
        (acl("ann", &[("Topic:a", &["Fly"], "Allow")]), "Fly"),
        (acl("ann", &[("Queue:a", &["Pub"], "Allow")]), "Queue:a"),
        (acl("ann", &[]), "no policy"),
    ] {
        is_refused(&ask(RequestCode::AuthUpdateAcl, ann, wrong).await, 29, text);
    }
    let one: &[(&str, &str)] = &[("subject", "User:ann"), ("resource", "Topic:a")];
    succeeds(&ask(RequestCode::AuthDeleteAcl, one, vec![]).await);
    let gone = ask(RequestCode::AuthDeleteAcl, one, vec![]).await;
    is_refused(&gone, 3002, "The acl is not exist");
    let filtered: &[(&str, &str)] = &[("subjectFilter", "ann"), ("resourceFilter", "Group")];
    let listed = ask(RequestCode::AuthListAcl, filtered, vec![]).await;
    let listed = AclInfo::list_from_json(listed.body()).expect("rules");
    assert_eq!((listed.len(), listed[0].policies[0].entries.len()), (1, 1));
    succeeds(&ask(RequestCode::AuthDeleteAcl, ann, vec![]).await);
    let none = ask(RequestCode::AuthGetAcl, ann, vec![]).await;
    assert_eq!((none.code(), none.body().len()), (0, 0));
    rig.stop().await;
}

#[tokio::test]
async fn a_user_does_what_rules_allow_and_nothing_else() {
    let rig = Rig::start_with(Deps::default(), closed).await;
    let client = rig.client();
    let ann = ("ann", "one");
    succeeds(&create(&client, ann.0, &user(ann.1, "", "")).await);
    let send = |by| {
        let client = client.clone();
        async move {
            let fields = message("orders", 0, "");
            signed(&client, by, RequestCode::SendMessageV2, &fields, b"hello").await
        }
    };
    let unsigned = client
        .call(
            RequestCode::SendMessageV2,
            &message("orders", 0, ""),
            b"hello",
        )
        .await;
    is_refused(&unsigned, 16, "username cannot be null");
    is_refused(&send(("bob", "one")).await, 16, "User:bob is not found");
    is_refused(&send(("ann", "two")).await, 16, "check signature failed");
    is_refused(
        &send(ann).await,
        16,
        "User:ann has no permission to access Topic:orders from 127.0.0.1: it needs PUB",
    );
    succeeds(&send(ROOT).await);

    let rules = acl(
        "ann",
        &[
            ("Topic:ord*", &["Pub", "Sub"], "Allow"),
            ("Group:readers", &["Sub"], "Allow"),
        ],
    );
    let fields = [("subject", "User:ann")];
    succeeds(&signed(&client, ROOT, RequestCode::AuthUpdateAcl, &fields, &rules).await);
    succeeds(&send(ann).await);
    let read = signed(
        &client,
        ann,
        RequestCode::PullMessage,
        &pull("orders", 0, 0),
        b"",
    )
    .await;
    succeeds(&read);
    let refused = signed(&client, ann, RequestCode::GetBrokerConfig, &(), b"").await;
    is_refused(&refused, 16, "Cluster:prod");
    // The own rules are no one's to change, nor are super users.
    let update = acl("ann", &[("Cluster:prod", &["Update"], "Allow")]);
    succeeds(&signed(&client, ROOT, RequestCode::AuthUpdateAcl, &fields, &update).await);
    let all = acl("ann", &[("*", &["All"], "Allow")]);
    let own = signed(&client, ann, RequestCode::AuthUpdateAcl, &fields, &all).await;
    is_refused(&own, 16, "own rules");
    let made = [("username", "eve")];
    let eve = signed(
        &client,
        ann,
        RequestCode::AuthCreateUser,
        &made,
        &user("p", "Super", ""),
    )
    .await;
    is_refused(&eve, 16, "super user");

    let deny = acl("ann", &[("Topic:orders", &["Pub"], "Deny")]);
    succeeds(&signed(&client, ROOT, RequestCode::AuthUpdateAcl, &fields, &deny).await);
    is_refused(&send(ann).await, 16, "Custom: Deny Pub on Topic:orders");
    let off = [("username", "ann")];
    let off = signed(
        &client,
        ROOT,
        RequestCode::AuthUpdateUser,
        &off,
        &user("", "", "disable"),
    )
    .await;
    succeeds(&off);
    is_refused(&send(ann).await, 16, "User:ann is disabled");
    rig.stop().await;
}

#[tokio::test]
async fn users_survive_a_restart_and_sealed_passwords_need_their_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, [7; 32]).expect("written");
    let config = |key: &Path| {
        let mut config = super::support::config(&folder.path().join("data"));
        closed(&mut config);
        config.user_secrets_key_file = key.to_owned();
        config
    };
    let start = async |key: &Path| {
        let broker = BrokerServer::start(config(key), Deps::default()).await;
        broker.expect("the broker starts")
    };
    let broker = start(&key).await;
    let client = Client::to(&broker);
    succeeds(&create(&client, "ann", &user("hunter2-of-ann", "Super", "")).await);
    broker.shutdown().await.expect("a clean stop");
    let find = |folder: &Path| -> bool {
        let mut folders = vec![folder.to_owned()];
        let mut found = false;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("listed").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = std::fs::read(&path).expect("read");
                    found |= bytes.windows(14).any(|part| part == b"hunter2-of-ann");
                }
            }
        }
        found
    };
    assert!(
        !find(&folder.path().join("data")),
        "the password is in a file"
    );

    let broker = start(&key).await;
    let ann = ("ann", "hunter2-of-ann");
    let info = signed(
        &Client::to(&broker),
        ann,
        RequestCode::GetBrokerConfig,
        &(),
        b"",
    )
    .await;
    succeeds(&info);
    let text = String::from_utf8_lossy(info.body()).into_owned();
    assert!(!text.contains(ROOT.1), "{text}");
    broker.shutdown().await.expect("a clean stop");

    let broker = start(Path::new("")).await;
    let info = signed(
        &Client::to(&broker),
        ann,
        RequestCode::GetBrokerConfig,
        &(),
        b"",
    )
    .await;
    is_refused(&info, 16, "userSecretsKeyFile");
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test]
async fn an_open_broker_keeps_users_and_tells_nobody_their_passwords() {
    let rig = Rig::start().await;
    let client = rig.client();
    let fields = [("username", "ann")];
    let body = user("hunter2", "Super", "");
    succeeds(
        &client
            .call(RequestCode::AuthCreateUser, &fields, &body)
            .await,
    );
    let found = client.call(RequestCode::AuthGetUser, &fields, b"").await;
    let found = UserInfo::from_json(found.body()).expect("a user");
    assert_eq!(
        (found.password, found.user_type.as_deref()),
        (None, Some("Super"))
    );
    // Requests that name a user are served as any other.
    let send = signed(
        &client,
        ("bob", "x"),
        RequestCode::SendMessageV2,
        &message("t", 0, ""),
        b"",
    )
    .await;
    succeeds(&send);
    rig.stop().await;
}
