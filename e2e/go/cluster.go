package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// cluster is the servers under test, and what every scenario needs of them. Names are new in each run.
type cluster struct {
	nameServer string
	broker     string
	run        string
	admin      admin.Admin
	producer   rocketmq.Producer
	instances  atomic.Int32
}

func newCluster(nameServer, broker string) (*cluster, error) {
	c := &cluster{nameServer: nameServer, broker: broker, run: strconv.FormatInt(time.Now().UnixMilli(), 36)}
	var err error
	if c.admin, err = admin.NewAdmin(admin.WithResolver(c.resolver()), admin.WithCredentials(credentials())); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if credentials().AccessKey != "" {
		// This client's administration signs its requests from this one on, whatever comes of it.
		_, _ = c.admin.GetAllSubscriptionGroup(context.Background(), c.broker, 10*time.Second)
	}
	if c.producer, err = c.startProducer("shared"); err != nil {
		return nil, err
	}
	return c, nil
}

// credentials are the keys that the environment gives; empty ones sign nothing.
func credentials() primitive.Credentials {
	return primitive.Credentials{AccessKey: os.Getenv("RMQ_ACCESS_KEY"), SecretKey: os.Getenv("RMQ_SECRET_KEY")}
}

func (c *cluster) close() {
	_ = c.producer.Shutdown()
	_ = c.admin.Close()
}

func (c *cluster) resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{c.nameServer})
}

func (c *cluster) name(scenario string) string {
	return "go-" + scenario + "-" + c.run
}

func (c *cluster) instance() string {
	return fmt.Sprintf("go-%s-%d", c.run, c.instances.Add(1))
}

func (c *cluster) startProducer(scenario string) (rocketmq.Producer, error) {
	started, err := rocketmq.NewProducer(
		producer.WithNsResolver(c.resolver()),
		producer.WithGroupName(c.name("producer-"+scenario)),
		producer.WithInstanceName(c.instance()),
		producer.WithSendMsgTimeout(10*time.Second),
		producer.WithRetry(2),
		producer.WithCompressMsgBodyOverHowmuch(4096),
		producer.WithCredentials(credentials()),
	)
	if err == nil {
		err = started.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("producer: %w", err)
	}
	return started, nil
}

// topic creates one and waits until the name server gives its route.
func (c *cluster) topic(scenario string, queues int) (string, error) {
	return c.createTopic(c.name(scenario), queues)
}

func (c *cluster) createTopic(topic string, queues int) (string, error) {
	err := c.admin.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(c.broker),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
	if err != nil {
		return "", fmt.Errorf("create topic %s: %w", topic, err)
	}
	return topic, eventually("queues of "+topic, queues, func() (any, error) {
		found, err := c.admin.FetchPublishMessageQueues(context.Background(), topic)
		return len(found), err
	})
}

// group names a consumer group whose retry topic exists, so that no client must learn of it by its 30 s poll.
func (c *cluster) group(scenario string) (string, error) {
	group := c.name("group-" + scenario)
	_, err := c.createTopic("%RETRY%"+group, 1)
	return group, err
}

// topicAndGroup is what a consumer's scenario begins with.
func (c *cluster) topicAndGroup(scenario string, queues int) (string, string, error) {
	topic, err := c.topic(scenario, queues)
	if err != nil {
		return "", "", err
	}
	group, err := c.group(scenario)
	return topic, group, err
}

func (c *cluster) pushConsumer(group string, options ...consumer.Option) (rocketmq.PushConsumer, error) {
	return rocketmq.NewPushConsumer(append([]consumer.Option{
		consumer.WithNsResolver(c.resolver()),
		consumer.WithGroupName(group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithCredentials(credentials()),
	}, options...)...)
}

func (c *cluster) pullConsumer(group, topic, tags string) (rocketmq.PullConsumer, error) {
	pull, err := rocketmq.NewPullConsumer(
		consumer.WithNsResolver(c.resolver()),
		consumer.WithGroupName(group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithCredentials(credentials()),
	)
	if err != nil {
		return nil, err
	}
	if err = pull.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}); err != nil {
		return nil, err
	}
	return pull, pull.Start()
}

// readAll gives every message of a topic, queue by queue in the order of offsets, as soon as there are count.
func (c *cluster) readAll(topic string, queues, count int) ([]*primitive.MessageExt, error) {
	group, err := c.group("reader-" + c.instance())
	if err != nil {
		return nil, err
	}
	var pull rocketmq.PullConsumer
	err = eventually("a reader of "+topic, true, func() (any, error) {
		pull, err = c.pullConsumer(group, topic, "*")
		return true, err
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = pull.Shutdown() }()
	var messages []*primitive.MessageExt
	offsets := make([]int64, queues)
	err = eventually("messages in "+topic, count, func() (any, error) {
		brokers, err := c.admin.FetchPublishMessageQueues(context.Background(), topic)
		if err != nil {
			return 0, err
		}
		for _, queue := range brokers {
			result, err := pull.PullFrom(context.Background(), queue, offsets[queue.QueueId], 32)
			if err != nil {
				return 0, err
			}
			if result.Status == primitive.PullFound {
				messages = append(messages, result.GetMessageExts()...)
				offsets[queue.QueueId] = result.NextBeginOffset
			}
		}
		return len(messages), nil
	})
	return messages, err
}
