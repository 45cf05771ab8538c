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
