// The producer for `runnel conformance run`: it sends the records on stdin, and writes each that is sent to stdout.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"
	"sync"
	"time"

	"runnel"
)

type record struct {
	Key    string `json:"key"`
	Number int    `json:"number"`
	Work   int    `json:"work"`
	Text   string `json:"text"`
}

type result struct {
	Key    string `json:"key"`
	Number int    `json:"number"`
	ID     string `json:"id,omitempty"`
	Error  string `json:"error,omitempty"`
}

func main() {
	trials := runnel.Open("conformance", "").Stream("trials", 4)
	trials.Size = 300
	producer := trials.Producer()
	producer.Wait = true
	var sending sync.WaitGroup
	lanes := map[int]chan record{} // One for each partition: so events of a key stay in order.
	output := json.NewEncoder(os.Stdout)
	output.SetEscapeHTML(false)
	var writing sync.Mutex
	send := func(lane chan record) {
		defer sending.Done()
		for next := range lane {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			id, err := producer.Send(ctx, next.Key, next)
			cancel()
			done := result{Key: next.Key, Number: next.Number, ID: id}
			if err != nil {
				done.Error = err.Error()
			}
			writing.Lock()
			if err := output.Encode(done); err != nil {
				log.Fatal(err)
			}
			writing.Unlock()
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var next record
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			log.Fatalf("not a record: %s: %v", lines.Bytes(), err)
		}
		partition, err := trials.Partition(next.Key)
		if err != nil {
			log.Fatal(err)
		}
		if lanes[partition] == nil {
			lanes[partition] = make(chan record, 100)
			sending.Add(1)
			go send(lanes[partition])
		}
		lanes[partition] <- next
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	for _, lane := range lanes {
		close(lane)
	}
	sending.Wait()
}
