package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// TestHostileWorld breaks what a run depends on while it is at work. Each time the run completes, or holds and says why, and goes
// on when the world is mended; nowhere two members accept writes.
func TestHostileWorld(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	m := s.writeToMembers(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *shop, *members)
	}{
		{"the route's socket refuses in the middle", routeGone},
		{"the standby stops replaying halfway", replayPaused},
		{"the old primary comes back by itself", primaryReturns},
		{"Temporal is away", temporalAway},
		{"a command on the host hangs", hostHangs},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, s, m) }) {
			return
		}
	}
}

// activity is the moment at which the first activity of a name is scheduled.
func (s *shop) activity(t *testing.T, x execution, name string, do func()) {
	t.Helper()
	awaited(t, "activity "+name, 30*time.Second, func() (bool, bool) {
		for _, e := range s.history(t, x.WorkflowID, x.RunID).Events {
			if e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == name {
				return true, true
			}
		}
		return false, false
	})
	do()
}

// heldThenMended waits for the hold, requires that it says why, mends, and has the step tried again.
func (s *shop) heldThenMended(t *testing.T, x execution, why string, mend func()) {
	t.Helper()
	began := time.Now()
	hold := s.held(t, x)
	t.Logf("held %s after %s: %s", hold.Step, time.Since(began).Round(10*time.Millisecond), hold.Why)
	require.Contains(t, hold.Why, why)
	mend()
	a, err := s.intervene(t.Context(), x, run.Intervention{Step: hold.Step, Action: run.ActionRetry, Author: "dana", Reason: "mended"})
	require.NoError(t, err)
	require.True(t, a.Accepted, a.Message)
}

func routeGone(t *testing.T, s *shop, m *members) {
	here, there := s.sites(t)
	mark := m.mark()
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	s.activity(t, x, "Fence", func() { s.ok(t, "sandbox", "break", "route", "--dir", s.sandbox.Dir()) })
	s.heldThenMended(t, x, "haproxy", func() { s.ok(t, "sandbox", "mend", "route", "--dir", s.sandbox.Dir()) })
	r := s.result(t, x)
	require.Contains(t, []journal.Verdict{journal.Passed, journal.MissedObjective}, r.Verdict, r.Summary) // 30 s without a route are missed on a slow machine
	s.requireSettled(t, there)
	m.requireOneWriter(t, mark, here, there)
	m.requireNothingLost(t, mark, here)
}

func replayPaused(t *testing.T, s *shop, m *members) {
	here, there := s.sites(t)
	mark := m.mark()
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	s.activity(t, x, "StartWriter", func() { s.query(t, there, "SELECT pg_wal_replay_pause()::text") })
	s.heldThenMended(t, x, "replay", func() { s.query(t, there, "SELECT pg_wal_replay_resume()::text") })
	s.ended(t, x, journal.Passed)
	s.requireSettled(t, there)
	m.requireOneWriter(t, mark, here, there)
	m.requireNothingLost(t, mark, here)
}

// primaryReturns starts the old primary again, as an init system would, after the fence of an unplanned move.
func primaryReturns(t *testing.T, s *shop, m *members) {
	here, there := s.sites(t)
	m.rest()
	s.replayed(t, here, there)
	s.breakPrimary(t, here, 0)
	m.goOn()
	mark := m.mark()
	x := s.begin(t, runbook(here, "-unplanned"))
	s.approve(t, x, "approve")
	s.activity(t, x, "CatchUp", func() { // the run stands still meanwhile, or it might stop the server that is just starting, to make it follow
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
		defer func() { require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT)) }()
		require.NoError(t, s.sandbox.Mend(t.Context(), "primary:"+system))
	})
	require.NotZero(t, s.sandbox.PID(system, here), "it is back")
	s.approveAll(t, x) // what a server that runs again had written cannot be read from its files any more: people are asked
	s.ended(t, x, journal.Passed)
	s.requireSettled(t, there)
	m.requireOneWriter(t, mark, here, there)
	require.Empty(t, m.since(mark, here), "it came back as a standby")
}

// temporalAway stops worker and engine for a while, with all their timers running out.
func temporalAway(t *testing.T, s *shop, m *members) {
	away := 10 * time.Second
	if kills() >= allBoundaries {
		away = 2 * time.Minute
	}
	here, there := s.sites(t)
	mark := m.mark()
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	s.activity(t, x, "Fence", func() {
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
		time.Sleep(away)
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
	})
	r := s.result(t, x)
	require.Contains(t, []journal.Verdict{journal.Passed, journal.MissedObjective}, r.Verdict, r.Summary)
	require.GreaterOrEqual(t, r.Measures[0].OutageMs, away.Milliseconds(), "the writer measured on")
	require.Zero(t, r.Measures[0].Missing)
	s.requireSettled(t, there)
	m.requireOneWriter(t, mark, here, there)
	m.requireNothingLost(t, mark, here)
}

