package rmq.compat.differences;

import java.util.Map;
import java.util.TreeMap;

/** One thing to do at both servers: its kind and arguments, planned before either of them is asked. */
record Operation(String kind, Map<String, String> arguments) {
    /** {@code pairs}: a name and its value by turns. */
    static Operation of(String kind, Object... pairs) {
        Map<String, String> arguments = new TreeMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            arguments.put(pairs[i].toString(), pairs[i + 1].toString());
        }
        return new Operation(kind, arguments);
    }

    boolean has(String name) {
        return arguments.containsKey(name);
    }

    String text(String name) {
        String value = arguments.get(name);
        if (value == null) {
            throw new IllegalStateException(this + " has no argument " + name);
        }
        return value;
    }

    String text(String name, String otherwise) {
        return arguments.getOrDefault(name, otherwise);
    }

    int number(String name) {
        return Integer.parseInt(text(name));
    }

    long wide(String name) {
        return Long.parseLong(text(name));
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder(kind);
        arguments.forEach((name, value) -> text.append(' ').append(name).append('=')
            .append(value.length() > 120 ? value.substring(0, 120) + "… (" + value.length() + " characters)" : value));
        return text.toString();
    }
}
