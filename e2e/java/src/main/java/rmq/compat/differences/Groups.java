package rmq.compat.differences;

import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.body.LockBatchRequestBody;
import org.apache.rocketmq.remoting.protocol.body.UnlockBatchRequestBody;

/** Operations on what groups have: offsets, locks, members, progress. */
final class Groups {
    static void addTo(Map<String, Differences.Action> actions) {
        actions.put("offset_set", Groups::setOffset);
        actions.put("offset_get", Groups::getOffset);
        actions.put("offset_clone", Groups::cloneOffsets);
        actions.put("offset_correction", Groups::correction);
        actions.put("time_reset", Groups::resetByTime);
        actions.put("queue_reset", Groups::resetQueue);
        actions.put("lock", Groups::lock);
        actions.put("unlock", Groups::unlock);
        actions.put("group_view", Groups::view);
    }

    static void setOffset(Server server, Operation operation, Outcome outcome) throws Exception {
        RemotingCommand answer = server.call(server.broker, RequestCode.UPDATE_CONSUMER_OFFSET, Map.of("consumerGroup", operation.text("group"), "topic", operation.text("topic"),
            "queueId", operation.text("queue"), "commitOffset", operation.text("offset")), null);
        outcome.refused(operation, answer.getCode(), answer.getCode() == 0 ? null : answer.getRemark());
    }

    static void getOffset(Server server, Operation operation, Outcome outcome) throws Exception {
        Map<String, String> fields = new TreeMap<>(Map.of("consumerGroup", operation.text("group"), "topic", operation.text("topic"), "queueId", operation.text("queue")));
        if (!operation.text("zero").isEmpty()) {
            fields.put("setZeroIfNotFound", operation.text("zero"));
        }
        RemotingCommand answer = server.call(server.broker, RequestCode.QUERY_CONSUMER_OFFSET, fields, null);
        if (answer.getCode() != 0) {
            outcome.refused(operation, answer.getCode(), answer.getRemark());
            return;
        }
        outcome.put("offset", answer.getExtFields().get("offset"));
    }

    static void cloneOffsets(Server server, Operation operation, Outcome outcome) throws Exception {
        server.api.cloneGroupOffset(server.broker, operation.text("group"), operation.text("to"), operation.text("topic"), true, Server.PATIENCE_MS);
        outcome.put("code", 0);
    }

    static void correction(Server server, Operation operation, Outcome outcome) throws Exception {
        outcome.put("offsets", new TreeMap<>(server.api.queryCorrectionOffset(server.broker, operation.text("topic"), operation.text("group"), Set.of(), Server.PATIENCE_MS)));
    }

    static void resetByTime(Server server, Operation operation, Outcome outcome) throws Exception {
        Map<MessageQueue, Long> offsets = server.api.invokeBrokerToResetOffset(server.broker, operation.text("topic"), operation.text("group"), server.time(operation.text("when")),
            Boolean.parseBoolean(operation.text("force")), Server.PATIENCE_MS);
        outcome.put("offsets", queues(offsets));
    }

    static void resetQueue(Server server, Operation operation, Outcome outcome) throws Exception {
        Map<MessageQueue, Long> offsets = server.api.invokeBrokerToResetOffset(server.broker, operation.text("topic"), operation.text("group"), 0L, operation.number("queue"), operation.wide("offset"), Server.PATIENCE_MS);
        outcome.put("offsets", queues(offsets));
    }

    private static Map<String, Object> queues(Map<MessageQueue, Long> offsets) {
        Map<String, Object> rows = new TreeMap<>();
        offsets.forEach((queue, offset) -> rows.put(queue.getBrokerName() + "/" + queue.getTopic() + "/" + queue.getQueueId(), offset));
        return rows;
    }

    private static Set<MessageQueue> chosen(Server server, Operation operation) {
        Set<MessageQueue> chosen = new HashSet<>();
        for (int i = 0; i < operation.number("count"); i++) {
            chosen.add(server.queue(operation.text("topic"), operation.number("queue") + i));
        }
        return chosen;
    }

    static void lock(Server server, Operation operation, Outcome outcome) throws Exception {
        LockBatchRequestBody body = new LockBatchRequestBody();
        body.setConsumerGroup(operation.text("group"));
        body.setClientId(operation.text("client"));
        body.setMqSet(chosen(server, operation));
        Set<Integer> locked = new TreeSet<>();
        server.api.lockBatchMQ(server.broker, body, Server.PATIENCE_MS).forEach(queue -> locked.add(queue.getQueueId()));
        outcome.put("locked", locked);
    }

