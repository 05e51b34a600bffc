//! A name server that asks who sends a request and whether they may: every request code, registrations, and whose a broker group is.
//! Budget: 10 s.

use std::sync::Arc;
use std::time::Duration;

use rmq_namesrv::{
    Deps, HiddenText, NameServer, NameServerConfig, RunningNameServer, request_table,
};
use rmq_protocol::bodies::{
    AclEntry, AclInfo, AclPolicy, RegisterBrokerBody, TopicConfig, UserInfo,
};
use rmq_protocol::code::{RequestCode, Resource, Right};
use rmq_protocol::header::FieldSource;
use rmq_protocol::requests::{GetRouteinfoByTopic, RegisterBroker};
use rmq_protocol::signature;
use rmq_transport::{Caller, CallerConfig, OwnedFrame, RefuseIncoming, TcpConnector};

const PATIENCE: Duration = Duration::from_secs(20);
const INNER: &str = r#"{"accessKey":"inner","secretKey":"inner-password"}"#;

fn user(name: &str) -> UserInfo {
    UserInfo {
        username: Some(name.to_owned()),
        password: Some(format!("{name}-password")),
        ..UserInfo::default()
    }
}

/// A user for each code, who has its rights and no others.
fn users_file() -> String {
    let rights = |code: RequestCode, rights: &[Right]| AclInfo {
        policies: vec![AclPolicy {
            entries: rights
                .iter()
                .map(|right| AclEntry {
                    actions: right
                        .actions
                        .last()
                        .iter()
                        .map(|action| action.name().to_owned())
                        .collect(),
                    decision: Some("Allow".to_owned()),
                    resource: Some(
                        match right.on {
                            Resource::Cluster => "Cluster:*",
                            Resource::Topic => "Topic:*",
                            Resource::Group => "Group:*",
                        }
                        .to_owned(),
                    ),
                    source_ips: None,
                })
                .collect(),
            policy_type: None,
        }],
        subject: Some(format!("User:{}", code.name())),
    };
    let mut users = vec![user("ann"), user("bob")];
    users.extend(request_table().map(|(code, _)| user(code.name())));
    let acls: Vec<AclInfo> = request_table()
        .map(|(code, own)| rights(code, own))
        .collect();
    format!(
        r#"{{"users":{},"acls":{}}}"#,
        String::from_utf8(UserInfo::list_to_json(&users)).expect("JSON"),
        String::from_utf8(AclInfo::list_to_json(&acls)).expect("JSON"),
    )
}

