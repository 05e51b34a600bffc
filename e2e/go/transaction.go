package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// endings says of each message what its key says, and commits what it is asked about.
type endings struct {
	checks atomic.Int32
}

func (l *endings) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	switch m.GetKeys() {
	case "commit":
		return primitive.CommitMessageState
	case "rollback":
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (l *endings) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	l.checks.Add(1)
	return primitive.CommitMessageState
}

// transactions commits one, rolls one back, and is asked about a third.
func transactions(c *cluster) error {
	topic, err := c.topic("transactions", 1)
	if err != nil {
		return err
	}
	var ends endings
	sender, err := rocketmq.NewTransactionProducer(&ends,
		producer.WithNsResolver(c.resolver()),
		producer.WithGroupName(c.name("producer-transactions")),
		producer.WithInstanceName(c.instance()),
		producer.WithSendMsgTimeout(10*time.Second),
		producer.WithRetry(2),
		producer.WithCredentials(credentials()),
	)
	if err == nil {
		err = sender.Start()
	}
	if err != nil {
		return fmt.Errorf("transaction producer: %w", err)
	}
	defer sender.Shutdown()
	for _, key := range []string{"commit", "rollback", "unknown"} {
		result, err := sender.SendMessageInTransaction(context.Background(), message(topic, "", key, "to "+key))
		if err != nil {
			return fmt.Errorf("send %s: %w", key, err)
		}
		if err := equal("status of "+key, primitive.SendOK, result.Status); err != nil {
			return err
		}
	}
	found, err := c.readAll(topic, 1, 2)
	if err != nil {
		return err
	}
	expected := map[string]int{"to commit": 1, "to unknown": 1}
	if err := equal("bodies stored", expected, bodies(found)); err != nil {
		return err
	}
	return equal("checks", 1, int(ends.checks.Load()))
}
