package rmq.compat;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Where groups continue: offsets that are set for groups with live members, and queues that come and go. */
final class Offsets {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("mqadmin_resetOffsetByTime", Offsets::resetOfLiveMembers);
        scenarios.put("mqadmin_cloneGroupOffset", Offsets::cloneGroup);
        scenarios.put("queues_shrink_and_grow", Offsets::shrinkAndGrow);
    }

    /** A member that runs goes back to the time that the command names, and only there. */
    static void resetOfLiveMembers(Cluster cluster) throws Exception {
        String topic = cluster.topic("mqadmin_reset", 2);
        String group = cluster.group("mqadmin_reset");
        Set<String> early = Push.send(cluster, topic, "", "early ", 10);
        long last = cluster.readAll(topic, 10).stream().mapToLong(MessageExt::getStoreTimestamp).max().getAsLong();
        while (System.currentTimeMillis() <= last) {
            Thread.onSpinWait();
        }
        long boundary = System.currentTimeMillis();
        Set<String> late = Push.send(cluster, topic, "", "late ", 10);
        ConcurrentMap<String, Integer> times = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> times.merge(Cluster.body(message), 1, Integer::sum));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            Check.eventually("messages delivered once", 20L, () -> times.values().stream().filter(count -> count == 1).count());
            Check.eventually("messages behind", 0L, () -> cluster.admin.examineConsumeStats(group, topic).computeTotalDiff());
            String printed = Mqadmin.mqadmin(cluster, "resetOffsetByTime", "-g", group, "-t", topic, "-s", Long.toString(boundary));
            for (int queue = 0; queue < 2; queue++) {
                int id = queue;
                List<String> row = printed.lines().map(String::trim).filter(line -> line.matches(cluster.brokerName + "\\s+" + id + "\\s+5")).toList();
                Check.equal("rows of resetOffsetByTime for queue " + queue + " in " + printed, 1, row.size());
            }
            Check.eventually("late messages delivered again", true, () -> late.stream().allMatch(body -> times.get(body) == 2));
            Check.that("no early message delivered again", early.stream().allMatch(body -> times.get(body) == 1), times);
            Check.eventually("messages behind in the end", 0L, () -> cluster.admin.examineConsumeStats(group, topic).computeTotalDiff());
        } finally {
            consumer.shutdown();
        }
    }

    static void cloneGroup(Cluster cluster) throws Exception {
        String topic = cluster.topic("mqadmin_clone", 2);
        String from = cluster.group("mqadmin_clone");
        String to = cluster.group("mqadmin_clone_to");
        DefaultMQPushConsumer first = cluster.pushConsumer(from);
        Push.Received seen = new Push.Received();
        seen.listen(first);
        first.subscribe(topic, "*");
        first.start();
        try {
            seen.exactly(Push.send(cluster, topic, "", "old ", 10));
            Check.eventually("messages behind", 0L, () -> cluster.admin.examineConsumeStats(from, topic).computeTotalDiff());
        } finally {
            first.shutdown();
        }
        String printed = Mqadmin.mqadmin(cluster, "cloneGroupOffset", "-s", from, "-d", to, "-t", topic, "-o", "true");
        Check.contains("cloneGroupOffset", printed, "clone group offset success");
        Set<String> fresh = Push.send(cluster, topic, "", "new ", 6);
        DefaultMQPushConsumer second = cluster.pushConsumer(to);
        Push.Received rest = new Push.Received();
        rest.listen(second);
        second.subscribe(topic, "*");
        second.start();
        try {
            rest.exactly(fresh);
        } finally {
            second.shutdown();
        }
    }

    /** Fewer queues are written first, then fewer are read; later there are more again, and each goes on at its old offset. */
    static void shrinkAndGrow(Cluster cluster) throws Exception {
        String topic = cluster.topic("queues_shrink", 4);
        String group = cluster.group("queues_shrink");
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 12; i++) {
            String body = "before " + i;
            cluster.producer("queues-before").send(Cluster.message(topic, "", "", body), new MessageQueue(topic, cluster.brokerName, i % 4));
            expected.add(body);
        }
        resize(cluster, topic, 4, 1);
        for (int i = 0; i < 6; i++) {
            String body = "after " + i;
            SendResult sent = cluster.producer("queues-after").send(Cluster.message(topic, "", "", body));
            Check.equal("queue of a message while one is written", 0, sent.getMessageQueue().getQueueId());
            expected.add(body);
        }
        DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
        Push.Received received = new Push.Received();
        received.listen(consumer);
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            received.exactly(expected);
            Check.eventually("messages behind before queues are taken away", 0L, () -> cluster.admin.examineConsumeStats(group, topic).computeTotalDiff());
            resize(cluster, topic, 1, 1);
            Check.eventually("queues of the consumer after some were taken away", Set.of(0), () -> Push.queues(consumer, topic));
            resize(cluster, topic, 4, 4);
            Check.eventually("queues of the consumer after they came back", Set.of(0, 1, 2, 3), () -> Push.queues(consumer, topic));
            for (int queue = 0; queue < 4; queue++) {
                String body = "grown " + queue;
                SendResult sent = cluster.producer("queues-before").send(Cluster.message(topic, "", "", body), new MessageQueue(topic, cluster.brokerName, queue));
                Check.equal("offset in queue " + queue, queue == 0 ? 9L : 3L, sent.getQueueOffset());
                expected.add(body);
            }
            received.exactly(expected);
        } finally {
            consumer.shutdown();
        }
    }

    private static void resize(Cluster cluster, String topic, int read, int write) throws Exception {
        cluster.admin.createAndUpdateTopicConfig(cluster.broker, new TopicConfig(topic, read, write, 6));
        Check.eventually("read and write queues in the route", read + " " + write, () -> {
            var queues = cluster.admin.examineTopicRouteInfo(topic).getQueueDatas().get(0);
            return queues.getReadQueueNums() + " " + queues.getWriteQueueNums();
        });
    }

    private Offsets() {
    }
}