struct Rig {
    server: RunningNameServer,
    caller: Caller,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn start(change: impl FnOnce(&mut NameServerConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.json");
        std::fs::write(&path, users_file()).expect("written");
        let mut config = NameServerConfig {
            listen: "127.0.0.1:0".to_owned(),
            management: String::new(),
            authentication: true,
            authorization: true,
            inner_credentials: HiddenText::new(INNER.to_owned()),
            users_file: path,
            authentication_failures_per_second: 100_000,
            ..NameServerConfig::default()
        };
        change(&mut config);
        let server = NameServer::start(config, Deps::default())
            .await
            .expect("it starts");
        let caller = Caller::new(
            server.local_addr().to_string(),
            Arc::new(TcpConnector),
            CallerConfig::default(),
            Arc::new(RefuseIncoming),
        );
        Self {
            server,
            caller,
            _folder: folder,
        }
    }

    async fn unsigned(
        &self,
        code: RequestCode,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> OwnedFrame {
        let answer = self
            .caller
            .call(code.as_i32(), fields, body, PATIENCE)
            .await;
        answer.expect("an answer")
    }

    async fn signed(
        &self,
        user: &str,
        code: RequestCode,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> OwnedFrame {
        let signature = signature::sign(user, &format!("{user}-password"), &fields, body);
        self.unsigned(code, &(fields, signature), body).await
    }

    async fn register(&self, user: &str, group: &str) -> OwnedFrame {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        for topic in ["orders", "prices"] {
            table.insert(topic.to_owned(), TopicConfig::new(topic, 4));
        }
        let request = RegisterBroker {
            master_epoch: None,
            broker_id: 0,
            body_crc32: None,
            cluster_name: "prod".into(),
            broker_addr: "10.0.0.1:10911".into(),
            heartbeat_timeout_millis: None,
            enable_acting_master: None,
            ha_server_addr: Some("".into()),
            compressed: Some(false),
            broker_name: group.into(),
            zone_name: None,
        };
        self.signed(user, RequestCode::RegisterBroker, &request, &body.to_json())
            .await
    }
}

fn remark(frame: &OwnedFrame) -> String {
    let remark = frame
        .header()
        .remark
        .as_ref()
        .map(|remark| remark.to_cow().into_owned());
    remark.unwrap_or_default()
}

#[track_caller]
fn is_refused(frame: &OwnedFrame, text: &str) {
    let remark = remark(frame);
    assert_eq!(frame.code(), 16, "{remark}");
    assert!(remark.contains(text), "{remark}");
}

#[tokio::test]
async fn every_request_code_is_closed_to_all_but_those_who_may() {
    let rig = Rig::start(|config| config.authentication_whitelist = String::new()).await;
    let fields = [("topic", "t")];
    let mut served = 0;
    for code in RequestCode::ALL {
        is_refused(
            &rig.unsigned(*code, &fields, b"").await,
            "username cannot be null",
        );
        let wrong = signature::sign("ann", "wrong", &fields, b"");
        is_refused(
            &rig.unsigned(*code, &(&fields, wrong), b"").await,
            "check signature failed",
        );
        let own = request_table().find(|(served, _)| served == code);
        let answer = rig.signed("ann", *code, &fields, b"").await;
        if own.is_none() {
            assert_eq!(answer.code(), 3, "{code}: {}", remark(&answer));
            continue;
        }
        is_refused(&answer, "has no permission to access");
        let answer = rig.signed(code.name(), *code, &fields, b"").await;
        assert!(
            !remark(&answer).contains("has no permission"),
            "{code}: {}",
            remark(&answer)
        );
        served += 1;
    }
    assert!(served > 20, "{served}");
    rig.server.shutdown().await;
}

#[tokio::test]
async fn clients_ask_for_routes_and_only_brokers_register() {
    let rig = Rig::start(|_| {}).await;
    let route = GetRouteinfoByTopic {
        topic: "orders".into(),
        accept_standard_json_only: None,
    };
    is_refused(&rig.register("ann", "broker-a").await, "Cluster:*");
    let registered = rig.register("inner", "broker-a").await;
    assert_eq!(registered.code(), 0, "{}", remark(&registered));
    // A client of a broker whose user is not known here.
    let code = RequestCode::GetRouteinfoByTopic;
    let found = rig.signed("somebody", code, &route, b"").await;
    assert_eq!(found.code(), 0, "{}", remark(&found));
    assert_eq!(rig.unsigned(code, &route, b"").await.code(), 0);
    let topics = RequestCode::GetAllTopicListFromNameserver;
    is_refused(
        &rig.unsigned(topics, &(), b"").await,
        "username cannot be null",
    );
    rig.server.shutdown().await;
}

#[tokio::test]
async fn a_broker_group_belongs_to_one_user() {
    let rig = Rig::start(|config| {
        config.authorization = false;
        config.broker_identities = "broker-b=bob".to_owned();
    })
    .await;
    assert_eq!(rig.register("inner", "broker-a").await.code(), 0);
    assert_eq!(rig.register("inner", "broker-a").await.code(), 0);
    is_refused(
        &rig.register("ann", "broker-a").await,
        "was registered by user inner first",
    );
    is_refused(
        &rig.register("inner", "broker-b").await,
        "is registered by user bob alone",
    );
    assert_eq!(rig.register("bob", "broker-b").await.code(), 0);
    rig.server.shutdown().await;
}
