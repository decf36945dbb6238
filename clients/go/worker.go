package runnel

import (
	"context"
	"fmt"
	"time"

	"runnel/internal/redis"
)

// Run works until ctx is done, then finishes what is in hand and leaves the group. An error says why it ended by
// itself, or what it did not finish in time. A worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	w.Stream = w.within(w.Session / 3) // C2
	defer w.Close()
	var giveUp context.CancelFunc
	ctx, w.stop = context.WithCancel(ctx)
	w.life, giveUp = context.WithCancel(context.Background())
	defer func() { w.stop(); giveUp() }()
	go func() {
		<-ctx.Done()
		time.AfterFunc(w.ShutdownIn, giveUp)
		w.ring()
	}()
	if err := w.prepare(ctx); err == nil {
		go w.pool.Listen(w.life, w.group("wake"), w.ring)
		w.heartbeats(ctx)
	} else if ctx.Err() == nil {
		w.fail(err)
	}
	if w.drain() && w.life.Err() != nil {
		w.fail(fmt.Errorf("not all was finished within %s", w.ShutdownIn))
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.failure
}

// ring makes the next sync come at once.
func (w *Worker) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// fail ends the worker.
func (w *Worker) fail(err error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.failure == nil {
		w.failure = fmt.Errorf("runnel: processor %s: %w", w.Processor, err)
	}
	w.stop()
}

// heartbeats is the membership, from the first sync to the last.
func (w *Worker) heartbeats(ctx context.Context) {
	incarnation := random()
	for call := int64(1); w.life.Err() == nil; call++ {
		action, held, reported := w.report(ctx.Err() != nil)
		sent, wait := time.Now(), 50*time.Millisecond
		reply, err := w.sendSync(incarnation, call, action, held, reported)
		if action == "leave" {
			return
		} else if err == nil {
			wait = w.replied(call, sent, reported, reply)
			call = reply.newest
		} else if !redis.Passes(err) { // Such as REPLACED.
			w.fail(err)
			for w.drain() && redis.Pause(w.life, 20*time.Millisecond) {
			}
			return
		}
		select {
		case <-w.wake:
		case <-time.After(wait):
		}
	}
}

// drain ends all leases. It returns whether there are still some.
func (w *Worker) drain() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, each := range w.leases {
		each.drain()
	}
	return len(w.leases) > 0
}

// report returns what the next sync says: its action, what is held, and what is released.
func (w *Worker) report(ending bool) (action string, held []assignment, released map[assignment]int64) {
	if action = "stay"; ending {
		action = "retire"
		w.drain()
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, each := range w.leases {
		if each.held.Load() { // W4
			held = append(held, each.assignment)
		}
	}
	released = map[assignment]int64{}
	for each, seen := range w.released {
		released[each] = seen
	}
	if ending && len(w.leases)+len(released) == 0 {
		action = "leave"
	}
	return action, held, released
}

// replied does what a reply of sync says. It returns when to call again.
func (w *Worker) replied(call int64, sent time.Time, reported map[assignment]int64, reply synced) time.Duration {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for each := range reported {
		if reply.newest == call {
			delete(w.released, each)
		}
	}
	if ends := sent.Add(reply.session); ends.After(*w.deadline.Load()) {
		w.deadline.Store(&ends)
	}
	for each, hold := range reply.holds {
		_, isReleased := w.released[each]
		if isNew := !isReleased && w.leases[each.partition] == nil; isNew && hold { // W5, W6
			w.leases[each.partition] = w.newLease(each)
		} else if isNew {
			w.released[each] = 0
		}
	}
	for _, each := range w.leases {
		if !reply.holds[each.assignment] {
			each.drain()
		}
	}
	if len(w.released) > 0 {
		return 0
	}
	return reply.wait
}
