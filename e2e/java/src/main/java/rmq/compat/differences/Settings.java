package rmq.compat.differences;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.heartbeat.SubscriptionData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Operations on topics, groups and the name server's settings. */
final class Settings {
    static void addTo(Map<String, Differences.Action> actions) {
        actions.put("topic_set", Settings::setTopic);
        actions.put("topic_set_list", Settings::setTopics);
        actions.put("topic_delete", Settings::deleteTopic);
        actions.put("topic_view", Settings::viewTopic);
        actions.put("group_set", Settings::setGroup);
        actions.put("group_delete", Settings::deleteGroup);
        actions.put("forbid", Settings::forbid);
        actions.put("check_filter", Settings::checkFilter);
        actions.put("kv_set", Settings::setValue);
        actions.put("kv_get", Settings::getValue);
        actions.put("kv_delete", Settings::deleteValue);
    }

    /** Waits until the name server and the client know what was changed. */
    private static void routed(Server server, String topic, Object expected, java.util.function.Function<TopicRouteData, Object> probe) throws Exception {
        long deadline = System.nanoTime() + Server.PATIENCE_MS * 1_000_000;
        while (System.nanoTime() < deadline) {
            Object found;
            try {
                found = probe.apply(server.api.getTopicRouteInfoFromNameServer(topic, Server.PATIENCE_MS));
            } catch (MQClientException missing) {
                found = missing.getResponseCode();
            }
            if (found.equals(expected)) {
                break;
            }
            Thread.sleep(10);
        }
        server.instance.updateTopicRouteInfoFromNameServer(topic);
    }

    static void setTopic(Server server, Operation operation, Outcome outcome) throws Exception {
        String topic = operation.text("topic");
        Map<String, String> fields = new TreeMap<>(Map.of("topic", topic, "defaultTopic", "TBW102", "readQueueNums", operation.text("read"), "writeQueueNums", operation.text("write"),
            "perm", operation.text("perm"), "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false", "attributes", operation.text("attributes", "")));
        RemotingCommand answer = server.call(server.broker, RequestCode.UPDATE_AND_CREATE_TOPIC, fields, null);
        outcome.refused(operation, answer.getCode(), answer.getCode() == 0 ? null : answer.getRemark());
        if (answer.getCode() == 0) {
            String expected = operation.text("read") + " " + operation.text("write") + " " + operation.text("perm");
            routed(server, topic, expected, route -> {
                var queues = route.getQueueDatas().get(0);
                return queues.getReadQueueNums() + " " + queues.getWriteQueueNums() + " " + queues.getPerm();
            });
        }
    }

    static void setTopics(Server server, Operation operation, Outcome outcome) throws Exception {
        int queues = operation.number("queues");
        server.api.createTopicList(server.broker, List.of(new TopicConfig(operation.text("first"), queues, queues, 6), new TopicConfig(operation.text("second"), queues, queues, 6)), Server.PATIENCE_MS);
        outcome.put("code", 0);
    }

    static void deleteTopic(Server server, Operation operation, Outcome outcome) throws Exception {
        String topic = operation.text("topic");
        server.admin.deleteTopicInBroker(Set.of(server.broker), topic);
        outcome.put("broker", 0);
        server.admin.deleteTopicInNameServer(Set.of(server.nameServer), topic);
        outcome.put("nameServer", 0);
        routed(server, topic, 17, route -> 0);
    }

