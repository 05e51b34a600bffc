//! What `dev` prints when it is ready: where it is, and how to connect from each language.

use std::time::Duration;

use super::data_dir::DataDir;
use super::self_check::Found;
use super::servers::Servers;
use crate::output::Output;

pub(crate) fn print(
    output: &Output,
    servers: &Servers,
    data: &DataDir,
    topics: &[String],
    found: &Found,
    took: Duration,
) {
    let name_server = servers.name_server();
    let topic = topics.first().map_or("orders", String::as_str);
    output.heading(&format!("rmq is ready ({} ms)", took.as_millis()));
    let kept = if data.is_throw_away() {
        " (removed at the end)"
    } else {
        ""
    };
    let broker = format!("{} ({})", servers.broker(), servers.broker_name());
    let data_line = format!("{}{kept}", data.path().display());
    let check = format!(
        "message {} sent and read back in {} µs",
        found.message_id,
        found.took.as_micros()
    );
    let all_topics = topics.join(", ");
    let mut lines = vec![
        ("name server", name_server),
        ("broker", broker.as_str()),
        ("data", data_line.as_str()),
        ("self-check", check.as_str()),
    ];
    if !topics.is_empty() {
        lines.push(("topics", all_topics.as_str()));
    }
    output.list(&lines);

    output.say("");
    output.heading("Java (org.apache.rocketmq:rocketmq-client)");
    output.say(&format!(
        r#"  DefaultMQProducer producer = new DefaultMQProducer("checkout");
  producer.setNamesrvAddr("{name_server}");
  producer.start();
  producer.send(new Message("{topic}", "hello".getBytes()));"#
    ));
    output.heading("Go (github.com/apache/rocketmq-client-go/v2)");
    output.say(&format!(
        r#"  p, _ := rocketmq.NewProducer(producer.WithNameServer([]string{{"{name_server}"}}))
  _ = p.Start()
  _, _ = p.SendSync(context.Background(), primitive.NewMessage("{topic}", []byte("hello")))"#
    ));
    output.heading("Rust (rmq-client)");
    output.say(&format!(
        r#"  let client = Client::connect("rmq://{name_server}").await?;
  client.producer().send(Message::new("{topic}", "hello")).await?;"#
    ));
    output.say("");
    output.say("Ctrl-C stops it.");
}
