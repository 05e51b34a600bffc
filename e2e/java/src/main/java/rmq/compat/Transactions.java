package rmq.compat;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/** Producers of transactional messages. */
final class Transactions {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("transaction_commit_rollback", Transactions::commitAndRollback);
        scenarios.put("transaction_check_back", Transactions::checkBack);
        scenarios.put("transaction_producer_dies", Transactions::producerDies);
    }

    /** Says of each message what its key says: how its local transaction ends, and what a check finds. */
    private static final class Listener implements TransactionListener {
        final ConcurrentMap<String, MessageExt> checked = new ConcurrentHashMap<>();
        final AtomicInteger checks = new AtomicInteger();
        final LocalTransactionState found;

        Listener(LocalTransactionState found) {
            this.found = found;
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return (LocalTransactionState) argument;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            checks.incrementAndGet();
            checked.put(Cluster.body(message), message);
            return found;
        }
    }

    private static TransactionMQProducer producer(Cluster cluster, String group, Listener listener) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setNamesrvAddr(cluster.nameServer);
        producer.setInstanceName(cluster.instance());
        producer.setSendMsgTimeout(10_000);
        producer.setPollNameServerInterval(1_000);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.setTransactionListener(listener);
        producer.start();
        return producer;
    }

    private static TransactionSendResult send(TransactionMQProducer producer, String topic, String body, LocalTransactionState ends) throws Exception {
        Message message = Cluster.message(topic, "tag", "key-" + body, body);
        message.putUserProperty("colour", "blue");
        TransactionSendResult result = producer.sendMessageInTransaction(message, ends);
        Check.equal("send status", SendStatus.SEND_OK, result.getSendStatus());
        Check.equal("local state", ends, result.getLocalTransactionState());
        return result;
    }

    private static Set<String> bodies(List<MessageExt> messages) {
        Set<String> found = new TreeSet<>();
        messages.forEach(message -> found.add(Cluster.body(message)));
        return found;
    }

    static void commitAndRollback(Cluster cluster) throws Exception {
        String topic = cluster.topic("transaction_commit", 2);
        String group = cluster.name("producer-transactions");
        Listener listener = new Listener(LocalTransactionState.UNKNOW);
        TransactionMQProducer producer = producer(cluster, group, listener);
        try {
            Set<String> expected = new TreeSet<>();
            TransactionSendResult last = null;
            for (int i = 0; i < 20; i++) {
                boolean commits = i % 2 == 0;
                LocalTransactionState ends = commits ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
                TransactionSendResult result = send(producer, topic, "transaction " + i, ends);
                if (commits) {
                    expected.add("transaction " + i);
                    last = result;
                }
            }
            List<MessageExt> found = cluster.readAll(topic, 10);
            Check.equal("bodies stored", expected, bodies(found));
            for (MessageExt message : found) {
                Check.equal("user property", "blue", message.getUserProperty("colour"));
                Check.equal("producer group", group, message.getProperty(MessageConst.PROPERTY_PRODUCER_GROUP));
                Check.equal("prepared", "true", message.getProperty(MessageConst.PROPERTY_TRANSACTION_PREPARED));
                Check.equal("system flag", 8, message.getSysFlag());
                Check.that("the half message's place", message.getPreparedTransactionOffset() > 0, message);
                Check.that("a transaction id", message.getTransactionId() != null, message);
                if (Cluster.body(message).equals("transaction 18")) {
                    Check.equal("transaction id", last.getTransactionId(), message.getTransactionId());
                }
            }
            Check.equal("checks", 0, listener.checks.get());
        } finally {
            producer.shutdown();
        }
    }

    static void checkBack(Cluster cluster) throws Exception {
        String topic = cluster.topic("transaction_check", 1);
        Listener commits = new Listener(LocalTransactionState.COMMIT_MESSAGE);
        Listener rollsBack = new Listener(LocalTransactionState.ROLLBACK_MESSAGE);
        TransactionMQProducer first = producer(cluster, cluster.name("producer-commits"), commits);
        TransactionMQProducer second = producer(cluster, cluster.name("producer-rolls-back"), rollsBack);
        try {
            TransactionSendResult sent = send(first, topic, "decided later", LocalTransactionState.UNKNOW);
            send(second, topic, "given up later", LocalTransactionState.UNKNOW);
            Check.eventually("checks", 2, () -> commits.checks.get() + rollsBack.checks.get());
            MessageExt checked = commits.checked.get("decided later");
            Check.equal("topic of the check", topic, checked.getTopic());
            Check.equal("keys of the check", "key-decided later", checked.getKeys());
            Check.equal("transaction id of the check", sent.getTransactionId(), checked.getTransactionId());
            Check.equal("check times", "1", checked.getProperty(MessageConst.PROPERTY_TRANSACTION_CHECK_TIMES));
            Check.equal("bodies stored", Set.of("decided later"), bodies(cluster.readAll(topic, 1)));
        } finally {
            first.shutdown();
            second.shutdown();
        }
    }

    static void producerDies(Cluster cluster) throws Exception {
        String topic = cluster.topic("transaction_orphan", 1);
        String group = cluster.name("producer-dies");
        Listener dead = new Listener(LocalTransactionState.ROLLBACK_MESSAGE);
        TransactionMQProducer first = producer(cluster, group, dead);
        send(first, topic, "orphan", LocalTransactionState.UNKNOW);
        first.shutdown();
        Listener listener = new Listener(LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer second = producer(cluster, group, listener);
        try {
            // It learns of the broker, and the broker of it.
            String other = cluster.topic("transaction_orphan_other", 1);
            send(second, other, "own", LocalTransactionState.COMMIT_MESSAGE);
            Check.equal("bodies stored", Set.of("orphan"), bodies(cluster.readAll(topic, 1)));
            Check.equal("checks of the other member", 1, listener.checks.get());
            Check.equal("checks of the one that died", 0, dead.checks.get());
        } finally {
            second.shutdown();
        }
    }

    private Transactions() {
    }
}
