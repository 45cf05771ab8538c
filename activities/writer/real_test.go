package writer_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/writer"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/runbooks"
)

// estate is a real PostgreSQL behind a real HAProxy, and a Keeper whose writers are real processes.
type estate struct {
	box    *sandbox.Sandbox
	state  string
	keeper *writer.Keeper
}

func build(t *testing.T) *estate {
	t.Helper()
	e := &estate{box: sandbox.ForTest(t), state: t.TempDir()}
	e.keeper = writer.NewKeeper(e.state, openPostgres, writer.SpawnSelf)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.keeper.StopAll(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *estate) input(run string) activities.WriterInput {
	all := e.box.Estate()
	system := all.Systems["orders"]
	return activities.WriterInput{
		Target: activities.Target{Estate: all.Name, Name: "orders", System: system},
		Route:  activities.RouteTarget{Name: system.Route, Route: all.Routes[system.Route]}, Run: run,
	}
}

func (e *estate) dir() string { return filepath.Join(e.state, "writers", "shop.orders") }

// acked reads the log by other code than the writer's own: numbers and when each was acknowledged.
func (e *estate) acked(t *testing.T) (seqs []int64, done []int64, pids []int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(e.dir(), "log", "*.log"))
	require.NoError(t, err)
	used := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if _, after, found := strings.Cut(line, `"pid":`); found {
				pid, err := strconv.Atoi(strings.TrimRight(after, "}\n"))
				require.NoError(t, err)
				pids = append(pids, pid)
			}
			f := strings.Fields(line)
			if len(f) != 5 {
				continue
			}
			require.False(t, used[f[0]], "number %s twice", f[0])
			used[f[0]] = true
			if f[4] == "ack" {
				seq, err := strconv.ParseInt(f[0], 10, 64)
				require.NoError(t, err)
				at, err := strconv.ParseInt(f[2], 10, 64)
				require.NoError(t, err)
				seqs, done = append(seqs, seq), append(done, at)
			}
		}
	}
	return seqs, done, pids
}

func (e *estate) count(t *testing.T, site, query string, args ...any) (n int64) {
	t.Helper()
	conn, err := e.box.Connect(t.Context(), "orders", site)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), query, args...).Scan(&n))
	return n
}

// requireGone: the lock is free a moment before the process is gone.
func requireGone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 5*time.Second, 5*time.Millisecond)
}

func TestConcurrentStartsMakeOneWriter(t *testing.T) {
	t.Parallel()
	e := build(t)
	var starts sync.WaitGroup
	for i := range 8 {
		starts.Go(func() {
			result, err := e.keeper.Start(t.Context(), e.input("run-"+strconv.Itoa(i)))
			if err != nil {
				t.Error(err)
				return
			}
			if !strings.HasSuffix(result.After["first attempt"], "acknowledged") {
				t.Errorf("not acknowledged: %v", result.After)
			}
		})
	}
	starts.Wait()
	_, _, pids := e.acked(t)
	require.Len(t, pids, 1, "one process wrote")
	session, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(pids[0]), 0, 0)
	require.Zero(t, errno)
	require.EqualValues(t, pids[0], session, "in a session of its own: neither worker nor terminal takes it along")
	again, err := e.keeper.Start(t.Context(), e.input("run-0"))
	require.NoError(t, err)
	require.False(t, again.Changed)

	since := time.Now()
	_, err = e.keeper.Await(t.Context(), func() activities.WriterInput { in := e.input("run-0"); in.Since = since; return in }())
	require.NoError(t, err)
	for i := range 8 {
		in := e.input("run-" + strconv.Itoa(i))
		in.Since = since
		report, err := e.keeper.Stop(t.Context(), in)
		require.NoError(t, err)
		require.Zero(t, report.Missing)
		require.Positive(t, report.Acknowledged)
		if i < 7 {
			require.NoError(t, syscall.Kill(pids[0], 0), "it ends with the last who wants it")
		}
	}
	requireGone(t, pids[0])
}

func TestKilledWriterGoesOnWithoutLosingCount(t *testing.T) {
	t.Parallel()
	e := build(t)
	in := e.input("run")
	in.Writer.Every = runbooks.Duration(100 * time.Millisecond) // what is shorter than half a second does not count then
	in.Since = time.Now()
	result, err := e.keeper.Start(t.Context(), in)
	require.NoError(t, err)
	require.True(t, result.Changed)
	again, err := e.keeper.Start(t.Context(), in)
	require.NoError(t, err)
	require.False(t, again.Changed)
	require.Equal(t, "run", again.After[activities.FactStartedBy], "what a killed attempt did is known to the next one")
	other := in
	other.Run = "other"
	theirs, err := e.keeper.Start(t.Context(), other)
	require.NoError(t, err)
	require.NotContains(t, theirs.After, activities.FactStartedBy)
	other.Gone = true
	_, err = e.keeper.Stop(t.Context(), other)
	require.NoError(t, err)
	for range 3 {
		await := in
		await.Since = time.Now().Add(200 * time.Millisecond)
		_, err := e.keeper.Await(t.Context(), await)
		require.NoError(t, err)
		_, _, pids := e.acked(t)
		require.NoError(t, syscall.Kill(pids[len(pids)-1], syscall.SIGKILL))
		time.Sleep(800 * time.Millisecond) // the interval that nobody watches: it is what is measured
		_, err = e.keeper.Start(t.Context(), in)
		require.NoError(t, err)
	}
	in.Until = time.Now()
	report, err := e.keeper.Stop(t.Context(), in)
	require.NoError(t, err)
	seqs, done, pids := e.acked(t)
	require.Len(t, pids, 4)
	var within int64
	for _, at := range done {
		if at <= in.Until.UnixNano() {
			within++
		}
	}
	require.Zero(t, report.Missing)
	require.Empty(t, report.Outages, "a writer's death is no outage")
	require.GreaterOrEqual(t, len(report.Unwatched), 3)
	require.InDelta(t, within, report.Acknowledged, 1, "one may be in flight at the window's end")
	stored := e.count(t, "east", "SELECT count(*) FROM mark")
	require.GreaterOrEqual(t, stored, int64(len(seqs)))
	require.LessOrEqual(t, stored, int64(len(seqs)+3), "at most one unlogged write for each kill")
	requireGone(t, pids[3])
}

