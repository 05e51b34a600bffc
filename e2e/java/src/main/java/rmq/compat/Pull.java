package rmq.compat;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that ask for messages themselves. */
final class Pull {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("pull_statuses", Pull::statuses);
        scenarios.put("pull_tags", Pull::tags);
        scenarios.put("pull_offsets", Pull::offsets);
        scenarios.put("lite_pull_subscribe", Pull::liteSubscribe);
        scenarios.put("lite_pull_seek", Pull::liteSeek);
    }

    static void statuses(Cluster cluster) throws Exception {
        String topic = cluster.topic("pull_statuses", 1);
        MessageQueue queue = new MessageQueue(topic, cluster.brokerName, 0);
        DefaultMQPullConsumer reader = cluster.reader();
        Check.equal("max offset of an empty queue", 0L, reader.maxOffset(queue));
        Check.equal("pull from an empty queue", PullStatus.NO_NEW_MSG, reader.pull(queue, "*", 0, 32).getPullStatus());
        Push.send(cluster, topic, "", "m", 10);
        Check.equal("max offset", 10L, reader.maxOffset(queue));
        Check.equal("min offset", 0L, reader.minOffset(queue));

        PullResult found = reader.pull(queue, "*", 4, 3);
        Check.equal("pull from the middle", PullStatus.FOUND, found.getPullStatus());
        Check.equal("next offset", 7L, found.getNextBeginOffset());
        Check.equal("min offset in the answer", 0L, found.getMinOffset());
        Check.equal("max offset in the answer", 10L, found.getMaxOffset());
        Check.equal("bodies", List.of("m4", "m5", "m6"), found.getMsgFoundList().stream().map(Cluster::body).toList());
        Check.equal("offsets", List.of(4L, 5L, 6L), found.getMsgFoundList().stream().map(MessageExt::getQueueOffset).toList());

        PullResult end = reader.pull(queue, "*", 10, 32);
        Check.equal("pull at the end", PullStatus.NO_NEW_MSG, end.getPullStatus());
        PullResult beyond = reader.pull(queue, "*", 1_000, 32);
        Check.equal("pull beyond the end", PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        Check.equal("offset to go on after a pull beyond the end", 10L, beyond.getNextBeginOffset());
    }

    static void tags(Cluster cluster) throws Exception {
        String topic = cluster.topic("pull_tags", 1);
        MessageQueue queue = new MessageQueue(topic, cluster.brokerName, 0);
        DefaultMQPullConsumer reader = cluster.reader();
        for (int i = 0; i < 12; i++) {
            cluster.producer("pull").send(Cluster.message(topic, "tag" + i % 3, "", "m" + i));
        }
        List<String> bodies = new ArrayList<>();
        long offset = 0;
        while (offset < 12) {
            PullResult result = reader.pull(queue, "tag0 || tag2", offset, 4);
            Check.that("FOUND or NO_MATCHED_MSG", Set.of(PullStatus.FOUND, PullStatus.NO_MATCHED_MSG).contains(result.getPullStatus()), result);
            Check.that("an offset that moves on", result.getNextBeginOffset() > offset, result);
            offset = result.getNextBeginOffset();
            if (result.getPullStatus() == PullStatus.FOUND) {
                result.getMsgFoundList().forEach(message -> bodies.add(Cluster.body(message)));
            }
        }
        Check.equal("bodies of tag0 and tag2", List.of("m0", "m2", "m3", "m5", "m6", "m8", "m9", "m11"), bodies);
        PullResult none = reader.pull(queue, "absent", 0, 32);
        Check.equal("pull of a tag that no message has", PullStatus.NO_MATCHED_MSG, none.getPullStatus());
        Check.equal("offset to go on", 12L, none.getNextBeginOffset());
    }

    static void offsets(Cluster cluster) throws Exception {
        String topic = cluster.topic("pull_offsets", 1);
        String group = cluster.group("pull_offsets");
        MessageQueue queue = new MessageQueue(topic, cluster.brokerName, 0);
        List<Long> stored = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            SendResult sent = cluster.producer("pull").send(Cluster.message(topic, "", "", "m" + i));
            MessageExt message = cluster.admin.viewMessage(topic, sent.getOffsetMsgId());
            stored.add(message.getStoreTimestamp());
            // The next one must have another store time: wait for the clock, not for the server.
            while (System.currentTimeMillis() <= message.getStoreTimestamp() + 1) {
                Thread.onSpinWait();
            }
        }
        DefaultMQPullConsumer reader = cluster.reader();
        Check.equal("earliest store time", stored.get(0), reader.earliestMsgStoreTime(queue));
        for (int i = 0; i < 3; i++) {
            Check.equal("offset at the store time of message " + i, (long) i, reader.searchOffset(queue, stored.get(i)));
        }
        Check.equal("offset before all", 0L, reader.searchOffset(queue, stored.get(0) - 60_000));

        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(cluster.nameServer);
        consumer.setInstanceName(cluster.instance());
        consumer.start();
        try {
            consumer.updateConsumeOffset(queue, 2);
            consumer.getOffsetStore().persist(queue);
            Check.eventually("offset committed", 2L, () -> consumer.fetchConsumeOffset(queue, true));
        } finally {
            consumer.shutdown();
        }
    }

    static void liteSubscribe(Cluster cluster) throws Exception {
        String topic = cluster.topic("lite_subscribe", 4);
        String group = cluster.group("lite_subscribe");
        for (String round : List.of("first ", "second ")) {
            Set<String> expected = Push.send(cluster, topic, "good", round, 20);
            Push.send(cluster, topic, "bad", "bad ", 5);
            DefaultLitePullConsumer consumer = lite(cluster, group);
            consumer.subscribe(topic, "good");
            consumer.start();
            try {
                Set<String> bodies = new TreeSet<>();
                Check.eventually("bodies polled", expected, () -> {
                    consumer.poll(200).forEach(message -> bodies.add(Cluster.body(message)));
                    return bodies;
                });
                consumer.commit();
            } finally {
                consumer.shutdown();
            }
        }
    }

    static void liteSeek(Cluster cluster) throws Exception {
        String topic = cluster.topic("lite_seek", 1);
        Push.send(cluster, topic, "", "m", 10);
        DefaultLitePullConsumer consumer = lite(cluster, cluster.group("lite_seek"));
        consumer.setAutoCommit(false);
        consumer.start();
        try {
            Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
            Check.equal("queues", 1, queues.size());
            MessageQueue queue = queues.iterator().next();
            consumer.assign(queues);
            // The client shows what it had asked for before a seek, when the answer comes late: nothing is under way here.
            Check.equal("bodies after the assignment", List.of("m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"), poll(consumer, 10));
            consumer.seek(queue, 6);
            Check.equal("bodies after a seek to 6", List.of("m6", "m7", "m8", "m9"), poll(consumer, 4));
            consumer.seekToBegin(queue);
            Check.equal("bodies after a seek to the begin", List.of("m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"), poll(consumer, 10));
            consumer.seekToEnd(queue);
            cluster.producer("push").send(Cluster.message(topic, "", "", "m10"));
            Check.equal("bodies after a seek to the end", List.of("m10"), poll(consumer, 1));
            consumer.commitSync(Map.of(queue, 7L), true);
            Check.eventually("committed offset", 7L, () -> consumer.committed(queue));
            Check.equal("offset for a time before all", 0L, consumer.offsetForTimestamp(queue, System.currentTimeMillis() - 3_600_000));
        } finally {
            consumer.shutdown();
        }
    }

    private static List<String> poll(DefaultLitePullConsumer consumer, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        Check.eventually("messages polled", true, () -> {
            consumer.poll(200).forEach(message -> bodies.add(Cluster.body(message)));
            return bodies.size() >= count;
        });
        return bodies;
    }

    static DefaultLitePullConsumer lite(Cluster cluster, String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(cluster.nameServer);
        consumer.setInstanceName(cluster.instance());
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setTopicMetadataCheckIntervalMillis(1_000);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return consumer;
    }

    private Pull() {
    }
}
