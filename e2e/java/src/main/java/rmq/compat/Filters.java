package rmq.compat;

import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.expression.MQFilterException;

/** Filters by SQL92 expressions, and what the original's own evaluation says of expressions. */
final class Filters {
    private static final String EXPRESSION = "amount BETWEEN 3 AND 5 AND (region IS NULL OR region <> 'us')";

    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("push_sql", Filters::push);
        scenarios.put("lite_pull_sql", Filters::litePull);
        scenarios.put("pull_sql", Filters::pull);
        scenarios.put("push_sql_refused", Filters::refused);
    }

    static void push(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_sql", 2);
        Set<String> expected = send(cluster, topic, "early ");
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("push_sql"));
        Push.Received received = new Push.Received();
        received.listen(consumer);
        consumer.subscribe(topic, MessageSelector.bySql(EXPRESSION));
        consumer.start();
        try {
            // Some are there when it starts, the others end long polls.
            expected.addAll(send(cluster, topic, "late "));
            received.exactly(expected);
        } finally {
            consumer.shutdown();
        }
    }

    static void litePull(Cluster cluster) throws Exception {
        String topic = cluster.topic("lite_pull_sql", 2);
        Set<String> expected = send(cluster, topic, "early ");
        DefaultLitePullConsumer consumer = Pull.lite(cluster, cluster.group("lite_pull_sql"));
        consumer.subscribe(topic, MessageSelector.bySql(EXPRESSION));
        consumer.start();
        try {
            expected.addAll(send(cluster, topic, "late "));
            Set<String> bodies = new TreeSet<>();
            Check.eventually("bodies polled", expected, () -> {
                consumer.poll(200).forEach(message -> bodies.add(Cluster.body(message)));
                return bodies;
            });
        } finally {
            consumer.shutdown();
        }
    }

    static void pull(Cluster cluster) throws Exception {
        String topic = cluster.topic("pull_sql", 1);
        MessageQueue queue = new MessageQueue(topic, cluster.brokerName, 0);
        Set<String> expected = send(cluster, topic, "");
        DefaultMQPullConsumer reader = cluster.reader();
        // The client sends an expression only to a broker whose version it knows, which a heartbeat brings once there is a route.
        MQClientInstance instance = reader.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
        instance.updateTopicRouteInfoFromNameServer(topic);
        instance.sendHeartbeatToAllBrokerWithLock();
        PullResult found = reader.pull(queue, MessageSelector.bySql(EXPRESSION), 0, 32);
        Check.equal("status", PullStatus.FOUND, found.getPullStatus());
        Check.equal("bodies", expected, new TreeSet<>(found.getMsgFoundList().stream().map(Cluster::body).toList()));
        Check.equal("offset to go on", reader.maxOffset(queue), found.getNextBeginOffset());
        PullResult none = reader.pull(queue, MessageSelector.bySql("amount > 100"), 0, 32);
        Check.equal("status when nothing matches", PullStatus.NO_MATCHED_MSG, none.getPullStatus());
        Check.equal("offset to go on when nothing matches", reader.maxOffset(queue), none.getNextBeginOffset());
        try {
            reader.pull(queue, MessageSelector.bySql("amount >"), 0, 32);
            Check.that("a pull is refused", false, "it was not");
        } catch (MQBrokerException error) {
            Check.equal("code", 23, error.getResponseCode());
            Check.that("the place of the error", error.getErrorMessage().contains("at character 9"), error.getErrorMessage());
        }
    }

    /** A consumer with an expression that is none does not start. */
    static void refused(Cluster cluster) throws Exception {
        String topic = cluster.topic("push_sql_refused", 1);
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("push_sql_refused"));
        new Push.Received().listen(consumer);
        consumer.subscribe(topic, MessageSelector.bySql("amount > 'ten'"));
        try {
            consumer.start();
            Check.that("the consumer does not start", false, "it did");
        } catch (MQClientException error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            Check.that("the reason", cause.toString().contains("at character 10"), cause);
        } finally {
            consumer.shutdown();
        }
    }

    /** Sends messages of which some match, and gives their bodies. */
    private static Set<String> send(Cluster cluster, String topic, String prefix) throws Exception {
        Set<String> expected = new TreeSet<>();
        for (String region : List.of("eu", "us", "")) {
            for (int amount = 0; amount < 8; amount++) {
                String body = prefix + region + amount;
                Message message = Cluster.message(topic, "", "", body);
                // What is no number does not match.
                message.putUserProperty("amount", amount == 7 ? "four" : String.valueOf(amount));
                if (!region.isEmpty()) {
                    message.putUserProperty("region", region);
                }
                cluster.producer("push").send(message);
                if (amount >= 3 && amount <= 5 && !region.equals("us")) {
                    expected.add(body);
                }
            }
        }
        return expected;
    }

    /**
     * Evaluates expressions: a line is an expression, then names and values of properties in turns, all separated by tabs. The answers are
     * {@code true}, {@code false}, {@code null}, {@code error} of the evaluation, {@code refused} by the parser, one line each.
     */
    static void print(InputStream in, PrintStream out) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
        StringBuilder answers = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split("\t", -1);
            Map<String, Object> properties = new HashMap<>();
            for (int i = 1; i + 1 < parts.length; i += 2) {
                properties.put(parts[i], parts[i + 1]);
            }
            answers.append(says(parts[0], properties)).append('\n');
        }
        out.print(answers);
        out.flush();
    }

    private static String says(String text, Map<String, Object> properties) {
        Expression expression;
        try {
            expression = FilterFactory.INSTANCE.get("SQL92").compile(text);
        } catch (MQFilterException error) {
            return "refused";
        }
        try {
            return String.valueOf(expression.evaluate(new EvaluationContext() {
                @Override
                public Object get(String name) {
                    return properties.get(name);
                }

                @Override
                public Map<String, Object> keyValues() {
                    return properties;
                }
            }));
        } catch (Exception error) {
            return "error";
        }
    }

    private Filters() {
    }
}
