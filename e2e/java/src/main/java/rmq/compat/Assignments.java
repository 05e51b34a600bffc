package rmq.compat;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.common.message.MessageQueue;

/** How the original divides queues: one line for each strategy, number of queues, number of members and member. */
final class Assignments {
    private static final List<AllocateMessageQueueStrategy> STRATEGIES = List.of(
        new AllocateMessageQueueAveragely(), new AllocateMessageQueueAveragelyByCircle(), new AllocateMessageQueueConsistentHash());

    /** {@code STRATEGY QUEUES MEMBERS MEMBER BROKER/ID,...}; the test makes the same queues and members of the numbers. */
    static void print(PrintStream out) {
        for (AllocateMessageQueueStrategy strategy : STRATEGIES) {
            for (int queues : new int[] {1, 2, 3, 4, 7, 8, 16, 33}) {
                for (int members : new int[] {1, 2, 3, 5, 8, 11}) {
                    List<MessageQueue> all = new ArrayList<>();
                    for (int i = 0; i < queues; i++) {
                        all.add(new MessageQueue("orders", "broker-" + i % 2, i / 2));
                    }
                    all.sort(null);
                    List<String> ids = new ArrayList<>();
                    for (int i = 0; i < members; i++) {
                        ids.add("10.0.0." + i + "@" + i * 7919 + "#" + i);
                    }
                    ids.sort(null);
                    for (String id : ids) {
                        String mine = strategy.allocate("group", id, all, ids).stream()
                            .map(queue -> queue.getBrokerName() + "/" + queue.getQueueId())
                            .collect(Collectors.joining(","));
                        out.println(strategy.getName() + " " + queues + " " + members + " " + id + " " + mine);
                    }
                }
            }
        }
    }

    private Assignments() {
    }
}
