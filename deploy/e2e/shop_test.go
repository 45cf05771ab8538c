package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/deploy/sandbox"
)

const system = "orders"

// shop is an estate with a worker. Tests of one shop follow each other and take it as it stands: whichever site has the
// primary is where a move starts.
type shop struct {
	*worker
	sandbox *sandbox.Sandbox
	cluster *worker // whose engine the worker uses; nil where it has its own
}

func openShop(t *testing.T) *shop {
	t.Helper()
	estate := sandbox.ForTest(t)
	return &shop{worker: startWorker(t, estate.Runbooks()), sandbox: estate}
}

// sites returns where the primary is, and where it is not.
func (s *shop) sites(t *testing.T) (here, there string) {
	t.Helper()
	return s.sitesOf(t, system)
}

func (s *shop) sitesOf(t *testing.T, system string) (here, there string) {
	t.Helper()
	st, err := s.sandbox.Status(t.Context())
	require.NoError(t, err)
	for _, p := range st.Processes {
		if p.Role == "primary" && strings.HasPrefix(p.Name, system+"/") {
			require.Empty(t, here, "two primaries: %s", st)
			here, there = sandbox.East, sandbox.West
			if p.Name == system+"/"+sandbox.West {
				here, there = there, here
			}
		}
	}
	require.NotEmpty(t, here, "no primary: %s", st)
	return here, there
}

// runbook names the move from a site: the sandbox has one for each direction.
func runbook(from, ending string) string {
	if from == sandbox.East {
		return "failover-shop" + ending
	}
	return "failback-shop" + ending
}

// requireSettled is the estate as it must be after every run: one primary, the other member streams from it, clients are sent to it alone.
func (s *shop) requireSettled(t *testing.T, primary string) {
	t.Helper()
	here, there := s.sites(t)
	require.Equal(t, primary, here, "the primary's site")
	require.Equal(t, true, s.query(t, there, "SELECT pg_is_in_recovery()"))
	awaited(t, there+" streams from "+here, 15*time.Second, func() (int64, bool) {
		n := s.query(t, here, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'").(int64)
		return n, n == 1
	})
	st, err := s.sandbox.Status(t.Context())
	require.NoError(t, err)
	for _, r := range st.Routes {
		require.Equal(t, []string{primary}, r.Open, "sites that the route is open to: %s", st)
	}
	if s.hasRedis() {
		s.requireRedisSettled(t, primary)
	}
}

// query asks the member at a site, or through the route where site is "".
func (s *shop) query(t *testing.T, site, sql string, args ...any) any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := s.sandbox.Connect(ctx, system, site)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var answer any
	require.NoError(t, conn.QueryRow(ctx, sql, args...).Scan(&answer), sql)
	return answer
}

// exec changes something through the route.
func (s *shop) exec(t *testing.T, statements ...string) {
	t.Helper()
	conn, err := s.sandbox.Connect(t.Context(), system, "")
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, sql := range statements {
		_, err = conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}

// numbers reads a column of numbers through the route.
func (s *shop) numbers(t *testing.T, sql string, args ...any) []int64 {
	t.Helper()
	conn, err := s.sandbox.Connect(t.Context(), system, "")
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	require.NoError(t, err)
	return found
}

// timeline is the primary's, which every promotion raises by one.
func (s *shop) timeline(t *testing.T) int32 {
	t.Helper()
	here, _ := s.sites(t)
	return s.query(t, here, "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int").(int32)
}

// clients write numbered rows through the route, as fast as they are acknowledged: the test's own measure of what is lost.
type clients struct {
	cancel context.CancelFunc
	done   chan struct{}
	acked  []int64
}

func (s *shop) startClients(t *testing.T) *clients {
	t.Helper()
	s.exec(t, "CREATE TABLE IF NOT EXISTS e2e (seq bigint PRIMARY KEY)", "TRUNCATE e2e")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	c := &clients{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		var conn *pgx.Conn
		for seq := int64(1); ctx.Err() == nil; seq++ {
			one, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			var err error
			if conn == nil || conn.IsClosed() {
				conn, err = s.sandbox.Connect(one, system, "")
			}
			if err == nil {
				if _, err = conn.Exec(one, "INSERT INTO e2e VALUES ($1)", seq); err == nil {
					c.acked = append(c.acked, seq)
				} else {
					_ = conn.Close(one)
				}
			}
			if err != nil {
				conn = nil
			}
			stop()
			select { // a pause between writes, no wait for a condition
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}()
	t.Cleanup(func() { c.stop() })
	return c
}

func (c *clients) stop() []int64 {
	c.cancel()
	<-c.done
	return c.acked
}

// lost stops the clients and counts their acknowledged rows that are not there.
func (s *shop) lost(t *testing.T, c *clients) (acked, lost int) {
	t.Helper()
	seqs := c.stop()
	there := s.numbers(t, "SELECT seq FROM e2e ORDER BY seq")
	return len(seqs), missing(seqs, there)
}

func missing(acked, there []int64) int {
	n := 0
	for _, seq := range acked {
		if _, found := slices.BinarySearch(there, seq); !found {
			n++
		}
	}
	return n
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}
