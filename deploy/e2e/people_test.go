package e2e

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

func rejected(t *testing.T, s *shop) {
	here, _ := s.sites(t)
	timeline := s.timeline(t)
	x := s.begin(t, runbook(here, ""))
	g := s.gate(t, x, "approve")

	second := s.as(t, "kim", "run", runbook(here, ""))
	require.Equal(t, 1, second.code, second.String())
	require.Contains(t, second.err, "dana started it")
	require.Contains(t, second.err, x.RunID)

	wrong := s.as(t, "kim", "approve", x.WorkflowID, "--plan", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	require.Equal(t, 1, wrong.code, wrong.String())
	require.Contains(t, wrong.out+wrong.err, "look at the plan again")
	stranger := s.as(t, "mallory", "approve", x.WorkflowID, "--plan", g.PlanHash)
	require.Equal(t, 1, stranger.code, stranger.String())
	require.Contains(t, stranger.out+stranger.err, "mallory may not decide")

	require.Zero(t, s.as(t, "kim", "reject", x.WorkflowID, "--reason", "not today").code)
	_, entries := s.ended(t, x, journal.RejectedVerdict)
	refused := 0
	for _, e := range entries {
		if e.Kind == journal.Refused {
			refused++
		}
	}
	require.Equal(t, 2, refused)
	require.Equal(t, 4, s.muster(t, "watch", x.WorkflowID).code)
	late := s.as(t, "kim", "approve", x.WorkflowID, "--plan", g.PlanHash)
	require.Equal(t, 1, late.code, late.String())
	require.Equal(t, timeline, s.timeline(t))
	s.requireSettled(t, here)
	s.save(t, x.WorkflowID, x.RunID, "failover-rejected")
}

// stall stops the process that streams to the standby; a fast shutdown waits for it.
func (s *shop) stall(t *testing.T, primary string) (pid int, resume func()) {
	t.Helper()
	pid = int(s.query(t, primary, "SELECT pid FROM pg_stat_replication").(int32))
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	resume = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(resume)
	return pid, resume
}

// aborted stops a run between the fence and the point of no return: it is paused while the fence is at work.
func aborted(t *testing.T, s *shop) {
	here, _ := s.sites(t)
	timeline := s.timeline(t)
	c := s.startClients(t)
	x := s.begin(t, runbook(here, ""))
	s.gate(t, x, "approve")
	_, resume := s.stall(t, here)
	s.approve(t, x, "approve")
	s.step(t, x, "fence/"+system, "running")
	s.ok(t, "pause", x.WorkflowID, "--reason", "wait")
	resume()
	st := s.await(t, x, "the fence to end and the run to hold", func(st run.Status) bool {
		return st.Paused && st.State == run.StateHeld && endedStep(st, "fence/"+system)
	})
	require.False(t, st.NoReturn)
	require.Zero(t, s.sandbox.PID(system, here), "the old primary is fenced")

	s.ok(t, "abort", x.WorkflowID, "--reason", "changed our mind")
	_, entries := s.ended(t, x, journal.Undone)
	require.Equal(t, 5, s.muster(t, "watch", x.WorkflowID).code)
	undone := map[string]bool{}
	for _, e := range entries {
		if e.Kind == journal.StepEnded && e.Phase != "" && e.Outcome == journal.Changed {
			undone[e.Phase] = true
		}
	}
	require.True(t, undone["undo-fence"] && undone["undo-route"], "%v", undone)
	require.Equal(t, timeline, s.timeline(t), "nothing was promoted")
	s.requireSettled(t, here)
	acked, lost := s.lost(t, c)
	require.Zero(t, lost, "of %d", acked)
	s.save(t, x.WorkflowID, x.RunID, "failover-aborted")
}

func endedStep(st run.Status, id string) bool {
	for _, step := range st.Steps {
		if step.ID == id {
			return step.State == "done"
		}
	}
	return false
}

func paused(t *testing.T, s *shop) {
	here, there := s.sites(t)
	x := s.begin(t, runbook(here, ""))
	s.gate(t, x, "approve")
	scheduled := func() (n int) {
		for _, e := range s.history(t, x.WorkflowID, x.RunID).Events {
			if e.GetEventType() == enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED {
				n++
			}
		}
		return n
	}
	before := scheduled()
	s.ok(t, "pause", x.WorkflowID)
	s.approve(t, x, "approve")
	st := s.await(t, x, "the gate to close", func(st run.Status) bool { return len(st.Gates) == 0 })
	require.Equal(t, run.StateHeld, st.State)
	require.Equal(t, before, scheduled(), "a paused run starts no step")
	require.Equal(t, 1, s.muster(t, "pause", x.WorkflowID).code, "it is paused already")
	s.ok(t, "resume", x.WorkflowID)
	s.ended(t, x, journal.Passed)
	s.requireSettled(t, there)
}

// brokenRoute starts a run whose route dies while people decide: looking at it again fails, and the run holds.
func brokenRoute(t *testing.T, s *shop) execution {
	here, _ := s.sites(t)
	x := s.begin(t, runbook(here, ""))
	s.gate(t, x, "approve")
	s.ok(t, "sandbox", "break", "route", "--dir", s.sandbox.Dir())
	s.approve(t, x, "approve")
	hold := s.held(t, x)
	require.Contains(t, hold.Step, "observe-route/")
	require.NotEmpty(t, hold.Why)
	require.Equal(t, 3, s.muster(t, "watch", x.WorkflowID, "--no-wait").code)
	show := s.ok(t, "show", x.WorkflowID)
	require.Contains(t, show.out, "Held "+hold.Step)
	s.ok(t, "sandbox", "mend", "route", "--dir", s.sandbox.Dir())
	return x
}

func retried(t *testing.T, s *shop) {
	_, there := s.sites(t)
	x := brokenRoute(t, s)
	s.ok(t, "retry", x.WorkflowID, "--reason", "the route is back")
	_, entries := s.ended(t, x, journal.Passed)
	found := false
	for _, e := range entries {
		found = found || e.Kind == journal.Intervened && e.Action == "retry" && e.Author == "dana" && e.Reason == "the route is back"
	}
	require.True(t, found)
	s.requireSettled(t, there)
	s.save(t, x.WorkflowID, x.RunID, "failover-held")
}

func skipped(t *testing.T, s *shop) {
	_, there := s.sites(t)
	x := brokenRoute(t, s)
	s.ok(t, "skip", x.WorkflowID, "--reason", "seen with my own eyes")
	s.ended(t, x, journal.PassedWithSkips)
	require.Equal(t, 6, s.muster(t, "watch", x.WorkflowID).code)
	s.requireSettled(t, there)
	s.save(t, x.WorkflowID, x.RunID, "failover-skipped")
}
