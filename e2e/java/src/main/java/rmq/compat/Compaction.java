package rmq.compat;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Compaction topics, as the example of the original uses them. The broker must give up its oldest segments whatever their age. */
final class Compaction {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("compaction_topic", Compaction::keepsTheNewest);
    }

    static void keepsTheNewest(Cluster cluster) throws Exception {
        String filler = cluster.topic("compaction_filler", 1);
        String topic = cluster.name("compaction_topic");
        TopicConfig config = new TopicConfig(topic, 1, 1, 6);
        config.setAttributes(new HashMap<>(Map.of("+cleanup.policy", "COMPACTION")));
        cluster.admin.createAndUpdateTopicConfig(cluster.broker, config);
        DefaultMQProducer producer = cluster.producer("compaction");
        MessageQueue queue = new MessageQueue(topic, cluster.brokerName, 0);
        Check.eventually("queue in the route", 1, () -> producer.fetchPublishMessageQueues(topic).size());
        for (int i = 0; i < 10; i++) {
            producer.send(Cluster.message(topic, "states", "key" + i % 3, "value" + i), queue);
        }
        try {
            producer.send(Cluster.message(topic, "states", "", "nobody's"), queue);
            throw new Check.Failed("a message without a key was taken");
        } catch (MQBrokerException refused) {
            Check.equal("code without a key", 13, refused.getResponseCode());
            Check.contains("remark without a key", refused.getErrorMessage(), "Required message key is missing");
        }
        // Compressed they would fill no segment.
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        for (int i = 0; i < 6; i++) {
            producer.send(Cluster.message(filler, "", "", "x".repeat(40_000)));
        }
        Check.eventually("first offset after the segments went", 7L, () -> {
            cluster.admin.deleteExpiredCommitLogByAddr(cluster.broker);
            return cluster.reader().minOffset(queue);
        });

        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(cluster.group("compaction"));
        consumer.setNamesrvAddr(cluster.nameServer);
        consumer.setInstanceName(cluster.instance());
        // A seek interrupts the pull that the assignment began, and the client may lose its connection and the new offset by that.
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.start();
        try {
            consumer.assign(consumer.fetchMessageQueues(topic));
            Map<Long, String> found = new TreeMap<>();
            Map<Long, String> expected = new TreeMap<>(Map.of(7L, "key1 value7", 8L, "key2 value8", 9L, "key0 value9"));
            Check.eventually("what is left", expected, () -> {
                List<MessageExt> polled = consumer.poll(200);
                polled.forEach(message -> found.put(message.getQueueOffset(), message.getKeys() + " " + Cluster.body(message)));
                return found;
            });
        } finally {
            consumer.shutdown();
        }
        producer.send(Cluster.message(topic, "states", "key0", "value10"), queue);
        Check.equal("max offset", 11L, cluster.reader().maxOffset(queue));
    }

    private Compaction() {
    }
}
