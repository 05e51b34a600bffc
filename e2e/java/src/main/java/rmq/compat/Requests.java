package rmq.compat;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Requests whose consumers reply. */
final class Requests {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("request_reply", Requests::requestAndReply);
    }

    static void requestAndReply(Cluster cluster) throws Exception {
        String topic = cluster.topic("request_reply", 2);
        DefaultMQProducer replier = cluster.producer("replier");
        DefaultMQPushConsumer consumer = cluster.pushConsumer(cluster.group("request_reply"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                String body = Cluster.body(message);
                if (body.equals("silence")) {
                    continue;
                }
                try {
                    Message reply = MessageUtil.createReplyMessage(message, ("re: " + body).getBytes(StandardCharsets.UTF_8));
                    replier.send(reply, 10_000);
                } catch (Exception error) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        DefaultMQProducer asker = cluster.producer("asker");
        try {
            for (int i = 0; i < 5; i++) {
                Message reply = asker.request(Cluster.message(topic, "", "", "question " + i), Check.DEADLINE.toMillis());
                Check.equal("reply", "re: question " + i, new String(reply.getBody(), StandardCharsets.UTF_8));
                Check.equal("topic of the reply", cluster.clusterName + "_REPLY_TOPIC", reply.getTopic());
            }
            boolean timedOut = false;
            try {
                asker.request(Cluster.message(topic, "", "", "silence"), 500);
            } catch (RequestTimeoutException expected) {
                timedOut = true;
            }
            Check.that("a request without a reply to time out", timedOut, timedOut);
        } finally {
            consumer.shutdown();
        }
    }

    private Requests() {
    }
}
