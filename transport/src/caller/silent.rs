//! A connection on which an answer did not come in time: the network was cut, or the server is slow.
//!
//! Of a cut the system tells nothing for minutes, and a network that is back is found late: what was sent is sent again after pauses that double.
//! So the server is asked something that costs nothing, on this connection first, and then on a new one. When the new one alone has an answer, it
//! takes the place of the silent one, and what is in flight there fails as [`CallError::Lost`](crate::CallError::Lost). A slow server keeps its
//! connection, and so does one that nobody reaches.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, jittered};
use crate::peer::Peer;

/// How long the silent connection may take for its answer before a new one is made.
const ALONE: Duration = Duration::from_millis(500);
/// How long a new connection may take for its answer.
const ANSWER: Duration = Duration::from_secs(1);

impl Inner {
    /// Looks whether the connection is dead, and goes on until it is known.
    pub(super) fn try_silent(self: &Arc<Self>, peer: &Arc<Peer>) {
        let Some(probe) = self.config.probe else {
            return;
        };
        {
            let mut state = self.state.lock();
            let is_current = state.peer.as_ref().is_some_and(|now| now.id() == peer.id());
            if !is_current || state.tried == Some(peer.id()) {
                return;
            }
            state.tried = Some(peer.id());
        }
        let (caller, peer) = (Arc::downgrade(self), Arc::clone(peer));
        tokio::spawn(async move {
            try_on(&caller, &peer, probe).await;
            if let Some(caller) = caller.upgrade() {
                let mut state = caller.state.lock();
                state.tried.take_if(|tried| *tried == peer.id());
            }
        });
    }

    /// A new connection over which the server has answered.
    async fn answering(self: &Arc<Self>, probe: i32) -> Option<Arc<Peer>> {
        let connecting = self.connector.connect(&self.addr);
        let connected = tokio::time::timeout(self.config.connect_timeout, connecting).await;
        let fresh = self.run(connected.ok()?.ok()?);
        // Also when this future is dropped.
        let unless_taken = Cut(Some(fresh));
        let fresh = unless_taken.0.as_ref()?;
        match answers(fresh, probe, ANSWER).await {
            true => unless_taken.keep(),
            false => None,
        }
    }
}

async fn try_on(caller: &Weak<Inner>, silent: &Arc<Peer>, probe: i32) {
    if answers(silent, probe, ALONE).await {
        return;
    }
    let mut pause = ALONE;
    loop {
        let Some(caller) = caller.upgrade() else {
            return;
        };
        let is_current = |caller: &Inner| {
            let state = caller.state.lock();
            !state.closed
                && state
                    .peer
                    .as_ref()
                    .is_some_and(|now| now.id() == silent.id())
        };
        if !is_current(&caller) {
            return;
        }
        let most = caller.config.backoff_max;
        let limit = caller.config.connect_timeout + ANSWER + most;
        let trying = async {
            match caller.answering(probe).await {
                Some(fresh) => replace(&caller, silent, &fresh),
                None => {
                    tokio::time::sleep(jittered(pause)).await;
                    false
                }
            }
        };
        tokio::select! {
            biased;
            true = answers(silent, probe, limit) => return,
            is_over = trying => if is_over {
                return;
            },
        }
        pause = (2 * pause).min(most);
    }
}

/// The server answers on a new connection and not on the silent one: calls go over the new one. Nothing is left to try.
fn replace(caller: &Arc<Inner>, silent: &Arc<Peer>, fresh: &Arc<Peer>) -> bool {
    if caller.take(fresh, Some(silent)) {
        tracing::info!(
            addr = caller.addr,
            "the server answers on a new connection and not on the old one, which is closed"
        );
        silent.cut();
    } else {
        fresh.cut();
    }
    true
}

async fn answers(peer: &Peer, probe: i32, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    match peer.start_call(probe, &(), &[]) {
        Ok(waiting) => waiting.wait(peer, deadline).await.is_ok(),
        Err(_) => false,
    }
}

/// A connection that ends unless it is kept.
struct Cut(Option<Arc<Peer>>);

impl Cut {
    fn keep(mut self) -> Option<Arc<Peer>> {
        self.0.take()
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(peer) = &self.0 {
            peer.cut();
        }
    }
}
