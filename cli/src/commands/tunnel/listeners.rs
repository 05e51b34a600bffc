//! Where the tunnel listens: one address for each name server, and two for each broker, the second for clients that send two ports below.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmq_client::Connector;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::relay::{Addresses, relay};
use crate::causes::chain;

/// Only programs of this machine get in.
const LOOPBACK: &str = "127.0.0.1";
/// Brokers that get a place; the addresses of more stay as they are.
const BROKERS_MAX: usize = 1_024;
/// Open connections in all.
const CONNECTIONS_MAX: usize = 4_096;
/// Longest attempt to reach a server.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Clients with `vipChannelEnabled` send two ports below.
const FAST: u16 = 2;
/// Given ports of brokers lie so far apart, that their fast ports find room.
const BROKER_STEP: u16 = 10;
/// Attempts to find two free ports, one two below the other.
const PAIRS_MAX: usize = 64;

/// What people are told while the tunnel works.
#[derive(Debug)]
pub(super) enum News {
    /// A broker got a place.
    Broker { remote: String, local: String },
    /// Something does not work.
    Trouble(String),
}

/// The tunnel. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tunnel {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Arc<dyn Connector>,
    /// First port for brokers; none: free ones.
    broker_port: Option<u16>,
    brokers: Mutex<BTreeMap<String, String>>,
    room: Semaphore,
    news: mpsc::UnboundedSender<News>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Tunnel {
    pub(super) fn new(
        connector: Arc<dyn Connector>,
        broker_port: Option<u16>,
    ) -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, told) = mpsc::unbounded_channel();
        let inner = Inner {
            connector,
            broker_port: broker_port.filter(|port| *port != 0),
            brokers: Mutex::default(),
            room: Semaphore::new(CONNECTIONS_MAX),
            news,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let tunnel = Self {
            inner: Arc::new(inner),
        };
        (tunnel, told)
    }

    /// Listens for a name server, on this port; 0 is a free one.
    pub(super) async fn name_server(&self, remote: &str, port: u16) -> io::Result<String> {
        let listener = TcpListener::bind((LOOPBACK, port)).await?;
        let local = listener.local_addr()?.to_string();
        self.accept(listener, remote.to_owned());
        Ok(local)
    }

    /// Listens for a broker, unless it has its place already.
    pub(super) async fn broker(&self, remote: &str) -> io::Result<String> {
        let mut brokers = self.inner.brokers.lock().await;
        if let Some(local) = brokers.get(remote) {
            return Ok(local.clone());
        }
        if brokers.len() >= BROKERS_MAX {
            return Err(io::Error::other(format!(
                "{BROKERS_MAX} brokers have one already"
            )));
        }
        let given = self.inner.broker_port.and_then(|port| {
            let step = u16::try_from(brokers.len())
                .ok()?
                .checked_mul(BROKER_STEP)?;
            port.checked_add(step)
        });
        let (main, fast) = match given {
            Some(port) => match pair(port).await {
                Ok(pair) => pair,
                Err(error) => {
                    self.trouble(format!(
                        "port {port} for {remote} is taken ({error}); it gets a free one"
                    ));
                    free_pair().await?
                }
            },
            None => free_pair().await?,
        };
        let local = main.local_addr()?.to_string();
        self.accept(main, remote.to_owned());
        if let (Some(fast), Some(remote)) = (fast, fast_of(remote)) {
            self.accept(fast, remote);
        }
        brokers.insert(remote.to_owned(), local.clone());
        // The receiver is gone when the tunnel ends.
        let _ = self.inner.news.send(News::Broker {
            remote: remote.to_owned(),
            local: local.clone(),
        });
        Ok(local)
    }

    /// Closes all connections and waits for their ends.
    pub(super) async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn trouble(&self, text: String) {
        let _ = self.inner.news.send(News::Trouble(text));
    }

    fn accept(&self, listener: TcpListener, remote: String) {
        let tunnel = self.clone();
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            // One line for an outage, not one for each attempt of each client.
            let is_down = Arc::new(AtomicBool::new(false));
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.cancelled() => return,
                };
                match accepted {
                    Ok((stream, _)) => tunnel.serve(stream, remote.clone(), Arc::clone(&is_down)),
                    Err(error) => {
                        tunnel.trouble(format!(
                            "a connection for {remote} was not accepted: {error}"
                        ));
                        // Out of files, most likely: others have to end first.
                        tokio::select! {
                            () = tokio::time::sleep(Duration::from_millis(100)) => {}
                            () = stop.cancelled() => return,
                        }
                    }
                }
            }
        });
    }

    fn serve(&self, stream: TcpStream, remote: String, is_down: Arc<AtomicBool>) {
        let tunnel = self.clone();
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = tunnel.connection(stream, &remote, &is_down) => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn connection(&self, stream: TcpStream, remote: &str, is_down: &AtomicBool) {
        let Ok(_room) = self.inner.room.try_acquire() else {
            self.trouble(format!(
                "more than {CONNECTIONS_MAX} connections: one for {remote} was closed"
            ));
            return;
        };
        // Small frames must not wait for others; without it they do, and that is all.
        let _ = stream.set_nodelay(true);
        let connecting = self.inner.connector.connect(remote);
        let connected = match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {CONNECT_WITHIN:?}"),
            )),
        };
        match connected {
            Ok(server) => {
                if is_down.swap(false, Ordering::Relaxed) {
                    self.trouble(format!("{remote} can be reached again"));
                }
                if let Err(error) = relay(stream, server, self).await {
                    tracing::info!("the connection to {remote} ended: {}", chain(&error));
                }
            }
            Err(error) => {
                if !is_down.swap(true, Ordering::Relaxed) {
                    self.trouble(format!("{remote} cannot be reached: {}", chain(&error)));
                }
            }
        }
    }
}

