package runnel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"runnel/internal/entry"
	"runnel/internal/redis"
	"runnel/internal/routing"
)

// Event is an event in the hands of a handler.
type Event struct {
	ID        string
	Partition int
	Attempt   int64 // From 1.

	lease  *lease
	entry  []any
	mutex  sync.Mutex
	isOver bool
	writes tables
}

// tables are written values: table, field, value; nil deletes.
type tables map[string]map[string][]byte

// Decode stores the record, as encoding/json does. It is the handler that must return the error.
func (e *Event) Decode(record any) error {
	plain, _, err := entry.Decode(e.entry)
	if err == nil {
		err = entry.Unmarshal(plain, record)
	}
	return err
}

// Headers returns the headers of the event.
func (e *Event) Headers() map[string]string {
	_, headers, _ := entry.Decode(e.entry)
	return headers
}

// Get stores the value of a key of a table of the partition. It returns false if there is none.
func (e *Event) Get(table string, key, value any) (bool, error) {
	field, err := routing.Bytes(key)
	e.mutex.Lock()
	data, own := e.writes[table][string(field)]
	e.mutex.Unlock()
	for l := e.lease; err == nil && !own; {
		var replies []any
		replies, err = l.pool.Do(l.life, 0, []any{"HGET", l.key(l.partition, "table:"+table), field})
		if err == nil {
			data, _ = replies[0].([]byte)
			break
		} else if redis.Passes(err) && redis.Pause(l.life, 50*time.Millisecond) {
			err = nil
		}
	}
	if err != nil || data == nil {
		return false, err
	}
	return true, entry.Unmarshal(data, value)
}

// Set writes a value, as JSON, to a table of the partition, with the commit of this event: there each event counts
// once. A nil deletes the key. One event writes at most 1,000 values to 50 tables.
func (e *Event) Set(table string, key, value any) error {
	field, err := routing.Bytes(key)
	var data []byte
	if err == nil && value != nil {
		data, err = entry.Marshal(value)
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if err == nil && e.isOver {
		err = errors.New("the event is over: nothing that is written for it now would be stored")
	}
	if err != nil {
		return fmt.Errorf("runnel: table %s: %w", table, err)
	}
	if e.writes[table] == nil {
		e.writes[table] = map[string][]byte{}
	}
	e.writes[table][string(field)] = data
	return nil
}

// handle calls the handler. A panic is a failure.
func (e *Event) handle(ctx context.Context, handler func(context.Context, *Event) error) (err error) {
	defer func() {
		e.mutex.Lock()
		defer e.mutex.Unlock()
		e.isOver = true
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v", reason)
		}
	}()
	return handler(ctx, e)
}
