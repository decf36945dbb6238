// Package runnel sends and processes events in order, by the protocol of Runnel's lua/README.md: its workers share
// the partitions of a stream with those in other languages. Marks such as W13 are rules of lua/clients.md.
package runnel

import (
	"context"
	"embed"
	"fmt"
	"log"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"runnel/internal/redis"
	"runnel/internal/routing"
)

// The scripts are copies of those in lua: scripts/lua-blocks keeps them up to date.
//
//go:embed lua/*.lua
var scripts embed.FS

// Refused is an error reply of a script or of Redis: the call has written nothing. Its Word says why, as FULL.
type Refused = redis.Error

// App is a namespace of streams and processors in one Redis. Any number of goroutines may use it.
type App struct {
	Name string
	Logf func(format string, args ...any)
	pool *redis.Pool
}

// Open returns an app. The url is redis://[user:password@]host[:port][/database], or rediss:// for TLS; if it is
// empty, that in RUNNEL_REDIS_URL. It connects when it is used.
func Open(name, url string) *App {
	for _, each := range []string{os.Getenv("RUNNEL_REDIS_URL"), "redis://127.0.0.1:6379"} {
		if url == "" {
			url = each
		}
	}
	return &App{Name: name, Logf: log.Printf, pool: &redis.Pool{URL: url, Timeout: 3 * time.Second}}
}

// Close closes the connections that are idle, once workers and producers have ended.
func (a *App) Close() { a.pool.Close() }

// Stream is a log of events in partitions. All its clients must agree on the partition count.
type Stream struct {
	*App
	Name       string
	Partitions int
	Size       int    // Entries that a partition may hold.
	Codec      string // How this client writes: json or msgpack. Each entry says how to read it.
}

// Stream returns a stream of the app with the default size, written as JSON.
func (a *App) Stream(name string, partitions int) *Stream {
	return &Stream{App: a, Name: name, Partitions: partitions, Size: 50_000, Codec: "json"}
}

// Partition returns the partition of a key: text, bytes, an integer, or a UUID as [16]byte.
func (s *Stream) Partition(key any) (int, error) {
	data, err := routing.Bytes(key)
	return int(routing.Hash(data) % uint64(s.Partitions)), err
}

// Worker processes a stream, as a member of the processor's group. Change its fields before it runs.
type Worker struct {
	*Stream
	Processor string
	// Handler processes an event; those of a partition come one at a time, in order. If it returns nil, the event is
	// finished and committed. If it fails or panics, it is called again. Its ctx ends with the time to shut down.
	Handler func(ctx context.Context, event *Event) error

	Retries    int           // How often a failed event is tried again. Then its partition is quarantined.
	Backoff    time.Duration // Time before the first retry; it doubles, up to 30 s.
	Start      string        // Where a new processor starts: 0 is the oldest event, $ the next one to be sent.
	Member     string        // Unique among living workers.
	Session    time.Duration // Without a heartbeat for so long, the partitions go to others.
	Rebalance  time.Duration // Time to release a partition that is to move.
	JoinDelay  time.Duration // Time to wait for more workers before partitions move.
	ShutdownIn time.Duration // Time to finish what is in hand once the ctx of Run is done.

	life     context.Context // Ends when the time to shut down is over.
	stop     context.CancelFunc
	wake     chan struct{}
	deadline atomic.Pointer[time.Time] // The session has surely not ended before (W7).
	alone    sync.Mutex                // One event that may have killed workers at a time.
	mutex    sync.Mutex                // Guards what follows.
	leases   map[int]*lease
	released map[assignment]int64 // What is to be reported, and the grant that was seen there, or 0 (W5).
	failure  error
}

// Worker returns a worker with the defaults that clients in all languages should have.
func (s *Stream) Worker(processor string, handler func(context.Context, *Event) error) *Worker {
	host, _ := os.Hostname()
	host = regexp.MustCompile(`^[^a-zA-Z0-9]+|[^\w.-]`).ReplaceAllString(host, "") // What an id may have.
	if host == "" {
		host = "go"
	}
	w := &Worker{
		Stream: s, Processor: processor, Handler: handler,
		Retries: 3, Backoff: time.Second / 2, Start: "0",
		Member:  fmt.Sprintf("%s-%d-%s", host, os.Getpid(), random()[:6]),
		Session: 10 * time.Second, Rebalance: 30 * time.Second, JoinDelay: 200 * time.Millisecond, ShutdownIn: 30 * time.Second,
		wake: make(chan struct{}, 1), leases: map[int]*lease{}, released: map[assignment]int64{},
	}
	w.deadline.Store(&time.Time{})
	return w
}
