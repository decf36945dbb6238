package runnel

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"runnel/internal/redis"
)

// once runs a script once. Without a reply or a refusal nobody knows whether it ran.
func (a *App) once(ctx context.Context, script string, keys []string, args ...any) ([]any, error) {
	body, err := scripts.ReadFile("lua/" + script + ".lua")
	if err != nil {
		return nil, err
	}
	return a.pool.Run(ctx, body, keys, args)
}

// call runs a script, and repeats it unchanged until there is a reply (C3) or ctx is done.
func (a *App) call(ctx context.Context, script string, keys []string, args ...any) ([]any, error) {
	for tries := time.Duration(1); ; tries++ {
		reply, err := a.once(ctx, script, keys, args...)
		if !redis.Passes(err) {
			return reply, err
		}
		wait := tries * 20 * time.Millisecond
		if tries > 25 {
			wait = time.Second / 2
		}
		if tries == 5 {
			a.Logf("runnel: %s: %v; trying again", script, err)
		}
		if !redis.Pause(ctx, wait) {
			return nil, fmt.Errorf("%s: %w; nobody knows whether it ran: %v", script, ctx.Err(), err)
		}
	}
}

// within returns the stream with connections of its own, on which calls take so long at most.
func (s *Stream) within(timeout time.Duration) *Stream {
	app, stream := *s.App, *s
	if timeout > s.pool.Timeout {
		timeout = s.pool.Timeout
	}
	app.pool = &redis.Pool{URL: s.pool.URL, Timeout: timeout}
	stream.App = &app
	return &stream
}

func (s *Stream) key(partition int, rest string) string {
	return fmt.Sprintf("runnel:{%s:%s:%d}:%s:%s", s.App.Name, s.Name, partition, s.Name, rest)
}

// contract is what each call that may create something begins with.
func (s *Stream) contract(more ...any) []any { return append([]any{1, s.Partitions, "xxh64"}, more...) }

func (s *Stream) declare(ctx context.Context, partition int) error {
	_, err := s.call(ctx, "declare", []string{s.key(partition, "meta")}, s.contract()...)
	return err
}

// promote lets delayed events that are due enter the log. It returns when to come again.
func (s *Stream) promote(ctx context.Context, partition int) (time.Duration, error) {
	keys := []string{s.key(partition, "log"), s.key(partition, "meta"), s.key(partition, "delayed")}
	reply, err := s.call(ctx, "promote", keys, s.contract(s.Size, "refuse")...)
	if err != nil {
		return time.Second, err
	} else if lost := redis.Number(reply[3]); lost > 0 {
		s.Logf("runnel: stream %s, partition %d: %d delayed events are LOST", s.Name, partition, lost)
	}
	if next := redis.Number(reply[2]); next >= 0 && next < 1000 {
		return time.Duration(next) * time.Millisecond, nil
	}
	return time.Second, nil // There may be sooner ones by then.
}

// promoteDue is promote of a worker (W25). It returns when to come again, also if the log is full.
func (l *lease) promoteDue() (time.Time, error) {
	wait, err := l.promote(l.life, l.partition)
	if _, full := redis.Refusal(err, "FULL"); full {
		err = nil
	}
	return time.Now().Add(wait), err
}

// append adds entries, after what must come before that: the stream's declaration, events that are due, and room.
func (p *Producer) append(ctx context.Context, partition int, producer string, sequence int, values []any) ([]any, error) {
	for _, each := range []int{0, partition} {
		if sequence > 1 { // P1
			break
		} else if err := p.declare(ctx, each); err != nil {
			return nil, err
		}
	}
	keys := []string{p.key(partition, "log"), p.key(partition, "meta"), p.key(partition, "producers")}
	args := append(p.contract(p.Size, "refuse", producer, sequence), values...)
	for told := false; ; {
		reply, err := p.call(ctx, "append", keys, args...)
		if _, overdue := redis.Refusal(err, "OVERDUE"); overdue { // P8
			if _, err = p.promote(ctx, partition); err == nil {
				continue
			}
		}
		full, isFull := redis.Refusal(err, "FULL")
		if !isFull || !p.Wait {
			return reply, err
		}
		if !told {
			p.Logf("runnel: stream %s, partition %d waits for room: %s", p.Name, partition, full)
		}
		if told = true; !redis.Pause(ctx, 50*time.Millisecond) {
			return nil, fmt.Errorf("%w: %s", ctx.Err(), full)
		}
	}
}

