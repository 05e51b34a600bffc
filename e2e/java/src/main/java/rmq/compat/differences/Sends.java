package rmq.compat.differences;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;

/** Operations that store messages. */
final class Sends {
    static void addTo(Map<String, Differences.Action> actions) {
        actions.put("send", Sends::send);
        actions.put("send_delayed", Sends::delayed);
        actions.put("batch", Sends::batch);
        actions.put("send_raw", Sends::raw);
        actions.put("recall", Sends::recall);
        actions.put("send_back", Sends::back);
    }

    private static Message message(Operation operation) {
        StringBuilder body = new StringBuilder("m" + operation.text("message"));
        if (operation.has("bytes")) {
            int bytes = operation.number("bytes");
            // The client compresses what is worth it, which 4 MiB of a line are: the limit is the server's.
            body.append(" x".repeat(bytes / 2)).setLength(bytes);
        }
        Message message = new Message(operation.text("topic"), operation.text("tags"), operation.text("keys"), body.toString().getBytes(StandardCharsets.UTF_8));
        for (String name : List.of("amount", "region", "property")) {
            if (operation.has(name) && !operation.text(name).isEmpty()) {
                message.putUserProperty(name, operation.text(name));
            }
        }
        if (operation.has("flag")) {
            message.setFlag(operation.number("flag"));
        }
        message.setWaitStoreMsgOK(!operation.has("waitStored"));
        return message;
    }

    private static void result(Server server, Operation operation, Outcome outcome, Message message, SendResult result) throws Exception {
        outcome.put("status", result.getSendStatus());
        outcome.put("queue", result.getMessageQueue().getQueueId());
        outcome.put("offset", result.getQueueOffset());
        outcome.put("region", result.getRegionId());
        outcome.put("traced", result.isTraceOn());
        String unique = MessageClientIDSetter.getUniqID(message);
        outcome.put("id", result.getMsgId().equals(unique) ? "own" : result.getMsgId());
        outcome.put("transaction", unique.equals(result.getTransactionId()) ? "own" : String.valueOf(result.getTransactionId()));
        outcome.put("stored", result.getOffsetMsgId() == null ? "none" : server.plain(MessageDecoder.decodeMessageId(result.getOffsetMsgId()).getAddress().toString().replace("/", "")));
        outcome.put("recallable", result.getRecallHandle() != null);
        if (result.getSendStatus() == SendStatus.SEND_OK && result.getOffsetMsgId() != null) {
            server.remember(operation.number("message"),
                new Server.Sent(message.getTopic(), result.getMessageQueue().getQueueId(), result.getQueueOffset(), unique, result.getOffsetMsgId()));
        }
    }

    static void send(Server server, Operation operation, Outcome outcome) throws Exception {
        Message message = message(operation);
        MessageQueue queue = server.queue(operation.text("topic"), operation.number("queue"));
        SendResult result;
        switch (operation.text("how")) {
            case "oneway" -> {
                long before = server.api.getMaxOffset(server.broker, queue, Server.PATIENCE_MS);
                server.producer.sendOneway(message, queue);
                server.named(MessageClientIDSetter.getUniqID(message), "unique#" + operation.text("message"));
                server.listed(queue, before + 1);
                outcome.put("stored", server.api.getMaxOffset(server.broker, queue, Server.PATIENCE_MS) - before);
                return;
            }
            case "async" -> {
                CompletableFuture<SendResult> answer = new CompletableFuture<>();
                server.producer.send(message, queue, new SendCallback() {
                    @Override
                    public void onSuccess(SendResult sent) {
                        answer.complete(sent);
                    }

                    @Override
                    public void onException(Throwable error) {
                        answer.completeExceptionally(error);
                    }
                });
                result = answer.get(2 * Server.PATIENCE_MS, TimeUnit.MILLISECONDS);
            }
            case "hash" -> result = server.producer.send(message, (queues, sent, index) -> queue, null);
            default -> result = server.producer.send(message, queue);
        }
        result(server, operation, outcome, message, result);
        server.listed(result.getMessageQueue(), result.getQueueOffset() + 1);
    }

