//! A way to a server that can be cut, or lose its answers.

use std::net::SocketAddr;
use std::sync::Arc;

use rmq_election::place::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::suite::{BadWay, Is};

/// Listens on a port of its own, and passes everything on to the server.
pub(crate) struct Proxy {
    addr: SocketAddr,
    is: Arc<watch::Sender<Is>>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.is.send_replace(Is::Cut);
    }
}

impl Proxy {
    /// `server`: where new connections go; it may change.
    pub(crate) async fn to(server: watch::Receiver<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let is = Arc::new(watch::Sender::new(Is::Good));
        let way = Arc::clone(&is);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let is = way.subscribe();
                let server = *server.borrow();
                tokio::spawn(pass_on(client, server, is));
            }
        });
        Self {
            addr,
            is,
            accepting,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn is_now(&self, is: Is) {
        self.is.send_replace(is);
    }
}

/// Passes bytes on in both directions until one side ends or the way is cut.
async fn pass_on(client: TcpStream, server: SocketAddr, mut is: watch::Receiver<Is>) {
    if *is.borrow_and_update() == Is::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        // Either end of it ends the connection.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let ways = is.clone();
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            // An answer that comes after the cut belongs to a request that was sent after it.
            match *ways.borrow() {
                Is::Good => {}
                Is::WithoutAnswers => continue,
                Is::Cut => return,
            }
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let cut = async {
        loop {
            let before = *is.borrow_and_update();
            // After lost answers the stream has a hole.
            if before == Is::Cut || is.changed().await.is_err() || before == Is::WithoutAnswers {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
        () = cut => {}
    }
}

/// A place behind a proxy.
pub(crate) struct Proxied {
    pub(crate) proxy: Proxy,
    pub(crate) place: Arc<dyn Place>,
}

impl BadWay for Proxied {
    fn place(&self) -> Arc<dyn Place> {
        Arc::clone(&self.place)
    }

    fn is_now(&self, is: Is) {
        self.proxy.is_now(is);
    }
}
