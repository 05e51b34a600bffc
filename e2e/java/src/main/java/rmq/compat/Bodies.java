package rmq.compat;

import java.io.PrintStream;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** How the original reads bodies that another client sent. */
final class Bodies {
    /** {@code LENGTH HASH} of each body in the first queue of a topic, in order; the hash is that of {@link String#hashCode}. */
    static void print(PrintStream out, String nameServer, String topic) throws Exception {
        try (Cluster cluster = new Cluster(nameServer)) {
            DefaultMQPullConsumer reader = cluster.reader();
            MessageQueue queue = new MessageQueue(topic, cluster.brokerName, 0);
            long end = reader.maxOffset(queue);
            for (long offset = 0; offset < end; ) {
                PullResult found = reader.pull(queue, "*", offset, 32);
                for (MessageExt message : found.getMsgFoundList()) {
                    out.println(message.getBody().length + " " + Cluster.body(message).hashCode());
                }
                offset = found.getNextBeginOffset();
            }
        }
    }

    private Bodies() {
    }
}
