//! Wires to replication ports, which a test cuts and holds.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a wire does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// It passes them on.
    Whole,
    /// It keeps them until it is whole again.
    Held,
    /// It has no connections.
    Cut,
    /// It passes on so many bytes to the replica, and then is [`Held`](Self::Held).
    Budget(usize),
}

/// A wire to a replication port.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    state: watch::Sender<Wire>,
    to: watch::Sender<SocketAddr>,
    stop: CancellationToken,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let (state, seen) = watch::channel(Wire::Whole);
        let (to, target) = watch::channel(target);
        let stop = CancellationToken::new();
        tokio::spawn(relay(listener, target, seen, stop.clone()));
        Self {
            addr,
            state,
            to,
            stop,
        }
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.state.send_replace(wire);
    }

    /// It leads there from the next connection on.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.to.send_replace(target);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn relay(
    listener: TcpListener,
    target: watch::Receiver<SocketAddr>,
    state: watch::Receiver<Wire>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((near, _)) = accepted else { continue };
        if *state.borrow() == Wire::Cut {
            continue;
        }
        let target = *target.borrow();
        let state = state.clone();
        let budget = match *state.borrow() {
            Wire::Budget(bytes) => bytes,
            _ => usize::MAX,
        };
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let mut cut = state.clone();
            tokio::select! {
                () = pass(near_in, far_out, state.clone(), usize::MAX) => {}
                () = pass(far_in, near_out, state, budget) => {}
                _ = cut.wait_for(|wire| *wire == Wire::Cut) => {}
            }
        });
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Wire>,
    mut budget: usize,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        budget = budget.saturating_sub(read);
        let passes = |wire: &Wire| match wire {
            Wire::Held => false,
            Wire::Budget(_) => budget > 0,
            Wire::Whole | Wire::Cut => true,
        };
        let passes = state.wait_for(passes).await.map(|wire| *wire);
        if read == 0 || matches!(passes, Err(_) | Ok(Wire::Cut)) {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
