//! What name servers are told, and when.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_broker::Deps;
use rmq_protocol::bodies::{
    BrokerMemberGroup, BrokerMemberGroupBody, DataVersion, RegisterBrokerBody, TopicConfig,
    TopicConfigList,
};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{GetBrokerMemberGroup, RegisterBroker, Request, UnregisterBroker};
use rmq_protocol::route::perm;
use rmq_transport::{Exchange, ManualClock, Reply, ServerConfig, Service};
use tokio_util::sync::CancellationToken;

use crate::support::{Client, Rig, get, message, pull, until, value};

#[derive(Debug, Clone, PartialEq)]
enum Told {
    Register {
        addr: String,
        topics: Vec<(String, i32)>,
        crc_holds: bool,
        bytes: usize,
        version: DataVersion,
    },
    Unregister {
        addr: String,
    },
}

/// Takes registrations and remembers them; refuses the first `refusals`.
#[derive(Default)]
struct Registrar {
    told: Mutex<Vec<Told>>,
    refusals: Mutex<u32>,
    /// Who stands in the broker's place; nobody: an old name server, which does not know that request.
    in_place: Mutex<Option<String>>,
}

impl Service for Registrar {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        let header = exchange.header;
        match RequestCode::from_i32(header.code) {
            Some(RequestCode::RegisterBroker) => {
                let request =
                    RegisterBroker::decode(&header.fields).expect("the fields of a registration");
                let body = RegisterBrokerBody::from_json(exchange.body).expect("its body");
                let crc = (crc32fast::hash(exchange.body) & 0x7fff_ffff) as i32;
                self.told.lock().push(Told::Register {
                    addr: request.broker_addr.clone().into_owned(),
                    version: body.topic_config_serialize_wrapper.data_version,
                    topics: body
                        .topic_config_serialize_wrapper
                        .topic_config_table
                        .into_values()
                        .map(|topic| (topic.topic_name, topic.perm))
                        .collect(),
                    crc_holds: request.body_crc32 == Some(crc),
                    bytes: exchange.body.len(),
                });
                let mut refusals = self.refusals.lock();
                if *refusals > 0 {
                    *refusals -= 1;
                    return exchange.fail(ResponseCode::SystemError, "not now");
                }
                exchange.ok(&());
            }
            Some(RequestCode::UnregisterBroker) => {
                let request =
                    UnregisterBroker::decode(&header.fields).expect("the fields of a farewell");
                self.told.lock().push(Told::Unregister {
                    addr: request.broker_addr.clone().into_owned(),
                });
                exchange.ok(&());
            }
            Some(RequestCode::GetBrokerMemberGroup) => {
                let request =
                    GetBrokerMemberGroup::decode(&header.fields).expect("the fields of a look");
                let Some(addr) = self.in_place.lock().clone() else {
                    return exchange.fail(ResponseCode::RequestCodeNotSupported, "too new");
                };
                let broker_member_group = BrokerMemberGroup {
                    broker_addrs: [(0, addr)].into(),
                    broker_name: request.broker_name.to_string(),
                    cluster: request.cluster_name.to_string(),
                };
                let body = BrokerMemberGroupBody {
                    broker_member_group,
                };
                exchange.ok_body(&(), &body.to_json());
            }
            other => panic!("a broker does not send {other:?} to a name server"),
        }
    }
}

struct Running {
    registrar: Arc<Registrar>,
    addr: String,
    stop: CancellationToken,
}

impl Running {
    async fn start(refusals: u32) -> Self {
        let registrar = Arc::new(Registrar {
            refusals: Mutex::new(refusals),
            ..Registrar::default()
        });
        let (listener, addr) = rmq_transport::bind("127.0.0.1:0").await.expect("a port");
        let stop = CancellationToken::new();
        tokio::spawn(rmq_transport::serve(
            listener,
            Arc::clone(&registrar),
            ServerConfig::new("registrar"),
            stop.clone(),
        ));
        Self {
            registrar,
            addr: addr.to_string(),
            stop,
        }
    }

