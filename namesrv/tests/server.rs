//! A name server over real sockets, with a clock that the test moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rmq_namesrv::{Deps, NameServer, NameServerConfig, RunningNameServer};
use rmq_protocol::bodies::{
    BrokerMemberGroupBody, DataVersion, KvTable, RegisterBrokerBody, TopicConfig, TopicList,
    parse_properties,
};
use rmq_protocol::message::crc32_masked;
use rmq_protocol::requests::{
    AddWritePermOfBroker, AddWritePermOfBrokerReply, BrokerHeartbeat, DeleteKvConfig,
    DeleteTopicInNamesrv, GetAllTopicListFromNameserver, GetBrokerClusterInfo,
    GetBrokerMemberGroup, GetKvConfig, GetKvConfigReply, GetKvListByNamespace, GetNamesrvConfig,
    GetRouteinfoByTopic, GetSystemTopicListFromNs, GetTopicsByCluster, NotifyMinBrokerIdChange,
    PutKvConfig, QueryDataVersion, QueryDataVersionReply, RegisterBroker, RegisterBrokerReply,
    RegisterTopicInNamesrv, Reply, Request, UnregisterBroker, UpdateNamesrvConfig,
    WipeWritePermOfBroker, WipeWritePermOfBrokerReply,
};
use rmq_protocol::route::{ClusterInfo, QueueData, TopicRoute};
use rmq_protocol::{FieldSource, RequestCode, ResponseCode};
use rmq_transport::{
    Caller, CallerConfig, Exchange, IncomingRequests, ManualClock, OwnedFrame, RefuseIncoming,
    Reply as _, TcpConnector,
};
use tokio::sync::mpsc;

const START_MS: i64 = 1_800_000_000_000;
const WAIT: Duration = Duration::from_secs(10);

async fn start(change: impl FnOnce(&mut NameServerConfig)) -> (RunningNameServer, ManualClock) {
    let mut config = NameServerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        ..NameServerConfig::default()
    };
    change(&mut config);
    let clock = ManualClock::at(START_MS);
    let server = NameServer::start(
        config,
        Deps {
            clock: Arc::new(clock.clone()),
        },
    )
    .await
    .unwrap();
    (server, clock)
}

struct Peer(Caller);

impl Peer {
    fn to(server: &RunningNameServer) -> Self {
        Self::with(server, Arc::new(RefuseIncoming))
    }

    fn with(server: &RunningNameServer, incoming: Arc<dyn IncomingRequests>) -> Self {
        let addr = server.local_addr().to_string();
        Self(Caller::new(
            addr,
            Arc::new(TcpConnector),
            CallerConfig::default(),
            incoming,
        ))
    }

    async fn ask<'a, R: Request<'a> + Sync>(&self, request: &R, body: &[u8]) -> OwnedFrame {
        self.0
            .call(R::CODE.as_i32(), request, body, WAIT)
            .await
            .unwrap()
    }

    /// Asks for success.
    async fn ok<'a, R: Request<'a> + Sync>(&self, request: &R, body: &[u8]) -> OwnedFrame {
        let frame = self.ask(request, body).await;
        assert_eq!(frame.code(), 0, "{:?}", frame.header().remark);
        frame
    }

    async fn route(&self, topic: &str) -> Option<TopicRoute> {
        let frame = self
            .ask(
                &GetRouteinfoByTopic {
                    topic: topic.into(),
                    accept_standard_json_only: None,
                },
                b"",
            )
            .await;
        match ResponseCode::from_i32(frame.code()) {
            Some(ResponseCode::Success) => Some(TopicRoute::from_json(frame.body()).unwrap()),
            Some(ResponseCode::TopicNotExist) => None,
            other => panic!("{other:?} {:?}", frame.header().remark),
        }
    }

    async fn register(&self, name: &str, id: i64, addr: &str, topics: &[&str]) -> OwnedFrame {
        let body = body(1, topics);
        self.ok(&registration(name, id, addr, &body), &body).await
    }
}