    static void viewTopic(Server server, Operation operation, Outcome outcome) throws Exception {
        String topic = operation.text("topic");
        switch (operation.text("what")) {
            case "route" -> {
                TopicRouteData route = server.api.getTopicRouteInfoFromNameServer(topic, Server.PATIENCE_MS);
                outcome.put("queues", route.getQueueDatas());
                outcome.put("brokers", server.plain(route.getBrokerDatas().toString()));
                outcome.put("order", route.getOrderTopicConf());
                outcome.put("filters", route.getFilterServerTable());
            }
            case "config" -> outcome.put("config", server.api.getTopicConfig(server.broker, topic, Server.PATIENCE_MS));
            case "stats" -> {
                Map<String, String> rows = new TreeMap<>();
                server.api.getTopicStatsInfo(server.broker, topic, Server.PATIENCE_MS).getOffsetTable().forEach((queue, offset) ->
                    rows.put(queue.getBrokerName() + "/" + queue.getTopic() + "/" + queue.getQueueId(), offset.getMinOffset() + " " + offset.getMaxOffset() + " " + Server.time(offset.getLastUpdateTimestamp())));
                outcome.put("stats", rows);
            }
            case "readers" -> outcome.put("groups", new TreeSet<>(server.admin.queryTopicConsumeByWho(topic).getGroupList()));
            case "clusters" -> outcome.put("clusters", server.admin.getTopicClusterList(topic));
            default -> {
                outcome.put("ofNameServer", own(server, server.admin.fetchAllTopicList().getTopicList()));
                outcome.put("ofCluster", own(server, server.admin.fetchTopicsByCLuster("DefaultCluster").getTopicList()));
                outcome.put("ofBroker", own(server, server.admin.getAllTopicConfig(server.broker, Server.PATIENCE_MS).getTopicConfigTable().keySet()));
                TopicConfig config = server.admin.getAllTopicConfig(server.broker, Server.PATIENCE_MS).getTopicConfigTable().get(topic);
                outcome.put("config", config);
            }
        }
    }

    /** Those of this seed. A retry topic is left out: the original makes one for each message that is given back, also for a dead letter. */
    private static Set<String> own(Server server, Iterable<String> names) {
        Set<String> own = new TreeSet<>();
        names.forEach(name -> {
            if (name.contains(server.prefix) && !name.startsWith("%RETRY%")) {
                own.add(name);
            }
        });
        return own;
    }

    static void setGroup(Server server, Operation operation, Outcome outcome) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(operation.text("group"));
        config.setRetryMaxTimes(operation.number("retries"));
        config.setRetryQueueNums(operation.number("retryQueues"));
        config.setConsumeEnable(Boolean.parseBoolean(operation.text("enabled", "true")));
        config.setConsumeBroadcastEnable(Boolean.parseBoolean(operation.text("broadcast", "true")));
        config.setConsumeFromMinEnable(Boolean.parseBoolean(operation.text("fromMin", "true")));
        config.setWhichBrokerWhenConsumeSlowly(Long.parseLong(operation.text("whichWhenSlow", "1")));
        config.setNotifyConsumerIdsChangedEnable(Boolean.parseBoolean(operation.text("notify", "true")));
        server.api.createSubscriptionGroup(server.broker, config, Server.PATIENCE_MS);
        outcome.put("code", 0);
    }

    static void deleteGroup(Server server, Operation operation, Outcome outcome) throws Exception {
        server.api.deleteSubscriptionGroup(server.broker, operation.text("group"), Boolean.parseBoolean(operation.text("offsets")), Server.PATIENCE_MS);
        outcome.put("code", 0);
    }

    static void forbid(Server server, Operation operation, Outcome outcome) throws Exception {
        var forbidden = server.admin.updateAndGetGroupReadForbidden(server.broker, operation.text("group"), operation.text("topic"), Boolean.parseBoolean(operation.text("readable")));
        outcome.put("forbidden", forbidden.getTopic() + " " + forbidden.getGroup() + " " + forbidden.getReadable());
    }

    static void checkFilter(Server server, Operation operation, Outcome outcome) throws Exception {
        SubscriptionData subscription = new SubscriptionData(operation.text("topic"), operation.text("sql"));
        subscription.setExpressionType("SQL92");
        server.api.checkClientInBroker(server.broker, operation.text("group"), server.prefix + "client", subscription, Server.PATIENCE_MS);
        outcome.put("code", 0);
    }

    static void setValue(Server server, Operation operation, Outcome outcome) throws Exception {
        server.admin.createAndUpdateKvConfig(operation.text("namespace"), operation.text("key"), operation.text("value"));
        outcome.put("code", 0);
    }

    static void getValue(Server server, Operation operation, Outcome outcome) throws Exception {
        outcome.put("value", server.admin.getKVConfig(operation.text("namespace"), operation.text("key")));
    }

    static void deleteValue(Server server, Operation operation, Outcome outcome) throws Exception {
        server.admin.deleteKvConfig(operation.text("namespace"), operation.text("key"));
        outcome.put("code", 0);
    }

    private Settings() {
    }
}