    fn told(&self) -> Vec<Told> {
        self.registrar.told.lock().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_server_is_told_at_the_start_at_each_change_and_at_the_end() {
    let servers = [Running::start(0).await, Running::start(0).await];
    let list = format!("{};{}", servers[0].addr, servers[1].addr);
    let rig = Rig::start_with(Deps::default(), |config| config.name_servers = list).await;
    rig.broker.registered().await;
    let addr = rig.broker.advertised().to_owned();
    for server in &servers {
        let told = server.told();
        let Some(Told::Register {
            addr: registered,
            topics,
            crc_holds,
            ..
        }) = told.first()
        else {
            panic!("{told:?}")
        };
        assert_eq!((registered, *crc_holds), (&addr, true));
        assert!(topics.contains(&("TBW102".to_owned(), 7)), "{topics:?}");
    }

    rig.client()
        .create_topic("fresh", 1, perm::READ | perm::WRITE)
        .await;
    rig.broker.registered().await;
    for server in &servers {
        let told = server.told();
        let Some(Told::Register { topics, .. }) = told.last() else {
            panic!("{told:?}")
        };
        assert!(topics.contains(&("fresh".to_owned(), 6)), "{topics:?}");
    }

    rig.stop().await;
    for server in &servers {
        assert_eq!(
            server.told().last(),
            Some(&Told::Unregister { addr: addr.clone() }),
            "the last word"
        );
        server.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_registration_is_tried_again_and_a_good_one_renewed() {
    let server = Running::start(2).await;
    let clock = ManualClock::at(1_800_000_000_000);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let list = server.addr.clone();
    let rig = Rig::start_with(deps, |config| config.name_servers = list).await;
    // Two refusals, each followed by a pause, then renewals.
    for told in 1..=5 {
        until("the next registration", || {
            if server.told().len() < told {
                clock.advance(std::time::Duration::from_millis(250));
            }
            server.told().len() >= told
        })
        .await;
    }
    rig.broker.registered().await;
    rig.stop().await;
    server.stop.cancel();
}

/// Topics with their permissions, bytes, version.
type Registered = (Vec<(String, i32)>, usize, DataVersion);

impl Running {
    /// The registrations after the first `seen` words.
    fn registrations(&self, seen: usize) -> Vec<Registered> {
        let told = self.told();
        let told = told.into_iter().skip(seen);
        told.filter_map(|told| match told {
            Told::Register {
                topics,
                crc_holds,
                bytes,
                version,
                ..
            } => {
                assert!(crc_holds);
                Some((topics, bytes, version))
            }
            Told::Unregister { .. } => None,
        })
        .collect()
    }
}

/// A broker whose topics do not fit one frame of a name server would have no route at all.
#[tokio::test(flavor = "multi_thread")]
async fn many_topics_are_registered_in_parts_that_add_up() {
    const BYTES: usize = 64 << 10;
    const TOPICS: usize = 400;
    let server = Running::start(0).await;
    let list = server.addr.clone();
    let rig = Rig::start_with(Deps::default(), |config| {
        config.name_servers = list;
        config.registration_bytes = BYTES;
    })
    .await;
    rig.broker.registered().await;
    let system = server.registrations(0)[0].0.clone();
    let seen = server.told().len();

    let name = |number: usize| format!("{number:0>127}");
    let topics: Vec<_> = (0..TOPICS)
        .map(|number| TopicConfig::new(name(number), 1))
        .collect();
    let list = TopicConfigList {
        topic_config_list: topics,
    };
    let made = rig
        .client()
        .call(RequestCode::UpdateAndCreateTopicList, &(), &list.to_json())
        .await;
    assert_eq!(made.code(), 0);
    rig.broker.registered().await;

    // The last round: from the last registration backwards until all topics are there.
    let all = server.registrations(seen);
    let mut missing: std::collections::BTreeSet<String> = (0..TOPICS).map(name).collect();
    missing.extend(system.into_iter().map(|(topic, _)| topic));
    let mut round = 0;
    for (topics, ..) in all.iter().rev() {
        round += 1;
        for (topic, _) in topics {
            missing.remove(topic);
        }
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "never registered: {missing:?}");
    assert!(round > 3, "{round} parts");
    for (topics, bytes, _) in &all {
        assert!(*bytes <= BYTES, "{bytes} bytes");
        assert!(topics.len() >= 2 || all.len() > 1, "{topics:?}");
    }
    assert!(
        all[0].0.len() >= 2,
        "a first registration of one topic is refused"
    );
    for pair in all.windows(2) {
        assert_ne!(
            pair[0].2, pair[1].2,
            "a name server takes only what has a new version"
        );
    }
    rig.stop().await;
    server.stop.cancel();
}

/// apache/rocketmq #9429.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_is_replaced_is_told_everything_again_at_once() {
    let server = Running::start(0).await;
    let addr = server.addr.clone();
    let rig = Rig::start_with(Deps::default(), |config| config.name_servers = addr.clone()).await;
    rig.broker.registered().await;
    server.stop.cancel();
    let listener = loop {
        // The old one lets go of its port when its connections are closed.
        match rmq_transport::bind(&addr).await {
            Ok((listener, _)) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let registrar = Arc::new(Registrar::default());
    let stop = CancellationToken::new();
    tokio::spawn(rmq_transport::serve(
        listener,
        Arc::clone(&registrar),
        ServerConfig::new("registrar"),
        stop.clone(),
    ));
    until("the broker is there again", || {
        !registrar.told.lock().is_empty()
    })
    .await;
    rig.stop().await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_broker_in_ones_place_is_told_by_readiness() {
    let server = Running::start(0).await;
    let clock = ManualClock::at(1_800_000_000_000);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let list = server.addr.clone();
    let rig = Rig::start_with(deps, |config| {
        config.name_servers = list;
        config.management = "127.0.0.1:0".to_owned();
    })
    .await;
    rig.broker.registered().await;
    let own = rig.broker.advertised().to_owned();
    for (there, wanted) in [
        (own.clone(), false),
        ("10.0.0.9:10911".to_owned(), true),
        (own, false),
    ] {
        *server.registrar.in_place.lock() = Some(there);
        let looked = tokio::time::timeout(crate::support::PATIENCE, async {
            loop {
                clock.advance(std::time::Duration::from_secs(1));
                let (status, text) = get(&rig.broker, "/readyz").await;
                assert_eq!(status, 200, "it serves anyway: {text}");
                let (_, metrics) = get(&rig.broker, "/metrics").await;
                let rivals = value(&metrics, "rocketmq_registration_rivals", &[]);
                if text.contains("10.0.0.9:10911") == wanted && rivals == Some(f64::from(wanted)) {
                    break;
                }
            }
        });
        looked.await.expect("the next look");
    }
    rig.stop().await;
    server.stop.cancel();
}

/// What an operator sets while the broker runs reaches clients by the routes and by answers, and outlives a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_taken_reaches_routes_and_senders_at_once() {
    let server = Running::start(0).await;
    let list = server.addr.clone();
    let configure = |config: &mut rmq_broker::BrokerConfig| config.name_servers = list.clone();
    let rig = Rig::start_with(Deps::default(), configure).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let perm_of_t = || {
        let all = server.registrations(0);
        let (topics, ..) = all.last().expect("registered");
        topics
            .iter()
            .find(|(topic, _)| topic == "t")
            .map(|(_, perm)| *perm)
    };
    let message = message("t", 0, "");
    for (permission, sends, pulls) in [("4", 16, 19), ("2", 0, 16), ("0", 16, 16), ("6", 0, 0)] {
        let change = format!("brokerPermission={permission}\n");
        let changed = client
            .call(RequestCode::UpdateBrokerConfig, &(), change.as_bytes())
            .await;
        assert_eq!(changed.code(), 0);
        // No wait: the answer itself says that the name servers know the change.
        assert_eq!(perm_of_t(), permission.parse().ok());
        let sent = client.send(&message, b"x").await;
        let code = sent.as_ref().map_or_else(|refused| refused.code, |_| 0);
        assert_eq!(code, sends, "{permission}: {sent:?}");
        if let Err(refused) = sent {
            assert!(refused.remark.contains("brokerPermission"), "{refused:?}");
        }
        assert_eq!(
            client.pull(&pull("t", 0, 0)).await.code,
            pulls,
            "{permission}"
        );
    }

    client
        .call(
            RequestCode::UpdateBrokerConfig,
            &(),
            b"brokerPermission=4\n",
        )
        .await;
    let Rig { broker, folder } = rig;
    broker.shutdown().await.expect("a clean stop");
    let start = async |permission: i32| {
        let mut config = crate::support::config(folder.path());
        configure(&mut config);
        config.permission = permission;
        rmq_broker::BrokerServer::start(config, Deps::default())
            .await
            .expect("the broker starts")
    };
    let broker = start(6).await;
    broker.registered().await;
    assert_eq!(perm_of_t(), Some(4), "a drained broker stays so");
    // A change that says so ends with the next start.
    let change = b"brokerPermission=2\nkeepBrokerPermission=false\n";
    let changed = Client::to(&broker)
        .call(RequestCode::UpdateBrokerConfig, &(), change)
        .await;
    assert_eq!(changed.code(), 0);
    assert_eq!(perm_of_t(), Some(2));
    broker.shutdown().await.expect("a clean stop");
    let broker = start(6).await;
    broker.registered().await;
    assert_eq!(perm_of_t(), Some(4), "what was kept before");
    let refused = Client::to(&broker).send(&message, b"x").await;
    assert_eq!(refused.expect_err("refused").code, 16);
    broker.shutdown().await.expect("a clean stop");
    // Another configured permission counts.
    let broker = start(2).await;
    broker.registered().await;
    assert_eq!(perm_of_t(), Some(2));
    broker.shutdown().await.expect("a clean stop");
    server.stop.cancel();
}
