package rmq.compat.differences;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Pattern;

/** The differences that are meant, one line each: {@code operation | fact | ours | Apache's | reason}; the first four are regular expressions. */
final class Accepted {
    private record Entry(String line, Pattern operation, Pattern fact, Pattern ours, Pattern theirs, AtomicLong uses) {
    }

    private final List<Entry> entries = new ArrayList<>();

    Accepted(Path file) throws IOException {
        for (String line : Files.readAllLines(file)) {
            if (line.isBlank() || line.startsWith("#")) {
                continue;
            }
            String[] parts = line.split(" \\| ", -1);
            if (parts.length != 5 || parts[4].isBlank()) {
                throw new IOException(file + ": not `operation | fact | ours | Apache's | reason`: " + line);
            }
            entries.add(new Entry(line, pattern(parts[0]), pattern(parts[1]), pattern(parts[2]), pattern(parts[3]), new AtomicLong()));
        }
    }

    private static Pattern pattern(String text) {
        return Pattern.compile(text.strip(), Pattern.DOTALL);
    }

    boolean has(Operation operation, Outcome.Difference difference) {
        for (Entry entry : entries) {
            if (entry.operation.matcher(operation.toString()).matches() && entry.fact.matcher(difference.fact()).matches()
                && entry.ours.matcher(difference.ours()).matches() && entry.theirs.matcher(difference.theirs()).matches()) {
                entry.uses.incrementAndGet();
                return true;
            }
        }
        return false;
    }

    /** Lines that no operation has needed. */
    List<String> unused() {
        return entries.stream().filter(entry -> entry.uses.get() == 0).map(Entry::line).toList();
    }
}
