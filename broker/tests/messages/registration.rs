//! What name servers are told, and when.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_broker::Deps;
use rmq_protocol::bodies::RegisterBrokerBody;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{RegisterBroker, Request, UnregisterBroker};
use rmq_protocol::route::perm;
use rmq_transport::{Exchange, ManualClock, ServerConfig, Service};
use tokio_util::sync::CancellationToken;

use crate::support::{Rig, until};

#[derive(Debug, Clone, PartialEq)]
enum Told {
    Register {
        addr: String,
        topics: Vec<String>,
        crc_holds: bool,
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
                    topics: body
                        .topic_config_serialize_wrapper
                        .topic_config_table
                        .into_keys()
                        .collect(),
                    crc_holds: request.body_crc32 == Some(crc),
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
        }) = told.first()
        else {
            panic!("{told:?}")
        };
        assert_eq!((registered, *crc_holds), (&addr, true));
        assert!(topics.contains(&"TBW102".to_owned()), "{topics:?}");
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
        assert!(topics.contains(&"fresh".to_owned()), "{topics:?}");
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
