//! What the network and the store tell a broker: requests, connections, messages that arrived.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use rmq_protocol::code::ResponseCode;
use rmq_store::{Arrival, Arrivals};
use rmq_transport::{Answered, Exchange, Peer, Replies, Reply as _, Service};

use crate::broker::Broker;
use crate::clients::members;
use crate::handlers::batch::Batch;
use crate::handlers::send;
use crate::looks::Looks;
use crate::waiters::{self, Waiter, Woken};
use crate::{limits, router};

/// The network's view of a broker, at one of [`LISTENERS`](crate::listeners::LISTENERS).
pub(crate) struct BrokerService {
    pub(crate) broker: Arc<Broker>,
    /// Which of [`LISTENERS`](crate::listeners::LISTENERS).
    pub(crate) listener: usize,
}

impl Service for BrokerService {
    type Batch = Batch;

    fn request(&self, batch: &mut Batch, exchange: &mut Exchange<'_>) {
        router::route(&self.broker, batch, exchange);
    }

    fn gathers(&self, batch: &Batch) -> bool {
        // One write for the sends of all connections that are ready, where a thread that answers sends writes.
        !batch.sends.is_empty() && self.broker.store.settles_in_place()
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
        members::closed(&self.broker, peer.id());
    }
}

/// The network's view of a broker that has no store for now, and why.
pub(crate) struct Away(pub(crate) String);

impl Service for Away {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        // Producers and consumers try this code again.
        exchange.fail(ResponseCode::SystemBusy, self.0.clone());
    }
}

/// Has pulls that waited for the same queue look again. How many.
fn wake(waiters: impl Iterator<Item = Waiter>) -> usize {
    let mut looks = Looks::default();
    waiters
        .map(|waiter| waiter.wake_among(Woken::Arrived, &mut looks))
        .count()
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
            let mut taken = broker.waiters.take_matching(&queue, &tags);
            let here = limits::ANSWER_IN_PLACE_MAX.saturating_sub(answered);
            answered += wake(taken.by_ref().take(here));
            while taken.len() > 0 {
                let some: Vec<_> = taken.by_ref().take(limits::ANSWER_IN_PLACE_MAX).collect();
                broker.run_task(async move {
                    wake(some.into_iter());
                });
            }
        }
    }
}