func TestMissingEqualsAnIndependentCount(t *testing.T) {
	t.Parallel()
	e := build(t)
	in := e.input("run")
	_, err := e.keeper.Start(t.Context(), in)
	require.NoError(t, err)
	in.Since = time.Now().Add(time.Second)
	_, err = e.keeper.Await(t.Context(), in)
	require.NoError(t, err)

	conn, err := e.box.Connect(t.Context(), "orders", "east")
	require.NoError(t, err)
	tag, err := conn.Exec(t.Context(), "DELETE FROM mark WHERE seq % 7 = 3 AND seq < (SELECT max(seq) - 5 FROM mark)")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	require.Positive(t, tag.RowsAffected())

	report, err := e.keeper.Measure(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, tag.RowsAffected(), report.Missing, "lost before the window began, and counted")
	for _, seq := range report.MissingSeqs {
		require.EqualValues(t, 3, seq%7)
	}
	again, err := e.keeper.Measure(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, report.Missing, again.Missing, "a measurement may be repeated")
	next := e.input("the failback")
	next.Since = time.Now()
	later, err := e.keeper.Measure(t.Context(), next)
	require.NoError(t, err)
	require.Zero(t, later.Missing, "what was known to be lost before a run began is not its loss")
	require.NoError(t, e.keeper.StopAll(t.Context()))
}

func TestUnplannedLossIsMeasured(t *testing.T) {
	t.Parallel()
	e := build(t)
	in := e.input("run")
	_, err := e.keeper.Start(t.Context(), in)
	require.NoError(t, err)
	await := in
	await.Since = time.Now().Add(500 * time.Millisecond)
	_, err = e.keeper.Await(t.Context(), await)
	require.NoError(t, err)

	// The standby stops to receive, writes go on, the primary dies: what was acknowledged in between is lost.
	standby, err := e.box.Connect(t.Context(), "orders", "west")
	require.NoError(t, err)
	for _, sql := range []string{"ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"} {
		_, err = standby.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		return e.count(t, "west", "SELECT count(*) FROM pg_stat_wal_receiver") == 0
	}, 10*time.Second, 20*time.Millisecond)
	await.Since = time.Now().Add(400 * time.Millisecond)
	_, err = e.keeper.Await(t.Context(), await)
	require.NoError(t, err)
	broken := time.Now()
	require.NoError(t, syscall.Kill(e.box.PID("orders", "east"), syscall.SIGKILL))
	require.Eventually(t, func() bool { // an outage that counts as one; a backend may outlive its postmaster for a moment
		_, done, _ := e.acked(t)
		return time.Since(time.Unix(0, done[len(done)-1])) > 300*time.Millisecond
	}, 20*time.Second, 10*time.Millisecond)
	in.Since = time.Now() // a run begins after the failure

	early, err := e.keeper.Measure(t.Context(), in)
	require.Error(t, err, "what cannot be read is not counted: %+v", early)
	_, err = standby.Exec(t.Context(), "SELECT pg_promote()")
	require.NoError(t, err)
	require.NoError(t, standby.Close(t.Context()))
	socket := e.box.RuntimeSocket()
	route := in.Route.Route.HAProxy
	for _, command := range []string{"set server " + route.Backend + "/" + route.Servers["east"] + " state maint", "set server " + route.Backend + "/" + route.Servers["west"] + " state ready"} {
		tell(t, socket, command)
	}
	await.Since = broken
	_, err = e.keeper.Await(t.Context(), await)
	require.NoError(t, err)
	back := time.Now()
	report, err := e.keeper.Stop(t.Context(), in)
	require.NoError(t, err)

	seqs, done, _ := e.acked(t)
	conn, err := e.box.Connect(t.Context(), "orders", "west")
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var lost, lastBefore int64
	for i, seq := range seqs {
		var there bool
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT 1 FROM mark WHERE seq = $1)", seq).Scan(&there))
		if !there {
			lost++
		}
		if i > 0 && done[i]-done[i-1] > int64(100*time.Millisecond) && done[i] > broken.UnixNano() && lastBefore == 0 {
			lastBefore = done[i-1]
		}
	}
	require.Positive(t, lost)
	require.Equal(t, lost, report.Missing)
	require.NotEmpty(t, report.Outages)
	require.WithinDuration(t, time.Unix(0, lastBefore), report.Outages[0].From, 5*time.Millisecond, "from the last acknowledged write, before the run began")
	require.True(t, report.Outages[0].From.Before(in.Since))
	require.Less(t, report.Outages[0].To.Sub(back), 5*time.Millisecond)
	require.Positive(t, report.Failed)
}
