package rmq.compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Light queues (LMQ), which messages name beside their topic: what a gateway of MQTT needs. */
final class LightQueues {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("light_queues", LightQueues::pull);
        scenarios.put("light_queues_lite_pull", LightQueues::litePull);
        scenarios.put("light_queues_of_groups", LightQueues::groups);
    }

    static void pull(Cluster cluster) throws Exception {
        String topic = cluster.topic("light_queues", 2);
        String first = MixAll.LMQ_PREFIX + cluster.name("light-first");
        String second = MixAll.LMQ_PREFIX + cluster.name("light-second");
        DefaultMQPullConsumer reader = cluster.reader();
        learn(reader, topic);
        MessageQueue queue = queue(cluster, first);
        Check.equal("max offset before any message", 0L, reader.maxOffset(queue));
        Check.equal("pull before any message", PullStatus.NO_NEW_MSG, reader.pull(queue, "*", 0, 32).getPullStatus());

        for (int i = 0; i < 6; i++) {
            SendResult sent = send(cluster, topic, i % 2, "m" + i, i % 2 == 0 ? second : second + "," + first);
            Check.equal("queue in the topic", i % 2, sent.getMessageQueue().getQueueId());
            Check.equal("offset in the topic", (long) i / 2, sent.getQueueOffset());
        }
        Check.equal("max offset", 3L, reader.maxOffset(queue));
        Check.equal("min offset", 0L, reader.minOffset(queue));
        Check.equal("messages of the first", List.of("m1 0", "m3 1", "m5 2"), read(reader, queue, first));
        MessageQueue other = queue(cluster, second);
        Check.equal("messages of the second", List.of("m0 0", "m1 1", "m2 2", "m3 3", "m4 4", "m5 5"), read(reader, other, second));
        Check.equal("messages of the topic", 6, cluster.readAll(topic, 6).size());

        CompletableFuture<PullResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return reader.pullBlockIfNotFound(queue, "*", 3, 32);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
        send(cluster, topic, 0, "m6", first);
        PullResult woken = waiting.get();
        Check.equal("pull that waited", PullStatus.FOUND, woken.getPullStatus());
        Check.equal("message that was waited for", "m6", Cluster.body(woken.getMsgFoundList().get(0)));
        Check.equal("offset to go on", 4L, woken.getNextBeginOffset());

        try {
            send(cluster, topic, 0, "refused", first + ",orders");
            throw new Check.Failed("a queue that is not named as a light one was taken");
        } catch (MQBrokerException refused) {
            Check.equal("code of a wrong name", 13, refused.getResponseCode());
            Check.contains("remark of a wrong name", refused.getErrorMessage(), "orders");
        }
    }

    /** Where all messages of a queue name the same light queue: only there the offsets of the client's own count are those of the light queue. */
    static void litePull(Cluster cluster) throws Exception {
        String topic = cluster.topic("light_lite_pull", 1);
        String name = MixAll.LMQ_PREFIX + cluster.name("light-lite-pull");
        String group = cluster.group("light_lite_pull");
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            send(cluster, topic, 0, "m" + i, name);
            expected.add("m" + i);
        }
        MessageQueue queue = queue(cluster, name);
        DefaultLitePullConsumer consumer = Pull.lite(cluster, group);
        consumer.setAutoCommit(false);
        consumer.start();
        try {
            // Asked of a queue of the topic, the client learns where the broker is.
            consumer.committed(new MessageQueue(topic, cluster.brokerName, 0));
            consumer.assign(List.of(queue));
            List<String> bodies = new ArrayList<>();
            Check.eventually("bodies polled", expected, () -> {
                consumer.poll(200).forEach(message -> bodies.add(Cluster.body(message)));
                return bodies;
            });
            consumer.commit();
            Check.eventually("offset committed", 10L, () -> consumer.committed(queue));
        } finally {
            consumer.shutdown();
        }
    }

    /** Groups that are named as light queues need no creation either. */
    static void groups(Cluster cluster) throws Exception {
        String topic = cluster.topic("light_groups", 1);
        String name = MixAll.LMQ_PREFIX + cluster.name("light-groups");
        send(cluster, topic, 0, "one", name);
        MessageQueue queue = queue(cluster, name);
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(MixAll.LMQ_PREFIX + cluster.name("device"));
        consumer.setNamesrvAddr(cluster.nameServer);
        consumer.setInstanceName(cluster.instance());
        consumer.start();
        try {
            learn(consumer, topic);
            Check.equal("messages", List.of("one 0"), read(consumer, queue, name));
            consumer.updateConsumeOffset(queue, 1);
            consumer.getOffsetStore().persist(queue);
            Check.eventually("offset committed", 1L, () -> consumer.fetchConsumeOffset(queue, true));
        } finally {
            consumer.shutdown();
        }
    }

    /** Light queues have no route: that of a topic says where the broker is. */
    private static void learn(DefaultMQPullConsumer reader, String topic) {
        reader.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().updateTopicRouteInfoFromNameServer(topic);
    }

    private static MessageQueue queue(Cluster cluster, String name) {
        return new MessageQueue(name, cluster.brokerName, MixAll.LMQ_QUEUE_ID);
    }

    private static SendResult send(Cluster cluster, String topic, int queueId, String body, String names) throws Exception {
        Message message = Cluster.message(topic, "", "", body);
        message.putUserProperty(MessageConst.PROPERTY_INNER_MULTI_DISPATCH, names);
        DefaultMQProducer producer = cluster.producer("light");
        return producer.send(message, new MessageQueue(topic, cluster.brokerName, queueId));
    }

    /** Bodies and offsets of all messages of a light queue, from its beginning on. */
    private static List<String> read(DefaultMQPullConsumer reader, MessageQueue queue, String name) throws Exception {
        PullResult result = reader.pull(queue, "*", 0, 32);
        Check.equal("status of a pull of " + name, PullStatus.FOUND, result.getPullStatus());
        Check.equal("offset to go on in " + name, (long) result.getMsgFoundList().size(), result.getNextBeginOffset());
        return result.getMsgFoundList().stream().map(message -> Cluster.body(message) + " " + offset(message, name)).toList();
    }

    /** The offset of a message in a light queue: in the property of offsets at the place that the name has in the property of names. */
    private static String offset(MessageExt message, String name) {
        List<String> names = List.of(message.getProperty(MessageConst.PROPERTY_INNER_MULTI_DISPATCH).split(MixAll.LMQ_DISPATCH_SEPARATOR));
        String offsets = message.getProperty(MessageConst.PROPERTY_INNER_MULTI_QUEUE_OFFSET);
        return offsets.split(MixAll.LMQ_DISPATCH_SEPARATOR)[names.indexOf(name)];
    }
}
