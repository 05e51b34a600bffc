package rmq.compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** Push consumers: the client pulls by long polls and calls a listener. */
final class Push {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("push_default_retry_delay", Push::defaultRetryDelay);
        scenarios.put("push_concurrent", Push::concurrent);
        scenarios.put("push_concurrent_retry_dead_letter", Push::concurrentRetryDeadLetter);
        scenarios.put("push_orderly", Push::orderly);
        scenarios.put("push_orderly_retry_dead_letter", Push::orderlyRetryDeadLetter);
        scenarios.put("push_tags", Push::tags);
        scenarios.put("push_broadcasting", Push::broadcasting);
        scenarios.put("push_resume", Push::resume);
        scenarios.put("push_shared_with_rust", Push::sharedWithRust);
        scenarios.put("push_delay_levels", Push::delayLevels);
        scenarios.put("push_rebalance", Push::rebalance);
        scenarios.put("push_topic_made_again", Push::topicMadeAgain);
    }

    static void concurrent(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_concurrent", 4);
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("push_concurrent"));
        Received received = new Received();
        received.listen(consumer);
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            Set<String> expected = send(cluster, topic, "", "message ", 100);
            received.exactly(expected);
        } finally {
            consumer.shutdown();
        }
    }

    /** The other member is the Rust client in the test's own process; both say in another topic what they were given. */
    static void sharedWithRust(Cluster cluster) throws Exception {
        String topic = "shared-with-rust";
        String seen = topic + "-seen";
        DefaultMQPushConsumer consumer = cluster.pushConsumer(topic + "-group");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            try {
                for (MessageExt message : messages) {
                    cluster.producer("push").send(Cluster.message(seen, "java", "", Cluster.body(message)));
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            } catch (Exception error) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
        });
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            Check.eventually("queues of this member", 4L, () -> consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl()
                .getProcessQueueTable().keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count());
            // The other member says when it has the other half.
            cluster.readAll(topic + "-ready", 1);
            Set<String> expected = send(cluster, topic, "", "shared ", 200);
            List<MessageExt> all = cluster.readAll(seen, 200);
            Check.equal("bodies that members were given", expected,
                all.stream().map(Cluster::body).collect(Collectors.toCollection(TreeSet::new)));
            Check.equal("members that were given some", Set.of("java", "rust"),
                all.stream().map(MessageExt::getTags).collect(Collectors.toSet()));
        } finally {
            consumer.shutdown();
        }
    }

    static void concurrentRetryDeadLetter(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_retry", 1);
        String group = cluster.group("push_retry");
        DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
        consumer.setMaxReconsumeTimes(2);
        ConcurrentMap<String, List<Integer>> tries = new ConcurrentHashMap<>();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt message = messages.get(0);
            String text = Cluster.body(message) + " of " + message.getTopic() + " with " + message.getKeys();
            tries.computeIfAbsent(text, key -> new ArrayList<>()).add(message.getReconsumeTimes());
            context.setDelayLevelWhenNextConsume(1);
            boolean good = Cluster.body(message).equals("good") || Cluster.body(message).equals("later") && message.getReconsumeTimes() == 1;
            return good ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            DefaultMQProducer producer = cluster.producer("push");
            String bad = producer.send(Cluster.message(topic, "tag", "key-bad", "bad")).getMsgId();
            producer.send(Cluster.message(topic, "tag", "key-later", "later"));
            producer.send(Cluster.message(topic, "tag", "key-good", "good"));

            String of = " of " + topic + " with key-";
            Check.eventually("times each message was tried before",
                Map.of("bad" + of + "bad", List.of(0, 1, 2), "later" + of + "later", List.of(0, 1), "good" + of + "good", List.of(0)),
                () -> Map.copyOf(tries));

            MessageExt dead = cluster.readAll("%DLQ%" + group, 1).get(0);
            Check.equal("body of the dead letter", "bad", Cluster.body(dead));
            Check.equal("keys of the dead letter", "key-bad", dead.getKeys());
            Check.equal("tags of the dead letter", "tag", dead.getTags());
            Check.equal("original topic of the dead letter", topic, dead.getProperty("RETRY_TOPIC"));
            Check.equal("message id of the dead letter", bad, dead.getMsgId());
        } finally {
            consumer.shutdown();
        }
    }

    /** Without a level of its own the first retry comes after level 3, ten seconds. */
    static void defaultRetryDelay(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_retry_delay", 1);
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("push_retry_delay"));
        ConcurrentMap<Integer, Long> times = new ConcurrentHashMap<>();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            int before = messages.get(0).getReconsumeTimes();
            times.put(before, System.currentTimeMillis());
            return before == 0 ? null : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            send(cluster, topic, "", "retry ", 1);
            Check.eventually("a second try", true, () -> times.containsKey(1));
            long delay = times.get(1) - times.get(0);
            Check.that("a second try after 10 s (9.5 to 20)", delay >= 9_500 && delay <= 20_000, delay + " ms");
        } finally {
            consumer.shutdown();
        }
    }

    static void orderly(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_orderly", 4);
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("push_orderly"));
        ConcurrentMap<Integer, List<String>> found = new ConcurrentHashMap<>();
        ConcurrentMap<Integer, AtomicInteger> inside = new ConcurrentHashMap<>();
        ConcurrentLinkedQueue<String> problems = new ConcurrentLinkedQueue<>();
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            int queue = context.getMessageQueue().getQueueId();
            AtomicInteger threads = inside.computeIfAbsent(queue, key -> new AtomicInteger());
            if (threads.incrementAndGet() != 1) {
                problems.add("two threads in queue " + queue);
            }
            messages.forEach(message -> found.computeIfAbsent(queue, key -> new ArrayList<>()).add(Cluster.body(message)));
            threads.decrementAndGet();
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            DefaultMQProducer producer = cluster.producer("push");
            ConcurrentMap<Integer, List<String>> expected = new ConcurrentHashMap<>();
            for (int i = 0; i < 100; i++) {
                int queue = i % 4;
                producer.send(Cluster.message(topic, "", "", "step " + i), new MessageQueue(topic, cluster.brokerName, queue));
                expected.computeIfAbsent(queue, key -> new ArrayList<>()).add("step " + i);
            }
            Check.eventually("bodies of each queue in the order sent", expected, () -> found);
            Check.equal("queues with two threads at once", "[]", problems.toString());
        } finally {
            consumer.shutdown();
        }
    }

    /** An orderly queue stands still while its first message is retried; at the limit that one goes to the dead letters. */
    static void orderlyRetryDeadLetter(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_orderly_retry", 1);
        String group = cluster.group("push_orderly_retry");
        DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.setSuspendCurrentQueueTimeMillis(100);
        ConcurrentLinkedQueue<String> tries = new ConcurrentLinkedQueue<>();
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            String body = Cluster.body(messages.get(0));
            tries.add(body + "/" + messages.get(0).getReconsumeTimes());
            return body.equals("bad") ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            DefaultMQProducer producer = cluster.producer("push");
            for (String body : List.of("first", "bad", "last")) {
                producer.send(Cluster.message(topic, "", "", body));
            }
            Check.eventually("tries in order", "[first/0, bad/0, bad/1, bad/2, last/0]", tries::toString);
            MessageExt dead = cluster.readAll("%DLQ%" + group, 1).get(0);
            Check.equal("body of the dead letter", "bad", Cluster.body(dead));
            Check.equal("original topic of the dead letter", topic, dead.getProperty("RETRY_TOPIC"));
        } finally {
            consumer.shutdown();
        }
    }

    static void tags(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_tags", 2);
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("push_tags"));
        Received received = new Received();
        received.listen(consumer);
        consumer.subscribe(topic, "red || Aa");
        consumer.start();
        try {
            Set<String> expected = send(cluster, topic, "red", "red ", 20);
            // "Aa" and "BB" have the same Java hash code: the server may let both pass, the client must not deliver "BB".
            send(cluster, topic, "BB", "same hash ", 20);
            send(cluster, topic, "blue", "blue ", 20);
            send(cluster, topic, "", "no tag ", 20);
            expected.addAll(send(cluster, topic, "Aa", "last ", 20));
            received.exactly(expected);
        } finally {
            consumer.shutdown();
        }
    }

    static void broadcasting(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_broadcasting", 4);
        String group = cluster.group("push_broadcasting");
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        List<Received> all = new ArrayList<>();
        try {
            for (int i = 0; i < 2; i++) {
                DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
                consumer.setMessageModel(MessageModel.BROADCASTING);
                Received received = new Received();
                received.listen(consumer);
                consumer.subscribe(topic, "*");
                consumer.start();
                consumers.add(consumer);
                all.add(received);
            }
            // A broadcasting consumer begins where the queue ends when it first sees the queue, unless message 0 is still there.
            for (DefaultMQPushConsumer consumer : consumers) {
                Check.eventually("queues of a broadcasting consumer", 4, () -> queues(consumer, topic).size());
            }
            Set<String> expected = send(cluster, topic, "", "to all ", 40);
            for (Received received : all) {
                received.exactly(expected);
            }
        } finally {
            consumers.forEach(DefaultMQPushConsumer::shutdown);
        }
    }

    /** A consumer that ends commits its offsets; the next one of its group begins there. */
    static void resume(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_resume", 2);
        String group = cluster.group("push_resume");
        for (String round : List.of("first ", "second ")) {
            Set<String> expected = send(cluster, topic, "", round, 20);
            DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
            Received received = new Received();
            received.listen(consumer);
            consumer.subscribe(topic, "*");
            consumer.start();
            try {
                received.exactly(expected);
            } finally {
                consumer.shutdown();
            }
        }
    }

    static void delayLevels(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_delay", 2);
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("push_delay"));
        ConcurrentMap<String, Long> delays = new ConcurrentHashMap<>();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt message = messages.get(0);
            delays.put(Cluster.body(message) + " of " + message.getTopic(), System.currentTimeMillis() - message.getBornTimestamp());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            for (int level : new int[] {2, 1, 0}) {
                Message message = Cluster.message(topic, "", "", "level " + level);
                message.setDelayTimeLevel(level);
                cluster.producer("push").send(message);
            }
            Check.eventually("messages delivered", Set.of("level 0 of " + topic, "level 1 of " + topic, "level 2 of " + topic),
                () -> Set.copyOf(delays.keySet()));
            long[] least = {0, 950, 4_950};
            for (int level = 0; level < 3; level++) {
                long delay = delays.get("level " + level + " of " + topic);
                Check.that("a delay of level " + level + " of at least " + least[level] + " ms and at most 10 s more",
                    delay >= least[level] && delay <= least[level] + 10_000, delay + " ms");
            }
        } finally {
            consumer.shutdown();
        }
    }

    static void rebalance(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_rebalance", 8);
        String group = cluster.group("push_rebalance");
        DefaultMQPushConsumer first = cluster.pushConsumer(group);
        DefaultMQPushConsumer second = cluster.pushConsumer(group);
        Received ofFirst = new Received();
        Received ofSecond = new Received();
        ofFirst.listen(first);
        ofSecond.listen(second);
        first.subscribe(topic, "*");
        second.subscribe(topic, "*");
        first.start();
        try {
            Check.eventually("queues of the only consumer", all(8), () -> queues(first, topic));
            second.start();
            Check.eventually("queues of the first of two consumers", 4, () -> queues(first, topic).size());
            Check.eventually("queues of both consumers", all(8), () -> {
                Set<Integer> both = queues(first, topic);
                both.addAll(queues(second, topic));
                return both;
            });
            Check.eventually("queues of the second of two consumers", 4, () -> queues(second, topic).size());

            Set<String> expected = send(cluster, topic, "", "shared ", 80);
            Check.eventually("messages of both consumers", expected, () -> {
                Set<String> both = new TreeSet<>(ofFirst.bodies);
                both.addAll(ofSecond.bodies);
                return both;
            });
            Check.equal("messages of the first consumer", 40, ofFirst.bodies.size());
            Check.equal("messages of the second consumer", 40, ofSecond.bodies.size());
        } finally {
            first.shutdown();
        }
        try {
            Check.eventually("queues of the consumer that is left", all(8), () -> queues(second, topic));
            ofSecond.bodies.clear();
            Set<String> expected = send(cluster, topic, "", "left ", 16);
            Check.eventually("messages of the consumer that is left", expected, () -> new TreeSet<>(ofSecond.bodies));
        } finally {
            second.shutdown();
        }
    }

    /** A topic that is deleted and made again has new messages only: for the consumer that runs, and for a new one with the client's defaults. */
    static void topicMadeAgain(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_topic_made_again", 2);
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("push_topic_made_again"));
        Received received = new Received();
        received.listen(consumer);
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            Set<String> expected = send(cluster, topic, "", "first ", 5);
            received.exactly(expected);
            cluster.admin.deleteTopicInBroker(Set.of(cluster.broker), topic);
            cluster.admin.deleteTopicInNameServer(Set.of(cluster.nameServer), topic);
            cluster.topic("push_topic_made_again", 2);
            Set<String> second = send(cluster, topic, "", "second ", 3);
            expected.addAll(second);
            received.exactly(expected);

            DefaultMQPushConsumer late = cluster.pushConsumer(cluster.group("push_topic_made_again_late"));
            late.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
            Received ofLate = new Received();
            ofLate.listen(late);
            late.subscribe(topic, "*");
            late.start();
            try {
                ofLate.exactly(second);
            } finally {
                late.shutdown();
            }
        } finally {
            consumer.shutdown();
        }
    }

    private static Set<Integer> all(int queues) {
        return IntStream.range(0, queues).boxed().collect(Collectors.toCollection(TreeSet::new));
    }

    static Set<Integer> queues(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic))
            .map(MessageQueue::getQueueId)
            .collect(Collectors.toCollection(TreeSet::new));
    }

    /** Sends {@code count} messages and gives their bodies. */
    static Set<String> send(Cluster cluster, String topic, String tags, String prefix, int count) throws Exception {
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < count; i++) {
            cluster.producer("push").send(Cluster.message(topic, tags, "", prefix + i));
            bodies.add(prefix + i);
        }
        return bodies;
    }

    /** What a consumer was given. */
    static final class Received {
        final Set<String> bodies = new ConcurrentSkipListSet<>();
        private final ConcurrentLinkedQueue<String> twice = new ConcurrentLinkedQueue<>();

        void listen(DefaultMQPushConsumer consumer) {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt message : messages) {
                    if (!bodies.add(Cluster.body(message))) {
                        twice.add(Cluster.body(message));
                    }
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }

        void exactly(Set<String> expected) throws Exception {
            Check.eventually("bodies delivered", expected, () -> new TreeSet<>(bodies));
            Check.equal("bodies delivered twice", "[]", twice.toString());
        }
    }

    private Push() {
    }
}
