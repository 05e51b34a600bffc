package rmq.compat;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.CMResult;
import org.apache.rocketmq.remoting.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.admin.api.TrackType;

/**
 * What the exporter and the dashboard ask for, in their order. Their own programs are not in Maven's repository; all they ask goes through the library
 * of mqadmin, which is used here.
 */
final class Consoles {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("exporter_cycle", Consoles::exporter);
        scenarios.put("dashboard_pages", Consoles::dashboard);
    }

    /** A topic with a group that has read ten messages and given up one. Its consumer runs on. */
    private record Read(String topic, String group, DefaultMQPushConsumer consumer, SendResult first) {
        static Read of(Cluster cluster, String scenario) throws Exception {
            String topic = cluster.topic(scenario, 2);
            String group = cluster.group(scenario);
            Push.Received received = new Push.Received();
            DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
            received.listen(consumer);
            MessageListenerConcurrently listens = (MessageListenerConcurrently) consumer.getMessageListener();
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                ConsumeConcurrentlyStatus status = listens.consumeMessage(messages, context);
                return Cluster.body(messages.get(0)).equals("given up") ? ConsumeConcurrentlyStatus.RECONSUME_LATER : status;
            });
            consumer.setConsumeMessageBatchMaxSize(1);
            consumer.setMaxReconsumeTimes(0);
            consumer.subscribe(topic, "*");
            consumer.start();
            SendResult first = cluster.producer(scenario).send(Cluster.message(topic, "red", "key-" + topic, "first"));
            Set<String> expected = new TreeSet<>(Push.send(cluster, topic, "", "m", 8));
            cluster.producer(scenario).send(Cluster.message(topic, "", "", "given up"));
            expected.addAll(Set.of("first", "given up"));
            received.exactly(expected);
            Check.eventually("messages behind", 0L, () -> cluster.admin.examineConsumeStats(group, topic).computeTotalDiff());
            Check.eventually("dead letters", 1L, () -> end(cluster, "%DLQ%" + group));
            return new Read(topic, group, consumer, first);
        }
    }

    private static long end(Cluster cluster, String topic) throws Exception {
        return cluster.admin.examineTopicStats(topic).getOffsetTable().values().stream().mapToLong(offset -> offset.getMaxOffset()).sum();
    }

    static void exporter(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.admin;
        Read read = Read.of(cluster, "exporter_cycle");
        try {
            var brokers = admin.examineBrokerClusterInfo();
            Check.that("the broker of the cluster", brokers.getClusterAddrTable().get(cluster.clusterName).contains(cluster.brokerName), brokers);
            Set<String> topics = admin.fetchAllTopicList().getTopicList();
            Check.that("the topic, its retries and its dead letters", topics.containsAll(Set.of(read.topic, "%RETRY%" + read.group, "%DLQ%" + read.group)), topics);
            Check.equal("offset of the topic", 10L, end(cluster, read.topic));
            var producers = admin.getAllProducerInfo(cluster.broker).getData();
            Check.that("the producer group", producers.containsKey(cluster.producer("exporter_cycle").getProducerGroup()), producers.keySet());
            // Every topic but dead letters, and all who read it: nothing of it may fail but what the exporter expects.
            int groups = 0;
            for (String topic : topics) {
                if (topic.startsWith("%DLQ%")) {
                    continue;
                }
                Set<String> readers;
                try {
                    readers = admin.queryTopicConsumeByWho(topic).getGroupList();
                } catch (MQClientException | MQBrokerException gone) {
                    // Deleted meanwhile, by a scenario beside this one.
                    continue;
                }
                if (topic.equals(read.topic)) {
                    Check.equal("readers of " + topic, Set.of(read.group), readers);
                }
                groups += readers.size();
            }
            Check.that("at least one group", groups > 0, groups);
            var members = admin.examineConsumerConnectionInfo(read.group).getConnectionSet();
            Check.equal("members", 1, members.size());
            var progress = admin.examineConsumeStats(read.group, read.topic);
            Check.equal("offsets", "10 10", progress.getOffsetTable().values().stream().mapToLong(offset -> offset.getBrokerOffset()).sum() + " "
                + progress.getOffsetTable().values().stream().mapToLong(offset -> offset.getConsumerOffset()).sum());
            ConsumerRunningInfo running = admin.getConsumerRunningInfo(read.group, members.iterator().next().getClientId(), false, false);
            Check.that("figures of the member about the topic", running.getStatusTable().containsKey(read.topic), running.getStatusTable().keySet());
            for (String name : new String[] {"TOPIC_PUT_NUMS", "TOPIC_PUT_SIZE"}) {
                counted(cluster, name, read.topic);
            }
            for (String name : new String[] {"GROUP_GET_NUMS", "GROUP_GET_SIZE"}) {
                counted(cluster, name, read.topic + "@" + read.group);
            }
            counted(cluster, "BROKER_PUT_NUMS", cluster.clusterName);
            counted(cluster, "BROKER_GET_NUMS", cluster.clusterName);
            var figures = admin.fetchBrokerRuntimeStats(cluster.broker).getTable();
            // All that the exporter makes numbers of; a name without a figure would end its collection.
            for (String name : new String[] {"msgPutTotalTodayMorning", "msgGetTotalTodayMorning", "msgPutTotalYesterdayMorning", "msgGetTotalYesterdayMorning", "msgPutTotalTodayNow", "msgGetTotalTodayNow",
                "bootTimestamp", "dispatchBehindBytes", "putMessageAverageSize", "remainHowManyDataToFlush", "commitLogMaxOffset", "commitLogMinOffset", "commitLogDirCapacity", "commitLogDiskRatio",
                "consumeQueueDiskRatio", "getMessageEntireTimeMax", "putMessageEntireTimeMax", "putMessageTimesTotal", "sendThreadPoolQueueSize", "pullThreadPoolQueueSize", "queryThreadPoolQueueSize",
                "sendThreadPoolQueueHeadWaitTimeMills", "pullThreadPoolQueueHeadWaitTimeMills", "queryThreadPoolQueueHeadWaitTimeMills", "startAcceptSendRequestTimeStamp",
                "putTps", "getTotalTps", "getFoundTps", "getMissTps", "getTransferredTps", "earliestMessageTimeStamp", "runtime", "brokerVersionDesc", "putMessageDistributeTime",
                "pageCacheLockTimeMills", "remainTransientStoreBufferNumbs"}) {
                Check.that("the figure " + name, figures.get(name) != null, figures.keySet());
            }
        } finally {
            read.consumer.shutdown();
        }
    }

    /** The window of a minute shows it at the end of its ten seconds at the latest. */
    private static void counted(Cluster cluster, String name, String key) throws Exception {
        Check.eventually("a sum of " + name + " of " + key, true, () -> cluster.admin.viewBrokerStatsData(cluster.broker, name, key).getStatsMinute().getSum() > 0);
    }

    static void dashboard(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.admin;
        Read read = Read.of(cluster, "dashboard_pages");
        try {
            // Cluster.
            Check.equal("name of the broker in its settings", cluster.brokerName, admin.getBrokerConfig(cluster.broker).getProperty("brokerName"));
            Check.equal("version", "V5_5_0", admin.fetchBrokerRuntimeStats(cluster.broker).getTable().get("brokerVersionDesc"));
            // Topics.
            Check.equal("queues in the route", 2, admin.examineTopicRouteInfo(read.topic).getQueueDatas().get(0).getReadQueueNums());
            Check.equal("queues of the topic", 2, admin.examineTopicConfig(cluster.broker, read.topic).getWriteQueueNums());
            Check.that("the topic among the user's", admin.getUserTopicConfig(cluster.broker, false, 10_000).getTopicConfigTable().containsKey(read.topic), read.topic);
            // Groups.
            Check.that("the group among the user's", admin.getUserSubscriptionGroup(cluster.broker, 10_000).getSubscriptionGroupTable().containsKey(read.group), read.group);
            Check.equal("topics of the group", true, admin.queryTopicsByConsumer(read.group).getTopicList().contains(read.topic));
            Check.equal("subscription", "*", admin.querySubscription(read.group, read.topic).getSubString());
            var connection = admin.examineConsumerConnectionInfo(read.group).getConnectionSet().iterator().next();
            ConsumerRunningInfo running = admin.getConsumerRunningInfo(read.group, connection.getClientId(), true, false);
            Check.that("stacks of the member", running.getJstack() != null && running.getJstack().contains("Thread"), running.getJstack());
            // Messages: by time, as pages; by key; by id; with who consumed it.
            DefaultMQPullConsumer reader = cluster.reader();
            long now = System.currentTimeMillis();
            int found = 0;
            for (MessageQueue queue : reader.fetchSubscribeMessageQueues(read.topic)) {
                long from = reader.searchOffset(queue, now - 3_600_000);
                long to = reader.searchOffset(queue, now + 60_000);
                found += to > from ? reader.pull(queue, "*", from, 32).getMsgFoundList().size() : 0;
            }
            Check.equal("messages of the last hour", 10, found);
            Check.equal("messages of the key", 1, admin.queryMessage(read.topic, "key-" + read.topic, 64, 0, Long.MAX_VALUE).getMessageList().size());
            MessageExt message = admin.viewMessage(read.topic, read.first.getOffsetMsgId());
            Check.equal("body", "first", Cluster.body(message));
            Check.equal("body by unique id", "first", Cluster.body(admin.queryMessage(cluster.clusterName, read.topic, read.first.getMsgId())));
            var tracks = admin.messageTrackDetail(message);
            Check.equal("who consumed it", read.group + " " + TrackType.CONSUMED, tracks.get(0).getConsumerGroup() + " " + tracks.get(0).getTrackType());
            ConsumeMessageDirectlyResult again = admin.consumeMessageDirectly(read.group, connection.getClientId(), read.topic, message.getMsgId());
            Check.equal("consumed again on demand", CMResult.CR_SUCCESS, again.getConsumeResult());
            // Dead letters.
            MessageQueue dead = new MessageQueue("%DLQ%" + read.group, cluster.brokerName, 0);
            var listed = admin.queryConsumeQueue(cluster.broker, dead.getTopic(), 0, 0, 1, read.group);
            Check.equal("dead letters", 1, listed.getQueueData().size());
            // Producers.
            String producers = cluster.producer("dashboard_pages").getProducerGroup();
            Check.equal("connections of the producer group", 1, admin.examineProducerConnectionInfo(producers, read.topic).getConnectionSet().size());
        } finally {
            read.consumer.shutdown();
        }
        // A group without members is set back.
        Check.eventually("code for the members of a group that left", 206, () -> {
            try {
                admin.examineConsumerConnectionInfo(read.group);
                return 0;
            } catch (MQBrokerException offline) {
                return offline.getResponseCode();
            }
        });
        var reset = admin.resetOffsetByTimestamp(read.topic, read.group, System.currentTimeMillis() - 3_600_000, true);
        Check.equal("queues that were set back", 2, reset.size());
        Check.eventually("messages behind after a reset", 10L, () -> admin.examineConsumeStats(read.group, read.topic).computeTotalDiff());
    }

    private Consoles() {
    }
}
