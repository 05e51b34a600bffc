package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Request code QUERY_CONSUMER_OFFSET; the client has no public function for this request.
const queryConsumerOffset = 14

// The sum of what the group has committed in the first queues of the topic; an error while one of them has no offset.
func (c *cluster) committed(group, topic string, queues int) (int64, error) {
	sum := int64(0)
	for queue := 0; queue < queues; queue++ {
		offset, err := c.committedInQueue(group, topic, queue)
		if err != nil {
			return 0, err
		}
		sum += offset
	}
	return sum, nil
}

func (c *cluster) committedInQueue(group, topic string, queue int) (int64, error) {
	connection, err := net.DialTimeout("tcp", c.broker, 5*time.Second)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	if err = connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, err
	}
	header, err := json.Marshal(map[string]interface{}{
		"code": queryConsumerOffset, "language": "GO", "version": 431, "opaque": 1, "flag": 0,
		"extFields": map[string]string{"consumerGroup": group, "topic": topic, "queueId": strconv.Itoa(queue)},
	})
	if err != nil {
		return 0, err
	}
	// Frame length, header length, header; no body.
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	if _, err = connection.Write(append(frame, header...)); err != nil {
		return 0, err
	}
	lengths := make([]byte, 8)
	if _, err = io.ReadFull(connection, lengths); err != nil {
		return 0, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(lengths[4:])&0xffffff)
	if _, err = io.ReadFull(connection, answer); err != nil {
		return 0, err
	}
	var reply struct {
		Code      int               `json:"code"`
		Remark    string            `json:"remark"`
		ExtFields map[string]string `json:"extFields"`
	}
	if err = json.Unmarshal(answer, &reply); err != nil {
		return 0, err
	}
	if reply.Code != 0 {
		return 0, fmt.Errorf("offset of %s in %s, queue %d: code %d, %s", group, topic, queue, reply.Code, reply.Remark)
	}
	return strconv.ParseInt(reply.ExtFields["offset"], 10, 64)
}