    /** Until the message is in its queue. */
    static void delayed(Server server, Operation operation, Outcome outcome) throws Exception {
        Message message = message(operation);
        MessageQueue queue = server.queue(operation.text("topic"), operation.number("queue"));
        long before = server.api.getMaxOffset(server.broker, queue, Server.PATIENCE_MS);
        long sentAt = System.currentTimeMillis();
        long wait = 1_000;
        if (operation.has("delayLevel")) {
            message.setDelayTimeLevel(operation.number("delayLevel"));
        } else if (operation.has("delayMs")) {
            wait = operation.wide("delayMs");
            message.setDelayTimeMs(wait);
        } else if (operation.has("delaySec")) {
            message.setDelayTimeSec(operation.wide("delaySec"));
        } else {
            wait = operation.wide("deliverIn");
            message.setDeliverTimeMs(sentAt + wait);
        }
        SendResult result = server.producer.send(message, queue);
        outcome.put("status", result.getSendStatus());
        outcome.put("recallable", result.getRecallHandle() != null);
        server.named(MessageClientIDSetter.getUniqID(message), "unique#" + operation.text("message"));
        server.listed(queue, before + 1);
        long took = System.currentTimeMillis() - sentAt;
        outcome.put("early", took + 20 < wait);
        var found = server.reader.pull(queue, "*", before, 32);
        outcome.put("delivered", found.getPullStatus());
        if (found.getMsgFoundList() != null) {
            outcome.put("count", found.getMsgFoundList().size());
            server.describe(outcome, "message", found.getMsgFoundList().get(0));
        }
    }

    static void batch(Server server, Operation operation, Outcome outcome) throws Exception {
        MessageQueue queue = server.queue(operation.text("topic"), operation.number("queue"));
        List<Message> messages = new ArrayList<>();
        int first = operation.number("message");
        for (int i = 0; i < operation.number("count"); i++) {
            messages.add(new Message(operation.text("topic"), operation.text("tags"), operation.text("keys"), ("m" + (first + i)).getBytes(StandardCharsets.UTF_8)));
        }
        SendResult result = server.producer.send(messages, queue);
        outcome.put("status", result.getSendStatus());
        outcome.put("queue", result.getMessageQueue().getQueueId());
        outcome.put("offset", result.getQueueOffset());
        String[] unique = result.getMsgId().split(",");
        String[] stored = result.getOffsetMsgId().split(",");
        outcome.put("ids", unique.length + " " + stored.length);
        for (int i = 0; i < Math.min(unique.length, stored.length); i++) {
            server.remember(first + i, new Server.Sent(operation.text("topic"), queue.getQueueId(), result.getQueueOffset() + i, unique[i], stored[i]));
        }
        server.listed(queue, result.getQueueOffset() + messages.size());
    }

    /** What the client itself would refuse. */
    static void raw(Server server, Operation operation, Outcome outcome) throws Exception {
        Map<String, String> fields = new TreeMap<>();
        fields.put("a", server.prefix + "producer");
        fields.put("b", operation.text("topic"));
        fields.put("c", "TBW102");
        fields.put("d", "4");
        fields.put("e", operation.text("queue"));
        fields.put("f", "0");
        fields.put("g", Long.toString(System.currentTimeMillis()));
        fields.put("h", "0");
        fields.put("i", operation.has("property") ? "long\u0001" + operation.text("property") + "\u0002" : operation.text("properties", ""));
        fields.put("j", "0");
        fields.put("k", "false");
        fields.put("m", "false");
        fields.put("n", server.brokerName);
        byte[] body = operation.has("bytes") ? new byte[operation.number("bytes")] : "raw".getBytes(StandardCharsets.UTF_8);
        RemotingCommand answer = server.call(server.broker, RequestCode.SEND_MESSAGE_V2, fields, body);
        if (answer.getCode() != 0) {
            outcome.refused(operation, answer.getCode(), answer.getRemark());
            return;
        }
        outcome.put("code", 0);
        long offset = Long.parseLong(answer.getExtFields().get("queueOffset"));
        MessageQueue queue = server.queue(operation.text("topic"), Integer.parseInt(answer.getExtFields().get("queueId")));
        boolean waits = operation.text("properties", "").contains("DELAY");
        if (!waits) {
            outcome.put("offset", offset);
            if (operation.number("queue") >= 0) {
                outcome.put("queue", queue.getQueueId());
            }
            server.listed(queue, offset + 1);
        }
    }

