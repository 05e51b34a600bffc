package rmq.compat.differences;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * The operations of a seed. They depend on nothing but the seed, so that both servers get the same ones, and so does who replays the seed.
 * Names carry the seed: seeds run side by side. Messages and moments are named by their number; each server has its own ids and times of them.
 */
final class Plan {
    static final int OPERATIONS = 200;

    private static final List<String> TAGS = List.of("", "red", "blue", "green", "Aa", "BB");
    private static final List<String> KEYS = List.of("", "k1", "k2", "k3", "k1 k2", "\u00fcber");
    private static final List<String> REGIONS = List.of("eu", "us", "\u4e2d\u56fd", "");
    /** {@code Aa} and {@code BB} have the same hash code. */
    private static final List<String> TAG_EXPRESSIONS = List.of("*", "", "red", "red || blue", "Aa", "BB || green", "absent", " red||  blue ");
    private static final List<String> SQL_EXPRESSIONS = List.of(
        "amount > 5", "amount BETWEEN 2 AND 6", "region = 'eu'", "region IS NULL", "region <> 'us' OR amount IS NOT NULL", "TAGS IN ('red', 'blue')",
        "amount > 2 AND NOT (region = 'eu')", "region CONTAINS 'u'", "TRUE", "amount = 1.5", "absent = 1");
    private static final List<String> BAD_SQL = List.of("amount >", "amount > 'ten'", "= 5", "region IN (1, 2)", "'open");
    private static final List<String> BAD_NAMES = List.of("with space", "sla/sh", "\u4e2d", "x".repeat(128), "TBW102", "SCHEDULE_TOPIC_XXXX", "dot.dot");

    private final String prefix;
    private final Random random;
    private final List<Operation> operations = new ArrayList<>();
    /** Names with the number of queues that may be written. */
    private final List<String> topics = new ArrayList<>();
    private final List<Integer> queues = new ArrayList<>();
    private final List<String> groups = new ArrayList<>();
    /** Of each message. */
    private final List<String> topicsOfMessages = new ArrayList<>();
    private int names;
    private int messages;
    private int moments;

    private Plan(long seed) {
        prefix = "d" + seed + "-";
        random = new Random(seed * 0x9E3779B97F4A7C15L);
    }

    static List<Operation> of(long seed) {
        Plan plan = new Plan(seed);
        plan.begin();
        while (plan.operations.size() < OPERATIONS) {
            plan.next();
        }
        return plan.operations.subList(0, OPERATIONS);
    }

    private void add(String kind, Object... pairs) {
        operations.add(Operation.of(kind, pairs));
    }

    private void begin() {
        for (int i = 0; i < 3; i++) {
            newTopic(1 + random.nextInt(4));
        }
        newGroup();
        newGroup();
        moment();
        for (int i = 0; i < 6; i++) {
            send();
        }
    }

    /** Weights in percent of the operations after the first ones. */
    private void next() {
        int dice = random.nextInt(1000);
        if ((dice -= 250) < 0) {
            send();
        } else if ((dice -= 40) < 0) {
            batch();
        } else if ((dice -= 20) < 0) {
            oneWay();
        } else if ((dice -= 45) < 0) {
            wrongSend();
        } else if ((dice -= 15) < 0) {
            delayed();
        } else if ((dice -= 10) < 0) {
            recalled();
        } else if ((dice -= 100) < 0) {
            pull();
        } else if ((dice -= 60) < 0) {
            pullOfGroup();
        } else if ((dice -= 45) < 0) {
            pullSql();
        } else if ((dice -= 12) < 0) {
            push();
        } else if ((dice -= 35) < 0) {
            topicChange();
        } else if ((dice -= 45) < 0) {
            topicView();
        } else if ((dice -= 35) < 0) {
            groupChange();
        } else if ((dice -= 30) < 0) {
            groupView();
        } else if ((dice -= 80) < 0) {
            offsets();
        } else if ((dice -= 50) < 0) {
            times();
        } else if ((dice -= 60) < 0) {
            queries();
        } else if ((dice -= 15) < 0) {
            sendBack();
        } else if ((dice -= 25) < 0) {
            locks();
        } else if ((dice -= 8) < 0) {
            settings();
        } else {
            moment();
        }
    }

