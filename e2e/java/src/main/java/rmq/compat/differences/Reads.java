package rmq.compat.differences;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;

/** Operations that look for messages. */
final class Reads {
    static void addTo(Map<String, Differences.Action> actions) {
        actions.put("pull", Reads::pull);
        actions.put("pull_raw", Reads::raw);
        actions.put("pull_forbidden", Reads::raw);
        actions.put("pull_after_reset", Reads::raw);
        actions.put("pull_sql", Reads::sql);
        actions.put("queue_ends", Reads::ends);
        actions.put("time_search", Reads::search);
        actions.put("query_key", Reads::byKey);
        actions.put("query_unique", Reads::byUniqueKey);
        actions.put("query_deleted", Reads::byUniqueKey);
        actions.put("view_id", Reads::byId);
        actions.put("consume_queue", Reads::consumeQueue);
    }

    private interface Pull {
        PullResult from(long offset, int max) throws Exception;
    }

    /** As many messages as are asked for: how many bytes or files a single pull covers is each server's own. */
    private static void pulled(Server server, Operation operation, Outcome outcome, Pull pull) throws Exception {
        List<MessageExt> found = new ArrayList<>();
        int max = operation.number("max");
        PullResult result = pull.from(operation.wide("offset"), max);
        outcome.put("status", result.getPullStatus());
        while (true) {
            if (result.getMsgFoundList() != null) {
                found.addAll(result.getMsgFoundList());
            }
            boolean goesOn = result.getPullStatus() == PullStatus.FOUND || result.getPullStatus() == PullStatus.NO_MATCHED_MSG;
            if (!goesOn || found.size() >= max || result.getNextBeginOffset() >= result.getMaxOffset()) {
                break;
            }
            result = pull.from(result.getNextBeginOffset(), max - found.size());
        }
        outcome.put("next", result.getNextBeginOffset());
        outcome.put("min", result.getMinOffset());
        outcome.put("max", result.getMaxOffset());
        messages(server, outcome, found);
    }

    private static void messages(Server server, Outcome outcome, List<MessageExt> messages) {
        outcome.put("count", messages == null ? 0 : messages.size());
        for (int i = 0; messages != null && i < messages.size(); i++) {
            server.describe(outcome, "message" + i, messages.get(i));
        }
    }

    static void pull(Server server, Operation operation, Outcome outcome) throws Exception {
        MessageQueue queue = server.queue(operation.text("topic"), operation.number("queue"));
        pulled(server, operation, outcome, (offset, max) -> server.reader.pull(queue, operation.text("tags"), offset, max));
    }

    static void sql(Server server, Operation operation, Outcome outcome) throws Exception {
        // The client sends an expression only to a broker whose version it knows, which a heartbeat brings once there is a route.
        server.instance.updateTopicRouteInfoFromNameServer(operation.text("topic"));
        server.instance.sendHeartbeatToAllBrokerWithLock();
        MessageQueue queue = server.queue(operation.text("topic"), operation.number("queue"));
        pulled(server, operation, outcome, (offset, max) -> server.reader.pull(queue, MessageSelector.bySql(operation.text("sql")), offset, max));
    }

    static void raw(Server server, Operation operation, Outcome outcome) throws Exception {
        // Bits: the offset is committed, and the subscription comes with the request; nothing waits.
        long commit = operation.wide("commit");
        Map<String, String> fields = new TreeMap<>(Map.of("consumerGroup", operation.text("group"), "topic", operation.text("topic"), "queueId", operation.text("queue"),
            "queueOffset", operation.text("offset"), "maxMsgNums", operation.text("max"), "sysFlag", commit < 0 ? "4" : "5", "commitOffset", Long.toString(Math.max(0, commit)),
            "suspendTimeoutMillis", "0", "subscription", operation.text("tags"), "subVersion", "0"));
        fields.put("expressionType", "TAG");
        RemotingCommand answer = server.call(server.broker, RequestCode.PULL_MESSAGE, fields, null);
        Map<String, String> told = answer.getExtFields();
        if (told == null || !told.containsKey("nextBeginOffset") || !List.of(0, 19, 20, 21).contains(answer.getCode())) {
            outcome.refused(operation, answer.getCode(), answer.getRemark());
            return;
        }
        outcome.put("code", answer.getCode());
        for (String field : List.of("nextBeginOffset", "minOffset", "maxOffset", "suggestWhichBrokerId", "topicSysFlag", "groupSysFlag")) {
            outcome.put(field, told.get(field));
        }
        List<MessageExt> found = new ArrayList<>();
        int max = operation.number("max");
        while (answer.getBody() != null) {
            found.addAll(MessageDecoder.decodesBatch(ByteBuffer.wrap(answer.getBody()), true, true, true));
            String next = answer.getExtFields().get("nextBeginOffset");
            outcome.put("nextBeginOffset", next);
            if (found.size() >= max || Long.parseLong(next) >= Long.parseLong(answer.getExtFields().get("maxOffset"))) {
                break;
            }
            fields.put("queueOffset", next);
            fields.put("maxMsgNums", Integer.toString(max - found.size()));
            answer = server.call(server.broker, RequestCode.PULL_MESSAGE, fields, null);
        }
        messages(server, outcome, found);
    }

