package main

import (
	"context"
	"fmt"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// attempts tries with the keys of the environment what a closed broker may refuse. The answers of the broker are the output.
func attempts(c *cluster, topic string) map[string]error {
	tried := map[string]error{}
	_, tried["try_send"] = c.producer.SendSync(context.Background(), message(topic, "", "", "tried"))
	tried["try_pull"] = tryPull(c, topic)
	return tried
}

func tryPull(c *cluster, topic string) error {
	pull, err := c.pullConsumer(c.name("try"), topic, "*")
	if err != nil {
		return err
	}
	defer func() { _ = pull.Shutdown() }()
	queues, err := c.admin.FetchPublishMessageQueues(context.Background(), topic)
	if err != nil {
		return err
	}
	result, err := pull.PullFrom(context.Background(), queues[0], 0, 1)
	if err == nil && result.Status != primitive.PullFound && result.Status != primitive.PullNoNewMsg {
		return fmt.Errorf("status of the pull: %v", result.Status)
	}
	return err
}