impl Addresses for Tunnel {
    async fn local(&self, broker: &str) -> Option<String> {
        match self.broker(broker).await {
            Ok(local) => Some(local),
            Err(error) => {
                self.trouble(format!(
                    "broker {broker} has no place in the tunnel: {error}"
                ));
                None
            }
        }
    }
}

/// Where a broker serves clients that send two ports below.
fn fast_of(remote: &str) -> Option<String> {
    let (host, port) = remote.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    Some(format!(
        "{host}:{}",
        port.checked_sub(FAST).filter(|port| *port > 0)?
    ))
}

/// A port, and the one two below it where that can be had.
async fn pair(port: u16) -> io::Result<(TcpListener, Option<TcpListener>)> {
    let main = TcpListener::bind((LOOPBACK, port)).await?;
    let fast = match port.checked_sub(FAST) {
        Some(fast) if fast > 0 => TcpListener::bind((LOOPBACK, fast)).await.ok(),
        _ => None,
    };
    Ok((main, fast))
}

async fn free_pair() -> io::Result<(TcpListener, Option<TcpListener>)> {
    for _ in 0..PAIRS_MAX {
        let main = TcpListener::bind((LOOPBACK, 0)).await?;
        let below = main.local_addr()?.port().saturating_sub(FAST);
        if let Ok(fast) = TcpListener::bind((LOOPBACK, below)).await {
            return Ok((main, Some(fast)));
        }
    }
    // Clients that send two ports below are rare.
    Ok((TcpListener::bind((LOOPBACK, 0)).await?, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_port_is_two_below() {
        assert_eq!(
            fast_of("a.shop.svc:10911").as_deref(),
            Some("a.shop.svc:10909")
        );
        assert_eq!(fast_of("a:2"), None);
        assert_eq!(fast_of("a"), None);
    }

    #[tokio::test]
    async fn a_free_port_has_a_free_one_two_below() {
        let (main, fast) = free_pair().await.expect("ports");
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        assert_eq!(fast.map(|fast| port(&fast)), Some(port(&main) - FAST));
    }
}