    static void ends(Server server, Operation operation, Outcome outcome) throws Exception {
        MessageQueue queue = server.queue(operation.text("topic"), operation.number("queue"));
        outcome.put("max", server.api.getMaxOffset(server.broker, queue, Server.PATIENCE_MS));
        outcome.put("min", server.api.getMinOffset(server.broker, queue, Server.PATIENCE_MS));
        outcome.put("earliest", Server.time(server.api.getEarliestMsgStoretime(server.broker, queue, Server.PATIENCE_MS)));
    }

    static void search(Server server, Operation operation, Outcome outcome) throws Exception {
        Map<String, String> fields = new TreeMap<>(Map.of("topic", operation.text("topic"), "queueId", operation.text("queue"), "timestamp", Long.toString(server.time(operation.text("when")))));
        if (!operation.text("boundary").isEmpty()) {
            fields.put("boundaryType", operation.text("boundary"));
        }
        RemotingCommand answer = server.call(server.broker, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, fields, null);
        if (answer.getCode() != 0) {
            outcome.refused(operation, answer.getCode(), answer.getRemark());
            return;
        }
        outcome.put("offset", answer.getExtFields().get("offset"));
    }

    static void byKey(Server server, Operation operation, Outcome outcome) throws Exception {
        QueryResult result = server.admin.queryMessage(operation.text("topic"), operation.text("key"), operation.number("max"), server.time(operation.text("from")), server.time(operation.text("to")));
        messages(server, outcome, result.getMessageList());
        outcome.put("updated", Server.time(result.getIndexLastUpdateTimestamp()));
    }

    static void byUniqueKey(Server server, Operation operation, Outcome outcome) throws Exception {
        Server.Sent sent = server.sent.get(operation.number("of"));
        if (sent == null) {
            outcome.put("message", "none");
            return;
        }
        server.describe(outcome, "message", server.admin.queryMessage(server.brokerName.isEmpty() ? null : "DefaultCluster", sent.topic(), sent.unique()));
    }

    static void byId(Server server, Operation operation, Outcome outcome) throws Exception {
        Server.Sent sent = server.sent.get(operation.number("of"));
        if (sent == null) {
            outcome.put("message", "none");
            return;
        }
        server.describe(outcome, "message", server.admin.viewMessage(sent.topic(), sent.stored()));
    }

    static void consumeQueue(Server server, Operation operation, Outcome outcome) throws Exception {
        var listed = server.admin.queryConsumeQueue(server.broker, operation.text("topic"), operation.number("queue"), operation.wide("index"), operation.number("count"), server.prefix + "nobody");
        if (listed == null) {
            outcome.put("count", "nothing");
            return;
        }
        outcome.put("ends", listed.getMinQueueIndex() + " " + listed.getMaxQueueIndex());
        outcome.put("count", listed.getQueueData() == null ? "none" : listed.getQueueData().size());
        for (int i = 0; listed.getQueueData() != null && i < listed.getQueueData().size(); i++) {
            var row = listed.getQueueData().get(i);
            outcome.put("row" + i, "tag " + row.getTagsCode() + " evaluated " + row.isEval() + " message " + row.getMsg() + " bits " + row.getBitMap() + " extended " + row.getExtendDataJson());
        }
    }

    private Reads() {
    }
}
