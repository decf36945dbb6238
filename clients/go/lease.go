package runnel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"runnel/internal/redis"
)

// A lease is the right to process one partition. Each event is committed before the next one starts.
type lease struct {
	*Worker
	assignment
	claimed
	held   atomic.Bool     // From the first reply of claim (W4).
	open   context.Context // Ends when nothing more is to be handed out.
	drain  context.CancelFunc
	nonce  string
	record int // The start of so many of the next events is recorded (W23).
}

// newLease begins a lease. It ends by itself.
func (w *Worker) newLease(granted assignment) *lease {
	open, drain := context.WithCancel(w.life)
	l := &lease{Worker: w, assignment: granted, open: open, drain: drain, nonce: random()}
	go func() {
		err := errors.New("the handler has ended its goroutine")
		defer func() { l.ended(err) }()
		err = l.tenure()
	}()
	return l
}

// tenure is the lease from its claim to its release.
func (l *lease) tenure() error {
	if err := l.claim(); err != nil {
		return err
	}
	l.held.Store(true)
	if err := l.work(); err != nil {
		return err
	}
	if err := l.sendCommit(l.checkpoint, 0, 1, nil); err != nil || !l.isOther {
		return err
	}
	return errors.New("it has an outbox or parked events: only a worker that knows these can go on, such as one in Python")
}

// ended says what becomes of the partition.
func (l *lease) ended(err error) {
	l.drain()
	stale, _ := redis.Refusal(err, "STALE_GRANT")
	if lost, is := redis.Refusal(err, "FENCED", "CONFLICT", "MISSING"); is { // W20
		l.logf("lost the lease: %s", lost)
	} else if l.life.Err() != nil { // What is in hand is processed again, once this session has ended (W26).
		return
	} else if err != nil && stale == "" {
		l.fail(fmt.Errorf("partition %d: %w", l.partition, err))
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(l.leases, l.partition)
	l.released[l.assignment] = redis.Number(stale.Detail("seen"))
	l.ring()
}

// claim takes the lease. Repeated under the same grant and nonce, it says what was lost.
func (l *lease) claim() error {
	for accept := ""; ; {
		got, err := l.sendClaim(accept)
		if gone, is := redis.Refusal(err, "MISSING", "UNREGISTERED"); is && gone.Detail("removed") != "1" {
			l.logf("%s; registering it again", gone)
			if err = l.register(l.life, l.partition); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if l.claimed = got; got.lost < 0 {
			break
		}
		l.logf("%d events after %s are LOST (1 if that number is exact: %d)", got.lost, got.checkpoint, got.isExact)
		accept = fmt.Sprint(got.lost) // W12
	}
	if l.unclean >= 3 || l.deaths > 0 {
		l.record = 500
	}
	return nil
}

// work processes events until nothing more is to be handed out, or there is what this client does not know (W11).
func (l *lease) work() (err error) {
	for promoteAt := time.Now(); l.open.Err() == nil && !l.isOther && err == nil; {
		if !time.Now().Before(promoteAt) {
			promoteAt, err = l.promoteDue()
		} else if l.stopped {
			redis.Pause(l.open, time.Until(promoteAt))
		} else {
			err = l.batch(time.Until(promoteAt))
		}
	}
	return err
}

// batch reads events and processes them. What was read while something was lost is thrown away.
func (l *lease) batch(block time.Duration) error {
	entries, isLost, err := l.read(block)
	if redis.Passes(err) {
		redis.Pause(l.open, 50*time.Millisecond)
		return nil
	} else if err == nil && isLost {
		return l.claim()
	}
	for i := 0; i < len(entries) && err == nil; i++ {
		err = l.process(entries[i].id, entries[i].fields)
	}
	return err
}

// process tries an event until it is finished, or nothing more is to be handed out.
func (l *lease) process(id string, entry []any) (err error) {
	for !l.stopped && l.sessionLives() {
		if id != l.event {
			l.event, l.failures, l.deaths = id, 0, 0
		}
		failed := fmt.Errorf("%d workers in a row have died with it", l.deaths)
		if l.deaths < 2 || l.failures <= int64(l.Retries) {
			if failed, err = l.try(entry); failed == nil || err != nil {
				return err
			}
			l.failures++
		}
		l.deaths = 0
		l.logf("event %s has failed (%d): %v", id, l.failures, failed)
		kind := "failure"
		if l.failures > int64(l.Retries) {
			kind = "quarantine"
			l.logf("it is quarantined: runnel processor resume, with --skip to leave the event out")
		}
		if err = l.sendAttempt(kind, id, l.failures, failed); err != nil || l.stopped {
			return err
		}
		redis.Pause(l.open, l.backoff(l.failures))
	}
	return nil
}

// sessionLives waits until the session lives (W7). It returns false if nothing more is to be handed out.
func (l *lease) sessionLives() bool {
	for ; l.open.Err() == nil; redis.Pause(l.open, 20*time.Millisecond) {
		if time.Now().Before(*l.deadline.Load()) {
			return true
		}
		l.ring()
	}
	return false
}

// try hands the event to the handler and commits it. It returns how that failed, or an error of the lease.
func (l *lease) try(entry []any) (failed, err error) {
	if l.deaths > 0 {
		l.alone.Lock()
		defer l.alone.Unlock()
	}
	if l.record > 0 { // W22
		l.record--
		if err = l.sendAttempt("start", l.event, l.failures, nil); err != nil || l.stopped {
			return nil, err
		}
	}
	event := &Event{ID: l.event, Partition: l.partition, Attempt: l.failures + 1, lease: l, entry: entry, writes: tables{}}
	if failed = event.handle(l.life, l.Handler); failed != nil {
		return failed, l.life.Err()
	}
	err = l.sendCommit(event.ID, 1, 0, event.writes)
	if bad, is := redis.Refusal(err, "BADARG"); is && len(event.writes) > 0 {
		return bad, nil // It has written too much: see Event.Set.
	}
	if l.deaths > 0 {
		l.record = 0
	}
	return nil, err
}
