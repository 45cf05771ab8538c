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
	found func(t *testing.T, site string, from int64) []int64 // the numbers of a site's writes that the primary has
}

// put writes a number to one member, on a connection that it opens anew where the last one broke.
type put func(ctx context.Context, seq int64) error

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
	found := func(t *testing.T, site string, from int64) []int64 {
		t.Helper()
		return s.numbers(t, "SELECT seq FROM past_route WHERE site = $1 AND seq >= $2 ORDER BY seq", site, from)
	}
	return startMembers(t, found, func(site string) (put, func()) {
		var conn *pgx.Conn
		return func(ctx context.Context, seq int64) error {
				if conn == nil || conn.IsClosed() {
					var err error
					if conn, err = s.sandbox.Connect(ctx, system, site); err != nil {
						conn = nil
						return err
					}
				}
				_, err := conn.Exec(ctx, "INSERT INTO past_route VALUES ($1, $2)", site, seq)
				return err
			}, func() {
				if conn != nil {
					_ = conn.Close(context.Background())
				}
			}
	})
}

// startMembers starts a client of each member. connect returns how it writes, and how it ends.
func startMembers(t *testing.T, found func(*testing.T, string, int64) []int64, connect func(site string) (put, func())) *members {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	m := &members{began: time.Now(), at: map[string]*direct{}, found: found}
	var wait sync.WaitGroup
	for _, site := range []string{sandbox.East, sandbox.West} {
		d := &direct{}
		m.at[site] = d
		write, end := connect(site)
		wait.Go(func() {
			defer end()
			m.writeDirectly(ctx, d, write)
		})
	}
	t.Cleanup(func() { cancel(); wait.Wait() })
	return m
}

func (m *members) writeDirectly(ctx context.Context, d *direct, write put) {
	for seq := int64(1); ctx.Err() == nil; seq++ {
		d.mu.Lock()
		if !d.resting {
			one, stop := context.WithTimeout(ctx, time.Second)
			a := accept{seq: seq, sent: time.Since(m.began)}
			if err := write(one, seq); err == nil {
				a.acked = time.Since(m.began)
				d.accepts = append(d.accepts, a)
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
func (m *members) requireNothingLost(t *testing.T, mark time.Duration, site string) {
	t.Helper()
	accepted := m.since(mark, site)
	require.NotEmpty(t, accepted)
	there := m.found(t, site, accepted[0].seq)
	for _, a := range accepted {
		_, found := slices.BinarySearch(there, a.seq)
		require.True(t, found, "write %d, which %s accepted, is gone", a.seq, site)
	}
}
