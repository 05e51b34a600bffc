package rmq.compat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.acl.common.AclUtils;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Servers that ask who sends each request, and whether they may: clients with the right key, with a wrong one, without a right, and without a key. */
final class Closed {
    private static final int NO_PERMISSION = 16;
    private static final String NOT_SIGNED = "username cannot be null";
    private static final String WRONG_KEY = "check signature failed";
    private static final String NO_RIGHT = "has no permission to access";

    interface Attempt {
        void make() throws Exception;
    }

    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("closed_admin", Closed::admin);
        scenarios.put("closed_mqadmin_acls", Closed::acls);
        scenarios.put("closed_mqadmin_tools", Closed::tools);
        scenarios.put("closed_mqadmin_users", Closed::users);
        scenarios.put("closed_producer", Closed::producer);
        scenarios.put("closed_pull_consumer", Closed::pullConsumer);
        scenarios.put("closed_push_consumer", Closed::pushConsumer);
        scenarios.put("closed_transactions", Closed::transactions);
    }

    /** A user with rules, each as {@code Pub Topic:NAME}. */
    private static RPCHook user(Cluster cluster, String name, String... rules) throws Exception {
        cluster.admin.createUser(cluster.broker, name, "password-of-" + name, "Normal");
        for (String rule : rules) {
            String[] parts = rule.split(" ");
            cluster.admin.createAcl(cluster.broker, "User:" + name, List.of(parts[1]), List.of(parts[0].split(",")), List.of(), "Allow");
        }
        return Cluster.hook(name, "password-of-" + name);
    }

    private static RPCHook wrong(String name) {
        return Cluster.hook(name, "another-password");
    }

    /** Expects that the broker refuses, and says why. */
    private static void refused(String what, String why, Attempt attempt) {
        try {
            attempt.make();
        } catch (MQBrokerException error) {
            Check.equal(what + ": code", NO_PERMISSION, error.getResponseCode());
            Check.contains(what, error.getErrorMessage(), why);
            return;
        } catch (Exception error) {
            // Producers wrap what the last broker said, and those of transactions once more.
            StringBuilder said = new StringBuilder();
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                said.append(cause).append(' ');
            }
            Check.contains(what, said.toString(), why);
            return;
        }
        throw new Check.Failed(what + ": expected a refusal (" + why + "), and it was done");
    }

    private static DefaultMQProducer producer(Cluster cluster, RPCHook hook) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(cluster.name("closed-producers"), hook);
        producer.setNamesrvAddr(cluster.nameServer);
        producer.setInstanceName(cluster.instance());
        producer.setSendMsgTimeout(10_000);
        producer.start();
        return producer;
    }

    static void producer(Cluster cluster) throws Exception {
        String topic = cluster.topic("closed_producer", 2);
        String other = cluster.topic("closed_producer_other", 1);
        RPCHook right = user(cluster, "sender", "Pub Topic:" + topic);
        DefaultMQProducer producer = producer(cluster, right);
        try {
            Set<String> expected = new TreeSet<>();
            for (int i = 0; i < 20; i++) {
                String body = "signed " + i + " \u4f60\u597d";
                Message message = Cluster.message(topic, "tag", "key-" + i, body);
                message.putUserProperty("colour", "blue \"\u20ac\"");
                Check.equal("send status", SendStatus.SEND_OK, producer.send(message).getSendStatus());
                expected.add(body);
            }
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                batch.add(Cluster.message(topic, "", "", "batch " + i));
                expected.add("batch " + i);
            }
            Check.equal("status of a batch", SendStatus.SEND_OK, producer.send(batch).getSendStatus());
            Set<String> found = new TreeSet<>();
            cluster.readAll(topic, 23).forEach(message -> found.add(Cluster.body(message)));
            Check.equal("bodies stored", expected, found);
            refused("another topic", NO_RIGHT + " Topic:" + other, () -> producer.send(Cluster.message(other, "", "", "no")));
            refused("a batch to another topic", NO_RIGHT + " Topic:" + other, () -> producer.send(List.of(Cluster.message(other, "", "", "no"))));
        } finally {
            producer.shutdown();
        }
        for (var attempt : List.of(Map.entry(WRONG_KEY, List.of(wrong("sender"))), Map.entry(NOT_SIGNED, List.<RPCHook>of()))) {
            DefaultMQProducer bad = producer(cluster, attempt.getValue().stream().findFirst().orElse(null));
            try {
                refused("a producer", attempt.getKey(), () -> bad.send(Cluster.message(topic, "", "", "no")));
            } finally {
                bad.shutdown();
            }
        }
        cluster.readAll(topic, 23);
        cluster.readAll(other, 0);
    }

    private static DefaultMQPushConsumer consumer(Cluster cluster, String group, String topic, RPCHook hook, MessageListenerConcurrently listener) throws Exception {
        DefaultMQPushConsumer consumer = cluster.pushConsumer(group, hook);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    /** Gives back each message once: it comes again through the topic of retries. */
    static void pushConsumer(Cluster cluster) throws Exception {
        String topic = cluster.topic("closed_push", 2);
        String group = cluster.group("closed_push");
        String other = cluster.group("closed_push_other");
        RPCHook right = user(cluster, "reader", "Sub Topic:" + topic, "Sub Group:" + group);
        AtomicInteger stray = new AtomicInteger();
        MessageListenerConcurrently nothing = (messages, context) -> {
            stray.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
        List<DefaultMQPushConsumer> bad = List.of(
            consumer(cluster, other, topic, right, nothing),
            consumer(cluster, group, topic, wrong("reader"), nothing),
            consumer(cluster, group, topic, null, nothing));
        ConcurrentLinkedQueue<String> taken = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer good = consumer(cluster, group, topic, right, (messages, context) -> {
            for (MessageExt message : messages) {
                taken.add(Cluster.body(message) + ", try " + message.getReconsumeTimes());
                if (message.getReconsumeTimes() == 0) {
                    context.setDelayLevelWhenNextConsume(1);
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        try {
            Set<String> expected = new TreeSet<>();
            for (int i = 0; i < 10; i++) {
                cluster.producer("closed").send(Cluster.message(topic, "", "", "order " + i));
                expected.add("order " + i + ", try 0");
                expected.add("order " + i + ", try 1");
            }
            Check.eventually("messages, each given back once", expected, () -> new TreeSet<>(taken));
            Check.equal("deliveries", 20, taken.size());
            Check.equal("deliveries to those who may not", 0, stray.get());
            // The brokers know the member that may, and no other one.
            Check.equal("members of the group", 1, cluster.admin.examineConsumerConnectionInfo(group).getConnectionSet().size());
            Check.equal("the member", good.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId(),
                cluster.admin.examineConsumerConnectionInfo(group).getConnectionSet().iterator().next().getClientId());
        } finally {
            good.shutdown();
            bad.forEach(DefaultMQPushConsumer::shutdown);
        }
    }

    static void pullConsumer(Cluster cluster) throws Exception {
        String topic = cluster.topic("closed_pull", 1);
        String group = cluster.group("closed_pull");
        RPCHook right = user(cluster, "puller", "Sub,Get Topic:" + topic, "Sub Group:" + group);
        RPCHook half = user(cluster, "half-puller", "Sub Topic:" + topic);
        cluster.producer("closed").send(Cluster.message(topic, "", "", "one"));
        for (var attempt : List.of(Map.entry("", right), Map.entry(NO_RIGHT + " Group:" + group, half), Map.entry(WRONG_KEY, wrong("puller")))) {
            DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group, attempt.getValue());
            consumer.setNamesrvAddr(cluster.nameServer);
            consumer.setInstanceName(cluster.instance());
            consumer.start();
            try {
                MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
                if (attempt.getKey().isEmpty()) {
                    Check.equal("message", "one", Cluster.body(consumer.pull(queue, "*", 0, 32).getMsgFoundList().get(0)));
                    consumer.updateConsumeOffset(queue, 1);
                } else {
                    refused("a pull", attempt.getKey(), () -> consumer.pull(queue, "*", 0, 32));
                }
            } finally {
                consumer.shutdown();
            }
        }
    }

    private static TransactionMQProducer transactions(Cluster cluster, String group, RPCHook hook) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group, hook);
        producer.setNamesrvAddr(cluster.nameServer);
        producer.setInstanceName(cluster.instance());
        producer.setSendMsgTimeout(10_000);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return (LocalTransactionState) argument;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        producer.start();
        return producer;
    }

    static void transactions(Cluster cluster) throws Exception {
        String topic = cluster.topic("closed_transactions", 1);
        RPCHook right = user(cluster, "payer", "Pub Topic:" + topic);
        RPCHook none = user(cluster, "no-payer", "Pub Topic:elsewhere");
        TransactionMQProducer producer = transactions(cluster, cluster.name("closed-payers"), right);
        try {
            for (LocalTransactionState ends : LocalTransactionState.values()) {
                var sent = producer.sendMessageInTransaction(Cluster.message(topic, "", "", "ends as " + ends), ends);
                Check.equal("send status", SendStatus.SEND_OK, sent.getSendStatus());
            }
            // One by its end, and one by the answer to the question how it ends.
            Set<String> found = new TreeSet<>();
            cluster.readAll(topic, 2).forEach(message -> found.add(Cluster.body(message)));
            Check.equal("bodies stored", Set.of("ends as COMMIT_MESSAGE", "ends as UNKNOW"), found);
        } finally {
            producer.shutdown();
        }
        for (var attempt : List.of(Map.entry(NO_RIGHT + " Topic:" + topic, none), Map.entry(WRONG_KEY, wrong("payer")))) {
            TransactionMQProducer bad = transactions(cluster, cluster.name("closed-bad-payers"), attempt.getValue());
            try {
                refused("a half message", attempt.getKey(),
                    () -> bad.sendMessageInTransaction(Cluster.message(topic, "", "", "no"), LocalTransactionState.COMMIT_MESSAGE));
            } finally {
                bad.shutdown();
            }
        }
        cluster.readAll(topic, 2);
    }

    private static DefaultMQAdminExt admin(Cluster cluster, RPCHook hook) throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(hook, 10_000);
        admin.setNamesrvAddr(cluster.nameServer);
        admin.setInstanceName(cluster.instance());
        admin.start();
        return admin;
    }

    static void admin(Cluster cluster) throws Exception {
        RPCHook right = user(cluster, "operator", "Get Cluster:" + cluster.clusterName);
        RPCHook none = user(cluster, "no-operator");
        DefaultMQAdminExt may = admin(cluster, right);
        try {
            Check.equal("the broker's name", cluster.brokerName, may.getBrokerConfig(cluster.broker).getProperty("brokerName"));
            refused("a change", NO_RIGHT + " Cluster:" + cluster.clusterName,
                () -> may.createUser(cluster.broker, "made-by-operator", "password", "Normal"));
            refused("a topic", NO_RIGHT + " Topic:closed-made",
                () -> may.createAndUpdateTopicConfig(cluster.broker, new org.apache.rocketmq.common.TopicConfig("closed-made")));
            // Users of brokers are not those of name servers.
            refused("the cluster at the name server", "User:operator is not found", may::examineBrokerClusterInfo);
        } finally {
            may.shutdown();
        }
        for (var attempt : List.of(Map.entry(NO_RIGHT + " Cluster:" + cluster.clusterName, none), Map.entry(WRONG_KEY, wrong("operator")))) {
            DefaultMQAdminExt bad = admin(cluster, attempt.getValue());
            try {
                refused("the configuration", attempt.getKey(), () -> bad.getBrokerConfig(cluster.broker));
            } finally {
                bad.shutdown();
            }
        }
    }

    /** A file as mqadmin has it, read as mqadmin reads it. */
    private static RPCHook toolsYml(String accessKey, String secretKey) throws Exception {
        Path file = Files.createTempFile("tools", ".yml");
        try {
            Files.writeString(file, "accessKey: " + accessKey + "\nsecretKey: " + secretKey + "\n");
            return AclUtils.getAclRPCHook(file.toString());
        } finally {
            Files.delete(file);
        }
    }

    private static RPCHook root() throws Exception {
        return toolsYml(System.getProperty("compat.accessKey"), System.getProperty("compat.secretKey"));
    }

    static void users(Cluster cluster) throws Exception {
        RPCHook root = root();
        String broker = cluster.broker;
        String printed = Mqadmin.mqadmin(cluster, root, "createUser", "-b", broker, "-u", "alice", "-p", "alice-password");
        Check.contains("createUser", printed, "create user to " + broker + " success.");
        printed = Mqadmin.mqadmin(cluster, root, "createUser", "-c", cluster.clusterName, "-u", "boss", "-p", "boss-password", "-t", "Super");
        Check.contains("createUser -c", printed, "create user to " + broker + " success.");
        printed = Mqadmin.mqadmin(cluster, root, "createUser", "-b", broker, "-u", "alice", "-p", "again");
        Check.contains("createUser of one who is there", printed, "The user is existed");
        printed = Mqadmin.mqadmin(cluster, root, "listUser", "-b", broker, "-f", "alice");
        Mqadmin.row("listUser", printed, "#UserName", "#Password", "#UserType", "#UserStatus");
        Mqadmin.row("listUser", printed, "alice", "alice-password", "Normal", "enable");
        Check.that("only the user that was asked for", !printed.contains("boss"), printed);
        printed = Mqadmin.mqadmin(cluster, root, "listUser", "-c", cluster.clusterName);
        Mqadmin.row("listUser -c", printed, "alice", "alice-password", "Normal", "enable");
        Mqadmin.row("listUser -c", printed, "boss", "boss-password", "Super", "enable");
        printed = Mqadmin.mqadmin(cluster, root, "updateUser", "-b", broker, "-u", "alice", "-p", "changed");
        Check.contains("updateUser", printed, "success");
        printed = Mqadmin.mqadmin(cluster, root, "updateUser", "-b", broker, "-u", "alice", "-s", "disable");
        Check.contains("updateUser", printed, "success");
        printed = Mqadmin.mqadmin(cluster, root, "getUser", "-b", broker, "-u", "alice");
        Mqadmin.row("getUser", printed, "alice", "changed", "Normal", "disable");
        printed = Mqadmin.mqadmin(cluster, Cluster.hook("alice", "changed"), "getUser", "-b", broker, "-u", "alice");
        Check.contains("getUser of one who is disabled", printed, "User:alice is disabled");
        for (var attempt : List.of(Map.entry(WRONG_KEY, toolsYml("boss", "another-password")), Map.entry("User:nobody is not found", toolsYml("nobody", "x")))) {
            for (String[] command : new String[][] {
                {"createUser", "-b", broker, "-u", "eve", "-p", "p"}, {"updateUser", "-b", broker, "-u", "boss", "-p", "p"},
                {"deleteUser", "-b", broker, "-u", "boss"}, {"listUser", "-b", broker}, {"getUser", "-b", broker, "-u", "boss"}}) {
                printed = Mqadmin.mqadmin(cluster, attempt.getValue(), command[0], List.of(command).subList(1, command.length).toArray(String[]::new));
                Check.contains(command[0], printed, attempt.getKey());
                Check.that("no password", !printed.contains("boss-password"), printed);
            }
        }
        RPCHook clerk = user(cluster, "clerk", "Get Cluster:" + cluster.clusterName);
        printed = Mqadmin.mqadmin(cluster, clerk, "deleteUser", "-b", broker, "-u", "alice");
        Check.contains("deleteUser without the right", printed, "User:clerk " + NO_RIGHT + " Cluster:" + cluster.clusterName);
        printed = Mqadmin.mqadmin(cluster, clerk, "getUser", "-b", broker, "-u", "boss");
        Check.that("a user without the password", printed.contains("boss") && !printed.contains("boss-password"), printed);
        printed = Mqadmin.mqadmin(cluster, root, "deleteUser", "-b", broker, "-u", "alice");
        Check.contains("deleteUser", printed, "success");
        printed = Mqadmin.mqadmin(cluster, root, "listUser", "-b", broker);
        Check.that("no alice", !printed.contains("alice") && printed.contains("boss"), printed);
    }

    static void acls(Cluster cluster) throws Exception {
        RPCHook root = root();
        String broker = cluster.broker;
        user(cluster, "ruled");
        String printed = Mqadmin.mqadmin(cluster, root, "createAcl", "-b", broker, "-s", "User:ruled", "-r", "Topic:ruled-*,Group:ruled", "-a", "Pub,Sub",
            "-i", "10.1.0.0/16,127.0.0.1", "-d", "Allow");
        Check.contains("createAcl", printed, "success");
        printed = Mqadmin.mqadmin(cluster, root, "getAcl", "-b", broker, "-s", "User:ruled");
        Mqadmin.row("getAcl", printed, "#Subject", "#PolicyType", "#Resource", "#Actions", "#SourceIp", "#Decision");
        Check.that("a rule for the topic", acl(printed, "Custom", "Topic:ruled-*", "Allow"), printed);
        Check.that("a rule for the group", acl(printed, "Custom", "Group:ruled", "Allow"), printed);
        for (String part : List.of("Pub", "Sub", "10.1.0.0/16", "127.0.0.1")) {
            Check.contains("getAcl", printed, part);
        }
        printed = Mqadmin.mqadmin(cluster, root, "updateAcl", "-b", broker, "-s", "User:ruled", "-r", "Topic:ruled-*", "-a", "Pub", "-i", "", "-d", "Deny");
        Check.contains("updateAcl", printed, "success");
        printed = Mqadmin.mqadmin(cluster, root, "listAcl", "-b", broker, "-s", "ruled", "-r", "Topic");
        Check.that("the rule that was changed", acl(printed, "Custom", "Topic:ruled-*", "Deny"), printed);
        Check.that("only rules for topics", !printed.contains("Group:ruled"), printed);
        printed = Mqadmin.mqadmin(cluster, root, "createAcl", "-b", broker, "-s", "User:ruled", "-r", "Topic:x", "-a", "Fly", "-i", "", "-d", "Allow");
        Check.contains("createAcl with an action that is none", printed, "failed");
        printed = Mqadmin.mqadmin(cluster, root, "createAcl", "-b", broker, "-s", "User:nobody-there", "-r", "Topic:x", "-a", "Pub", "-i", "", "-d", "Allow");
        Check.contains("createAcl for nobody", printed, "The user is not exist");
        RPCHook clerk = user(cluster, "acl-clerk");
        for (var attempt : List.of(Map.entry(WRONG_KEY, wrong("acl-clerk")), Map.entry("User:acl-clerk " + NO_RIGHT + " Cluster:" + cluster.clusterName, clerk))) {
            for (String[] command : new String[][] {
                {"createAcl", "-b", broker, "-s", "User:acl-clerk", "-r", "*", "-a", "All", "-i", "", "-d", "Allow"},
                {"updateAcl", "-b", broker, "-s", "User:ruled", "-r", "*", "-a", "All", "-i", "", "-d", "Allow"},
                {"deleteAcl", "-b", broker, "-s", "User:ruled"}, {"getAcl", "-b", broker, "-s", "User:ruled"}, {"listAcl", "-b", broker}}) {
                printed = Mqadmin.mqadmin(cluster, attempt.getValue(), command[0], List.of(command).subList(1, command.length).toArray(String[]::new));
                Check.contains(command[0], printed, attempt.getKey());
                Check.that("no rule", !printed.contains("Topic:ruled-*"), printed);
            }
        }
        printed = Mqadmin.mqadmin(cluster, root, "deleteAcl", "-b", broker, "-s", "User:ruled", "-r", "Topic:ruled-*");
        Check.contains("deleteAcl", printed, "success");
        printed = Mqadmin.mqadmin(cluster, root, "getAcl", "-b", broker, "-s", "User:ruled");
        Check.that("the rule that is left", acl(printed, "Custom", "Group:ruled", "Allow") && !printed.contains("Topic:ruled"), printed);
        printed = Mqadmin.mqadmin(cluster, root, "deleteAcl", "-b", broker, "-s", "User:ruled");
        Check.contains("deleteAcl", printed, "success");
        printed = Mqadmin.mqadmin(cluster, root, "listAcl", "-b", broker, "-s", "ruled");
        Check.that("no rule of the user", !printed.contains("Group:ruled"), printed);
    }

    /** Whether a line has the rule; the columns of lists may have spaces. */
    private static boolean acl(String printed, String policy, String resource, String decision) {
        return printed.lines().anyMatch(line -> line.startsWith("User:ruled") && line.contains(policy) && line.contains(resource) && line.contains(decision));
    }

    /** mqadmin as a program, with tools.yml where it looks for that. */
    static void tools(Cluster cluster) throws Exception {
        for (var attempt : List.of(Map.entry(System.getProperty("compat.secretKey"), cluster.brokerName), Map.entry("another-password", WRONG_KEY))) {
            Path home = Files.createTempDirectory("rocketmq");
            Path conf = Files.createDirectory(home.resolve("conf"));
            Files.writeString(conf.resolve("tools.yml"),
                "accessKey: " + System.getProperty("compat.accessKey") + "\nsecretKey: " + attempt.getKey() + "\n");
            ProcessBuilder builder = new ProcessBuilder("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Duser.home=" + home,
                "-Drocketmq.client.logRoot=" + home, "-cp", System.getProperty("java.class.path"),
                "org.apache.rocketmq.tools.command.MQAdminStartup", "clusterList", "-n", cluster.nameServer);
            builder.environment().put("ROCKETMQ_HOME", home.toString());
            Process process = builder.redirectErrorStream(true).start();
            String printed = new String(process.getInputStream().readAllBytes());
            process.waitFor();
            Check.contains("clusterList", printed, attempt.getValue());
            if (attempt.getValue().equals(cluster.brokerName)) {
                Mqadmin.row("clusterList", printed, cluster.clusterName, cluster.brokerName, "0", cluster.broker);
            }
        }
    }

    private Closed() {
    }
}
