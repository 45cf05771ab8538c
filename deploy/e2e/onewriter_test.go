package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/deploy/sandbox"
)

// members are clients that know no route: one writes to each member directly, all the time, and remembers every accepted write.
type members struct {
	began time.Time // monotonic
	at    map[string]*direct
}

type direct struct {
	mu      sync.Mutex // held while a write is under way
	resting bool
	accepts []accept
}

// accept is one write that a member acknowledged; both times are monotonic.
type accept struct {
	seq         int64
	sent, acked time.Duration
}

func (s *shop) writeToMembers(t *testing.T) *members {
	t.Helper()
	s.exec(t, "CREATE TABLE IF NOT EXISTS past_route (site text, seq bigint, PRIMARY KEY (site, seq))")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	m := &members{began: time.Now(), at: map[string]*direct{}}
	var wait sync.WaitGroup
	for _, site := range []string{sandbox.East, sandbox.West} {
		d := &direct{}
		m.at[site] = d
		wait.Go(func() { s.writeDirectly(ctx, m, site, d) })
	}
	t.Cleanup(func() { cancel(); wait.Wait() })
	return m
}

func (s *shop) writeDirectly(ctx context.Context, m *members, site string, d *direct) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}()
	for seq := int64(1); ctx.Err() == nil; seq++ {
		d.mu.Lock()
		if !d.resting {
			one, stop := context.WithTimeout(ctx, time.Second)
			var err error
			if conn == nil || conn.IsClosed() {
				conn, err = s.sandbox.Connect(one, system, site)
			}
			if err == nil {
				a := accept{seq: seq, sent: time.Since(m.began)}
				if _, err = conn.Exec(one, "INSERT INTO past_route VALUES ($1, $2)", site, seq); err == nil {
					a.acked = time.Since(m.began)
					d.accepts = append(d.accepts, a)
				}
			} else {
				conn = nil
			}
			stop()
		}
		d.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(4 * time.Millisecond):
		}
	}
}

// rest returns when no write is under way, and none starts until goOn.
func (m *members) rest()               { m.setResting(true) }
func (m *members) goOn()               { m.setResting(false) }
func (m *members) mark() time.Duration { return time.Since(m.began) }

func (m *members) setResting(resting bool) {
	for _, d := range m.at {
		d.mu.Lock()
		d.resting = resting
		d.mu.Unlock()
	}
}

// since returns the writes that a member accepted, sent after the mark.
func (m *members) since(mark time.Duration, site string) []accept {
	d := m.at[site]
	d.mu.Lock()
	defer d.mu.Unlock()
	from, _ := slices.BinarySearchFunc(d.accepts, mark, func(a accept, at time.Duration) int { return int(a.sent - at) })
	return slices.Clone(d.accepts[from:])
}

// twoWriters finds a write that the old primary accepted after the new one had accepted one; nil where there is none. It is
// certain: the later write was sent after the earlier one was acknowledged.
func twoWriters(from, to []accept) error {
	if len(from) == 0 || len(to) == 0 {
		return nil
	}
	last, first := from[len(from)-1], to[0]
	if last.sent > first.acked {
		return fmt.Errorf("two writers for %s: write %d was sent to the old primary and accepted %s after the new one had accepted its first",
			last.sent-first.acked, last.seq, last.sent-first.acked)
	}
	return nil
}

// requireOneWriter holds a move to its promise and returns for how long nobody accepted writes.
func (m *members) requireOneWriter(t *testing.T, mark time.Duration, here, there string) time.Duration {
	t.Helper()
	to := awaited(t, "writes that "+there+" accepts", 5*time.Second, func() ([]accept, bool) {
		a := m.since(mark, there)
		return a, len(a) > 0
	})
	from := m.since(mark, here)
	require.NoError(t, twoWriters(from, to))
	if len(from) == 0 {
		return 0
	}
	return to[0].acked - from[len(from)-1].acked
}

// requireStill holds a run that moved nothing to it: the other member accepted no write.
func (m *members) requireStill(t *testing.T, mark time.Duration, there string) {
	t.Helper()
	require.Empty(t, m.since(mark, there), "writes that %s accepted", there)
}

// requireNothingLost looks for every write that the old primary accepted since the mark.
func (m *members) requireNothingLost(t *testing.T, s *shop, mark time.Duration, site string) {
	t.Helper()
	accepted := m.since(mark, site)
	require.NotEmpty(t, accepted)
	there := s.numbers(t, "SELECT seq FROM past_route WHERE site = $1 AND seq >= $2 ORDER BY seq", site, accepted[0].seq)
	for _, a := range accepted {
		_, found := slices.BinarySearch(there, a.seq)
		require.True(t, found, "write %d, which %s accepted, is gone", a.seq, site)
	}
}