    static void unlock(Server server, Operation operation, Outcome outcome) throws Exception {
        UnlockBatchRequestBody body = new UnlockBatchRequestBody();
        body.setConsumerGroup(operation.text("group"));
        body.setClientId(operation.text("client"));
        body.setMqSet(chosen(server, operation));
        server.api.unlockBatchMQ(server.broker, body, Server.PATIENCE_MS, false);
        outcome.put("code", 0);
    }

    static void view(Server server, Operation operation, Outcome outcome) throws Exception {
        String group = operation.text("group");
        String topic = operation.text("topic");
        switch (operation.text("what")) {
            case "config" -> outcome.put("config", server.api.getSubscriptionGroupConfig(server.broker, group, Server.PATIENCE_MS));
            case "listed" -> outcome.put("config", server.admin.examineSubscriptionGroupConfig(server.broker, group));
            case "progress" -> progress(outcome, server.api.getConsumeStats(server.broker, group, topic, Server.PATIENCE_MS));
            case "allProgress" -> progress(outcome, server.api.getConsumeStats(server.broker, group, Server.PATIENCE_MS));
            case "topics" -> {
                Set<String> topics = new TreeSet<>(server.api.queryTopicsByConsumer(server.broker, group, Server.PATIENCE_MS).getTopicList());
                // As with the progress.
                topics.removeIf(name -> name.startsWith("%RETRY%"));
                outcome.put("topics", topics);
            }
            case "connections" -> connections(server, outcome, group);
            case "members" -> outcome.put("members", server.api.getConsumerIdListByGroup(server.broker, group, Server.PATIENCE_MS));
            case "subscription" -> outcome.put("subscription", server.api.querySubscriptionByConsumer(server.broker, group, topic, Server.PATIENCE_MS));
            case "spans" -> server.api.queryConsumeTimeSpan(server.broker, topic, group, Server.PATIENCE_MS).forEach(span -> outcome.put("span" + span.getMessageQueue().getQueueId(),
                Server.time(span.getMinTimeStamp()) + " " + Server.time(span.getMaxTimeStamp()) + " " + Server.time(span.getConsumeTimeStamp()) + " late " + (span.getMaxTimeStamp() > 0 && span.getDelayTime() > 0)));
            case "producers" -> outcome.put("producers", server.api.getProducerConnectionList(server.broker, group, Server.PATIENCE_MS).getConnectionSet().size());
            default -> outcome.put("running", server.api.getConsumerRunningInfo(server.broker, group, "c0", false, Server.PATIENCE_MS).getProperties().size());
        }
    }

    static void progress(Outcome outcome, ConsumeStats stats) {
        Map<String, String> rows = new TreeMap<>();
        Map<String, Object> pulled = new TreeMap<>();
        stats.getOffsetTable().forEach((queue, offset) -> {
            // Whether a member commits the offset 0 of a retry queue that is empty depends on when it stops.
            if (offset.getBrokerOffset() > 0 || !queue.getTopic().startsWith("%RETRY%")) {
                String name = queue.getBrokerName() + "/" + queue.getTopic() + "/" + queue.getQueueId();
                rows.put(name, offset.getBrokerOffset() + " " + offset.getConsumerOffset() + " " + Server.time(offset.getLastTimestamp()));
                pulled.put(name, offset.getPullOffset());
            }
        });
        outcome.put("progress", rows);
        outcome.put("pulled", pulled);
        outcome.put("behind", stats.computeTotalDiff());
    }

    static void connections(Server server, Outcome outcome, String group) throws Exception {
        var connection = server.api.getConsumerConnectionList(server.broker, group, Server.PATIENCE_MS);
        outcome.put("connections", connection.getConnectionSet().size());
        connection.getConnectionSet().forEach(member -> outcome.put("member", member.getLanguage() + " " + member.getVersion()));
        outcome.put("kind", connection.getConsumeType() + " " + connection.getMessageModel() + " " + connection.getConsumeFromWhere());
        Map<String, String> subscriptions = new TreeMap<>();
        connection.getSubscriptionTable().forEach((name, subscription) -> subscriptions.put(name, subscription.getExpressionType() + " " + subscription.getSubString() + " " + new TreeSet<>(subscription.getTagsSet())
            + " " + new TreeSet<>(subscription.getCodeSet()) + " " + subscription.isClassFilterMode() + " " + Server.time(subscription.getSubVersion())));
        outcome.put("subscriptions", subscriptions);
    }

    private Groups() {
    }
}
