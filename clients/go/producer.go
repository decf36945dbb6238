package runnel

import (
	"context"
	"fmt"
	"sync"

	"runnel/internal/entry"
	"runnel/internal/redis"
)

// Producer sends events. Each is added once, whatever happens to the connection. Any number of goroutines may use it.
type Producer struct {
	*Stream
	Wait bool // Wait while a partition is full, until ctx is done. Otherwise the error is Refused, with the word FULL.

	lanes []lane // One for each partition.
}

type lane struct {
	sync.Mutex // One append in flight (P3).
	id         string
	sequence   int // Of the last append. 0: the stream is to be declared.
}

// Producer returns a new producer.
func (s *Stream) Producer() *Producer { return &Producer{Stream: s, lanes: make([]lane, s.Partitions)} }

// Send adds events of one key in the given order: all of them, or none. There may be 500, and fewer than the
// partition may hold. It returns the id of the first one. If ctx ends, nobody knows whether they were added.
func (p *Producer) Send(ctx context.Context, key any, records ...any) (string, error) {
	partition, err := p.Partition(key)
	if err != nil {
		return "", err
	}
	var values []any
	for _, record := range records {
		fields, err := entry.Encode(p.Codec, record)
		if err != nil {
			return "", fmt.Errorf("runnel: stream %s: the record cannot be written: %w", p.Name, err)
		}
		values = append(append(values, len(fields)), fields...)
	}
	lane := &p.lanes[partition]
	lane.Lock()
	defer lane.Unlock()
	if lane.id == "" {
		lane.id = random()
	}
	for {
		reply, err := p.append(ctx, partition, lane.id, lane.sequence+1, values)
		if err == nil {
			lane.sequence++
			return redis.Text(reply[1]), nil
		}
		unknown, isUnknown := redis.Refusal(err, "MISSING", "UNKNOWN_PRODUCER", "OUTOFORDER")
		if _, isRefused := redis.Refusal(err); isUnknown || !isRefused {
			lane.id, lane.sequence = random(), 0 // Nobody knows what was added under that number: it is used up (P3).
		}
		if !isUnknown {
			return "", fmt.Errorf("runnel: stream %s, partition %d: %w", p.Name, partition, err)
		}
		// P6, P7: the stream was deleted, or another server acknowledged what this one does not know.
		p.Logf("runnel: stream %s, partition %d: %s; going on as a new producer", p.Name, partition, unknown)
	}
}
