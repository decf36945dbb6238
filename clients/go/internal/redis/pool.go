package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Pool sends commands to one server. Commands in flight at the same time have a connection each.
type Pool struct {
	URL     string
	Timeout time.Duration // Of a connection attempt, and of a command.

	mutex sync.Mutex
	idle  []*Conn
}

// Do sends commands once, in one go; `block` is how long the server may wait before it answers. An Error means
// that a command was refused; another error that nobody knows which commands ran.
func (p *Pool) Do(ctx context.Context, block time.Duration, commands ...[]any) (replies []any, err error) {
	p.mutex.Lock()
	var conn *Conn
	if last := len(p.idle) - 1; last >= 0 {
		conn, p.idle = p.idle[last], p.idle[:last]
	}
	p.mutex.Unlock()
	if conn == nil {
		if conn, err = Dial(ctx, p.URL, p.Timeout); err != nil {
			return nil, err
		}
	}
	if replies, err = conn.Do(ctx, p.Timeout+block, commands...); err != nil {
		conn.Close() // A late reply must not be taken for that of the next command.
		if ctx.Err() == nil {
			p.Close() // The others are likely to be broken, too.
		}
		return nil, err
	}
	for _, reply := range replies {
		if refused, isError := reply.(Error); isError && err == nil {
			err = refused
		}
	}
	p.mutex.Lock()
	p.idle = append(p.idle, conn)
	p.mutex.Unlock()
	if refused, isError := err.(Error); isError && (refused.Word() == "READONLY" || refused.Word() == "MASTERDOWN") {
		p.Close() // The address may lead to another server by now.
	}
	return replies, err
}

// Close closes the connections that nobody uses.
func (p *Pool) Close() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, each := range p.idle {
		each.Close()
	}
	p.idle = nil
}

// Run runs a script once and returns its reply. NOSCRIPT means that it did not run: it is loaded and sent again.
func (p *Pool) Run(ctx context.Context, body []byte, keys []string, args []any) ([]any, error) {
	sha := sha1.Sum(body)
	command := []any{"EVALSHA", hex.EncodeToString(sha[:]), len(keys)}
	for _, key := range keys {
		command = append(command, key)
	}
	command = append(command, args...)
	for {
		replies, err := p.Do(ctx, 0, command)
		if refused, isError := err.(Error); isError && refused.Word() == "NOSCRIPT" {
			if _, err = p.Do(ctx, 0, []any{"SCRIPT", "LOAD", body}); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if list, isList := replies[0].([]any); isList {
			return list, nil
		}
		return replies, nil
	}
}

// Listen calls ring for each message of a channel, and after each subscription to it, until ctx is done.
func (p *Pool) Listen(ctx context.Context, channel string, ring func()) {
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		conn, err := Dial(ctx, p.URL, p.Timeout)
		if err != nil {
			continue
		}
		_, err = conn.Do(ctx, p.Timeout, []any{"SUBSCRIBE", channel})
		for quiet := false; err == nil; {
			if !quiet {
				ring()
			}
			var message any
			message, err = conn.Receive(ctx, 30*time.Second)
			if quiet = message == nil; quiet && ctx.Err() == nil {
				// A connection that is dead without a sign would stay so: ask it.
				_, err = conn.Do(ctx, p.Timeout, []any{"PING"})
			}
		}
		conn.Close()
	}
}

// Word is the first word of the error: its kind.
func (e Error) Word() string {
	word, _, _ := strings.Cut(string(e), " ")
	return word
}

// Detail returns the value of a detail, as NAME in "FULL processor=NAME".
func (e Error) Detail(name string) string {
	_, value, _ := strings.Cut(string(e), " "+name+"=")
	value, _, _ = strings.Cut(value, " ")
	return value
}

// Refusal returns the error reply that err is, if its word is one of these. No words mean any.
func Refusal(err error, words ...string) (refused Error, is bool) {
	if !errors.As(err, &refused) {
		return "", false
	}
	for _, each := range words {
		if each == refused.Word() {
			return refused, true
		}
	}
	return refused, len(words) == 0
}

// Passes returns whether a call that ended with this error is to be sent again: there was no reply, or Redis cannot
// run it at present.
func Passes(err error) bool {
	_, refused := Refusal(err)
	_, passes := Refusal(err, "LOADING", "BUSY", "MASTERDOWN", "READONLY", "OOM", "NOREPLICAS", "MISCONF", "TRYAGAIN", "CLUSTERDOWN")
	return err != nil && (passes || !refused)
}

// Pause waits. It returns false once ctx is done.
func Pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
	return ctx.Err() == nil
}

// Text returns a reply, or a part of one, as text.
func Text(reply any) string {
	if data, isBytes := reply.([]byte); isBytes {
		return string(data)
	}
	return fmt.Sprint(reply)
}

// Number returns a reply, or a part of one, as a number; 0 if it is none.
func Number(reply any) int64 {
	if number, isNumber := reply.(int64); isNumber {
		return number
	}
	number, _ := strconv.ParseInt(Text(reply), 10, 64)
	return number
}
