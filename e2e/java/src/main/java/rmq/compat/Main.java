package rmq.compat;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import rmq.compat.differences.Differences;

/**
 * Runs scenarios with the unmodified Java client: {@code Main list}, or {@code Main NAME_SERVER [SCENARIO...]}. With {@code closed} before
 * either, those of servers that ask who sends each request.
 * Prints {@code ok SCENARIO} or {@code FAILED SCENARIO: why}, one line each, in the order in which they end.
 */
public final class Main {
    /** How many run at once; those of mqadmin run one by one, because its output is the process's output. */
    private static final int AT_ONCE = 8;

    interface Scenario {
        void run(Cluster cluster) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Scenario> scenarios = new LinkedHashMap<>();
        if (arguments.length > 0 && arguments[0].equals("closed")) {
            Closed.addTo(scenarios);
            run(scenarios, List.of(arguments).subList(1, arguments.length));
            return;
        }
        Push.addTo(scenarios);
        Send.addTo(scenarios);
        Pull.addTo(scenarios);
        Filters.addTo(scenarios);
        Query.addTo(scenarios);
        Admin.addTo(scenarios);
        Transactions.addTo(scenarios);
        Requests.addTo(scenarios);
        Mqadmin.addTo(scenarios);
        Traces.addTo(scenarios);
        Namespaces.addTo(scenarios);
        Timers.addTo(scenarios);
        Offsets.addTo(scenarios);
        Limits.addTo(scenarios);
        Consoles.addTo(scenarios);
        LightQueues.addTo(scenarios);
        Compaction.addTo(scenarios);

        PrintStream out = System.out;
        if (arguments.length == 0) {
            System.err.println("give `list`, or a name server address and, if not all, the scenarios to run");
            System.exit(2);
        }
        if (arguments[0].equals("assignments")) {
            Assignments.print(out);
            return;
        }
        if (arguments[0].equals("filters")) {
            Filters.print(System.in, out);
            return;
        }
        if (arguments[0].equals("bodies")) {
            Bodies.print(out, arguments[1], arguments[2]);
            out.flush();
            System.exit(0);
        }
        if (arguments[0].equals("differences")) {
            Differences.main(List.of(arguments).subList(1, arguments.length), out);
            return;
        }
        if (arguments[0].equals("chaos")) {
            Chaos.run(arguments[1], out);
            out.flush();
            System.exit(0);
        }
        run(scenarios, List.of(arguments));
    }

    /** {@code list}, or a name server and scenarios. */
    private static void run(Map<String, Scenario> scenarios, List<String> arguments) throws Exception {
        PrintStream out = System.out;
        if (arguments.get(0).equals("list")) {
            scenarios.keySet().stream().sorted().forEach(out::println);
            return;
        }
        List<String> chosen = new ArrayList<>(arguments.subList(1, arguments.size()));
        if (chosen.isEmpty()) {
            chosen.addAll(scenarios.keySet());
        }

        // The client's periods, for tests: a rebalance that lost a race is tried again in a second, not in twenty.
        System.setProperty("rocketmq.client.rebalance.waitInterval", "1000");
        System.setProperty("rocketmq.client.rebalance.lockInterval", "1000");

        boolean failed = false;
        ExecutorService together = Executors.newFixedThreadPool(AT_ONCE);
        ExecutorService oneByOne = Executors.newSingleThreadExecutor();
        try (Cluster cluster = new Cluster(arguments.get(0))) {
            List<Future<Boolean>> results = new ArrayList<>();
            for (String name : chosen) {
                Scenario scenario = scenarios.get(name);
                if (scenario == null) {
                    out.println("FAILED " + name + ": no such scenario; `list` names them");
                    failed = true;
                    continue;
                }
                ExecutorService pool = name.contains("mqadmin_") ? oneByOne : together;
                results.add(pool.submit(() -> run(out, name, scenario, cluster)));
            }
            for (Future<Boolean> result : results) {
                failed |= !result.get();
            }
        } finally {
            together.shutdown();
            oneByOne.shutdown();
            together.awaitTermination(10, TimeUnit.SECONDS);
        }
        out.flush();
        // The client leaves timer threads behind that would keep the process.
        System.exit(failed ? 1 : 0);
    }

    private static boolean run(PrintStream out, String name, Scenario scenario, Cluster cluster) {
        try {
            scenario.run(cluster);
            out.println("ok " + name);
            return true;
        } catch (Throwable error) {
            String why = error instanceof Check.Failed ? error.getMessage() : describe(error);
            out.println("FAILED " + name + ": " + why.replaceAll("\\s*\\R\\s*", " | "));
            return false;
        }
    }

    private static String describe(Throwable error) {
        StringBuilder text = new StringBuilder(error.toString());
        for (StackTraceElement frame : error.getStackTrace()) {
            if (frame.getClassName().startsWith("rmq.compat")) {
                text.append(" at ").append(frame.getFileName()).append(':').append(frame.getLineNumber());
                break;
            }
        }
        return text.toString();
    }
}
