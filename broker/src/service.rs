//! What the network and the store tell a broker: requests, connections, messages that arrived.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use rmq_protocol::names;
use rmq_store::{Arrival, Arrivals, FlushMode};
use rmq_transport::{Answered, Exchange, Peer, Replies, Service};

use crate::broker::Broker;
use crate::handlers::{Batch, clients, pull, send};
use crate::waiters;
use crate::{limits, router};

/// The ports that clients connect to, as labels.
pub(crate) const LISTENERS: [&str; 2] = ["remoting", "fast"];

/// The network's view of a broker, at one of [`LISTENERS`].
pub(crate) struct BrokerService {
    pub(crate) broker: Arc<Broker>,
    /// Which of [`LISTENERS`].
    pub(crate) listener: usize,
}

impl Service for BrokerService {
    type Batch = Batch;

    fn request(&self, batch: &mut Batch, exchange: &mut Exchange<'_>) {
        router::route(&self.broker, batch, exchange);
    }

    fn gathers(&self, batch: &Batch) -> bool {
        // One write for the sends of all connections that are ready. With sync flush the flusher gathers anyway.
        !batch.sends.is_empty() && self.broker.store.flush_mode() != FlushMode::Sync
    }

    fn batch_end(&self, batch: &mut Batch, replies: &mut Replies<'_>) {
        send::finish_batch(&self.broker, batch, replies);
    }

    fn connected(&self, peer: &Arc<Peer>) {
        self.broker.open[self.listener].fetch_add(1, Ordering::Relaxed);
        peer.tell_answers(Arc::clone(&self.broker.requests) as Arc<dyn Answered>);
        let stats = &self.broker.stats;
        stats.connected.add(&stats.sampler, [1, 1]);
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.broker.open[self.listener].fetch_sub(1, Ordering::Relaxed);
        let stats = &self.broker.stats;
        stats.closed.add(&stats.sampler, [1, 1]);
        for waiter in self.broker.waiters.take_of(Some(peer.id())) {
            waiter.reply.forget();
        }
        for loss in self.broker.sessions.closed(peer.id()) {
            clients::lost(&self.broker, &loss);
        }
    }
}

/// Answers waiting pulls when the store says that their messages are there.
pub(crate) struct Answering(pub(crate) Weak<Broker>);

impl Arrivals for Answering {
    fn arrived(&self, arrivals: &[Arrival]) {
        let Some(broker) = self.0.upgrade() else {
            return;
        };
        let mut answered = 0;
        for (queue, tags) in waiters::by_queue(arrivals) {
            if queue.topic() == names::SCHEDULE_TOPIC {
                broker.delay.arrived(queue.queue_id());
            }
            for waiter in broker.waiters.take_matching(&queue, &tags) {
                answered += 1;
                if answered <= limits::ANSWER_IN_PLACE_MAX {
                    pull::again(&broker, waiter);
                } else {
                    let then = Arc::clone(&broker);
                    broker.run_task(async move { pull::again(&then, waiter) });
                }
            }
        }
    }
}
