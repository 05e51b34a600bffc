package rmq.compat;

import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;

/** Message traces: what producers and consumers write about a message, and what mqadmin makes of it. */
final class Traces {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("mqadmin_queryMsgTraceById", Traces::byId);
    }

    static void byId(Cluster cluster) throws Exception {
        String topic = cluster.topic("traces", 1);
        String group = cluster.group("traces");
        DefaultMQProducer producer = new DefaultMQProducer(cluster.name("traced-producer"), true, null);
        producer.setNamesrvAddr(cluster.nameServer);
        producer.setInstanceName(cluster.instance());
        producer.start();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group, true, null);
        consumer.setNamesrvAddr(cluster.nameServer);
        consumer.setInstanceName(cluster.instance());
        Push.Received received = new Push.Received();
        received.listen(consumer);
        consumer.subscribe(topic, "*");
        consumer.start();
        String id;
        try {
            SendResult sent = producer.send(Cluster.message(topic, "paid", "order-1", "traced"));
            id = sent.getMsgId();
            Check.eventually("bodies delivered", java.util.Set.of("traced"), () -> received.bodies);
            // Traces leave in batches, now and then: both are there when the message is known to both.
            Check.eventually("a trace of both", true, () -> {
                String printed = Mqadmin.mqadmin(cluster, "queryMsgTraceById", "-i", id);
                return printed.contains("Pub") && printed.contains(group);
            });
        } finally {
            consumer.shutdown();
            producer.shutdown();
        }
        String printed = Mqadmin.mqadmin(cluster, "queryMsgTraceById", "-i", id);
        Check.contains("queryMsgTraceById", printed, cluster.name("traced-producer"));
        Check.contains("queryMsgTraceById", printed, "success");
    }

    private Traces() {
    }
}