    private <T> T one(List<T> of) {
        return of.get(random.nextInt(of.size()));
    }

    private boolean chance(int percent) {
        return random.nextInt(100) < percent;
    }

    private String missing() {
        return prefix + "missing" + random.nextInt(3);
    }

    private String topic() {
        return one(topics);
    }

    private String topicOrMissing() {
        return chance(92) ? topic() : missing();
    }

    private String group() {
        return one(groups);
    }

    private String groupOrMissing() {
        return chance(92) ? group() : missing();
    }

    private int queueOf(String topic) {
        return random.nextInt(queues.get(topics.indexOf(topic)));
    }

    /** One that is there, or may not be. */
    private int anyQueue(String topic) {
        int index = topics.indexOf(topic);
        return index < 0 || chance(5) ? random.nextInt(6) : random.nextInt(queues.get(index));
    }

    private int message() {
        return random.nextInt(Math.max(1, messages));
    }

    private void newTopic(int count) {
        String name = prefix + "t" + names++;
        topics.add(name);
        queues.add(count);
        add("topic_set", "topic", name, "read", count, "write", count, "perm", 6);
    }

    private void newGroup() {
        String name = prefix + "g" + names++;
        groups.add(name);
        add("group_set", "group", name, "retries", 1 + random.nextInt(16), "retryQueues", 1);
    }

    private void moment() {
        moments++;
        add("moment");
    }

    // What a message looks like beside its destination.
    private List<Object> shape(String topic) {
        List<Object> pairs = new ArrayList<>();
        pairs.addAll(List.of("message", messages, "tags", one(TAGS), "keys", one(KEYS)));
        if (chance(60)) {
            pairs.addAll(List.of("amount", random.nextInt(10)));
        }
        if (chance(60)) {
            pairs.addAll(List.of("region", one(REGIONS)));
        }
        if (chance(10)) {
            pairs.addAll(List.of("flag", random.nextInt()));
        }
        if (chance(8)) {
            pairs.addAll(List.of("bytes", one(List.of(5_000, 70_000, 4 << 20))));
        }
        if (chance(10)) {
            pairs.addAll(List.of("property", "p".repeat(one(List.of(1, 300, 30_000)))));
        }
        if (chance(5)) {
            pairs.addAll(List.of("waitStored", false));
        }
        topicsOfMessages.add(topic);
        messages++;
        return pairs;
    }

    private void send() {
        String topic = topic();
        List<Object> pairs = shape(topic);
        pairs.addAll(List.of("topic", topic, "queue", queueOf(topic), "how", one(List.of("sync", "sync", "sync", "async", "hash"))));
        add("send", pairs.toArray());
    }

    private void oneWay() {
        String topic = topic();
        List<Object> pairs = shape(topic);
        pairs.addAll(List.of("topic", topic, "queue", queueOf(topic), "how", "oneway"));
        add("send", pairs.toArray());
    }

    private void batch() {
        String topic = topic();
        int count = 1 + random.nextInt(5);
        add("batch", "topic", topic, "queue", queueOf(topic), "message", messages, "count", count, "tags", one(TAGS), "keys", one(KEYS));
        messages += count;
        topicsOfMessages.addAll(java.util.Collections.nCopies(count, topic));
    }

