//! Real clients through `rmq-ctl tunnel`, where the brokers' own addresses lead nowhere.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rmq_client::{Client, ConnectFuture, Connector, Message, Position, TcpConnector};
use rmq_testing::TestCluster;
use serde_json::Value;

/// Reaches the tunnel, and nothing else.
struct Only(BTreeSet<String>);

impl Connector for Only {
    fn connect<'a>(&'a self, addr: &'a str) -> ConnectFuture<'a> {
        if self.0.contains(addr) {
            return TcpConnector.connect(addr);
        }
        let error = io::Error::other(format!("{addr} is not of the tunnel"));
        Box::pin(async { Err(error) })
    }
}

struct Tunnel {
    child: Child,
    name_servers: Vec<String>,
    brokers: Vec<String>,
}

impl Tunnel {
    fn open(name_servers: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rmq-ctl"))
            .args(["tunnel", "--print-json", "--nameserver", name_servers])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("rmq-ctl starts");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("UTF-8");
        let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
        let texts = |list: &Value, field: &str| -> Vec<String> {
            let items = list.as_array().expect("a list").iter();
            let text = items.map(|item| item.as_str().or(item[field].as_str()).expect("text"));
            text.map(str::to_owned).collect()
        };
        Self {
            child,
            name_servers: texts(&ready["nameServers"], ""),
            brokers: texts(&ready["brokers"], "address"),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have failed already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

#[rmq_testing::test(brokers = 2, name_servers = 2)]
async fn two_name_servers_and_two_brokers(cluster: TestCluster) {
    cluster.topic("orders").create().await;
    let list = cluster.name_server_list();
    let tunnel = tokio::task::spawn_blocking(move || Tunnel::open(&list))
        .await
        .expect("open");
    assert_eq!((tunnel.name_servers.len(), tunnel.brokers.len()), (2, 2));
    let reachable: BTreeSet<String> = tunnel
        .name_servers
        .iter()
        .chain(&tunnel.brokers)
        .cloned()
        .collect();
    for name_server in &tunnel.name_servers {
        let client = Client::builder(format!("rmq://{name_server}"))
            .connector(Arc::new(Only(reachable.clone())))
            .connect()
            .await
            .expect("connected");
        client
            .wait_for_route("orders", Duration::from_secs(10))
            .await
            .expect("a route");
        let mut brokers = BTreeSet::new();
        for number in 0..16 {
            let body = vec![b'x'; 100_000 * (number % 2) + 1];
            let receipt = client.producer().send(Message::new("orders", body)).await;
            brokers.insert(receipt.expect("stored").queue().broker().to_owned());
        }
        assert_eq!(brokers.len(), 2, "both brokers got messages");
        let mut reader = client
            .reader("orders")
            .from(Position::Earliest)
            .open()
            .await
            .expect("open");
        let mut read = 0;
        while read < 16 {
            reader.next().await.expect("readable").expect("a message");
            read += 1;
        }
        client.shutdown().await;
    }
}
