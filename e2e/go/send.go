package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func message(topic, tag, key, body string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(body))
	if tag != "" {
		m.WithTag(tag)
	}
	if key != "" {
		m.WithKeys([]string{key})
	}
	return m
}

// send sends count messages and gives their bodies, each once.
func send(c *cluster, topic, tag, prefix string, count int) (map[string]int, error) {
	bodies := map[string]int{}
	for i := 0; i < count; i++ {
		body := fmt.Sprint(prefix, i)
		result, err := c.producer.SendSync(context.Background(), message(topic, tag, "", body))
		if err != nil {
			return nil, fmt.Errorf("send %s: %w", body, err)
		}
		if err := equal("status of "+body, primitive.SendOK, result.Status); err != nil {
			return nil, err
		}
		bodies[body] = 1
	}
	return bodies, nil
}

func bodies(messages []*primitive.MessageExt) map[string]int {
	found := map[string]int{}
	for _, m := range messages {
		found[string(m.Body)]++
	}
	return found
}

func sendSync(c *cluster) error {
	topic, err := c.topic("send_sync", 1)
	if err != nil {
		return err
	}
	var ids []string
	for i := 0; i < 20; i++ {
		m := message(topic, "tag", fmt.Sprint("key", i), fmt.Sprint("sync 你好 ", i))
		m.WithProperty("colour", `blue "€" \`)
		result, err := c.producer.SendSync(context.Background(), m)
		if err != nil {
			return err
		}
		if err = equal("status", primitive.SendOK, result.Status); err != nil {
			return err
		}
		if err = equal("queue offset", i, result.QueueOffset); err != nil {
			return err
		}
		ids = append(ids, result.MsgID)
	}
	found, err := c.readAll(topic, 1, 20)
	if err != nil {
		return err
	}
	for i, m := range found {
		expected := fmt.Sprintf(`sync 你好 %d/tag/key%d/blue "€" \/%s/%d`, i, i, ids[i], i)
		stored := fmt.Sprintf("%s/%s/%s/%s/%s/%d", m.Body, m.GetTags(), m.GetKeys(), m.GetProperty("colour"), m.MsgId, m.QueueOffset)
		if err := equal("body, tags, keys, property, id, offset", expected, stored); err != nil {
			return err
		}
	}
	return nil
}

func sendAsync(c *cluster) error {
	topic, err := c.topic("send_async", 4)
	if err != nil {
		return err
	}
	expected := map[string]int{}
	ends := make(chan error, 100)
	for i := 0; i < 100; i++ {
		body := fmt.Sprint("async ", i)
		expected[body] = 1
		err := c.producer.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			if err == nil {
				err = equal("status", primitive.SendOK, result.Status)
			}
			ends <- err
		}, message(topic, "", "", body))
		if err != nil {
			return err
		}
	}
	timeout := time.After(deadline)
	for i := 0; i < 100; i++ {
		select {
		case err := <-ends:
			if err != nil {
				return err
			}
		case <-timeout:
			return fmt.Errorf("expected 100 callbacks within %s, found %d", deadline, i)
		}
	}
	found, err := c.readAll(topic, 4, 100)
	if err != nil {
		return err
	}
	return equal("bodies stored", expected, bodies(found))
}

func sendOneWay(c *cluster) error {
	topic, err := c.topic("send_one_way", 2)
	if err != nil {
		return err
	}
	expected := map[string]int{}
	for i := 0; i < 20; i++ {
		body := fmt.Sprint("one way ", i)
		expected[body] = 1
		if err := c.producer.SendOneWay(context.Background(), message(topic, "", "", body)); err != nil {
			return err
		}
	}
	found, err := c.readAll(topic, 2, 20)
	if err != nil {
		return err
	}
	return equal("bodies stored", expected, bodies(found))
}

func sendBatch(c *cluster) error {
	topic, err := c.topic("send_batch", 1)
	if err != nil {
		return err
	}
	var batch []*primitive.Message
	expected := map[string]int{}
	for i := 0; i < 20; i++ {
		body := fmt.Sprint("batch ", i)
		expected[body+"/tag"] = 1
		batch = append(batch, message(topic, "tag", fmt.Sprint("key", i), body))
	}
	result, err := c.producer.SendSync(context.Background(), batch...)
	if err != nil {
		return err
	}
	if err = equal("status", primitive.SendOK, result.Status); err != nil {
		return err
	}
	found, err := c.readAll(topic, 1, 20)
	if err != nil {
		return err
	}
	stored := map[string]int{}
	for _, m := range found {
		stored[string(m.Body)+"/"+m.GetTags()]++
	}
	return equal("bodies and tags stored", expected, stored)
}

func sendCompressed(c *cluster) error {
	topic, err := c.topic("send_compressed", 1)
	if err != nil {
		return err
	}
	body := strings.Repeat("compressible ", 10_000)
	if _, err = c.producer.SendSync(context.Background(), message(topic, "", "", body)); err != nil {
		return err
	}
	found, err := c.readAll(topic, 1, 1)
	if err != nil {
		return err
	}
	if err := equal("same body after decompression", true, string(found[0].Body) == body); err != nil {
		return err
	}
	return equal("record below a quarter of the body", true, int(found[0].StoreSize) < len(body)/4)
}

// Properties above the limit are refused by the server, and its reason reaches the caller.
func sendRefused(c *cluster) error {
	topic, err := c.topic("send_refused", 1)
	if err != nil {
		return err
	}
	m := message(topic, "", "", "x")
	m.WithProperty("long", strings.Repeat("p", 33_000))
	result, err := c.producer.SendSync(context.Background(), m)
	if err == nil {
		return fmt.Errorf("expected an error, found %v", result)
	}
	// The client keeps the code in its text only.
	return equal("code 13 in the error", true, strings.HasPrefix(err.Error(), "CODE: 13,"))
}
