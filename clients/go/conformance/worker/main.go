// The worker for `runnel conformance run`: it writes what it processes to stdout.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"runnel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	trials := runnel.Open("conformance", "").Stream("trials", 4)
	trials.Size = 300
	var mutex sync.Mutex
	failures := map[string]int{}
	worker := trials.Worker("kit", func(ctx context.Context, event *runnel.Event) error {
		var record struct {
			Work, Fail, Block int
			Die               bool
		}
		var whole map[string]any
		if err := event.Decode(&record); err != nil {
			return err
		}
		if err := event.Decode(&whole); err != nil {
			return err
		}
		time.Sleep(time.Duration(record.Work+record.Block) * time.Millisecond)
		mutex.Lock()
		failures[event.ID]++
		failed := record.Die || failures[event.ID] <= record.Fail
		mutex.Unlock()
		said := map[string]any{"partition": event.Partition, "id": event.ID}
		if failed {
			said["failed"] = true
		} else {
			said["record"] = whole
		}
		line, err := json.Marshal(said)
		if err == nil {
			_, err = os.Stdout.Write(append(line, '\n'))
		}
		if record.Die {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		} else if failed && err == nil {
			err = errors.New("as the record says")
		}
		return err
	})
	if seconds, err := strconv.ParseFloat(os.Getenv("RUNNEL_SESSION_TIMEOUT"), 64); err == nil {
		worker.Session = time.Duration(seconds * float64(time.Second))
	}
	if name := os.Getenv("RUNNEL_CONFORMANCE_MEMBER"); name != "" {
		worker.Member = name
	}
	if err := worker.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
