package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

// TestClockJumps sets the clock of muster's machine by an hour in the middle of a move: that of worker and engine, and of the numbered
// writer. The servers' machines keep theirs. The move completes, a second one finds the clock set back.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	type jump struct {
		activity string
		by       time.Duration
	}
	jumps := []jump{{"Fence", -time.Hour}, {"Promote", time.Hour}, {"Fence", time.Hour}, {"Promote", -time.Hour}}
	if kills() < allBoundaries { // one of them, by the seed
		one := luck(t).IntN(len(jumps))
		jumps = jumps[one : one+1]
	}
	for _, test := range jumps {
		if !t.Run(fmt.Sprintf("by %s at %s", test.by, test.activity), func(t *testing.T) { clockJumps(t, test.activity, test.by) }) {
			return
		}
	}
}

func clockJumps(t *testing.T, activity string, by time.Duration) {
	s := openShop(t)
	m := s.writeToMembers(t)
	clock := takeWallClock(t, s.cmd.Process.Pid)
	measure := s.moveWhile(t, m, activity, func() {
		writers := processes(filepath.Join(s.state, "writers"))
		require.Len(t, writers, 1)
		theirs := takeWallClock(t, writers[0].pid)
		theirs.set(t, by)
		clock.set(t, by)
	})
	require.Less(t, measure.OutageMs, time.Minute.Milliseconds(), "the jump is no outage")
	require.True(t, measure.Measured, "%+v", measure)
	require.Positive(t, measure.OutageMs)
	routeGone(t, s, m) // the clock is still wrong, and retries wait for timers
	clock.set(t, 0)
	measure = s.moveWhile(t, m, activity, func() {})
	require.True(t, measure.Measured, "%+v", measure)
	require.Less(t, measure.OutageMs, time.Minute.Milliseconds())
}

// moveWhile carries out a planned move with something happening at an activity, and holds it to what is true of every move.
func (s *shop) moveWhile(t *testing.T, m *members, activity string, do func()) journal.Measure {
	t.Helper()
	here, there := s.sites(t)
	mark := m.mark()
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	began := time.Now()
	s.activity(t, x, activity, do)
	s.await(t, x, "the run to end", func(st run.Status) bool { return st.State == run.StateEnded })
	r := s.result(t, x)
	t.Logf("%s within %s: %s; unwatched %v", r.Verdict, time.Since(began).Round(10*time.Millisecond), r.Summary, r.Measures[0].Unwatched)
	require.Equal(t, journal.Passed, r.Verdict, r.Summary)
	require.Zero(t, r.Measures[0].Missing)
	digest, err := journal.Verify(s.journal(t, x))
	require.NoError(t, err)
	require.Equal(t, r.Digest, digest)
	s.requireSettled(t, there)
	m.requireOneWriter(t, mark, here, there)
	m.requireNothingLost(t, mark, here)
	return r.Measures[0]
}
