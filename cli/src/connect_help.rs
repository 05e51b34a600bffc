//! How programs connect to a cluster: what `dev` and `tunnel` print when they are ready.

use crate::output::Output;

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
