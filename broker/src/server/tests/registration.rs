//! As what a broker is registered, and what it hears from a name server that knows a newer master.

use std::net::SocketAddr;

use parking_lot::Mutex;
use rmq_protocol::bodies::RegisterBrokerBody;
use rmq_protocol::requests::{RegisterBroker, RegisterBrokerReply, Request, UnregisterBroker};
use rmq_transport::{Exchange, Reply, ServeReport, ServerConfig, Service};

use super::*;
use crate::registration::{Standing, Superseded};

/// What a name server was told: a registration or a farewell, with broker id, epoch and state version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Here(i64, Option<i64>, i64),
    Farewell(i64, Option<i64>),
}

/// A name server that keeps what it is told, and knows a master of epoch 7.
#[derive(Default)]
struct NameServer(Mutex<Vec<Word>>);

impl Service for NameServer {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        let fields = &exchange.header.fields;
        if let Ok(request) = RegisterBroker::decode(fields)
            && exchange.header.code == RegisterBroker::CODE.as_i32()
        {
            let body = RegisterBrokerBody::from_json(exchange.body).expect("a body");
            let state = body
                .topic_config_serialize_wrapper
                .data_version
                .state_version;
            let word = Word::Here(request.broker_id, request.master_epoch, state);
            self.0.lock().push(word);
            if request.master_epoch.is_some_and(|epoch| epoch < 7) {
                let newer = RegisterBrokerReply {
                    ha_server_addr: None,
                    master_addr: Some("10.0.0.7:10911".to_owned()),
                    write_perm_given_again: None,
                    master_epoch: Some(7),
                };
                let remark = Some("epoch 7 of 10.0.0.7:10911".into());
                return exchange.reply(
                    ResponseCode::ControllerFencedMasterEpoch,
                    remark,
                    &newer,
                    &[],
                );
            }
        } else {
            let request = UnregisterBroker::decode(fields).expect("a farewell");
            let word = Word::Farewell(request.broker_id, request.master_epoch);
            self.0.lock().push(word);
        }
        exchange.ok(&());
    }
}

/// Serves on the port until `stop`.
async fn serve(
    name_server: &Arc<NameServer>,
    addr: &str,
    stop: &CancellationToken,
) -> (SocketAddr, JoinHandle<ServeReport>) {
    let (listener, addr) = rmq_transport::bind(addr).await.expect("a port");
    let config = ServerConfig::new("name server");
    let server = rmq_transport::serve(listener, Arc::clone(name_server), config, stop.clone());
    (addr, tokio::spawn(server))
}

#[tokio::test(flavor = "multi_thread")]
async fn name_servers_are_told_at_once_of_an_election_and_tell_of_a_newer_master() {
    let name_server = Arc::new(NameServer::default());
    let stop = CancellationToken::new();
    let (addr, served) = serve(&name_server, "127.0.0.1:0", &stop).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        name_servers: addr.to_string(),
        data_dir: folder.path().to_owned(),
        segment_bytes: 16 << 20,
        ..BrokerConfig::default()
    };
    let running = BrokerServer::start(config, Deps::default())
        .await
        .expect("the broker starts");
    let broker = running.lives.broker().expect("a life");
    let registrations = &broker.registrations;
    let words = || name_server.0.lock().clone();
    running.registered().await;
    assert_eq!(words(), [Word::Here(0, None, 0)], "nobody elected it");

    let standing = |id, epoch| Standing { id, epoch };
    for (standing, word) in [
        (standing(2, None), Word::Here(2, None, 0)),
        (standing(0, Some(8)), Word::Here(0, Some(8), 8)),
    ] {
        registrations.stand(standing);
        running.registered().await;
        assert_eq!(words().last(), Some(&word));
    }

    // The name server restarts: it is told again, at once.
    stop.cancel();
    served.await.expect("it ends");
    name_server.0.lock().clear();
    let stop = CancellationToken::new();
    let (_, served) = serve(&name_server, &addr.to_string(), &stop).await;
    while words().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(words(), [Word::Here(0, Some(8), 8)]);

    let mut superseded = registrations.superseded();
    assert_eq!(*superseded.borrow(), None);
    registrations.stand(standing(0, Some(6)));
    superseded.changed().await.expect("the broker runs");
    let newer = Superseded {
        epoch: 7,
        master: "10.0.0.7:10911".to_owned(),
        name_server: addr.to_string(),
    };
    assert_eq!(superseded.borrow().as_ref(), Some(&newer));
    let health = registrations.health();
    let error = health.iter().find_map(|server| server.error.clone());
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.contains("epoch 7 of 10.0.0.7:10911")),
        "{error:?}"
    );

    running.shutdown().await.expect("a clean stop");
    assert_eq!(words().last(), Some(&Word::Farewell(0, Some(6))));
    stop.cancel();
    served.await.expect("it ends");
}