    private void wrongSend() {
        String topic = topic();
        switch (random.nextInt(10)) {
            case 0 -> add("send_raw", "topic", missing(), "queue", 0);
            case 1 -> add("send_raw", "topic", topic, "queue", one(List.of(7, 1_000)));
            case 2 -> add("send_raw", "topic", topic, "queue", queueOf(topic), "bytes", (4 << 20) + 1);
            case 3 -> add("send_raw", "topic", topic, "queue", queueOf(topic), "property", "p".repeat(33_000));
            case 4 -> add("send_raw", "topic", one(BAD_NAMES), "queue", 0);
            case 5 -> add("send_raw", "topic", topic, "queue", queueOf(topic), "properties", one(List.of("DELAY\u0001-1", "PGROUP\u0001x", "no separator", "a\u0001b\u0002a\u0001c\u0002", "\u0001\u0002")));
            case 6 -> add("send_raw", "topic", "%RETRY%" + missing(), "queue", 0);
            case 7 -> add("send_raw", "topic", topic, "queue", queueOf(topic), "bytes", 1);
            case 8 -> add("send_raw", "topic", one(List.of("rmq_sys_x", "%DLQ%" + group(), "OFFSET_MOVED_EVENT", "")), "queue", 0);
            default -> add("send_raw", "topic", topic, "queue", queueOf(topic), "properties", one(List.of("DELAY\u000199\u0002", "TIMER_DELAY_SEC\u000199999999\u0002", "TIMER_DELAY_SEC\u0001x\u0002", "DELAY\u0001x\u0002")));
        }
    }

    /** Delivered before the next operation begins. */
    private void delayed() {
        String topic = topic();
        List<Object> pairs = shape(topic);
        pairs.addAll(List.of("topic", topic, "queue", queueOf(topic), "how", "sync"));
        pairs.addAll(one(List.of(List.<Object>of("delayLevel", 1), List.<Object>of("delayMs", 300), List.<Object>of("delaySec", 1), List.<Object>of("deliverIn", 2_000))));
        int body = pairs.contains("deliverIn") ? pairs.indexOf("bytes") : -1;
        if (body >= 0) {
            // A large message may come when its time has passed, at one server and not at the other.
            pairs.subList(body, body + 2).clear();
        }
        add("send_delayed", pairs.toArray());
    }

    private void recalled() {
        String topic = topic();
        add("recall", "topic", topic, "queue", queueOf(topic), "how", one(List.of("own", "own", "twice", "nonsense", "empty", "othertopic")), "other", topic());
    }

    private void pull() {
        String topic = topicOrMissing();
        int queue = anyQueue(topic);
        add("pull", "topic", topic, "queue", queue, "offset", random.nextInt(12), "max", one(List.of(1, 3, 8, 32)), "tags", one(TAG_EXPRESSIONS));
    }

    /** With the fields that the pull consumer does not let one choose. */
    private void pullOfGroup() {
        String topic = topicOrMissing();
        add("pull_raw", "topic", topic, "queue", anyQueue(topic), "offset", one(List.of(0, 0, 1, 2, 5, 9, 100, -1)), "max", one(List.of(1, 8, 32, 0)),
            "group", groupOrMissing(), "tags", one(TAG_EXPRESSIONS), "commit", one(List.of(-1, -1, 0, 1, 3)));
    }

    private void pullSql() {
        String topic = topic();
        add("pull_sql", "topic", topic, "queue", queueOf(topic), "offset", random.nextInt(6), "max", one(List.of(1, 3, 32)),
            "sql", chance(90) ? one(SQL_EXPRESSIONS) : one(BAD_SQL));
    }

    private void push() {
        String topic = topic();
        String group = prefix + "push" + names++;
        String how = one(List.of("tags", "sql", "orderly", "failing", "tags"));
        add("push", "topic", topic, "group", group, "how", how, "expression", how.equals("sql") ? one(SQL_EXPRESSIONS) : one(TAG_EXPRESSIONS));
        groups.add(group);
    }

