package rmq.compat.differences;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** A push consumer that reads a topic to its end. */
final class Pushes {
    static void addTo(Map<String, Differences.Action> actions) {
        actions.put("push", Pushes::push);
    }

    static void push(Server server, Operation operation, Outcome outcome) throws Exception {
        String group = operation.text("group");
        String topic = operation.text("topic");
        String how = operation.text("how");
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        server.api.createSubscriptionGroup(server.broker, config, Server.PATIENCE_MS);
        // With its retry topic, so that the client need not learn of that topic later by its own polls.
        server.api.createTopic(server.broker, "TBW102", new TopicConfig("%RETRY%" + group, 1, 1, 6), Server.PATIENCE_MS);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(server.nameServer);
        consumer.setInstanceName(group + server.nameServer);
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setPersistConsumerOffsetInterval(200);
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // Messages by queue, in the order in which they came.
        ConcurrentMap<String, List<MessageExt>> received = new ConcurrentHashMap<>();
        if (how.equals("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                received.computeIfAbsent("queue " + context.getMessageQueue().getQueueId(), key -> Collections.synchronizedList(new ArrayList<>())).addAll(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                MessageExt first = messages.get(0);
                received.computeIfAbsent((first.getReconsumeTimes() > 0 ? "again " : "queue ") + first.getQueueId(), key -> Collections.synchronizedList(new ArrayList<>())).addAll(messages);
                context.setDelayLevelWhenNextConsume(1);
                boolean fails = how.equals("failing") && first.getReconsumeTimes() == 0 && first.getQueueOffset() % 3 == 0;
                return fails ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        if (how.equals("sql")) {
            consumer.subscribe(topic, MessageSelector.bySql(operation.text("expression")));
        } else {
            consumer.subscribe(topic, operation.text("expression"));
        }
        consumer.start();
        try {
            ConsumeStats stats = null;
            long deadline = System.nanoTime() + 3 * Server.PATIENCE_MS * 1_000_000;
            boolean done = false;
            while (!done && System.nanoTime() < deadline) {
                Thread.sleep(50);
                stats = server.api.getConsumeStats(server.broker, group, Server.PATIENCE_MS);
                int failed = received.entrySet().stream().filter(entry -> how.equals("failing") && entry.getKey().startsWith("queue "))
                    .mapToInt(entry -> (int) entry.getValue().stream().filter(message -> message.getQueueOffset() % 3 == 0).count()).sum();
                int again = received.entrySet().stream().filter(entry -> entry.getKey().startsWith("again ")).mapToInt(entry -> entry.getValue().size()).sum();
                boolean hasQueues = stats.getOffsetTable().keySet().stream().anyMatch(queue -> queue.getTopic().equals(topic));
                boolean hasRetries = stats.getOffsetTable().keySet().stream().anyMatch(queue -> queue.getTopic().startsWith("%RETRY%"));
                done = hasQueues && stats.computeTotalDiff() == 0 && again == failed && (hasRetries || failed == 0);
            }
            outcome.put("finished", done);
            Groups.progress(outcome, stats);
            Groups.connections(server, outcome, group);
        } finally {
            consumer.shutdown();
        }
        new TreeMap<>(received).forEach((queue, messages) -> {
            outcome.put(queue, messages.size());
            List<MessageExt> sorted = new ArrayList<>(messages);
            for (int i = 0; i < sorted.size(); i++) {
                if (queue.startsWith("again ")) {
                    // In the order of their delays' ends, which nothing promises of delays that end together.
                    sorted.get(i).setQueueOffset(0);
                }
            }
            if (queue.startsWith("again ")) {
                sorted.sort(java.util.Comparator.comparing(message -> new String(message.getBody(), java.nio.charset.StandardCharsets.UTF_8) + message.getBody().length));
            }
            for (int i = 0; i < sorted.size(); i++) {
                server.describe(outcome, queue + "." + i, sorted.get(i));
                // The client's own, of the pull that brought the message.
                outcome.facts.remove(queue + "." + i + ".MAX_OFFSET");
            }
        });
    }

    private Pushes() {
    }
}
