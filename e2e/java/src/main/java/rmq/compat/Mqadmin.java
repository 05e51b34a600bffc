package rmq.compat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** The operators' command line: its printed output must show the values that are true here. */
final class Mqadmin {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("mqadmin_topicList", Mqadmin::topicList);
        scenarios.put("mqadmin_topicRoute", Mqadmin::topicRoute);
        scenarios.put("mqadmin_topicStatus", Mqadmin::topicStatus);
        scenarios.put("mqadmin_clusterList", Mqadmin::clusterList);
        scenarios.put("mqadmin_brokerStatus", Mqadmin::brokerStatus);
        scenarios.put("mqadmin_updateTopic", Mqadmin::updateTopic);
        scenarios.put("mqadmin_updateSubGroup", Mqadmin::updateSubGroup);
        scenarios.put("mqadmin_consumerProgress", Mqadmin::consumerProgress);
        scenarios.put("mqadmin_queryMsgById", Mqadmin::queryMsgById);
        scenarios.put("mqadmin_queryMsgByKey", Mqadmin::queryMsgByKey);
    }

    static void topicList(Cluster cluster) throws Exception {
        String topic = cluster.topic("mqadmin_topicList", 1);
        String printed = mqadmin(cluster, "topicList");
        Check.that("a line " + topic, lines(printed).contains(topic), printed);
        String withClusters = mqadmin(cluster, "topicList", "-c");
        row("topicList -c", withClusters, cluster.clusterName, topic);
    }

    static void topicRoute(Cluster cluster) throws Exception {
        String topic = cluster.topic("mqadmin_topicRoute", 3);
        String printed = mqadmin(cluster, "topicRoute", "-t", topic);
        for (String part : List.of("\"" + cluster.brokerName + "\"", "\"" + cluster.broker + "\"", "\"" + cluster.clusterName + "\"",
            "\"readQueueNums\":3", "\"writeQueueNums\":3", "\"perm\":6")) {
            Check.contains("topicRoute", printed.replace(": ", ":"), part);
        }
        row("topicRoute -l", mqadmin(cluster, "topicRoute", "-t", topic, "-l"), cluster.clusterName, cluster.brokerName, "{0=" + cluster.broker + "}", "3", "3", "6");
    }

    static void topicStatus(Cluster cluster) throws Exception {
        String topic = cluster.topic("mqadmin_topicStatus", 2);
        for (int i = 0; i < 3; i++) {
            cluster.producer("mqadmin").send(Cluster.message(topic, "", "", "m" + i), new MessageQueue(topic, cluster.brokerName, 1));
        }
        String printed = mqadmin(cluster, "topicStatus", "-t", topic);
        row("topicStatus", printed, cluster.brokerName, "0", "0", "0");
        row("topicStatus", printed, cluster.brokerName, "1", "0", "3");
    }

    static void clusterList(Cluster cluster) throws Exception {
        row("clusterList", mqadmin(cluster, "clusterList"), cluster.clusterName, cluster.brokerName, "0", cluster.broker, "V5_5_0");
    }

    static void brokerStatus(Cluster cluster) throws Exception {
        String printed = mqadmin(cluster, "brokerStatus", "-b", cluster.broker);
        for (String part : List.of("brokerVersionDesc +: V5_5_0", "bootTimestamp +: \\d{13}", "msgPutTotalTodayNow +: \\d+",
            "commitLogMaxOffset +: \\d+", "putTps +: \\S+", "runtime +: .+")) {
            Check.that("brokerStatus line " + part, Pattern.compile("(?m)^" + part).matcher(printed).find(), printed);
        }
    }

    static void updateTopic(Cluster cluster) throws Exception {
        String topic = cluster.name("mqadmin_updateTopic");
        String created = mqadmin(cluster, "updateTopic", "-b", cluster.broker, "-t", topic, "-r", "6", "-w", "4", "-p", "6");
        Check.contains("updateTopic", created, "create topic to " + cluster.broker + " success");
        String expected = "6 4 6";
        Check.eventually("read, write queues and permission in the route", expected, () -> {
            var queues = cluster.admin.examineTopicRouteInfo(topic).getQueueDatas().get(0);
            return queues.getReadQueueNums() + " " + queues.getWriteQueueNums() + " " + queues.getPerm();
        });
        String all = mqadmin(cluster, "updateTopic", "-c", cluster.clusterName, "-t", topic, "-r", "8", "-w", "8");
        Check.contains("updateTopic for the cluster", all, "create topic to " + cluster.broker + " success");
        Check.eventually("read queues after a change", 8,
            () -> cluster.admin.examineTopicRouteInfo(topic).getQueueDatas().get(0).getReadQueueNums());
        String deleted = mqadmin(cluster, "deleteTopic", "-c", cluster.clusterName, "-t", topic);
        Check.contains("deleteTopic", deleted, "delete topic [" + topic + "] from cluster [" + cluster.clusterName + "] success");
    }

    static void updateSubGroup(Cluster cluster) throws Exception {
        String group = cluster.name("mqadmin_updateSubGroup");
        String created = mqadmin(cluster, "updateSubGroup", "-b", cluster.broker, "-g", group, "-r", "3", "-d", "true", "-q", "2");
        Check.contains("updateSubGroup", created, "success");
        SubscriptionGroupConfig found = cluster.admin.examineSubscriptionGroupConfig(cluster.broker, group);
        Check.that("the group that was created", found != null, "none");
        Check.equal("retries, broadcast, retry queues", "3 true 2",
            found.getRetryMaxTimes() + " " + found.isConsumeBroadcastEnable() + " " + found.getRetryQueueNums());
        String deleted = mqadmin(cluster, "deleteSubGroup", "-b", cluster.broker, "-g", group);
        Check.contains("deleteSubGroup", deleted, "success");
        SubscriptionGroupConfig left = cluster.admin.examineSubscriptionGroupConfig(cluster.broker, group);
        // A server that creates groups by itself may have one of that name again, but with nothing of what was set.
        Check.that("no group with the settings that were deleted", left == null || left.getRetryMaxTimes() == 16, left);
    }

    static void consumerProgress(Cluster cluster) throws Exception {
        String topic = cluster.topic("mqadmin_consumerProgress", 1);
        String group = cluster.group("mqadmin_consumerProgress");
        DefaultMQPushConsumer consumer = cluster.pushConsumer(group);
        Push.Received received = new Push.Received();
        received.listen(consumer);
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            received.exactly(Push.send(cluster, topic, "", "read ", 4));
            Check.eventually("messages behind", 0L, () -> cluster.admin.examineConsumeStats(group, topic).computeTotalDiff());
            row("consumerProgress", mqadmin(cluster, "consumerProgress"), group, "1");
        } finally {
            consumer.shutdown();
        }
        Push.send(cluster, topic, "", "unread ", 3);
        String printed = mqadmin(cluster, "consumerProgress", "-g", group);
        // topic, broker, queue, broker offset, consumer offset, (client ip), difference
        row("consumerProgress -g", printed, topic, cluster.brokerName, "0", "7", "4");
        Check.contains("consumerProgress -g", printed, "Consume Diff Total: 3");
    }

    static void queryMsgById(Cluster cluster) throws Exception {
        String topic = cluster.topic("mqadmin_queryMsgById", 1);
        SendResult sent = cluster.producer("mqadmin").send(Cluster.message(topic, "red", "key-1", "seen by id"));
        for (String id : List.of(sent.getOffsetMsgId(), sent.getMsgId())) {
            Check.eventually("message " + id, true, () -> {
                String printed = mqadmin(cluster, "queryMsgById", "-t", topic, "-i", id);
                Check.that("an answer about the message", printed.contains("OffsetID:"), printed);
                row("queryMsgById", printed, "OffsetID:", sent.getOffsetMsgId());
                row("queryMsgById", printed, "Topic:", topic);
                row("queryMsgById", printed, "Tags:", "[red]");
                row("queryMsgById", printed, "Keys:", "[key-1]");
                row("queryMsgById", printed, "Queue", "ID:", "0");
                row("queryMsgById", printed, "Queue", "Offset:", "0");
                Check.contains("queryMsgById", printed, "UNIQ_KEY=" + sent.getMsgId());
                return true;
            });
        }
    }

    static void queryMsgByKey(Cluster cluster) throws Exception {
        String topic = cluster.topic("mqadmin_queryMsgByKey", 1);
        SendResult sent = cluster.producer("mqadmin").send(Cluster.message(topic, "", "key-2", "seen by key"));
        Check.eventually("message with key-2", true, () -> {
            row("queryMsgByKey", mqadmin(cluster, "queryMsgByKey", "-t", topic, "-k", "key-2"), sent.getMsgId(), "0", "0");
            return true;
        });
    }

    /** Expects a line that begins with these words. */
    static void row(String command, String printed, String... words) {
        for (String line : lines(printed)) {
            List<String> found = Arrays.asList(line.trim().split("\\s+"));
            if (found.size() >= words.length && found.subList(0, words.length).equals(Arrays.asList(words))) {
                return;
            }
        }
        throw new Check.Failed(command + ": expected a line beginning with " + String.join(" ", words) + ", found \"" + printed + "\"");
    }

    private static List<String> lines(String printed) {
        return printed.lines().map(String::trim).toList();
    }

    /** Only one thread runs the scenarios of this class. */
    static String mqadmin(Cluster cluster, String command, String... options) {
        return mqadmin(cluster, null, command, options);
    }

    /** The same as a user. */
    static String mqadmin(Cluster cluster, RPCHook hook, String command, String... options) {
        List<String> arguments = new ArrayList<>(List.of(command, "-n", cluster.nameServer));
        arguments.addAll(List.of(options));
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream out = System.out;
        PrintStream err = System.err;
        try (PrintStream capture = new PrintStream(printed, true, StandardCharsets.UTF_8)) {
            System.setOut(capture);
            System.setErr(capture);
            MQAdminStartup.main0(arguments.toArray(String[]::new), hook);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    private Mqadmin() {
    }
}
