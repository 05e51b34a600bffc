package rmq.compat;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages found by key, by the client's unique id and by the place in the log. */
final class Query {
    static void addTo(Map<String, Main.Scenario> scenarios) {
        scenarios.put("query_by_key", Query::byKey);
        scenarios.put("query_by_offset_id", Query::byOffsetId);
        scenarios.put("query_by_unique_id", Query::byUniqueId);
    }

    static void byKey(Cluster cluster) throws Exception {
        String topic = cluster.topic("query_by_key", 2);
        String other = cluster.topic("query_by_key_other", 1);
        long begin = System.currentTimeMillis() - 60_000;
        long end = System.currentTimeMillis() + 3_600_000;
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 5; i++) {
            cluster.producer("query").send(Cluster.message(topic, "", "shared own-" + i, "m" + i));
            expected.add("m" + i);
        }
        cluster.producer("query").send(Cluster.message(other, "", "shared", "of another topic"));
        Check.eventually("bodies with the key shared", expected, () -> Send.bodies(cluster.admin.queryMessage(topic, "shared", 32, begin, end).getMessageList()));
        QueryResult one = cluster.admin.queryMessage(topic, "own-3", 32, begin, end);
        Check.equal("bodies with the key own-3", Set.of("m3"), Send.bodies(one.getMessageList()));
        Check.equal("messages at most when 2 are asked for", 2, cluster.admin.queryMessage(topic, "shared", 2, begin, end).getMessageList().size());
        try {
            QueryResult none = cluster.admin.queryMessage(topic, "absent", 32, begin, end);
            throw new Check.Failed("key absent: expected no message, found " + none.getMessageList());
        } catch (MQClientException nothing) {
            Check.contains("error for a key that no message has", nothing.getMessage(), "no message");
        }
    }

    static void byOffsetId(Cluster cluster) throws Exception {
        String topic = cluster.topic("query_by_offset_id", 1);
        SendResult sent = cluster.producer("query").send(Cluster.message(topic, "tag", "key", "by place"));
        MessageExt found = cluster.admin.viewMessage(topic, sent.getOffsetMsgId());
        Check.equal("body", "by place", Cluster.body(found));
        Check.equal("message id", sent.getMsgId(), found.getMsgId());
        Check.equal("queue offset", 0L, found.getQueueOffset());
        Check.equal("keys", "key", found.getKeys());
        // The last eight bytes are the place in the log: one that no message begins at is refused.
        String place = sent.getOffsetMsgId();
        String wrong = place.substring(0, place.length() - 16) + String.format("%016X", Long.parseLong(place.substring(place.length() - 16), 16) + 3);
        try {
            MessageExt nothing = cluster.admin.getDefaultMQAdminExtImpl().getMqClientInstance().getMQAdminImpl().viewMessage(topic, wrong);
            throw new Check.Failed("id of no message: expected an error, found " + nothing);
        } catch (MQBrokerException | MQClientException refused) {
            Check.that("an error", true, refused);
        }
    }

    static void byUniqueId(Cluster cluster) throws Exception {
        String topic = cluster.topic("query_by_unique_id", 1);
        SendResult sent = cluster.producer("query").send(Cluster.message(topic, "", "key", "by id"));
        cluster.producer("query").send(Cluster.message(topic, "", "key", "another"));
        Check.eventually("body by unique id", "by id", () -> Cluster.body(cluster.admin.viewMessage(topic, sent.getMsgId())));
        MessageExt found = cluster.admin.viewMessage(topic, sent.getMsgId());
        Check.equal("message id", sent.getMsgId(), found.getMsgId());
        Check.equal("messages with this id", 1,
            cluster.admin.queryMessageByUniqKey(cluster.clusterName, topic, sent.getMsgId(), 32, 0, Long.MAX_VALUE).getMessageList().size());
    }

    private Query() {
    }
}
