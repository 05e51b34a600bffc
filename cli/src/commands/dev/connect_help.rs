//! What `dev` and `tunnel` print when they are ready: where the cluster is, and how to connect from each language.

use std::time::Duration;

use super::Prepared;
use super::data_dir::DataDir;
use super::servers::Servers;
use crate::output::Output;

pub(crate) fn print(
    output: &Output,
    servers: &Servers,
    data: &DataDir,
    prepared: &Prepared,
    took: Duration,
) {
    output.heading(&format!("rmq is ready ({} ms)", took.as_millis()));
    let kept = if data.is_throw_away() {
        " (removed at the end)"
    } else {
        ""
    };
    let mut lines = Vec::new();
    let all = servers.clusters();
    for cluster in all {
        if all.len() > 1 {
            lines.push(("cluster", cluster.name().to_owned()));
        }
        for addr in cluster.name_servers() {
            lines.push(("name server", addr.clone()));
        }
        for (name, addr) in cluster.brokers() {
            lines.push(("broker", format!("{addr} ({name})")));
        }
        for addr in cluster.name_server_management() {
            lines.push(("management", format!("http://{addr}/metrics (name server)")));
        }
        for ((name, _), addr) in cluster.brokers().zip(cluster.broker_management()) {
            if let Some(addr) = addr {
                lines.push(("management", format!("http://{addr}/metrics ({name})")));
            }
        }
    }
    lines.push(("data", format!("{}{kept}", data.path().display())));
    let found = &prepared.found;
    let check = format!(
        "message {} sent and read back in {} µs",
        found.message_id,
        found.took.as_micros()
    );
    lines.push(("self-check", check));
    if !prepared.topics.is_empty() {
        lines.push(("topics", prepared.topics.join(", ")));
    }
    let lines: Vec<(&str, &str)> = lines
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    output.list(&lines);

    output.say("");
    let topic = prepared.topics.first().map_or("orders", String::as_str);
    snippets(output, all[0].name_servers(), topic);
    output.say("");
    output.say("Ctrl-C stops it.");
}

/// How to connect to these name servers from each language.
pub(crate) fn snippets(output: &Output, name_servers: &[String], topic: &str) {
    let java = name_servers.join(";");
    let go: Vec<String> = name_servers
        .iter()
        .map(|addr| format!("\"{addr}\""))
        .collect();
    let go = go.join(", ");
    let rust = name_servers.join(",");
    output.heading("Java (org.apache.rocketmq:rocketmq-client)");
    output.say_block(&format!(
        r#"  DefaultMQProducer producer = new DefaultMQProducer("checkout");
  producer.setNamesrvAddr("{java}");
  producer.start();
  producer.send(new Message("{topic}", "hello".getBytes()));"#
    ));
    output.heading("Go (github.com/apache/rocketmq-client-go/v2)");
    output.say_block(&format!(
        r#"  p, _ := rocketmq.NewProducer(producer.WithNameServer([]string{{{go}}}))
  _ = p.Start()
  _, _ = p.SendSync(context.Background(), primitive.NewMessage("{topic}", []byte("hello")))"#
    ));
    output.heading("Rust (rmq-client)");
    output.say_block(&format!(
        r#"  let client = Client::connect("rmq://{rust}").await?;
  client.producer().send(Message::new("{topic}", "hello")).await?;"#
    ));
}
