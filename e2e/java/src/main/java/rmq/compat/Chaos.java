package rmq.compat;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.exception.RemotingConnectException;

/**
 * Producers and consumers for {@code e2e/tests/groups} and {@code e2e/tests/kubernetes}, whose brokers lose their master. Commands come on stdin, and what happens goes to
 * stdout, one line each, in the order in which it happens to a producer.
 */
final class Chaos {
    /** Between two messages of a producer, milliseconds. */
    private static final long PAUSE = 20;
    /** Codes of a broker that has stored nothing: 1 error, 2 busy, 16 no permission, 17 no topic, 215 flow control. After 14 it may have. */
    private static final Set<Integer> REFUSALS = Set.of(1, 2, 16, 17, 215);

    private final String nameServers;
    private final PrintStream out;
    private final Map<String, Producer> producers = new ConcurrentHashMap<>();
    private final Map<String, DefaultMQPushConsumer> consumers = new ConcurrentHashMap<>();

    private Chaos(String nameServers, PrintStream out) {
        this.nameServers = nameServers;
        this.out = out;
    }

    static void run(String nameServers, PrintStream out) throws Exception {
        System.setProperty("rocketmq.client.rebalance.waitInterval", "1000");
        Chaos chaos = new Chaos(nameServers, out);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "produce" -> chaos.produce(words[1], words[2], Integer.parseInt(words[3]), Long.parseLong(words[4]));
                case "stop" -> chaos.producers.remove(words[1]).goesOn = false;
                case "consume" -> chaos.consume(words[1], words[2], false);
                case "consume-orderly" -> chaos.consume(words[1], words[2], true);
                case "leave" -> chaos.consumers.remove(words[1] + " " + words[2]).shutdown();
                default -> throw new IllegalArgumentException(line);
            }
        }
    }

    private void produce(String topic, String broker, int queue, long first) throws MQClientException {
        Producer producer = new Producer(topic, new MessageQueue(topic, broker, queue), first);
        producers.put(topic, producer);
        producer.start();
    }

    private final class Producer extends Thread {
        private final String topic;
        private final MessageQueue queue;
        private final DefaultMQProducer client;
        private long producer;
        private long number;
        volatile boolean goesOn = true;

        Producer(String topic, MessageQueue queue, long producer) throws MQClientException {
            this.topic = topic;
            this.queue = queue;
            this.producer = producer;
            client = new DefaultMQProducer("java-" + topic);
            client.setNamesrvAddr(nameServers);
            client.setInstanceName("producer-" + topic);
            client.setPollNameServerInterval(1_000);
            client.start();
        }

        @Override
        public void run() {
            while (goesOn) {
                String key = producer + "-" + number;
                out.println("sending " + topic + " " + queue.getQueueId() + " " + key);
                String outcome = send(key);
                out.println(outcome);
                if (outcome.startsWith("unknown")) {
                    // It may be stored later than what is sent next: only what comes after it from one producer has an order.
                    producer++;
                    number = 0;
                } else {
                    number++;
                }
                try {
                    Thread.sleep(PAUSE);
                } catch (InterruptedException end) {
                    break;
                }
            }
            client.shutdown();
            out.println("stopped " + topic);
        }

        private String send(String key) {
            String named = " " + topic + " " + key + " ";
            try {
                SendResult result = client.send(new Message(topic, body(key)), queue);
                return result.getSendStatus() == SendStatus.SEND_OK
                    ? "acked" + named + queue.getQueueId() + " " + result.getQueueOffset()
                    : "unknown" + named + result.getSendStatus();
            } catch (MQBrokerException refused) {
                return (REFUSALS.contains(refused.getResponseCode()) ? "refused" : "unknown") + named + oneLine(refused);
            } catch (MQClientException | RemotingConnectException neverLeft) {
                return "refused" + named + oneLine(neverLeft);
            } catch (Exception open) {
                return "unknown" + named + oneLine(open);
            }
        }
    }

    private static String oneLine(Exception error) {
        return error.toString().replaceAll("\\s*\\R\\s*", " | ");
    }

    /** The body that {@code e2e/src/crowd.rs} gives a message with this key. */
    private static byte[] body(String key) {
        long number = Long.parseLong(key.substring(key.indexOf('-') + 1));
        byte[] begin = (key + " ").getBytes(StandardCharsets.US_ASCII);
        byte[] body = Arrays.copyOf(begin, begin.length + (int) (number * 7_919 % 3_000));
        Arrays.fill(body, begin.length, body.length, (byte) ('a' + number % 26));
        return body;
    }

    private void consume(String topic, String group, boolean isOrderly) throws MQClientException {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(nameServers);
        consumer.setInstanceName("consumer-" + group);
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        if (isOrderly) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                messages.forEach(message -> seen(topic, group, message));
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(message -> seen(topic, group, message));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        consumer.subscribe(topic, "*");
        consumer.start();
        consumers.put(topic + " " + group, consumer);
    }

    private void seen(String topic, String group, MessageExt message) {
        String body = Cluster.body(message);
        String key = body.substring(0, body.indexOf(' '));
        String whole = Arrays.equals(body(key), message.getBody()) ? "whole" : "altered";
        out.println("seen " + topic + " " + group + " " + message.getQueueId() + " " + message.getQueueOffset() + " " + key + " " + whole);
    }
}
