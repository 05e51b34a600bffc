package rmq.compat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.body.ClusterInfo;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The servers under test, and what every scenario needs of them. Names are new in each run, so a server may be used again. */
final class Cluster implements AutoCloseable {
    final String nameServer;
    final DefaultMQAdminExt admin;
    final String clusterName;
    final String brokerName;
    final String broker;

    /** Signs the requests of everything here with the keys that the program was given; null: nothing is signed. */
    final RPCHook hook = hook(System.getProperty("compat.accessKey"), System.getProperty("compat.secretKey"));

    private final String run = Long.toString(System.currentTimeMillis(), 36);
    private final AtomicInteger instances = new AtomicInteger();
    private final DefaultMQPullConsumer reader;
    private final ConcurrentMap<String, DefaultMQProducer> producers = new ConcurrentHashMap<>();

    Cluster(String nameServer) throws Exception {
        this.nameServer = nameServer;
        admin = new DefaultMQAdminExt(hook, 10_000);
        admin.setAdminExtGroup("compat-admin");
        admin.setNamesrvAddr(nameServer);
        admin.setInstanceName("admin-" + run);
        admin.start();
        // One broker, or as many as it was told (-Dcompat.brokers), with topics at the one of that name (-Dcompat.broker).
        Check.eventually("brokers in the cluster list", Integer.getInteger("compat.brokers", 1), () -> admin.examineBrokerClusterInfo().getBrokerAddrTable().size());
        ClusterInfo info = admin.examineBrokerClusterInfo();
        String chosen = System.getProperty("compat.broker");
        var entry = chosen == null ? info.getBrokerAddrTable().values().iterator().next() : info.getBrokerAddrTable().get(chosen);
        clusterName = entry.getCluster();
        brokerName = entry.getBrokerName();
        broker = entry.getBrokerAddrs().get(0L);

        String group = group("reader");
        reader = new DefaultMQPullConsumer(group, hook);
        reader.setNamesrvAddr(nameServer);
        reader.setInstanceName("reader-" + run);
        reader.start();
    }

    /** What signs requests as a user. */
    static RPCHook hook(String accessKey, String secretKey) {
        return accessKey == null ? null : new AclClientRPCHook(new SessionCredentials(accessKey, secretKey));
    }

    /** A name that no other scenario and no other run uses. */
    String name(String scenario) {
        return scenario + "-" + run;
    }

    String topic(String scenario, int queues) throws Exception {
        return createTopic(name(scenario), queues);
    }

    /** A consumer group with its retry topic, so that no client has to learn of that topic later by its own polls. */
    String group(String scenario) throws Exception {
        return group(scenario, 16);
    }

    String group(String scenario, int retryMax) throws Exception {
        String group = name("group-" + scenario);
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setRetryMaxTimes(retryMax);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
        createTopic("%RETRY%" + group, 1);
        return group;
    }

    private String createTopic(String topic, int queues) throws Exception {
        TopicConfig config = new TopicConfig(topic, queues, queues, 6);
        admin.createAndUpdateTopicConfig(broker, config);
        Check.eventually("read queues in the route of " + topic, queues,
            () -> admin.examineTopicRouteInfo(topic).getQueueDatas().stream().mapToInt(QueueData::getReadQueueNums).sum());
        return topic;
    }

    /** A producer that is started; the one of a scenario is shared by whoever asks with the same name. */
    DefaultMQProducer producer(String scenario) {
        return producers.computeIfAbsent(scenario, key -> {
            try {
                DefaultMQProducer producer = new DefaultMQProducer(name("producer-" + key), hook);
                producer.setNamesrvAddr(nameServer);
                producer.setInstanceName(instance());
                producer.setSendMsgTimeout(10_000);
                producer.start();
                return producer;
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
    }

    /** A consumer with short periods, reading from the first message. Not started. */
    DefaultMQPushConsumer pushConsumer(String group) {
        return pushConsumer(group, hook);
    }

    /** The same as a user. */
    DefaultMQPushConsumer pushConsumer(String group, RPCHook hook) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group, hook);
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(instance());
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return consumer;
    }

    String instance() {
        return "compat-" + run + "-" + instances.incrementAndGet();
    }

    static Message message(String topic, String tags, String keys, String body) {
        return new Message(topic, tags, keys, body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Every message of {@code topic}, queue by queue in the order of offsets, as soon as there are {@code count}. */
    List<MessageExt> readAll(String topic, int count) throws Exception {
        Check.eventually("messages in " + topic, true, () -> {
            long sum = 0;
            for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
                sum += reader.maxOffset(queue) - reader.minOffset(queue);
            }
            Check.that("at most " + count + " messages in " + topic, sum <= count, sum);
            return sum == count;
        });
        List<MessageExt> messages = new ArrayList<>();
        for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
            long offset = reader.minOffset(queue);
            long end = reader.maxOffset(queue);
            while (offset < end) {
                PullResult result = reader.pull(queue, "*", offset, 32);
                Check.equal("status of a pull at " + offset + " of " + queue, PullStatus.FOUND, result.getPullStatus());
                messages.addAll(result.getMsgFoundList());
                offset = result.getNextBeginOffset();
            }
        }
        Check.equal("messages pulled from " + topic, count, messages.size());
        return messages;
    }

    DefaultMQPullConsumer reader() {
        return reader;
    }

    @Override
    public void close() {
        producers.values().forEach(DefaultMQProducer::shutdown);
        reader.shutdown();
        admin.shutdown();
    }
}