    private void topicChange() {
        switch (random.nextInt(9)) {
            case 0 -> {
                if (topics.size() < 6) {
                    newTopic(1 + random.nextInt(4));
                }
            }
            case 1, 2 -> {
                // Never fewer than a plan writes to, so that sends go on.
                String topic = topic();
                int write = queues.get(topics.indexOf(topic)) + random.nextInt(3);
                queues.set(topics.indexOf(topic), write);
                add("topic_set", "topic", topic, "read", write + (chance(30) ? 1 : 0), "write", write, "perm", 6);
            }
            case 3 -> {
                String topic = topic();
                int count = queues.get(topics.indexOf(topic));
                add("topic_set", "topic", topic, "read", count, "write", count, "perm", one(List.of(4, 2, 6, 6)));
                add("pull_raw", "topic", topic, "queue", 0, "offset", 0, "max", 1, "group", group(), "tags", "*", "commit", -1);
                add("topic_set", "topic", topic, "read", count, "write", count, "perm", 6);
            }
            case 4 -> add("topic_set", "topic", one(BAD_NAMES), "read", 1, "write", 1, "perm", 6);
            case 5 -> add("topic_set", "topic", "wrong-" + prefix.replace("-", ""), "read", one(List.of(0, -1, 1)), "write", one(List.of(0, -1, 1)), "perm", one(List.of(6, 6, 0, 8, 1)));
            case 6 -> add("topic_set", "topic", "typed-" + prefix.replace("-", ""), "read", 1, "write", 1, "perm", 6, "attributes",
                one(List.of("+message.type=FIFO", "+message.type=NORMAL", "+message.type=DELAY", "+message.type=TRANSACTION", "+message.type=BOGUS", "+bogus=1", "-message.type", "message.type=NORMAL", "+cleanup.policy=DELETE")));
            case 7 -> add("topic_set_list", "first", prefix + "listed" + names++, "second", chance(80) ? prefix + "listed" + names++ : one(BAD_NAMES), "queues", 1 + random.nextInt(3));
            default -> {
                // A topic that is made again continues its offsets here, and begins anew there: no name is used twice.
                if (topics.size() > 2) {
                    int index = random.nextInt(topics.size());
                    String gone = topics.remove(index);
                    queues.remove(index);
                    add("topic_delete", "topic", gone);
                    add("topic_view", "topic", gone, "what", one(List.of("route", "config", "stats")));
                } else {
                    add("topic_delete", "topic", missing());
                }
            }
        }
    }

    private void topicView() {
        String topic = topicOrMissing();
        add("topic_view", "topic", topic, "what", one(List.of("route", "config", "stats", "readers", "lists", "clusters")));
    }

    private void groupChange() {
        switch (random.nextInt(8)) {
            case 0 -> {
                if (groups.size() < 8) {
                    newGroup();
                }
            }
            case 1, 2 -> add("group_set", "group", group(), "retries", random.nextInt(20), "retryQueues", 1 + random.nextInt(2), "broadcast", chance(50),
                "fromMin", chance(50), "whichWhenSlow", random.nextInt(2), "notify", chance(50));
            case 3 -> {
                String group = group();
                add("group_set", "group", group, "retries", 3, "retryQueues", 1, "enabled", false);
                add("pull_raw", "topic", topic(), "queue", 0, "offset", 0, "max", 4, "group", group, "tags", "*", "commit", -1);
                add("group_set", "group", group, "retries", 3, "retryQueues", 1);
            }
            case 4 -> add("group_set", "group", one(List.of("with space", "\u4e2d", "x".repeat(256), "x".repeat(121), "")), "retries", 1, "retryQueues", 1);
            case 5 -> {
                if (groups.size() > 2) {
                    String gone = groups.remove(random.nextInt(groups.size()));
                    add("group_delete", "group", gone, "offsets", chance(50));
                } else {
                    add("group_delete", "group", prefix + "never", "offsets", chance(50));
                }
            }
            case 6 -> {
                String group = group();
                String topic = topic();
                add("forbid", "group", group, "topic", topic, "readable", false);
                add("pull_forbidden", "topic", topic, "queue", 0, "offset", 0, "max", 4, "group", group, "tags", "*", "commit", -1);
                add("forbid", "group", group, "topic", topic, "readable", true);
            }
            default -> add("check_filter", "topic", topic(), "group", group(), "sql", chance(50) ? one(SQL_EXPRESSIONS) : one(BAD_SQL));
        }
    }

    private void groupView() {
        add("group_view", "group", groupOrMissing(), "topic", topicOrMissing(),
            "what", one(List.of("config", "listed", "progress", "allProgress", "topics", "connections", "members", "subscription", "spans", "producers", "running")));
    }

