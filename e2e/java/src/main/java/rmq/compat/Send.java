package rmq.compat;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Producers. */
final class Send {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("send_sync", Send::sync);
        scenarios.put("send_async", Send::async);
        scenarios.put("send_one_way", Send::oneWay);
        scenarios.put("send_batch", Send::batch);
        scenarios.put("send_selected_queue", Send::selectedQueue);
        scenarios.put("send_compressed", Send::compressed);
        scenarios.put("send_priority", Send::priority);
        scenarios.put("send_limits", Send::limits);
        scenarios.put("send_creates_topic", Send::createsTopic);
    }

    static void sync(Cluster cluster) throws Exception {
        String topic = cluster.topic("send_sync", 4);
        DefaultMQProducer producer = cluster.producer("send");
        Map<String, SendResult> sent = new TreeMap<>();
        for (int i = 0; i < 20; i++) {
            Message message = Cluster.message(topic, "tag" + i % 3, "key" + i, "body " + i + " \u4f60\u597d");
            message.putUserProperty("colour", "blue \"" + i + "\" \\ \u20ac");
            message.setFlag(i);
            SendResult result = producer.send(message);
            Check.equal("send status", SendStatus.SEND_OK, result.getSendStatus());
            Check.equal("queue's broker", cluster.brokerName, result.getMessageQueue().getBrokerName());
            sent.put("body " + i + " \u4f60\u597d", result);
        }
        Set<String> places = new HashSet<>();
        for (MessageExt found : cluster.readAll(topic, 20)) {
            SendResult result = sent.remove(Cluster.body(found));
            Check.that("a body that was sent, once", result != null, Cluster.body(found));
            int i = found.getFlag();
            Check.equal("keys", "key" + i, found.getKeys());
            Check.equal("tags", "tag" + i % 3, found.getTags());
            Check.equal("user property", "blue \"" + i + "\" \\ \u20ac", found.getUserProperty("colour"));
            Check.equal("message id", result.getMsgId(), found.getMsgId());
            Check.equal("queue", result.getMessageQueue().getQueueId(), found.getQueueId());
            Check.equal("queue offset", result.getQueueOffset(), found.getQueueOffset());
            Check.that("a store time after the born time", found.getStoreTimestamp() + 5_000 > found.getBornTimestamp(), found);
            Check.that("a place of its own", places.add(found.getQueueId() + "/" + found.getQueueOffset()), found);
        }
    }

    static void async(Cluster cluster) throws Exception {
        String topic = cluster.topic("send_async", 4);
        DefaultMQProducer producer = cluster.producer("send");
        int count = 100;
        CountDownLatch done = new CountDownLatch(count);
        ConcurrentLinkedQueue<String> problems = new ConcurrentLinkedQueue<>();
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < count; i++) {
            expected.add("async " + i);
            producer.send(Cluster.message(topic, "", "", "async " + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    if (result.getSendStatus() != SendStatus.SEND_OK) {
                        problems.add(result.toString());
                    }
                    done.countDown();
                }

                @Override
                public void onException(Throwable error) {
                    problems.add(error.toString());
                    done.countDown();
                }
            });
        }
        Check.that("all callbacks within the deadline", done.await(Check.DEADLINE.toSeconds(), TimeUnit.SECONDS), done);
        Check.equal("sends that failed", "[]", problems.toString());
        Check.equal("bodies stored", expected, bodies(cluster.readAll(topic, count)));
    }

    static void oneWay(Cluster cluster) throws Exception {
        String topic = cluster.topic("send_one_way", 2);
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 20; i++) {
            expected.add("one way " + i);
            cluster.producer("send").sendOneway(Cluster.message(topic, "", "", "one way " + i));
        }
        Check.equal("bodies stored", expected, bodies(cluster.readAll(topic, 20)));
    }

    static void batch(Cluster cluster) throws Exception {
        String topic = cluster.topic("send_batch", 1);
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            messages.add(Cluster.message(topic, "tag" + i % 2, "key" + i, "batch " + i));
        }
        SendResult result = cluster.producer("send").send(messages);
        Check.equal("send status", SendStatus.SEND_OK, result.getSendStatus());
        Check.equal("message ids", 20, result.getMsgId().split(",").length);
        Check.equal("offset message ids", 20, result.getOffsetMsgId().split(",").length);
        List<MessageExt> found = cluster.readAll(topic, 20);
        for (int i = 0; i < 20; i++) {
            MessageExt message = found.get(i);
            Check.equal("body at offset " + i, "batch " + i, Cluster.body(message));
            Check.equal("tags", "tag" + i % 2, message.getTags());
            Check.equal("keys", "key" + i, message.getKeys());
            Check.equal("message id", result.getMsgId().split(",")[i], message.getMsgId());
            MessageExt same = cluster.admin.viewMessage(topic, result.getOffsetMsgId().split(",")[i]);
            Check.equal("body by offset message id", "batch " + i, Cluster.body(same));
        }
    }

    /** A message with a priority goes to the queue of its priority, whatever the producer chose. */
    static void priority(Cluster cluster) throws Exception {
        String topic = cluster.topic("send_priority", 4);
        DefaultMQProducer producer = cluster.producer("send");
        MessageQueue chosen = new MessageQueue(topic, cluster.brokerName, 1);
        for (int priority : List.of(0, 3, 2, 100)) {
            Message message = Cluster.message(topic, "", "", "priority " + priority);
            message.setPriority(priority);
            SendResult sent = producer.send(message, chosen);
            Check.equal("queue of priority " + priority, Math.min(priority, 3), sent.getMessageQueue().getQueueId());
        }
        Message delayed = Cluster.message(topic, "", "", "delayed");
        delayed.setPriority(3);
        delayed.setDelayTimeMs(1);
        producer.send(delayed, chosen);
        for (MessageExt found : cluster.readAll(topic, 5)) {
            boolean isDelayed = Cluster.body(found).equals("delayed");
            Check.equal("a priority of its own", !isDelayed, found.getPriority() >= 0);
            Check.equal("queue of " + Cluster.body(found), isDelayed ? 1 : Math.min(found.getPriority(), 3), found.getQueueId());
        }
    }

    static void selectedQueue(Cluster cluster) throws Exception {
        String topic = cluster.topic("send_selected_queue", 4);
        DefaultMQProducer producer = cluster.producer("send");
        for (int i = 0; i < 4; i++) {
            SendResult fixed = producer.send(Cluster.message(topic, "", "", "fixed " + i), new MessageQueue(topic, cluster.brokerName, i));
            Check.equal("queue id of a fixed queue", i, fixed.getMessageQueue().getQueueId());
            Check.equal("first offset of queue " + i, 0L, fixed.getQueueOffset());
        }
        for (int i = 0; i < 8; i++) {
            SendResult hashed = producer.send(Cluster.message(topic, "", "", "hashed " + i), new SelectMessageQueueByHash(), i);
            Check.equal("queue id by hash of " + i, i % 4, hashed.getMessageQueue().getQueueId());
            Check.equal("offset by hash of " + i, 1L + i / 4, hashed.getQueueOffset());
        }
        cluster.readAll(topic, 12);
    }

    /** The client deflates bodies above 4 KiB and the consumer's side inflates them: the server must keep the flag. */
    static void compressed(Cluster cluster) throws Exception {
        String topic = cluster.topic("send_compressed", 1);
        String body = "compressible ".repeat(10_000);
        cluster.producer("send").send(Cluster.message(topic, "", "", body));
        MessageExt found = cluster.readAll(topic, 1).get(0);
        Check.that("the same body after decompression", body.equals(Cluster.body(found)), found.getBody().length + " bytes");
        Check.that("a compressed record", found.getStoreSize() < body.length() / 4, found.getStoreSize());
    }

    static void limits(Cluster cluster) throws Exception {
        String topic = cluster.topic("send_limits", 1);
        DefaultMQProducer producer = cluster.producer("limits");
        producer.setMaxMessageSize(16 << 20);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        SendResult largest = producer.send(new Message(topic, new byte[4 << 20]));
        Check.equal("status of a body of 4 MiB", SendStatus.SEND_OK, largest.getSendStatus());
        try {
            SendResult result = producer.send(new Message(topic, new byte[(4 << 20) + 1]));
            throw new Check.Failed("body of 4 MiB + 1: expected an error with code 13, found " + result);
        } catch (MQBrokerException refused) {
            Check.equal("code for a body of 4 MiB + 1", 13, refused.getResponseCode());
        }
        Message crowded = Cluster.message(topic, "", "", "x");
        crowded.putUserProperty("long", "p".repeat(33_000));
        try {
            SendResult result = producer.send(crowded);
            throw new Check.Failed("properties above 32,767 bytes: expected an error with code 13, found " + result);
        } catch (MQBrokerException refused) {
            Check.equal("code for properties above 32,767 bytes", 13, refused.getResponseCode());
        }
        cluster.readAll(topic, 1);
    }

    static void createsTopic(Cluster cluster) throws Exception {
        String topic = cluster.name("send_creates_topic");
        boolean enabled = Boolean.parseBoolean(cluster.admin.getBrokerConfig(cluster.broker).getProperty("autoCreateTopicEnable"));
        try {
            SendResult result = cluster.producer("creates").send(Cluster.message(topic, "", "", "first"));
            Check.that("no topic created while autoCreateTopicEnable=false", enabled, result);
            Check.equal("body of the first message", "first", Cluster.body(cluster.readAll(topic, 1).get(0)));
        } catch (MQClientException refused) {
            Check.that("the topic created while autoCreateTopicEnable=true", !enabled, refused);
            Check.contains("error for an unknown topic", refused.getMessage(), "No route info of this topic");
        }
    }

    static Set<String> bodies(List<MessageExt> messages) {
        Set<String> bodies = new TreeSet<>();
        for (MessageExt message : messages) {
            bodies.add(Cluster.body(message));
        }
        return bodies;
    }

    private Send() {
    }
}