    static void recall(Server server, Operation operation, Outcome outcome) throws Exception {
        String topic = operation.text("topic");
        Message message = new Message(topic, "recalled".getBytes(StandardCharsets.UTF_8));
        message.setDelayTimeSec(3_600);
        SendResult sent = server.producer.send(message, server.queue(topic, operation.number("queue")));
        String handle = switch (operation.text("how")) {
            case "nonsense" -> "nonsense";
            case "empty" -> "";
            default -> sent.getRecallHandle();
        };
        String of = operation.text("how").equals("othertopic") ? operation.text("other") : topic;
        for (int i = operation.text("how").equals("twice") ? 0 : 1; i < 2; i++) {
            String id = server.producer.recallMessage(of, handle);
            outcome.put("recalled" + i, MessageClientIDSetter.getUniqID(message).equals(id) ? "own" : id);
        }
    }

    /** Until the message is in the retry queue or among the dead letters. */
    static void back(Server server, Operation operation, Outcome outcome) throws Exception {
        Server.Sent sent = server.sent.get(operation.number("of"));
        if (sent == null) {
            outcome.put("message", "none");
            return;
        }
        MessageExt message = server.admin.viewMessage(sent.topic(), sent.stored());
        String group = operation.text("group");
        List<MessageQueue> goals = List.of(server.queue("%RETRY%" + group, 0), server.queue("%RETRY%" + group, 1), server.queue("%DLQ%" + group, 0));
        List<Long> before = new ArrayList<>();
        for (MessageQueue goal : goals) {
            before.add(end(server, goal));
        }
        server.api.consumerSendMessageBack(server.broker, server.brokerName, message, group, operation.number("level"), Server.PATIENCE_MS, operation.number("retries"));
        outcome.put("code", 0);
        long deadline = System.nanoTime() + Server.PATIENCE_MS * 1_000_000;
        while (System.nanoTime() < deadline) {
            for (int i = 0; i < goals.size(); i++) {
                if (end(server, goals.get(i)) > before.get(i)) {
                    // Which of the retry queues is drawn by lot.
                    outcome.put("arrived", goals.get(i).getTopic());
                    copy(server, outcome, goals.get(i), before.get(i));
                    return;
                }
            }
            Thread.sleep(10);
        }
        outcome.put("arrived", "nowhere");
    }

    private static void copy(Server server, Outcome outcome, MessageQueue queue, long offset) throws Exception {
        // Dead letters may not be read by everybody; the log has them all.
        var listed = server.admin.queryConsumeQueue(server.broker, queue.getTopic(), queue.getQueueId(), offset, 1, server.prefix + "reader");
        long place = listed.getQueueData().get(0).getPhysicOffset();
        MessageExt copy = server.api.viewMessage(server.broker, queue.getTopic(), place, Server.PATIENCE_MS);
        server.describe(outcome, "copy", copy);
        String described = outcome.facts.get("copy");
        outcome.put("copy", described.replaceAll("^(\\S+)/\\d+@\\d+", "$1"));
        // The retry queue, too, which is drawn by lot where there are several.
        outcome.facts.remove("copy.REAL_QID");
    }

    private static long end(Server server, MessageQueue queue) throws Exception {
        try {
            return server.api.getMaxOffset(server.broker, queue, Server.PATIENCE_MS);
        } catch (org.apache.rocketmq.client.exception.MQBrokerException missing) {
            return 0;
        }
    }

    private Sends() {
    }
}
