package rmq.compat.differences;

import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * The same random operations at our servers and at the original's, with the unmodified Java client. Each operation must give the same at both, but for
 * the differences that are accepted.
 */
public final class Differences {
    /** Seeds at once; they mostly wait. */
    private static final int AT_ONCE = 5;
    /** How long an answer that reads something may differ: the original lists and indexes messages a moment after it acknowledges them. */
    private static final long SETTLES_MS = 15_000;

    /** Does an operation at one server and says what came of it. */
    interface Action {
        void run(Server server, Operation operation, Outcome outcome) throws Exception;
    }

    /** Operations that change nothing, so that they can be asked again. */
    private static final Set<String> READS = Set.of("pull", "pull_sql", "queue_ends", "time_search", "query_key", "query_unique", "query_deleted", "view_id", "consume_queue", "topic_view", "group_view",
        "offset_get", "offset_correction", "check_filter", "kv_get");

    /** {@code -Ddifferences.all=true} shows every difference, also those that follow from others. */
    private static final boolean GOES_ON = Boolean.getBoolean("differences.all");

    private static final Map<String, Action> ACTIONS = new TreeMap<>();

    static {
        ACTIONS.put("moment", Differences::moment);
        Sends.addTo(ACTIONS);
        Reads.addTo(ACTIONS);
        Settings.addTo(ACTIONS);
        Groups.addTo(ACTIONS);
        Pushes.addTo(ACTIONS);
    }

    /** {@code print SEED}, or {@code OURS APACHES ACCEPTED SCENARIO...}, where a scenario is {@code seed_N} or {@code nothing_accepted_in_vain}. */
    public static void main(List<String> arguments, PrintStream out) throws Exception {
        if (arguments.get(0).equals("print")) {
            int number = 0;
            for (Operation operation : Plan.of(Long.parseLong(arguments.get(1)))) {
                out.println(number++ + " " + operation);
            }
            return;
        }
        Accepted accepted = new Accepted(Path.of(arguments.get(2)));
        System.setProperty("rocketmq.client.rebalance.waitInterval", "1000");
        System.setProperty("rocketmq.client.rebalance.lockInterval", "1000");
        ExecutorService seeds = Executors.newFixedThreadPool(AT_ONCE);
        List<Future<?>> running = new ArrayList<>();
        boolean whole = false;
        for (String scenario : arguments.subList(3, arguments.size())) {
            if (scenario.equals("nothing_accepted_in_vain")) {
                whole = true;
                continue;
            }
            long seed = Long.parseLong(scenario.substring("seed_".length()));
            running.add(seeds.submit(() -> {
                String problem;
                try {
                    problem = run(arguments.get(0), arguments.get(1), accepted, seed);
                } catch (Throwable error) {
                    problem = "cannot begin: " + error;
                }
                say(out, scenario, problem);
            }));
        }
        for (Future<?> seed : running) {
            seed.get();
        }
        if (whole) {
            List<String> unused = accepted.unused();
            say(out, "nothing_accepted_in_vain", unused.isEmpty() ? null : "no operation needed " + unused);
        }
        out.flush();
        // The client leaves timer threads behind that would keep the process.
        System.exit(0);
    }

    private static void say(PrintStream out, String scenario, String problem) {
        out.println(problem == null ? "ok " + scenario : "FAILED " + scenario + ": " + problem.replaceAll("\\s*\\R\\s*", " "));
        out.flush();
    }

    /** The first operation whose outcomes differ: what follows it differs because of it. */
    private static String run(String ours, String theirs, Accepted accepted, long seed) throws Exception {
        ExecutorService both = Executors.newFixedThreadPool(2);
        try (Server here = new Server("rmq", ours, seed); Server there = new Server("apache", theirs, seed)) {
            List<Operation> operations = Plan.of(seed);
            for (int i = 0; i < operations.size(); i++) {
                Operation operation = operations.get(i);
                List<Outcome.Difference> differences = List.of();
                String remarks = "";
                long deadline = System.nanoTime() + SETTLES_MS * 1_000_000;
                do {
                    if (!differences.isEmpty()) {
                        Thread.sleep(50);
                    }
                    CompletableFuture<Outcome> first = CompletableFuture.supplyAsync(() -> outcome(here, operation), both);
                    CompletableFuture<Outcome> second = CompletableFuture.supplyAsync(() -> outcome(there, operation), both);
                    differences = new ArrayList<>(Outcome.between(first.get(), second.get()));
                    remarks = first.get().remark + second.get().remark;
                    differences.removeIf(difference -> accepted.has(operation, difference));
                } while (!differences.isEmpty() && READS.contains(operation.kind()) && System.nanoTime() < deadline);
                if (!differences.isEmpty()) {
                    String problem = "operation " + i + ", " + operation + ": " + differences.subList(0, Math.min(4, differences.size())) + (remarks.isEmpty() ? "" : " (" + remarks + ")")
                        + "; to replay it: RMQ_SEED=" + seed + " cargo test -p rmq-e2e --test differences";
                    if (!GOES_ON) {
                        return problem;
                    }
                    System.out.println("DIFFERS seed_" + seed + ": " + problem);
                }
            }
            return null;
        } finally {
            both.shutdown();
        }
    }

    private static Outcome outcome(Server server, Operation operation) {
        Outcome outcome = new Outcome();
        try {
            ACTIONS.get(operation.kind()).run(server, operation, outcome);
        } catch (Throwable error) {
            outcome.failed(operation, error);
        }
        return outcome;
    }

    /** Lies between the messages before and those after it, by any clock of this machine. */
    private static void moment(Server server, Operation operation, Outcome outcome) throws Exception {
        Thread.sleep(5);
        server.moments.add(System.currentTimeMillis());
        Thread.sleep(5);
    }

    private Differences() {
    }
}
