package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

type listener = func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// listen starts a push consumer; the caller ends it with what is returned.
func listen(c *cluster, group, topic, tags string, callback listener, options ...consumer.Option) (func(), error) {
	push, err := c.pushConsumer(group, options...)
	if err != nil {
		return nil, err
	}
	if err = push.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, callback); err != nil {
		return nil, err
	}
	if err = push.Start(); err != nil {
		return nil, err
	}
	return func() { _ = push.Shutdown() }, nil
}

func count(into *tally) listener {
	return func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			into.add(string(m.Body))
		}
		return consumer.ConsumeSuccess, nil
	}
}

func pushConcurrent(c *cluster) error {
	topic, group, err := c.topicAndGroup("push_concurrent", 4)
	if err != nil {
		return err
	}
	expected, err := send(c, topic, "", "message ", 100)
	if err != nil {
		return err
	}
	var received tally
	end, err := listen(c, group, topic, "*", count(&received))
	if err != nil {
		return err
	}
	defer end()
	return eventually("bodies delivered", expected, received.found)
}

func pushTags(c *cluster) error {
	topic, group, err := c.topicAndGroup("push_tags", 2)
	if err != nil {
		return err
	}
	expected, err := send(c, topic, "red", "red ", 20)
	if err != nil {
		return err
	}
	for _, tag := range []string{"blue", "BB", "Aa"} {
		sent, err := send(c, topic, tag, tag+" ", 20)
		if err != nil {
			return err
		}
		if tag == "Aa" { // has the Java hash code of BB
			for body := range sent {
				expected[body] = 1
			}
		}
	}
	var received tally
	end, err := listen(c, group, topic, "red || Aa", count(&received))
	if err != nil {
		return err
	}
	defer end()
	return eventually("bodies delivered", expected, received.found)
}

func pushSQL(c *cluster) error {
	topic, group, err := c.topicAndGroup("push_sql", 2)
	if err != nil {
		return err
	}
	expected := map[string]int{}
	send := func(prefix string) error {
		for amount := 0; amount < 8; amount++ {
			body := fmt.Sprint(prefix, amount)
			m := message(topic, "", "", body)
			m.WithProperty("amount", fmt.Sprint(amount))
			if _, err := c.producer.SendSync(context.Background(), m); err != nil {
				return err
			}
			if amount >= 3 && amount <= 5 {
				expected[body] = 1
			}
		}
		return nil
	}
	if err = send("early "); err != nil {
		return err
	}
	push, err := c.pushConsumer(group)
	if err != nil {
		return err
	}
	var received tally
	selector := consumer.MessageSelector{Type: consumer.SQL92, Expression: "amount BETWEEN 3 AND 5"}
	if err = push.Subscribe(topic, selector, count(&received)); err != nil {
		return err
	}
	if err = push.Start(); err != nil {
		return err
	}
	defer func() { _ = push.Shutdown() }()
	// Some are there when it starts, the others end long polls.
	if err = send("late "); err != nil {
		return err
	}
	return eventually("bodies delivered", expected, received.found)
}

func pushResume(c *cluster) error {
	topic, group, err := c.topicAndGroup("push_resume", 2)
	if err != nil {
		return err
	}
	sent := int64(0)
	for _, round := range []string{"first ", "second "} {
		expected, err := send(c, topic, "", round, 20)
		if err != nil {
			return err
		}
		var received tally
		end, err := listen(c, group, topic, "*", count(&received))
		if err != nil {
			return err
		}
		err = eventually("bodies delivered", expected, received.found)
		if err == nil {
			// The client notes progress after the callback, and commits the progress at an interval.
			sent += int64(len(expected))
			err = eventually("offsets committed", sent, func() (any, error) { return c.committed(group, topic, 2) })
		}
		end()
		if err != nil {
			return err
		}
	}
	return nil
}

func pushRetryDeadLetter(c *cluster) error {
	topic, group, err := c.topicAndGroup("push_retry", 1)
	if err != nil {
		return err
	}
	for _, body := range []string{"bad", "good"} {
		if _, err := c.producer.SendSync(context.Background(), message(topic, "", "key", body)); err != nil {
			return err
		}
	}
	var tries tally
	end, err := listen(c, group, topic, "*", func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		if level, here := primitive.GetConcurrentlyCtx(ctx); here {
			level.DelayLevelWhenNextConsume = 1
		}
		result := consumer.ConsumeSuccess
		for _, m := range messages {
			tries.add(fmt.Sprintf("%s of %s after %d", m.Body, m.Topic, m.ReconsumeTimes))
			if string(m.Body) == "bad" {
				result = consumer.ConsumeRetryLater
			}
		}
		return result, nil
	}, consumer.WithMaxReconsumeTimes(2))
	if err != nil {
		return err
	}
	defer end()
	of := " of " + topic + " after "
	err = eventually("tries", map[string]int{"bad" + of + "0": 1, "bad" + of + "1": 1, "bad" + of + "2": 1, "good" + of + "0": 1}, tries.found)
	if err != nil {
		return err
	}
	dead, err := c.readAll("%DLQ%"+group, 1, 1)
	if err != nil {
		return err
	}
	return equal("dead letter's body, keys, topic", "bad key "+topic,
		fmt.Sprintf("%s %s %s", dead[0].Body, dead[0].GetKeys(), dead[0].GetProperty("RETRY_TOPIC")))
}

