package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

// TestCrash kills worker and engine, one process, in the middle of failovers, and starts them again on the same state folder.
func TestCrash(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	for _, test := range []struct{ name, step, state string }{
		{"after the fence", "fence/" + system, "done"},
		{"while it promotes", "promote/" + system, "running"},
		{"while the old primary is made to follow", "re-protect/" + system, "running"},
	} {
		if !t.Run(test.name, func(t *testing.T) { crash(t, s, test.step, test.state) }) {
			return
		}
	}
	t.Run("while pg_rewind works", func(t *testing.T) { crashInRewind(t, s) })
}

// crashInRewind leaves a job at work on the old primary's host, which the restarted worker must wait for and go on from.
func crashInRewind(t *testing.T, s *shop) {
	here, there := s.sites(t)
	timeline := s.timeline(t)
	sender, _ := s.stall(t, here)
	s.exec(t, "CREATE TABLE never_replicated (x int)") // what pg_rewind has to take back
	s.breakPrimary(t, here, sender)
	x := s.begin(t, runbook(here, "-unplanned"))
	aside := s.sandbox.DataDirectory(system, here) + ".muster-rewind"
	s.approve(t, x, "approve")
	s.approve(t, x, "data-loss")
	awaited(t, "pg_rewind to begin", 20*time.Second, func() (bool, bool) {
		_, err := os.Stat(aside)
		return err == nil, err == nil
	})
	s.kill(t)
	s.start(t)
	_, entries := s.ended(t, x, journal.Passed)
	for _, e := range entries {
		if e.Kind == journal.StepEnded && e.Step == "re-protect/"+system {
			require.Equal(t, journal.Changed, e.Outcome)
			require.Contains(t, []string{"ok rewind", "ok start"}, e.After["made_by"], "one attempt rewound, the other may have started it: %v", e.After)
			require.Empty(t, e.After["kept"], "no base backup was needed")
		}
	}
	require.Equal(t, timeline+1, s.timeline(t))
	s.requireSettled(t, there)
	s.save(t, x.WorkflowID, x.RunID, "failover-killed-rewind")
}

func crash(t *testing.T, s *shop, step, state string) {
	here, there := s.sites(t)
	timeline := s.timeline(t)
	promotions := s.inLog(t, there, "received promote request")
	x := s.begin(t, runbook(here, ""))
	s.approve(t, x, "approve")
	s.step(t, x, step, state)
	s.kill(t)
	writers := processes(filepath.Join(s.state, "writers"))
	require.Len(t, writers, 1, "the numbered writer measures on while worker and engine are dead")
	began := time.Now()
	s.start(t)
	ready := time.Since(began)

	r, entries := s.ended(t, x, journal.Passed)
	t.Logf("killed at %s, ready after %s, ended %s after the restart", step, ready, time.Since(began))
	require.Equal(t, timeline+1, s.timeline(t))
	require.Equal(t, promotions+1, s.inLog(t, there, "received promote request"), "promoted once")
	for _, e := range entries {
		if e.Kind == journal.StepEnded && (e.Step == "fence/"+system || e.Step == "promote/"+system || e.Step == "re-protect/"+system) {
			require.Equal(t, journal.Changed, e.Outcome, "%s: an act counts as done by the run, whichever attempt did it", e.Step)
		}
	}
	require.True(t, r.Measures[0].Measured)
	require.Zero(t, r.Measures[0].Missing)
	s.requireSettled(t, there)
	s.save(t, x.WorkflowID, x.RunID, "failover-killed-"+strings.Split(step, "/")[0])
}

// inLog counts a text in a member's log.
func (s *shop) inLog(t *testing.T, site, text string) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(s.sandbox.DataDirectory(system, site), "..", "log", "postgresql.log"))
	require.NoError(t, err)
	return strings.Count(string(log), text)
}
