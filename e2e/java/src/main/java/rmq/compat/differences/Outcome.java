package rmq.compat.differences;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

/** What an operation gave at one server, as facts that can be compared with those of the other one. */
final class Outcome {
    /** Which of the operation's own words an error names: ours may name more of them than the original. */
    static final String NAMED = "remark.names";

    final Map<String, String> facts = new LinkedHashMap<>();
    /** The text of an error, for who reads a report. */
    String remark = "";

    void put(String fact, Object value) {
        facts.put(fact, String.valueOf(value));
    }

    /** An error of a server or of the client in front of it. */
    void failed(Operation operation, Throwable error) {
        facts.clear();
        Throwable cause = error;
        while (!(cause instanceof MQBrokerException) && cause.getCause() != null) {
            cause = cause.getCause();
        }
        if (cause instanceof MQBrokerException refused) {
            refused(operation, refused.getResponseCode(), refused.getErrorMessage());
        } else if (error instanceof MQClientException refused && refused.getResponseCode() >= 0) {
            refused(operation, refused.getResponseCode(), refused.getErrorMessage());
        } else {
            put("error", error.getClass().getSimpleName() + " " + error.getMessage());
        }
    }

    void refused(Operation operation, int code, String remark) {
        put("code", code);
        this.remark = remark == null ? "" : remark;
        put("remark", this.remark.isEmpty() ? "none" : "text");
        TreeSet<String> named = new TreeSet<>();
        operation.arguments().forEach((name, value) -> {
            // Of a name that is too long, a part will do.
            if (value.length() > 3 && this.remark.contains(value.substring(0, Math.min(value.length(), 40)))) {
                named.add(name);
            }
        });
        put(NAMED, String.join(" ", named));
    }

    record Difference(String fact, String ours, String theirs) {
        @Override
        public String toString() {
            return fact + ": " + cut(ours) + ", Apache " + cut(theirs);
        }

        private static String cut(String text) {
            return text.length() > 300 ? text.substring(0, 300) + "…" : text;
        }
    }

    /** A fact that only one of them has is {@code -} at the other one. */
    static List<Difference> between(Outcome ours, Outcome theirs) {
        TreeSet<String> facts = new TreeSet<>(ours.facts.keySet());
        facts.addAll(theirs.facts.keySet());
        List<Difference> differences = new ArrayList<>();
        for (String fact : facts) {
            String here = ours.facts.getOrDefault(fact, "-");
            String there = theirs.facts.getOrDefault(fact, "-");
            boolean same = here.equals(there) || fact.equals(NAMED) && List.of(here.split(" ")).containsAll(List.of(there.split(" "))) || fact.equals(NAMED) && there.isEmpty();
            if (!same) {
                differences.add(new Difference(fact, here, there));
            }
        }
        return differences;
    }
}
