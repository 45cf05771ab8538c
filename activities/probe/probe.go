// Package probe asks the way a client would: TCP, HTTP, SQL, and a write and a read through a route.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// timeout of one probe; a shorter deadline of its context wins.
const timeout = 5 * time.Second

// Opener opens marks at an address as the system's driver does (activities.System.Marks).
type Opener = func(ctx context.Context, t activities.Target, address string) (activities.Marks, error)

// TCP connects to host:port and closes again.
func TCP(ctx context.Context, address string) (journal.Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: "probe tcp " + address, Err: err, Next: "write host:port"}
	}
	start := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrUnreachable, Op: "probe tcp " + address, Err: err}
	}
	_ = conn.Close()
	return journal.Facts{"tcp": "connected in " + took(start)}, nil
}

// HTTP gets url and expects the status want. It follows no redirect: where a route sends its clients is part of the answer.
func HTTP(ctx context.Context, url string, want int) (journal.Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	op := "probe http"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil && request.URL.Host == "" {
		err = errors.New("the address has no host")
	}
	if err != nil { // not naming the address: it may hold a password
		return nil, &activities.Error{Type: activities.ErrConfig, Op: op, Err: errors.New("not an address such as http://host:port/path")}
	}
	op += " " + request.URL.Redacted()
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // a connection of its own: a kept one would not show where new clients go
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	start := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrUnreachable, Op: op, Err: errors.Unwrap(err)}
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	facts := journal.Facts{"http": strconv.Itoa(response.StatusCode) + " in " + took(start)}
	switch response.StatusCode {
	case want:
		return facts, nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return facts, &activities.Error{Type: activities.ErrAuth, Op: op, Err: fmt.Errorf("status %d, expected %d", response.StatusCode, want)}
	default:
		return facts, &activities.Error{Type: activities.ErrNotYet, Op: op, Err: fmt.Errorf("status %d, expected %d", response.StatusCode, want)}
	}
}

// SQL writes the next mark of writer, reads it back over the same connection, forgets the writer's marks, and returns which
// member answered. Use a writer of its own.
func SQL(ctx context.Context, marks activities.Marks, writer string) (journal.Facts, error) {
	where, err := marks.Where(ctx)
	if err != nil {
		return nil, fmt.Errorf("probe sql: which member answers: %w", err)
	}
	last, err := marks.Last(ctx, writer) // an attempt that was killed after its write left its mark
	if err != nil {
		return nil, fmt.Errorf("probe sql: last mark: %w", err)
	}
	seq := last + 1
	if err := marks.Write(ctx, writer, seq); err != nil {
		return nil, fmt.Errorf("probe sql: write: %w", err)
	}
	found, err := marks.Read(ctx, writer, seq, seq)
	if err != nil {
		return nil, fmt.Errorf("probe sql: read: %w", err)
	}
	if len(found) != 1 || found[0] != seq {
		return nil, &activities.Error{Type: activities.ErrNotYet, Op: "probe sql", Err: fmt.Errorf("mark %d was acknowledged and is not there to read", seq)}
	}
	if err := marks.Forget(ctx, writer, seq+1); err != nil {
		return nil, fmt.Errorf("probe sql: clean up: %w", err)
	}
	return where, nil
}

func took(start time.Time) string { return time.Since(start).Round(10 * time.Microsecond).String() }
