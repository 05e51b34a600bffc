//! Offsets that consumers commit at a replica, while their master is away and while it is there.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{
    QueryConsumerOffset, RegisterBroker, RegisterBrokerReply, Request, UpdateConsumerOffset,
};
use rmq_protocol::route::MASTER_ID;
use rmq_transport::{Exchange, Reply, ServerConfig, Service};
use tokio_util::sync::CancellationToken;

use crate::rig::{Group, Wire, eventually};
use crate::support::{Client, remark};

/// Tells replicas where their master is, as a name server does.
#[derive(Default)]
pub(crate) struct NameServer {
    master: Mutex<Option<(String, String)>>,
}

impl NameServer {
    /// Its address, and what stops it.
    pub(crate) async fn start() -> (String, CancellationToken) {
        let (listener, addr) = rmq_transport::bind("127.0.0.1:0").await.expect("a port");
        let stop = CancellationToken::new();
        tokio::spawn(rmq_transport::serve(
            listener,
            Arc::new(Self::default()),
            ServerConfig::new("name server"),
            stop.clone(),
        ));
        (addr.to_string(), stop)
    }
}

impl Service for NameServer {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        let header = exchange.header;
        if header.code != RequestCode::RegisterBroker.as_i32() {
            return exchange.fail(ResponseCode::RequestCodeNotSupported, "not here");
        }
        let request = RegisterBroker::decode(&header.fields).expect("a registration");
        let mut master = self.master.lock();
        if request.broker_id == MASTER_ID {
            let replication = request.ha_server_addr.unwrap_or_default();
            *master = Some((replication.into_owned(), request.broker_addr.into_owned()));
        }
        let (replication, client) = master.clone().unzip();
        exchange.ok(&RegisterBrokerReply {
            ha_server_addr: replication,
            master_addr: client,
            write_perm_given_again: None,
            master_epoch: None,
        });
    }
}

async fn offset(client: &Client) -> i64 {
    let query = QueryConsumerOffset {
        consumer_group: "g".into(),
        topic: "orders".into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &query, &[])
        .await;
    let fields = answer.header().fields;
    let offset = fields.get("offset").and_then(|text| text.parse());
    offset.unwrap_or(-1)
}

async fn commit(client: &Client, offset: i64) {
    let update = UpdateConsumerOffset {
        consumer_group: "g".into(),
        topic: "orders".into(),
        queue_id: 0,
        commit_offset: offset,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::UpdateConsumerOffset, &update, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_consumers_commit_at_a_replica_reaches_the_master_and_sets_nobody_back() {
    let (name_server, stop) = NameServer::start().await;
    let group = Group::start(1, |config| config.name_servers.clone_from(&name_server)).await;
    group.master.broker.registered().await;
    let master = group.master.client();
    master.create_topic("orders", 1, 6).await;
    master.create_group("g", |_| {}).await;
    for number in 0..10 {
        master.put("orders", "", &number.to_string()).await;
    }
    group.caught_up().await;
    let replica = group.replicas[0].client();

    // With the master there: it hears of it, and its log comes back to the replica.
    commit(&replica, 3).await;
    assert_eq!(offset(&replica).await, 3);
    eventually("the master knows", async || offset(&master).await == 3).await;
    commit(&master, 5).await;
    eventually("the replica knows", async || offset(&replica).await == 5).await;
    // Behind the master: it changes nothing.
    commit(&replica, 4).await;
    assert_eq!(offset(&replica).await, 5);

    // While the master is away it is kept, and the master hears of it when it is back.
    group.replicas[0]
        .wire
        .as_ref()
        .expect("a wire")
        .set(Wire::Cut);
    commit(&replica, 8).await;
    let stopped = group.master.stop(true).await;
    commit(&replica, 9).await;
    assert_eq!(offset(&replica).await, 9);
    let mut replicas = group.replicas;
    let back = crate::rig::Member::start(stopped).await;
    let master = back.client();
    assert!(offset(&master).await <= 5);
    let wire = replicas[0].wire.as_ref().expect("a wire");
    wire.lead_to(back.broker.replication_addr().expect("a port"));
    wire.set(Wire::Whole);
    eventually("the master knows", async || offset(&master).await == 9).await;

    // A replica that becomes the master by promotion has it too: `server/tests/promotion.rs`.
    replicas
        .remove(0)
        .broker
        .shutdown()
        .await
        .expect("a clean stop");
    back.broker.shutdown().await.expect("a clean stop");
    stop.cancel();
}