// hostHangs gives the old primary's host a pg_ctl that never comes back. The run waits in that step, and stop means stop.
func hostHangs(t *testing.T, s *shop, m *members) {
	here, there := s.sites(t)
	mark, timeline := m.mark(), s.timeline(t)
	restore := s.hangingPrograms(t, here)
	defer restore()
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	s.activity(t, x, "Fence", func() {})
	awaited(t, "the command to hang", 20*time.Second, func() (int, bool) {
		n := len(processes("muster-hangs"))
		return n, n > 0
	})
	st, ok := s.status(t, x)
	require.True(t, ok)
	require.False(t, st.NoReturn)
	began := time.Now()
	a, err := s.intervene(t.Context(), x, run.Intervention{Action: run.ActionAbort, Author: "dana", Reason: "the host hangs"})
	require.NoError(t, err)
	require.True(t, a.Accepted, a.Message)
	s.ended(t, x, journal.Undone)
	t.Logf("aborted and undone within %s", time.Since(began).Round(10*time.Millisecond))
	require.Equal(t, timeline, s.timeline(t))
	s.requireSettled(t, here)
	m.requireStill(t, mark, there)
	require.Empty(t, processes("muster-hangs"), "what hung was ended")
}

// hangingPrograms changes the estate: the programs of one member are the real ones, but pg_ctl sleeps.
func (s *shop) hangingPrograms(t *testing.T, site string) (restore func()) {
	t.Helper()
	path := filepath.Join(s.sandbox.Runbooks(), "shop.estate.yaml")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	real := s.sandbox.Estate().Systems[system].Members[site].PostgreSQL.BinDirectory
	dir := filepath.Join(s.sandbox.Dir(), "hangs")
	require.NoError(t, os.Mkdir(dir, 0o755))
	programs, err := os.ReadDir(real)
	require.NoError(t, err)
	for _, p := range programs {
		if p.Name() != "pg_ctl" {
			require.NoError(t, os.Symlink(filepath.Join(real, p.Name()), filepath.Join(dir, p.Name())))
		}
	}
	script := fmt.Sprintf("#!/bin/sh\ncase \"$1\" in stop) exec -a muster-hangs sleep 3600 ;; esac\nexec %s/pg_ctl \"$@\"\n", real)
	script = strings.Replace(script, "#!/bin/sh", "#!/bin/bash", 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pg_ctl"), []byte(script), 0o755))
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if strings.Contains(line, s.sandbox.DataDirectory(system, site)) {
			for j := max(0, i-3); j < min(len(lines), i+4); j++ {
				lines[j] = strings.Replace(lines[j], "bin_directory: "+real, "bin_directory: "+dir, 1)
			}
		}
	}
	changed := strings.Join(lines, "\n")
	require.Equal(t, 1, strings.Count(changed, "bin_directory: "+dir))
	require.NoError(t, os.WriteFile(path, []byte(changed), 0o644))
	return func() { _ = os.WriteFile(path, text, 0o644) }
}

// TestSSHDrops cuts the connection to the old primary's host when the fence has taken effect, and before it is known.
func TestSSHDrops(t *testing.T) {
	t.Parallel()
	estate := sandbox.ForTest(t, sandbox.Options{SSH: true})
	s := &shop{worker: startWorker(t, estate.Runbooks()), sandbox: estate}
	m := s.writeToMembers(t)
	here, there := s.sites(t)
	mark := m.mark()
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	s.strikeAndWait(t, x, blow{event: enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, nth: promotion - 2}, func() {
		awaited(t, "the server to stop", 20*time.Second, func() (int, bool) { pid := s.sandbox.PID(system, here); return pid, pid == 0 })
		_, err := s.sandbox.Break(t.Context(), "host:"+here)
		require.NoError(t, err)
	})
	awaited(t, "the run to hold, or to be beyond it", 60*time.Second, func() (run.Status, bool) {
		st, ok := s.status(t, x)
		return st, ok && (len(st.Holds) > 0 || st.NoReturn)
	})
	require.NoError(t, s.sandbox.Mend(t.Context(), "host"))
	for over := false; !over; {
		st, ok := s.status(t, x)
		for _, h := range st.Holds {
			t.Logf("held %s: %s", h.Step, h.Why)
			a, err := s.intervene(t.Context(), x, run.Intervention{Step: h.Step, Action: run.ActionRetry, Author: "dana", Reason: "the host is back"})
			require.NoError(t, err)
			require.True(t, a.Accepted, a.Message)
		}
		over = ok && st.State == run.StateEnded
	}
	r := s.result(t, x)
	require.Contains(t, []journal.Verdict{journal.Passed, journal.MissedObjective}, r.Verdict, r.Summary)
	for _, e := range s.journal(t, x) {
		if e.Kind == journal.StepEnded && e.Step == "fence/"+system {
			require.Equal(t, "stopped", e.After["proof"], "the proof is seen afresh when the host is back")
			require.Equal(t, journal.Changed, e.Outcome, "the fence was this step's, whichever attempt did it")
		}
	}
	s.requireSettled(t, there)
	m.requireOneWriter(t, mark, here, there)
	m.requireNothingLost(t, mark, here)
}
