package rmq.compat;

import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Quotas of topics and groups, types of topics, and limits of reads from the disk. */
final class Limits {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("quota_of_topic", Limits::quotaOfTopic);
        scenarios.put("quota_of_group", Limits::quotaOfGroup);
        scenarios.put("topic_message_types", Limits::messageTypes);
        scenarios.put("mqadmin_coldDataFlowCtr", Limits::coldReads);
    }

    /** A producer that sends too much is refused with a code at which it tries again, and goes on when there is room again. */
    static void quotaOfTopic(Cluster cluster) throws Exception {
        String topic = cluster.topic("quota_topic", 1);
        TopicConfig config = new TopicConfig(topic, 1, 1, 6);
        config.setAttributes(new HashMap<>(Map.of("+quota.messages", "3")));
        cluster.admin.createAndUpdateTopicConfig(cluster.broker, config);
        Check.equal("the quota at the broker", "3", cluster.admin.examineTopicConfig(cluster.broker, topic).getAttributes().get("quota.messages"));
        DefaultMQProducer producer = cluster.producer("quota");
        Message message = Cluster.message(topic, "", "", "x");
        int taken = 0;
        MQBrokerException refused = null;
        while (refused == null && taken < 1_000) {
            try {
                producer.send(message);
                taken++;
            } catch (MQBrokerException error) {
                refused = error;
            } catch (MQClientException error) {
                // After its tries the client wraps what the last one got.
                if (error.getCause() instanceof MQBrokerException cause) {
                    refused = cause;
                } else {
                    throw error;
                }
            }
        }
        Check.that("a refusal", refused != null, taken + " messages");
        Check.equal("code of a send beyond the quota", 2, refused.getResponseCode());
        Check.contains("error of a send beyond the quota", refused.getErrorMessage(), "3 messages a second (quota.messages)");
        Check.that("a second of messages that were taken before", taken >= 3, taken);
        Check.eventually("a send when there is room again", true, () -> producer.send(message) != null);
    }

    /** A consumer of a group with a quota is given everything, as slowly as the quota says. */
    static void quotaOfGroup(Cluster cluster) throws Exception {
        String topic = cluster.topic("quota_group", 2);
        String group = cluster.group("quota_group");
        SubscriptionGroupConfig config = cluster.admin.examineSubscriptionGroupConfig(cluster.broker, group);
        config.setAttributes(new HashMap<>(Map.of("+quota.messages", "10")));
        cluster.admin.createAndUpdateSubscriptionGroupConfig(cluster.broker, config);
        Set<String> expected = Push.send(cluster, topic, "", "slow ", 40);
        DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
        Push.Received received = new Push.Received();
        ConcurrentLinkedQueue<Long> times = new ConcurrentLinkedQueue<>();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            times.add(System.nanoTime());
            messages.forEach(message -> received.bodies.add(Cluster.body(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            received.exactly(expected);
            long took = times.stream().mapToLong(Long::longValue).max().getAsLong() - times.stream().mapToLong(Long::longValue).min().getAsLong();
            // 20 at most may come at once, the quota's 10 and one answer more; the others come at 10 a second.
            Check.that("at least 1.8 s from the first to the last message", took >= 1_800_000_000L, took / 1_000_000 + " ms");
        } finally {
            consumer.shutdown();
        }
    }

    /** As with the original: a broker that does not say otherwise takes any message, and no topic of all types. */
    static void messageTypes(Cluster cluster) throws Exception {
        String topic = cluster.topic("message_types", 1);
        TopicConfig config = new TopicConfig(topic, 1, 1, 6);
        config.setAttributes(new HashMap<>(Map.of("+message.type", "FIFO")));
        cluster.admin.createAndUpdateTopicConfig(cluster.broker, config);
        cluster.producer("types").send(Cluster.message(topic, "", "", "plain"));
        Check.equal("messages of the topic", "plain", Cluster.body(cluster.readAll(topic, 1).get(0)));
        config.setAttributes(new HashMap<>(Map.of("+message.type", "MIXED")));
        try {
            cluster.admin.createAndUpdateTopicConfig(cluster.broker, config);
            throw new Check.Failed("a topic of all types: expected an error, found it made");
        } catch (MQBrokerException refused) {
            Check.equal("code of a topic of all types", 29, refused.getResponseCode());
            Check.contains("error of a topic of all types", refused.getErrorMessage(), "MIXED message type is not supported");
        } catch (MQClientException refused) {
            Check.contains("error of a topic of all types", refused.getMessage(), "MIXED message type is not supported");
        }
    }

    static void coldReads(Cluster cluster) throws Exception {
        String group = cluster.group("mqadmin_cold");
        String set = Mqadmin.mqadmin(cluster, "updateColdDataFlowCtrGroupConfig", "-b", cluster.broker, "-g", group, "-v", "123456");
        Check.contains("updateColdDataFlowCtrGroupConfig", set, "success");
        String shown = Mqadmin.mqadmin(cluster, "getColdDataFlowCtrInfo", "-b", cluster.broker).replaceAll("\\s+", "");
        Check.contains("getColdDataFlowCtrInfo", shown, "\"" + group + "\":123456");
        Check.contains("getColdDataFlowCtrInfo", shown, "\"runtimeTable\":{");
        String removed = Mqadmin.mqadmin(cluster, "removeColdDataFlowCtrGroupConfig", "-b", cluster.broker, "-g", group);
        Check.contains("removeColdDataFlowCtrGroupConfig", removed, "success");
        Check.that("no limit that was removed", !cluster.admin.getColdDataFlowCtrInfo(cluster.broker).contains(group), "it is there");
    }

    private Limits() {
    }
}
