package rmq.spring;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.spring.core.RocketMQLocalRequestCallback;
import org.apache.rocketmq.spring.core.RocketMQTemplate;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.messaging.Message;
import org.springframework.messaging.support.MessageBuilder;

/**
 * An application as teams write it with rocketmq-spring-boot-starter: {@code Application list}, or {@code Application NAME_SERVER SCENARIO...}; the topics
 * {@code spring-…} exist already. Prints {@code ok SCENARIO} or {@code FAILED SCENARIO: why}, one line each.
 */
@SpringBootApplication
public class Application {
    /** Long enough for a busy two-core machine; a working server needs a small part of it. */
    private static final long DEADLINE_MS = 60_000;

    interface Scenario {
        void run(RocketMQTemplate template) throws Exception;
    }

    private static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();

    static {
        SCENARIOS.put("spring_batch", Application::batch);
        SCENARIOS.put("spring_delayed", Application::delayed);
        SCENARIOS.put("spring_listen", Application::listen);
        SCENARIOS.put("spring_listen_sql", Application::listenSql);
        SCENARIOS.put("spring_orderly", Application::orderly);
        SCENARIOS.put("spring_reply", Application::reply);
        SCENARIOS.put("spring_retry", Application::retry);
        SCENARIOS.put("spring_transaction", Application::transaction);
    }

    public static void main(String[] arguments) {
        PrintStream out = System.out;
        if (arguments[0].equals("list")) {
            SCENARIOS.keySet().forEach(out::println);
            return;
        }
        boolean failed = false;
        try (var context = new SpringApplicationBuilder(Application.class).properties(
            "rocketmq.name-server=" + arguments[0], "rocketmq.producer.group=spring-producer", "rocketmq.producer.send-message-timeout=10000",
            "spring.main.banner-mode=off", "spring.main.web-application-type=none", "logging.level.root=ERROR").run()) {
            RocketMQTemplate template = context.getBean(RocketMQTemplate.class);
            for (String name : List.of(arguments).subList(1, arguments.length)) {
                try {
                    SCENARIOS.get(name).run(template);
                    out.println("ok " + name);
                } catch (Throwable error) {
                    failed = true;
                    out.println("FAILED " + name + ": " + error.toString().replaceAll("\\s*\\R\\s*", " | "));
                }
                out.flush();
            }
        }
        // The client leaves timer threads behind that would keep the process.
        System.exit(failed ? 1 : 0);
    }

    /** What the listeners were given, by topic, in the order in which it came. */
    static final class Seen {
        private static final Map<String, List<String>> BODIES = new ConcurrentHashMap<>();

        static synchronized void add(String topic, String body) {
            BODIES.computeIfAbsent(topic, key -> new ArrayList<>()).add(body);
            Seen.class.notifyAll();
        }

        static synchronized List<String> of(String topic, int count) throws InterruptedException {
            long end = System.currentTimeMillis() + DEADLINE_MS;
            List<String> bodies = BODIES.computeIfAbsent(topic, key -> new ArrayList<>());
            while (bodies.size() < count && System.currentTimeMillis() < end) {
                Seen.class.wait(100);
            }
            return new ArrayList<>(bodies);
        }
    }

    private static void equal(String what, Object expected, Object found) {
        if (!expected.equals(found)) {
            throw new IllegalStateException(what + ": expected " + expected + ", found " + found);
        }
    }

    private static Message<String> message(String body) {
        return MessageBuilder.withPayload(body).setHeader("KEYS", "key of " + body).build();
    }

    /** An object becomes JSON and an object again; a tag chooses. */
    private static void listen(RocketMQTemplate template) throws Exception {
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 10; i++) {
            equal("status", SendStatus.SEND_OK, template.syncSend("spring-listen:good", new Order(i, "order \u20ac")).getSendStatus());
            template.convertAndSend("spring-listen:bad", new Order(100 + i, "not wanted"));
            expected.add(i + " order \u20ac");
        }
        equal("orders", expected, new TreeSet<>(Seen.of("spring-listen", 10)));
    }

    private static void listenSql(RocketMQTemplate template) throws Exception {
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 10; i++) {
            template.syncSend("spring-sql", MessageBuilder.withPayload("m" + i).setHeader("amount", i).build());
            if (i > 5) {
                expected.add("m" + i);
            }
        }
        equal("bodies", expected, new TreeSet<>(Seen.of("spring-sql", 4)));
    }

    private static void orderly(RocketMQTemplate template) throws Exception {
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            template.syncSendOrderly("spring-orderly", "step " + i, "one key");
            expected.add("step " + i);
        }
        equal("steps in the order sent", expected, Seen.of("spring-orderly", 20));
    }

    private static void batch(RocketMQTemplate template) throws Exception {
        List<Message<String>> messages = new ArrayList<>();
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 10; i++) {
            messages.add(message("batch " + i));
            expected.add("batch " + i);
        }
        equal("status", SendStatus.SEND_OK, template.syncSend("spring-batch", messages).getSendStatus());
        equal("bodies", expected, new TreeSet<>(Seen.of("spring-batch", 10)));
    }

    private static void delayed(RocketMQTemplate template) throws Exception {
        long sent = System.currentTimeMillis();
        template.syncSendDelayTimeMills("spring-delayed", "later", 1_500);
        equal("bodies", List.of("later"), Seen.of("spring-delayed", 1));
        long took = System.currentTimeMillis() - sent;
        if (took < 1_500) {
            throw new IllegalStateException("delivered after " + took + " ms instead of 1,500");
        }
    }

    /** The listener throws once. */
    private static void retry(RocketMQTemplate template) throws Exception {
        template.syncSend("spring-retry", message("fails once"));
        equal("bodies", List.of("fails once, 0 before", "fails once, 1 before"), Seen.of("spring-retry", 2));
    }

    private static void reply(RocketMQTemplate template) throws Exception {
        equal("reply", "reply to question", template.sendAndReceive("spring-requests", "question", String.class, 30_000));
        CountDownLatch answered = new CountDownLatch(1);
        AtomicReference<String> answer = new AtomicReference<>();
        template.sendAndReceive("spring-requests", "question later", new RocketMQLocalRequestCallback<String>() {
            @Override
            public void onSuccess(String reply) {
                // The client also says once that the request was sent.
                if (reply != null) {
                    answer.set(reply);
                    answered.countDown();
                }
            }

            @Override
            public void onException(Throwable error) {
                answer.set(error.toString());
                answered.countDown();
            }
        }, 30_000);
        if (!answered.await(DEADLINE_MS, TimeUnit.MILLISECONDS)) {
            throw new IllegalStateException("no reply to the second question");
        }
        equal("reply", "reply to question later", answer.get());
    }

    /** One is committed at once, one rolled back, and one committed when the broker asks. */
    private static void transaction(RocketMQTemplate template) throws Exception {
        for (String fate : List.of("roll back", "unknown", "commit")) {
            var result = template.sendMessageInTransaction("spring-transactions", message(fate), "argument of " + fate);
            equal("status", SendStatus.SEND_OK, result.getSendStatus());
        }
        equal("bodies", new TreeSet<>(Set.of("commit", "unknown")), new TreeSet<>(Seen.of("spring-transactions", 2)));
        equal("what the listener was asked", List.of("argument of roll back", "argument of unknown", "argument of commit", "check of unknown"), Seen.of("asked", 4));
    }
}
