//! Signs of life of a client's producers: brokers show by them who sends, and forget a producer that gives none for two minutes.

use std::collections::BTreeSet;
use std::sync::{OnceLock, Weak};

use futures_util::future::join_all;
use parking_lot::Mutex;
use rmq_protocol::bodies::{HeartbeatData, ProducerData};
use rmq_protocol::requests::HeartBeat;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, sleep_until};

use super::ProducerState;
use crate::client::{Client, WeakClient};
use crate::error::Error;

/// What lets the task beat at once.
enum Wake {
    /// A producer of another group sends for the first time: tell all brokers.
    Group,
    /// A connection is new, and its server forgets producers with the connection before.
    Connected(String),
}

/// The producers of a client that have sent something. One task for all of them, from the first send on.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    producers: Mutex<Vec<Weak<ProducerState>>>,
    wake: OnceLock<mpsc::UnboundedSender<Wake>>,
    /// Every broker knows the client.
    told: OnceCell<()>,
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group => f.write_str("Group"),
            Self::Connected(addr) => f.debug_tuple("Connected").field(addr).finish(),
        }
    }
}

impl Beats {
    /// A producer sends for the first time.
    pub(super) fn begin(&self, client: &Client, producer: Weak<ProducerState>) {
        let Some(group) = producer.upgrade().map(|shared| shared.group.clone()) else {
            return;
        };
        {
            let mut producers = self.producers.lock();
            producers.retain(|known| known.strong_count() > 0);
            let mut known = producers.iter().filter_map(Weak::upgrade);
            let is_known = known.any(|shared| shared.group == group);
            drop(known);
            producers.push(producer);
            if is_known {
                return;
            }
        }
        let wake = self.wake.get_or_init(|| {
            let (sender, wakes) = mpsc::unbounded_channel();
            client.tasks().spawn(run(client.downgrade(), wakes));
            sender
        });
        let _ = wake.send(Wake::Group);
    }

    /// Returns when every broker that can be reached has heard of the client once.
    pub(super) async fn told(&self, client: &Client) -> Result<(), Error> {
        let tell = async || beat(client, &Wake::Group).await;
        self.told.get_or_try_init(tell).await.copied()
    }

    /// A connection stands.
    pub(crate) fn connected(&self, addr: &str) {
        if let Some(wake) = self.wake.get() {
            let _ = wake.send(Wake::Connected(addr.to_owned()));
        }
    }

    fn groups(&self) -> BTreeSet<String> {
        let producers = self.producers.lock();
        let alive = producers.iter().filter_map(Weak::upgrade);
        alive.map(|shared| shared.group.clone()).collect()
    }
}

/// Beats until the client is gone, which closes the channel, or stops.
async fn run(weak: WeakClient, mut wakes: mpsc::UnboundedReceiver<Wake>) {
    let Some((stopped, every)) = weak
        .upgrade()
        .map(|client| (client.stopped().clone(), client.timeouts().heartbeat))
    else {
        return;
    };
    let mut next = Instant::now();
    loop {
        let woken = tokio::select! {
            () = stopped.cancelled() => return,
            () = sleep_until(next) => Wake::Group,
            wake = wakes.recv() => match wake {
                Some(wake) => wake,
                None => return,
            },
        };
        let Some(client) = weak.upgrade() else {
            return;
        };
        let beaten = tokio::select! {
            () = stopped.cancelled() => return,
            beaten = beat(&client, &woken) => beaten,
        };
        if let Err(error) = beaten {
            tracing::debug!("producers cannot give a sign of life: {error}");
        }
        if matches!(woken, Wake::Group) {
            next = Instant::now() + every;
        }
    }
}

async fn beat(client: &Client, woken: &Wake) -> Result<(), Error> {
    let groups = client.beats().groups();
    if groups.is_empty() {
        return Ok(());
    }
    let groups = groups.into_iter();
    let beat = HeartbeatData {
        client_id: client.id().to_owned(),
        producer_data_set: groups
            .map(|group_name| ProducerData { group_name })
            .collect(),
        ..HeartbeatData::default()
    }
    .to_json();
    let info = client.cluster_info().await?;
    let brokers = info
        .broker_addr_table
        .values()
        .flat_map(|data| data.broker_addrs.values());
    let beats = brokers
        .filter(|addr| match woken {
            Wake::Group => true,
            // Not name servers.
            Wake::Connected(connected) => connected == *addr,
        })
        .map(|addr| {
            let (remote, beat) = (client.remote(addr), &beat);
            async move { remote.call(&HeartBeat {}, beat).await.map(drop) }
        });
    join_all(beats).await.into_iter().collect()
}
