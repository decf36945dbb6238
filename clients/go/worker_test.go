package runnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"runnel/internal/redis"
)

// server starts a Redis of its own and returns its URL.
func server(t *testing.T) string {
	program := os.Getenv("REDIS_SERVER")
	if program == "" {
		program = "redis-server"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	listener.Close()
	command := exec.Command(program, "--port", port, "--save", "", "--dir", t.TempDir())
	if err := command.Start(); err != nil {
		t.Fatalf("%v: give the path of redis-server in REDIS_SERVER", err)
	}
	t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	url := "redis://127.0.0.1:" + port
	until(t, "the server answers", func() bool {
		conn, err := redis.Dial(context.Background(), url, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return url
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: until %s", what)
		}
	}
}

// messages collects what an app logs.
type messages struct {
	mutex sync.Mutex
	lines []string
}

func (m *messages) logf(format string, args ...any) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.lines = append(m.lines, fmt.Sprintf(format, args...))
}

func (m *messages) has(part string) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return strings.Contains(strings.Join(m.lines, "\n"), part)
}

type item struct {
	Key    string `json:"key"`
	Number int    `json:"number"`
}

func open(t *testing.T, url string) (*Stream, *messages) {
	app, log := Open("app", url), &messages{}
	app.Logf = log.logf
	t.Cleanup(app.Close)
	return app.Stream("items", 4), log
}

func quick(stream *Stream, handler func(context.Context, *Event) error) *Worker {
	worker := stream.Worker("sums", handler)
	worker.Session, worker.JoinDelay, worker.Backoff = 600*time.Millisecond, 0, time.Millisecond
	return worker
}

// start runs a worker. The function that it returns stops it and returns its error.
func start(t *testing.T, worker *Worker) (stop func() error, ended chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan error, 2)
	go func() { err := worker.Run(ctx); ended <- err; ended <- err }()
	stop = func() error { cancel(); return <-ended }
	t.Cleanup(func() { stop() })
	return stop, ended
}