fn body(counter: i64, topics: &[&str]) -> Vec<u8> {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version = DataVersion {
        counter,
        state_version: 0,
        timestamp: 1,
    };
    for topic in topics {
        table
            .topic_config_table
            .insert((*topic).to_owned(), TopicConfig::new(*topic, 4));
    }
    body.to_json()
}

fn registration<'a>(name: &'a str, id: i64, addr: &'a str, body: &[u8]) -> RegisterBroker<'a> {
    RegisterBroker {
        master_epoch: None,
        broker_id: id,
        body_crc32: Some(crc32_masked(body)),
        cluster_name: "c".into(),
        broker_addr: addr.into(),
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        ha_server_addr: Some("127.0.0.1:9".into()),
        compressed: Some(false),
        broker_name: name.into(),
        zone_name: None,
    }
}

fn reply<T: Reply>(frame: &OwnedFrame) -> T {
    T::decode(&frame.header().fields).unwrap()
}

#[tokio::test]
async fn brokers_come_and_go_and_routes_follow() {
    let (server, clock) = start(|_| {}).await;
    let (client, broker) = (Peer::to(&server), Peer::to(&server));
    assert!(client.route("t").await.is_none());
    let told: RegisterBrokerReply = reply(&broker.register("a", 0, "1.1.1.1:1", &["t", "u"]).await);
    assert_eq!(
        told,
        RegisterBrokerReply {
            master_epoch: None,
            ha_server_addr: None,
            master_addr: None,
            write_perm_given_again: None
        }
    );
    let route = client.route("t").await.unwrap();
    assert_eq!(route.broker_datas[0].master(), Some("1.1.1.1:1"));
    assert_eq!(route.queue_datas[0].write_queue_nums, 4);

    let replica = Peer::to(&server);
    let told: RegisterBrokerReply =
        reply(&replica.register("a", 1, "1.1.1.1:2", &["t", "u"]).await);
    assert_eq!(
        (told.master_addr.as_deref(), told.ha_server_addr.as_deref()),
        (Some("1.1.1.1:1"), Some("127.0.0.1:9"))
    );
    let info = client.ok(&GetBrokerClusterInfo {}, b"").await;
    let info = ClusterInfo::from_json(info.body()).unwrap();
    assert_eq!(
        info.broker_addr_table["a"].broker_addrs,
        BTreeMap::from([(0, "1.1.1.1:1".to_owned()), (1, "1.1.1.1:2".to_owned())])
    );
    let group = GetBrokerMemberGroup {
        cluster_name: "c".into(),
        broker_name: "a".into(),
    };
    let group = BrokerMemberGroupBody::from_json(client.ok(&group, b"").await.body()).unwrap();
    assert_eq!(group.broker_member_group.broker_addrs.len(), 2);

    // A farewell.
    let farewell = UnregisterBroker {
        master_epoch: None,
        broker_id: 1,
        cluster_name: "c".into(),
        broker_addr: "1.1.1.1:2".into(),
        broker_name: "a".into(),
    };
    replica.ok(&farewell, b"").await;
    assert_eq!(
        client.route("t").await.unwrap().broker_datas[0]
            .broker_addrs
            .len(),
        1
    );

    // A lost connection.
    broker.0.close();
    while client.route("t").await.is_some() {
        tokio::task::yield_now().await;
    }

    // Silence: the connection stands, but nothing comes for longer than the broker said.
    let silent = Peer::to(&server);
    let topics = body(1, &["t", "u"]);
    let mut request = registration("b", 0, "2.2.2.2:2", &topics);
    request.heartbeat_timeout_millis = Some(50_000);
    silent.ok(&request, &topics).await;
    clock.advance(Duration::from_secs(40));
    let beat = BrokerHeartbeat {
        cluster_name: "c".into(),
        broker_addr: "2.2.2.2:2".into(),
        broker_name: "b".into(),
        broker_id: Some(0),
        epoch: None,
        max_offset: None,
        confirm_offset: None,
        heartbeat_timeout_millis: None,
        election_priority: None,
    };
    silent.ok(&beat, b"").await;
    clock.advance(Duration::from_secs(40));
    assert!(
        client.route("t").await.is_some(),
        "its heartbeat was 40 s ago"
    );
    clock.advance(Duration::from_secs(15));
    while client.route("t").await.is_some() {
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_drops_no_broker() {
    const DAY_MS: i64 = 86_400_000;
    for jump_ms in [
        1_000,
        -1_000,
        7_200_000,
        -7_200_000,
        4 * DAY_MS,
        -4 * DAY_MS,
    ] {
        let (server, clock) = start(|_| {}).await;
        let client = Peer::to(&server);
        // A connection each: that of a broker that is dropped is closed.
        let brokers = [Peer::to(&server), Peer::to(&server)];
        let register = |index: usize, name, addr, topic, timeout_ms| {
            let broker = &brokers[index];
            async move {
                let topics = body(1, &[topic, "both"]);
                let mut request = registration(name, 0, addr, &topics);
                request.heartbeat_timeout_millis = Some(timeout_ms);
                broker.ok(&request, &topics).await
            }
        };
        register(0, "patient", "1.1.1.1:1", "stays", 60_000).await;
        register(1, "hasty", "2.2.2.2:2", "goes", 5_000).await;
        clock.jump_ms(jump_ms);
        clock.advance(Duration::from_secs(30));
        // That the hasty one goes shows that silent brokers were looked for.
        while client.route("goes").await.is_some() {
            tokio::task::yield_now().await;
        }
        assert!(client.route("stays").await.is_some(), "{jump_ms} ms");
        clock.jump_ms(-jump_ms);
        clock.advance(Duration::from_secs(40));
        while client.route("stays").await.is_some() {
            tokio::task::yield_now().await;
        }
        server.shutdown().await;
    }
}

#[tokio::test]
async fn versions_spare_registrations() {
    let (server, _clock) = start(|_| {}).await;
    let broker = Peer::to(&server);
    let ask = QueryDataVersion {
        broker_name: "a".into(),
        broker_addr: "1.1.1.1:1".into(),
        cluster_name: "c".into(),
        broker_id: 0,
    };
    let version = |counter| DataVersion {
        counter,
        state_version: 0,
        timestamp: 1,
    };
    let answer = broker.ok(&ask, &version(1).to_json()).await;
    assert!(reply::<QueryDataVersionReply>(&answer).changed && answer.body().is_empty());
    broker.register("a", 0, "1.1.1.1:1", &["t", "u"]).await;
    let answer = broker.ok(&ask, &version(1).to_json()).await;
    assert!(!reply::<QueryDataVersionReply>(&answer).changed);
    assert_eq!(DataVersion::from_json(answer.body()).unwrap(), version(1));
    assert!(reply::<QueryDataVersionReply>(&broker.ok(&ask, &version(2).to_json()).await).changed);
    server.shutdown().await;
}

#[tokio::test]
async fn registrations_in_every_form() {
    let (server, _clock) = start(|_| {}).await;
    let broker = Peer::to(&server);
    let plain = body(1, &["t", "u"]);
    let compressed = RegisterBrokerBody::from_json(&plain)
        .unwrap()
        .to_compressed()
        .unwrap();
    let mut request = registration("a", 0, "1.1.1.1:1", &compressed);
    request.compressed = Some(true);
    broker.ok(&request, &compressed).await;
    assert_eq!(broker.route("u").await.unwrap().queue_datas[0].perm, 6);

    request.body_crc32 = Some(1);
    let refused = broker.ask(&request, &compressed).await;
    assert_eq!(refused.code(), 1);
    let told = refused.header().remark.unwrap().to_string();
    // The original's words first.
    let both = "crc32 not match: field bodyCrc32 is \"1\", of the body it is ";
    let real = crc32_masked(&compressed);
    assert_eq!(told, format!("{both}{real}"));
    request.body_crc32 = None;
    assert_eq!(broker.ask(&request, b"not zlib").await.code(), 1);
    assert_eq!(
        broker
            .ask(&registration("", 0, "x:1", b"{}"), b"{}")
            .await
            .code(),
        1
    );
    assert_eq!(
        broker
            .ask(&registration("a", 0, "1.1.1.1:1", b"[]"), b"[]")
            .await
            .code(),
        1
    );
    // None of them changed anything.
    assert_eq!(
        broker.route("u").await.unwrap().broker_datas[0].master(),
        Some("1.1.1.1:1")
    );
    server.shutdown().await;
}

#[tokio::test]
async fn topics_are_listed_registered_by_hand_and_deleted() {
    let (server, _clock) = start(|_| {}).await;
    let peer = Peer::to(&server);
    peer.register("a", 0, "1.1.1.1:1", &["t", "u"]).await;
    let list = |frame: OwnedFrame| TopicList::from_json(frame.body()).unwrap().topic_list;
    assert_eq!(
        list(peer.ok(&GetAllTopicListFromNameserver {}, b"").await),
        ["t", "u"]
    );
    assert_eq!(
        list(
            peer.ok(
                &GetTopicsByCluster {
                    cluster: "c".into()
                },
                b""
            )
            .await
        ),
        ["t", "u"]
    );
    assert_eq!(
        list(peer.ok(&GetSystemTopicListFromNs {}, b"").await),
        ["a", "c"]
    );

    let queues = QueueData {
        broker_name: "a".to_owned(),
        perm: 4,
        read_queue_nums: 2,
        topic_sys_flag: 0,
        write_queue_nums: 2,
    };
    let by_hand = TopicRoute {
        queue_datas: vec![queues.clone()],
        ..TopicRoute::default()
    };
    peer.ok(
        &RegisterTopicInNamesrv {
            topic: "hand".into(),
        },
        &by_hand.to_json(),
    )
    .await;
    assert_eq!(peer.route("hand").await.unwrap().queue_datas, [queues]);
    let bad = RegisterTopicInNamesrv {
        topic: "not a name".into(),
    };
    assert_eq!(
        peer.ask(&bad, &by_hand.to_json()).await.code(),
        ResponseCode::InvalidParameter.as_i32()
    );
    peer.ok(
        &DeleteTopicInNamesrv {
            topic: "hand".into(),
            cluster_name: None,
        },
        b"",
    )
    .await;
    assert!(peer.route("hand").await.is_none());
    server.shutdown().await;
}

#[tokio::test]
async fn write_permission_is_taken_and_given_back() {
    let (server, _clock) = start(|_| {}).await;
    let peer = Peer::to(&server);
    peer.register("a", 0, "1.1.1.1:1", &["t", "u"]).await;
    let wiped = peer
        .ok(
            &WipeWritePermOfBroker {
                broker_name: "a".into(),
            },
            b"",
        )
        .await;
    assert_eq!(
        reply::<WipeWritePermOfBrokerReply>(&wiped).wipe_topic_count,
        2
    );
    assert_eq!(peer.route("t").await.unwrap().queue_datas[0].perm, 4);
    let added = peer
        .ok(
            &AddWritePermOfBroker {
                broker_name: "a".into(),
            },
            b"",
        )
        .await;
    assert_eq!(
        reply::<AddWritePermOfBrokerReply>(&added).add_topic_count,
        2
    );
    assert_eq!(peer.route("t").await.unwrap().queue_datas[0].perm, 6);
    server.shutdown().await;
}

#[tokio::test]
async fn settings_by_name_reach_routes_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kv.json").to_str().unwrap().to_owned();
    let (server, _clock) = start(|config| config.kv_config_path.clone_from(&path)).await;
    let peer = Peer::to(&server);
    peer.register("a", 0, "1.1.1.1:1", &["t", "u"]).await;
    assert_eq!(peer.route("t").await.unwrap().order_topic_conf, None);
    let put = PutKvConfig {
        namespace: "ORDER_TOPIC_CONFIG".into(),
        key: "t".into(),
        value: "a:4 é".into(),
    };
    peer.ok(&put, b"").await;
    assert_eq!(
        peer.route("t").await.unwrap().order_topic_conf,
        None,
        "not unless it is enabled"
    );
    peer.ok(&UpdateNamesrvConfig {}, b"orderMessageEnable=true\n")
        .await;
    assert_eq!(
        peer.route("t").await.unwrap().order_topic_conf.as_deref(),
        Some("a:4 é")
    );
    assert_eq!(peer.route("u").await.unwrap().order_topic_conf, None);
    // Brokers get the table with their registration.
    let told = peer.register("a", 0, "1.1.1.1:1", &["t", "u"]).await;
    assert_eq!(KvTable::from_json(told.body()).unwrap().table["t"], "a:4 é");
    server.shutdown().await;

    let (server, _clock) = start(|config| config.kv_config_path.clone_from(&path)).await;
    let peer = Peer::to(&server);
    let get = GetKvConfig {
        namespace: "ORDER_TOPIC_CONFIG".into(),
        key: "t".into(),
    };
    assert_eq!(
        reply::<GetKvConfigReply>(&peer.ok(&get, b"").await)
            .value
            .as_deref(),
        Some("a:4 é")
    );
    peer.ok(
        &DeleteKvConfig {
            namespace: "ORDER_TOPIC_CONFIG".into(),
            key: "t".into(),
        },
        b"",
    )
    .await;
    assert_eq!(
        peer.ask(&get, b"").await.code(),
        ResponseCode::QueryNotFound.as_i32()
    );
    let list = GetKvListByNamespace {
        namespace: "ORDER_TOPIC_CONFIG".into(),
    };
    assert_eq!(
        peer.ask(&list, b"").await.code(),
        ResponseCode::QueryNotFound.as_i32()
    );
    server.shutdown().await;
}

#[tokio::test]
async fn settings_that_could_do_harm_are_fixed() {
    let (server, _clock) = start(|_| {}).await;
    let peer = Peer::to(&server);
    for (change, code) in [
        ("kvConfigPath=/etc/cron.d/x", ResponseCode::NoPermission),
        ("listen=0.0.0.0:1", ResponseCode::NoPermission),
        ("topicMax=1", ResponseCode::SystemError),
        ("brokersMax=none", ResponseCode::SystemError),
        ("nonsense", ResponseCode::SystemError),
    ] {
        assert_eq!(
            peer.ask(&UpdateNamesrvConfig {}, change.as_bytes())
                .await
                .code(),
            code.as_i32(),
            "{change}"
        );
    }
    let text = peer.ok(&GetNamesrvConfig {}, b"").await;
    let settings: BTreeMap<_, _> = parse_properties(text.body()).unwrap().into_iter().collect();
    assert_eq!(
        (
            settings["brokersMax"].as_str(),
            settings["kvConfigPath"].as_str()
        ),
        ("10000", "")
    );
    server.shutdown().await;
}

/// Keeps the notices of changed lowest ids.
struct Notices(mpsc::UnboundedSender<(i64, String)>);

impl IncomingRequests for Notices {
    fn request(&self, exchange: &mut Exchange<'_>) {
        let notice = NotifyMinBrokerIdChange::decode(&exchange.header.fields).unwrap();
        let addr = notice.min_broker_addr.unwrap().into_owned();
        // The test may be over.
        let _ = self.0.send((notice.min_broker_id.unwrap(), addr));
        exchange.ok(&());
    }
}

/// A member of a group whose replicas act for their master, or not.
async fn member(peer: &Peer, id: i64, addr: &str, is_acting: bool) {
    let body = body(1, &["t", "u"]);
    let request = RegisterBroker {
        enable_acting_master: Some(is_acting),
        ..registration("a", id, addr, &body)
    };
    peer.ok(&request, &body).await;
}

/// Who is told, and when: apache/rocketmq `RouteInfoManager.notifyMinBrokerIdChanged`.
#[tokio::test]
async fn members_learn_who_has_the_lowest_id() {
    let (server, _clock) = start(|config| config.notify_min_broker_id_changed = true).await;
    let listening = || {
        let (notices, received) = mpsc::unbounded_channel();
        (Peer::with(&server, Arc::new(Notices(notices))), received)
    };
    let (replica, mut at_replica) = listening();
    let (master, mut at_master) = listening();
    member(&replica, 2, "1.1.1.1:2", true).await;
    member(&master, 0, "1.1.1.1:1", true).await;
    assert_eq!(
        at_replica.recv().await.unwrap(),
        (0, "1.1.1.1:1".to_owned())
    );
    master.0.close();
    assert_eq!(
        at_replica.recv().await.unwrap(),
        (2, "1.1.1.1:2".to_owned())
    );
    // Who brought the lowest id knows of it.
    assert!(at_master.try_recv().is_err());

    // Nobody acts for a master that leaves: there is nothing to tell.
    let (master, mut at_master) = listening();
    member(&master, 0, "1.1.1.1:1", false).await;
    assert_eq!(at_replica.recv().await.unwrap().0, 0);
    master.0.close();
    let client = Peer::to(&server);
    while client.route("t").await.unwrap().broker_datas[0]
        .master()
        .is_some()
    {
        tokio::task::yield_now().await;
    }
    // Not a lower id: no notice. A lower one: the next notice is of it.
    member(&client, 3, "1.1.1.1:3", false).await;
    member(&client, 1, "1.1.1.1:4", false).await;
    assert_eq!(
        at_replica.recv().await.unwrap(),
        (1, "1.1.1.1:4".to_owned())
    );
    assert!(at_master.try_recv().is_err() && at_replica.try_recv().is_err());
    server.shutdown().await;
}

/// Two that take themselves for the master: routes have the one with the higher epoch, whatever the other one does.
/// apache/rocketmq #11043: the end of a connection, handled late, removed what the broker had registered again since.
#[tokio::test]
async fn a_connection_that_ends_late_takes_nobody_out() {
    let (server, _clock) = start(|_| {}).await;
    let (before, again, client) = (Peer::to(&server), Peer::to(&server), Peer::to(&server));
    before.register("a", 0, "1.1.1.1:1", &["t", "u"]).await;
    before.register("z", 0, "1.1.1.1:9", &["of z", "too"]).await;
    again.register("a", 0, "1.1.1.1:1", &["t", "u"]).await;
    before.0.close();
    while client.route("of z").await.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(client.route("t").await.is_some());
    server.shutdown().await;
}

#[tokio::test]
async fn the_master_of_the_highest_epoch_is_in_the_routes() {
    let (server, _clock) = start(|_| {}).await;
    let (old, new, client) = (Peer::to(&server), Peer::to(&server), Peer::to(&server));
    let body = body(1, &["t", "u"]);
    let of_epoch = |addr, epoch| RegisterBroker {
        master_epoch: Some(epoch),
        ..registration("a", 0, addr, &body)
    };
    let master = async || {
        let route = client.route("t").await.expect("the topic has a route");
        route.broker_datas[0].master().map(str::to_owned)
    };
    old.ok(&of_epoch("1.1.1.1:1", 1), &body).await;
    new.ok(&of_epoch("1.1.1.1:2", 2), &body).await;
    assert_eq!(master().await.as_deref(), Some("1.1.1.1:2"));

    let farewell = UnregisterBroker {
        broker_id: 0,
        cluster_name: "c".into(),
        broker_addr: "1.1.1.1:1".into(),
        broker_name: "a".into(),
        master_epoch: Some(1),
    };
    for refused in [
        old.ask(&of_epoch("1.1.1.1:1", 1), &body).await,
        old.ask(&farewell, b"").await,
    ] {
        assert_eq!(
            ResponseCode::from_i32(refused.code()),
            Some(ResponseCode::ControllerFencedMasterEpoch)
        );
        let fields: RegisterBrokerReply = reply(&refused);
        assert_eq!(fields.master_addr.as_deref(), Some("1.1.1.1:2"));
        assert_eq!(fields.master_epoch, Some(2));
        let remark = refused.header().remark.expect("a remark").to_string();
        assert!(remark.contains("epoch 2 of 1.1.1.1:2"), "{remark}");
    }
    // Its signs of life and the end of its connection concern nobody any more.
    let alive = BrokerHeartbeat {
        cluster_name: "c".into(),
        broker_addr: "1.1.1.1:1".into(),
        broker_name: "a".into(),
        broker_id: Some(0),
        epoch: Some(1),
        max_offset: None,
        confirm_offset: None,
        heartbeat_timeout_millis: None,
        election_priority: None,
    };
    old.ok(&alive, b"").await;
    old.register("z", 0, "1.1.1.1:9", &["of z", "too"]).await;
    old.0.close();
    while client.route("of z").await.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(master().await.as_deref(), Some("1.1.1.1:2"));

    for epoch in [0, -1] {
        let refused = new.ask(&of_epoch("1.1.1.1:2", epoch), &body).await;
        let remark = refused.header().remark.expect("a remark").to_string();
        assert!(
            remark.contains("masterEpoch is not an epoch, at least 1"),
            "{remark}"
        );
    }
    server.shutdown().await;
}

#[tokio::test]
async fn routes_wait_for_brokers_after_a_start_where_that_is_wanted() {
    let (server, clock) = start(|config| config.need_wait_for_service = true).await;
    let peer = Peer::to(&server);
    peer.register("a", 0, "1.1.1.1:1", &["t", "u"]).await;
    let ask = GetRouteinfoByTopic {
        topic: "t".into(),
        accept_standard_json_only: None,
    };
    assert_eq!(
        peer.ask(&ask, b"").await.code(),
        ResponseCode::SystemError.as_i32()
    );
    clock.advance(Duration::from_secs(45));
    assert_eq!(peer.ask(&ask, b"").await.code(), 0);
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_not_for_a_name_server_is_answered_with_its_name() {
    let (server, _clock) = start(|_| {}).await;
    let peer = Peer::to(&server);
    for (code, name) in [
        (9_999, "unknown"),
        (310, "SEND_MESSAGE_V2"),
        (200_050, "POP_MESSAGE"),
        (-5, "unknown"),
    ] {
        let fields: &(dyn FieldSource + Sync) = &();
        let answer = peer.0.call(code, fields, b"", WAIT).await.unwrap();
        assert_eq!(
            answer.code(),
            ResponseCode::RequestCodeNotSupported.as_i32()
        );
        let remark = answer.header().remark.unwrap().to_string();
        assert!(
            remark.starts_with(&format!(" request type {code} not supported"))
                && remark.contains(name),
            "{remark}"
        );
    }
    // A request without its fields is an error and not the end.
    let code = RequestCode::RegisterBroker.as_i32();
    let answer = peer.0.call(code, &(), b"", WAIT).await.unwrap();
    assert_eq!(answer.code(), ResponseCode::SystemError.as_i32());
    assert!(
        answer
            .header()
            .remark
            .unwrap()
            .to_string()
            .contains("brokerId is missing")
    );
    server.shutdown().await;
}