    private void offsets() {
        String topic = topicOrMissing();
        int queue = anyQueue(topic);
        switch (random.nextInt(10)) {
            case 0, 1, 2 -> add("offset_set", "group", groupOrMissing(), "topic", topic, "queue", topics.contains(topic) ? queueOf(topic) : queue, "offset", one(List.of(0, 1, 2, 3, 5, 8, 100)));
            case 3, 4, 5 -> add("offset_get", "group", groupOrMissing(), "topic", topic, "queue", queue, "zero", one(List.of("true", "false", "")));
            case 6, 7 -> add("queue_ends", "topic", topic, "queue", queue);
            case 8 -> add("offset_clone", "group", groupOrMissing(), "to", groupOrMissing(), "topic", topic);
            default -> add("offset_correction", "group", groupOrMissing(), "topic", topic);
        }
    }

    private void times() {
        String topic = topicOrMissing();
        int queue = anyQueue(topic);
        String when = chance(80) ? "moment" + random.nextInt(moments) : one(List.of("zero", "minusOne", "future"));
        switch (random.nextInt(5)) {
            case 0, 1, 2 -> add("time_search", "topic", topic, "queue", queue, "when", when, "boundary", one(List.of("LOWER", "LOWER", "UPPER", "")));
            case 3 -> {
                String group = groupOrMissing();
                add("time_reset", "group", group, "topic", topic, "when", when, "force", true);
                afterReset(group, topic);
            }
            default -> {
                String group = groupOrMissing();
                add("queue_reset", "group", group, "topic", topic, "queue", queue, "offset", one(List.of(0, 0, 200)));
                afterReset(group, topic);
            }
        }
    }

    /** Each server tells a group once, by the answer to a pull, that its offset was set. */
    private void afterReset(String group, String topic) {
        for (int queue = 0; topics.contains(topic) && queue < 8; queue++) {
            add("pull_after_reset", "topic", topic, "queue", queue, "offset", 0, "max", 1, "group", group, "tags", "*", "commit", -1);
        }
    }

    private void queries() {
        switch (random.nextInt(9)) {
            case 0, 1, 2 -> add("query_key", "topic", topicOrMissing(), "key", one(List.of("k1", "k2", "k3", "k1 k2", "\u00fcber", "absent", "")), "max", one(List.of(1, 4, 32)),
                "from", chance(60) ? "zero" : "moment" + random.nextInt(moments), "to", chance(60) ? "future" : "moment" + random.nextInt(moments));
            case 3, 4 -> {
                int message = message();
                add(topics.contains(topicsOfMessages.get(message)) ? "query_unique" : "query_deleted", "of", message);
            }
            case 5, 6, 7 -> add("view_id", "of", message());
            default -> {
                String topic = topicOrMissing();
                add("consume_queue", "topic", topic, "queue", anyQueue(topic), "index", random.nextInt(6), "count", one(List.of(1, 5)));
            }
        }
    }

    private void sendBack() {
        add("send_back", "group", groupOrMissing(), "of", message(), "level", one(List.of(1, 1, -1, -1, 1)), "retries", one(List.of(0, 3, 16, -1)));
    }

    private void locks() {
        String topic = topicOrMissing();
        add(chance(70) ? "lock" : "unlock", "group", chance(70) ? groups.get(0) : groupOrMissing(), "topic", topic, "client", "c" + random.nextInt(3), "queue", anyQueue(topic), "count", 1 + random.nextInt(2));
    }

    private void settings() {
        String key = "key" + random.nextInt(3);
        switch (random.nextInt(3)) {
            case 0 -> add("kv_set", "namespace", prefix + "kv", "key", key, "value", one(List.of("v", "", "\u20ac;a:b", "x".repeat(2_000))));
            case 1 -> add("kv_get", "namespace", prefix + "kv", "key", key);
            default -> add("kv_delete", "namespace", prefix + "kv", "key", key);
        }
    }
}
