package rmq.compat;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that wait for a time of any length, and that are taken back. */
final class Timers {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("timers_deliver", Timers::deliver);
        scenarios.put("timers_refused", Timers::refused);
        scenarios.put("timers_recall", Timers::recall);
    }

    /** What a consumer received, with the time of each. */
    private static DefaultMQPushConsumer consumer(Cluster cluster, String topic, ConcurrentMap<String, MessageExt> received,
            ConcurrentMap<String, Long> times) throws Exception {
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group(topic));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                if (received.put(Cluster.body(message), message) != null) {
                    received.put("twice " + Cluster.body(message), message);
                }
                times.put(Cluster.body(message), System.currentTimeMillis());
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.subscribe(topic, "*");
        return consumer;
    }

    static void deliver(Cluster cluster) throws Exception {
        String topic = cluster.topic("timers_deliver", 2);
        ConcurrentMap<String, MessageExt> received = new ConcurrentHashMap<>();
        ConcurrentMap<String, Long> times = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = consumer(cluster, topic, received, times);
        consumer.start();
        try {
            long now = System.currentTimeMillis();
            Map<String, Long> due = new TreeMap<>();
            DefaultMQProducer producer = cluster.producer("timers_deliver");
            Message seconds = Cluster.message(topic, "a", "key", "seconds");
            seconds.setDelayTimeSec(3);
            due.put("seconds", now + 3_000);
            Message millis = Cluster.message(topic, "a", "key", "milliseconds");
            millis.setDelayTimeMs(2_300);
            due.put("milliseconds", now + 2_300);
            Message time = Cluster.message(topic, "a", "key", "time");
            time.setDeliverTimeMs(now + 4_700);
            due.put("time", now + 4_700);
            Message past = Cluster.message(topic, "a", "key", "past");
            past.setDeliverTimeMs(now - 1_000);
            due.put("past", now);
            for (Message message : new Message[] {seconds, millis, time, past}) {
                SendResult sent = producer.send(message);
                boolean waits = message != past;
                Check.that("a handle of what waits", (sent.getRecallHandle() != null) == waits, sent);
            }
            Check.eventually("messages delivered", due.keySet(), () -> new TreeSet<>(received.keySet()));
            for (Map.Entry<String, Long> one : due.entrySet()) {
                long late = times.get(one.getKey()) - one.getValue();
                // It is sent a moment after `now`; a busy machine may be late, and nothing is early.
                Check.that(one.getKey() + " not early and at most 10 s late", late >= 0 && late <= 10_000, late + " ms");
            }
            MessageExt one = received.get("milliseconds");
            Check.equal("its topic", topic, one.getTopic());
            Check.equal("its tag", "a", one.getTags());
            Check.equal("the property of the delay", "2300", one.getProperty("TIMER_DELAY_MS"));
            Check.equal("its real topic", topic, one.getProperty("REAL_TOPIC"));
            for (String name : new String[] {"TIMER_OUT_MS", "TIMER_ENQUEUE_MS", "TIMER_DEQUEUE_MS"}) {
                Check.that("property " + name, one.getProperty(name) != null, one.getProperties());
            }
            Check.equal("a property of what never waited", null, received.get("past").getProperty("TIMER_OUT_MS"));
        } finally {
            consumer.shutdown();
        }
    }

    static void refused(Cluster cluster) throws Exception {
        String topic = cluster.topic("timers_refused", 1);
        Message message = Cluster.message(topic, "", "", "too far");
        message.setDelayTimeSec(259_201);
        try {
            cluster.producer("timers_refused").send(message);
            throw new Check.Failed("four days ahead were taken");
        } catch (MQBrokerException error) {
            Check.equal("code", 13, error.getResponseCode());
            Check.contains("remark", error.getErrorMessage(), "the max delay 259200000ms");
        }
    }

    static void recall(Cluster cluster) throws Exception {
        String topic = cluster.topic("timers_recall", 1);
        ConcurrentMap<String, MessageExt> received = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = consumer(cluster, topic, received, new ConcurrentHashMap<>());
        consumer.start();
        try {
            DefaultMQProducer producer = cluster.producer("timers_recall");
            SendResult[] sent = new SendResult[2];
            for (int number = 0; number < 2; number++) {
                Message message = Cluster.message(topic, "", "", "message " + number);
                message.setDelayTimeMs(20_000 - 17_000L * number);
                sent[number] = producer.send(message);
            }
            Check.equal("id of what is taken back", sent[0].getMsgId(), producer.recallMessage(topic, sent[0].getRecallHandle()));
            Check.eventually("what was not taken back", Set.of("message 1"), () -> new TreeSet<>(received.keySet()));
            try {
                producer.recallMessage(topic, sent[1].getRecallHandle());
                throw new Check.Failed("a message that was delivered was taken back");
            } catch (MQBrokerException error) {
                Check.equal("code", 604, error.getResponseCode());
                Check.contains("remark", error.getErrorMessage(), "recall failed, timestamp invalid");
            }
            Message last = Cluster.message(topic, "", "", "last");
            last.setDelayTimeMs(20_000);
            producer.send(last);
            Check.eventually("what comes after the time of what was taken back", Set.of("last", "message 1"), () -> new TreeSet<>(received.keySet()));
        } finally {
            consumer.shutdown();
        }
    }
}
