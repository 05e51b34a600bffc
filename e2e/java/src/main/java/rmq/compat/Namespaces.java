package rmq.compat;

import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.protocol.route.QueueData;

/** Namespaces: clients put one before the names of topics and groups, and take it off again. */
final class Namespaces {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("push_namespace", Namespaces::push);
    }

    static void push(Cluster cluster) throws Exception {
        String topic = cluster.name("push_namespace");
        String outside = cluster.topic("push_namespace", 1);
        Check.equal("the name outside of the namespace", topic, outside);
        String inside = "shop%" + topic;
        cluster.admin.createAndUpdateTopicConfig(cluster.broker, new TopicConfig(inside, 1, 1, 6));
        Check.eventually("read queues in the route of " + inside, 1,
            () -> cluster.admin.examineTopicRouteInfo(inside).getQueueDatas().stream().mapToInt(QueueData::getReadQueueNums).sum());
        DefaultMQProducer producer = new DefaultMQProducer(cluster.name("producer-namespace"));
        producer.setNamespace("shop");
        producer.setNamesrvAddr(cluster.nameServer);
        producer.setInstanceName(cluster.instance());
        producer.start();
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.name("group-namespace"));
        consumer.setNamespace("shop");
        Push.Received received = new Push.Received();
        received.listen(consumer);
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            Push.send(cluster, outside, "", "outside ", 3);
            producer.send(Cluster.message(topic, "", "key", "inside"));
            received.exactly(Set.of("inside"));
            Check.equal("messages in the topic of the namespace", 1, cluster.readAll(inside, 1).size());
            Check.that("the group is in the namespace",
                !cluster.admin.examineConsumerConnectionInfo("shop%" + cluster.name("group-namespace")).getConnectionSet().isEmpty(), "no member");
        } finally {
            consumer.shutdown();
            producer.shutdown();
        }
    }

    private Namespaces() {
    }
}