func pushOrderly(c *cluster) error {
	topic, group, err := c.topicAndGroup("push_orderly", 2)
	if err != nil {
		return err
	}
	expected := map[int][]string{}
	queues, err := c.admin.FetchPublishMessageQueues(context.Background(), topic)
	if err != nil {
		return err
	}
	for i := 0; i < 40; i++ {
		m := message(topic, "", "", fmt.Sprint("step ", i))
		m.WithShardingKey(fmt.Sprint("order ", i%2))
		result, err := c.producer.SendSync(context.Background(), m)
		if err != nil {
			return err
		}
		id := result.MessageQueue.QueueId
		expected[id] = append(expected[id], fmt.Sprint("step ", i))
	}
	if err = equal("queues", 2, len(queues)); err != nil {
		return err
	}
	var mutex sync.Mutex
	found := map[int][]string{}
	suspended := false
	end, err := listen(c, group, topic, "*", func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mutex.Lock()
		defer mutex.Unlock()
		if string(messages[0].Body) == "step 10" && !suspended {
			suspended = true // tried again before anything behind it
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		for _, m := range messages {
			id := m.Queue.QueueId
			found[id] = append(found[id], string(m.Body))
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.WithConsumerOrder(true), consumer.WithRebalanceLockInterval(time.Second), consumer.WithSuspendCurrentQueueTimeMillis(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer end()
	return eventually("bodies of each queue in the order sent", expected, func() (any, error) {
		mutex.Lock()
		defer mutex.Unlock()
		return fmt.Sprint(found), nil
	})
}

func pushDelayLevel(c *cluster) error {
	topic, group, err := c.topicAndGroup("push_delay", 1)
	if err != nil {
		return err
	}
	delays := make(chan time.Duration, 1)
	end, err := listen(c, group, topic, "*", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		delays <- time.Since(time.UnixMilli(messages[0].BornTimestamp))
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	defer end()
	m := message(topic, "", "", "delayed")
	m.WithDelayTimeLevel(1)
	if _, err := c.producer.SendSync(context.Background(), m); err != nil {
		return err
	}
	select {
	case delay := <-delays:
		if delay < 950*time.Millisecond || delay > 11*time.Second {
			return fmt.Errorf("delay of level 1: expected 1 s to 11 s, found %s", delay)
		}
		return nil
	case <-time.After(deadline):
		return fmt.Errorf("delay of level 1: expected a message within %s, found none", deadline)
	}
}

func pullFromOffset(c *cluster) error {
	topic, group, err := c.topicAndGroup("pull_from", 1)
	if err != nil {
		return err
	}
	if _, err = send(c, topic, "tag", "m", 10); err != nil {
		return err
	}
	pull, err := c.pullConsumer(group, topic, "*")
	if err != nil {
		return err
	}
	defer func() { _ = pull.Shutdown() }()
	queues, err := c.admin.FetchPublishMessageQueues(context.Background(), topic)
	if err != nil {
		return err
	}
	result, err := pull.PullFrom(context.Background(), queues[0], 4, 3)
	if err != nil {
		return err
	}
	found := fmt.Sprint(result.Status, result.MinOffset, result.MaxOffset, result.NextBeginOffset, bodies(result.GetMessageExts()))
	if err = equal("status, min, max, next and bodies", fmt.Sprint(primitive.PullFound, 0, 10, 7, map[string]int{"m4": 1, "m5": 1, "m6": 1}), found); err != nil {
		return err
	}
	result, err = pull.PullFrom(context.Background(), queues[0], 1_000, 3)
	if err != nil {
		return err
	}
	return equal("status and next offset beyond the end", fmt.Sprint(primitive.PullOffsetIllegal, 10), fmt.Sprint(result.Status, result.NextBeginOffset))
}

func pullPoll(c *cluster) error {
	topic, group, err := c.topicAndGroup("pull_poll", 2)
	if err != nil {
		return err
	}
	expected, err := send(c, topic, "good", "good ", 20)
	if err != nil {
		return err
	}
	if _, err = send(c, topic, "bad", "bad ", 20); err != nil {
		return err
	}
	pull, err := c.pullConsumer(group, topic, "good")
	if err != nil {
		return err
	}
	defer func() { _ = pull.Shutdown() }()
	var received tally
	return eventually("bodies polled", expected, func() (any, error) {
		request, err := pull.Poll(context.Background(), time.Second)
		if err != nil && !consumer.IsNoNewMsgError(err) {
			return nil, err
		}
		if err == nil {
			for _, m := range request.GetMsgList() {
				received.add(string(m.Body))
			}
			pull.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		return received.found()
	})
}

func adminTopic(c *cluster) error {
	topic, err := c.topic("admin_topic", 3)
	if err != nil {
		return err
	}
	listed := func() (any, error) {
		list, err := c.admin.FetchAllTopicList(context.Background())
		if err != nil {
			return nil, err
		}
		for _, name := range list.TopicList {
			if name == topic {
				return true, nil
			}
		}
		return false, nil
	}
	if err = eventually("topic in the list", true, listed); err != nil {
		return err
	}
	groups, err := c.admin.GetAllSubscriptionGroup(context.Background(), c.broker, 3*time.Second)
	if err != nil {
		return err
	}
	if err = equal("some subscription groups", true, len(groups.SubscriptionGroupTable) > 0); err != nil {
		return err
	}
	err = c.admin.DeleteTopic(context.Background(), admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(c.broker), admin.WithNameSrvAddr([]string{c.nameServer}))
	if err != nil {
		return err
	}
	return eventually("deleted topic in the list", false, listed)
}
