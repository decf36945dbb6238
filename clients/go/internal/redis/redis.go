// Package redis speaks Redis's protocol (RESP2) over a connection. It repeats nothing: who calls it must know
// when a call was first sent, and whether an old one can still arrive.
package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Error is an error reply of the server.
type Error string

func (e Error) Error() string { return string(e) }

// Conn is a connection to one server. One goroutine uses it at a time.
type Conn struct {
	conn    net.Conn
	replies *bufio.Reader
}

// Dial connects to redis://[user:password@]host[:port][/database], or rediss:// for TLS, within the timeout.
func Dial(ctx context.Context, address string, timeout time.Duration) (*Conn, error) {
	target, err := url.Parse(address)
	if err != nil || target.Hostname() == "" || target.Scheme != "redis" && target.Scheme != "rediss" {
		return nil, Error("URL is not of the form redis://HOST or rediss://HOST; a Cluster and sentinels are not supported")
	}
	port := target.Port()
	if port == "" {
		port = "6379"
	}
	dialer := &net.Dialer{Timeout: timeout}
	host := net.JoinHostPort(target.Hostname(), port)
	dial := dialer.DialContext
	if target.Scheme == "rediss" {
		dial = (&tls.Dialer{NetDialer: dialer}).DialContext
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(within, "tcp", host)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn, bufio.NewReaderSize(conn, 1<<16)}
	var hello [][]any
	if password, ok := target.User.Password(); ok && target.User.Username() != "" {
		hello = append(hello, []any{"AUTH", target.User.Username(), password})
	} else if ok {
		hello = append(hello, []any{"AUTH", password})
	}
	if database := strings.Trim(target.Path, "/"); database != "" {
		hello = append(hello, []any{"SELECT", database})
	}
	replies, err := c.Do(within, timeout, hello...)
	for _, reply := range replies {
		if refused, ok := reply.(Error); ok && err == nil {
			err = refused
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the connection.
func (c *Conn) Close() { c.conn.Close() }

// Do sends commands in one go and returns their replies: []byte, int64, nil, Error, or []any of these. After an
// error the connection is of no use, and nobody knows which commands ran. The end of ctx ends it at once.
func (c *Conn) Do(ctx context.Context, timeout time.Duration, commands ...[]any) ([]any, error) {
	var out []byte
	for _, command := range commands {
		out = fmt.Appendf(out, "*%d\r\n", len(command))
		for _, word := range command {
			data, isBytes := word.([]byte)
			if !isBytes {
				data = []byte(fmt.Sprint(word))
			}
			out = fmt.Appendf(out, "$%d\r\n", len(data))
			out = append(append(out, data...), '\r', '\n')
		}
	}
	replies := make([]any, 0, len(commands))
	err := c.within(ctx, timeout, func() error {
		if _, err := c.conn.Write(out); err != nil {
			return err
		}
		for range commands {
			reply, err := c.read()
			if err != nil {
				return err
			}
			replies = append(replies, reply)
		}
		return nil
	})
	return replies, err
}

// Receive waits for a message that the server sends by itself, as after SUBSCRIBE. It returns nil if none came.
func (c *Conn) Receive(ctx context.Context, timeout time.Duration) (message any, err error) {
	err = c.within(ctx, timeout, func() error {
		if _, err := c.replies.Peek(1); err != nil {
			return err
		}
		message, err = c.read()
		return err
	})
	if late, isNet := err.(net.Error); isNet && late.Timeout() && message == nil {
		return nil, ctx.Err()
	}
	return message, err
}

// within does something with the connection for so long at most, and until ctx is done.
func (c *Conn) within(ctx context.Context, timeout time.Duration, work func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ctx.Done():
			c.conn.SetDeadline(time.Unix(1, 0))
		case <-done:
		}
	}()
	err := work()
	close(done)
	<-watched
	return err
}

func (c *Conn) read() (any, error) {
	line, err := c.replies.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, fmt.Errorf("not a reply of Redis: %q", line)
	}
	kind, text := line[0], strings.TrimSuffix(line[1:], "\r\n")
	if kind == '+' {
		return []byte(text), nil
	} else if kind == '-' {
		return Error(text), nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("not a reply of Redis: %q", line)
	}
	switch {
	case kind == ':':
		return number, nil
	case number < 0:
		return nil, nil
	case kind == '$':
		data := make([]byte, number+2)
		if _, err := io.ReadFull(c.replies, data); err != nil {
			return nil, err
		}
		return data[:number], nil
	case kind == '*':
		list := []any{}
		for ; number > 0; number-- {
			item, err := c.read()
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		return list, nil
	}
	return nil, fmt.Errorf("not a reply of Redis: %q", line)
}
