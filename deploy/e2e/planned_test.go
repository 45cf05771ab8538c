package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/musterhq/muster/internal/journal"
)

// TestShop takes one estate through all that people do with it in order. Each subtest leaves the estate healthy.
func TestShop(t *testing.T) {
	t.Parallel()
	commands := spyOnProcesses(t)
	s := openShop(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *shop)
	}{
		{"round trips lose nothing", roundTrips},
		{"observe moves nothing", observeOnly},
		{"evidence fails on one changed byte", evidenceIsProven},
		{"a second start says who was first, a rejection moves nothing", rejected},
		{"an abort in the middle is undone", aborted},
		{"a pause holds every step", paused},
		{"a failed step holds until it is retried", retried},
		{"a skip never reads as success", skipped},
		{"started by the temporal CLI's calls", startedByCalls},
		{"started in the Temporal UI", startedInUI},
		{"started by a schedule", startedBySchedule},
		{"a wrong password is refused and told to nobody", wrongPassword},
		{"no secret is found anywhere", func(t *testing.T, s *shop) { noSecretAnywhere(t, s, commands()) }},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, s) }) {
			return // the estate may be anyhow now
		}
	}
}

// foreground runs the CLI as people do, who watch it to its end.
func (w *worker) foreground(t *testing.T, args ...string) (execution, <-chan said) {
	t.Helper()
	ended := make(chan said, 1)
	go func() { ended <- w.muster(t, args...) }()
	x := awaited(t, "the run to be open", 20*time.Second, func() (execution, bool) {
		select {
		case s := <-ended:
			ended <- s
			require.FailNow(t, "muster ended before its run was seen", s.String())
		default:
		}
		d, err := w.temporal.DescribeWorkflowExecution(t.Context(), "failover:shop", "")
		if err != nil || d.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return execution{}, false
		}
		found := d.GetWorkflowExecutionInfo().GetExecution()
		return execution{found.GetWorkflowId(), found.GetRunId()}, true
	})
	return w.follow(t, x), ended
}

// roundTrips is also the start by CLI, of the four ways.
func roundTrips(t *testing.T, s *shop) {
	for round := range *rounds {
		for range 2 {
			here, there := s.sites(t)
			timeline := s.timeline(t)
			c := s.startClients(t)
			x, ended := s.foreground(t, "run", runbook(here, ""), "-o", "json")
			s.approve(t, x, "approve")
			said := <-ended
			require.Zero(t, said.code, said.String())
			require.Contains(t, said.out, `"passed"`)

			r, entries := s.ended(t, x, journal.Passed)
			acked, lost := s.lost(t, c)
			require.Positive(t, acked)
			require.Zero(t, lost, "of %d rows that the test's own clients wrote", acked)
			require.Len(t, r.Measures, 1)
			m := r.Measures[0]
			require.True(t, m.Measured)
			require.Zero(t, m.Missing)
			require.Positive(t, m.Acknowledged)
			require.Positive(t, m.OutageMs)
			require.Equal(t, timeline+1, s.timeline(t))
			s.requireSettled(t, there)
			proof := ""
			for _, e := range entries {
				if e.Step == "fence/"+system && e.Kind == journal.StepEnded {
					proof = e.After["proof"]
				}
			}
			require.Equal(t, "stopped", proof)
			t.Logf("round %d, %s to %s: outage %d ms, 0 of %d and 0 of %d writes lost", round+1, here, there, m.OutageMs, m.Acknowledged, acked)
			s.save(t, x.WorkflowID, x.RunID, "failover-planned")
		}
	}
	s.save(t, "lock:shop/"+system, "", "lock-granted-and-freed")
}

func observeOnly(t *testing.T, s *shop) {
	here, _ := s.sites(t)
	timeline := s.timeline(t)
	said := s.ok(t, "run", runbook(here, ""), "--mode", "observe", "-o", "json")
	x := decode[execution](t, said.out)
	_, entries := s.ended(t, x, journal.ObservedVerdict)
	for _, e := range entries {
		require.NotEqual(t, journal.Locked, e.Kind)
		require.NotEqual(t, journal.GateOpened, e.Kind)
	}
	require.Equal(t, timeline, s.timeline(t))
	s.requireSettled(t, here)
	s.save(t, x.WorkflowID, x.RunID, "failover-observe")
}

func evidenceIsProven(t *testing.T, s *shop) {
	said := s.ok(t, "report", "latest", "--verify", "-o", "json")
	files := decode[struct {
		JSON string `json:"evidence_json"`
		HTML string `json:"evidence_html"`
	}](t, said.out)
	for _, path := range []string{files.JSON, files.HTML} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, at := range []int{len(text) / 3, len(text) / 2, len(text) * 9 / 10} {
			changed := append([]byte{}, text...)
			changed[at] ^= 1
			require.NoError(t, os.WriteFile(path, changed, 0o600))
			said := s.muster(t, "report", "latest", "--verify")
			require.Equal(t, 1, said.code, said.String())
			require.Contains(t, said.err, path)
		}
		require.NoError(t, os.WriteFile(path, text, 0o600))
	}
	s.ok(t, "report", "latest", "--verify")
	s.ok(t, "report", files.JSON)

	page, err := os.ReadFile(files.HTML)
	require.NoError(t, err)
	require.NotContains(t, string(page), "https://", "the page needs no network")
}
