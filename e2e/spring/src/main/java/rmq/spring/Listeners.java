package rmq.spring;

import java.nio.charset.StandardCharsets;
import java.util.Objects;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.spring.annotation.ConsumeMode;
import org.apache.rocketmq.spring.annotation.RocketMQMessageListener;
import org.apache.rocketmq.spring.annotation.RocketMQTransactionListener;
import org.apache.rocketmq.spring.annotation.SelectorType;
import org.apache.rocketmq.spring.core.RocketMQListener;
import org.apache.rocketmq.spring.core.RocketMQLocalTransactionListener;
import org.apache.rocketmq.spring.core.RocketMQLocalTransactionState;
import org.apache.rocketmq.spring.core.RocketMQPushConsumerLifecycleListener;
import org.apache.rocketmq.spring.core.RocketMQReplyListener;
import org.springframework.messaging.Message;
import org.springframework.stereotype.Component;

/** The application's listeners, each of a topic and a group of its own. */
final class Listeners {
    /** From the first message on, and with periods for tests. */
    private abstract static class FromFirst implements RocketMQPushConsumerLifecycleListener {
        @Override
        public void prepareStart(DefaultMQPushConsumer consumer) {
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.setPollNameServerInterval(1_000);
            consumer.setHeartbeatBrokerInterval(1_000);
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-listen", consumerGroup = "spring-listen", selectorExpression = "good")
    static class OfOrders extends FromFirst implements RocketMQListener<Order> {
        @Override
        public void onMessage(Order order) {
            Application.Seen.add("spring-listen", order.getNumber() + " " + order.getText());
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-sql", consumerGroup = "spring-sql", selectorType = SelectorType.SQL92, selectorExpression = "amount > 5")
    static class BySql extends FromFirst implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Application.Seen.add("spring-sql", body);
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-orderly", consumerGroup = "spring-orderly", consumeMode = ConsumeMode.ORDERLY)
    static class Orderly extends FromFirst implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Application.Seen.add("spring-orderly", body);
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-batch", consumerGroup = "spring-batch")
    static class OfBatches extends FromFirst implements RocketMQListener<MessageExt> {
        @Override
        public void onMessage(MessageExt message) {
            String body = new String(message.getBody(), StandardCharsets.UTF_8);
            // A batch keeps the keys of its messages.
            Application.Seen.add("spring-batch", Objects.equals(message.getKeys(), "key of " + body) ? body : body + " with the keys " + message.getKeys());
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-delayed", consumerGroup = "spring-delayed")
    static class Delayed extends FromFirst implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Application.Seen.add("spring-delayed", body);
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-retry", consumerGroup = "spring-retry", delayLevelWhenNextConsume = 1)
    static class Failing extends FromFirst implements RocketMQListener<MessageExt> {
        @Override
        public void onMessage(MessageExt message) {
            Application.Seen.add("spring-retry", new String(message.getBody(), StandardCharsets.UTF_8) + ", " + message.getReconsumeTimes() + " before");
            if (message.getReconsumeTimes() == 0) {
                throw new IllegalStateException("the first time fails");
            }
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-requests", consumerGroup = "spring-requests")
    static class Replying extends FromFirst implements RocketMQReplyListener<String, String> {
        @Override
        public String onMessage(String question) {
            return "reply to " + question;
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-transactions", consumerGroup = "spring-transactions")
    static class OfTransactions extends FromFirst implements RocketMQListener<String> {
        @Override
        public void onMessage(String body) {
            Application.Seen.add("spring-transactions", body);
        }
    }

    @RocketMQTransactionListener
    static class Transactions implements RocketMQLocalTransactionListener {
        @Override
        public RocketMQLocalTransactionState executeLocalTransaction(Message message, Object argument) {
            Application.Seen.add("asked", argument.toString());
            return switch (body(message)) {
                case "commit" -> RocketMQLocalTransactionState.COMMIT;
                case "roll back" -> RocketMQLocalTransactionState.ROLLBACK;
                default -> RocketMQLocalTransactionState.UNKNOWN;
            };
        }

        @Override
        public RocketMQLocalTransactionState checkLocalTransaction(Message message) {
            Application.Seen.add("asked", "check of " + body(message));
            return RocketMQLocalTransactionState.COMMIT;
        }

        private static String body(Message<?> message) {
            return message.getPayload() instanceof byte[] bytes ? new String(bytes, StandardCharsets.UTF_8) : message.getPayload().toString();
        }
    }

    private Listeners() {
    }
}