func send(t *testing.T, stream *Stream, items ...item) (id string) {
	t.Helper()
	producer := stream.Producer()
	for _, each := range items {
		var err error
		if id, err = producer.Send(context.Background(), each.Key, each); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// field returns a field of the state of the processor on a partition.
func field(t *testing.T, stream *Stream, partition int, name string) string {
	t.Helper()
	key := stream.key(partition, "processor:sums")
	replies, err := stream.pool.Do(context.Background(), 0, []any{"HGET", key, name})
	if err != nil {
		t.Fatal(err)
	}
	if replies[0] == nil {
		return ""
	}
	return redis.Text(replies[0])
}

func processed(t *testing.T, stream *Stream) (sum int64) {
	for partition := 0; partition < stream.Partitions; partition++ {
		sum += redis.Number(field(t, stream, partition, "processed"))
	}
	return sum
}

func add(ctx context.Context, event *Event) error {
	var one item
	var sum int
	if err := event.Decode(&one); err != nil {
		return err
	}
	if _, err := event.Get("sum", one.Key, &sum); err != nil {
		return err
	}
	return event.Set("sum", one.Key, sum+one.Number)
}

// numbers returns some items of five keys, and the sum of each.
func numbers(count int) (items []item, sums map[string]int) {
	sums = map[string]int{}
	for i := 0; i < count; i++ {
		one := item{fmt.Sprintf("k%d", i%5), i}
		items, sums[one.Key] = append(items, one), sums[one.Key]+i
	}
	return items, sums
}

func checkSums(t *testing.T, stream *Stream, sums map[string]int) {
	t.Helper()
	for key, want := range sums {
		partition, _ := stream.Partition(key)
		replies, err := stream.pool.Do(context.Background(), 0, []any{"HGET", stream.key(partition, "table:sum"), key})
		if err != nil || redis.Text(replies[0]) != fmt.Sprint(want) {
			t.Errorf("sum of %s: %s, not %d (%v)", key, replies, want, err)
		}
	}
}

func TestTwoWorkersShareAndOneTakesOver(t *testing.T) {
	stream, _ := open(t, server(t))
	stop1, _ := start(t, quick(stream, add))
	first := quick(stream, add)
	stop2, _ := start(t, first)
	owners := func() map[string]bool {
		found := map[string]bool{}
		for n := 0; n < stream.Partitions; n++ {
			found[field(t, stream, n, "owner")] = true
		}
		return found
	}
	until(t, "both have partitions", func() bool { return len(owners()) == 2 && !owners()[""] })
	items, sums := numbers(200)
	send(t, stream, items...)
	if err := stop1(); err != nil {
		t.Error(err)
	}
	until(t, "all are processed", func() bool { return processed(t, stream) == 200 })
	until(t, "the other one owns all", func() bool { return len(owners()) == 1 && owners()[first.Member] })
	if err := stop2(); err != nil {
		t.Error(err)
	}
	checkSums(t, stream, sums)
	replies, _ := stream.pool.Do(context.Background(), 0, []any{"ZCARD", "runnel:{app:items@sums}:sessions"})
	if redis.Number(replies[0]) != 0 {
		t.Error("a worker that has ended is still a member")
	}
}

func TestOrderOfEachPartition(t *testing.T) {
	stream, _ := open(t, server(t))
	var mutex sync.Mutex
	got := map[string][]int{}
	items, _ := numbers(300)
	send(t, stream, items...)
	start(t, quick(stream, func(_ context.Context, event *Event) error {
		var one item
		err := event.Decode(&one)
		mutex.Lock()
		defer mutex.Unlock()
		got[one.Key] = append(got[one.Key], one.Number)
		return err
	}))
	until(t, "all are processed", func() bool { return processed(t, stream) == 300 })
	for key, numbers := range got {
		for i := 1; i < len(numbers); i++ {
			if numbers[i] <= numbers[i-1] {
				t.Fatalf("%s: %v", key, numbers)
			}
		}
	}
}

func TestFailures(t *testing.T) {
	for name, handler := range map[string]func(context.Context, *Event) error{
		"error": func(context.Context, *Event) error { return errors.New("no") },
		"panic": func(context.Context, *Event) error { panic("no") },
		"words of the protocol": func(context.Context, *Event) error {
			return Refused("FENCED epoch=no") // Of a call that the handler made.
		},
		"too many writes": func(_ context.Context, event *Event) error {
			for i := 0; i < 1001; i++ {
				if err := event.Set("no", i, i); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			stream, log := open(t, server(t))
			var tries int32
			worker := quick(stream, func(ctx context.Context, event *Event) error {
				if n := atomic.AddInt32(&tries, 1); int64(n) != event.Attempt {
					t.Errorf("attempt %d is called %d", n, event.Attempt)
				}
				return handler(ctx, event)
			})
			stop, _ := start(t, worker)
			id := send(t, stream, item{"a", 1})
			partition, _ := stream.Partition("a")
			until(t, "it is quarantined", func() bool { return field(t, stream, partition, "quarantined") == "1" })
			if got := field(t, stream, partition, "attempts"); got != "4" || tries != 4 || !log.has("quarantined") {
				t.Errorf("%s attempts, %d tries", got, tries)
			}
			if field(t, stream, partition, "event") != id || !strings.Contains(field(t, stream, partition, "error_message"), "no") && name != "too many writes" {
				t.Error(field(t, stream, partition, "event"), field(t, stream, partition, "error_message"))
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAHandlerThatEndsItsGoroutineEndsTheWorker(t *testing.T) {
	stream, _ := open(t, server(t))
	_, ended := start(t, quick(stream, func(context.Context, *Event) error { runtime.Goexit(); return nil }))
	send(t, stream, item{"a", 1})
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "goroutine") {
		t.Error(err)
	}
}

func TestWhatIsWrittenLaterIsRefused(t *testing.T) {
	stream, _ := open(t, server(t))
	kept := make(chan *Event, 1)
	start(t, quick(stream, func(_ context.Context, event *Event) error { kept <- event; return nil }))
	send(t, stream, item{"a", 1})
	event := <-kept
	until(t, "it is processed", func() bool { return processed(t, stream) == 1 })
	if err := event.Set("sum", "a", 1); err == nil || !strings.Contains(err.Error(), "over") {
		t.Error(err)
	}
}

func TestShutdownHasALimit(t *testing.T) {
	stream, _ := open(t, server(t))
	begun := make(chan bool, 1)
	worker := quick(stream, func(ctx context.Context, _ *Event) error { begun <- true; <-ctx.Done(); return nil })
	worker.ShutdownIn = 50 * time.Millisecond
	stop, _ := start(t, worker)
	send(t, stream, item{"a", 1})
	<-begun
	if err := stop(); err == nil || !strings.Contains(err.Error(), "not all was finished") {
		t.Error(err)
	}
	if processed(t, stream) != 0 {
		t.Error("an event is committed that was given up")
	}
}

func TestLossesAreCounted(t *testing.T) {
	stream, log := open(t, server(t))
	release := make(chan bool)
	start(t, quick(stream, func(context.Context, *Event) error { <-release; return nil }))
	partition, _ := stream.Partition("a")
	send(t, stream, item{"a", 1})
	release <- true
	until(t, "the first one is processed", func() bool { return processed(t, stream) == 1 })
	events := stream.key(partition, "log")
	if _, err := stream.pool.Do(context.Background(), 0, []any{"MULTI"}, []any{"XADD", events, "*", "json", "{}"},
		[]any{"XADD", events, "*", "json", "{}"}, []any{"XTRIM", events, "MAXLEN", 1}, []any{"EXEC"}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			select {
			case release <- true:
			case <-time.After(10 * time.Second):
				return
			}
		}
	}()
	until(t, "the loss is known", func() bool { return field(t, stream, partition, "lost") == "1" })
	if !log.has("1 events after") {
		t.Error(log.lines)
	}
	until(t, "the last one is processed", func() bool { return processed(t, stream) == 2 })
}

// A former primary may have shown an event that no other server has. Its producer sends it again.
func TestAnEventThatOnlyAFormerPrimaryHadWritesNothing(t *testing.T) {
	stream, log := open(t, server(t))
	partition, _ := stream.Partition("a")
	events := stream.key(partition, "log")
	var calls atomic.Int32
	start(t, quick(stream, func(ctx context.Context, event *Event) error {
		if calls.Add(1) == 1 {
			_, err := stream.pool.Do(ctx, 0, []any{"MULTI"}, []any{"DEL", events},
				[]any{"XADD", events, "9999999999999-0", "json", `{"key":"a","number":2}`},
				[]any{"XADD", events, "9999999999999-1", "json", `{"key":"a","number":1}`},
				[]any{"XGROUP", "CREATE", events, "sums", "0", "ENTRIESREAD", "0"}, []any{"EXEC"})
			if err != nil {
				return err
			}
		}
		return add(ctx, event)
	}))
	send(t, stream, item{"a", 1})
	until(t, "what there is now is processed", func() bool { return processed(t, stream) == 2 })
	if !log.has("lost the lease: CONFLICT") || calls.Load() != 3 {
		t.Error(calls.Load(), log.lines)
	}
	checkSums(t, stream, map[string]int{"a": 3})
}

func TestKeysThatWereLostAreRestored(t *testing.T) {
	stream, log := open(t, server(t))
	start(t, quick(stream, add))
	partition, _ := stream.Partition("a")
	send(t, stream, item{"a", 1})
	until(t, "it is processed", func() bool { return processed(t, stream) == 1 })
	if _, err := stream.pool.Do(context.Background(), 0, []any{"DEL", stream.key(partition, "processor:sums")}); err != nil {
		t.Fatal(err)
	}
	send(t, stream, item{"a", 1}, item{"a", 1})
	until(t, "the others are processed", func() bool { return log.has("LOST") && field(t, stream, partition, "read") == "3" })
}

func TestWhatThisClientDoesNotKnowIsRefused(t *testing.T) {
	stream, _ := open(t, server(t))
	if err := Open("app", "redis+cluster://x").Stream("s", 1).Worker("p", add).Run(context.Background()); err == nil || !strings.Contains(err.Error(), "Cluster") {
		t.Error(err)
	}
	stop, _ := start(t, quick(stream, add))
	until(t, "it is registered", func() bool { return field(t, stream, 3, "owner") != "" })
	stop()
	if _, err := stream.pool.Do(context.Background(), 0, []any{"HSET", stream.key(3, "processor:sums"), "parked", 1}); err != nil {
		t.Fatal(err)
	}
	_, ended := start(t, quick(stream, add))
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "parked") {
		t.Error(err)
	}
}

func timeout(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestASecondWorkerOfTheSameNameReplacesTheFirst(t *testing.T) {
	stream, _ := open(t, server(t))
	one, other := quick(stream, add), quick(stream, add)
	one.Member, other.Member = "same", "same"
	_, ended := start(t, one)
	until(t, "the first one works", func() bool { return field(t, stream, 3, "owner") == "same" })
	start(t, other)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "REPLACED") {
		t.Error(err)
	}
	send(t, stream, item{"a", 1})
	until(t, "the second one works", func() bool { return processed(t, stream) == 1 })
}

func TestAFullPartition(t *testing.T) {
	stream, log := open(t, server(t))
	stream.Size = 3
	worker := quick(stream, func(ctx context.Context, _ *Event) error { <-ctx.Done(); return nil })
	worker.ShutdownIn = time.Millisecond
	start(t, worker)
	until(t, "it is registered", func() bool { return field(t, stream, 3, "owner") != "" })
	send(t, stream, item{"a", 1}, item{"a", 2}, item{"a", 3})
	producer := stream.Producer()
	var refused Refused
	if _, err := producer.Send(context.Background(), "a", item{}); !errors.As(err, &refused) || refused.Word() != "FULL" || refused.Detail("processor") != "sums" {
		t.Error(err)
	}
	producer.Wait = true
	if _, err := producer.Send(timeout(t, 100*time.Millisecond), "a", item{}); !errors.Is(err, context.DeadlineExceeded) || !log.has("waits for room") {
		t.Error(err)
	}
}

func TestEventsOfOthersThatAreDue(t *testing.T) {
	stream, _ := open(t, server(t))
	body, err := os.ReadFile("../../lua/append_later.lua")
	if err != nil {
		t.Fatal(err)
	}
	partition, _ := stream.Partition("a")
	send(t, stream, item{"a", 0})
	later := func(key string) {
		keys := []string{stream.key(partition, "meta"), stream.key(partition, "delayed"), stream.key(partition, "delayed:"+key)}
		args := stream.contract(stream.Size, "delay", 1, 60_000, 2, "json", `{"key":"a","number":7}`)
		if _, err := stream.pool.Run(context.Background(), body, keys, args); err != nil {
			t.Fatal(err)
		}
	}
	later("one")
	time.Sleep(5 * time.Millisecond)
	send(t, stream, item{"a", 1}) // OVERDUE: the other one goes first.
	later("two")
	start(t, quick(stream, add))
	until(t, "all four are processed", func() bool { return processed(t, stream) == 4 })
	checkSums(t, stream, map[string]int{"a": 15})
}

// cutter is a proxy that loses one of so many replies and cuts the connection.
func cutter(t *testing.T, url string, every int64) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var replies int64
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(url, "redis://"))
			if err != nil {
				client.Close()
				continue
			}
			go func() { io.Copy(server, client); server.Close() }()
			go func() {
				defer client.Close()
				defer server.Close()
				buffer := make([]byte, 1<<16)
				for {
					count, err := server.Read(buffer)
					if err != nil || atomic.AddInt64(&replies, 1)%every == 0 {
						return
					}
					if _, err := client.Write(buffer[:count]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "redis://" + listener.Addr().String()
}

func TestLostRepliesAndForgottenScripts(t *testing.T) {
	url := server(t)
	stream, _ := open(t, cutter(t, url, 7))
	direct, _ := open(t, url)
	start(t, quick(stream, add))
	start(t, quick(stream, add))
	items, sums := numbers(300)
	flushing := timeout(t, 30*time.Second)
	go func() {
		for flushing.Err() == nil {
			direct.pool.Do(flushing, 0, []any{"SCRIPT", "FLUSH"})
			time.Sleep(20 * time.Millisecond)
		}
	}()
	send(t, stream, items...)
	until(t, "all are processed", func() bool { return processed(t, direct) == 300 })
	checkSums(t, direct, sums)
}

func TestPasswordsAndDatabases(t *testing.T) {
	url := server(t)
	stream, _ := open(t, url)
	if _, err := stream.pool.Do(context.Background(), 0, []any{"ACL", "SETUSER", "me", "on", ">secret", "~*", "&*", "+@all"}); err != nil {
		t.Fatal(err)
	}
	for rest, ok := range map[string]bool{"me:secret@127.0.0.1": true, "me:wrong@127.0.0.1": false} {
		at := strings.Replace(url, "127.0.0.1", rest, 1) + "/3"
		other, _ := open(t, at)
		_, err := other.Producer().Send(timeout(t, 5*time.Second), "a", item{})
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", rest, err)
		}
	}
}

func TestTheRegistryKeepsWhatThisClientDoesNotKnow(t *testing.T) {
	stream, _ := open(t, server(t))
	stream.Size = 300
	for before, want := range map[string]string{
		"":                         "4 items 300 0 always",
		"4 items 70 5 until_full":  "4 items 300 5 until_full",
		"4 items":                  "4 items 300 0 always",
		"8 items 300 5 until_full": "4 items 300 0 always",
	} {
		registry := "runnel:{" + stream.App.Name + "}:streams"
		if _, err := stream.pool.Do(context.Background(), 0, []any{"HSET", registry, stream.Name, before}); err != nil {
			t.Fatal(err)
		}
		if err := quick(stream, add).registry(context.Background()); err != nil {
			t.Fatal(err)
		}
		replies, err := stream.pool.Do(context.Background(), 0, []any{"HGET", registry, stream.Name})
		if err != nil || redis.Text(replies[0]) != want {
			t.Errorf("%q becomes %s, not %q (%v)", before, replies, want, err)
		}
	}
}
