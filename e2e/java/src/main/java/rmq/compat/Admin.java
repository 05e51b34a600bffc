package rmq.compat;

import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.TopicOffset;
import org.apache.rocketmq.remoting.protocol.admin.TopicStatsTable;
import org.apache.rocketmq.remoting.protocol.body.ConsumerConnection;
import org.apache.rocketmq.remoting.protocol.heartbeat.ConsumeType;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Administration with the Java library that mqadmin and the dashboard are built on. */
final class Admin {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("admin_topic", Admin::topic);
        scenarios.put("admin_group", Admin::group);
        scenarios.put("admin_consumer", Admin::consumer);
        scenarios.put("admin_reset_offset", Admin::resetOffset);
        scenarios.put("admin_cluster", Admin::cluster);
        scenarios.put("admin_broker_config", Admin::brokerConfig);
        scenarios.put("admin_kv_config", Admin::kvConfig);
    }

    static void topic(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.admin;
        String topic = cluster.topic("admin_topic", 3);
        TopicRouteData route = admin.examineTopicRouteInfo(topic);
        Check.equal("broker in the route", cluster.broker, route.getBrokerDatas().get(0).getBrokerAddrs().get(0L));
        Check.equal("cluster in the route", cluster.clusterName, route.getBrokerDatas().get(0).getCluster());
        QueueData queues = route.getQueueDatas().get(0);
        Check.equal("read, write queues and permission in the route", "3 3 6",
            queues.getReadQueueNums() + " " + queues.getWriteQueueNums() + " " + queues.getPerm());
        TopicConfig config = admin.examineTopicConfig(cluster.broker, topic);
        Check.equal("read and write queues of the broker", "3 3", config.getReadQueueNums() + " " + config.getWriteQueueNums());

        config.setReadQueueNums(5);
        config.setWriteQueueNums(5);
        config.setPerm(4);
        admin.createAndUpdateTopicConfig(cluster.broker, config);
        Check.eventually("read, write queues and permission after a change", "5 5 4", () -> {
            QueueData now = admin.examineTopicRouteInfo(topic).getQueueDatas().get(0);
            return now.getReadQueueNums() + " " + now.getWriteQueueNums() + " " + now.getPerm();
        });
        Check.that("the topic in the list of all topics", admin.fetchAllTopicList().getTopicList().contains(topic), "no " + topic);
        Check.that("the topic in the list of the cluster", admin.fetchTopicsByCLuster(cluster.clusterName).getTopicList().contains(topic), "no " + topic);

        config.setPerm(6);
        admin.createAndUpdateTopicConfig(cluster.broker, config);
        Check.eventually("permission after a second change", 6, () -> admin.examineTopicRouteInfo(topic).getQueueDatas().get(0).getPerm());
        for (int i = 0; i < 5; i++) {
            cluster.producer("admin").send(Cluster.message(topic, "", "", "m" + i), new MessageQueue(topic, cluster.brokerName, i));
        }
        TopicStatsTable stats = admin.examineTopicStats(topic);
        Check.equal("queues with figures", 5, stats.getOffsetTable().size());
        for (Map.Entry<MessageQueue, TopicOffset> entry : stats.getOffsetTable().entrySet()) {
            TopicOffset offset = entry.getValue();
            Check.equal("min and max offset of " + entry.getKey(), "0 1", offset.getMinOffset() + " " + offset.getMaxOffset());
            long age = System.currentTimeMillis() - offset.getLastUpdateTimestamp();
            Check.that("a last update in the last minute", age > -5_000 && age < 60_000, age + " ms ago");
        }

        admin.deleteTopicInBroker(Set.of(cluster.broker), topic);
        admin.deleteTopicInNameServer(Set.of(cluster.nameServer), topic);
        Check.eventually("code for the route of a deleted topic", 17, () -> {
            try {
                admin.examineTopicRouteInfo(topic);
                return 0;
            } catch (MQClientException gone) {
                return gone.getResponseCode();
            }
        });
        Check.that("no deleted topic in the list", !admin.fetchAllTopicList().getTopicList().contains(topic), topic);
        try {
            admin.createAndUpdateTopicConfig(cluster.broker, new TopicConfig("TBW102", 1, 1, 6));
            throw new Check.Failed("a system topic: expected an error, found it changed");
        } catch (MQClientException | MQBrokerException refused) {
            Check.contains("error for a system topic", refused.getMessage(), "TBW102");
        }
    }

    static void group(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.admin;
        String group = cluster.name("admin_group");
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setConsumeBroadcastEnable(false);
        config.setRetryQueueNums(2);
        config.setRetryMaxTimes(5);
        admin.createAndUpdateSubscriptionGroupConfig(cluster.broker, config);
        SubscriptionGroupConfig found = admin.examineSubscriptionGroupConfig(cluster.broker, group);
        Check.that("the group that was created", found != null, "none");
        Check.equal("broadcast, retry queues, retries", "false 2 5",
            found.isConsumeBroadcastEnable() + " " + found.getRetryQueueNums() + " " + found.getRetryMaxTimes());
        config.setRetryMaxTimes(7);
        config.setConsumeEnable(false);
        admin.createAndUpdateSubscriptionGroupConfig(cluster.broker, config);
        found = admin.examineSubscriptionGroupConfig(cluster.broker, group);
        Check.equal("retries and consume flag after a change", "7 false", found.getRetryMaxTimes() + " " + found.isConsumeEnable());
        Check.that("the group in the list of all", admin.getAllSubscriptionGroup(cluster.broker, 10_000).getSubscriptionGroupTable().containsKey(group), "no " + group);
        admin.deleteSubscriptionGroup(cluster.broker, group, true);
        Check.that("no deleted group", admin.examineSubscriptionGroupConfig(cluster.broker, group) == null, group);
    }

    static void consumer(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.admin;
        String topic = cluster.topic("admin_consumer", 2);
        String group = cluster.group("admin_consumer");
        DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
        Push.Received received = new Push.Received();
        received.listen(consumer);
        consumer.subscribe(topic, "red || blue");
        consumer.start();
        try {
            received.exactly(Push.send(cluster, topic, "red", "m", 20));
            Check.eventually("consumers online", 1, () -> admin.examineConsumerConnectionInfo(group).getConnectionSet().size());
            ConsumerConnection connection = admin.examineConsumerConnectionInfo(group);
            Check.equal("consume type", ConsumeType.CONSUME_PASSIVELY, connection.getConsumeType());
            Check.equal("message model", MessageModel.CLUSTERING, connection.getMessageModel());
            Check.equal("subscription", "red || blue", connection.getSubscriptionTable().get(topic).getSubString());
            Check.equal("client id", consumer.buildMQClientId(), connection.getConnectionSet().iterator().next().getClientId());
            Check.eventually("messages behind", 0L, () -> admin.examineConsumeStats(group, topic).computeTotalDiff());
            ConsumeStats stats = admin.examineConsumeStats(group, topic);
            Check.equal("queues with progress", 2, stats.getOffsetTable().size());
            Check.equal("offsets committed", 20L, stats.getOffsetTable().values().stream().mapToLong(wrapper -> wrapper.getConsumerOffset()).sum());
            Check.that("the group among those that read the topic", admin.queryTopicConsumeByWho(topic).getGroupList().contains(group), "no " + group);
        } finally {
            consumer.shutdown();
        }
        Check.eventually("code for the connections of a group that left", 206, () -> {
            try {
                admin.examineConsumerConnectionInfo(group);
                return 0;
            } catch (MQBrokerException offline) {
                return offline.getResponseCode();
            }
        });
        Push.send(cluster, topic, "red", "later ", 6);
        Check.eventually("messages behind while nobody reads", 6L, () -> admin.examineConsumeStats(group, topic).computeTotalDiff());
    }

    /** Offsets of a group that is offline are moved on the server; its next consumer begins there. */
    static void resetOffset(Cluster cluster) throws Exception {
        String topic = cluster.topic("admin_reset_offset", 1);
        String group = cluster.group("admin_reset_offset");
        Set<String> sent = Push.send(cluster, topic, "", "m", 10);
        for (int round = 0; round < 2; round++) {
            DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
            Push.Received received = new Push.Received();
            received.listen(consumer);
            consumer.subscribe(topic, "*");
            consumer.start();
            try {
                received.exactly(sent);
                Check.eventually("messages behind", 0L, () -> cluster.admin.examineConsumeStats(group, topic).computeTotalDiff());
            } finally {
                consumer.shutdown();
            }
            cluster.admin.resetOffsetByQueueId(cluster.broker, group, topic, 0, 0);
            Check.eventually("messages behind after a reset", 10L, () -> cluster.admin.examineConsumeStats(group, topic).computeTotalDiff());
        }
    }

    static void cluster(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.admin;
        Check.equal("clusters", Set.of(cluster.clusterName), admin.examineBrokerClusterInfo().getClusterAddrTable().keySet());
        Check.equal("brokers of the cluster", Set.of(cluster.brokerName), admin.examineBrokerClusterInfo().getClusterAddrTable().get(cluster.clusterName));
        Map<String, String> runtime = admin.fetchBrokerRuntimeStats(cluster.broker).getTable();
        for (String key : List.of("bootTimestamp", "brokerVersionDesc", "msgPutTotalTodayNow", "msgGetTotalTodayNow", "putTps",
            "getTotalTps", "runtime", "commitLogDiskRatio", "commitLogMinOffset", "commitLogMaxOffset", "sendThreadPoolQueueSize",
            "pullThreadPoolQueueSize", "dispatchBehindBytes", "earliestMessageTimeStamp")) {
            Check.that("figure " + key + " of the broker", runtime.containsKey(key), runtime.keySet());
        }
        Check.equal("version", "V5_5_0", runtime.get("brokerVersionDesc"));
        String topic = cluster.topic("admin_cluster", 1);
        long before = Long.parseLong(admin.fetchBrokerRuntimeStats(cluster.broker).getTable().get("msgPutTotalTodayNow"));
        Push.send(cluster, topic, "", "m", 5);
        Check.eventually("messages counted by the broker", true,
            () -> Long.parseLong(admin.fetchBrokerRuntimeStats(cluster.broker).getTable().get("msgPutTotalTodayNow")) >= before + 5);
    }

    static void brokerConfig(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.admin;
        Properties config = admin.getBrokerConfig(cluster.broker);
        Check.equal("brokerName", cluster.brokerName, config.getProperty("brokerName"));
        Check.equal("brokerClusterName", cluster.clusterName, config.getProperty("brokerClusterName"));
        Check.equal("brokerId", "0", config.getProperty("brokerId"));
        // Of what may change while it runs, this changes nothing for the scenarios beside this one.
        String before = config.getProperty("brokerPermission");
        Check.equal("brokerPermission", "6", before);
        Properties change = new Properties();
        change.setProperty("brokerPermission", before);
        admin.updateBrokerConfig(cluster.broker, change);
        Check.equal("brokerPermission after a change", before, admin.getBrokerConfig(cluster.broker).getProperty("brokerPermission"));
        Properties forbidden = new Properties();
        forbidden.setProperty("brokerConfigPath", "elsewhere");
        try {
            admin.updateBrokerConfig(cluster.broker, forbidden);
            throw new Check.Failed("brokerConfigPath: expected an error with code 16, found it changed");
        } catch (MQBrokerException refused) {
            Check.equal("code for a key that must not change", 16, refused.getResponseCode());
        }
        Check.that("the configuration of the name server", !admin.getNameServerConfig(List.of(cluster.nameServer)).get(cluster.nameServer).isEmpty(), "nothing");
    }

    static void kvConfig(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.admin;
        String namespace = cluster.name("compat");
        admin.createAndUpdateKvConfig(namespace, "key", "value \u20ac");
        Check.equal("value", "value \u20ac", admin.getKVConfig(namespace, "key"));
        admin.deleteKvConfig(namespace, "key");
        try {
            throw new Check.Failed("deleted key: expected an error, found " + admin.getKVConfig(namespace, "key"));
        } catch (MQClientException gone) {
            Check.equal("code for a deleted key", 22, gone.getResponseCode());
        }
    }

    private Admin() {
    }
}
