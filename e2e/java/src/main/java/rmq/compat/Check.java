package rmq.compat;

import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.Callable;

/** Expectations: each says what was expected and what was there. */
final class Check {
    /** Long enough for a busy two-core machine; a working server needs a small part of it. */
    static final Duration DEADLINE = Duration.ofSeconds(60);

    static final class Failed extends RuntimeException {
        Failed(String message) {
            super(message);
        }
    }

    static void equal(String what, Object expected, Object found) {
        if (!Objects.equals(expected, found)) {
            throw new Failed(what + ": expected " + expected + ", found " + found);
        }
    }

    static void that(String what, boolean holds, Object found) {
        if (!holds) {
            throw new Failed("expected " + what + ", found " + found);
        }
    }

    static void contains(String what, String text, String part) {
        if (!text.contains(part)) {
            throw new Failed(what + ": expected text with \"" + part + "\", found \"" + text + "\"");
        }
    }

    /** Waits until {@code probe} gives {@code expected}; the error names the last value seen. */
    static <T> void eventually(String what, T expected, Callable<T> probe) throws Exception {
        long end = System.nanoTime() + DEADLINE.toNanos();
        while (true) {
            T found;
            String error = null;
            try {
                found = probe.call();
            } catch (Exception thrown) {
                found = null;
                error = thrown.toString();
            }
            if (error == null && Objects.equals(expected, found)) {
                return;
            }
            if (System.nanoTime() > end) {
                throw new Failed(what + ": expected " + expected + " within " + DEADLINE.toSeconds() + " s, found "
                    + (error == null ? found : error));
            }
            Thread.sleep(20);
        }
    }

    private Check() {
    }
}
