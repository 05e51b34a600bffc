package rmq.compat.differences;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** One of the two servers as a seed sees it: the client's parts, and what was sent so far. */
final class Server implements AutoCloseable {
    static final long PATIENCE_MS = 20_000;

    /** A message that was acknowledged. */
    record Sent(String topic, int queue, long offset, String unique, String stored) {
    }

    final String nameServer;
    final String prefix;
    final String broker;
    final String brokerName;
    final DefaultMQAdminExt admin;
    final DefaultMQProducer producer;
    final DefaultMQPullConsumer reader;
    final MQClientInstance instance;
    final MQClientAPIImpl api;
    /** By the number that the plan gave a message. */
    final Map<Integer, Sent> sent = new ConcurrentHashMap<>();
    final List<Long> moments = new ArrayList<>();
    /** Ids of this server, and what to call them in an outcome. */
    private final Map<String, String> names = new ConcurrentHashMap<>();

    Server(String name, String nameServer, long seed) throws Exception {
        this.nameServer = nameServer;
        prefix = "d" + seed + "-";
        String instanceName = name + "-" + seed;
        admin = new DefaultMQAdminExt("d" + seed + "-admin", PATIENCE_MS);
        admin.setNamesrvAddr(nameServer);
        admin.setInstanceName(instanceName);
        admin.start();
        var entry = admin.examineBrokerClusterInfo().getBrokerAddrTable().values().iterator().next();
        brokerName = entry.getBrokerName();
        broker = entry.getBrokerAddrs().get(0L);
        producer = new DefaultMQProducer(prefix + "producer");
        producer.setNamesrvAddr(nameServer);
        producer.setInstanceName(instanceName);
        producer.setSendMsgTimeout((int) PATIENCE_MS);
        producer.setMaxMessageSize(16 << 20);
        producer.start();
        reader = new DefaultMQPullConsumer(prefix + "reader");
        reader.setNamesrvAddr(nameServer);
        reader.setInstanceName(instanceName);
        reader.start();
        instance = reader.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
        api = instance.getMQClientAPIImpl();
    }

    MessageQueue queue(String topic, int id) {
        return new MessageQueue(topic, brokerName, id);
    }

    /** Sends a request as it stands, with nothing that the client adds. */
    RemotingCommand call(String address, int code, Map<String, String> fields, byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        fields.forEach(request::addExtField);
        request.setBody(body);
        return api.getRemotingClient().invokeSync(address, request, PATIENCE_MS);
    }

    /** The moment of that name: between two messages, never at the time of one. */
    long time(String when) {
        return switch (when) {
            case "zero" -> 0;
            case "minusOne" -> -1;
            case "future" -> Long.MAX_VALUE;
            default -> moments.get(Integer.parseInt(when.substring("moment".length())));
        };
    }

    void remember(int number, Sent message) {
        sent.put(number, message);
        names.put(message.unique(), "unique#" + number);
        names.put(message.stored(), "stored#" + number);
    }

    void named(String id, String name) {
        names.putIfAbsent(id, name);
    }

    /** Without what each server, or each moment, has of its own. */
    String plain(String text) {
        if (text == null) {
            return "null";
        }
        String named = names.get(text);
        if (named != null) {
            return named;
        }
        String plain = text.replace(broker, "BROKER").replace(nameServer, "NAMESERVER").replaceAll("\\b1[0-9]{12}\\b", "TIME");
        if (plain.matches("[0-9A-F]{32}|[0-9A-F]{56}")) {
            return "ID";
        }
        return plain.length() > 200 ? plain.substring(0, 20) + "…" + UtilAll.crc32(plain.getBytes(StandardCharsets.UTF_8)) : plain;
    }

    static String time(long timestamp) {
        return timestamp > 1_000_000_000_000L && timestamp < 9_000_000_000_000L ? "TIME" : Long.toString(timestamp);
    }

    /** Waits until a queue has what was acknowledged: the original lists a message a moment after it answers. */
    void listed(MessageQueue queue, long end) throws Exception {
        long deadline = System.nanoTime() + PATIENCE_MS * 1_000_000;
        while (api.getMaxOffset(broker, queue, PATIENCE_MS) < end && System.nanoTime() < deadline) {
            Thread.sleep(2);
        }
    }

    /** Everything about a message that a consumer can see, and that does not differ by nature. */
    void describe(Outcome outcome, String fact, MessageExt message) {
        byte[] body = message.getBody() == null ? new byte[0] : message.getBody();
        String text = new String(body, 0, Math.min(body.length, 40), StandardCharsets.UTF_8);
        outcome.put(fact, message.getTopic() + "/" + message.getQueueId() + "@" + message.getQueueOffset() + " " + text.replace('\n', ' ') + " " + body.length + " bytes "
            + UtilAll.crc32(body) + " flag " + message.getFlag() + " sysFlag " + message.getSysFlag() + " reconsumed " + message.getReconsumeTimes() + " id " + plain(message.getMsgId())
            + " stored at " + plain(UtilAll.frontStringAtLeast(message.getStoreHost().toString().replace("/", ""), 100)) + " " + time(message.getStoreTimestamp()) + " " + time(message.getBornTimestamp()));
        new TreeMap<>(message.getProperties()).forEach((name, value) -> outcome.put(fact + "." + name, plain(value)));
    }

    @Override
    public void close() {
        producer.shutdown();
        reader.shutdown();
        admin.shutdown();
    }
}
