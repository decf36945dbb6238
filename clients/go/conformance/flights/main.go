// Flights of aircraft, as in tests/clients/flights.py: a worker, or with a file, the sender of its flights.
package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"runnel"
)

type flight struct {
	Tailnum  string `json:"tailnum"`
	Number   int    `json:"number"`
	Distance int    `json:"distance"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	flights := runnel.Open("flights", os.Getenv("URL")).Stream("flights", 12)
	if len(os.Args) > 1 {
		if err := send(ctx, flights, os.Args[1]); err != nil {
			log.Fatal(err)
		}
		return
	}
	worker := flights.Worker("history", remember)
	worker.Session, worker.JoinDelay, worker.Member = 2*time.Second, 0, os.Getenv("NAME")
	worker.Backoff = 10 * time.Millisecond
	if err := worker.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func remember(_ context.Context, event *runnel.Event) error {
	var next flight
	if err := event.Decode(&next); err != nil {
		return err
	}
	var history, chain string
	var count, miles int
	if _, err := event.Get("history", next.Tailnum, &history); err != nil {
		return err
	}
	fmt.Sscan(history, &count, &miles, &chain)
	sum := sha1.Sum([]byte(fmt.Sprintf("%s %d", chain, next.Number)))
	time.Sleep(time.Millisecond)
	return event.Set("history", next.Tailnum, fmt.Sprintf("%d %d %.16s", count+1, miles+next.Distance, fmt.Sprintf("%x", sum)))
}

func send(ctx context.Context, flights *runnel.Stream, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	producer := flights.Producer()
	producer.Wait = true
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var next flight
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			return err
		}
		if _, err := producer.Send(ctx, next.Tailnum, next); err != nil {
			return err
		}
	}
	return lines.Err()
}