func random() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		panic(err) // Ids that others could have, too, would break what this package promises.
	}
	return hex.EncodeToString(bytes)
}

func (w *Worker) keys(partition int) []string {
	return []string{w.key(partition, "log"), w.key(partition, "meta"), w.key(partition, "processor:"+w.Processor)}
}

func (w *Worker) group(rest string) string {
	return fmt.Sprintf("runnel:{%s:%s@%s}:%s", w.App.Name, w.Name, w.Processor, rest)
}

// kept are the last words of a stream's entry in the registry: its age in ms, and what happens if it is full.
var kept = regexp.MustCompile(`^(\d+) (\S+) \d+ (\d+ (?:always|until_full))$`)

// registry is where people who inspect an app find its streams and processors. This client has no options for the age
// and the retention of a stream: those that somebody else has declared stay.
func (w *Worker) registry(ctx context.Context) error {
	app := "runnel:{" + w.App.Name + "}:"
	for {
		stored, err := w.pool.Do(ctx, 0, []any{"HGET", app + "streams", w.Name})
		if err == nil {
			rest := "0 always"
			words := kept.FindStringSubmatch(redis.Text(stored[0]))
			if words != nil && words[1] == fmt.Sprint(w.Partitions) && words[2] == w.Name {
				rest = words[3]
			}
			_, err = w.pool.Do(ctx, 0, []any{"SADD", "runnel:apps", w.App.Name},
				[]any{"HSET", app + "streams", w.Name, fmt.Sprint(w.Partitions, " ", w.Name, " ", w.Size, " ", rest)},
				[]any{"HSET", app + "processors", w.Name + "@" + w.Processor, w.Partitions})
		}
		if !redis.Passes(err) || !redis.Pause(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

// prepare is what comes before the first claim (W2, W28).
func (w *Worker) prepare(ctx context.Context) (err error) {
	for partition := 0; partition < w.Partitions && err == nil; partition++ {
		err = w.register(ctx, partition)
	}
	if err == nil {
		err = w.registry(ctx)
	}
	return err
}

// register prepares a partition: at the start, or when its keys were lost.
func (w *Worker) register(ctx context.Context, partition int) error {
	if err := w.declare(ctx, 0); err != nil {
		return err
	}
	reply, err := w.call(ctx, "register", w.keys(partition), w.contract(w.Processor, w.Start)...)
	if err == nil && redis.Number(reply[0]) == 2 {
		w.Logf("runnel: processor %s, partition %d: keys were LOST, and are restored", w.Processor, partition)
	}
	return err
}

// sendSync is a heartbeat. Only the first one is repeated (W3).
func (w *Worker) sendSync(incarnation string, call int64, action string, held []assignment, released map[assignment]int64) (s synced, err error) {
	keys := []string{w.group("plan"), w.group("members"), w.group("sessions")}
	host, _ := os.Hostname()
	description := fmt.Sprintf("%s %d go %s", host, os.Getpid(), runtime.Version())
	args := []any{w.Partitions, w.Session.Milliseconds(), w.Rebalance.Milliseconds(), w.JoinDelay.Milliseconds(),
		w.Member, incarnation, call, action, description, len(held)}
	for _, each := range held {
		args = append(args, each.partition, each.grant)
	}
	for each, seen := range released {
		args = append(args, each.partition, each.grant, seen)
	}
	send := w.once
	if call == 1 {
		send = w.call
	}
	reply, err := send(w.life, "sync", keys, args...)
	if err != nil {
		return s, err
	}
	session := time.Duration(redis.Number(reply[2])) * time.Millisecond
	s = synced{newest: redis.Number(reply[0]), session: session, wait: session / 3, holds: map[assignment]bool{}}
	if next := time.Duration(redis.Number(reply[3])+1) * time.Millisecond; next > 0 && next < s.wait {
		s.wait = next
	}
	for i := 4; i+2 < len(reply); i += 3 {
		s.holds[assignment{int(redis.Number(reply[i])), redis.Number(reply[i+1])}] = redis.Number(reply[i+2]) == 1
	}
	return s, nil
}

// synced is what the reply of sync says: for each assignment, whether to hold or to release the partition.
type synced struct {
	newest        int64 // The newest call of this member.
	session, wait time.Duration
	holds         map[assignment]bool
}

// assignment is a grant of a partition.
type assignment struct {
	partition int
	grant     int64
}

// claimed is what the reply of claim says. The lease keeps it up to date.
type claimed struct {
	epoch, checkpoint string
	exists            bool   // Is there an entry at the checkpoint?
	next              string // If not: the first entry behind it.
	event             string // The event that failed last, how often, and how many workers in a row died with it.
	failures, deaths  int64
	unclean           int64
	stopped           bool // Paused or quarantined.
	isOther           bool // There are parked events, or an outbox.
	lost, isExact     int64
}

func (l *lease) sendClaim(accept string) (c claimed, err error) {
	args := l.contract(l.Processor, l.Member, l.grant, l.nonce, accept)
	reply, err := l.call(l.life, "claim", l.keys(l.partition), args...)
	if err != nil {
		return c, err
	}
	number := func(position int) int64 { return redis.Number(reply[position]) }
	return claimed{
		epoch: redis.Text(reply[0]), checkpoint: redis.Text(reply[1]), failures: number(3), event: redis.Text(reply[4]),
		unclean: number(5), stopped: number(6)+number(7) > 0, lost: number(8), isExact: number(9), exists: number(10) == 1,
		next: redis.Text(reply[11]), deaths: number(12), isOther: number(14)+number(15)+number(16) > 0,
	}, nil
}

// found is an entry of a log.
type found struct {
	id     string
	fields []any
}

// read returns the entries behind the checkpoint, and whether some may have been lost: the one at the checkpoint, or
// the first one behind it that the claim has named. The look goes behind the read (W13).
func (l *lease) read(block time.Duration) (entries []found, isLost bool, err error) {
	log := l.key(l.partition, "log")
	replies, err := l.pool.Do(l.open, block,
		[]any{"XREAD", "COUNT", 100, "BLOCK", 1 + block.Milliseconds(), "STREAMS", log, l.checkpoint},
		[]any{"XRANGE", log, l.checkpoint, l.checkpoint})
	if err != nil {
		return nil, false, err
	}
	if logs, is := replies[0].([]any); is {
		for _, each := range logs[0].([]any)[1].([]any) {
			entries = append(entries, found{redis.Text(each.([]any)[0]), each.([]any)[1].([]any)})
		}
	}
	if !l.exists {
		return entries, len(entries) > 0 && entries[0].id != l.next, nil
	}
	return entries, len(replies[1].([]any)) == 0, nil
}

// backoff is the time before a retry.
func (w *Worker) backoff(failures int64) time.Duration {
	if wait := w.Backoff << (failures - 1); failures < 20 && wait >= 0 && wait < 30*time.Second {
		return wait
	}
	return 30 * time.Second
}

// sendAttempt records a start, a failure or a quarantine of an event, and learns whether the partition is stopped.
func (l *lease) sendAttempt(kind, event string, failures int64, failed error) error {
	args := []any{l.epoch, l.nonce, kind, event, failures, "", ""}
	if failed != nil {
		message := strings.Join(strings.Fields(failed.Error()), " ")
		args[5], args[6] = fmt.Sprintf("%T", failed), fmt.Sprintf("%.1000s", message) // In bytes at most four times that.
	}
	reply, err := l.call(l.life, "attempt", l.keys(l.partition)[2:], args...)
	l.stopped = kind == "quarantine" || err == nil && redis.Number(reply[0]) == 1
	return err
}

// sendCommit moves the checkpoint, with what was written to tables, and learns whether the processor is paused.
func (l *lease) sendCommit(next string, count, release int, written tables) error {
	script, keys := "commit", l.keys(l.partition)
	args := []any{l.Processor, l.epoch, l.nonce, l.checkpoint, next, count, release}
	for table, fields := range written {
		script, keys = "transact", append(keys, l.key(l.partition, "table:"+table))
		var sets, deletes []any
		for field, value := range fields {
			if value != nil {
				sets = append(sets, field, value)
			} else {
				deletes = append(deletes, field)
			}
		}
		args = append(append(append(args, "table", len(sets)/2, len(deletes)), sets...), deletes...)
	}
	reply, err := l.call(l.life, script, keys, args...)
	if err == nil {
		l.checkpoint, l.exists, l.stopped = next, l.exists || count > 0, redis.Number(reply[1]) == 1
	}
	return err
}

func (l *lease) logf(format string, args ...any) {
	l.Logf("runnel: processor %s, partition %d: %s", l.Processor, l.partition, fmt.Sprintf(format, args...))
}
